//! Convolution as matrix products over columns, in chunks of images: launches of `kernels/conv.cu`, and NVIDIA's products.
//!
//! Forward and the gradient of what went in take one product an image, all in one call: y comes out, and dy goes in, as they lie.
//! The columns are by far the most that is moved, and they are written and read once. The weight's gradient is a sum over
//! images, too. Either each image has a product of its own and these are summed up, which moves out x under values an image
//! more; or columns and dy are laid out by (row, image, place), and one long product does the sum, which moves the copy of dy, out x
//! places. So large images with few channels go the first way (LeNet, the first layers of a ResNet), small ones with many
//! channels the second.

use super::{Arg, Cuda, Device, Product, Side, Tensor};
use crate::compute::{Conv, Gemm, Window};

/// Most images at a time, whatever their size, and most products in a call.
const IMAGES: usize = 16_384;
const PRODUCTS: usize = 65_535;
/// Tiles of 64 x 64 values of products that keep a device busy, and values of a sum that one of its parts has at least.
const TILES: usize = 264;
const TILE: usize = 64;
const LEAST: usize = 1024;
/// Matrices begin and, where they are ours, go on from row to row at a multiple of so many values: 16 bytes.
const ALIGNED: usize = 4;

/// How a convolution is cut up; follows from its shape alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    shape: Conv,
    places: usize,
    /// Rows of an image's columns, and values from one of them to the next.
    under: usize,
    row: usize,
    /// Whether an image is its own columns: a window of one value that stops everywhere.
    plain: bool,
    /// Whether one product sums up the weight's gradient over images, and parts of that sum at most.
    long: bool,
    parts: usize,
    /// Values of scratch memory that an image takes, and images at a time at most.
    image: usize,
    most: usize,
}

impl Plan {
    pub(super) fn of(shape: Conv, columns: usize) -> Self {
        let Conv { channels, out, groups, window } = shape;
        let Window { kernel, stride, padding, .. } = window;
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

    /// Values of scratch memory for so many images.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        let sums = if self.parts > 1 { self.parts * self.weights() } else { 0 };
        rows.min(self.most) * self.image + sums
    }

    /// Values of the images that go in and come out.
    pub(super) fn sizes(&self, rows: usize) -> [usize; 2] {
        [rows * self.shape.channels * self.shape.window.pixels(), rows * self.shape.out * self.places]
    }

    pub(super) fn weights(&self) -> usize {
        self.shape.out * self.shape.under()
    }

    /// The images of each chunk: the first, and how many.
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let most = self.most;
        (0..rows).step_by(most).map(move |first| (first, most.min(rows - first)))
    }
}

/// A matrix of each image and group.
struct Each<'a, M> {
    tensor: &'a Tensor<M>,
    /// Values before the first.
    at: usize,
    /// Values from one row, image, group to the next.
    row: usize,
    image: usize,
    group: usize,
}

impl<M> Each<'_, M> {
    fn side(&self, step: usize, before: usize) -> Side {
        Side { row: self.row, step, at: self.at + before }
    }
}

