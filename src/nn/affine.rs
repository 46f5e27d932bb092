//! An affine map, `y = x Wᵀ + b`, applied to each of a number of vectors. W is (out, in), b is (out).
//!
//! A product with few rows reads its right matrix once and in order if that is stored row-major; otherwise the whole matrix is
//! rearranged for every micro-batch. So W is kept as Wᵀ (in, out) for forward. For the gradient of the input there is a copy as
//! W (out, in), which is refreshed after each step.

use super::initial::Initializer;
use super::optimizer::Storage;
use super::{Declared, Parameter};
use crate::compute::{Backend, ComputeError, Gemm};

/// The parameters of an affine map, with their names and initial values: the weight and, if `biased`, the bias.
pub(super) fn declared(
    [weight, bias]: [(&str, Initializer); 2],
    input: usize,
    out: usize,
    biased: bool,
) -> impl Iterator<Item = Declared> + use<> {
    let weight = Declared { storage: Storage::Transposed, ..Declared::new(weight.0, [out, input], weight.1) };
    let bias = biased.then(|| Declared::new(bias.0, [out], bias.1));
    std::iter::once(weight).chain(bias)
}

/// An affine map from vectors of `input` values to vectors of `out` values.
pub(super) struct Affine<B: Backend> {
    /// Number of values of a vector that goes in.
    input: usize,
    /// Number of values of a vector that comes out.
    out: usize,
    /// The weight W, stored as Wᵀ (in, out).
    weight: Parameter<B>,
    /// The bias b, (out), if there is one.
    bias: Option<Parameter<B>>,
    /// The weight as W (out, in), and the number of the weight's changes when it was copied. Absent if nobody asks for the
    /// gradient of the input.
    plain: Option<(B::Buf, Option<u64>)>,
}

impl<B: Backend> Affine<B> {
    /// Takes the map's parameters, which are as [`declared`] says, from the front of `built`. `input_gradient` says whether the
    /// gradient of the input will be asked for.
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

    /// `y = x Wᵀ + b`, where x is (rows, in) and y (rows, out).
    pub(super) fn forward(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) {
        match &self.bias {
            Some(bias) => backend.gemm_bias(self.product(rows), x, &self.weight.value, &bias.value, false, y),
            None => backend.gemm(self.product(rows), x, &self.weight.value, y),
        }
    }

    /// `y = max(0, x Wᵀ + b)`, where x is (rows, in) and y (rows, out). The map must have a bias.
    pub(super) fn forward_relu(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) {
        let Some(bias) = &self.bias else { unreachable!("relu goes along with a bias") };
        backend.gemm_bias(self.product(rows), x, &self.weight.value, &bias.value, true, y);
    }

    /// The shape of forward's product: x (rows, in) times Wᵀ (in, out).
    fn product(&self, rows: usize) -> Gemm {
        Gemm { m: rows, n: self.out, k: self.input, a_transposed: false, b_transposed: false, accumulate: false }
    }

    /// `dx = dy W`, where dy is (rows, out) and dx (rows, in).
    pub(super) fn backward_input(&mut self, backend: &B, rows: usize, dy: &B::Buf, dx: &mut B::Buf) {
        let shape =
            Gemm { m: rows, n: self.input, k: self.out, a_transposed: false, b_transposed: false, accumulate: false };
        let Some((plain, of)) = &mut self.plain else {
            unreachable!("built without a gradient of its input, which is asked for")
        };
        // The copy of W is refreshed if the weight has changed since.
        if of.replace(self.weight.changes) != Some(self.weight.changes) {
            backend.transpose(self.input, self.out, &self.weight.value, plain);
        }
        backend.gemm(shape, dy, plain, dx);
    }

    /// The gradients of the parameters: `dWᵀ = xᵀ dy`, and `db` = the sum of dy's rows. If `accumulate`, they are added to the
    /// sums so far.
    pub(super) fn backward_params(&mut self, backend: &B, rows: usize, x: &B::Buf, dy: &B::Buf, accumulate: bool) {
        let shape = Gemm { m: self.input, n: self.out, k: rows, a_transposed: true, b_transposed: false, accumulate };
        backend.gemm(shape, x, dy, &mut self.weight.gradient);
        if let Some(bias) = &mut self.bias {
            backend.sum_rows(rows, self.out, dy, accumulate, &mut bias.gradient);
        }
    }

    /// The weight, then the bias if there is one.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter<B>> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// The weight, then the bias if there is one, to be changed.
    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}
