//! The softmax.

use super::Memory;

/// Calls on rows as distributions.
pub trait Softmax: Memory {
    /// `y` (rows, n) = `exp(x - max)` over the row's sum of these.
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// `dx = y (dy - the row's sum of y dy)`, all (rows, n).
    fn softmax_backward(&self, rows: usize, n: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf);
}
