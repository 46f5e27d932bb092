//! Images: pools with the same bits, convolutions nearly.

use mixnn::compute::{Conv, ImageWindow, Images, Memory, Pool};

use super::{Bench, Check, SUM, Twin};

pub fn checks<B: Memory + Images>() -> Vec<Check<B>> {
    vec![("convolutions", convolutions), ("random convolutions", random_convolutions), ("pools", pools)]
}

/// (channels, out, groups), image, kernel, stride, padding, rows.
type Case = ([usize; 3], [[usize; 2]; 4], usize);

const CONVOLUTIONS: [Case; 16] = [
    ([1, 6, 1], [[9, 8], [5, 5], [1, 1], [2, 2]], 5),
    ([3, 4, 1], [[8, 8], [3, 3], [2, 2], [1, 1]], 7),
    ([3, 4, 1], [[7, 10], [3, 3], [1, 1], [1, 1]], 2),
    ([3, 4, 1], [[8, 9], [5, 5], [3, 2], [2, 1]], 3),
    ([3, 5, 1], [[11, 12], [7, 7], [2, 2], [3, 3]], 3),
    ([4, 6, 2], [[7, 9], [3, 2], [2, 3], [1, 0]], 4),
    // More groups than images, and fewer.
    ([6, 6, 6], [[5, 5], [3, 3], [1, 2], [2, 1]], 2),
    ([2, 4, 2], [[6, 5], [3, 3], [1, 1], [1, 1]], 6),
    // An image that is its own columns; large, small, in groups.
    ([5, 4, 1], [[6, 7], [1, 1], [1, 1], [0, 0]], 4),
    ([9, 8, 1], [[1, 3], [1, 1], [1, 1], [0, 0]], 6),
    ([6, 4, 2], [[2, 2], [1, 1], [1, 1], [0, 0]], 3),
    // One value, but not everywhere, or beside the image as well.
    ([4, 3, 1], [[5, 6], [1, 1], [2, 2], [0, 0]], 3),
    ([2, 3, 1], [[3, 2], [1, 1], [1, 1], [1, 2]], 3),
    ([7, 5, 1], [[1, 1], [1, 1], [1, 1], [0, 0]], 9),
    ([2, 2, 1], [[2, 1], [4, 3], [3, 1], [3, 2]], 4),
    // So many places of few values that their sum falls into parts, the last of them shorter.
    ([2, 3, 1], [[4, 4], [3, 3], [1, 1], [0, 0]], 301),
];

fn convolutions<B: Memory + Images>(bench: &mut Bench<'_, B>) {
    for ([channels, out, groups], [image, kernel, stride, padding], rows) in CONVOLUTIONS {
        let window = ImageWindow { image, kernel, stride, padding };
        convolution(bench, Conv { channels, out, groups, window }, rows);
    }
}

fn random_convolutions<B: Memory + Images>(bench: &mut Bench<'_, B>) {
    for _ in 0..8 {
        let mut pair = |least, most| [bench.size(least, most), bench.size(least, most)];
        let (image, kernel, stride, parts) = (pair(3, 9), pair(1, 4), pair(1, 3), pair(1, 4));
        let window = ImageWindow { image, kernel, stride, padding: [kernel[0] / 2, kernel[1] - 1] };
        let groups = bench.size(1, 3);
        let conv = Conv { channels: groups * parts[0], out: groups * parts[1], groups, window };
        let rows = bench.size(1, 6);
        convolution(bench, conv, rows);
    }
}

/// Scratch memory for so many rows, which holds no number.
fn scratch<B: Memory + Images>(bench: &Bench<'_, B>, shape: Conv, rows: usize) -> Twin<B> {
    let [here, there] = [bench.backend.conv_scratch(shape, rows), bench.cpu.conv_scratch(shape, rows)];
    Twin { here: bench.poison(here).here, there: bench.poison(there).there, len: here }
}