impl<D: Device> Cuda<D> {
    /// The products of so many images, each of all groups.
    fn products(&self, shape: Gemm, [images, groups]: [usize; 2], all: [Each<'_, D::Memory>; 3]) {
        let multiply = |count, [a, b, c]: [Side; 3]| {
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

    /// Columns of images of so many channels, from `at` on: those of image n lie `steps[0]` values behind those of the one before,
    /// their rows `steps[1]` values behind each other.
    fn columns(
        &self,
        (images, channels, window): (usize, usize, Window),
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

    /// y = bias, of so many images.
    pub(super) fn fill_channels(&self, plan: &Plan, rows: usize, bias: &Tensor<D::Memory>, y: &Tensor<D::Memory>) {
        let Plan { shape: Conv { out, .. }, places, .. } = *plan;
        let sizes = [rows, out, places].map(|size| Arg::U32(size as u32));
        let args: Vec<_> = [bias.arg(out), y.arg(rows * out * places)].into_iter().chain(sizes).collect();
        self.over_rows([rows, out * places], "fill_channels_f32", &args);
    }

    /// y = W columns, or y + W columns, of the images from `first` on.
    pub(super) fn forward_chunk(
        &self,
        plan: &Plan,
        (first, images): (usize, usize),
        [x, weight, y]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let Plan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let image = if plan.plain { channels * places } else { under * row };
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

    /// columns = W^T dy, and dx = what they come to, of the images from `first` on.
    pub(super) fn input_chunk(
        &self,
        plan: &Plan,
        (first, images): (usize, usize),
        [dy, weight, dx]: [&Tensor<D::Memory>; 3],
        scratch: &Tensor<D::Memory>,
    ) {
        let Plan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
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

    /// dw, or dw + : the sum over the images from `first` on.
    pub(super) fn weight_chunk(
        &self,
        plan: &Plan,
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

    /// A product dy columns^T of each image, and the sum of these.
    fn weight_by_images(
        &self,
        plan: &Plan,
        (first, images): (usize, usize),
        [x, dy, dw]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let Plan { shape: Conv { channels, out, groups, window }, places, row, under, .. } = *plan;
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

    /// One product over all images, of columns and dy laid out by (row, image, place); in parts of its sum, where it has few
    /// values, and these added up in order.
    fn weight_at_once(
        &self,
        plan: &Plan,
        (first, images): (usize, usize),
        [x, dy, dw]: [&Tensor<D::Memory>; 3],
        accumulate: bool,
        scratch: &Tensor<D::Memory>,
    ) {
        let Plan { shape: Conv { channels, out, window, .. }, places, under, parts, .. } = *plan;
        let [from, to] = plan.sizes(first);
        let len = images * places;
        let row = len.next_multiple_of(ALIGNED);
        let behind = under * row;
        self.columns((images, channels, window), (x, from), (scratch, 0), [places, row]);
        let single = Window { image: window.places(), kernel: [1, 1], stride: [1, 1], padding: [0, 0] };
        self.columns((images, out, single), (dy, to), (scratch, behind), [places, row]);
        let parts = parts.min(len.div_ceil(LEAST));
        let share = len.div_ceil(parts).next_multiple_of(ALIGNED);
        let sums = behind + out * row;
        let product = |count, k, done, c: &Tensor<D::Memory>, at, accumulate| {
            let side = |at: usize| Side { row, step: share, at: at + done * share };
            let product = Product {
                shape: Gemm { m: out, n: under, k, a_transposed: false, b_transposed: true, accumulate },
                count,
                a: side(behind),
                b: side(0),
                c: Side { row: under, step: out * under, at: at + done * out * under },
                relu: false,
            };
            self.device.multiply(product, &scratch.memory, &scratch.memory, &c.memory, None);
        };
        let (whole, rest) = (len / share, len % share);
        if whole + usize::from(rest > 0) == 1 {
            return product(1, len, 0, dw, 0, accumulate);
        }
        product(whole, share, 0, scratch, sums, false);
        if rest > 0 {
            product(1, rest, whole, scratch, sums, false);
        }
        self.add_rows(whole + usize::from(rest > 0), out * under, (scratch, sums), accumulate, dw);
    }
}

/// A kernel's parameters for a window.
pub(super) fn scalars<'a, M: 'a>(window: Window) -> impl Iterator<Item = Arg<'a, M>> {
    let Window { image, kernel, stride, padding } = window;
    [image, kernel, stride, padding, window.places()].into_iter().flatten().map(|size| Arg::U32(size as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(channels: usize, out: usize, size: usize, kernel: usize, stride: usize, padding: usize) -> Conv {
        let [image, kernel, stride, padding] = [size, kernel, stride, padding].map(|size| [size, size]);
        Conv { channels, out, groups: 1, window: Window { image, kernel, stride, padding } }
    }

    fn plan(shape: Conv) -> Plan {
        Plan::of(shape, 16 << 20)
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
