//! A stage: a chain of operations, what their backward pass needs, and their optimizer.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Blueprint, Builder, Declared, Flow, LossSpec, Operation, Parameter, Pass, output, values};
use crate::compute::{Backend, ComputeError};
use crate::element::Encoding;
use crate::float::Float;
use crate::job::op::Activation;
use crate::job::{Clip, MOST_ACTIVATIONS, MOST_OPS, Op, Optimizer, Shape};
use crate::memory;
use crate::random::Seed;

/// All that a rank must know to host a stage. It says nothing of any other stage.
#[derive(Serialize, Deserialize)]
pub struct StageSpec {
    /// The operations, from the first to the last.
    pub ops: Vec<Op>,
    /// The shape of a sample that goes in.
    pub input: Shape,
    /// The shape of a sample that comes out.
    pub output: Shape,
    /// How the data's values are read, if the data go into this stage. `None` if another stage comes before it.
    pub data: Option<Encoding>,
    /// The format in which values other than the data's travel.
    pub wire: Float,
    /// Most samples of a micro-batch.
    pub micro_batch: u32,
    /// How the parameters follow their gradients.
    pub optimizer: Optimizer,
    /// What the stage's dropout masks are drawn from, and its initial values if `values` has none.
    pub seed: Seed,
    /// The loss, if the stage is the last and computes it of its own outputs. `None` if gradients come from another rank.
    pub loss: Option<LossSpec>,
    /// The values that the parameters start from, one after the other in the order of [`parameters`](StageSpec::parameters),
    /// each in PyTorch's layout. `None` if they are drawn.
    #[serde(skip)]
    pub values: Option<Arc<Zeroizing<Vec<f32>>>>,
}

impl StageSpec {
    /// Number of values of a sample that goes in.
    pub fn input_features(&self) -> u32 {
        self.input.values()
    }

    /// Number of values of a sample that comes out.
    pub fn output_features(&self) -> u32 {
        self.output.values()
    }

    /// Each operation, with the shape of a sample that goes into it.
    fn with_inputs(&self) -> impl Iterator<Item = (&Op, Shape)> {
        let mut flowing = self.input.clone();
        self.ops.iter().map(move |op| {
            let output = output(op, &flowing);
            (op, std::mem::replace(&mut flowing, output))
        })
    }

    /// All parameters of the stage, each with the index of its operation.
    pub fn parameters(&self) -> Vec<(usize, Declared)> {
        self.with_inputs()
            .enumerate()
            .flat_map(|(i, (op, input))| op.parameters(&input).into_iter().map(move |declared| (i, declared)))
            .collect()
    }

    /// The affine maps of the stage, those within other operations too: how many vectors of a sample each of them maps, and how many
    /// values these have before and after.
    pub fn affine_maps(&self) -> Vec<[usize; 3]> {
        self.with_inputs().flat_map(|(op, input)| op.affine_maps(&input)).collect()
    }

    /// Whether the operations lead from `input` to `output`, and every size is one that a job may ask for.
    pub fn chains(&self) -> bool {
        let step = |input: Shape, op: &Op| op.fits().then(|| op.output(&input).ok())?;
        self.input.fits()
            && self.data.as_ref().is_none_or(|encoding| encoding.fits(self.input_features()))
            && (1..=MOST_OPS).contains(&self.ops.len())
            && self.ops.iter().try_fold(self.input.clone(), step).is_some_and(|output| output == self.output)
            && self.activation_count() <= MOST_ACTIVATIONS
    }

    /// Whether the stage can start: its `values`, if there are any, are finite numbers and as many as the parameters have.
    pub fn starts(&self) -> bool {
        self.values.as_ref().is_none_or(|values| {
            values.len() as u64 == self.parameter_count() && values.iter().all(|value| value.is_finite())
        })
    }

