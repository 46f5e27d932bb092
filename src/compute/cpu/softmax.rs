//! The softmax on the processor, row by row.

use pulp::Arch;

use super::vector::vectorised;

use super::Cpu;
use super::functions::exp;
use crate::compute::Softmax;

/// `y` = the softmax of each row of `x`, both (rows, n).
fn softmax(simd: Arch, n: usize, x: &[f32], y: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
                let largest = x.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
                for (y, x) in y.iter_mut().zip(x) {
                    *y = exp(x - largest);
                }
                let sum = y.iter().fold(0.0_f32, |sum, e| sum + e);
                for y in y.iter_mut() {
                    *y /= sum;
                }
            }
        },
    );
}

/// `dx = y (dy - the row's sum of y dy)`, all (rows, n).
fn softmax_backward(simd: Arch, n: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for ((y, dy), dx) in y.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
                let sum = y.iter().zip(dy).fold(0.0_f32, |sum, (y, dy)| y.mul_add(*dy, sum));
                for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                    *dx = y * (dy - sum);
                }
            }
        },
    );
}

impl Softmax for Cpu {
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf) {
        softmax(self.simd, n, &x[..rows * n], &mut y[..rows * n]);
    }

    fn softmax_backward(&self, rows: usize, n: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf) {
        let len = rows * n;
        softmax_backward(self.simd, n, &y[..len], &dy[..len], &mut dx[..len]);
    }
}
