//! Optimizer steps on the processor. Each value changes on its own, but for the norm, whose squares are added in fixed lanes.

use pulp::Arch;
use rayon::prelude::*;

use super::Cpu;
use super::elementwise::COPIED;
use super::vector::vectorised;
use crate::compute::{Adam, Backend, Optimize};

/// Number of partial sums of squares, whatever the processor's vectors hold.
const LANES: usize = 16;
/// Number of values after which the partial sums are added to the total, in f64, so that small squares are not lost in a large
/// sum.
const BLOCK: usize = 4096;

/// `w += factor * x`, for each value.
fn add_scaled(simd: Arch, factor: f32, x: &[f32], w: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (w, x) in w.iter_mut().zip(x) {
                *w = factor.mul_add(*x, *w);
            }
        },
    );
}

/// Momentum: `v = momentum * v + g`, then `w -= rate * v`, or with `nesterov` `w -= rate * (g + momentum * v)`.
fn sgd_momentum(simd: Arch, [rate, momentum]: [f32; 2], nesterov: bool, g: &[f32], v: &mut [f32], w: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for ((w, v), g) in w.iter_mut().zip(v.iter_mut()).zip(g) {
                *v = momentum.mul_add(*v, *g);
                let step = if nesterov { momentum.mul_add(*v, *g) } else { *v };
                *w = (-rate).mul_add(step, *w);
            }
        },
    );
}

/// A step of Adam, see [`Optimize::adam`].
fn adam(simd: Arch, step: Adam, g: &[f32], m: &mut [f32], s: &mut [f32], w: &mut [f32]) {
    let Adam { mean, square, rate, root, eps, keep } = step;
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (((w, m), s), g) in w.iter_mut().zip(m.iter_mut()).zip(s.iter_mut()).zip(g) {
                *m = mean[0].mul_add(*m, mean[1] * g);
                *s = square[0].mul_add(*s, square[1] * g * g);
                *w = keep.mul_add(*w, -(rate * *m / root.mul_add(s.sqrt(), eps)));
            }
        },
    );
}

/// The sum of the squares of `g`, block by block: f32 partial sums within a block, an f64 total over blocks.
fn sum_of_squares(simd: Arch, g: &[f32]) -> f32 {
    let mut sum = 0.0_f64;
    for block in g.chunks(BLOCK) {
        let mut lanes = [0.0_f32; LANES];
        vectorised(
            simd,
            #[inline(always)]
            || {
                for values in block.chunks(LANES) {
                    for (lane, value) in lanes.iter_mut().zip(values) {
                        *lane = value.mul_add(*value, *lane);
                    }
                }
            },
        );
        for lane in lanes {
            sum += f64::from(lane);
        }
    }
    sum as f32
}

/// `g *= factor`, for each value.
fn scale(simd: Arch, factor: f32, g: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for g in g.iter_mut() {
                *g *= factor;
            }
        },
    );
}

impl Optimize for Cpu {
    fn decay(&self, len: usize, decay: f32, w: &Self::Buf, g: &mut Self::Buf) {
        add_scaled(self.simd, decay, &w[..len], &mut g[..len]);
    }

    fn clamp(&self, len: usize, most: f32, g: &mut Self::Buf) {
        for g in &mut g[..len] {
            *g = g.clamp(-most, most);
        }
    }

    fn add_squares(&self, len: usize, g: &Self::Buf, accumulate: bool, sum: &mut Self::Buf) {
        let squares = sum_of_squares(self.simd, &g[..len]);
        sum[0] = if accumulate { sum[0] + squares } else { squares };
    }

    fn bound_norm(&self, len: usize, most: f32, squares: &Self::Buf, g: &mut Self::Buf) {
        let factor = most / (squares[0].sqrt() + 1e-6);
        if factor < 1.0 {
            scale(self.simd, factor, &mut g[..len]);
        }
    }

    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf) {
        self.side_by_side(COPIED, [&g[..len]], &mut w[..len], |[g], w| add_scaled(self.simd, -rate, g, w));
    }

    fn sgd_momentum(
        &self,
        len: usize,
        rate: f32,
        momentum: f32,
        nesterov: bool,
        g: &Self::Buf,
        v: &mut Self::Buf,
        w: &mut Self::Buf,
    ) {
        let (g, v, w) = (&g[..len], &mut v[..len], &mut w[..len]);
        let part = self.share(len, COPIED);
        if part == len {
            return sgd_momentum(self.simd, [rate, momentum], nesterov, g, v, w);
        }
        let parts = w.par_chunks_mut(part).zip(v.par_chunks_mut(part)).zip(g.par_chunks(part));
        self.enter(|| parts.for_each(|((w, v), g)| sgd_momentum(self.simd, [rate, momentum], nesterov, g, v, w)));
    }

    fn adam(&self, len: usize, step: Adam, g: &Self::Buf, m: &mut Self::Buf, s: &mut Self::Buf, w: &mut Self::Buf) {
        let (g, m, s, w) = (&g[..len], &mut m[..len], &mut s[..len], &mut w[..len]);
        let part = self.share(len, 2 * COPIED);
        if part == len {
            return adam(self.simd, step, g, m, s, w);
        }
        let kept = m.par_chunks_mut(part).zip(s.par_chunks_mut(part));
        let parts = w.par_chunks_mut(part).zip(kept).zip(g.par_chunks(part));
        self.enter(|| parts.for_each(|((w, (m, s)), g)| adam(self.simd, step, g, m, s, w)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{chosen, there};
    use super::*;
    use crate::compute::rounding::gamma;

    #[test]
    fn vectors_and_plain_loops_give_the_same_bits() {
        let g: Vec<f32> = (0..BLOCK + 37).map(|i| (i as f32 * 0.37).sin()).collect();
        let step = Adam { mean: [0.9, 0.1], square: [0.99, 0.01], rate: 0.3, root: 1.7, eps: 1e-8, keep: 0.999 };
        let run = |simd| {
            let (mut m, mut s, mut w) = (vec![0.1; g.len()], vec![0.2; g.len()], vec![0.7; g.len()]);
            sgd_momentum(simd, [0.1, 0.9], false, &g, &mut m, &mut w);
            sgd_momentum(simd, [0.1, 0.9], true, &g, &mut m, &mut w);
            add_scaled(simd, -0.3, &g, &mut w);
            adam(simd, step, &g, &mut m, &mut s, &mut w);
            scale(simd, 1.1, &mut s);
            (m, s, w, sum_of_squares(simd, &g))
        };
        for simd in there() {
            assert_eq!(run(simd), run(Arch::Scalar));
        }
    }

    /// No square passes through more roundings than a partial sum has values, and one at the end.
    #[test]
    fn squares_are_lost_in_a_block_at_most() {
        let even: Vec<f32> = (0..100_000).map(|i| 1e-3 + (i % 977) as f32).collect();
        // Added one by one, all other squares would be lost behind the first.
        let steep: Vec<f32> = [4096.0].into_iter().chain([1.0; 100_000]).collect();
        for g in [even, steep] {
            let expected: f64 = g.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
            let found = f64::from(sum_of_squares(chosen().unwrap(), &g));
            assert!((found / expected - 1.0).abs() <= gamma(BLOCK / LANES + 1), "{found}, expected {expected}");
        }
    }
}
