//! The softmax, and the loss that follows from it.

use super::Memory;

/// What a loss makes of one micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the samples' losses.
    pub loss: f64,
    /// Samples whose largest output is that of their class.
    pub correct: u32,
}

/// Calls on rows as distributions.
pub trait Softmax: Memory {
    /// `y` (rows, n) = `exp(x - max)` over the row's sum of these.
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf) -> Self::Event;

    /// `dx = y (dy - the row's sum of y dy)`, all (rows, n).
    fn softmax_backward(
        &self,
        rows: usize,
        n: usize,
        y: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    ) -> Self::Event;

    /// Softmax cross entropy of `x` (labels.len(), classes) against `labels`, and its gradient times `weight` in `dx`
    /// (same shape). Done when it returns.
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum;
}
