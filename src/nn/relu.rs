//! `y = max(x, 0)`.

use super::{Operation, Parameter};
use crate::compute::Backend;

/// The rectifier, PyTorch's `nn.ReLU`.
pub(super) struct Relu {
    features: usize,
}

impl Relu {
    pub(super) fn new(features: usize) -> Self {
        Self { features }
    }
}

impl<B: Backend> Operation<B> for Relu {
    fn output_features(&self) -> usize {
        self.features
    }

    fn forward(&self, backend: &B, rows: usize, x: &B::Buf, y: &mut B::Buf) -> B::Event {
        backend.relu(rows * self.features, x, y)
    }

    fn backward_input(
        &mut self,
        backend: &B,
        rows: usize,
        _x: &B::Buf,
        y: &B::Buf,
        dy: &B::Buf,
        dx: &mut B::Buf,
    ) -> B::Event {
        backend.relu_backward(rows * self.features, y, dy, dx)
    }

    fn backward_params(&mut self, _: &B, _rows: usize, _x: &B::Buf, _dy: &B::Buf, _accumulate: bool) {}

    fn parameters(&self) -> Vec<&Parameter<B>> {
        Vec::new()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        Vec::new()
    }
}