    /// Number of values of all parameters.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|(_, declared)| declared.values()).fold(0, u64::saturating_add)
    }

    /// For each operation, whether it is a relu that the operation before computes at once.
    fn along(&self) -> impl Iterator<Item = bool> {
        let taken = |i: usize| i > 0 && self.ops[i - 1].takes_relu();
        self.ops.iter().enumerate().map(move |(i, op)| matches!(op, Op::Activation(Activation::Relu)) && taken(i))
    }

    /// Number of values of one micro-batch's activations: the input of the stage, the output of each operation, and what else
    /// operations keep. [`unkept_count`](StageSpec::unkept_count) of them are not stored, though their gradients are.
    pub fn activation_count(&self) -> u64 {
        let outputs = self.with_inputs().map(|(op, input)| {
            let kept: u64 = op.keeps(&input, 1).into_iter().map(|values| values as u64).sum();
            u64::from(output(op, &input).values()) + kept
        });
        let sample = outputs.fold(u64::from(self.input_features()), u64::saturating_add);
        sample.saturating_mul(self.micro_batch.into())
    }

    /// Number of values of one micro-batch that go into relus which the operation before computes at once. They are not stored.
    pub fn unkept_count(&self) -> u64 {
        let inputs = self.with_inputs().zip(self.along()).filter(|(_, along)| *along);
        let sample: u64 = inputs.map(|((_, input), _)| u64::from(input.values())).sum();
        sample.saturating_mul(self.micro_batch.into())
    }
}

/// A stage at work: the operations of one rank, with their parameters.
///
/// Several micro-batches may be in flight, in a queue. [`input`](Stage::input) and [`forward`](Stage::forward) put a
/// micro-batch's activations at its back. [`backward_input`](Stage::backward_input) and
/// [`backward_params`](Stage::backward_params) work on its front, since gradients return in the order in which activations
/// left.
pub struct Stage<B: Backend> {
    /// The operations, from the first to the last.
    ops: Vec<Box<dyn Operation<B>>>,
    /// Number of values of a micro-batch that go into each operation, then that come out of the last.
    sizes: Vec<usize>,
    /// For each operation, whether it is a relu that the operation before computes at once.
    along: Vec<bool>,
    /// For each operation, the lengths in values of the buffers that it keeps of a micro-batch.
    kept: Vec<Vec<usize>>,
    /// Whether anyone asks for the gradient of the stage's input. Nobody does if the data go into it.
    wants_input_gradient: bool,
    /// Index of the first operation whose gradient of its input is computed.
    first: usize,
    /// The activations of the micro-batches in flight, the oldest in front.
    in_flight: VecDeque<Activations<B>>,
    /// Memory for activations that no micro-batch uses at the moment.
    spare: Vec<Activations<B>>,
    /// `gradients[i]` (rows, features) is the gradient of the input of operation i; the last is that of the stage's output.
    gradients: Vec<B::Buf>,
    /// Number of micro-batches whose gradients have been summed since the last step.
    summed: u32,
    /// Number of optimizer steps so far.
    steps: u64,
    /// The most that the norm of all gradients together may be, and memory (1) for its square. `None` if it is not bounded.
    bound: Option<(f32, B::Buf)>,
}

/// What one micro-batch leaves in a stage for its backward pass.
struct Activations<B: Backend> {
    /// The micro-batch that the activations are of.
    pass: Pass,
    /// `values[i]` (rows, features) is the input of operation i, and the last is the stage's output. An input is empty if
    /// operation i is a relu that the operation before computes at once.
    values: Vec<B::Buf>,
    /// `kept[i]` are the buffers that operation i keeps.
    kept: Vec<Vec<B::Buf>>,
}

impl<B: Backend> Activations<B> {
    /// What has gone through operation `i`, with the gradient `dy` of its output. A relu that was computed along with the
    /// operation before gets its output as its input: one is above 0 where the other is, which is all that its slope depends
    /// on.
    fn flow<'a>(&'a self, i: usize, along: &[bool], dy: &'a B::Buf) -> Flow<'a, B> {
        let x = if along[i] { i + 1 } else { i };
        Flow { x: &self.values[x], y: &self.values[i + 1], kept: &self.kept[i], dy }
    }
}

