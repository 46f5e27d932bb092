//! A parameter, its gradient, and the step that follows it.

use super::initial::Start;
use crate::compute::{Adam, Backend, ComputeError};
use crate::job::{Clip, Optimizer, Rule};
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
    state: State<B>,
    optimizer: Optimizer,
    /// Whether it follows its gradient.
    learned: bool,
}

/// What the optimizer keeps from step to step, laid out as the values.
enum State<B: Backend> {
    None,
    /// Of SGD with momentum.
    Velocity(B::Buf),
    /// Of Adam: the means of the gradient and of its square, and beta1^t, beta2^t after t steps.
    Moments {
        mean: B::Buf,
        square: B::Buf,
        powers: [f64; 2],
    },
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
        // What no number holds, no memory does.
        let len = shape.iter().fold(1, |len: usize, dim| len.saturating_mul(*dim));
        let values = start.values(&seed.derive(&name, 0), len)?;
        let value = backend.zeros(len)?;
        let state = match optimizer.rule {
            _ if !learned => State::None,
            Rule::Sgd { momentum: 0.0, .. } => State::None,
            Rule::Sgd { .. } => State::Velocity(backend.zeros(len)?),
            Rule::Adam { .. } => {
                State::Moments { mean: backend.zeros(len)?, square: backend.zeros(len)?, powers: [1.0; 2] }
            }
        };
        let gradient = backend.zeros(if learned { len } else { 0 })?;
        let mut parameter =
            Self { shape, value, gradient, changes: 0, layout, state, optimizer: *optimizer, learned };
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
        self.plain(backend, &self.value, values)
    }

    /// Takes `values`, which lie as PyTorch lays them out.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn upload(&mut self, backend: &B, values: &[f32]) -> Result<(), ComputeError> {
        self.changes += 1;
        let Self { layout, shape, value, .. } = self;
        laid(backend, *layout, shape, values, value)
    }

    /// How many buffers of the values' size the optimizer keeps.
    pub(super) fn kept(&self) -> usize {
        match self.state {
            State::None => 0,
            State::Velocity(_) => 1,
            State::Moments { .. } => 2,
        }
    }

    /// Copies the buffer number `which` of those that the optimizer keeps to `values`, laid out as PyTorch lays the values out.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn download_kept(&self, backend: &B, which: usize, values: &mut [f32]) -> Result<(), ComputeError> {
        match (&self.state, which) {
            (State::Velocity(kept) | State::Moments { mean: kept, .. }, 0) => self.plain(backend, kept, values),
            (State::Moments { square, .. }, _) => self.plain(backend, square, values),
            _ => Ok(()),
        }
    }

    /// Takes `values` for that buffer.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn upload_kept(&mut self, backend: &B, which: usize, values: &[f32]) -> Result<(), ComputeError> {
        let Self { layout, shape, state, .. } = self;
        match (state, which) {
            (State::Velocity(kept) | State::Moments { mean: kept, .. }, 0) => {
                laid(backend, *layout, shape, values, kept)
            }
            (State::Moments { square, .. }, _) => laid(backend, *layout, shape, values, square),
            _ => Ok(()),
        }
    }

    /// The factors that the optimizer keeps: beta1^t and beta2^t after t steps of Adam.
    pub(super) fn factors(&self) -> &[f64] {
        match &self.state {
            State::Moments { powers, .. } => powers,
            _ => &[],
        }
    }

    /// The same, to be set.
    pub(super) fn factors_mut(&mut self) -> &mut [f64] {
        match &mut self.state {
            State::Moments { powers, .. } => powers,
            _ => &mut [],
        }
    }

    /// Copies `from`, which lies as the values do, to `to`, as PyTorch lays them out.
    fn plain(&self, backend: &B, from: &B::Buf, to: &mut [f32]) -> Result<(), ComputeError> {
        match (self.layout, self.shape.as_slice()) {
            (Layout::Transposed, [rows, columns]) => {
                let mut plain = backend.zeros(self.len())?;
                backend.transpose(*columns, *rows, from, &mut plain);
                backend.download(&plain, to);
            }
            _ => backend.download(from, to),
        }
        Ok(())
    }

    /// Whether it follows its gradient.
    pub(super) fn is_learned(&self) -> bool {
        self.learned
    }

    /// Adds the squares of the accumulated gradient to `sum` (1), or starts a new sum unless `accumulate`.
    pub(super) fn add_squares(&self, backend: &B, accumulate: bool, sum: &mut B::Buf) {
        backend.add_squares(self.len(), &self.gradient, accumulate, sum);
    }

    /// Scales the accumulated gradient down where the root of `squares` (1) is above `most`.
    pub(super) fn bound_norm(&mut self, backend: &B, most: f32, squares: &B::Buf) {
        backend.bound_norm(self.len(), most, squares, &mut self.gradient);
    }

    /// One optimizer step with the accumulated gradient, at `rate`. Only of one that is learned.
    pub(super) fn step(&mut self, backend: &B, rate: f32) {
        let len = self.len();
        self.changes += 1;
        let Self { value, gradient, state, optimizer, .. } = self;
        if let Some(Clip::Value(most)) = optimizer.clip {
            backend.clamp(len, most, gradient);
        }
        let decoupled = matches!(optimizer.rule, Rule::Adam { decoupled: true, .. });
        if optimizer.weight_decay > 0.0 && !decoupled {
            backend.decay(len, optimizer.weight_decay, value, gradient);
        }
        match (optimizer.rule, state) {
            (Rule::Sgd { momentum, nesterov }, State::Velocity(velocity)) => {
                backend.sgd_momentum(len, rate, momentum, nesterov, gradient, velocity, value);
            }
            (Rule::Sgd { .. }, _) => {
                backend.sgd(len, rate, gradient, value);
            }
            (Rule::Adam { betas, eps, .. }, State::Moments { mean, square, powers }) => {
                *powers = [powers[0] * betas[0], powers[1] * betas[1]];
                let follow = |beta: f64| [beta as f32, (1.0 - beta) as f32];
                let step = Adam {
                    mean: follow(betas[0]),
                    square: follow(betas[1]),
                    rate: (f64::from(rate) / (1.0 - powers[0])) as f32,
                    root: (1.0 / (1.0 - powers[1]).sqrt()) as f32,
                    eps,
                    keep: if decoupled { 1.0 - rate * optimizer.weight_decay } else { 1.0 },
                };
                backend.adam(len, step, gradient, mean, square, value);
            }
            (Rule::Adam { .. }, _) => unreachable!("built with its moments"),
        }
    }
}

/// Copies `from`, which lies as PyTorch lays it out, to `to`, as `layout` says.
fn laid<B: Backend>(
    backend: &B,
    layout: Layout,
    shape: &[usize],
    from: &[f32],
    to: &mut B::Buf,
) -> Result<(), ComputeError> {
    match (layout, shape) {
        (Layout::Transposed, [rows, columns]) => {
            let mut plain = backend.zeros(from.len())?;
            backend.upload(from, &mut plain);
            backend.transpose(*rows, *columns, &plain, to);
        }
        _ => backend.upload(from, to),
    }
    Ok(())
}
