//! Convolution as matrix products over columns, in chunks of images, by launches of `kernels/conv.cu` and cuBLASLt's products.
//!
//! Forward and the gradient of the input take one product an image, all in one call. y and dy keep their layout. The columns,
//! (under, places) for each image, are by far the largest part of what is moved; they are written once and read once.
//!
//! The weight's gradient is a sum over images, too, and there are two ways to it. Either each image has a product of its own,
//! and these are summed, which moves out x under more values for each image. Or columns and dy are copied to the layout (row,
//! image, place), and one long product computes the whole sum, which moves out x places more values for each image. So large
//! images with few channels go the first way (LeNet, the first layers of a ResNet), and small images with many channels the
//! second.

use super::{Arg, Cuda, Device, OperandLayout, Product, Tensor};
use crate::compute::{Conv, Gemm, ImageWindow};

/// Most images in a chunk, whatever their size.
const IMAGES: usize = 16_384;
/// Most products in one call.
const PRODUCTS: usize = 65_535;
/// Number of tiles of a product's result, 64 x 64 values each, that keep a device busy.
const TILES: usize = 264;
/// Side of a square tile of a product's result, in values.
const TILE: usize = 64;
/// Least number of terms that a part of a long sum has.
const LEAST: usize = 1024;
/// Alignment of matrices in values, 16 bytes: where they begin and, in scratch memory, where their rows begin.
const ALIGNED: usize = 4;

/// How a convolution is cut into products. It follows from the shape and the bounds alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvPlan {
    /// The shape of the convolution that is planned.
    shape: Conv,
    /// Number of places at which the window stops: columns of an image's matrix of columns.
    places: usize,
    /// Number of rows of an image's matrix of columns, all groups together.
    under: usize,
    /// Number of values from one row of columns to the next: `places`, rounded up to [`ALIGNED`].
    row: usize,
    /// Whether an image is its own matrix of columns: the window is one pixel and stops at each.
    plain: bool,
    /// Whether one long product computes the weight's gradient over all images of a chunk.
    long: bool,
    /// Most parts into which the sum of a long product is cut, so that the device is busy.
    parts: usize,
    /// Number of values of scratch memory that one image takes.
    image: usize,
    /// Most images in a chunk, see [`chunks`](Self::chunks).
    most: usize,
}

impl ConvPlan {
    /// The plan for `shape`, with chunks of images whose scratch memory has at most `columns` values, if one image fits.
    pub(super) fn of(shape: Conv, columns: usize) -> Self {
        let Conv { channels, out, groups, window } = shape;
        let ImageWindow { kernel, stride, padding, .. } = window;
        let places = window.outputs();
        let (under, row) = (channels * kernel[0] * kernel[1], places.next_multiple_of(ALIGNED));
        let fits = |len: usize| u32::try_from(len).is_ok();
        assert!(fits(under * row) && fits(channels * window.pixels()) && fits(out * row), "{shape:?} is too large");
        let plain = kernel == [1, 1] && stride == [1, 1] && padding == [0, 0];
        let alone = out * shape.under();
        let long = groups == 1 && alone > places * (out + if plain { under } else { 0 });
        let tiles = out.div_ceil(TILE) * shape.under().div_ceil(TILE);
        let own = if plain { 0 } else { under * row };
        let image = own.max(if long { (under + out) * row } else { own + alone });
        Self {
            shape,
            places,
            under,
            row,
            plain,
            long,
            parts: if long { TILES / tiles.max(1) } else { 1 }.max(1),
            image,
            most: (columns / image.max(1)).clamp(1, IMAGES),
        }
    }

    /// Length of the scratch buffer, in values, for `rows` images.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        let sums = if self.parts > 1 { self.parts * self.weights() } else { 0 };
        rows.min(self.most) * self.image + sums
    }

    /// Lengths of the input and the output for `rows` images, in values.
    pub(super) fn sizes(&self, rows: usize) -> [usize; 2] {
        [rows * self.shape.channels * self.shape.window.pixels(), rows * self.shape.out * self.places]
    }

    /// Number of values of the weight.
    pub(super) fn weights(&self) -> usize {
        self.shape.out * self.shape.under()
    }

    /// The chunks of `rows` images: the first image of each, and the number of images.
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let most = self.most;
        (0..rows).step_by(most).map(move |first| (first, most.min(rows - first)))
    }
}

