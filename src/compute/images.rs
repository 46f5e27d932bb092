//! Convolution and pools over images, which are (rows, channels, height, width).

use super::Memory;

/// A window that moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageWindow {
    /// Size of an image, (height, width), in pixels.
    pub image: [usize; 2],
    /// Size of the window, (height, width), in pixels.
    pub kernel: [usize; 2],
    /// How far the window moves from one place to the next, (down, right), in pixels.
    pub stride: [usize; 2],
    /// Number of rows and columns of zeros that surround the image, on each side.
    pub padding: [usize; 2],
}

impl ImageWindow {
    /// Number of places at which the window stops, as (height, width): `(image + 2 padding - kernel) / stride + 1`, rounded
    /// down.
    pub fn places(&self) -> [usize; 2] {
        std::array::from_fn(|i| (self.image[i] + 2 * self.padding[i] - self.kernel[i]) / self.stride[i] + 1)
    }

    /// Number of values in one channel of an image.
    pub fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Number of places at which the window stops, height times width: the values of one output channel.
    pub fn outputs(&self) -> usize {
        let [height, width] = self.places();
        height * width
    }
}

/// The shape of a two-dimensional convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Number of channels of the input.
    pub channels: usize,
    /// Number of channels of the output.
    pub out: usize,
    /// Number of groups. Input and output channels are divided into so many equal groups, and each group is convolved on its
    /// own.
    pub groups: usize,
    /// Sizes of image and kernel, stride and padding.
    pub window: ImageWindow,
}

impl Conv {
    /// Number of input values that one output value depends on, apart from its bias: channels / groups times the kernel's size.
    pub fn under(&self) -> usize {
        self.channels / self.groups * self.window.kernel[0] * self.window.kernel[1]
    }
}

/// How a pool reduces the values in a window to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest value; NaN counts as larger than any. The gradient goes to the first of the largest.
    Max,
    /// The sum divided by the kernel's size. Padding counts as zeros.
    Mean,
}

/// Calls on `rows` images at once. The input x is (rows, channels, height, width); the output y is (rows, out, places height,
/// places width).
pub trait Images: Memory {
    /// Length of the scratch buffer, in values, that each of the three convolution calls needs for `shape` and at most `rows`
    /// images.
    fn conv_scratch(&self, shape: Conv, rows: usize) -> usize;

    /// `y[n, o, p] = bias[o] + the sum over c, i, j of weight[o, c, i, j] x[n, c, s p + (i, j) - padding]`, where p is a place,
    /// s the stride, and c runs over the channels of o's group. `weight` is (out, channels / groups, kernel height, kernel
    /// width), `bias` is (out).
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

    /// The gradient `dx` (rows, channels, height, width) of the convolution's input, from the gradient `dy` of its output.
    fn conv_backward_input(
        &self,
        shape: Conv,
        rows: usize,
        dy: &Self::Buf,
        weight: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    );

    /// The gradient `dw` of the convolution's weight, in the shape of the weight. If `accumulate`, it is added to what `dw`
    /// holds.
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

    /// Pools each plane: `x` is (planes, height, width), `y` (planes, places height, places width). There are rows times
    /// channels planes.
    fn pool(&self, pool: Pool, window: ImageWindow, planes: usize, x: &Self::Buf, y: &mut Self::Buf);

    /// The gradient `dx` of the pool's input `x`, in its shape, from the gradient `dy` of its output.
    fn pool_backward(
        &self,
        pool: Pool,
        window: ImageWindow,
        planes: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    );
}
