//! Activation functions: `y = f(x)`, for each value.

use super::{Blueprint, Builder, Flow, Operation, Pass, values};
use crate::compute::{Backend, ComputeError, Function};
use crate::job::op;

impl Blueprint for op::Activation {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let function = match *self {
            Self::Relu => Function::Relu,
            Self::LeakyRelu { negative_slope } => Function::LeakyRelu(negative_slope),
            Self::Tanh => Function::Tanh,
            Self::Sigmoid => Function::Sigmoid,
            Self::Gelu { tanh: false } => Function::Gelu,
            Self::Gelu { tanh: true } => Function::GeluTanh,
            Self::Silu => Function::Silu,
        };
        Ok(Box::new(Activation { function, values: values(builder.input) }))
    }
}

/// An activation function as an operation, as PyTorch's `nn.ReLU`, `nn.Tanh` and the like.
struct Activation {
    /// The function f that is applied to each value.
    function: Function,
    /// Number of values of a sample.
    values: usize,
}

impl<B: Backend> Operation<B> for Activation {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.map(self.function, pass.rows * self.values, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.map_backward(self.function, pass.rows * self.values, flow.x, flow.y, flow.dy, dx);
    }
}
