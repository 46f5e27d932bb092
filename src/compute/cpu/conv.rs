//! Convolution as matrix products. Image by image, the values under the window at each place become a column of a matrix
//! ("im2col").
//!
//! The images of a micro-batch are divided into at most [`PARTS`] parts of equal size, whatever the number of threads. Each
//! part has scratch memory of its own and, for the weight's gradient, a sum of its own. These sums are added in order.

use gemm_common::Parallelism;
use pulp::Arch;

use super::vector::vectorised;
use rayon::prelude::*;

use super::exact;
use crate::compute::{Conv, Gemm, ImageWindow};

/// Most parts of a micro-batch that are computed at once.
const PARTS: usize = 8;

/// Length of the scratch memory of all parts, in values.
pub(super) fn scratch(shape: Conv) -> usize {
    PARTS * part(shape)
}

/// Length of one part's scratch memory, in values: the columns of one image's group, and a gradient of the weight.
fn part(shape: Conv) -> usize {
    shape.under() * (shape.window.outputs() + shape.out)
}

/// Sizes that all three calls need. All but `images` count values.
struct Sizes {
    /// Number of images in a part.
    images: usize,
    /// Values of an input image: channels times height times width.
    input: usize,
    /// Values of an output image: out channels times places.
    output: usize,
    /// Number of places at which the window stops.
    places: usize,
    /// Input values that one output value depends on: rows of a group's columns.
    under: usize,
    /// Output channels of one group.
    out: usize,
    /// Values of one group of an input image.
    group: usize,
}

impl Sizes {
    fn of(shape: Conv, rows: usize) -> Self {
        let places = shape.window.outputs();
        let input = shape.channels * shape.window.pixels();
        Self {
            images: rows.div_ceil(PARTS).max(1),
            input,
            output: shape.out * places,
            places,
            under: shape.under(),
            out: shape.out / shape.groups,
            group: input / shape.groups,
        }
    }
}

/// See [`Images::conv`](crate::compute::Images::conv). `parallel` divides the images among threads.
#[allow(clippy::too_many_arguments)]
pub(super) fn forward(
    simd: Arch,
    parallel: bool,
    shape: Conv,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    y: &mut [f32],
) {
    let s = Sizes::of(shape, y.len() / (shape.out * shape.window.outputs()));
    let one = |((x, y), scratch): ((&[f32], &mut [f32]), &mut [f32])| {
        for (x, y) in x.chunks_exact(s.input).zip(y.chunks_exact_mut(s.output)) {
            // y starts from the bias of its channel, and the products are added to it.
            if let Some(bias) = bias {
                y.chunks_exact_mut(s.places).zip(bias).for_each(|(y, bias)| y.fill(*bias));
            }
            let groups = x.chunks_exact(s.group).zip(y.chunks_exact_mut(s.out * s.places));
            // Group by group: y (out, places) += weight (out, under) times columns (under, places).
            for ((x, y), weight) in groups.zip(weight.chunks_exact(s.out * s.under)) {
                let columns = columns(simd, shape.window, x, scratch);
                product(simd, s.out, s.places, s.under, [false, false], bias.is_some(), weight, columns, y);
            }
        }
    };
    let (of_x, of_y) = (s.images * s.input, s.images * s.output);
    match parallel {
        true => {
            let parts = x.par_chunks(of_x).zip(y.par_chunks_mut(of_y));
            parts.zip(scratch.par_chunks_mut(part(shape))).for_each(one);
        }
        false => {
            let scratch = &mut scratch[..part(shape)];
            x.chunks(of_x).zip(y.chunks_mut(of_y)).for_each(|part| one((part, scratch)));
        }
    }
}

