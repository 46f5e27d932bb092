//! What the data say of their samples: all that a job is held against.

use super::shape::Shape;
use crate::element::Element;

/// What the data say of their samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The shape of a sample as it goes into the first operation.
    pub shape: Shape,
    /// The type of a sample's values, in memory and on the way to the first stage.
    pub element: Element,
    /// Whether values are scaled or moved before the first operation takes them.
    pub is_scaled: bool,
    /// The largest token of all samples. `None` where the data are not tokens.
    pub largest_token: Option<u16>,
    /// Whether the labels of a sample look like a single class that is written as several numbers: one of them 1, all others 0.
    pub is_one_hot: bool,
    /// What should come out for a sample. `None` where nobody knows: then nothing is compared.
    pub wanted: Option<Expected>,
}

/// What should come out for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A class, or one for each place of the sample.
    Classes {
        /// How many labels a sample has.
        places: u32,
        /// How many classes there are.
        classes: u32,
    },
    /// So many numbers for each sample.
    Values(u32),
}
