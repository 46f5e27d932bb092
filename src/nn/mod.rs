//! Layers: operations, one file each, and the [`Stage`] that chains them, trains them and keeps what backward needs.
//!
//! A stage knows its own operations and what goes in and out of it: nothing of messages, ranks or other stages.

mod initial;
mod linear;
mod optimizer;
mod relu;
mod stage;

pub use optimizer::Parameter;
pub use stage::{Stage, StageSpec};

use crate::compute::{Backend, ComputeError};
use crate::job::{Op, Optimizer};
use crate::random::Seed;

/// One operation of a stage: forward, and backward in two parts, since the gradient of the input is needed elsewhere
/// first.
///
/// All tensors are (rows, features), row-major; `rows` is the number of samples of the micro-batch.
pub trait Operation<B: Backend>: Send {
    /// Features of a sample that go out.
    fn output_features(&self) -> usize;

    /// `y` (rows, out) from `x` (rows, in).
    fn forward(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) -> B::Event;

    /// `dx` (rows, in), from what went in, what came out, and the gradient of what came out.
    fn backward_input(
        &mut self,
        backend: &B,
        rows: usize,
        x: &B::Buf,
        y: &B::Buf,
        dy: &B::Buf,
        dx: &mut B::Buf,
    ) -> B::Event;

    /// Adds this micro-batch's gradient of the parameters, or starts a new sum unless `accumulate`.
    fn backward_params(&mut self, backend: &B, rows: usize, x: &B::Buf, dy: &B::Buf, accumulate: bool);

    /// The parameters, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<B>>;

    /// As [`parameters`](Self::parameters), to change.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>>;
}

/// Name and shape of each parameter of `op`, for samples of `input` features; in the order of
/// [`Operation::parameters`].
pub fn parameters(op: &Op, input: usize) -> Vec<(&'static str, Vec<usize>)> {
    match *op {
        Op::Linear { out, bias, .. } => linear::parameters(input, out as usize, bias),
        Op::Relu => Vec::new(),
    }
}

/// Features of a sample that come out of `op`, for samples of `input` features.
pub fn output_features(op: &Op, input: usize) -> usize {
    match *op {
        Op::Linear { out, .. } => out as usize,
        Op::Relu => input,
    }
}

/// Builds the operation that `op` specifies, for samples of `input` features, with or without a gradient of its input.
/// Initial values come from `seed`.
fn build<B: Backend + 'static>(
    backend: &B,
    op: &Op,
    input: usize,
    input_gradient: bool,
    optimizer: &Optimizer,
    seed: &Seed,
) -> Result<Box<dyn Operation<B>>, ComputeError> {
    Ok(match *op {
        Op::Linear { out, bias, .. } => {
            Box::new(linear::Linear::new(backend, input, out as usize, bias, input_gradient, optimizer, seed)?)
        }
        Op::Relu => Box::new(relu::Relu::new(input)),
    })
}
