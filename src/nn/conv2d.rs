//! Two-dimensional convolution. The weight is (out, in / groups, kernel height, kernel width), the bias is (out).

use super::initial::Initializer;
use super::pool::window;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass};
use crate::compute::{Backend, ComputeError, Conv, Grid};
use crate::job::{Shape, op};

/// The backend's shape of the convolution `spec` over samples of the shape `input`, (channels, height, width).
fn conv(spec: &op::Conv2d, input: &Shape) -> Conv {
    let channels = input.dims().first().map_or(0, |channels| *channels as usize);
    Conv { channels, out: spec.out as usize, groups: spec.groups as usize, window: window(&spec.window, input) }
}

impl Blueprint for op::Conv2d {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let shape = conv(self, input);
        let [height, width] = shape.window.kernel;
        let start = Initializer::FanIn(shape.under());
        let weight = Declared::new("weight", [shape.out, shape.channels / shape.groups, height, width], start);
        let bias = self.bias.then(|| Declared::new("bias", [shape.out], start));
        std::iter::once(weight).chain(bias).collect()
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let shape = conv(self, builder.input);
        let mut built = builder.parameters(self)?.into_iter();
        let Some(weight) = built.next() else { unreachable!("a convolution has a weight") };
        let scratch = builder.backend.zeros(builder.backend.conv_scratch(shape, builder.rows))?;
        Ok(Box::new(Conv2d { shape, weight, bias: built.next(), scratch }))
    }
}

/// A convolution with its filters: PyTorch's `nn.Conv2d`.
struct Conv2d<B: Backend> {
    /// The shape of the convolution: channels, groups and window.
    shape: Conv,
    /// The weight, (out, in / groups, kernel height, kernel width).
    weight: Parameter<B>,
    /// The bias, (out), if there is one.
    bias: Option<Parameter<B>>,
    /// Scratch memory of the backend's convolution calls.
    scratch: B::Buf,
}

impl<B: Backend> Operation<B> for Conv2d<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        let bias = self.bias.as_ref().map(|bias| &bias.value);
        backend.conv(self.shape, pass.rows, x, &self.weight.value, bias, &mut self.scratch, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let weight = &self.weight.value;
        backend.conv_backward_input(self.shape, pass.rows, flow.dy, weight, &mut self.scratch, dx);
    }

    /// The gradient of the weight, and that of the bias: `db` = the sum of dy over samples and places.
    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let (x, dy, dw) = (flow.x, flow.dy, &mut self.weight.gradient);
        backend.conv_backward_weight(self.shape, pass.rows, x, dy, accumulate, &mut self.scratch, dw);
        if let Some(bias) = &mut self.bias {
            let grid = Grid { outer: pass.rows, sets: self.shape.out, inner: self.shape.window.outputs() };
            backend.set_sums(grid, dy, None, accumulate, &mut bias.gradient);
        }
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        std::iter::once(&self.weight).chain(&self.bias).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        std::iter::once(&mut self.weight).chain(&mut self.bias).collect()
    }
}
