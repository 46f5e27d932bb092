//! A stage: operations in a chain, what their backward pass needs, their optimizer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Operation, build};
use crate::compute::{Backend, ComputeError};
use crate::job::{MOST_FEATURES, Op, Optimizer};
use crate::random::Seed;

/// All that a rank must be told to host a stage; says nothing of any other stage.
#[derive(Serialize, Deserialize)]
pub struct StageSpec {
    /// Operations in order.
    pub ops: Vec<Op>,
    /// Features of a sample that go in.
    pub input_features: u32,
    /// Features of a sample that go out.
    pub output_features: u32,
    /// What the bytes that go in are multiplied with; `None` where f32 values go in.
    pub input_scale: Option<f32>,
    /// Samples of a micro-batch, at most.
    pub micro_batch: u32,
    /// How its parameters follow their gradients.
    pub optimizer: Optimizer,
    /// What its initial values are drawn from.
    pub seed: Seed,
}

impl StageSpec {
    /// Index of the operation, name and shape of each parameter.
    pub fn parameters(&self) -> Vec<(usize, &'static str, Vec<usize>)> {
        let mut features = self.input_features as usize;
        let mut found = Vec::new();
        for (i, op) in self.ops.iter().enumerate() {
            found.extend(super::parameters(op, features).into_iter().map(|(name, shape)| (i, name, shape)));
            features = super::output_features(op, features);
        }
        found
    }

    /// Whether the operations lead from what goes in to what goes out, each as large as a job may ask for.
    pub fn chains(&self) -> bool {
        let may = |op: &Op| match *op {
            Op::Linear { out, .. } => (1..=MOST_FEATURES).contains(&out),
            Op::Relu => true,
        };
        let out =
            self.ops.iter().fold(self.input_features as usize, |features, op| super::output_features(op, features));
        !self.ops.is_empty() && self.ops.iter().all(may) && out == self.output_features as usize
    }

    /// Values of all parameters.
    pub fn parameter_count(&self) -> u64 {
        let values = self.parameters().into_iter().map(|(_, _, shape)| shape.into_iter().product::<usize>() as u64);
        values.fold(0, u64::saturating_add)
    }

    /// Values of one micro-batch's activations: what goes into each operation and what comes out of the last.
    pub fn activation_count(&self) -> u64 {
        let mut features = self.input_features as usize;
        let mut sum = features;
        for op in &self.ops {
            features = super::output_features(op, features);
            sum += features;
        }
        sum as u64 * u64::from(self.micro_batch)
    }
}

/// The operations of one rank, with their parameters.
///
/// For each micro-batch in flight, [`input`](Stage::input) and [`forward`](Stage::forward) put its activations at the
/// back of a queue; [`backward_input`](Stage::backward_input) and [`backward_params`](Stage::backward_params) work on
/// the front, since gradients return in the order in which activations left.
pub struct Stage<B: Backend> {
    ops: Vec<Box<dyn Operation<B>>>,
    input_features: usize,
    micro_batch: usize,
    /// Whether anyone asks for the gradient of the input.
    wants_input_gradient: bool,
    in_flight: VecDeque<Activations<B>>,
    spare: Vec<Activations<B>>,
    /// `gradients[i]` (rows, features): of what goes into operation i; the last: of what comes out of the stage.
    gradients: Vec<B::Buf>,
    /// Micro-batches whose gradient is in the sum.
    summed: u32,
}

/// `values[i]` (rows, features) goes into operation i; the last comes out of the stage.
struct Activations<B: Backend> {
    rows: usize,
    values: Vec<B::Buf>,
}

