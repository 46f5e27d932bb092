//! exp, ln, sin and cos of our own in f64. Those of the C library differ from one processor to the next.
//!
//! They serve what is computed once: initial values, tables. They are polynomials with `mul_add`, and their error is far below
//! what f32 can tell apart.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E, SQRT_2};

/// Adding and then subtracting this, 1.5 * 2^52, rounds an f64 to the nearest whole number on every processor alike.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// What [`LN_2`] lacks of ln(2), so that both together have twice the precision of an f64.
const LN_2_LOW: f64 = 2.319_046_813_846_299_6e-17;
/// What [`FRAC_PI_2`] lacks of pi / 2, so that both together have twice the precision of an f64.
const FRAC_PI_2_LOW: f64 = 6.123_233_995_736_766e-17;

/// e^x. Beyond 700 and below -700, x is taken as that limit.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let n = x.mul_add(LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2, x));
    // The series to r^14, where |r| <= ln(2)/2: the next term is below 2^-63.
    let mut sum = 1.0;
    for i in (1..15).rev() {
        sum = (r * sum).mul_add(1.0 / f64::from(i), 1.0);
    }
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// The natural logarithm of x, which must be normal, positive and finite.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64) - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > SQRT_2 {
        exponent += 1;
        m *= 0.5;
    }
    // ln m = 2 artanh(s), whose series to s^25 leaves less than 2^-66 where |s| <= 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 1.0 / 25.0;
    for i in (0..12).rev() {
        sum = square.mul_add(sum, 1.0 / f64::from(2 * i + 1));
    }
    (exponent as f64).mul_add(LN_2, 2.0 * s * sum)
}

/// The sine and the cosine of x radians, where |x| is at most 2^30.
pub(crate) fn sin_cos(x: f64) -> (f64, f64) {
    let n = x.mul_add(FRAC_2_PI, ROUND) - ROUND;
    let r = n.mul_add(-FRAC_PI_2_LOW, n.mul_add(-FRAC_PI_2, x));
    let square = r * r;
    // The series to r^17 and r^18, where |r| <= pi/4: the next terms are below 2^-62.
    let (mut sin, mut cos) = (1.0, 1.0);
    for i in (1..9).rev() {
        let i = f64::from(i);
        sin = (square * sin).mul_add(-1.0 / (2.0 * i * (2.0 * i + 1.0)), 1.0);
    }
    for i in (1..10).rev() {
        let i = f64::from(i);
        cos = (square * cos).mul_add(-1.0 / (2.0 * i * (2.0 * i - 1.0)), 1.0);
    }
    sin *= r;
    match (n as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_library_far_below_an_f32() {
        let mut worst = [0.0_f64; 4];
        for i in 0..200_000_i32 {
            let x = f64::from(i) * 0.037;
            let (sin, cos) = sin_cos(x);
            worst[0] = worst[0].max((sin - x.sin()).abs());
            worst[1] = worst[1].max((cos - x.cos()).abs());
            let x = f64::from(i - 100_000) * 6e-4;
            worst[2] = worst[2].max((exp(x) / x.exp() - 1.0).abs());
            let x = f64::from(i + 1) / 5000.0;
            worst[3] = worst[3].max((ln(x) - x.ln()).abs());
        }
        assert!(worst.iter().all(|worst| *worst < 2e-15), "{worst:?}");
        assert_eq!((exp(0.0), ln(1.0), sin_cos(0.0)), (1.0, 0.0, (0.0, 1.0)));
    }
}
