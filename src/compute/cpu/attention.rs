//! Attention on the processor. It goes sample by sample, head by head, and through blocks of queries, so that only the weights
//! p of one block are in memory at a time.
//!
//! The samples of a micro-batch are divided into at most [`PARTS`] parts of equal size, whatever the number of threads. Each
//! part has scratch memory of its own, and no sum goes beyond a sample. If causal, keys behind a block's last query are left
//! out of its products.

use gemm_common::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

use super::Cpu;
use super::exact;
use super::functions::exp;
use super::vector::vectorised;
use crate::compute::{Attention, Gemm, Heads};

/// Most parts of a micro-batch that are computed at once.
const PARTS: usize = 8;
/// Most queries of a block, whose weights are computed at once.
const BLOCK: usize = 64;
/// Number of partial sums of a row: value i is added to partial sum i mod 16, and these are then added in order.
const LANES: usize = 16;

/// Length of one part's scratch memory, in values: the weights p of a block and their gradient, (queries, tokens) each.
fn part(shape: Heads) -> usize {
    2 * BLOCK.min(shape.tokens) * shape.tokens
}

/// One part's x (samples, tokens, 3, heads, width) and dy (samples, tokens, heads, width), and its dx in the shape of x.
type BackwardPart<'a> = ((&'a [f32], &'a [f32]), &'a mut [f32]);

/// One head of one sample.
#[derive(Clone, Copy)]
struct AttentionHead {
    shape: Heads,
    /// Offset of the head's values within a token's queries, keys or values, and within a token of y.
    at: usize,
}

/// A block of queries, and the keys that they may see.
#[derive(Clone, Copy)]
struct QueryBlock {
    /// Token of the block's first query.
    first: usize,
    /// Number of queries in the block.
    queries: usize,
    /// Number of keys, from the first token on. If causal, it ends with the last query of the block.
    keys: usize,
}

impl AttentionHead {
    /// All heads of a sample, in order.
    fn all(shape: Heads) -> impl DoubleEndedIterator<Item = Self> {
        (0..shape.heads).map(move |head| Self { shape, at: head * shape.width })
    }

    /// All blocks of the sequence, in order. From the back is the order of [`backward`](Self::backward).
    fn blocks(self) -> impl DoubleEndedIterator<Item = QueryBlock> {
        let Heads { tokens, causal, .. } = self.shape;
        (0..tokens).step_by(BLOCK).map(move |first| {
            let queries = BLOCK.min(tokens - first);
            QueryBlock { first, queries, keys: if causal { first + queries } else { tokens } }
        })
    }

    /// Number of values from one token to the next: in x, and in y.
    fn strides(self) -> (usize, usize) {
        (3 * self.shape.values(), self.shape.values())
    }

    /// Offset in x of this head's queries (`what` = 0), keys (1) or values (2) of a token.
    fn of(self, what: usize, token: usize) -> usize {
        token * self.strides().0 + what * self.shape.values() + self.at
    }

    /// What scores are multiplied by: `1 / sqrt(width)`.
    fn scale(self) -> f32 {
        1.0 / (self.shape.width as f32).sqrt()
    }

    /// Writes to `p` (queries, keys) the weights of `block`: `softmax(scale q k^T)` row by row, and 0 for keys that a query may
    /// not see.
    fn weights(self, simd: Arch, block: QueryBlock, x: &[f32], p: &mut [f32]) {
        let QueryBlock { first, queries, keys } = block;
        let (stride, _) = self.strides();
        let shape = product(queries, keys, self.shape.width, [false, true], false);
        // The scores: scale q (queries, width) times k^T (width, keys).
        let (query, key) = ((&x[self.of(0, first)..], stride), (&x[self.of(1, 0)..], stride));
        multiply(simd, shape, self.scale(), query, key, (p, keys));
        // A query sees the keys up to its own if causal, else all.
        let seen = |row: usize| if self.shape.causal { first + row + 1 } else { keys };
        vectorised(
            simd,
            #[inline(always)]
            || {
                for (row, p) in p.chunks_exact_mut(keys).enumerate() {
                    let (seen, hidden) = p.split_at_mut(seen(row));
                    softmax(seen);
                    hidden.fill(0.0);
                }
            },
        );
    }

    /// Computes this head's part of one sample's `y`, from its `x`. `p` is scratch memory.
    fn forward(self, simd: Arch, x: &[f32], p: &mut [f32], y: &mut [f32]) {
        let (from, to) = self.strides();
        for block in self.blocks() {
            let QueryBlock { first, queries, keys } = block;
            let p = &mut p[..queries * keys];
            self.weights(simd, block, x, p);
            // y (queries, width) = p (queries, keys) times v (keys, width).
            let shape = product(queries, self.shape.width, keys, [false, false], false);
            let (value, y) = ((&x[self.of(2, 0)..], from), (&mut y[first * to + self.at..], to));
            multiply(simd, shape, 1.0, (p, keys), value, y);
        }
    }

