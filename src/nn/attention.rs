//! Self-attention: an affine map makes queries, keys and values of each token, heads attend on their own, another map brings
//! together what they gather.
//!
//! Queries, keys and values are kept for backward, turned where they are to be, and what the heads have gathered. Their weights,
//! of tokens times tokens, are not: backward works them out again.

use super::affine::{self, Affine};
use super::initial::Start;
use super::{Builder, Declared, Flow, Operation, Parameter, Pass, Spec, values};
use crate::compute::precise::{exp, ln, sin_cos};
use crate::compute::{Backend, ComputeError, Heads};
use crate::job::{Shape, op};

/// The base of the angles, as in "RoFormer" (Su et al., 2021), section 3.3.
const BASE: f64 = 10_000.0;

fn width(input: &Shape) -> usize {
    input.dims().last().map_or(1, |width| *width as usize)
}

impl Spec for op::Attention {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let width = width(input);
        let zero = Start::Is(0.0);
        let into = [("in_proj_weight", Start::Xavier { fan_in: width, fan_out: 3 * width }), ("in_proj_bias", zero)];
        let out = [("out_proj.weight", Start::FanIn(width)), ("out_proj.bias", zero)];
        let into = affine::declared(into, width, 3 * width, self.bias);
        into.chain(affine::declared(out, width, width, self.bias)).collect()
    }

    /// Queries, keys and values, and what is gathered of them.
    fn keeps(&self, input: &Shape, rows: usize) -> Vec<usize> {
        vec![rows * 3 * values(input), rows * values(input)]
    }

    fn chained(&self) -> bool {
        true
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let Builder { backend, rows, input, .. } = builder;
        let (width, heads) = (width(input), self.heads as usize);
        let shape = Heads { tokens: values(input) / width, heads, width: width / heads, causal: self.causal };
        let mut built = builder.parameters(self)?.into_iter();
        let mut turns = None;
        if self.rotary {
            let angles = turned(shape);
            let mut buffer = backend.zeros(angles.len())?;
            backend.upload(&angles, &mut buffer);
            turns = Some(buffer);
        }
        Ok(Box::new(Attention {
            shape,
            into: Affine::new(backend, [width, 3 * width], self.bias, &mut built, true)?,
            out: Affine::new(backend, [width, width], self.bias, &mut built, true)?,
            turns,
            scratch: backend.zeros(backend.attention_scratch(shape, rows))?,
            gathered: backend.zeros(rows * values(input))?,
            gradient: backend.zeros(rows * 3 * values(input))?,
        }))
    }
}

/// The cosines, then the sines, (2, tokens, width / 2): value i of a head turns by `token BASE^(-2 i / width)`.
fn turned(shape: Heads) -> Vec<f32> {
    let half = shape.width / 2;
    let rates: Vec<f64> = (0..half).map(|i| exp(-ln(BASE) * i as f64 / half as f64)).collect();
    let angles = (0..shape.tokens).flat_map(|token| rates.iter().map(move |rate| sin_cos(token as f64 * rate)));
    let (sines, mut turns): (Vec<f32>, Vec<f32>) = angles.map(|(sin, cos)| (sin as f32, cos as f32)).unzip();
    turns.extend(sines);
    turns
}

/// PyTorch's `nn.MultiheadAttention` of a sequence to itself, without dropout.
struct Attention<B: Backend> {
    shape: Heads,
    into: Affine<B>,
    out: Affine<B>,
    /// By how much queries and keys turn, if they do.
    turns: Option<B::Buf>,
    scratch: B::Buf,
    /// Gradients of the micro-batch that goes back: of what the heads have gathered, and of queries, keys and values.
    gathered: B::Buf,
    gradient: B::Buf,
}

impl<B: Backend> Operation<B> for Attention<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let tokens = pass.rows * self.shape.tokens;
        let [mapped, gathered] = kept else { unreachable!("what is attended to is kept") };
        self.into.forward(backend, tokens, x, mapped);
        if let Some(turns) = &self.turns {
            backend.rotate(self.shape, pass.rows, false, turns, mapped);
        }
        backend.attention(self.shape, pass.rows, mapped, &mut self.scratch, gathered);
        self.out.forward(backend, tokens, gathered, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let tokens = pass.rows * self.shape.tokens;
        let [mapped, _] = flow.kept else { unreachable!("what is attended to is kept") };
        let Self { shape, gathered, gradient, scratch, .. } = self;
        self.out.backward_input(backend, tokens, flow.dy, gathered);
        backend.attention_backward(*shape, pass.rows, mapped, gathered, scratch, gradient);
        if let Some(turns) = &self.turns {
            backend.rotate(*shape, pass.rows, true, turns, gradient);
        }
        self.into.backward_input(backend, tokens, gradient, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let tokens = pass.rows * self.shape.tokens;
        let [_, gathered] = flow.kept else { unreachable!("what is attended to is kept") };
        self.into.backward_params(backend, tokens, flow.x, &self.gradient, accumulate);
        self.out.backward_params(backend, tokens, gathered, flow.dy, accumulate);
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        self.into.parameters().chain(self.out.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        self.into.parameters_mut().chain(self.out.parameters_mut()).collect()
    }
}