/// See [`Images::conv_backward_input`](crate::compute::Images::conv_backward_input). `parallel` divides the images among
/// threads.
pub(super) fn backward_input(
    simd: Arch,
    parallel: bool,
    shape: Conv,
    dy: &[f32],
    weight: &[f32],
    scratch: &mut [f32],
    dx: &mut [f32],
) {
    let s = Sizes::of(shape, dy.len() / (shape.out * shape.window.outputs()));
    let one = |((dx, dy), scratch): ((&mut [f32], &[f32]), &mut [f32])| {
        for (dx, dy) in dx.chunks_exact_mut(s.input).zip(dy.chunks_exact(s.output)) {
            let groups = dx.chunks_exact_mut(s.group).zip(dy.chunks_exact(s.out * s.places));
            // Group by group: the columns' gradient (under, places) = weight^T (under, out) times dy (out, places). It is then
            // added up to the pixels that the columns were copied from.
            for ((dx, dy), weight) in groups.zip(weight.chunks_exact(s.out * s.under)) {
                if is_plain(shape.window) {
                    product(simd, s.under, s.places, s.out, [true, false], false, weight, dy, dx);
                } else {
                    let columns = &mut scratch[..s.under * s.places];
                    product(simd, s.under, s.places, s.out, [true, false], false, weight, dy, columns);
                    fold(simd, shape.window, columns, dx);
                }
            }
        }
    };
    let (of_x, of_y) = (s.images * s.input, s.images * s.output);
    match parallel {
        true => {
            let parts = dx.par_chunks_mut(of_x).zip(dy.par_chunks(of_y));
            parts.zip(scratch.par_chunks_mut(part(shape))).for_each(one);
        }
        false => {
            let scratch = &mut scratch[..part(shape)];
            dx.chunks_mut(of_x).zip(dy.chunks(of_y)).for_each(|part| one((part, scratch)));
        }
    }
}

/// See [`Images::conv_backward_weight`](crate::compute::Images::conv_backward_weight). `parallel` divides the images among
/// threads.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward_weight(
    simd: Arch,
    parallel: bool,
    shape: Conv,
    x: &[f32],
    dy: &[f32],
    accumulate: bool,
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let s = Sizes::of(shape, dy.len() / (shape.out * shape.window.outputs()));
    let one = |((x, dy), scratch): ((&[f32], &[f32]), &mut [f32])| {
        // The part's own sum comes first in its scratch memory, the columns behind it.
        let (sum, scratch) = scratch.split_at_mut(dw.len());
        for (image, (x, dy)) in x.chunks_exact(s.input).zip(dy.chunks_exact(s.output)).enumerate() {
            let groups = x.chunks_exact(s.group).zip(dy.chunks_exact(s.out * s.places));
            // Group by group: sum (out, under) += dy (out, places) times columns^T (places, under). The first image starts it.
            for ((x, dy), sum) in groups.zip(sum.chunks_exact_mut(s.out * s.under)) {
                let columns = columns(simd, shape.window, x, scratch);
                product(simd, s.out, s.under, s.places, [false, true], image > 0, dy, columns, sum);
            }
        }
    };
    let (of_x, of_y, size) = (s.images * s.input, s.images * s.output, part(shape));
    match parallel {
        true => {
            let parts = x.par_chunks(of_x).zip(dy.par_chunks(of_y));
            parts.zip(scratch.par_chunks_mut(size)).for_each(one);
        }
        false => {
            let parts = x.chunks(of_x).zip(dy.chunks(of_y));
            parts.zip(scratch.chunks_mut(size)).for_each(one);
        }
    }
    // The parts' sums are added in order, whichever thread was first.
    if !accumulate {
        dw.fill(0.0);
    }
    for sum in scratch.chunks(size).take(x.len().div_ceil(of_x)) {
        super::elementwise::add(simd, &sum[..dw.len()], dw);
    }
}

/// The matrix product (m, k) times (k, n) on the calling thread. `transposed` says which of A and B are stored as their
/// transposes.
#[allow(clippy::too_many_arguments)]
fn product(
    simd: Arch,
    m: usize,
    n: usize,
    k: usize,
    transposed: [bool; 2],
    accumulate: bool,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
) {
    let [a_transposed, b_transposed] = transposed;
    exact::gemm(simd, Gemm { m, n, k, a_transposed, b_transposed, accumulate }, Parallelism::None, a, b, c);
}

/// Whether an image is its own matrix of columns: the window is one pixel and stops at each.
fn is_plain(window: ImageWindow) -> bool {
    window.kernel == [1, 1] && window.stride == [1, 1] && window.padding == [0, 0]
}