/// Matrices of one size in a tensor, one for each image and group.
struct Each<'a, M> {
    /// The tensor that holds the matrices.
    tensor: &'a Tensor<M>,
    /// Offset of the first matrix, in values.
    at: usize,
    /// Number of values from one row of a matrix to the next.
    row: usize,
    /// Number of values from one image's matrices to the next image's.
    image: usize,
    /// Number of values from one group's matrix to the next group's.
    group: usize,
}

impl<M> Each<'_, M> {
    /// The matrices as an operand: the first one `before` values behind `at`, the others at distances of `step` values.
    fn side(&self, step: usize, before: usize) -> OperandLayout {
        OperandLayout { row: self.row, step, at: self.at + before }
    }
}

impl<D: Device> Cuda<D> {
    /// Multiplies the matrices A, B, C of `all` (C = A B, or C += A B), for each image and group. They go into one call if the
    /// distances are even and the device allows it, else into one call for each group or for each image.
    fn products(&self, shape: Gemm, [images, groups]: [usize; 2], all: [Each<'_, D::Memory>; 3]) {
        let multiply = |count, [a, b, c]: [OperandLayout; 3]| {
            let [left, right, out] = all.each_ref().map(|each| &each.tensor.memory);
            self.device.multiply(Product { shape, count, a, b, c, relu: false }, left, right, out, None);
        };
        if all.iter().all(|each| each.image == groups * each.group) && images * groups <= PRODUCTS {
            multiply(images * groups, all.each_ref().map(|each| each.side(each.group, 0)));
        } else if groups <= images {
            for group in 0..groups {
                multiply(images, all.each_ref().map(|each| each.side(each.image, group * each.group)));
            }
        } else {
            for image in 0..images {
                multiply(groups, all.each_ref().map(|each| each.side(each.group, image * each.image)));
            }
        }
    }

    /// Writes the columns of `images` images of `channels` channels. `x` begins at value `from`, `columns` at value `to`. An
    /// image's columns lie `steps[0]` values behind those of the image before, their rows `steps[1]` values behind each other.
    fn columns(
        &self,
        (images, channels, window): (usize, usize, ImageWindow),
        (x, from): (&Tensor<D::Memory>, usize),
        (columns, to): (&Tensor<D::Memory>, usize),
        steps: [usize; 2],
    ) {
        let ends = [Arg::Memory(&x.memory, 4 * from), Arg::Memory(&columns.memory, 4 * to)].into_iter();
        let counts = [images, channels].map(|count| Arg::U32(count as u32));
        let steps = steps.map(|step| Arg::U64(step as u64));
        let args: Vec<_> = ends.chain(counts).chain(scalars(window)).chain(steps).collect();
        self.over_rows([images, channels * window.outputs()], "columns_f32", &args);
    }

    /// y = bias, for each channel of `rows` images: y is (rows, out, places), `bias` is (out).
    pub(super) fn fill_channels(
        &self,
        plan: &ConvPlan,
        rows: usize,
        bias: &Tensor<D::Memory>,
        y: &Tensor<D::Memory>,
    ) {
        let ConvPlan { shape: Conv { out, .. }, places, .. } = *plan;
        let sizes = [rows, out, places].map(|size| Arg::U32(size as u32));
        let args: Vec<_> = [bias.arg(out), y.arg(rows * out * places)].into_iter().chain(sizes).collect();
        self.over_rows([rows, out * places], "fill_channels_f32", &args);
    }

    /// Forward for a chunk of images, for each image and group: y (out, places) = weight (out, under) times columns (under,
    /// places). If `accumulate`, it is added to what y holds. `first` is the chunk's first image.
    pub(super) fn forward_chunk(
        &self,
        plan: &ConvPlan,
        (first, images): (usize, usize),
        [x, weight, y]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let ConvPlan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let image = if plan.plain { channels * places } else { under * row };
        // An image whose window is one pixel is multiplied where it lies.
        let columns = match plan.plain {
            true => Each { tensor: x, at: from, row: places, image, group: image / groups },
            false => {
                self.columns((images, channels, window), (x, from), (scratch, 0), [image, row]);
                Each { tensor: scratch, at: 0, row, image, group: image / groups }
            }
        };
        let (m, k) = (out / groups, under / groups);
        let shape = Gemm { m, n: places, k, a_transposed: false, b_transposed: false, accumulate };
        let weight = Each { tensor: weight, at: 0, row: k, image: 0, group: m * k };
        let y = Each { tensor: y, at: to, row: places, image: out * places, group: m * places };
        self.products(shape, [images, groups], [weight, columns, y]);
    }

    /// The gradient of the input for a chunk of images, for each image and group: columns (under, places) = weight^T (under,
    /// out) times dy (out, places). These are then added up to dx, pixel by pixel. `first` is the chunk's first image.
    pub(super) fn input_chunk(
        &self,
        plan: &ConvPlan,
        (first, images): (usize, usize),
        [dy, weight, dx]: [&Tensor<D::Memory>; 3],
        scratch: &Tensor<D::Memory>,
    ) {
        let ConvPlan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let image = if plan.plain { channels * places } else { under * row };
        let columns = match plan.plain {
            true => Each { tensor: dx, at: from, row: places, image, group: image / groups },
            false => Each { tensor: scratch, at: 0, row, image, group: image / groups },
        };
        let (m, k) = (under / groups, out / groups);
        let shape = Gemm { m, n: places, k, a_transposed: true, b_transposed: false, accumulate: false };
        let weight = Each { tensor: weight, at: 0, row: m, image: 0, group: m * k };
        let dy = Each { tensor: dy, at: to, row: places, image: out * places, group: k * places };
        self.products(shape, [images, groups], [weight, dy, columns]);
        if !plan.plain {
            let ends = [Arg::Memory(&scratch.memory, 0), Arg::Memory(&dx.memory, 4 * from)].into_iter();
            let counts = [images, channels].map(|count| Arg::U32(count as u32));
            let steps = [image, row].map(|step| Arg::U64(step as u64));
            let args: Vec<_> = ends.chain(counts).chain(scalars(window)).chain(steps).collect();
            self.over_rows([images, channels * window.pixels()], "fold_columns_f32", &args);
        }
    }

    /// The gradient dw of the weight, summed over a chunk of images. If `accumulate`, it is added to what dw holds.
    pub(super) fn weight_chunk(
        &self,
        plan: &ConvPlan,
        chunk: (usize, usize),
        of: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        match plan.long {
            true => self.weight_at_once(plan, chunk, of, accumulate, scratch),
            false => self.weight_by_images(plan, chunk, of, accumulate, scratch),
        }
    }

    /// The first way to dw: a product dy (out, places) times columns^T (places, under) for each image and group, whose results
    /// are then summed.
    fn weight_by_images(
        &self,
        plan: &ConvPlan,
        (first, images): (usize, usize),
        [x, dy, dw]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let ConvPlan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let image = if plan.plain { channels * places } else { under * row };
        let (columns, at) = match plan.plain {
            true => (Each { tensor: x, at: from, row: places, image, group: image / groups }, 0),
            false => {
                self.columns((images, channels, window), (x, from), (scratch, 0), [image, row]);
                (Each { tensor: scratch, at: 0, row, image, group: image / groups }, images * image)
            }
        };
        let (m, n) = (out / groups, under / groups);
        let shape = Gemm { m, n, k: places, a_transposed: false, b_transposed: true, accumulate: false };
        let dy = Each { tensor: dy, at: to, row: places, image: out * places, group: m * places };
        let sums = Each { tensor: scratch, at, row: n, image: out * n, group: m * n };
        self.products(shape, [images, groups], [dy, columns, sums]);
        self.add_rows(images, out * n, (scratch, at), accumulate, dw);
    }

    /// The second way to dw: one product over all images of the chunk, of columns and dy laid out as (row, image, place). Where
    /// dw has few values, the product's sum is cut into parts, whose results are then added in order.
    fn weight_at_once(
        &self,
        plan: &ConvPlan,
        (first, images): (usize, usize),
        [x, dy, dw]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let ConvPlan { shape: Conv { channels, out, window, .. }, places, under, parts, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let len = images * places;
        let row = len.next_multiple_of(ALIGNED);
        let behind = under * row;
        self.columns((images, channels, window), (x, from), (scratch, 0), [places, row]);
        let single = ImageWindow { image: window.places(), kernel: [1, 1], stride: [1, 1], padding: [0, 0] };
        // dy (out, images x places) is copied as if it were the columns of a window of one pixel.
        self.columns((images, out, single), (dy, to), (scratch, behind), [places, row]);
        let parts = parts.min(len.div_ceil(LEAST));
        let share = len.div_ceil(parts).next_multiple_of(ALIGNED);
        let sums = behind + out * row;
        let product = |count, k, done, c: &Tensor<D::Memory>, at, accumulate| {
            let side = |at: usize| OperandLayout { row, step: share, at: at + done * share };
            let product = Product {
                shape: Gemm { m: out, n: under, k, a_transposed: false, b_transposed: true, accumulate },
                count,
                a: side(behind),
                b: side(0),
                c: OperandLayout { row: under, step: out * under, at: at + done * out * under },
                relu: false,
            };
            self.device.multiply(product, &scratch.memory, &scratch.memory, &c.memory, None);
        };
        let (whole, rest) = (len / share, len % share);
        if whole + usize::from(rest > 0) == 1 {
            return product(1, len, 0, dw, 0, accumulate);
        }
        // The parts of equal length go in one call, the shorter rest in another.
        product(whole, share, 0, scratch, sums, false);
        if rest > 0 {
            product(1, rest, whole, scratch, sums, false);
        }
        self.add_rows(whole + usize::from(rest > 0), out * under, (scratch, sums), accumulate, dw);
    }
}

/// The numbers of a window, in the order in which the kernels take them.
pub(super) fn scalars<'a, M: 'a>(window: ImageWindow) -> impl Iterator<Item = Arg<'a, M>> {
    let ImageWindow { image, kernel, stride, padding } = window;
    [image, kernel, stride, padding, window.places()].into_iter().flatten().map(|size| Arg::U32(size as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(channels: usize, out: usize, size: usize, kernel: usize, stride: usize, padding: usize) -> Conv {
        let [image, kernel, stride, padding] = [size, kernel, stride, padding].map(|size| [size, size]);
        Conv { channels, out, groups: 1, window: ImageWindow { image, kernel, stride, padding } }
    }

    fn plan(shape: Conv) -> ConvPlan {
        ConvPlan::of(shape, 16 << 20)
    }

    #[test]
    fn large_images_are_summed_one_by_one_and_small_ones_at_once() {
        for lenet in [shape(1, 6, 28, 5, 1, 2), shape(6, 16, 14, 3, 1, 0)] {
            assert!(!plan(lenet).long, "{lenet:?}");
        }
        assert!(!plan(shape(3, 64, 224, 7, 2, 3)).long);
        assert!(!plan(shape(64, 64, 56, 3, 1, 1)).long);
        assert!(!plan(shape(64, 256, 56, 1, 1, 0)).long);
        assert!(plan(shape(128, 128, 28, 3, 1, 1)).long);
        assert!(plan(shape(512, 512, 7, 3, 1, 1)).long);
        assert!(plan(shape(2048, 512, 7, 1, 1, 0)).long);
    }

    #[test]
    fn what_is_enough_for_most_rows_is_enough_for_fewer() {
        for shape in [shape(3, 64, 224, 7, 2, 3), shape(512, 512, 7, 3, 1, 1), shape(64, 256, 56, 1, 1, 0)] {
            let plan = plan(shape);
            for rows in 1..200 {
                assert!(plan.scratch(rows - 1) <= plan.scratch(rows));
                assert!(plan.scratch(rows) < 20 << 20, "{shape:?} {rows}");
                let chunks: Vec<_> = plan.chunks(rows).collect();
                assert_eq!(chunks.iter().map(|(_, images)| images).sum::<usize>(), rows);
                assert!(chunks.iter().all(|(_, images)| *images <= plan.most));
            }
        }
    }
}
