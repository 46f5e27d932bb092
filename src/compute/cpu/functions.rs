//! exp, log, tanh, erf of our own, in f32. Those of the C library differ from one processor to the next. They are polynomials
//! with `mul_add` and without branches, so that loops over them become vector code.

/// e^x, within 2 units in the last place for x from -87.3 to 88.7. Below that it is 0, above it is infinity.
///
/// The method is Cody and Waite's reduction to |r| <= ln(2)/2, then a polynomial of degree 6 (expf of Cephes).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    // Adding and then subtracting 1.5 * 2^23 rounds to the nearest whole number, on every processor alike.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.33, 88.72);
    let n = (clamped.mul_add(std::f32::consts::LOG2_E, ROUND)) - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let e = polynomial(r, &COEFFICIENTS).mul_add(r * r, r) + 1.0;
    // 2^n is multiplied as two factors, because 2^128 alone is infinite.
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

/// The natural logarithm, within 2 units in the last place, of an x that is normal, positive and finite. The sum of a softmax
/// is at least 1, so it is. Infinity and NaN are returned as they are.
///
/// The method (logf of Cephes): x = m 2^e with m in [sqrt(1/2), sqrt(2)), then a polynomial of degree 8 in m - 1.
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
    let e = exponent as f32;
    let square = m * m;
    let mut y = polynomial(m, &COEFFICIENTS) * m * square;
    y = e.mul_add(-2.121_944_4e-4, y);
    y = (-0.5_f32).mul_add(square, y);
    e.mul_add(0.693_359_4, m + y)
}

/// The hyperbolic tangent (tanhf of Cephes): a polynomial where |x| < 0.625, else `1 - 2 / (exp(2 |x|) + 1)` with the sign of
/// x.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 5] = [-5.704_988_6e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1];
    let size = x.abs();
    let square = x * x;
    let near = (polynomial(square, &COEFFICIENTS) * square).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp(size + size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

/// The logistic function, `1 / (1 + exp(-x))`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function (erff and erfcf of Cephes): a polynomial in x^2 where |x| < 1, else `1 - exp(-x^2) p(1 / x^2) / x`.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    const NEAR: [f32; 7] = [
        7.853_861_5e-5,
        -8.010_194e-4,
        5.188_327_5e-3,
        -2.685_381_2e-2,
        1.128_358_5e-1,
        -3.761_262_6e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const TO_2: [f32; 9] = [
        2.326_82e-2,
        -1.387_039_4e-1,
        3.687_424_7e-1,
        -5.824_733e-1,
        6.210_004_7e-1,
        -4.944_515_3e-1,
        3.404_88e-1,
        -2.741_127e-1,
        5.638_259_4e-1,
    ];
    const FROM_2: [f32; 8] = [
        -1.047_766_4e1,
        1.297_72e1,
        -7.495_518_7,
        2.921_019,
        -1.015_265_3,
        4.218_463_4e-1,
        -2.820_767_5e-1,
        5.641_895e-1,
    ];
    let size = x.abs();
    let square = x * x;
    let near = polynomial(square, &NEAR) * x;
    let inverse = 1.0 / size.max(1.0);
    let steps = inverse * inverse;
    let tail = if size < 2.0 { polynomial(steps, &TO_2) } else { polynomial(steps, &FROM_2) };
    let far = (1.0 - exp(-square) * inverse * tail).copysign(x);
    if size < 1.0 {
        near
    } else if x.is_nan() {
        x
    } else {
        far
    }
}

/// A polynomial of `x` by Horner's rule. The coefficient of the highest power comes first.
#[inline(always)]
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    let mut p = coefficients[0];
    for c in &coefficients[1..] {
        p = p.mul_add(x, *c);
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(found: f32, expected: f64) -> f64 {
        let unit = f64::from(f32::from_bits((expected as f32).to_bits() + 1)) - f64::from(expected as f32);
        (f64::from(found) - expected).abs() / unit.abs()
    }

    /// The error function by its series in f64, which is exact enough where |x| is not large.
    fn erf_f64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
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
    fn tanh_sigmoid_and_erf_within_a_few_units() {
        let mut worst = [0.0_f64; 3];
        for i in -40_000..40_000_i32 {
            let x = i as f32 * 1.1e-4 + 1e-5;
            let wide = f64::from(x);
            worst[0] = worst[0].max(ulps(tanh(x), wide.tanh()));
            worst[1] = worst[1].max(ulps(sigmoid(x), 1.0 / (1.0 + (-wide).exp())));
            worst[2] = worst[2].max(ulps(erf(x), erf_f64(wide)));
        }
        assert!(worst.iter().all(|worst| *worst <= 4.0), "{worst:?}");
        for f in [tanh, erf] {
            assert_eq!((f(0.0), f(-0.0), f(1e30), f(f32::NEG_INFINITY)), (0.0, -0.0, 1.0, -1.0));
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!((sigmoid(1e30), sigmoid(-1e30), sigmoid(0.0)), (1.0, 0.0, 0.5));
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
