//! What an array of a file is for, and how NumPy turns another array into one that is read.

use super::Wanted;

/// What an array of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The values of the samples.
    Inputs,
    /// A class for each sample, or for each place of a sample.
    Classes,
    /// A number, or several, for each sample: targets of a loss that wants numbers.
    Numbers,
    /// One long row of tokens.
    Tokens,
}

impl Holds {
    /// What an array of labels holds for a loss that wants `wanted`.
    pub(super) fn labels(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Classes { .. } => Holds::Classes,
            Wanted::Values | Wanted::Chances => Holds::Numbers,
        }
    }

    /// What the array is called in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Holds::Inputs => "inputs",
            Holds::Classes | Holds::Numbers => "labels",
            Holds::Tokens => "the tokens",
        }
    }

    /// What to save instead of an array whose type is not read, such as Python objects or words.
    pub(super) fn mended(self) -> &'static str {
        match self {
            Holds::Inputs => {
                "save numbers with .astype(numpy.float32), and words as numbers of their own, each column as \
                 numpy.unique(column, return_inverse=True)[1]"
            }
            Holds::Classes => {
                "save whole numbers with .astype(numpy.int64), and words as their numbers, \
                 numpy.unique(labels, return_inverse=True)[1]"
            }
            Holds::Numbers => "save them with .astype(numpy.float32)",
            Holds::Tokens => "save them with .astype(numpy.uint16)",
        }
    }
}
