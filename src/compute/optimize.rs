//! What parameters do with their gradients.

use super::Memory;

/// The numbers of one step of Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019).
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// What the old mean keeps, and what the gradient adds to it.
    pub mean: [f32; 2],
    /// What the old mean square keeps, and what the gradient's square adds to it.
    pub square: [f32; 2],
    /// The learning rate over 1 - beta1^t.
    pub rate: f32,
    /// 1 over the root of 1 - beta2^t.
    pub root: f32,
    /// What is added to the root of the mean square.
    pub eps: f32,
    /// What a value keeps of itself before the step: less than 1 with decoupled weight decay.
    pub keep: f32,
}

/// Calls on a parameter of `len` values `w` and its gradient `g`.
pub trait Optimize: Memory {
    /// `g += decay w`
    fn decay(&self, len: usize, decay: f32, w: &Self::Buf, g: &mut Self::Buf);

    /// Every value of `g` to between `-most` and `most`.
    fn clamp(&self, len: usize, most: f32, g: &mut Self::Buf);

    /// `sum` (1) += the squares of `g`, or a new sum unless `accumulate`.
    fn add_squares(&self, len: usize, g: &Self::Buf, accumulate: bool, sum: &mut Self::Buf);

    /// `g` times `most / (norm + 1e-6)` where that is below 1; `squares` (1) is the norm's square. As PyTorch's
    /// `clip_grad_norm_`.
    fn bound_norm(&self, len: usize, most: f32, squares: &Self::Buf, g: &mut Self::Buf);

    /// `w -= rate g`
    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf);

    /// `v = momentum v + g; w -= rate v`, with `nesterov` `w -= rate (g + momentum v)`.
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

    /// `m` and `s` follow `g` and its square; `w = keep w - rate m / (root √s + eps)`.
    fn adam(&self, len: usize, step: Adam, g: &Self::Buf, m: &mut Self::Buf, s: &mut Self::Buf, w: &mut Self::Buf);
}
