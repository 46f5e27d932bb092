//! The softmax over a sample's last dimension.

use super::{Blueprint, Builder, Flow, Operation, Pass, values};
use crate::compute::{Backend, ComputeError};
use crate::job::op;

impl Blueprint for op::Softmax {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let width = builder.input.dims().last().map_or(1, |width| *width as usize);
        Ok(Box::new(Softmax { vectors: values(builder.input) / width, width }))
    }
}

/// A softmax over the last dimension: PyTorch's `nn.Softmax(dim=-1)`.
struct Softmax {
    /// Number of vectors of a sample.
    vectors: usize,
    /// Number of values of a vector, over which the softmax is taken.
    width: usize,
}

impl<B: Backend> Operation<B> for Softmax {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.softmax(pass.rows * self.vectors, self.width, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.softmax_backward(pass.rows * self.vectors, self.width, flow.y, flow.dy, dx);
    }
}
