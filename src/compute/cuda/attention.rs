//! Attention on the device, by launches of `kernels/attention.cu`.

use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::{Attention, Heads};

/// Number of tokens, queries or keys, that a block of threads takes at a time.
const TILE: usize = 64;
/// Number of values that the backward kernels pass on in scratch memory for each query of each head.
const STATS: usize = 3;

/// Number of a head's columns that a block of threads adds up. The kernels are compiled for two: 64 and 128.
fn columns(width: usize) -> usize {
    if width <= 64 { 64 } else { 128 }
}

/// Lengths of x and of y, in values.
fn sizes(shape: Heads, rows: usize) -> [usize; 2] {
    let values = rows * shape.tokens * shape.values();
    [3 * values, values]
}

/// Number of queries of all samples and heads together.
fn queries(shape: Heads, rows: usize) -> usize {
    rows * shape.heads * shape.tokens
}

impl<D: Device> Cuda<D> {
    /// Launches `kernel` with a block for each sample, head, tile of tokens and group of columns. Its arguments are `tensors`,
    /// then the shape and the scale `1 / sqrt(width)`.
    fn attend<'a>(
        &self,
        shape: Heads,
        rows: usize,
        kernel: &'static str,
        tensors: impl IntoIterator<Item = Arg<'a, D::Memory>>,
    ) where
        D: 'a,
    {
        let Heads { tokens, heads, width, causal } = shape;
        let blocks = rows * heads * tokens.div_ceil(TILE) * width.div_ceil(columns(width));
        let numbers = [tokens as u32, heads as u32, width as u32, causal.into()].map(Arg::U32);
        let scale = Arg::F32(1.0 / (width as f32).sqrt());
        let args: Vec<_> = tensors.into_iter().chain(numbers).chain([scale]).collect();
        self.grid([blocks as u32, 1, 1], THREADS, kernel, &args);
    }
}

impl<D: Device> Attention for Cuda<D> {
    fn attention_scratch(&self, shape: Heads, rows: usize) -> usize {
        STATS * queries(shape, rows)
    }

    fn attention(&self, shape: Heads, rows: usize, x: &Self::Buf, _scratch: &mut Self::Buf, y: &mut Self::Buf) {
        let kernel = if columns(shape.width) == 64 { "attention_64_f32" } else { "attention_128_f32" };
        let [of_x, of_y] = sizes(shape, rows);
        self.attend(shape, rows, kernel, [x.arg(of_x), y.arg(of_y)]);
    }

    fn attention_backward(
        &self,
        shape: Heads,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let kernels = match columns(shape.width) {
            64 => ["attention_dq_64_f32", "attention_dkv_64_f32"],
            _ => ["attention_dq_128_f32", "attention_dkv_128_f32"],
        };
        let ([of_x, of_y], queries) = (sizes(shape, rows), queries(shape, rows));
        let scratch: &Tensor<_> = scratch;
        for kernel in kernels {
            let stats = [scratch.arg(STATS * queries), Arg::U64(queries as u64)];
            let tensors = [x.arg(of_x), dy.arg(of_y), dx.arg(of_x)].into_iter().chain(stats);
            self.attend(shape, rows, kernel, tensors);
        }
    }

    fn rotate(&self, shape: Heads, rows: usize, back: bool, turns: &Self::Buf, x: &mut Self::Buf) {
        let Heads { tokens, heads, width, .. } = shape;
        let tensors = [turns.arg(2 * tokens * (width / 2)), x.arg(sizes(shape, rows)[0]), Arg::U64(rows as u64)];
        let numbers = [tokens as u32, heads as u32, width as u32, back.into()].map(Arg::U32);
        let args: Vec<_> = tensors.into_iter().chain(numbers).collect();
        self.grid([(rows * tokens).min(self.bounds.blocks as usize) as u32, 1, 1], THREADS, "rotate_f32", &args);
    }
}
