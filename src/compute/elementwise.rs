//! Operations that treat each value on its own.

use super::Memory;

/// An activation function of one value. The calls of [`Elementwise`] compute it and its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `max(x, 0)`. NaN stays NaN.
    Relu,
    /// x where x is above 0, else x times this slope.
    LeakyRelu(f32),
    /// `tanh(x)`, the hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// `x / (1 + exp(-x))`.
    Silu,
}

/// Which random numbers a mask is made of. The number of value i is word i mod 4 of the Philox4x32-10 block under `key`, with
/// the counter (i / 4, `counter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhiloxStream {
    /// The key of Philox4x32-10, two words.
    pub key: [u32; 2],
    /// The upper three of the counter's four words. The lowest word counts blocks of four values.
    pub counter: [u32; 3],
}

/// Calls that work on the first `len` values of each buffer.
pub trait Elementwise: Memory {
    /// `y = f(x)`, for each value.
    fn map(&self, f: Function, len: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// `dx = f'(x) dy`, for each value. `y` is what [`map`](Elementwise::map) made of `x`; some derivatives are cheaper from
    /// it.
    fn map_backward(&self, f: Function, len: usize, x: &Self::Buf, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf);

    /// `y += x`, for each value.
    fn add(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// `to = (1 - part) to + part factor from`, for each value: an exponential average, as batch norm keeps it.
    fn blend(&self, len: usize, part: f32, factor: f32, from: &Self::Buf, to: &mut Self::Buf);

    /// Dropout: `y = x / (1 - p)`, or 0 where the value's random number is below `p`. The number's upper 24 bits are read as a
    /// fraction of 1. The same `stream` gives the same mask.
    fn drop_out(&self, stream: PhiloxStream, p: f32, len: usize, x: &Self::Buf, y: &mut Self::Buf);
}
