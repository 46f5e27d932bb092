//! Mean, variance and scale of sets of values.
//!
//! A tensor is looked at as (outer, sets, inner), and all values of one set belong together: for batch norm it is (rows,
//! channels, height times width), for layer norm (1, rows, width); the weights of layer norm are those of (rows, width, 1).

use super::Memory;

/// A tensor as (outer, sets, inner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// How often the sets come.
    pub outer: usize,
    /// Number of sets.
    pub sets: usize,
    /// Values of a set that lie side by side.
    pub inner: usize,
}

impl Grid {
    /// Values of the tensor.
    pub fn len(&self) -> usize {
        self.outer * self.sets * self.inner
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of a set.
    pub fn members(&self) -> usize {
        self.outer * self.inner
    }
}

/// Calls on sets. The order of a set's sum is the backend's own, and follows from the grid alone.
pub trait Norm: Memory {
    /// Mean and variance (that of the members themselves, not an estimate) of each set; if not `centred`, 0 and the mean
    /// square.
    fn moments(&self, grid: Grid, centred: bool, x: &Self::Buf, mean: &mut Self::Buf, variance: &mut Self::Buf);

    /// `y = (x - mean) / sqrt(variance + eps)`
    fn normalize(
        &self,
        grid: Grid,
        eps: f32,
        x: &Self::Buf,
        mean: &Self::Buf,
        variance: &Self::Buf,
        y: &mut Self::Buf,
    );

    /// With n = [`normalize`](Norm::normalize) of x, whose gradient is `dn`: `dx = (dn - mean(dn) - n mean(n dn)) /
    /// sqrt(variance + eps)`, the means over each set; the first is left out if not `centred`.
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

    /// `y = weight[set] x + bias[set]`
    fn scale(&self, grid: Grid, x: &Self::Buf, weight: &Self::Buf, bias: Option<&Self::Buf>, y: &mut Self::Buf);

    /// `sums[set]` = the sum of `x y` over the set, or of `x`; on top of what it holds if `accumulate`.
    fn set_sums(&self, grid: Grid, x: &Self::Buf, y: Option<&Self::Buf>, accumulate: bool, sums: &mut Self::Buf);
}
