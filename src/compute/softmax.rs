//! The softmax and its gradient.

use super::Memory;

/// Calls on matrices whose rows become probability distributions. All are (rows, n), row-major.
pub trait Softmax: Memory {
    /// The softmax of each row: `y = exp(x - max)` divided by the row's sum of these, where `max` is the row's largest value.
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// The gradient `dx` of the softmax's input, from its output `y` and the gradient `dy` of that: `dx = y (dy - the row's sum
    /// of y dy)`.
    fn softmax_backward(&self, rows: usize, n: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf);
}
