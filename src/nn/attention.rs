//! Multi-head self-attention. An affine map makes queries, keys and values of each token; each head attends on its own; a
//! second affine map combines what they gather.
//!
//! For backward two results are kept: the queries, keys and values, already rotated if they are to be; and what the heads have
//! gathered. The attention weights, tokens times tokens values a head, are not kept; backward computes them again.

use super::affine::{self, Affine};
use super::initial::Initializer;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, values};
use crate::compute::precise::{exp, ln, sin_cos};
use crate::compute::{Backend, ComputeError, Heads};
use crate::job::{Shape, op};

/// The base of the rotary angles, as in "RoFormer" (Su et al., 2021), section 3.3.
const BASE: f64 = 10_000.0;

/// Number of values of a token.
fn width(input: &Shape) -> usize {
    input.dims().last().map_or(1, |width| *width as usize)
}

impl Blueprint for op::Attention {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let width = width(input);
        let zero = Initializer::Is(0.0);
        let into =
            [("in_proj_weight", Initializer::Xavier { fan_in: width, fan_out: 3 * width }), ("in_proj_bias", zero)];
        let out = [("out_proj.weight", Initializer::FanIn(width)), ("out_proj.bias", zero)];
        let into = affine::declared(into, width, 3 * width, self.bias);
        into.chain(affine::declared(out, width, width, self.bias)).collect()
    }

    /// Two buffers: queries, keys and values, (rows, tokens, 3, width); and what the heads have gathered of them, (rows,
    /// tokens, width).
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

/// The cosines and sines of the rotary angles, (2, tokens, width / 2). Pair i of a head turns by `token BASE^(-2 i / width)`.
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
    /// Tokens, heads, and values of a head.
    shape: Heads,
    /// The map from tokens to queries, keys and values: `in_proj` in PyTorch, width to 3 width values.
    into: Affine<B>,
    /// The map that combines the heads: `out_proj` in PyTorch, width to width values.
    out: Affine<B>,
    /// Cosines and sines by which queries and keys are rotated, see [`turned`]. `None` if they are not.
    turns: Option<B::Buf>,
    /// Scratch memory of the backend's attention calls.
    scratch: B::Buf,
    /// For the micro-batch in backward: the gradient of what the heads have gathered, (rows, tokens, width).
    gathered: B::Buf,
    /// For the micro-batch in backward: the gradient of queries, keys and values, (rows, tokens, 3, width). `backward_input`
    /// leaves it for `backward_params`.
    gradient: B::Buf,
}

impl<B: Backend> Operation<B> for Attention<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let tokens = pass.rows * self.shape.tokens;
        let [mapped, gathered] = kept else { unreachable!("what is attended to is kept") };
        // x (rows x tokens, width) to q, k, v (rows x tokens, 3 width).
        self.into.forward(backend, tokens, x, mapped);
        if let Some(turns) = &self.turns {
            backend.rotate(self.shape, pass.rows, false, turns, mapped);
        }
        // softmax(q k^T / sqrt(head width)) v, head by head: (rows, tokens, width).
        backend.attention(self.shape, pass.rows, mapped, &mut self.scratch, gathered);
        self.out.forward(backend, tokens, gathered, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let tokens = pass.rows * self.shape.tokens;
        let [mapped, _] = flow.kept else { unreachable!("what is attended to is kept") };
        let Self { shape, gathered, gradient, scratch, .. } = self;
        // The steps of forward in reverse. First through out_proj: d gathered = dy W_out.
        self.out.backward_input(backend, tokens, flow.dy, gathered);
        // Through the heads: dq, dk, dv from d gathered, with the weights computed again.
        backend.attention_backward(*shape, pass.rows, mapped, gathered, scratch, gradient);
        // A rotation's gradient is turned by the negative angle.
        if let Some(turns) = &self.turns {
            backend.rotate(*shape, pass.rows, true, turns, gradient);
        }
        // Through in_proj: dx = (dq, dk, dv) W_in.
        self.into.backward_input(backend, tokens, gradient, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let tokens = pass.rows * self.shape.tokens;
        let [_, gathered] = flow.kept else { unreachable!("what is attended to is kept") };
        // dW_in = (dq, dk, dv)^T x, from what backward_input has left; dW_out = dy^T gathered.
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
