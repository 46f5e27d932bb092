//! Means, variances and scales of sets of values on the processor. A set is summed run by run. Within a run, value i is added
//! to partial sum i mod 16; these are added in order at the end. Sets that lie side by side, as those of layer norm do, are
//! divided among threads.

use pulp::Arch;

use rayon::prelude::*;

use super::Cpu;
use super::elementwise::COPIED;
use super::vector::vectorised;
use crate::compute::{Backend, Grid, Norm};

/// Number of partial sums of a set.
const LANES: usize = 16;

/// Adds `f(i, x[i])` of all values of a run to the partial sums `lanes`: value i to `lanes[i mod 16]`.
#[inline(always)]
fn add_run(lanes: &mut [f32; LANES], x: &[f32], f: impl Fn(usize, f32) -> f32) {
    let whole = x.len() - x.len() % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane, x[start + lane]);
        }
    }
    for i in whole..x.len() {
        lanes[i - whole] += f(i, x[i]);
    }
}

/// The sum over the set `set` of `f(place, x[place])`, where the place is the value's index in the tensor.
#[inline(always)]
fn sum(grid: Grid, set: usize, x: &[f32], f: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for outer in 0..grid.outer {
        let at = (outer * grid.sets + set) * grid.inner;
        add_run(
            &mut lanes,
            &x[at..at + grid.inner],
            #[inline(always)]
            |i, x| f(at + i, x),
        );
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}

/// Calls `f` with the set and the index range of each run of values, in the order of memory.
#[inline(always)]
fn runs(grid: Grid, mut f: impl FnMut(usize, std::ops::Range<usize>)) {
    for run in 0..grid.outer * grid.sets {
        f(run % grid.sets, run * grid.inner..(run + 1) * grid.inner);
    }
}

/// Does the work of [`Norm::moments`].
fn moments(simd: Arch, grid: Grid, centred: bool, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let members = grid.members() as f32;
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (set, (mean, variance)) in mean.iter_mut().zip(variance.iter_mut()).enumerate() {
                *mean = if centred { sum(grid, set, x, |_, x| x) / members } else { 0.0 };
                // Two passes: the mean first, then squares of the distances from it, which loses less than a difference of
                // squares.
                let centre = *mean;
                *variance = sum(grid, set, x, |_, x| (x - centre) * (x - centre)) / members;
            }
        },
    );
}

/// Does the work of [`Norm::normalize`].
fn normalize(simd: Arch, grid: Grid, eps: f32, x: &[f32], mean: &[f32], variance: &[f32], y: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            runs(grid, |set, run| {
                let (mean, scale) = (mean[set], 1.0 / (variance[set] + eps).sqrt());
                for (y, x) in y[run.clone()].iter_mut().zip(&x[run]) {
                    *y = (x - mean) * scale;
                }
            });
        },
    );
}

/// Does the work of [`Norm::normalize_backward`].
#[allow(clippy::too_many_arguments)]
fn normalize_backward(
    simd: Arch,
    grid: Grid,
    centred: bool,
    eps: f32,
    n: &[f32],
    variance: &[f32],
    dn: &[f32],
    dx: &mut [f32],
) {
    let members = grid.members() as f32;
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (set, variance) in variance.iter().enumerate() {
                // dx = (dn - mean(dn) - n mean(n dn)) / sqrt(variance + eps). First both means over the set, then each run.
                let scale = 1.0 / (variance + eps).sqrt();
                let mean = if centred { sum(grid, set, dn, |_, dn| dn) / members } else { 0.0 };
                let slope = sum(grid, set, dn, |i, dn| dn * n[i]) / members;
                for outer in 0..grid.outer {
                    let at = (outer * grid.sets + set) * grid.inner;
                    let run = at..at + grid.inner;
                    for ((dx, dn), n) in dx[run.clone()].iter_mut().zip(&dn[run.clone()]).zip(&n[run]) {
                        *dx = (-n).mul_add(slope, dn - mean) * scale;
                    }
                }
            }
        },
    );
}

/// Does the work of [`Norm::scale`].
fn scale(simd: Arch, grid: Grid, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            // With one value a run, each row holds one value of every set: the loop over sets becomes the inner one.
            if grid.inner == 1 {
                for (y, x) in y.chunks_exact_mut(grid.sets).zip(x.chunks_exact(grid.sets)) {
                    match bias {
                        Some(bias) => y
                            .iter_mut()
                            .zip(x)
                            .zip(weight.iter().zip(bias))
                            .for_each(|((y, x), (w, b))| *y = w.mul_add(*x, *b)),
                        None => y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y = w * x),
                    }
                }
                return;
            }
            runs(grid, |set, run| {
                let values = y[run.clone()].iter_mut().zip(&x[run]);
                match bias {
                    Some(bias) => values.for_each(|(y, x)| *y = weight[set].mul_add(*x, bias[set])),
                    None => values.for_each(|(y, x)| *y = weight[set] * x),
                }
            });
        },
    );
}