/// The columns (channels, kernel height, kernel width, places) of `image` (channels, height, width). They are written to
/// `scratch`, unless the image is its own matrix of columns. Pixels of the padding are 0.
fn columns<'a>(simd: Arch, window: ImageWindow, image: &'a [f32], scratch: &'a mut [f32]) -> &'a [f32] {
    if is_plain(window) {
        return image;
    }
    let len = image.len() / window.pixels() * window.kernel[0] * window.kernel[1] * window.outputs();
    let columns = &mut scratch[..len];
    vectorised(
        simd,
        #[inline(always)]
        || {
            lines(
                window,
                image.len() / window.pixels(),
                #[inline(always)]
                |line| {
                    let Some(from) = line.image else { return columns[line.at..][..line.places].fill(0.0) };
                    let (image, begin, end) = (&image[from..], line.at + line.from, line.at + line.to);
                    match window.stride[1] {
                        1 => copy(image, &mut columns[begin..], end - begin),
                        step => {
                            let line = columns[begin..end].iter_mut().zip(image.iter().step_by(step));
                            line.for_each(|(column, x)| *column = *x);
                        }
                    }
                    columns[line.at..begin].fill(0.0);
                    columns[end..line.at + line.places].fill(0.0);
                },
            );
        },
    );
    columns
}

/// Copies the first `len` values, in whole vectors where there is room. Up to 15 values behind them in `to` are overwritten:
/// the caller writes these afterwards.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32], len: usize) {
    const VECTOR: usize = 16;
    let whole = len.next_multiple_of(VECTOR);
    match (from.get(..whole), to.get_mut(..whole)) {
        (Some(from), Some(to)) => {
            let vectors = to.as_chunks_mut::<VECTOR>().0.iter_mut().zip(from.as_chunks::<VECTOR>().0);
            vectors.for_each(|(to, from)| *to = *from);
        }
        _ => to[..len].copy_from_slice(&from[..len]),
    }
}

/// The reverse of [`columns`]: sets `image` (channels, height, width) to the sum of all `columns` values that came from each
/// pixel.
fn fold(simd: Arch, window: ImageWindow, columns: &[f32], image: &mut [f32]) {
    image.fill(0.0);
    let planes = image.len() / window.pixels();
    vectorised(
        simd,
        #[inline(always)]
        || {
            lines(
                window,
                planes,
                #[inline(always)]
                |line| {
                    let Some(from) = line.image else { return };
                    let image = &mut image[from..from + line.width];
                    let columns = &columns[line.at..][line.from..line.to];
                    match window.stride[1] {
                        1 => image.iter_mut().zip(columns).for_each(|(x, column)| *x += column),
                        step => image.iter_mut().step_by(step).zip(columns).for_each(|(x, column)| *x += column),
                    }
                },
            );
        },
    );
}

/// A run of columns: the places of one output row, for one channel and one value under the window.
struct ColumnRun {
    /// Where the run begins in the columns.
    at: usize,
    /// Number of places in the run.
    places: usize,
    /// First place of the run that lies on the image, counted from the run's beginning.
    from: usize,
    /// End of the places that lie on the image, exclusive.
    to: usize,
    /// Offset in the image of the pixel that belongs to place `from`. `None` if the whole run lies in the padding.
    image: Option<usize>,
    /// Number of pixels from there to the end of the image's row.
    width: usize,
}

