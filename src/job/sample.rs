//! What the data say of their samples.

use super::shape::Shape;
use crate::element::Element;

/// What the data say of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its shape.
    pub shape: Shape,
    /// The type of its values.
    pub element: Element,
    /// Whether its values are scaled or moved before the first operation takes them.
    pub is_scaled: bool,
    /// The largest of its tokens, where it has some.
    pub largest_token: Option<u16>,
    /// Whether its labels look like one class, of which one place of several is 1 and all others 0.
    pub is_one_hot: bool,
    /// What should come out for it; `None`: nobody knows, and nothing is compared.
    pub wanted: Option<Wanted>,
}

/// What should come out for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A class, or one for each of its places.
    Classes {
        /// Labels of a sample.
        places: u32,
        /// Number of classes.
        classes: u32,
    },
    /// So many numbers.
    Values(u32),
}
