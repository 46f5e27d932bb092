//! Optimizer steps on the device, by launches of `kernels/optimize.cu`.

use super::{Arg, Cuda, Device, THREADS};
use crate::compute::{Adam, Optimize};

/// Number of values that a thread reads at once.
const QUAD: usize = 4;
/// Least number of values that a block sums up.
const SHARE: usize = 16 * THREADS as usize;
/// Most blocks that sum the squares of a gradient.
const PARTS: usize = 1024;

impl<D: Device> Optimize for Cuda<D> {
    fn decay(&self, len: usize, decay: f32, w: &Self::Buf, g: &mut Self::Buf) {
        let args = [w.arg(len), g.arg(len), Arg::U64(len as u64), Arg::F32(decay)];
        self.over(len.div_ceil(QUAD), "decay_f32", &args);
    }

    fn clamp(&self, len: usize, most: f32, g: &mut Self::Buf) {
        self.over(len.div_ceil(QUAD), "clamp_f32", &[g.arg(len), Arg::U64(len as u64), Arg::F32(most)]);
    }

    fn add_squares(&self, len: usize, g: &Self::Buf, accumulate: bool, sum: &mut Self::Buf) {
        let parts = len.div_ceil(SHARE).clamp(1, PARTS);
        // The sums are f64, so each takes the room of two values.
        self.with_scratch(2 * parts, |scratch| {
            let sums = scratch.arg(2 * parts);
            let args = [g.arg(len), sums, Arg::U64(len as u64)];
            self.grid([parts as u32, 1, 1], THREADS, "sum_squares_f32", &args);
            let (count, accumulate) = (Arg::U32(parts as u32), Arg::U32(accumulate.into()));
            let args = [scratch.arg(2 * parts), sum.arg(1), count, accumulate];
            self.grid([1, 1, 1], THREADS, "fold_squares_f32", &args);
        });
    }

    fn bound_norm(&self, len: usize, most: f32, squares: &Self::Buf, g: &mut Self::Buf) {
        let args = [squares.arg(1), g.arg(len), Arg::U64(len as u64), Arg::F32(most)];
        self.over(len.div_ceil(QUAD), "bound_norm_f32", &args);
    }

    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf) {
        let args = [g.arg(len), w.arg(len), Arg::U64(len as u64), Arg::F32(rate)];
        self.over(len.div_ceil(QUAD), "sgd_f32", &args);
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
        let (g, v, w, len_) = (g.arg(len), v.arg(len), w.arg(len), Arg::U64(len as u64));
        let args = [g, v, w, len_, Arg::F32(rate), Arg::F32(momentum), Arg::U32(nesterov.into())];
        self.over(len.div_ceil(QUAD), "sgd_momentum_f32", &args);
    }

    fn adam(&self, len: usize, step: Adam, g: &Self::Buf, m: &mut Self::Buf, s: &mut Self::Buf, w: &mut Self::Buf) {
        let Adam { mean: [m0, m1], square: [s0, s1], rate, root, eps, keep } = step;
        let values = [g.arg(len), m.arg(len), s.arg(len), w.arg(len), Arg::U64(len as u64)];
        let numbers = [m0, m1, s0, s1, rate, root, eps, keep].map(Arg::F32);
        let args: Vec<_> = values.into_iter().chain(numbers).collect();
        self.over(len.div_ceil(QUAD), "adam_f32", &args);
    }
}
