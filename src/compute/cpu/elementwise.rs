//! Loops over values, each value on its own, compiled for the vector instructions that the processor has.
//!
//! `mul_add` is one rounding wherever it runs, so the widest vectors and the plainest loop give the same bits.

use pulp::Arch;

/// `y = scale * x`
pub(super) fn scale_bytes(simd: Arch, x: &[u8], scale: f32, y: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = scale * f32::from(*x);
            }
        },
    );
}

/// `sum` = the rows of `x`, each as long as `sum`, added first to last.
pub(super) fn sum_rows(simd: Arch, x: &[f32], accumulate: bool, sum: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            if !accumulate {
                sum.fill(0.0);
            }
            for row in x.chunks_exact(sum.len()) {
                for (sum, x) in sum.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        },
    );
}

/// `y = max(x, 0)`; not a number stays so.
pub(super) fn relu(simd: Arch, x: &[f32], y: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x < 0.0 { 0.0 } else { *x };
            }
        },
    );
}

/// `dx = dy` where `y > 0`, else 0.
pub(super) fn relu_backward(simd: Arch, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = if *y > 0.0 { *dy } else { 0.0 };
            }
        },
    );
}

/// `w -= rate * g`
pub(super) fn sgd(simd: Arch, rate: f32, g: &[f32], w: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            for (w, g) in w.iter_mut().zip(g) {
                *w = (-rate).mul_add(*g, *w);
            }
        },
    );
}

/// `v = momentum * v + g; w -= rate * v`
pub(super) fn sgd_momentum(simd: Arch, rate: f32, momentum: f32, g: &[f32], v: &mut [f32], w: &mut [f32]) {
    simd.dispatch(
        #[inline(always)]
        || {
            for ((w, v), g) in w.iter_mut().zip(v.iter_mut()).zip(g) {
                *v = momentum.mul_add(*v, *g);
                *w = (-rate).mul_add(*v, *w);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_keeps_what_is_not_a_number() {
        let x = [-1.0, 0.0, 2.5, f32::NAN, f32::NEG_INFINITY];
        let mut y = [9.0; 5];
        relu(Arch::new(), &x, &mut y);
        assert_eq!(&y[..3], &[0.0, 0.0, 2.5]);
        assert!(y[3].is_nan());
        assert_eq!(y[4], 0.0);
        let mut dx = [9.0; 3];
        relu_backward(Arch::new(), &y[..3], &[1.0, 2.0, 3.0], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 3.0]);
    }

    #[test]
    fn sums_fold_rows_in_order() {
        // In this order the small values are lost one by one; any other order would keep some of them.
        let x = [1e8, 1.0, 1.0, 1.0, 1.0, 1.0, -1e8, 7.0];
        let mut sum = [0.5, 0.5];
        sum_rows(Arch::new(), &x, true, &mut sum);
        assert_eq!(sum, [((0.5_f32 + 1e8) + 1.0 + 1.0) - 1e8, 0.5 + 1.0 + 1.0 + 1.0 + 7.0]);
    }

    #[test]
    fn vectors_and_plain_loops_give_the_same_bits() {
        let g: Vec<f32> = (0..37).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut v, mut w) = (vec![0.1; 37], vec![0.7; 37]);
        let (mut plain_v, mut plain_w) = (v.clone(), w.clone());
        sgd_momentum(Arch::new(), 0.1, 0.9, &g, &mut v, &mut w);
        sgd_momentum(Arch::Scalar, 0.1, 0.9, &g, &mut plain_v, &mut plain_w);
        assert_eq!((&v, &w), (&plain_v, &plain_w));
        sgd(Arch::new(), 0.3, &g, &mut w);
        sgd(Arch::Scalar, 0.3, &g, &mut plain_w);
        assert_eq!(w, plain_w);
    }
}
