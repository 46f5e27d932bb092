//! Images, (rows, channels, height, width): convolution and pools.

use super::Memory;

/// A window that moves over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// (height, width) of an image.
    pub image: [usize; 2],
    /// Of the window.
    pub kernel: [usize; 2],
    /// How far it moves.
    pub stride: [usize; 2],
    /// Beside each edge.
    pub padding: [usize; 2],
}

impl Window {
    /// Places of the window, (height, width): `(image + 2 padding - kernel) / stride + 1`.
    pub fn places(&self) -> [usize; 2] {
        std::array::from_fn(|i| (self.image[i] + 2 * self.padding[i] - self.kernel[i]) / self.stride[i] + 1)
    }

    /// Values of an image's channel.
    pub fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Number of places.
    pub fn outputs(&self) -> usize {
        let [height, width] = self.places();
        height * width
    }
}

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels that go in.
    pub channels: usize,
    /// Channels that go out.
    pub out: usize,
    /// Parts into which both fall.
    pub groups: usize,
    /// The window.
    pub window: Window,
}

impl Conv {
    /// Values under the window that one channel sees: in / groups times the kernel's size.
    pub fn under(&self) -> usize {
        self.channels / self.groups * self.window.kernel[0] * self.window.kernel[1]
    }
}

/// What a pool makes of the values in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest; not a number is larger than any. Its gradient goes to the first of the largest.
    Max,
    /// The sum over the kernel's size, padding counted as zeros.
    Mean,
}

/// Calls on images. x is (rows, channels, height, width), y (rows, out, places).
pub trait Images: Memory {
    /// Values of the scratch memory that the three calls for `shape` want, for so many rows at most.
    fn conv_scratch(&self, shape: Conv, rows: usize) -> usize;

    /// `y[n, o, p] = bias[o] + the sum over c, i, j of weight[o, c, i, j] x[n, c, s p + (i, j) - padding]`; `weight` is
    /// (out, in / groups, kernel height, kernel width), `bias` (out).
    #[allow(clippy::too_many_arguments)]
    fn conv(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        bias: Option<&Self::Buf>,
        scratch: &mut Self::Buf,
        y: &mut Self::Buf,
    );

    /// The gradient `dx` of what went in.
    fn conv_backward_input(
        &self,
        shape: Conv,
        rows: usize,
        dy: &Self::Buf,
        weight: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    );

    /// The gradient `dw` of the weight, on top of what it holds if `accumulate`.
    #[allow(clippy::too_many_arguments)]
    fn conv_backward_weight(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        accumulate: bool,
        scratch: &mut Self::Buf,
        dw: &mut Self::Buf,
    );

    /// `y` (planes, places) of `x` (planes, height, width); planes are rows times channels.
    fn pool(&self, pool: Pool, window: Window, planes: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// The gradient `dx` of what went in.
    fn pool_backward(
        &self,
        pool: Pool,
        window: Window,
        planes: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    );
}