/// Does the work of [`Norm::set_sums`].
fn set_sums(simd: Arch, grid: Grid, x: &[f32], y: Option<&[f32]>, accumulate: bool, sums: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            if !accumulate {
                sums.fill(0.0);
            }
            // With one value a run, only the first partial sum of each set is used. So rows can be added whole, with the same
            // bits.
            if grid.inner == 1 {
                for row in 0..grid.outer {
                    let at = row * grid.sets..(row + 1) * grid.sets;
                    match y {
                        Some(y) => sums
                            .iter_mut()
                            .zip(&x[at.clone()])
                            .zip(&y[at])
                            .for_each(|((sum, x), y)| *sum = x.mul_add(*y, *sum)),
                        None => sums.iter_mut().zip(&x[at]).for_each(|(sum, x)| *sum += x),
                    }
                }
                return;
            }
            for (set, total) in sums.iter_mut().enumerate() {
                *total += match y {
                    Some(y) => sum(grid, set, x, |i, x| x * y[i]),
                    None => sum(grid, set, x, |_, x| x),
                };
            }
        },
    );
}

impl Cpu {
    /// How many sets one thread takes. That is all of them if the sets do not lie side by side, or if a second thread is not
    /// worth it.
    fn sets(&self, grid: Grid) -> usize {
        match grid.outer {
            1 => self.share(grid.sets, COPIED * grid.inner),
            _ => grid.sets,
        }
    }
}

impl Norm for Cpu {
    fn moments(&self, grid: Grid, centred: bool, x: &Self::Buf, mean: &mut Self::Buf, variance: &mut Self::Buf) {
        let (mean, variance) = (&mut mean[..grid.sets], &mut variance[..grid.sets]);
        let (x, part) = (&x[..grid.len()], self.sets(grid));
        if part == grid.sets {
            return moments(self.simd, grid, centred, x, mean, variance);
        }
        let parts = mean.par_chunks_mut(part).zip(variance.par_chunks_mut(part)).zip(x.par_chunks(part * grid.inner));
        self.enter(|| {
            parts.for_each(|((mean, variance), x)| {
                moments(self.simd, Grid { sets: mean.len(), ..grid }, centred, x, mean, variance);
            });
        });
    }

    fn normalize(
        &self,
        grid: Grid,
        eps: f32,
        x: &Self::Buf,
        mean: &Self::Buf,
        variance: &Self::Buf,
        y: &mut Self::Buf,
    ) {
        let (len, part) = (grid.len(), self.sets(grid));
        let (x, y, mean, variance) = (&x[..len], &mut y[..len], &mean[..grid.sets], &variance[..grid.sets]);
        if part == grid.sets {
            return normalize(self.simd, grid, eps, x, mean, variance, y);
        }
        let values = y.par_chunks_mut(part * grid.inner).zip(x.par_chunks(part * grid.inner));
        let parts = values.zip(mean.par_chunks(part).zip(variance.par_chunks(part)));
        self.enter(|| {
            parts.for_each(|((y, x), (mean, variance))| {
                normalize(self.simd, Grid { sets: mean.len(), ..grid }, eps, x, mean, variance, y);
            });
        });
    }

    fn normalize_backward(
        &self,
        grid: Grid,
        centred: bool,
        eps: f32,
        n: &Self::Buf,
        variance: &Self::Buf,
        dn: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let (len, part) = (grid.len(), self.sets(grid));
        let (n, dn, dx, variance) = (&n[..len], &dn[..len], &mut dx[..len], &variance[..grid.sets]);
        if part == grid.sets {
            return normalize_backward(self.simd, grid, centred, eps, n, variance, dn, dx);
        }
        let run = part * grid.inner;
        let parts =
            dx.par_chunks_mut(run).zip(dn.par_chunks(run)).zip(n.par_chunks(run)).zip(variance.par_chunks(part));
        self.enter(|| {
            parts.for_each(|(((dx, dn), n), variance)| {
                let grid = Grid { sets: variance.len(), ..grid };
                normalize_backward(self.simd, grid, centred, eps, n, variance, dn, dx);
            });
        });
    }

    fn scale(&self, grid: Grid, x: &Self::Buf, weight: &Self::Buf, bias: Option<&Self::Buf>, y: &mut Self::Buf) {
        let (len, bias) = (grid.len(), bias.map(|bias| &bias[..grid.sets]));
        scale(self.simd, grid, &x[..len], &weight[..grid.sets], bias, &mut y[..len]);
    }

    fn set_sums(&self, grid: Grid, x: &Self::Buf, y: Option<&Self::Buf>, accumulate: bool, sums: &mut Self::Buf) {
        let (len, sets) = (grid.len(), grid.sets);
        set_sums(self.simd, grid, &x[..len], y.map(|y| &y[..len]), accumulate, &mut sums[..sets]);
    }
}
