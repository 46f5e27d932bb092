//! Pools: the largest value or the mean of each window of an image, or the mean of a whole image.

use super::{Blueprint, Builder, Flow, Operation, Pass};
use crate::compute::{Backend, ComputeError, ImageWindow, Pool as Kind};
use crate::job::{Shape, op};

/// The backend's window for `window` over samples of the shape `input`, (channels, height, width).
pub(super) fn window(window: &op::WindowSpec, input: &Shape) -> ImageWindow {
    let pair = |pair: [u32; 2]| pair.map(|value| value as usize);
    let image = match *input.dims() {
        [_, height, width] => pair([height, width]),
        _ => [0; 2],
    };
    ImageWindow { image, kernel: pair(window.kernel), stride: pair(window.stride), padding: pair(window.padding) }
}

/// A pool of this kind over the samples that `builder` names.
fn build<B: Backend>(kind: Kind, window: ImageWindow, builder: Builder<'_, B>) -> Box<dyn Operation<B>> {
    let channels = builder.input.dims().first().map_or(0, |channels| *channels as usize);
    Box::new(Pool { kind, window, channels })
}

impl Blueprint for op::MaxPool {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Ok(build(Kind::Max, window(&self.window, builder.input), builder))
    }
}

impl Blueprint for op::AvgPool {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Ok(build(Kind::Mean, window(&self.window, builder.input), builder))
    }
}

impl Blueprint for op::GlobalAvgPool {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let image = match *builder.input.dims() {
            [_, height, width] => [height as usize, width as usize],
            _ => [0; 2],
        };
        let whole = ImageWindow { image, kernel: image, stride: [1; 2], padding: [0; 2] };
        Ok(build(Kind::Mean, whole, builder))
    }
}

/// PyTorch's `nn.MaxPool2d`, `nn.AvgPool2d` and `nn.AdaptiveAvgPool2d(1)`. Backward finds the largest values in the input
/// again, so nothing is kept.
struct Pool {
    /// Whether it takes the largest value or the mean.
    kind: Kind,
    /// The window that moves over each channel.
    window: ImageWindow,
    /// Number of channels of a sample.
    channels: usize,
}

impl<B: Backend> Operation<B> for Pool {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        backend.pool(self.kind, self.window, pass.rows * self.channels, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        backend.pool_backward(self.kind, self.window, pass.rows * self.channels, flow.x, flow.dy, dx);
    }
}
