//! Softmax, and softmax cross entropy.

use pulp::Arch;

use super::vector::vectorised;

use super::Cpu;
use super::functions::{exp, ln};
use crate::compute::{LossSum, Softmax};

/// Loss and gradient of `x` (labels.len(), classes): `dx = weight * (softmax(x) - onehot(label))`. Samples fold into
/// the sum in order.
fn cross_entropy(simd: Arch, classes: usize, x: &[f32], labels: &[u32], weight: f32, dx: &mut [f32]) -> LossSum {
    let mut total = LossSum::default();
    for ((x, dx), &label) in x.chunks_exact(classes).zip(dx.chunks_exact_mut(classes)).zip(labels) {
        let label = label as usize;
        let mut best = 0;
        for (class, value) in x.iter().enumerate() {
            if *value > x[best] {
                best = class;
            }
        }
        let largest = x[best];
        vectorised(
            simd,
            #[inline(always)]
            || {
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = exp(x - largest);
                }
            },
        );
        let sum = dx.iter().fold(0.0_f32, |sum, e| sum + e);
        total.loss += f64::from(ln(sum) - (x[label] - largest));
        // Where a value is not a number, so is the sum: then nothing is the largest.
        total.correct += u32::from(best == label && sum.is_finite());
        let share = weight / sum;
        for dx in dx.iter_mut() {
            *dx *= share;
        }
        dx[label] -= weight;
    }
    total
}

/// `y` = the softmax of each row of `x`, `n` values.
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

/// `dx = y (dy - the row's sum of y dy)`
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

    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum {
        let len = labels.len() * classes;
        cross_entropy(self.simd, classes, &x[..len], labels, weight, &mut dx[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_is_that_of_the_loss() {
        let x = [0.3, -1.2, 2.0, 0.1, 0.0, 0.7];
        let labels = [2, 0];
        let mut dx = [0.0; 6];
        let total = cross_entropy(Arch::new(), 3, &x, &labels, 0.5, &mut dx);
        assert_eq!(total.correct, 1);
        let loss = |x: &[f32]| {
            x.chunks(3)
                .zip(labels)
                .map(|(x, label)| {
                    let sum: f64 = x.iter().map(|v| f64::from(*v).exp()).sum();
                    sum.ln() - f64::from(x[label as usize])
                })
                .sum::<f64>()
        };
        assert!((total.loss - loss(&x)).abs() < 1e-6);
        for i in 0..6 {
            let (mut up, mut down) = (x, x);
            up[i] += 1e-3;
            down[i] -= 1e-3;
            let slope = 0.5 * (loss(&up) - loss(&down)) / f64::from(up[i] - down[i]);
            assert!((f64::from(dx[i]) - slope).abs() < 1e-6, "{i}: {} {slope}", dx[i]);
        }
    }

    #[test]
    fn not_a_number_shows() {
        let mut dx = [0.0; 3];
        let total = cross_entropy(Arch::new(), 3, &[f32::NAN, 0.0, 1.0], &[0], 1.0, &mut dx);
        assert!(total.loss.is_nan());
        assert_eq!(total.correct, 0);
    }
}
