//! `y = x Wᵀ + b`, W of shape (out, in), b of shape (out).
//!
//! A product of few rows reads its right side once and in order where that lies row-major; else all of it is rearranged
//! for every micro-batch. So W is kept as Wᵀ (in, out), for forward, and beside that, refreshed after each step, as W for
//! the gradient of the input.

use super::optimizer::Layout;
use super::{Operation, Parameter, initial};
use crate::compute::{Backend, ComputeError, Gemm};
use crate::job::Optimizer;
use crate::random::Seed;

/// The affine map, PyTorch's `nn.Linear`.
pub(super) struct Linear<B: Backend> {
    input: usize,
    out: usize,
    /// Laid out as (in, out).
    weight: Parameter<B>,
    bias: Option<Parameter<B>>,
    /// W as (out, in), and the step that it is of; absent where no one asks for the gradient of the input.
    plain: Option<(B::Buf, Option<u64>)>,
}

/// Name and shape of weight and bias.
pub(super) fn parameters(input: usize, out: usize, bias: bool) -> Vec<(&'static str, Vec<usize>)> {
    let weight = ("weight", vec![out, input]);
    if bias { vec![weight, ("bias", vec![out])] } else { vec![weight] }
}

impl<B: Backend> Linear<B> {
    /// Starts from PyTorch's initial distribution, drawn from `seed`. Has a gradient of its input if `input_gradient`.
    pub(super) fn new(
        backend: &B,
        input: usize,
        out: usize,
        bias: bool,
        input_gradient: bool,
        optimizer: &Optimizer,
        seed: &Seed,
    ) -> Result<Self, ComputeError> {
        let mut built = parameters(input, out, bias).into_iter().map(|(name, shape)| {
            let values = initial::uniform_fan_in(&seed.derive(name, 0), shape.iter().product(), input);
            let layout = if shape.len() == 2 { Layout::Transposed } else { Layout::Plain };
            Parameter::new(backend, name, shape, layout, &values, optimizer)
        });
        let Some(weight) = built.next() else { unreachable!("a linear map has a weight") };
        let plain = if input_gradient { Some((backend.zeros(input * out)?, None)) } else { None };
        Ok(Self { input, out, weight: weight?, bias: built.next().transpose()?, plain })
    }
}

impl<B: Backend> Operation<B> for Linear<B> {
    fn output_features(&self) -> usize {
        self.out
    }

    fn forward(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) -> B::Event {
        if let Some(bias) = &self.bias {
            backend.fill_rows(rows, self.out, &bias.value, y);
        }
        let shape = Gemm {
            m: rows,
            n: self.out,
            k: self.input,
            a_transposed: false,
            b_transposed: false,
            accumulate: self.bias.is_some(),
        };
        backend.gemm(shape, x, &self.weight.value, y)
    }

    /// `dx = dy W`
    fn backward_input(
        &mut self,
        backend: &B,
        rows: usize,
        _x: &B::Buf,
        _y: &B::Buf,
        dy: &B::Buf,
        dx: &mut B::Buf,
    ) -> B::Event {
        let shape =
            Gemm { m: rows, n: self.input, k: self.out, a_transposed: false, b_transposed: false, accumulate: false };
        let Some((plain, of)) = &mut self.plain else {
            unreachable!("built without a gradient of its input, which is asked for")
        };
        if of.replace(self.weight.steps) != Some(self.weight.steps) {
            backend.transpose(self.input, self.out, &self.weight.value, plain);
        }
        backend.gemm(shape, dy, plain, dx)
    }

    /// `dWᵀ = xᵀ dy`, `db` = the sum of dy's rows.
    fn backward_params(&mut self, backend: &B, rows: usize, x: &B::Buf, dy: &B::Buf, accumulate: bool) {
        let shape = Gemm { m: self.input, n: self.out, k: rows, a_transposed: true, b_transposed: false, accumulate };
        backend.gemm(shape, x, dy, &mut self.weight.gradient);
        if let Some(bias) = &mut self.bias {
            backend.sum_rows(rows, self.out, dy, accumulate, &mut bias.gradient);
        }
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        std::iter::once(&self.weight).chain(&self.bias).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias).collect()
    }
}
