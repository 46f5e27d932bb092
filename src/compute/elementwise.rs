//! Each value on its own.

use super::Memory;

/// A function of one value, with its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `max(x, 0)`; not a number stays so.
    Relu,
    /// x where it is above 0, else this times x.
    LeakyRelu(f32),
    /// The hyperbolic tangent.
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

/// Where a random mask stands: value i's number is word i mod 4 of Philox4x32-10's block under `key` with the counter
/// (i / 4, then these).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key.
    pub key: [u32; 2],
    /// The upper three words of the counter.
    pub counter: [u32; 3],
}

/// Calls on each of `len` values.
pub trait Elementwise: Memory {
    /// `y = f(x)`
    fn map(&self, f: Function, len: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// `dx = f'(x) dy`, where `y = f(x)`.
    fn map_backward(&self, f: Function, len: usize, x: &Self::Buf, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf);

    /// `y += x`
    fn add(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// `to = (1 - part) to + part factor from`
    fn blend(&self, len: usize, part: f32, factor: f32, from: &Self::Buf, to: &mut Self::Buf);

    /// `y = x / (1 - p)`, or 0 where the value's number (its upper 24 bits, as a part of 1) is below `p`.
    fn drop_out(&self, place: Place, p: f32, len: usize, x: &Self::Buf, y: &mut Self::Buf);
}
