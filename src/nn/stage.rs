//! A stage: operations in a chain, what their backward pass needs, their optimizer.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Builder, Declared, Flow, Operation, Parameter, Pass, Spec, output, values};
use crate::compute::{Backend, ComputeError};
use crate::element::Encoding;
use crate::float::Float;
use crate::job::op::Activation;
use crate::job::{Clip, MOST_ACTIVATIONS, MOST_OPS, Op, Optimizer, Shape};
use crate::memory;
use crate::random::Seed;

/// All that a rank must be told to host a stage; says nothing of any other stage.
#[derive(Serialize, Deserialize)]
pub struct StageSpec {
    /// Operations in order.
    pub ops: Vec<Op>,
    /// The shape of a sample that goes in.
    pub input: Shape,
    /// The shape of a sample that goes out.
    pub output: Shape,
    /// How the data's values go in; `None` where those of another stage do.
    pub data: Option<Encoding>,
    /// How other values travel.
    pub wire: Float,
    /// Samples of a micro-batch, at most.
    pub micro_batch: u32,
    /// How its parameters follow their gradients.
    pub optimizer: Optimizer,
    /// What its initial values are drawn from, where it is given none, and what it drops.
    pub seed: Seed,
    /// The values that its parameters start from, in the order of [`parameters`](StageSpec::parameters), each as PyTorch lays
    /// it out.
    #[serde(skip)]
    pub values: Option<Arc<Zeroizing<Vec<f32>>>>,
}

impl StageSpec {
    /// Values of a sample that go in.
    pub fn input_features(&self) -> u32 {
        self.input.values()
    }

    /// Values of a sample that go out.
    pub fn output_features(&self) -> u32 {
        self.output.values()
    }

    /// Each operation with the shape that goes into it.
    fn with_inputs(&self) -> impl Iterator<Item = (&Op, Shape)> {
        let mut flowing = self.input.clone();
        self.ops.iter().map(move |op| {
            let output = output(op, &flowing);
            (op, std::mem::replace(&mut flowing, output))
        })
    }

    /// Index of the operation, and what is known of it, of each parameter.
    pub fn parameters(&self) -> Vec<(usize, Declared)> {
        self.with_inputs()
            .enumerate()
            .flat_map(|(i, (op, input))| op.parameters(&input).into_iter().map(move |declared| (i, declared)))
            .collect()
    }

    /// Whether the operations lead from what goes in to what goes out, each as large as a job may ask for.
    pub fn chains(&self) -> bool {
        let step = |input: Shape, op: &Op| op.fits().then(|| op.output(&input).ok())?;
        self.input.fits()
            && self.data.as_ref().is_none_or(|encoding| encoding.fits(self.input_features()))
            && (1..=MOST_OPS).contains(&self.ops.len())
            && self.ops.iter().try_fold(self.input.clone(), step).is_some_and(|output| output == self.output)
            && self.activation_count() <= MOST_ACTIVATIONS
    }

    /// Whether the values that it is given, if it is, are as many as its parameters have, and numbers.
    pub fn starts(&self) -> bool {
        self.values.as_ref().is_none_or(|values| {
            values.len() as u64 == self.parameter_count() && values.iter().all(|value| value.is_finite())
        })
    }

    /// Values of all parameters.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|(_, declared)| declared.values()).fold(0, u64::saturating_add)
    }

    /// Whether each operation is a relu that is carried out along with the operation before.
    fn along(&self) -> impl Iterator<Item = bool> {
        let taken = |i: usize| i > 0 && self.ops[i - 1].takes_relu();
        self.ops.iter().enumerate().map(move |(i, op)| matches!(op, Op::Activation(Activation::Relu)) && taken(i))
    }

    /// Values of one micro-batch's activations: what goes into each operation and what comes out of the last, and what else
    /// they keep. [`unkept_count`](StageSpec::unkept_count) of them are not there, though their gradients are.
    pub fn activation_count(&self) -> u64 {
        let outputs = self.with_inputs().map(|(op, input)| {
            let kept: u64 = op.keeps(&input, 1).into_iter().map(|values| values as u64).sum();
            u64::from(output(op, &input).values()) + kept
        });
        let sample = outputs.fold(u64::from(self.input_features()), u64::saturating_add);
        sample.saturating_mul(self.micro_batch.into())
    }

    /// Values of one micro-batch that go into relus which are carried out along with the operations before: they are not kept.
    pub fn unkept_count(&self) -> u64 {
        let inputs = self.with_inputs().zip(self.along()).filter(|(_, along)| *along);
        let sample: u64 = inputs.map(|((_, input), _)| u64::from(input.values())).sum();
        sample.saturating_mul(self.micro_batch.into())
    }
}

/// The operations of one rank, with their parameters.
///
/// For each micro-batch in flight, [`input`](Stage::input) and [`forward`](Stage::forward) put its activations at the
/// back of a queue; [`backward_input`](Stage::backward_input) and [`backward_params`](Stage::backward_params) work on
/// the front, since gradients return in the order in which activations left.
pub struct Stage<B: Backend> {
    ops: Vec<Box<dyn Operation<B>>>,
    /// Values of a micro-batch that go into each operation and come out of the last.
    sizes: Vec<usize>,
    /// Whether each operation is a relu that is carried out along with the operation before.
    along: Vec<bool>,
    /// Sizes of what each operation keeps of a micro-batch.
    kept: Vec<Vec<usize>>,
    /// Whether anyone asks for the gradient of the input.
    wants_input_gradient: bool,
    /// The first operation whose gradient of the input is worked out.
    first: usize,
    in_flight: VecDeque<Activations<B>>,
    spare: Vec<Activations<B>>,
    /// `gradients[i]` (rows, features): of what goes into operation i; the last: of what comes out of the stage.
    gradients: Vec<B::Buf>,
    /// Micro-batches whose gradient is in the sum.
    summed: u32,
    /// Optimizer steps so far.
    steps: u64,
    /// The most that the norm of all gradients may be, and room for its square.
    bound: Option<(f32, B::Buf)>,
}

