//! A parameter, its gradient, and the step that follows it.

use crate::compute::{Backend, ComputeError};
use crate::job::Optimizer;

/// A named tensor that is learned.
pub struct Parameter<B: Backend> {
    /// As PyTorch names it within its module: `weight`, `bias`.
    pub name: &'static str,
    /// As PyTorch has it.
    pub shape: Vec<usize>,
    /// The values, laid out as `layout` says.
    pub value: B::Buf,
    /// The sum of the micro-batches' gradients, laid out as the values.
    pub gradient: B::Buf,
    /// Optimizer steps so far.
    pub steps: u64,
    layout: Layout,
    velocity: Option<B::Buf>,
    optimizer: Optimizer,
}

/// How values lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As PyTorch lays them out: row-major in the parameter's shape.
    Plain,
    /// A matrix (rows, columns) as its transpose (columns, rows).
    Transposed,
}

impl<B: Backend> Parameter<B> {
    /// A parameter that starts at `values`, which lie as PyTorch lays them out.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn new(
        backend: &B,
        name: &'static str,
        shape: Vec<usize>,
        layout: Layout,
        values: &[f32],
        optimizer: &Optimizer,
    ) -> Result<Self, ComputeError> {
        let mut value = backend.zeros(values.len())?;
        match (layout, shape.as_slice()) {
            (Layout::Transposed, [rows, columns]) => {
                let mut plain = backend.zeros(values.len())?;
                backend.upload(values, &mut plain);
                backend.transpose(*rows, *columns, &plain, &mut value);
            }
            _ => drop(backend.upload(values, &mut value)),
        }
        let Optimizer::Sgd { momentum, .. } = *optimizer;
        let velocity = if momentum == 0.0 { None } else { Some(backend.zeros(values.len())?) };
        let gradient = backend.zeros(values.len())?;
        Ok(Self { name, shape, value, gradient, steps: 0, layout, velocity, optimizer: *optimizer })
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the values to `values`, as PyTorch lays them out.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn download(&self, backend: &B, values: &mut [f32]) -> Result<(), ComputeError> {
        match (self.layout, self.shape.as_slice()) {
            (Layout::Transposed, [rows, columns]) => {
                let mut plain = backend.zeros(self.len())?;
                backend.transpose(*columns, *rows, &self.value, &mut plain);
                backend.download(&plain, values);
            }
            _ => backend.download(&self.value, values),
        }
        Ok(())
    }

    /// One optimizer step with the accumulated gradient, at `rate`.
    pub(super) fn step(&mut self, backend: &B, rate: f32) -> B::Event {
        let len = self.len();
        self.steps += 1;
        let Optimizer::Sgd { momentum, .. } = self.optimizer;
        match &mut self.velocity {
            None => backend.sgd(len, rate, &self.gradient, &mut self.value),
            Some(velocity) => backend.sgd_momentum(len, rate, momentum, &self.gradient, velocity, &mut self.value),
        }
    }
}
