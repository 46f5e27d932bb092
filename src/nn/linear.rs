//! A linear layer: an affine map of each vector of a sample.

use super::affine::{self, Affine};
use super::initial::Initializer;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass};
use crate::compute::{Backend, ComputeError};
use crate::job::{Shape, op};

impl Blueprint for op::Linear {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let (_, width) = Self::vectors(input);
        let start = Initializer::FanIn(width as usize);
        affine::declared([("weight", start), ("bias", start)], width as usize, self.out as usize, self.bias).collect()
    }

    fn takes_relu(&self) -> bool {
        self.bias
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let (vectors, input) = Self::vectors(builder.input);
        let sizes = [input as usize, self.out as usize];
        let mut built = builder.parameters(self)?.into_iter();
        let map = Affine::new(builder.backend, sizes, self.bias, &mut built, builder.input_gradient)?;
        Ok(Box::new(Linear { vectors: vectors as usize, map }))
    }
}

/// A matrix product with a weight, and a bias or none: PyTorch's `nn.Linear`.
struct Linear<B: Backend> {
    /// Number of vectors of a sample: its tokens, or 1.
    vectors: usize,
    /// The map from a vector that goes in to one that comes out.
    map: Affine<B>,
}

impl<B: Backend> Operation<B> for Linear<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        self.map.forward(backend, pass.rows * self.vectors, x, y);
    }

    fn forward_relu(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf) {
        self.map.forward_relu(backend, pass.rows * self.vectors, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        self.map.backward_input(backend, pass.rows * self.vectors, flow.dy, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        self.map.backward_params(backend, pass.rows * self.vectors, flow.x, flow.dy, accumulate);
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        self.map.parameters().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        self.map.parameters_mut().collect()
    }
}
