//! Shapes of samples.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most dimensions of a sample: 3.
pub(super) const DIMS: usize = 3;

/// The shape of one sample: `(values)` of a vector, `(tokens, width)` of a sequence, `(channels, height, width)` of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape(Vec<u32>);

impl Shape {
    /// The shape with these dimensions. [`Shape::fits`] tells whether a sample may have it.
    pub fn new(dims: impl Into<Vec<u32>>) -> Self {
        Self(dims.into())
    }

    /// The dimensions, the outermost first.
    pub fn dims(&self) -> &[u32] {
        &self.0
    }

    /// How many values a sample of this shape has. The largest u32 where there are more.
    pub fn values(&self) -> u32 {
        self.0.iter().fold(1, |values, dim| dim.saturating_mul(values))
    }

    /// Whether a sample may have this shape: one to three dimensions, and from 1 to 2^32 - 2 values.
    pub fn fits(&self) -> bool {
        (1..=DIMS).contains(&self.0.len()) && (1..u32::MAX).contains(&self.values())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(u32::to_string).collect();
        write!(f, "({})", dims.join(", "))
    }
}