/// Calls `each` for all runs of an image of `planes` channels, in the order of the columns.
#[inline(always)]
fn lines(window: ImageWindow, planes: usize, mut each: impl FnMut(ColumnRun)) {
    let ImageWindow { image: [height, width], kernel, stride, padding } = window;
    let [rows, places] = window.places();
    let mut at = 0;
    for plane in 0..planes {
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                // Places p with 0 <= stride p + j - padding < width.
                let from = padding[1].saturating_sub(j).div_ceil(stride[1]).min(places);
                let to = (width + padding[1]).saturating_sub(j).div_ceil(stride[1]).clamp(from, places);
                let first = (stride[1] * from + j).saturating_sub(padding[1]);
                for row in 0..rows {
                    let y = (stride[0] * row + i).checked_sub(padding[0]).filter(|y| *y < height && to > from);
                    let image = y.map(|y| (plane * height + y) * width + first);
                    each(ColumnRun { at, places, from, to, image, width: width.saturating_sub(first) });
                    at += places;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::there;
    use super::*;
    use crate::compute::rounding::Sum;

    fn values(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.73 + seed).sin()).collect()
    }

    fn shape(channels: usize, out: usize, groups: usize, window: [[usize; 2]; 4]) -> Conv {
        let [image, kernel, stride, padding] = window;
        Conv { channels, out, groups, window: ImageWindow { image, kernel, stride, padding } }
    }

    fn shapes() -> Vec<Conv> {
        vec![
            shape(1, 6, 1, [[9, 8], [5, 5], [1, 1], [2, 2]]),
            shape(4, 6, 2, [[7, 9], [3, 2], [2, 3], [1, 0]]),
            shape(3, 3, 3, [[5, 5], [3, 3], [1, 2], [2, 1]]),
            shape(5, 4, 1, [[6, 3], [1, 1], [1, 1], [0, 0]]),
            shape(2, 2, 1, [[2, 1], [4, 3], [3, 1], [3, 2]]),
        ]
    }

    /// The sum that [`Images::conv`](crate::compute::Images::conv) defines: calls `each` with the indices of every product's
    /// parts, which are its value in y, in the weight and in x.
    fn terms(c: Conv, rows: usize, mut each: impl FnMut(usize, usize, usize)) {
        let w = c.window;
        let ([high, wide], [kh, kw], [height, width]) = (w.places(), w.kernel, w.image);
        let (per_in, per_out) = (c.channels / c.groups, c.out / c.groups);
        for (n, o) in (0..rows).flat_map(|n| (0..c.out).map(move |o| (n, o))) {
            for (py, px) in (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))) {
                for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                    let (y, x) = (py * w.stride[0] + i, px * w.stride[1] + j);
                    let (Some(y), Some(x)) = (y.checked_sub(w.padding[0]), x.checked_sub(w.padding[1])) else {
                        continue;
                    };
                    for channel in (0..per_in).filter(|_| y < height && x < width) {
                        let from = o / per_out * per_in + channel;
                        each(
                            ((n * c.out + o) * high + py) * wide + px,
                            ((o * per_in + channel) * kh + i) * kw + j,
                            ((n * c.channels + from) * height + y) * width + x,
                        );
                    }
                }
            }
        }
    }

    fn near(found: &[f32], due: &[Sum]) {
        due.iter().zip(found).for_each(|(due, found)| due.is_nearly(*found, 0));
    }

    #[test]
    fn agrees_with_the_sum_that_defines_it() {
        for c in shapes() {
            for rows in [1, 3, 19] {
                let (inputs, outputs) = (rows * c.channels * c.window.pixels(), rows * c.out * c.window.outputs());
                let (x, w, dy) = (values(inputs, 1.0), values(c.out * c.under(), 2.0), values(outputs, 3.0));
                let bias = values(c.out, 4.0);
                let mut due = [outputs, inputs, w.len()].map(|len| vec![Sum::default(); len]);
                for (i, y) in due[0].iter_mut().enumerate() {
                    y.add(f64::from(bias[i / c.window.outputs() % c.out]));
                }
                terms(c, rows, |of_y, of_w, of_x| {
                    due[0][of_y].add(f64::from(w[of_w]) * f64::from(x[of_x]));
                    due[1][of_x].add(f64::from(w[of_w]) * f64::from(dy[of_y]));
                    due[2][of_w].add(f64::from(x[of_x]) * f64::from(dy[of_y]));
                });
                let twice: Vec<Sum> =
                    due[2].iter().map(|once| Sum { terms: 2 * once.terms, ..once.times(2.0) }).collect();
                let run = |simd, parallel| {
                    let mut scratch = vec![f32::NAN; scratch(c)];
                    let (mut y, mut dx, mut dw) = (vec![7.0; outputs], vec![7.0; inputs], vec![7.0; w.len()]);
                    forward(simd, parallel, c, &x, &w, Some(&bias), &mut scratch, &mut y);
                    backward_input(simd, parallel, c, &dy, &w, &mut scratch, &mut dx);
                    backward_weight(simd, parallel, c, &x, &dy, false, &mut scratch, &mut dw);
                    let once = dw.clone();
                    backward_weight(simd, parallel, c, &x, &dy, true, &mut scratch, &mut dw);
                    near(&dw, &twice);
                    [y, dx, once]
                };
                for simd in there() {
                    let found = run(simd, false);
                    found.iter().zip(&due).for_each(|(found, due)| near(found, due));
                    assert_eq!(run(simd, true), found, "{c:?}");
                }
            }
        }
    }
}
