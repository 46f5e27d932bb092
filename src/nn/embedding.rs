//! Embedding: each token is replaced by its row of the weight.

use super::initial::Initializer;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, values};
use crate::compute::{Backend, ComputeError};
use crate::job::{Shape, op};

impl Blueprint for op::Embedding {
    fn parameters(&self, _input: &Shape) -> Vec<Declared> {
        vec![Declared::new("weight", [self.vocabulary as usize, self.width as usize], Initializer::Normal(1.0))]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let Some(weight) = builder.parameters(self)?.pop() else { unreachable!("there is a weight") };
        let [vocabulary, width] = [self.vocabulary, self.width].map(|size| size as usize);
        let tokens = values(builder.input);
        let nothing = builder.backend.zeros(if builder.input_gradient { builder.rows * tokens } else { 0 })?;
        Ok(Box::new(Embedding { tokens, vocabulary, width, weight, nothing }))
    }
}

/// A table of one vector for each token: PyTorch's `nn.Embedding`.
struct Embedding<B: Backend> {
    /// Number of tokens of a sample.
    tokens: usize,
    /// Number of rows of the weight: the tokens that there may be.
    vocabulary: usize,
    /// Number of values of a row.
    width: usize,
    /// The weight, (vocabulary, width).
    weight: Parameter<B>,
    /// Zeros, (rows, in): the gradient of the input, which is whole numbers. Empty if nobody asks for it.
    nothing: B::Buf,
}

impl<B: Backend> Operation<B> for Embedding<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.look_up(pass.rows * self.tokens, self.vocabulary, self.width, x, &self.weight.value, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, _flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.copy(pass.rows * self.tokens, &self.nothing, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let count = pass.rows * self.tokens;
        let (x, dy, dw) = (flow.x, flow.dy, &mut self.weight.gradient);
        backend.add_up(count, self.vocabulary, self.width, x, dy, accumulate, dw);
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        vec![&self.weight]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        vec![&mut self.weight]
    }
}
