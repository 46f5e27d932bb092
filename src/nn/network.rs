//! Consecutive stages in one place.
//!
//! What passes from one to the next is rounded as messages would round it, so that the bits do not depend on where stages
//! stand.

use super::{Pass, Stage, StageSpec};
use crate::compute::{Backend, ComputeError};
use crate::element::Encoding;
use crate::float::Float;

/// One or more stages, the first of which may take the data in.
pub struct Network<B: Backend> {
    stages: Vec<Stage<B>>,
    /// Values a sample that go into each stage, and come out of the last.
    features: Vec<usize>,
    /// How the data's values go in; `None` where those of another stage do.
    data: Option<Encoding>,
    wire: Float,
}

impl<B: Backend + 'static> Network<B> {
    /// The stages of `specs`, with their initial values; `None` without any.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn new(backend: &B, specs: &[StageSpec]) -> Result<Option<Self>, ComputeError> {
        let (Some(first), Some(last)) = (specs.first(), specs.last()) else { return Ok(None) };
        let mut features: Vec<usize> = specs.iter().map(|spec| spec.input_features() as usize).collect();
        features.push(last.output_features() as usize);
        Ok(Some(Self {
            stages: specs.iter().map(|spec| Stage::new(backend, spec)).collect::<Result<_, _>>()?,
            features,
            data: first.data.clone(),
            wire: first.wire,
        }))
    }

    /// Values a sample that go in.
    pub fn input_features(&self) -> usize {
        self.features[0]
    }

    /// Values a sample that come out.
    pub fn output_features(&self) -> usize {
        self.features[self.stages.len()]
    }

    /// Bytes a sample that go in.
    pub fn input_bytes(&self) -> usize {
        let value = self.data.as_ref().map_or(self.wire.bytes(), |encoding| encoding.element.bytes());
        self.features[0] * value as usize
    }

    /// Takes a micro-batch in, (rows, in), from the `bytes` from `at` on, and runs it: what comes out, (rows, out), not
    /// rounded yet.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn forward(&mut self, backend: &B, pass: Pass, bytes: &B::Bytes, at: usize) -> Result<&B::Buf, ComputeError> {
        let (rows, features) = (pass.rows, self.features[0]);
        let taken = self.stages[0].input(backend, pass)?;
        match &self.data {
            Some(encoding) => backend.decode_data(encoding, bytes, at, rows, features, taken),
            None => backend.decode(self.wire, bytes, at, rows * features, taken),
        };
        let last = self.stages.len() - 1;
        for i in 0..last {
            let (here, behind) = self.stages.split_at_mut(i + 1);
            let output = here[i].forward(backend);
            backend.round(self.wire, rows * self.features[i + 1], output, behind[0].input(backend, pass)?);
        }
        Ok(self.stages[last].forward(backend))
    }

    /// Forgets the micro-batch taken in last: a forward pass alone keeps nothing.
    pub fn forget(&mut self) {
        self.stages.iter_mut().for_each(Stage::forget);
    }

    /// Samples of the micro-batch whose gradient comes next, `None` where none is in flight.
    pub fn expects(&self) -> Option<usize> {
        self.stages[0].expects()
    }

    /// The buffer (rows, out) that the gradient of the oldest micro-batch in flight is to be written to.
    pub fn output_gradient(&mut self) -> &mut B::Buf {
        let last = self.stages.len() - 1;
        self.stages[last].output_gradient()
    }

    /// Takes the gradient of the oldest micro-batch in flight back through all stages: that of what went in, (rows, in), not
    /// rounded yet; `None` where the data went in.
    ///
    /// # Panics
    /// Where no micro-batch is in flight.
    pub fn backward(&mut self, backend: &B) -> Option<&B::Buf> {
        let rows = self.expects().unwrap_or(0);
        for i in (1..self.stages.len()).rev() {
            let (before, here) = self.stages.split_at_mut(i);
            if let Some(gradient) = here[0].backward_input(backend) {
                backend.round(self.wire, rows * self.features[i], gradient, before[i - 1].output_gradient());
            }
            here[0].backward_params(backend);
        }
        self.stages[0].backward_input(backend);
        self.stages[0].backward_params(backend);
        self.stages[0].input_gradient()
    }

    /// One optimizer step of all stages at `rate`.
    pub fn step(&mut self, backend: &B, rate: f32) {
        self.stages.iter_mut().for_each(|stage| stage.step(backend, rate));
    }

    /// Each stage's parameters, in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn values(&self, backend: &B) -> Result<Vec<Vec<f32>>, ComputeError> {
        self.stages.iter().map(|stage| stage.values(backend)).collect()
    }
}
