//! Losses on the processor: term by term in order, on one thread.

use pulp::Arch;

use super::Cpu;
use super::functions::{exp, ln};
use super::vector::vectorised;
use crate::compute::{Loss, LossSum};

/// Loss and gradient of `x` (labels.len(), classes): `dx = weight * (softmax(x) - target)`. A row's `target` is 1 at its label
/// and 0 elsewhere; `smoothing` of that 1 is spread evenly over all classes.
fn cross_entropy(
    simd: Arch,
    classes: usize,
    x: &[f32],
    labels: &[u32],
    smoothing: f32,
    weight: f32,
    dx: &mut [f32],
) -> LossSum {
    let mut total = LossSum::default();
    let (at_label, everywhere) = (weight * (1.0 - smoothing), weight * (smoothing / classes as f32));
    for ((x, dx), &label) in x.chunks_exact(classes).zip(dx.chunks_exact_mut(classes)).zip(labels) {
        let label = label as usize;
        if label >= classes {
            dx.fill(0.0);
            continue;
        }
        // The first of the largest values is the prediction. Its value is subtracted from all, so that no exp overflows.
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
        // The loss is ln(sum exp(x - largest)) minus x - largest, of the label or averaged with `smoothing`.
        total.loss += match smoothing {
            0.0 => f64::from(ln(sum) - (x[label] - largest)),
            _ => {
                let mean = x.iter().fold(0.0_f32, |sum, x| sum + (x - largest)) / classes as f32;
                let (exact, spread) = (f64::from(x[label] - largest), f64::from(mean));
                let smoothing = f64::from(smoothing);
                f64::from(ln(sum)) - ((1.0 - smoothing) * exact + smoothing * spread)
            }
        };
        total.terms += 1;
        // If a value is NaN, so is the sum: then no prediction counts as correct.
        total.correct += u32::from(best == label && sum.is_finite());
        let share = weight / sum;
        for dx in dx.iter_mut() {
            *dx = *dx * share - everywhere;
        }
        dx[label] -= at_label;
    }
    total
}

/// Sums a loss over values. `of(x, target)` gives one value's loss, its slope, and whether the value is correct. `dx` becomes
/// `weight` times the slope.
#[inline(always)]
fn each(
    x: &[f32],
    targets: &[f32],
    weight: f32,
    dx: &mut [f32],
    of: impl Fn(f32, f32) -> (f32, f32, bool),
) -> LossSum {
    let mut total = LossSum::default();
    for ((x, target), dx) in x.iter().zip(targets).zip(dx) {
        let (loss, slope, correct) = of(*x, *target);
        total.loss += f64::from(loss);
        total.terms += 1;
        total.correct += u32::from(correct);
        *dx = weight * slope;
    }
    total
}

/// Loss, slope and correctness of one value: `(x - target)^2`, `2 (x - target)`, and whether they are equal.
fn squared_error(x: f32, target: f32) -> (f32, f32, bool) {
    let error = x - target;
    (error * error, 2.0 * error, error == 0.0)
}

/// Loss, slope and correctness of one logit: `max(x, 0) - target x + ln(1 + exp(-|x|))`, `sigmoid(x) - target`, and whether
/// logit and target agree on "yes".
fn binary_cross_entropy(x: f32, target: f32) -> (f32, f32, bool) {
    let tail = exp(-x.abs());
    let yes = if x >= 0.0 { 1.0 } else { tail } / (1.0 + tail);
    // Not f32::max, which would drop a NaN.
    let above = if x > 0.0 { x } else { 0.0 * x };
    (above - target * x + ln(1.0 + tail), yes - target, (x > 0.0) == (target > 0.5) && x.is_finite())
}

impl Loss for Cpu {
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        smoothing: f32,
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum {
        let len = labels.len() * classes;
        cross_entropy(self.simd, classes, &x[..len], labels, smoothing, weight, &mut dx[..len])
    }