    /// Computes this head's part of one sample's `dx`, from `x` and `dy`. The two halves of `scratch` hold p and its gradient.
    ///
    /// The blocks go from last to first: the last one sees all keys, so its products start the sums dk and dv that the other
    /// blocks add to.
    fn backward(self, simd: Arch, x: &[f32], dy: &[f32], scratch: &mut [f32], dx: &mut [f32]) {
        let (stride, of_y) = self.strides();
        let (width, half) = (self.shape.width, scratch.len() / 2);
        let (p, dp) = scratch.split_at_mut(half);
        for (i, block) in self.blocks().rev().enumerate() {
            let QueryBlock { first, queries, keys } = block;
            let (p, dp) = (&mut p[..queries * keys], &mut dp[..queries * keys]);
            // The weights p (queries, keys), again.
            self.weights(simd, block, x, p);
            let dy = (&dy[first * of_y + self.at..], of_y);
            // The gradient of the weights: dp (queries, keys) = dy (queries, width) times v^T (width, keys).
            multiply(
                simd,
                product(queries, keys, width, [false, true], false),
                1.0,
                dy,
                (&x[self.of(2, 0)..], stride),
                (&mut *dp, keys),
            );
            // dv (keys, width) += p^T (keys, queries) times dy (queries, width).
            let dv = (&mut dx[self.of(2, 0)..], stride);
            multiply(simd, product(keys, width, queries, [true, false], i > 0), 1.0, (&*p, keys), dy, dv);
            // Through the softmax: ds (queries, keys) = p (dp - the row's sum of p dp), written over dp.
            vectorised(
                simd,
                #[inline(always)]
                || p.chunks_exact(keys).zip(dp.chunks_exact_mut(keys)).for_each(|(p, dp)| softmax_backward(p, dp)),
            );
            // dq (queries, width) = scale ds (queries, keys) times k (keys, width).
            let (scale, ds) = (self.scale(), (&*dp, keys));
            let dq = (&mut dx[self.of(0, first)..], stride);
            multiply(
                simd,
                product(queries, width, keys, [false, false], false),
                scale,
                ds,
                (&x[self.of(1, 0)..], stride),
                dq,
            );
            // dk (keys, width) += scale ds^T (keys, queries) times q (queries, width).
            let dk = (&mut dx[self.of(1, 0)..], stride);
            multiply(
                simd,
                product(keys, width, queries, [true, false], i > 0),
                scale,
                ds,
                (&x[self.of(0, first)..], stride),
                dk,
            );
        }
    }
}

/// The shape of a product (m, k) times (k, n). `transposed` says which of A and B are stored as their transposes.
fn product(m: usize, n: usize, k: usize, transposed: [bool; 2], accumulate: bool) -> Gemm {
    let [a_transposed, b_transposed] = transposed;
    Gemm { m, n, k, a_transposed, b_transposed, accumulate }
}

/// [`exact::within`] on the calling thread alone: the parts of a micro-batch have the other threads.
fn multiply(simd: Arch, shape: Gemm, scale: f32, a: (&[f32], usize), b: (&[f32], usize), c: (&mut [f32], usize)) {
    exact::within(simd, shape, Parallelism::None, scale, a, b, c);
}

/// Folds `f(i, x[i])` over all values by `add`: into [`LANES`] partial results, and these in order. `start` is where each
/// partial result begins.
#[inline(always)]
fn fold(start: f32, x: &[f32], f: impl Fn(usize, f32) -> f32, add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for (chunk, x) in whole.iter().enumerate() {
        for lane in 0..LANES {
            lanes[lane] = add(lanes[lane], f(chunk * LANES + lane, x[lane]));
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        lanes[lane] = add(lanes[lane], f(whole.len() * LANES + lane, *x));
    }
    lanes[1..].iter().fold(lanes[0], |sum, lane| add(sum, *lane))
}

/// The softmax of a row, in place.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let largest = fold(f32::NEG_INFINITY, row, |_, x| x, |most, x| if x > most { x } else { most });
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    let share = 1.0 / fold(0.0, row, |_, x| x, |sum, x| sum + x);
    for x in row.iter_mut() {
        *x *= share;
    }
}

/// The softmax's gradient for one row, in place: `dp = p (dp - the row's sum of p dp)`.
#[inline(always)]
fn softmax_backward(p: &[f32], dp: &mut [f32]) {
    let sum = fold(0.0, dp, |i, dp| p[i] * dp, |sum, x| sum + x);
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - sum);
    }
}

