//! Flatten and reshape: the same values in the same order, in another shape.

use super::{Blueprint, Builder, Flow, Operation, Pass, values};
use crate::compute::{Backend, ComputeError};
use crate::job::op;

impl Blueprint for op::Flatten {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Ok(Box::new(Same { values: values(builder.input) }))
    }
}

impl Blueprint for op::Reshape {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Ok(Box::new(Same { values: values(builder.input) }))
    }
}

/// A change of shape, which leaves all values: PyTorch's `nn.Flatten` and `nn.Unflatten`.
struct Same {
    /// Number of values of a sample.
    values: usize,
}

impl<B: Backend> Operation<B> for Same {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.copy(pass.rows * self.values, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.copy(pass.rows * self.values, flow.dy, dx);
    }
}
