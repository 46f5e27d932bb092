//! Losses and their gradients.

use super::Memory;

/// The loss of one micro-batch, summed over its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the losses of all terms, not divided by their number.
    pub loss: f64,
    /// Number of terms: labels or values that were compared.
    pub terms: u32,
    /// Number of terms whose output agrees with the target.
    pub correct: u32,
}

/// Calls that compare outputs `x` with their targets. Each returns the summed loss and writes its gradient times `weight` to
/// `dx`, in the shape of `x`.
///
/// Unlike other calls, these are done when they return. Terms are added to the sum in order.
pub trait Loss: Memory {
    /// Softmax cross entropy of `x` (labels.len(), classes) against `labels`. A label that is not below `classes` does not
    /// count. `smoothing` is the share of the target distribution that is spread evenly over all classes, as in PyTorch's
    /// `label_smoothing`.
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        smoothing: f32,
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum;

    /// Squared error, `(x - target)^2`, summed over the first `targets.len()` values. A term is correct only if it is exactly
    /// right.
    fn squared_error(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum;

    /// Binary cross entropy of each logit, `ln(1 + exp(x)) - target x`, computed without overflow. A target is the probability
    /// of "yes". A positive logit is correct where the target is above one half.
    fn binary_cross_entropy(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum;
}
