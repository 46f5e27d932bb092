//! Consecutive stages in one process.
//!
//! What passes from one stage to the next is rounded as a message would round it. So the bits do not depend on where stages
//! run.

use super::snapshot::Snapshot;
use super::{Pass, Stage, StageSpec};
use crate::compute::{Backend, ComputeError};
use crate::element::Encoding;
use crate::float::Float;

/// One or more consecutive stages. The first may be the one that the data go into.
pub struct Network<B: Backend> {
    /// The stages, from the first to the last.
    stages: Vec<Stage<B>>,
    /// Number of values a sample that go into each stage, then that come out of the last.
    features: Vec<usize>,
    /// How the data's values are read, if the data go into the first stage. `None` if another stage comes before it.
    data: Option<Encoding>,
    /// The format in which other values travel and are rounded.
    wire: Float,
}

impl<B: Backend + 'static> Network<B> {
    /// Builds the stages of `specs` with their initial values. `None` if there are none.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for them.
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

    /// Number of values a sample that go in.
    pub fn input_features(&self) -> usize {
        self.features[0]
    }

    /// Number of values a sample that come out.
    pub fn output_features(&self) -> usize {
        self.features[self.stages.len()]
    }

    /// Length in bytes of a sample that goes in.
    pub fn input_bytes(&self) -> usize {
        let value = self.data.as_ref().map_or(self.wire.bytes(), |encoding| encoding.element.bytes());
        self.features[0] * value as usize
    }

    /// Reads a micro-batch (rows, in) from `bytes`, from byte `at` on, and runs it through all stages. Returns the output
    /// (rows, out), not rounded yet.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for another micro-batch in flight.
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

    /// Forgets the micro-batch that came in last. After an evaluation's forward pass there is no backward pass that would.
    pub fn forget(&mut self) {
        self.stages.iter_mut().for_each(Stage::forget);
    }

    /// Number of samples of the micro-batch whose gradient comes next: the oldest in flight. `None` if none is in flight.
    pub fn expects(&self) -> Option<usize> {
        self.stages[0].expects()
    }

    /// The buffer (rows, out) for the output's gradient of the oldest micro-batch in flight. Write to it before
    /// [`backward`](Self::backward).
    pub fn output_gradient(&mut self) -> &mut B::Buf {
        let last = self.stages.len() - 1;
        self.stages[last].output_gradient()
    }

    /// Takes the gradient of the oldest micro-batch in flight back through all stages. Returns the gradient of the input,
    /// (rows, in), not rounded yet; `None` if the data go into the first stage.
    ///
    /// # Panics
    /// If no micro-batch is in flight.
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

    /// Makes one optimizer step in all stages, at the learning rate `rate`.
    pub fn step(&mut self, backend: &B, rate: f32) {
        self.stages.iter_mut().for_each(|stage| stage.step(backend, rate));
    }

    /// A snapshot of each stage.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for them.
    ///
    /// # Panics
    /// As [`Stage::snapshot`].
    pub fn snapshots(&self, backend: &B) -> Result<Vec<Snapshot>, ComputeError> {
        self.stages.iter().map(|stage| stage.snapshot(backend)).collect()
    }

    /// Sets each stage to one of `snapshots`, which are by stage.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to read them.
    ///
    /// # Panics
    /// As [`Stage::restore`].
    pub fn restore(&mut self, backend: &B, snapshots: &[Snapshot]) -> Result<(), ComputeError> {
        self.stages.iter_mut().zip(snapshots).try_for_each(|(stage, snapshot)| stage.restore(backend, snapshot))
    }
}