/// Turns the pairs (i, i + width / 2) of `halves`, the values of one head, by the angles with these cosines and sines; by their
/// negatives if `back`.
#[inline(always)]
fn turn(back: bool, cos: &[f32], sin: &[f32], halves: &mut [f32]) {
    let (left, right) = halves.split_at_mut(cos.len());
    for (((a, b), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
        let sin = if back { -sin } else { *sin };
        (*a, *b) = ((-sin).mul_add(*b, cos * *a), sin.mul_add(*a, cos * *b));
    }
}

impl Attention for Cpu {
    fn attention_scratch(&self, shape: Heads, _rows: usize) -> usize {
        PARTS * part(shape)
    }

    fn attention(&self, shape: Heads, rows: usize, x: &Self::Buf, scratch: &mut Self::Buf, y: &mut Self::Buf) {
        let of_y = shape.tokens * shape.values();
        let (x, y, simd) = (&x[..rows * 3 * of_y], &mut y[..rows * of_y], self.simd);
        let samples = rows.div_ceil(PARTS).max(1);
        let one = |((x, y), scratch): ((&[f32], &mut [f32]), &mut [f32])| {
            for (x, y) in x.chunks_exact(3 * of_y).zip(y.chunks_exact_mut(of_y)) {
                AttentionHead::all(shape).for_each(|head| head.forward(simd, x, scratch, y));
            }
        };
        let scratch = &mut scratch[..PARTS * part(shape)];
        self.in_parts(2 * y.len() * shape.tokens, |parallel| match parallel {
            true => {
                let parts = x.par_chunks(samples * 3 * of_y).zip(y.par_chunks_mut(samples * of_y));
                parts.zip(scratch.par_chunks_mut(part(shape))).for_each(one);
            }
            false => one(((x, y), &mut scratch[..part(shape)])),
        });
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
        let of_y = shape.tokens * shape.values();
        let (x, dy, dx) = (&x[..rows * 3 * of_y], &dy[..rows * of_y], &mut dx[..rows * 3 * of_y]);
        let (samples, simd) = (rows.div_ceil(PARTS).max(1), self.simd);
        let one = |(((x, dy), dx), scratch): (BackwardPart<'_>, &mut [f32])| {
            let flows = x.chunks_exact(3 * of_y).zip(dy.chunks_exact(of_y)).zip(dx.chunks_exact_mut(3 * of_y));
            for ((x, dy), dx) in flows {
                AttentionHead::all(shape).for_each(|head| head.backward(simd, x, dy, scratch, dx));
            }
        };
        let scratch = &mut scratch[..PARTS * part(shape)];
        self.in_parts(5 * dy.len() * shape.tokens, |parallel| match parallel {
            true => {
                let flows = x.par_chunks(samples * 3 * of_y).zip(dy.par_chunks(samples * of_y));
                let parts = flows.zip(dx.par_chunks_mut(samples * 3 * of_y));
                parts.zip(scratch.par_chunks_mut(part(shape))).for_each(one);
            }
            false => one((((x, dy), dx), &mut scratch[..part(shape)])),
        });
    }

    fn rotate(&self, shape: Heads, rows: usize, back: bool, turns: &Self::Buf, x: &mut Self::Buf) {
        let (values, half) = (shape.values(), shape.width / 2);
        let (cos, sin) = turns[..2 * shape.tokens * half].split_at(shape.tokens * half);
        let x = &mut x[..rows * shape.tokens * 3 * values];
        vectorised(
            self.simd,
            #[inline(always)]
            || {
                for x in x.chunks_exact_mut(shape.tokens * 3 * values) {
                    let turns = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                    for (x, (cos, sin)) in x.chunks_exact_mut(3 * values).zip(turns) {
                        x[..2 * values].chunks_exact_mut(shape.width).for_each(|head| turn(back, cos, sin, head));
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Memory;
    use crate::compute::rounding::{Sum, UNIT, gamma};

    fn values(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.73 + seed).sin()).collect()
    }

    /// The sum that [`Attention::attention`] defines, in f64, and for each value how far f32 may be from it.
    ///
    /// A score is a sum of `width` products, times a scale that was rounded twice. The row's largest score, which is as far
    /// off, is subtracted from it. `exp` is within two units in the last place, or four roundings. A weight is that over a sum
    /// of as many terms as there are keys.
    fn due(shape: Heads, x: &[f32]) -> Vec<(f64, f64)> {
        let (values, width) = (shape.values(), shape.width);
        let mut y = Vec::new();
        for sample in x.chunks(shape.tokens * 3 * values) {
            let at = |what: usize, token: usize, value: usize| {
                f64::from(sample[token * 3 * values + what * values + value])
            };
            for (token, head) in (0..shape.tokens).flat_map(|token| (0..shape.heads).map(move |head| (token, head))) {
                let seen = if shape.causal { token + 1 } else { shape.tokens };
                let of = |i: usize| head * width + i;
                let score = |key| {
                    let mut score = Sum::default();
                    (0..width).for_each(|i| score.add(at(0, token, of(i)) * at(1, key, of(i))));
                    score.times(1.0 / (width as f64).sqrt())
                };
                let scores: Vec<Sum> = (0..seen).map(score).collect();
                let most = scores.iter().map(|score| score.size).fold(0.0, f64::max);
                let of_score = 2.0 * gamma(width + 3) * most + 2.0 * most * UNIT;
                let off = (2.0 * of_score).exp() * (1.0 + gamma(2 * seen + 11)) - 1.0;
                let p: Vec<f64> = scores.iter().map(|score| score.value.exp()).collect();
                let sum = p.iter().sum::<f64>();
                y.extend((0..width).map(|i| {
                    let mut mean = Sum::default();
                    (0..seen).for_each(|key| mean.add(p[key] / sum * at(2, key, of(i))));
                    (mean.value, off * mean.size)
                }));
            }
        }
        y
    }

    /// Runs forward and backward, in buffers that hold NaN before. Returns y and dx.
    fn run(threads: usize, shape: Heads, rows: usize) -> [Vec<f32>; 2] {
        let backend = Cpu::new(threads).unwrap();
        let of_y = shape.tokens * shape.values();
        let buffer = |values: &[f32]| {
            let mut buffer = backend.zeros(values.len()).unwrap();
            backend.upload(values, &mut buffer);
            buffer
        };
        let mut scratch = buffer(&vec![f32::NAN; backend.attention_scratch(shape, rows)]);
        let (x, dy) = (buffer(&values(rows * 3 * of_y, 1.0)), buffer(&values(rows * of_y, 2.0)));
        let (mut y, mut dx) = (buffer(&vec![f32::NAN; rows * of_y]), buffer(&vec![f32::NAN; rows * 3 * of_y]));
        backend.attention(shape, rows, &x, &mut scratch, &mut y);
        backend.attention_backward(shape, rows, &x, &dy, &mut scratch, &mut dx);
        [y.to_vec(), dx.to_vec()]
    }

    #[test]
    fn agrees_with_the_sum_that_defines_it() {
        for (tokens, heads, width) in [(1, 1, 1), (5, 3, 2), (64, 1, 7), (65, 2, 8), (150, 2, 3)] {
            for causal in [false, true] {
                let shape = Heads { tokens, heads, width, causal };
                let [y, dx] = run(1, shape, 2);
                let due = due(shape, &values(dx.len(), 1.0));
                for (y, (due, most)) in y.iter().zip(due) {
                    let off = (f64::from(*y) - due).abs();
                    assert!(off <= most, "{shape:?}: {y} is off by {off:e}, which may be {most:e}");
                }
                assert!(dx.iter().all(|dx| dx.is_finite()), "{shape:?}");
            }
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        for (causal, rows) in [(false, 3), (true, 9), (true, 19)] {
            let shape = Heads { tokens: 130, heads: 3, width: 16, causal };
            let one = run(1, shape, rows);
            for threads in [2, 5] {
                assert!(run(threads, shape, rows) == one, "{causal} {rows} {threads}");
            }
        }
    }

    #[test]
    fn a_rotation_is_undone_by_the_one_back() {
        let shape = Heads { tokens: 3, heads: 2, width: 4, causal: false };
        let backend = Cpu::new(1).unwrap();
        let angles = [0.0, 0.0, 1.0, 0.1, 2.0, 0.2_f32];
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|angle| (angle.cos(), angle.sin())).unzip();
        let (mut turns, before) = (backend.zeros(12).unwrap(), values(2 * 3 * 24, 0.0));
        backend.upload(&[cos, sin].concat(), &mut turns);
        let mut x = backend.zeros(before.len()).unwrap();
        backend.upload(&before, &mut x);
        backend.rotate(shape, 2, false, &turns, &mut x);
        // In the second sample the second head's key of the third token: its first pair turns by 2.
        let (at, [a, b]) = (72 + 48 + 12, [before[72 + 48 + 12], before[72 + 48 + 14]]);
        let turned = |first: f32, second: f32| {
            let mut sum = Sum::default();
            sum.add(f64::from(first) * f64::from(2.0_f32.cos()));
            sum.add(f64::from(second) * f64::from(2.0_f32.sin()));
            sum
        };
        turned(a, -b).is_nearly(x[at], 0);
        turned(b, a).is_nearly(x[at + 2], 0);
        assert_eq!(x[72 + 48 + 16..][..8], before[72 + 48 + 16..][..8], "values stay");
        backend.rotate(shape, 2, true, &turns, &mut x);
        // Four products of values up to 1. The sines and cosines themselves are off by a unit in the last place.
        let most = (4.0 * gamma(8)) as f32;
        assert!(x.iter().zip(&before).all(|(x, before)| (x - before).abs() <= most));
    }
}
