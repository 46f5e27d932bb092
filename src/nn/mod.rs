//! Layers: operations, one file each, and the [`Stage`] that chains them, trains them and keeps what backward needs.
//!
//! A stage knows its own operations and the shapes of its input and output, but nothing of messages, ranks or other stages.
//! What a job says of an operation stands in [`job::op`](crate::job::op), in a file of the same name. A new operation is a new
//! file here, a `mod` and a line in `of!`.

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

pub use criterion::{Criterion, LossSpec, Target};
pub use network::Network;
pub use optimizer::{Declared, Parameter};
pub use schedule::Rates;
pub use stage::{Stage, StageSpec};

/// Which micro-batch goes through an operation, and whether in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Number of samples of the micro-batch.
    pub rows: usize,
    /// Whether the micro-batch is learned from, so that its gradient will follow.
    pub training: bool,
    /// Number of the epoch, from 0.
    pub epoch: Epoch,
    /// Number of the batch in its epoch, from 0.
    pub batch: Batch,
    /// Number of the micro-batch in its batch, from 0.
    pub micro_batch: MicroBatch,
}

impl Pass {
    /// A micro-batch of `rows` samples in training: a gradient will follow.
    pub fn training(rows: usize, epoch: Epoch, batch: Batch, micro_batch: MicroBatch) -> Self {
        Self { rows, training: true, epoch, batch, micro_batch }
    }

    /// A micro-batch of `rows` samples in evaluation: no gradient will follow.
    pub fn evaluation(rows: usize) -> Self {
        Self { rows, training: false, epoch: Epoch(0), batch: Batch(0), micro_batch: MicroBatch(0) }
    }
}

/// What has gone through an operation for one micro-batch in forward, and the gradient that comes back. Rows are samples.
pub struct Flow<'a, B: Backend> {
    /// The input of forward, (rows, in).
    pub x: &'a B::Buf,
    /// The output of forward, (rows, out).
    pub y: &'a B::Buf,
    /// What forward has kept for backward, in buffers of the lengths that [`Blueprint::keeps`] says.
    pub kept: &'a [B::Buf],
    /// The gradient of the output, (rows, out).
    pub dy: &'a B::Buf,
}

/// One operation of a stage: forward, and backward in two parts. The gradient of the input is computed first, since the stage
/// before waits for it.
///
/// All tensors are row-major, (rows, then the sample's shape), where `rows` is the number of samples of the micro-batch.
/// Several micro-batches are under way at once, so what one of them leaves for its backward pass is in `kept`, not in the
/// operation. Calls allocate no memory.
pub trait Operation<B: Backend>: Send {
    /// Computes the output `y` (rows, out) from the input `x` (rows, in), and writes to `kept` what backward needs besides.
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]);

    /// Computes `max(0, y)`, where y is the output of [`forward`](Operation::forward), and keeps nothing.
    ///
    /// # Panics
    /// Unless the operation's [`Blueprint::takes_relu`] is true.
    fn forward_relu(&mut self, _backend: &B, _pass: Pass, _x: &B::Buf, _y: &mut B::Buf) {
        unreachable!("an operation that takes no relu is asked for one")
    }

    /// Computes the gradient `dx` (rows, in) of the input.
    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf);

    /// Adds this micro-batch's gradients of the parameters to their sums. Unless `accumulate`, the sums start anew. If anyone
    /// asks for [`backward_input`](Operation::backward_input) of the same micro-batch, that is called before.
    fn backward_params(&mut self, _backend: &B, _pass: Pass, _flow: Flow<'_, B>, _accumulate: bool) {}

    /// The operation's parameters, in the order of [`Blueprint::parameters`].
    fn parameters(&self) -> Vec<&Parameter<B>> {
        Vec::new()
    }

    /// The operation's parameters in the same order, to be changed.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        Vec::new()
    }
}

/// What an operation is built from, besides what the job says of it.
struct Builder<'a, B: Backend> {
    /// The backend whose memory the operation takes.
    backend: &'a B,
    /// The shape of a sample that goes in. It is one that the operation takes.
    input: &'a Shape,
    /// Most samples of a micro-batch.
    rows: usize,
    /// Whether anyone will ask for the gradient of the operation's input.
    input_gradient: bool,
    /// How the operation's parameters follow their gradients.
    optimizer: &'a Optimizer,
    /// What the operation's initial values and its masks are drawn from.
    seed: &'a Seed,
}

impl<B: Backend> Clone for Builder<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Builder<'_, B> {}

impl<B: Backend> Builder<'_, B> {
    /// Builds the parameters of `spec` with their initial values.
    fn parameters(&self, spec: &impl Blueprint) -> Result<Vec<Parameter<B>>, ComputeError> {
        let declared = spec.parameters(self.input).into_iter();
        declared.map(|declared| Parameter::new(self.backend, declared, self.optimizer, self.seed)).collect()
    }
}

/// What follows from a job's description of an operation. `input` is always the shape of a sample that goes in; it is one that
/// the operation takes.
trait Blueprint {
    /// The operation's parameters, before they are built.
    fn parameters(&self, _input: &Shape) -> Vec<Declared> {
        Vec::new()
    }

    /// The operation's affine maps: how many vectors of a sample each of them maps, and how many values these have before and after.
    fn affine_maps(&self, input: &Shape) -> Vec<[usize; 3]> {
        self.parameters(input).iter().filter_map(|declared| declared.affine_map(values(input))).collect()
    }

    /// Lengths in values of the buffers that forward keeps for backward, besides input and output, for `rows` samples.
    fn keeps(&self, _input: &Shape, _rows: usize) -> Vec<usize> {
        Vec::new()
    }

    /// Whether `backward_params` needs what `backward_input` has left in the operation, so that both must be called.
    fn chained(&self) -> bool {
        false
    }

    /// Whether the operation can compute a `relu` behind it at once. Then its backward pass must do without its own output.
    fn takes_relu(&self) -> bool {
        false
    }

    /// Builds the operation, with its parameters at their initial values.
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError>;
}

/// Calls the same method on whichever operation `$op` is.
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

impl Blueprint for Op {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        of!(self, spec => spec.parameters(input))
    }

    fn affine_maps(&self, input: &Shape) -> Vec<[usize; 3]> {
        of!(self, spec => spec.affine_maps(input))
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

/// The shape of a sample that comes out of `op`. If the operation does not take `input`, it is `input`.
fn output(op: &Op, input: &Shape) -> Shape {
    op.output(input).unwrap_or_else(|_| input.clone())
}

/// Number of values of a sample of this shape.
fn values(shape: &Shape) -> usize {
    shape.values() as usize
}
