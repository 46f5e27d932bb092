//! A parameter, its gradient, and the optimizer's step.

use super::initial::Initializer;
use crate::compute::{Adam, Backend, ComputeError};
use crate::job::{Clip, Optimizer, Rule};
use crate::random::Seed;

/// What is known of a parameter before it is built.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The name that PyTorch gives it within its module: `weight`, `bias`, in a residual `0.weight`.
    pub name: String,
    /// The shape that PyTorch gives it.
    pub shape: Vec<usize>,
    /// What the parameter's initial values are drawn from.
    pub(super) start: Initializer,
    /// How the parameter's values are stored in memory.
    pub(super) storage: Storage,
    /// Whether it follows a gradient, and not what has passed.
    pub(super) learned: bool,
}

impl Declared {
    /// A parameter that is learned, stored in plain layout.
    pub(super) fn new(name: &str, shape: impl Into<Vec<usize>>, start: Initializer) -> Self {
        Self { name: name.to_owned(), shape: shape.into(), start, storage: Storage::Plain, learned: true }
    }

    /// Which affine map it is the weight of, if it is one, where a sample that goes in has so many `values`: how many vectors of the sample
    /// are mapped, and how many values these have before and after.
    pub(super) fn affine_map(&self, values: usize) -> Option<[usize; 3]> {
        match (self.storage, &self.shape[..]) {
            (Storage::Transposed, &[out, input]) => Some([values / input.max(1), input, out]),
            _ => None,
        }
    }

    /// A parameter that is not learned but follows what has passed, such as a running mean.
    pub(super) fn followed(name: &str, shape: impl Into<Vec<usize>>, start: Initializer) -> Self {
        Self { learned: false, ..Self::new(name, shape, start) }
    }

    /// Number of values, or the largest u64 if there are more.
    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |values: u64, dim| values.saturating_mul(*dim as u64))
    }
}

/// A tensor of the model, with its gradient and what the optimizer keeps of it.
pub struct Parameter<B: Backend> {
    /// The shape that PyTorch gives it.
    pub shape: Vec<usize>,
    /// The values, stored in the parameter's [`Storage`].
    pub value: B::Buf,
    /// The sum of the micro-batches' gradients since the last step, stored like the values. Empty if the parameter is not
    /// learned.
    pub gradient: B::Buf,
    /// How often the values have changed since the parameter was built.
    pub changes: u64,
    /// How the parameter's values are stored in memory.
    storage: Storage,
    /// What the optimizer keeps from step to step.
    state: State<B>,
    /// How the parameter follows its gradient.
    optimizer: Optimizer,
    /// Whether the parameter follows its gradient. A running mean does not.
    learned: bool,
}

/// What the optimizer keeps from step to step, stored like the values.
enum State<B: Backend> {
    /// Nothing: plain gradient descent, or a parameter that is not learned.
    None,
    /// The velocity of gradient descent with momentum.
    Velocity(B::Buf),
    /// The state of Adam after t steps.
    Moments {
        /// The running mean of the gradient.
        mean: B::Buf,
        /// The running mean of the gradient's square.
        square: B::Buf,
        /// beta1^t and beta2^t, after t steps.
        powers: [f64; 2],
    },
}

/// How a parameter's values are stored in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// As PyTorch stores them: row-major in the parameter's shape.
    Plain,
    /// A matrix (rows, columns) is stored as its transpose (columns, rows), row-major.
    Transposed,
}

impl<B: Backend> Parameter<B> {
    /// Builds a parameter. Its initial values are drawn from `seed`, which is its operation's.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for it.
    pub(super) fn new(
        backend: &B,
        declared: Declared,
        optimizer: &Optimizer,
        seed: &Seed,
    ) -> Result<Self, ComputeError> {
        let Declared { name, shape, start, storage, learned } = declared;
        // A length that no usize can hold saturates, and no memory holds it either.
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
            Self { shape, value, gradient, changes: 0, storage, state, optimizer: *optimizer, learned };
        parameter.upload(backend, &values)?;
        Ok(parameter)
    }

    /// Number of values of the parameter.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the parameter has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the parameter's values to `values`, in PyTorch's layout.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to transpose them.
    pub(super) fn download(&self, backend: &B, values: &mut [f32]) -> Result<(), ComputeError> {
        self.plain(backend, &self.value, values)
    }