impl<B: Backend + 'static> Stage<B> {
    /// Builds the stage with its initial values.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn new(backend: &B, spec: &StageSpec) -> Result<Self, ComputeError> {
        let mut features = spec.input_features as usize;
        let mut ops = Vec::with_capacity(spec.ops.len());
        for (i, op) in spec.ops.iter().enumerate() {
            let seed = spec.seed.derive("op", i as u64);
            let input_gradient = i > 0 || spec.input_scale.is_none();
            let built = build(backend, op, features, input_gradient, &spec.optimizer, &seed)?;
            features = built.output_features();
            ops.push(built);
        }
        let mut stage = Self {
            ops,
            input_features: spec.input_features as usize,
            micro_batch: spec.micro_batch as usize,
            wants_input_gradient: spec.input_scale.is_none(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            gradients: Vec::new(),
            summed: 0,
        };
        stage.gradients = stage.tensors(backend)?;
        Ok(stage)
    }

    /// One buffer for what goes into each operation, and one for what comes out of the last.
    fn tensors(&self, backend: &B) -> Result<Vec<B::Buf>, ComputeError> {
        std::iter::once(self.input_features)
            .chain(self.ops.iter().map(|op| op.output_features()))
            .map(|features| backend.zeros(self.micro_batch * features))
            .collect()
    }

    /// Takes a micro-batch of `rows` samples in: the buffer (rows, in) that its input is to be written to, before
    /// [`forward`](Stage::forward).
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn input(&mut self, backend: &B, rows: usize) -> Result<&mut B::Buf, ComputeError> {
        let mut taken = match self.spare.pop() {
            Some(spare) => spare,
            None => Activations { rows, values: self.tensors(backend)? },
        };
        taken.rows = rows;
        self.in_flight.push_back(taken);
        let last = self.in_flight.len() - 1;
        Ok(&mut self.in_flight[last].values[0])
    }

    /// Runs the micro-batch taken in last: what comes out, (rows, out).
    ///
    /// # Panics
    /// Where none was taken in.
    pub fn forward(&mut self, backend: &B) -> &B::Buf {
        let last = self.in_flight.len() - 1;
        let Activations { rows, values } = &mut self.in_flight[last];
        for (i, op) in self.ops.iter().enumerate() {
            let (x, y) = values.split_at_mut(i + 1);
            op.forward(backend, *rows, &x[i], &mut y[0]);
        }
        &values[self.ops.len()]
    }

    /// Forgets the micro-batch taken in last: a forward pass alone keeps nothing.
    pub fn forget(&mut self) {
        self.spare.extend(self.in_flight.pop_back());
    }

    /// Samples of the micro-batch whose gradient comes next, `None` where none is in flight.
    pub fn expects(&self) -> Option<usize> {
        self.in_flight.front().map(|oldest| oldest.rows)
    }

    /// The buffer (rows, out) that the gradient of the oldest micro-batch in flight is to be written to.
    pub fn output_gradient(&mut self) -> &mut B::Buf {
        &mut self.gradients[self.ops.len()]
    }

    /// The gradient (rows, in) of what went in, for the oldest micro-batch in flight, from
    /// [`output_gradient`](Stage::output_gradient). `None` in the stage that takes the data in.
    ///
    /// # Panics
    /// Where no micro-batch is in flight.
    pub fn backward_input(&mut self, backend: &B) -> Option<&B::Buf> {
        let Activations { rows, values } = &self.in_flight[0];
        let asked = if self.wants_input_gradient { 0 } else { 1 };
        for i in (asked..self.ops.len()).rev() {
            let (dx, dy) = self.gradients.split_at_mut(i + 1);
            self.ops[i].backward_input(backend, *rows, &values[i], &values[i + 1], &dy[0], &mut dx[i]);
        }
        self.wants_input_gradient.then(|| &self.gradients[0])
    }

    /// Adds the oldest micro-batch's gradients of the parameters to the sum, and lets it go.
    ///
    /// # Panics
    /// Where no micro-batch is in flight.
    pub fn backward_params(&mut self, backend: &B) {
        let Some(oldest) = self.in_flight.pop_front() else {
            unreachable!("backward_input has taken a micro-batch in flight")
        };
        for (i, op) in self.ops.iter_mut().enumerate() {
            op.backward_params(backend, oldest.rows, &oldest.values[i], &self.gradients[i + 1], self.summed > 0);
        }
        self.summed += 1;
        self.spare.push(oldest);
    }

    /// One optimizer step at `rate`; the next gradient starts a new sum.
    pub fn step(&mut self, backend: &B, rate: f32) {
        for op in &mut self.ops {
            for parameter in op.parameters_mut() {
                parameter.step(backend, rate);
            }
        }
        self.summed = 0;
    }

    /// Values of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.ops.iter().flat_map(|op| op.parameters()).map(|parameter| parameter.len()).sum()
    }

    /// The parameters' values one after the other, in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn values(&self, backend: &B) -> Result<Vec<f32>, ComputeError> {
        let mut values = vec![0.0; self.parameter_count()];
        let mut rest = values.as_mut_slice();
        for parameter in self.ops.iter().flat_map(|op| op.parameters()) {
            let (here, behind) = rest.split_at_mut(parameter.len());
            parameter.download(backend, here)?;
            rest = behind;
        }
        Ok(values)
    }
}