/// `values[i]` (rows, features) goes into operation i, empty where that is a relu that was carried out along with the operation
/// before; the last comes out of the stage. `kept[i]` is what operation i keeps.
struct Activations<B: Backend> {
    pass: Pass,
    values: Vec<B::Buf>,
    kept: Vec<Vec<B::Buf>>,
}

impl<B: Backend> Activations<B> {
    /// What has gone through operation `i`. A relu's slope is above 0 where what comes out is: it does without what went in.
    fn flow<'a>(&'a self, i: usize, along: &[bool], dy: &'a B::Buf) -> Flow<'a, B> {
        let x = if along[i] { i + 1 } else { i };
        Flow { x: &self.values[x], y: &self.values[i + 1], kept: &self.kept[i], dy }
    }
}

impl<B: Backend + 'static> Stage<B> {
    /// Builds the stage with its initial values.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    ///
    /// # Panics
    /// Where `spec` does not [start](StageSpec::starts).
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

    /// Memory for what one micro-batch leaves behind.
    fn activations(&self, backend: &B, pass: Pass) -> Result<Activations<B>, ComputeError> {
        let kept = |sizes: &Vec<usize>| sizes.iter().map(|size| backend.zeros(*size)).collect();
        let kept = self.kept.iter().map(kept).collect::<Result<_, _>>()?;
        let along = self.along.iter().chain([&false]);
        let value = |(size, along): (&usize, &bool)| backend.zeros(if *along { 0 } else { *size });
        Ok(Activations { pass, values: self.sizes.iter().zip(along).map(value).collect::<Result<_, _>>()?, kept })
    }

    /// Takes a micro-batch in: the buffer (rows, in) that its input is to be written to, before
    /// [`forward`](Stage::forward).
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
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

    /// Runs the micro-batch taken in last: what comes out, (rows, out).
    ///
    /// # Panics
    /// Where none was taken in.
    pub fn forward(&mut self, backend: &B) -> &B::Buf {
        let last = self.in_flight.len() - 1;
        let Activations { pass, values, kept } = &mut self.in_flight[last];
        for (i, (op, kept)) in self.ops.iter_mut().zip(kept).enumerate() {
            let (x, y) = values.split_at_mut(i + 1);
            match (self.along[i], self.along.get(i + 1)) {
                (true, _) => {}
                (_, Some(true)) => op.forward_relu(backend, *pass, &x[i], &mut y[1]),
                _ => op.forward(backend, *pass, &x[i], &mut y[0], kept),
            }
        }
        &values[self.ops.len()]
    }

    /// Forgets the micro-batch taken in last: a forward pass alone keeps nothing.
    pub fn forget(&mut self) {
        self.spare.extend(self.in_flight.pop_back());
    }

    /// Samples of the micro-batch whose gradient comes next, `None` where none is in flight.
    pub fn expects(&self) -> Option<usize> {
        self.in_flight.front().map(|oldest| oldest.pass.rows)
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
        let oldest = &self.in_flight[0];
        for i in (self.first..self.ops.len()).rev() {
            let (dx, dy) = self.gradients.split_at_mut(i + 1);
            let flow = oldest.flow(i, &self.along, &dy[0]);
            self.ops[i].backward_input(backend, oldest.pass, flow, &mut dx[i]);
        }
        self.input_gradient()
    }

    /// What [`backward_input`](Stage::backward_input) has last returned.
    pub fn input_gradient(&self) -> Option<&B::Buf> {
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
            let flow = oldest.flow(i, &self.along, &self.gradients[i + 1]);
            op.backward_params(backend, oldest.pass, flow, self.summed > 0);
        }
        self.summed += 1;
        self.spare.push(oldest);
    }

    /// One optimizer step at `rate`; the next gradient starts a new sum.
    pub fn step(&mut self, backend: &B, rate: f32) {
        fn learned<B: Backend>(op: &mut Box<dyn Operation<B>>) -> impl Iterator<Item = &mut Parameter<B>> {
            op.parameters_mut().into_iter().filter(|parameter| parameter.is_learned())
        }
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

    /// Whether no micro-batch is in flight, and every gradient has been followed.
    pub(super) fn is_at_rest(&self) -> bool {
        self.in_flight.is_empty() && self.summed == 0
    }

    /// Optimizer steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets how many there were.
    pub(super) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Its parameters, in the order of [`StageSpec::parameters`].
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter<B>> {
        self.ops.iter().flat_map(|op| op.parameters())
    }

    /// The same, to be changed.
    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        self.ops.iter_mut().flat_map(|op| op.parameters_mut())
    }

    /// Values of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(Parameter::len).sum()
    }

    /// Takes `values` for its parameters, as [`values`](Stage::values) gives them.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    ///
    /// # Panics
    /// Where there are fewer than [`parameter_count`](Stage::parameter_count).
    pub fn set_values(&mut self, backend: &B, values: &[f32]) -> Result<(), ComputeError> {
        let mut rest = values;
        for parameter in self.parameters_mut() {
            let (here, behind) = rest.split_at(parameter.len());
            parameter.upload(backend, here)?;
            rest = behind;
        }
        Ok(())
    }

    /// The parameters' values one after the other, in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
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
