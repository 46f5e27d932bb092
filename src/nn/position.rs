//! Learned positions: `y = x + weight` for each sample, where the weight has the shape of a sample.

use super::initial::Initializer;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, values};
use crate::compute::{Backend, ComputeError};
use crate::job::{Shape, op};

/// Standard deviation of the initial values, as in GPT-2.
const DEVIATION: f32 = 0.02;

impl Blueprint for op::Position {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let shape: Vec<usize> = input.dims().iter().map(|dim| *dim as usize).collect();
        vec![Declared::new("weight", shape, Initializer::Normal(DEVIATION))]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let Some(weight) = builder.parameters(self)?.pop() else { unreachable!("there is a weight") };
        Ok(Box::new(Position { values: values(builder.input), weight }))
    }
}

/// A learned positional embedding.
struct Position<B: Backend> {
    /// Number of values of a sample.
    values: usize,
    /// What is added to each sample, in a sample's shape.
    weight: Parameter<B>,
}

impl<B: Backend> Operation<B> for Position<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.fill_rows(pass.rows, self.values, &self.weight.value, y);
        backend.add(pass.rows * self.values, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.copy(pass.rows * self.values, flow.dy, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        backend.sum_rows(pass.rows, self.values, flow.dy, accumulate, &mut self.weight.gradient);
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        vec![&self.weight]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        vec![&mut self.weight]
    }
}