impl<B: Backend + 'static> Stage<B> {
    /// Builds the stage with its initial values.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for it.
    ///
    /// # Panics
    /// If `spec` does not [start](StageSpec::starts).
    pub fn new(backend: &B, spec: &StageSpec) -> Result<Self, ComputeError> {
        let rows = spec.micro_batch as usize;
        let mut ops = Vec::with_capacity(spec.ops.len());
        let (mut sizes, mut kept) = (Vec::new(), Vec::new());
        let wants_input_gradient = spec.data.is_none();
        let first = match spec.ops.first() {
            Some(op) if !wants_input_gradient && !op.chained() => 1,
            _ => 0,
        };
        for (i, (op, input)) in spec.with_inputs().enumerate() {
            let seed = spec.seed.derive("op", i as u64);
            let (input_gradient, optimizer) = (i >= first, &spec.optimizer);
            let builder = Builder { backend, input: &input, rows, input_gradient, optimizer, seed: &seed };
            ops.push(op.build(builder)?);
            sizes.push(rows * values(&input));
            kept.push(op.keeps(&input, rows));
        }
        sizes.push(rows * values(&spec.output));
        let mut stage = Self {
            ops,
            sizes,
            along: spec.along().collect(),
            kept,
            wants_input_gradient,
            first,
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            gradients: Vec::new(),
            summed: 0,
            steps: 0,
            bound: match spec.optimizer.clip {
                Some(Clip::Norm(most)) => Some((most, backend.zeros(1)?)),
                _ => None,
            },
        };
        stage.gradients = stage.sizes.iter().map(|size| backend.zeros(*size)).collect::<Result<_, _>>()?;
        if let Some(values) = &spec.values {
            stage.set_values(backend, values)?;
        }
        Ok(stage)
    }

    /// Makes memory for the activations of one micro-batch.
    fn activations(&self, backend: &B, pass: Pass) -> Result<Activations<B>, ComputeError> {
        let kept = |sizes: &Vec<usize>| sizes.iter().map(|size| backend.zeros(*size)).collect();
        let kept = self.kept.iter().map(kept).collect::<Result<_, _>>()?;
        let along = self.along.iter().chain([&false]);
        let value = |(size, along): (&usize, &bool)| backend.zeros(if *along { 0 } else { *size });
        Ok(Activations { pass, values: self.sizes.iter().zip(along).map(value).collect::<Result<_, _>>()?, kept })
    }

    /// Takes a micro-batch in. Returns the buffer (rows, in) for its input, to be written before [`forward`](Stage::forward).
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for another micro-batch in flight.
    pub fn input(&mut self, backend: &B, pass: Pass) -> Result<&mut B::Buf, ComputeError> {
        let mut taken = match self.spare.pop() {
            Some(spare) => spare,
            None => self.activations(backend, pass)?,
        };
        taken.pass = pass;
        self.in_flight.push_back(taken);
        let last = self.in_flight.len() - 1;
        Ok(&mut self.in_flight[last].values[0])
    }

    /// Runs the micro-batch that was taken in last. Returns the stage's output, (rows, out).
    ///
    /// # Panics
    /// If no micro-batch was taken in.
    pub fn forward(&mut self, backend: &B) -> &B::Buf {
        let last = self.in_flight.len() - 1;
        let Activations { pass, values, kept } = &mut self.in_flight[last];
        for (i, (op, kept)) in self.ops.iter_mut().zip(kept).enumerate() {
            let (x, y) = values.split_at_mut(i + 1);
            match (self.along[i], self.along.get(i + 1)) {
                // An operation before a relu writes the relu's output, one place further on, and the relu itself does nothing.
                (true, _) => {}
                (_, Some(true)) => op.forward_relu(backend, *pass, &x[i], &mut y[1]),
                _ => op.forward(backend, *pass, &x[i], &mut y[0], kept),
            }
        }
        &values[self.ops.len()]
    }

    /// Forgets the micro-batch that was taken in last. After an evaluation's forward pass there is no backward pass that would.
    pub fn forget(&mut self) {
        self.spare.extend(self.in_flight.pop_back());
    }

    /// Number of samples of the micro-batch whose gradient comes next: the oldest in flight. `None` if none is in flight.
    pub fn expects(&self) -> Option<usize> {
        self.in_flight.front().map(|oldest| oldest.pass.rows)
    }

    /// The buffer (rows, out) for the output's gradient of the oldest micro-batch in flight. Write to it before
    /// [`backward_input`](Stage::backward_input).
    pub fn output_gradient(&mut self) -> &mut B::Buf {
        &mut self.gradients[self.ops.len()]
    }

    /// The output (rows, out) of the micro-batch that was taken in last, and the buffer of [`output_gradient`](Stage::output_gradient).
    ///
    /// # Panics
    /// If no micro-batch is in flight.
    pub fn output_and_gradient(&mut self) -> (&B::Buf, &mut B::Buf) {
        let (last, out) = (self.in_flight.len() - 1, self.ops.len());
        (&self.in_flight[last].values[out], &mut self.gradients[out])
    }

    /// Computes the gradient (rows, in) of the stage's input for the oldest micro-batch in flight, from
    /// [`output_gradient`](Stage::output_gradient). `None` if the data go into this stage.
    ///
    /// # Panics
    /// If no micro-batch is in flight.
    pub fn backward_input(&mut self, backend: &B) -> Option<&B::Buf> {
        let oldest = &self.in_flight[0];
        for i in (self.first..self.ops.len()).rev() {
            let (dx, dy) = self.gradients.split_at_mut(i + 1);
            let flow = oldest.flow(i, &self.along, &dy[0]);
            self.ops[i].backward_input(backend, oldest.pass, flow, &mut dx[i]);
        }
        self.input_gradient()
    }

    /// The gradient (rows, in) that [`backward_input`](Stage::backward_input) last computed. `None` if the data go into this
    /// stage.
    pub fn input_gradient(&self) -> Option<&B::Buf> {
        self.wants_input_gradient.then(|| &self.gradients[0])
    }

    /// Adds the gradients of the parameters for the oldest micro-batch in flight to their sums, and ends that micro-batch.
    ///
    /// # Panics
    /// If no micro-batch is in flight.
    pub fn backward_params(&mut self, backend: &B) {
        let Some(oldest) = self.in_flight.pop_front() else {
            unreachable!("backward_input has taken a micro-batch in flight")
        };
        for (i, op) in self.ops.iter_mut().enumerate() {
            let flow = oldest.flow(i, &self.along, &self.gradients[i + 1]);
            op.backward_params(backend, oldest.pass, flow, self.summed > 0);
        }
        self.summed += 1;
        self.spare.push(oldest);
    }

    /// Makes one optimizer step at the learning rate `rate`. The next gradient starts new sums.
    pub fn step(&mut self, backend: &B, rate: f32) {
        fn learned<B: Backend>(op: &mut Box<dyn Operation<B>>) -> impl Iterator<Item = &mut Parameter<B>> {
            op.parameters_mut().into_iter().filter(|parameter| parameter.is_learned())
        }
        // The norm is over all gradients of the stage together: first its square is summed, then each gradient is scaled.
        if let Some((most, squares)) = &mut self.bound {
            for (i, parameter) in self.ops.iter_mut().flat_map(learned).enumerate() {
                parameter.add_squares(backend, i > 0, squares);
            }
            for parameter in self.ops.iter_mut().flat_map(learned) {
                parameter.bound_norm(backend, *most, squares);
            }
        }
        for parameter in self.ops.iter_mut().flat_map(learned) {
            parameter.step(backend, rate);
        }
        self.summed = 0;
        self.steps += 1;
    }

    /// Whether no micro-batch is in flight, and no gradients were summed that no step has used.
    pub fn is_at_rest(&self) -> bool {
        self.in_flight.is_empty() && self.summed == 0
    }

    /// Number of optimizer steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the number of optimizer steps so far.
    pub(super) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The stage's parameters, in the order of [`StageSpec::parameters`].
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter<B>> {
        self.ops.iter().flat_map(|op| op.parameters())
    }

    /// The stage's parameters in the same order, to be changed.
    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        self.ops.iter_mut().flat_map(|op| op.parameters_mut())
    }

    /// Number of values of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(Parameter::len).sum()
    }

    /// Sets the parameters to `values`, in the order that [`values`](Stage::values) gives.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory to rearrange them.
    ///
    /// # Panics
    /// If there are fewer values than [`parameter_count`](Stage::parameter_count).
    pub fn set_values(&mut self, backend: &B, values: &[f32]) -> Result<(), ComputeError> {
        let mut rest = values;
        for parameter in self.parameters_mut() {
            let (here, behind) = rest.split_at(parameter.len());
            parameter.upload(backend, here)?;
            rest = behind;
        }
        Ok(())
    }

    /// The values of all parameters, one after the other in the order of [`StageSpec::parameters`], each in PyTorch's layout.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for them.
    pub fn values(&self, backend: &B) -> Result<Vec<f32>, ComputeError> {
        let mut values = memory::zeroed(self.parameter_count())?;
        let mut rest = values.as_mut_slice();
        for parameter in self.parameters() {
            let (here, behind) = rest.split_at_mut(parameter.len());
            parameter.download(backend, here)?;
            rest = behind;
        }
        backend.finish()?;
        Ok(values)
    }
}
