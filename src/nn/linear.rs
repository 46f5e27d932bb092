//! `y = x Wᵀ + b`, W of shape (out, in), b of shape (out), for each vector of a sample.
//!
//! A product of few rows reads its right side once and in order where that lies row-major; else all of it is rearranged
//! for every micro-batch. So W is kept as Wᵀ (in, out), for forward, and beside that, refreshed after each step, as W for
//! the gradient of the input.

use super::initial::Start;
use super::optimizer::Layout;
use super::{Builder, Declared, Flow, Operation, Parameter, Pass, Spec};
use crate::compute::{Backend, ComputeError, Gemm};
use crate::job::{Shape, op};

impl Spec for op::Linear {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let (_, width) = Self::vectors(input);
        let (width, out) = (width as usize, self.out as usize);
        let start = Start::FanIn(width);
        let weight = Declared { layout: Layout::Transposed, ..Declared::new("weight", [out, width], start) };
        let bias = self.bias.then(|| Declared::new("bias", [out], start));
        std::iter::once(weight).chain(bias).collect()
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let (vectors, input) = Self::vectors(builder.input);
        let (input, out) = (input as usize, self.out as usize);
        let mut built = builder.parameters(self)?.into_iter();
        let Some(weight) = built.next() else { unreachable!("a linear map has a weight") };
        let plain = if builder.input_gradient { Some((builder.backend.zeros(input * out)?, None)) } else { None };
        Ok(Box::new(Linear { vectors: vectors as usize, input, out, weight, bias: built.next(), plain }))
    }
}

/// The affine map, PyTorch's `nn.Linear`.
struct Linear<B: Backend> {
    /// Vectors of a sample.
    vectors: usize,
    input: usize,
    out: usize,
    /// Laid out as (in, out).
    weight: Parameter<B>,
    bias: Option<Parameter<B>>,
    /// W as (out, in), and of which change of the weight it is; absent where no one asks for the gradient of the input.
    plain: Option<(B::Buf, Option<u64>)>,
}

impl<B: Backend> Operation<B> for Linear<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        let rows = pass.rows * self.vectors;
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
        backend.gemm(shape, x, &self.weight.value, y);
    }

    /// `dx = dy W`
    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let m = pass.rows * self.vectors;
        let shape =
            Gemm { m, n: self.input, k: self.out, a_transposed: false, b_transposed: false, accumulate: false };
        let Some((plain, of)) = &mut self.plain else {
            unreachable!("built without a gradient of its input, which is asked for")
        };
        if of.replace(self.weight.changes) != Some(self.weight.changes) {
            backend.transpose(self.input, self.out, &self.weight.value, plain);
        }
        backend.gemm(shape, flow.dy, plain, dx);
    }

    /// `dWᵀ = xᵀ dy`, `db` = the sum of dy's rows.
    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let k = pass.rows * self.vectors;
        let shape = Gemm { m: self.input, n: self.out, k, a_transposed: true, b_transposed: false, accumulate };
        backend.gemm(shape, flow.x, flow.dy, &mut self.weight.gradient);
        if let Some(bias) = &mut self.bias {
            backend.sum_rows(k, self.out, flow.dy, accumulate, &mut bias.gradient);
        }
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        std::iter::once(&self.weight).chain(&self.bias).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias).collect()
    }
}