    fn squared_error(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum {
        let len = targets.len();
        each(&x[..len], targets, weight, &mut dx[..len], squared_error)
    }

    fn binary_cross_entropy(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum {
        let len = targets.len();
        each(&x[..len], targets, weight, &mut dx[..len], binary_cross_entropy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::chosen;
    use super::*;
    use crate::compute::rounding::gamma;

    /// Most roundings that any term of a loss or of its slope passes through. `exp` and `ln` are within two units in the last
    /// place, or four roundings, each; then there are sums of three terms, products, differences.
    const ROUNDINGS: usize = 16;
    /// How far on both sides of a value its loss is computed for a central difference. The slope is then off by at most the
    /// square of this, as third derivatives are below 1.
    const STEP: f64 = 1e-4;

    /// Checks `dx` against central differences of `loss`, which is computed in f64, and the total against `loss`. `size` is the
    /// sum of the sizes of all terms of the loss.
    fn slopes_fit<const N: usize>(
        x: [f32; N],
        total: LossSum,
        weight: f64,
        dx: [f32; N],
        size: f64,
        loss: impl Fn(&[f64]) -> f64,
    ) {
        let (x, most) = (x.map(f64::from), gamma(ROUNDINGS) * size);
        assert!((total.loss - loss(&x)).abs() <= most, "{} {}", total.loss, loss(&x));
        for i in 0..N {
            let (mut up, mut down) = (x, x);
            up[i] += STEP;
            down[i] -= STEP;
            let slope = weight * (loss(&up) - loss(&down)) / (2.0 * STEP);
            let most = weight * (most + STEP * STEP);
            assert!((f64::from(dx[i]) - slope).abs() <= most, "{i}: {} {slope}", dx[i]);
        }
    }

    #[test]
    fn cross_entropy_has_the_gradient_of_its_loss() {
        let x = [0.3, -1.2, 2.0, 9.0, 9.0, -9.0, 0.1, 0.0, 0.7];
        let labels = [2, u32::MAX, 0];
        for smoothing in [0.0, 0.1, 1.0] {
            let mut dx = [1.0; 9];
            let total = cross_entropy(chosen().unwrap(), 3, &x, &labels, smoothing, 0.5, &mut dx);
            assert_eq!((total.correct, total.terms), (1, 2));
            assert_eq!(dx[3..6], [0.0; 3]);
            // The sizes: values up to 3.2 from the largest in the first row and 0.7 in the third, and a logarithm up to 1.1 in
            // each row.
            slopes_fit(x, total, 0.5, dx, 6.1, |x| {
                let term = |(x, label): (&[f64], u32)| {
                    let sum = x.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let smoothing = f64::from(smoothing);
                    let mean = x.iter().sum::<f64>() / 3.0;
                    sum - (1.0 - smoothing) * x[label as usize] - smoothing * mean
                };
                x.chunks(3).zip(labels).filter(|(_, label)| *label < 3).map(term).sum()
            });
        }
    }

    #[test]
    fn squared_error_has_the_gradient_of_its_loss() {
        let (x, targets, mut dx) = ([0.5, -2.0, 3.0], [0.5, 1.0, -0.25], [9.0; 3]);
        let total = each(&x, &targets, 0.25, &mut dx, squared_error);
        assert_eq!((total.correct, total.terms), (1, 3));
        slopes_fit(x, total, 0.25, dx, total.loss, |x| {
            x.iter().zip(targets).map(|(x, t)| (x - f64::from(t)).powi(2)).sum()
        });
    }

    #[test]
    fn binary_cross_entropy_has_the_gradient_of_its_loss_and_does_not_overflow() {
        let (x, targets, mut dx) = ([0.5, -2.0, 3.0, -0.1], [1.0, 0.0, 0.25, 0.75], [9.0; 4]);
        let total = each(&x, &targets, 0.25, &mut dx, binary_cross_entropy);
        assert_eq!((total.correct, total.terms), (2, 4));
        // The sizes: |x| twice, and a logarithm up to 0.7 for each value.
        slopes_fit(x, total, 0.25, dx, 2.0 * 5.6 + 4.0 * 0.7, |x| {
            x.iter().zip(targets).map(|(x, t)| (1.0 + x.exp()).ln() - f64::from(t) * x).sum()
        });
        let far = each(&[1e4, -1e4], &[0.0, 0.0], 1.0, &mut [0.0; 2], binary_cross_entropy);
        assert_eq!(far.loss, 1e4);
    }

    #[test]
    fn not_a_number_shows() {
        let mut dx = [0.0; 3];
        for bad in [f32::NAN, f32::INFINITY] {
            let total = cross_entropy(chosen().unwrap(), 3, &[bad, 0.0, 1.0], &[0], 0.0, 1.0, &mut dx);
            assert!(!total.loss.is_finite());
            assert_eq!(total.correct, 0);
            for of in [squared_error, binary_cross_entropy] {
                let total = each(&[bad], &[0.0], 1.0, &mut [0.0], of);
                assert!(!total.loss.is_finite(), "{bad}");
                assert_eq!(total.correct, 0);
            }
        }
    }
}
