//! Losses and their gradients.

use super::Memory;

/// What a loss makes of one micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the terms' losses.
    pub loss: f64,
    /// Labels, or values, that count.
    pub terms: u32,
    /// Terms whose output says what the target says.
    pub correct: u32,
}

/// Calls that compare outputs `x` with what they should be, and leave the loss's gradient times `weight` in `dx`, of the
/// shape of `x`. Done when they return. Terms fold into the sum in order.
pub trait Loss: Memory {
    /// Softmax cross entropy of `x` (labels.len(), classes) against `labels`, of which those that are not below `classes`
    /// do not count. `smoothing` of the distribution that a label stands for is spread over all classes (PyTorch's
    /// `label_smoothing`).
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        smoothing: f32,
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum;

    /// `(x - target)^2` of each value.
    fn squared_error(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum;

    /// Binary cross entropy of each logit, `ln(1 + exp(x)) - target x`, without overflow. A target is the chance of "yes";
    /// above one half, a positive logit is correct.
    fn binary_cross_entropy(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum;
}
