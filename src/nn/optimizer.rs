//! A parameter, its gradient, and the step that follows it.

use super::initial::Start;
use crate::compute::{Backend, ComputeError};
use crate::job::Optimizer;
use crate::random::Seed;

/// What is known of a parameter before it is built.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// As PyTorch names it within its module: `weight`, `bias`, in a residual `0.weight`.
    pub name: String,
    /// As PyTorch has it.
    pub shape: Vec<usize>,
    pub(super) start: Start,
    pub(super) layout: Layout,
    pub(super) learned: bool,
}

impl Declared {
    /// One that is learned.
    pub(super) fn new(name: &str, shape: impl Into<Vec<usize>>, start: Start) -> Self {
        Self { name: name.to_owned(), shape: shape.into(), start, layout: Layout::Plain, learned: true }
    }

    /// One that follows from what has passed, such as a running mean.
    pub(super) fn followed(name: &str, shape: impl Into<Vec<usize>>, start: Start) -> Self {
        Self { learned: false, ..Self::new(name, shape, start) }
    }

    /// Values; the most of a u64 where there are more.
    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |values: u64, dim| values.saturating_mul(*dim as u64))
    }
}

/// A named tensor of the model.
pub struct Parameter<B: Backend> {
    /// As PyTorch has it.
    pub shape: Vec<usize>,
    /// The values, laid out as `layout` says.
    pub value: B::Buf,
    /// The sum of the micro-batches' gradients, laid out as the values.
    pub gradient: B::Buf,
    /// How often the values have changed.
    pub changes: u64,
    layout: Layout,
    velocity: Option<B::Buf>,
    optimizer: Optimizer,
    /// Whether it follows its gradient.
    learned: bool,
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
    /// The parameter that is `declared`, at its initial values, drawn from `seed`, its operation's.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn new(
        backend: &B,
        declared: Declared,
        optimizer: &Optimizer,
        seed: &Seed,
    ) -> Result<Self, ComputeError> {
        let Declared { name, shape, start, layout, learned } = declared;
        let len: usize = shape.iter().product();
        let values = start.values(&seed.derive(&name, 0), len);
        let value = backend.zeros(len)?;
        let Optimizer::Sgd { momentum, .. } = *optimizer;
        let velocity = if momentum == 0.0 || !learned { None } else { Some(backend.zeros(len)?) };
        let gradient = backend.zeros(if learned { len } else { 0 })?;
        let mut parameter =
            Self { shape, value, gradient, changes: 0, layout, velocity, optimizer: *optimizer, learned };
        parameter.upload(backend, &values)?;
        Ok(parameter)
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

    /// Takes `values`, which lie as PyTorch lays them out.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn upload(&mut self, backend: &B, values: &[f32]) -> Result<(), ComputeError> {
        match (self.layout, self.shape.as_slice()) {
            (Layout::Transposed, [rows, columns]) => {
                let mut plain = backend.zeros(values.len())?;
                backend.upload(values, &mut plain);
                backend.transpose(*rows, *columns, &plain, &mut self.value);
            }
            _ => drop(backend.upload(values, &mut self.value)),
        }
        self.changes += 1;
        Ok(())
    }

    /// One optimizer step with the accumulated gradient, at `rate`; none where it is not learned.
    pub(super) fn step(&mut self, backend: &B, rate: f32) {
        if !self.learned {
            return;
        }
        let len = self.len();
        self.changes += 1;
        let Optimizer::Sgd { momentum, .. } = self.optimizer;
        match &mut self.velocity {
            None => backend.sgd(len, rate, &self.gradient, &mut self.value),
            Some(velocity) => backend.sgd_momentum(len, rate, momentum, &self.gradient, velocity, &mut self.value),
        };
    }
}
