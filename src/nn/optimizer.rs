//! A parameter, its gradient, and the step that follows it.

use crate::compute::{Backend, ComputeError};
use crate::job::Optimizer;

/// A named tensor that is learned.
pub struct Parameter<B: Backend> {
    /// As PyTorch names it within its module: `weight`, `bias`.
    pub name: &'static str,
    /// As PyTorch lays it out, row-major.
    pub shape: Vec<usize>,
    /// The values.
    pub value: B::Buf,
    /// The sum of the micro-batches' gradients.
    pub gradient: B::Buf,
    velocity: Option<B::Buf>,
    optimizer: Optimizer,
}

impl<B: Backend> Parameter<B> {
    /// A parameter that starts at `values`.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn new(
        backend: &B,
        name: &'static str,
        shape: Vec<usize>,
        values: &[f32],
        optimizer: &Optimizer,
    ) -> Result<Self, ComputeError> {
        let mut value = backend.zeros(values.len())?;
        backend.upload(values, &mut value);
        let Optimizer::Sgd { momentum, .. } = *optimizer;
        let velocity = if momentum == 0.0 { None } else { Some(backend.zeros(values.len())?) };
        Ok(Self { name, shape, value, gradient: backend.zeros(values.len())?, velocity, optimizer: *optimizer })
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One optimizer step with the accumulated gradient, at `rate`.
    pub(super) fn step(&mut self, backend: &B, rate: f32) -> B::Event {
        let len = self.len();
        let Optimizer::Sgd { momentum, .. } = self.optimizer;
        match &mut self.velocity {
            None => backend.sgd(len, rate, &self.gradient, &mut self.value),
            Some(velocity) => backend.sgd_momentum(len, rate, momentum, &self.gradient, velocity, &mut self.value),
        }
    }
}
