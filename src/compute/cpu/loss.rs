//! Softmax cross entropy, with exp and log of our own: the C library's differ from one processor to the next.

use pulp::Arch;

use crate::compute::LossSum;

/// Loss and gradient of `x` (labels.len(), classes): `dx = weight * (softmax(x) - onehot(label))`. Samples fold into
/// the sum in order.
pub(super) fn cross_entropy(
    simd: Arch,
    classes: usize,
    x: &[f32],
    labels: &[u32],
    weight: f32,
    dx: &mut [f32],
) -> LossSum {
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
        simd.dispatch(
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

/// e^x within 2 units in the last place for -87.3..=88.7; 0 below; infinity above.
///
/// Cody and Waite's reduction to |r| <= ln(2)/2, then a polynomial of degree 6 (Cephes' expf).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, everywhere the same.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.33, 88.72);
    let n = (clamped.mul_add(std::f32::consts::LOG2_E, ROUND)) - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = COEFFICIENTS[0];
    for c in &COEFFICIENTS[1..] {
        p = p.mul_add(r, *c);
    }
    let e = p.mul_add(r * r, r) + 1.0;
    // 2^n in two factors, since 2^128 alone is infinite.
    let half = (n as i32) >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let scaled = e * power(half) * power(n as i32 - half);
    if x < -87.33 {
        0.0
    } else if x > 88.72 {
        f32::INFINITY
    } else {
        scaled
    }
}

/// The natural logarithm within 2 units in the last place of a normal, positive, finite x (a softmax's sum is at
/// least 1); infinity and not a number pass through.
///
/// Cephes' logf: x = m 2^e with m in [sqrt(1/2), sqrt(2)), a polynomial of degree 8 in m - 1.
pub(super) fn ln(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    if !x.is_finite() {
        return x;
    }
    let bits = x.to_bits();
    let mut exponent = ((bits >> 23) as i32) - 126;
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        exponent -= 1;
        m += m;
    }
    m -= 1.0;
    let mut p = COEFFICIENTS[0];
    for c in &COEFFICIENTS[1..] {
        p = p.mul_add(m, *c);
    }
    let e = exponent as f32;
    let square = m * m;
    let mut y = p * m * square;
    y = e.mul_add(-2.121_944_4e-4, y);
    y = (-0.5_f32).mul_add(square, y);
    e.mul_add(0.693_359_4, m + y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(found: f32, expected: f64) -> f64 {
        let unit = f64::from(f32::from_bits((expected as f32).to_bits() + 1)) - f64::from(expected as f32);
        (f64::from(found) - expected).abs() / unit
    }

    #[test]
    fn exp_and_ln_within_two_units() {
        let mut worst: (f64, f64) = (0.0, 0.0);
        for i in -870_000..880_000_i32 {
            let x = i as f32 * 1e-4;
            worst.0 = worst.0.max(ulps(exp(x), f64::from(x).exp()));
        }
        for i in 1..400_000 {
            let x = 1.0 + i as f32 * 1.7e-3;
            worst.1 = worst.1.max(ulps(ln(x), f64::from(x).ln()));
        }
        assert!(worst.0 <= 2.0 && worst.1 <= 2.0, "{worst:?}");
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert_eq!((exp(-1e9), exp(1e9)), (0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan());
    }

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
