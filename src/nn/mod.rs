//! Layers: operations, one file each, and the [`Stage`] that chains them, trains them and keeps what backward needs.
//!
//! A stage knows its own operations and what goes in and out of it: nothing of messages, ranks or other stages. What an
//! operation is asked for stands in [`job::op`](crate::job::op), in a file of the same name. A new one is a file here, `mod`
//! and a line in `of!`.

mod activation;
mod affine;
mod attention;
mod batch_norm;
mod conv2d;
mod criterion;
mod dropout;
mod embedding;
mod flatten;
mod initial;
mod linear;
mod network;
mod norm;
mod optimizer;
mod pool;
mod position;
mod residual;
mod schedule;
pub mod snapshot;
mod softmax;
mod stage;

use crate::compute::{Backend, ComputeError};
use crate::ids::{Batch, Epoch, MicroBatch};
use crate::job::{Op, Optimizer, Shape};
use crate::random::Seed;

pub use criterion::{Criterion, Target};
pub use network::Network;
pub use optimizer::{Declared, Parameter};
pub use schedule::Rates;
pub use stage::{Stage, StageSpec};

/// Which micro-batch passes, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Samples of the micro-batch.
    pub rows: usize,
    /// Whether its gradient will follow.
    pub training: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// The batch of the epoch.
    pub batch: Batch,
    /// The micro-batch of the batch.
    pub micro_batch: MicroBatch,
}

impl Pass {
    /// A micro-batch of `rows` samples to learn from.
    pub fn training(rows: usize, epoch: Epoch, batch: Batch, micro_batch: MicroBatch) -> Self {
        Self { rows, training: true, epoch, batch, micro_batch }
    }

    /// A micro-batch of `rows` samples to look at.
    pub fn evaluation(rows: usize) -> Self {
        Self { rows, training: false, epoch: Epoch(0), batch: Batch(0), micro_batch: MicroBatch(0) }
    }
}

/// What has gone through an operation for one micro-batch, and the gradient that comes back.
pub struct Flow<'a, B: Backend> {
    /// What went in, (rows, in).
    pub x: &'a B::Buf,
    /// What came out, (rows, out).
    pub y: &'a B::Buf,
    /// What forward has kept, in buffers as [`Spec::keeps`] says.
    pub kept: &'a [B::Buf],
    /// The gradient of what came out, (rows, out).
    pub dy: &'a B::Buf,
}

/// One operation of a stage: forward, and backward in two parts, since the gradient of the input is needed elsewhere
/// first.
///
/// All tensors are row-major, (rows, then the sample's shape); `rows` is the number of samples of the micro-batch. Several
/// micro-batches are under way at once: what one of them leaves for its backward pass is in `kept`, not in the operation. Calls
/// take no memory.
pub trait Operation<B: Backend>: Send {
    /// `y` (rows, out) from `x` (rows, in).
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]);

    /// As [`forward`](Operation::forward), with 0 in place of what is below it.
    ///
    /// # Panics
    /// Unless [`Spec::takes_relu`].
    fn forward_relu(&mut self, _backend: &B, _pass: Pass, _x: &B::Buf, _y: &mut B::Buf) {
        unreachable!("an operation that takes no relu is asked for one")
    }

    /// The gradient `dx` (rows, in) of what went in.
    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf);

    /// Adds this micro-batch's gradient of the parameters, or starts a new sum unless `accumulate`. Called after
    /// [`backward_input`](Operation::backward_input) of the same micro-batch, where anyone asks for that.
    fn backward_params(&mut self, _backend: &B, _pass: Pass, _flow: Flow<'_, B>, _accumulate: bool) {}

    /// The parameters, in the order of [`Spec::parameters`].
    fn parameters(&self) -> Vec<&Parameter<B>> {
        Vec::new()
    }

    /// As [`parameters`](Self::parameters), to change.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        Vec::new()
    }
}

/// What an operation is built with.
struct Builder<'a, B: Backend> {
    backend: &'a B,
    /// The shape of a sample that goes in; the operation takes it.
    input: &'a Shape,
    /// Samples of a micro-batch, at most.
    rows: usize,
    /// Whether anyone asks for the gradient of its input.
    input_gradient: bool,
    optimizer: &'a Optimizer,
    /// What its initial values and its masks are drawn from.
    seed: &'a Seed,
}

impl<B: Backend> Clone for Builder<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Builder<'_, B> {}

impl<B: Backend> Builder<'_, B> {
    /// The parameters of `spec`, at their initial values.
    fn parameters(&self, spec: &impl Spec) -> Result<Vec<Parameter<B>>, ComputeError> {
        let declared = spec.parameters(self.input).into_iter();
        declared.map(|declared| Parameter::new(self.backend, declared, self.optimizer, self.seed)).collect()
    }
}

/// An operation, as far as it follows from what a job says of it. `input` is the shape of a sample that goes in, which the
/// operation takes.
trait Spec {
    /// Its parameters.
    fn parameters(&self, _input: &Shape) -> Vec<Declared> {
        Vec::new()
    }

    /// The sizes of what forward keeps of `rows` samples for backward, besides what goes in and out.
    fn keeps(&self, _input: &Shape, _rows: usize) -> Vec<usize> {
        Vec::new()
    }

    /// Whether `backward_params` works on what `backward_input` has left.
    fn chained(&self) -> bool {
        false
    }

    /// Whether it can be carried out together with a `relu` behind it. Its backward pass then does without what it gives itself.
    fn takes_relu(&self) -> bool {
        false
    }

    /// The operation itself.
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError>;
}

macro_rules! of {
    ($op:expr, $spec:ident => $called:expr) => {
        match $op {
            Op::Linear($spec) => $called,
            Op::Activation($spec) => $called,
            Op::Softmax($spec) => $called,
            Op::Flatten($spec) => $called,
            Op::Reshape($spec) => $called,
            Op::Conv2d($spec) => $called,
            Op::MaxPool($spec) => $called,
            Op::AvgPool($spec) => $called,
            Op::GlobalAvgPool($spec) => $called,
            Op::Dropout($spec) => $called,
            Op::LayerNorm($spec) => $called,
            Op::RmsNorm($spec) => $called,
            Op::BatchNorm($spec) => $called,
            Op::GroupNorm($spec) => $called,
            Op::Residual($spec) => $called,
            Op::Position($spec) => $called,
            Op::Attention($spec) => $called,
            Op::Embedding($spec) => $called,
        }
    };
}

impl Spec for Op {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        of!(self, spec => spec.parameters(input))
    }

    fn keeps(&self, input: &Shape, rows: usize) -> Vec<usize> {
        of!(self, spec => spec.keeps(input, rows))
    }

    fn chained(&self) -> bool {
        of!(self, spec => spec.chained())
    }

    fn takes_relu(&self) -> bool {
        of!(self, spec => spec.takes_relu())
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        of!(self, spec => spec.build(builder))
    }
}

/// The shape of what comes out; of what goes in where the operation does not take it.
fn output(op: &Op, input: &Shape) -> Shape {
    op.output(input).unwrap_or_else(|_| input.clone())
}

/// Values of a sample.
fn values(shape: &Shape) -> usize {
    shape.values() as usize
}