    /// Sets the parameter to `values`, which are in PyTorch's layout.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to transpose them.
    pub(super) fn upload(&mut self, backend: &B, values: &[f32]) -> Result<(), ComputeError> {
        self.changes += 1;
        let Self { storage, shape, value, .. } = self;
        laid(backend, *storage, shape, values, value)
    }

    /// Number of buffers that the optimizer keeps. Each is as long as the parameter.
    pub(super) fn kept(&self) -> usize {
        match self.state {
            State::None => 0,
            State::Velocity(_) => 1,
            State::Moments { .. } => 2,
        }
    }

    /// Copies the optimizer's buffer number `which` to `values`, in PyTorch's layout. For Adam, 0 is the mean and 1 the mean
    /// square.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to transpose it.
    pub(super) fn download_kept(&self, backend: &B, which: usize, values: &mut [f32]) -> Result<(), ComputeError> {
        match (&self.state, which) {
            (State::Velocity(kept) | State::Moments { mean: kept, .. }, 0) => self.plain(backend, kept, values),
            (State::Moments { square, .. }, _) => self.plain(backend, square, values),
            _ => Ok(()),
        }
    }

    /// Sets the optimizer's buffer number `which` to `values`, which are in PyTorch's layout.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to transpose them.
    pub(super) fn upload_kept(&mut self, backend: &B, which: usize, values: &[f32]) -> Result<(), ComputeError> {
        let Self { storage, shape, state, .. } = self;
        match (state, which) {
            (State::Velocity(kept) | State::Moments { mean: kept, .. }, 0) => {
                laid(backend, *storage, shape, values, kept)
            }
            (State::Moments { square, .. }, _) => laid(backend, *storage, shape, values, square),
            _ => Ok(()),
        }
    }

    /// The factors that the optimizer keeps: beta1^t and beta2^t after t steps of Adam, else none.
    pub(super) fn factors(&self) -> &[f64] {
        match &self.state {
            State::Moments { powers, .. } => powers,
            _ => &[],
        }
    }

    /// The factors that the optimizer keeps, to be set, see [`factors`](Self::factors).
    pub(super) fn factors_mut(&mut self) -> &mut [f64] {
        match &mut self.state {
            State::Moments { powers, .. } => powers,
            _ => &mut [],
        }
    }

    /// Copies `from`, which is stored like the values, to `to` in PyTorch's layout.
    fn plain(&self, backend: &B, from: &B::Buf, to: &mut [f32]) -> Result<(), ComputeError> {
        match (self.storage, self.shape.as_slice()) {
            (Storage::Transposed, [rows, columns]) => {
                let mut plain = backend.zeros(self.len())?;
                backend.transpose(*columns, *rows, from, &mut plain);
                backend.download(&plain, to);
            }
            _ => backend.download(from, to),
        }
        Ok(())
    }

    /// Whether the parameter follows its gradient.
    pub(super) fn is_learned(&self) -> bool {
        self.learned
    }

    /// Adds the squares of the summed gradient to `sum` (1). Unless `accumulate`, `sum` starts from zero.
    pub(super) fn add_squares(&self, backend: &B, accumulate: bool, sum: &mut B::Buf) {
        backend.add_squares(self.len(), &self.gradient, accumulate, sum);
    }

    /// Scales the summed gradient down if the norm of all gradients, the root of `squares` (1), is above `most`.
    pub(super) fn bound_norm(&mut self, backend: &B, most: f32, squares: &B::Buf) {
        backend.bound_norm(self.len(), most, squares, &mut self.gradient);
    }

    /// Makes one optimizer step with the summed gradient, at the learning rate `rate`. The parameter must be learned.
    pub(super) fn step(&mut self, backend: &B, rate: f32) {
        let len = self.len();
        self.changes += 1;
        let Self { value, gradient, state, optimizer, .. } = self;
        // First the gradient is clipped, then weight decay is added to it, as PyTorch does. AdamW's decay is decoupled: it is
        // part of the step.
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

/// Copies `from`, which is in PyTorch's layout, to `to` as `storage` says.
fn laid<B: Backend>(
    backend: &B,
    storage: Storage,
    shape: &[usize],
    from: &[f32],
    to: &mut B::Buf,
) -> Result<(), ComputeError> {
    match (storage, shape) {
        (Storage::Transposed, [rows, columns]) => {
            let mut plain = backend.zeros(from.len())?;
            backend.upload(from, &mut plain);
            backend.transpose(*rows, *columns, &plain, to);
        }
        _ => backend.upload(from, to),
    }
    Ok(())
}
