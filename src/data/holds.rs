//! What an array of a file is for, and how NumPy makes of another what is read.

use super::Wanted;

/// What an array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The samples' values.
    Inputs,
    /// A class for each sample, or for each of its places.
    Classes,
    /// Numbers that should come out.
    Numbers,
    /// One row of tokens.
    Tokens,
}

impl Holds {
    /// The labels of a loss that wants `wanted`.
    pub(super) fn labels(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Classes { .. } => Holds::Classes,
            Wanted::Values | Wanted::Chances => Holds::Numbers,
        }
    }

    /// What it is called in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Holds::Inputs => "inputs",
            Holds::Classes | Holds::Numbers => "labels",
            Holds::Tokens => "the tokens",
        }
    }

    /// What is to be saved instead of an array whose values are of no type that is read: Python objects, words, and the like.
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
