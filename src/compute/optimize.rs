//! Optimizer steps: how parameters change by their gradients, and how gradients are limited before that.

use super::Memory;

/// The numbers of one step of Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019), prepared for
/// [`Optimize::adam`]. t is the number of the step, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Factors of the running mean: beta1 for the old mean, 1 - beta1 for the gradient.
    pub mean: [f32; 2],
    /// Factors of the running mean square: beta2 for the old one, 1 - beta2 for the gradient's square.
    pub square: [f32; 2],
    /// The learning rate divided by 1 - beta1^t, which corrects the bias of the mean.
    pub rate: f32,
    /// 1 divided by the root of 1 - beta2^t, which corrects the bias of the mean square.
    pub root: f32,
    /// A small number that is added to the root of the mean square, against division by zero.
    pub eps: f32,
    /// The factor by which a value is multiplied before the step: 1, or less with decoupled weight decay.
    pub keep: f32,
}

/// Calls on a parameter `w` of `len` values and its gradient `g` of as many.
pub trait Optimize: Memory {
    /// Weight decay as part of the gradient: `g += decay w`.
    fn decay(&self, len: usize, decay: f32, w: &Self::Buf, g: &mut Self::Buf);

    /// Limits every value of `g` to the range from `-most` to `most`.
    fn clamp(&self, len: usize, most: f32, g: &mut Self::Buf);

    /// Adds the sum of the squares of `g` to `sum` (1). Unless `accumulate`, `sum` starts from zero.
    fn add_squares(&self, len: usize, g: &Self::Buf, accumulate: bool, sum: &mut Self::Buf);

    /// Scales `g` by `most / (norm + 1e-6)` where that is below 1, as PyTorch's `clip_grad_norm_` does. The norm is the root of
    /// `squares` (1), which may count other gradients too.
    fn bound_norm(&self, len: usize, most: f32, squares: &Self::Buf, g: &mut Self::Buf);

    /// A step of plain gradient descent: `w -= rate g`.
    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf);

    /// A step with momentum: `v = momentum v + g`, then `w -= rate v`. With `nesterov` it is `w -= rate (g + momentum v)`.
    #[allow(clippy::too_many_arguments)]
    fn sgd_momentum(
        &self,
        len: usize,
        rate: f32,
        momentum: f32,
        nesterov: bool,
        g: &Self::Buf,
        v: &mut Self::Buf,
        w: &mut Self::Buf,
    );

    /// A step of Adam. `m` and `s` are running means of `g` and of its square; then `w = keep w - rate m / (root sqrt(s) +
    /// eps)`.
    fn adam(&self, len: usize, step: Adam, g: &Self::Buf, m: &mut Self::Buf, s: &mut Self::Buf, w: &mut Self::Buf);
}
