//! `y = x Wᵀ + b`, W of shape (out, in), b of shape (out), for each of so many vectors.
//!
//! A product of few rows reads its right side once and in order where that lies row-major; else all of it is rearranged
//! for every micro-batch. So W is kept as Wᵀ (in, out), for forward, and beside that, refreshed after each step, as W for
//! the gradient of the input.

use super::initial::Start;
use super::optimizer::Layout;
use super::{Declared, Parameter};
use crate::compute::{Backend, ComputeError, Gemm};

/// The weight and, if there is one, the bias, called so, and where they start.
pub(super) fn declared(
    [weight, bias]: [(&str, Start); 2],
    input: usize,
    out: usize,
    biased: bool,
) -> impl Iterator<Item = Declared> + use<> {
    let weight = Declared { layout: Layout::Transposed, ..Declared::new(weight.0, [out, input], weight.1) };
    let bias = biased.then(|| Declared::new(bias.0, [out], bias.1));
    std::iter::once(weight).chain(bias)
}

/// An affine map.
pub(super) struct Affine<B: Backend> {
    input: usize,
    out: usize,
    /// Laid out as (in, out).
    weight: Parameter<B>,
    bias: Option<Parameter<B>>,
    /// W as (out, in), and of which change of the weight it is; absent where no one asks for the gradient of the input.
    plain: Option<(B::Buf, Option<u64>)>,
}

impl<B: Backend> Affine<B> {
    /// The map of the next parameters of `built`, which are as [`declared`] says.
    pub(super) fn new(
        backend: &B,
        [input, out]: [usize; 2],
        bias: bool,
        built: &mut impl Iterator<Item = Parameter<B>>,
        input_gradient: bool,
    ) -> Result<Self, ComputeError> {
        let Some(weight) = built.next() else { unreachable!("an affine map has a weight") };
        let bias = if bias { built.next() } else { None };
        let plain = if input_gradient { Some((backend.zeros(input * out)?, None)) } else { None };
        Ok(Self { input, out, weight, bias, plain })
    }

    /// `y` (rows, out) of `x` (rows, in).
    pub(super) fn forward(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) {
        match &self.bias {
            Some(bias) => backend.gemm_bias(self.product(rows), x, &self.weight.value, &bias.value, false, y),
            None => backend.gemm(self.product(rows), x, &self.weight.value, y),
        }
    }

    /// As [`forward`](Affine::forward), with 0 in place of what is below it. It has a bias.
    pub(super) fn forward_relu(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) {
        let Some(bias) = &self.bias else { unreachable!("relu goes along with a bias") };
        backend.gemm_bias(self.product(rows), x, &self.weight.value, &bias.value, true, y);
    }

    /// Forward's.
    fn product(&self, rows: usize) -> Gemm {
        Gemm { m: rows, n: self.out, k: self.input, a_transposed: false, b_transposed: false, accumulate: false }
    }

    /// `dx = dy W`
    pub(super) fn backward_input(&mut self, backend: &B, rows: usize, dy: &B::Buf, dx: &mut B::Buf) {
        let shape =
            Gemm { m: rows, n: self.input, k: self.out, a_transposed: false, b_transposed: false, accumulate: false };
        let Some((plain, of)) = &mut self.plain else {
            unreachable!("built without a gradient of its input, which is asked for")
        };
        if of.replace(self.weight.changes) != Some(self.weight.changes) {
            backend.transpose(self.input, self.out, &self.weight.value, plain);
        }
        backend.gemm(shape, dy, plain, dx);
    }

    /// `dWᵀ = xᵀ dy`, `db` = the sum of dy's rows.
    pub(super) fn backward_params(&mut self, backend: &B, rows: usize, x: &B::Buf, dy: &B::Buf, accumulate: bool) {
        let shape = Gemm { m: self.input, n: self.out, k: rows, a_transposed: true, b_transposed: false, accumulate };
        backend.gemm(shape, x, dy, &mut self.weight.gradient);
        if let Some(bias) = &mut self.bias {
            backend.sum_rows(rows, self.out, dy, accumulate, &mut bias.gradient);
        }
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter<B>> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}
