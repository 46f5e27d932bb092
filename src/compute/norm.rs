//! Means, variances and scales of sets of values: batch norm, layer norm and their relatives.
//!
//! A tensor is seen as (outer, sets, inner), and all values with the same middle index form one set. For batch norm that is
//! (rows, channels, height times width). For layer norm it is (1, rows, width), and its weights see the tensor as (rows, width,
//! 1).

use super::Memory;

/// How a tensor is seen as (outer, sets, inner), row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Number of runs that each set consists of. One run of every set comes before the next run of any.
    pub outer: usize,
    /// Number of sets in the tensor.
    pub sets: usize,
    /// Number of values in a run: values of one set that lie side by side.
    pub inner: usize,
}

impl Grid {
    /// Number of values of the tensor.
    pub fn len(&self) -> usize {
        self.outer * self.sets * self.inner
    }

    /// Whether the tensor has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of values in one set.
    pub fn members(&self) -> usize {
        self.outer * self.inner
    }
}

/// Calls on the sets of a tensor. In which order a set is summed is the backend's choice; it follows from the grid alone.
pub trait Norm: Memory {
    /// The mean and the variance of each set, both (sets). The variance divides by the number of members, not by one less. If
    /// not `centred`, the mean is 0 and the variance is the mean of the squares.
    fn moments(&self, grid: Grid, centred: bool, x: &Self::Buf, mean: &mut Self::Buf, variance: &mut Self::Buf);

    /// `y = (x - mean) / sqrt(variance + eps)`, with the mean and variance of each value's set.
    fn normalize(
        &self,
        grid: Grid,
        eps: f32,
        x: &Self::Buf,
        mean: &Self::Buf,
        variance: &Self::Buf,
        y: &mut Self::Buf,
    );

    /// The gradient of [`normalize`](Norm::normalize). With its output `n` and the gradient `dn` of that, `dx = (dn -
    /// mean(dn) - n mean(n dn)) / sqrt(variance + eps)`, where each mean is over a set. If not `centred`, `mean(dn)`
    /// is left out.
    #[allow(clippy::too_many_arguments)]
    fn normalize_backward(
        &self,
        grid: Grid,
        centred: bool,
        eps: f32,
        n: &Self::Buf,
        variance: &Self::Buf,
        dn: &Self::Buf,
        dx: &mut Self::Buf,
    );

    /// `y = weight[set] x + bias[set]`, where `weight` and `bias` are (sets). Without a bias it is `weight[set] x`.
    fn scale(&self, grid: Grid, x: &Self::Buf, weight: &Self::Buf, bias: Option<&Self::Buf>, y: &mut Self::Buf);

    /// `sums[set]` = the sum over the set of `x y`, or of `x` where there is no `y`. If `accumulate`, it is added to what
    /// `sums` holds.
    fn set_sums(&self, grid: Grid, x: &Self::Buf, y: Option<&Self::Buf>, accumulate: bool, sums: &mut Self::Buf);
}