/// The three calls, for all rows and for fewer.
fn convolution<B: Memory + Images>(bench: &mut Bench<'_, B>, shape: Conv, most: usize) {
    let Conv { channels, out, groups, window } = shape;
    let (inputs, outputs) = (channels * window.pixels(), out * window.outputs());
    let (weight, bias) = (bench.tensor(out * shape.under(), 1.0), bench.tensor(out, 1.0));
    for rows in [most, most.div_ceil(2)] {
        let what = |call: &str| format!("{call}, {rows} rows, {shape:?}");
        let (x, dy) = (bench.tensor(rows * inputs, 1.0), bench.tensor(rows * outputs, 1.0));
        for bias in [Some(&bias), None] {
            let (mut s, mut y) = (scratch(bench, shape, most), bench.poison(rows * outputs));
            let (here, there) = (bias.map(|bias| &bias.here), bias.map(|bias| &bias.there));
            bench.backend.conv(shape, rows, &x.here, &weight.here, here, &mut s.here, &mut y.here);
            bench.cpu.conv(shape, rows, &x.there, &weight.there, there, &mut s.there, &mut y.there);
            bench.near(&y, SUM * (shape.under() + 1) as f32, &what("forward"));
        }
        let (mut s, mut dx) = (scratch(bench, shape, most), bench.poison(rows * inputs));
        bench.backend.conv_backward_input(shape, rows, &dy.here, &weight.here, &mut s.here, &mut dx.here);
        bench.cpu.conv_backward_input(shape, rows, &dy.there, &weight.there, &mut s.there, &mut dx.there);
        let terms = out / groups * window.kernel[0] * window.kernel[1];
        bench.near(&dx, SUM * terms as f32, &what("backward to the input"));
        for accumulate in [false, true] {
            let mut dw = if accumulate { bench.tensor(weight.len, 1.0) } else { bench.poison(weight.len) };
            let Twin { here, there, .. } = &mut scratch(bench, shape, most);
            let (backend, cpu) = (bench.backend, &bench.cpu);
            backend.conv_backward_weight(shape, rows, &x.here, &dy.here, accumulate, here, &mut dw.here);
            cpu.conv_backward_weight(shape, rows, &x.there, &dy.there, accumulate, there, &mut dw.there);
            let terms = rows * window.outputs() + 1;
            bench.near(&dw, SUM * terms as f32, &what("backward to the weight"));
        }
    }
}

/// Image, kernel, stride, padding, planes.
const POOLS: [([[usize; 2]; 4], usize); 12] = [
    ([[6, 8], [2, 2], [2, 2], [0, 0]], 5),
    ([[7, 9], [2, 2], [2, 2], [0, 0]], 3),
    ([[7, 9], [3, 3], [2, 2], [1, 1]], 4),
    ([[5, 6], [3, 3], [1, 1], [1, 1]], 2),
    ([[3, 4], [2, 3], [1, 2], [1, 1]], 3),
    ([[9, 5], [4, 2], [3, 1], [2, 1]], 3),
    // Pixels that no window holds.
    ([[8, 9], [2, 2], [3, 4], [0, 0]], 3),
    ([[8, 9], [1, 3], [2, 5], [0, 1]], 3),
    // The whole plane; one pixel.
    ([[6, 7], [6, 7], [1, 1], [0, 0]], 7),
    ([[1, 1], [1, 1], [1, 1], [0, 0]], 300),
    ([[1, 1], [2, 2], [1, 1], [1, 1]], 3),
    // Places and pixels of several blocks.
    ([[40, 50], [2, 3], [2, 2], [1, 1]], 5),
];

fn pools<B: Memory + Images>(bench: &mut Bench<'_, B>) {
    for ([image, kernel, stride, padding], planes) in POOLS {
        let window = ImageWindow { image, kernel, stride, padding };
        let (pixels, outputs) = (planes * window.pixels(), planes * window.outputs());
        // Few values, so that several are the largest; some are no number, some without end.
        let mut values: Vec<f32> = bench.values(pixels, 2.4).iter().map(|value| value.round()).collect();
        for (most, value) in [(20, f32::NAN), (30, f32::INFINITY), (4, f32::NEG_INFINITY)] {
            (0..pixels / most).for_each(|_| values[bench.random.below(pixels as u32) as usize] = value);
        }
        let dy = bench.tensor(outputs, 1.0);
        for pool in [Pool::Max, Pool::Mean] {
            let x = match pool {
                Pool::Max => bench.put(&values),
                Pool::Mean => bench.tensor(pixels, 1.0),
            };
            let [mut y, mut dx] = [bench.poison(outputs), bench.poison(pixels)];
            bench.backend.pool(pool, window, planes, &x.here, &mut y.here);
            bench.cpu.pool(pool, window, planes, &x.there, &mut y.there);
            bench.same(&y, &format!("{pool:?} {window:?}"));
            bench.backend.pool_backward(pool, window, planes, &x.here, &dy.here, &mut dx.here);
            bench.cpu.pool_backward(pool, window, planes, &x.there, &dy.there, &mut dx.there);
            bench.same(&dx, &format!("{pool:?} backward {window:?}"));
        }
    }
}
