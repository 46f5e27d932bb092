//! The matrix product, through the crate `gemm`: the same bits for any number of threads.
#![allow(unsafe_code)]

use gemm::Parallelism;

use crate::compute::Gemm;

/// C = A B, or C + A B where the shape says so; all row-major.
///
/// # Panics
/// Where a slice is shorter than its shape.
pub(super) fn gemm(shape: Gemm, threads: Parallelism, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Gemm { m, n, k, a_transposed, b_transposed, accumulate } = shape;
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "a buffer is shorter than {shape:?}");
    // (column stride, row stride)
    let a_strides = if a_transposed { (m as isize, 1) } else { (1, k as isize) };
    let b_strides = if b_transposed { (k as isize, 1) } else { (1, n as isize) };
    // SAFETY: the strides stay within m * k, k * n and m * n values, which the slices hold (asserted above), and `c`
    // is borrowed exclusively, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.as_ptr(),
            a_strides.0,
            a_strides.1,
            b.as_ptr(),
            b_strides.0,
            b_strides.1,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.73 + seed).sin()).collect()
    }

    fn naive(shape: Gemm, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f64> {
        let Gemm { m, n, k, .. } = shape;
        let mut out = Vec::new();
        for i in 0..m {
            for j in 0..n {
                let mut sum = if shape.accumulate { f64::from(c[i * n + j]) } else { 0.0 };
                for l in 0..k {
                    let x = if shape.a_transposed { a[l * m + i] } else { a[i * k + l] };
                    let y = if shape.b_transposed { b[j * k + l] } else { b[l * n + j] };
                    sum += f64::from(x) * f64::from(y);
                }
                out.push(sum);
            }
        }
        out
    }

    #[test]
    fn agrees_with_f64_in_every_layout() {
        for bits in 0..8 {
            let shape = Gemm {
                m: 17,
                n: 33,
                k: 50,
                a_transposed: bits & 1 != 0,
                b_transposed: bits & 2 != 0,
                accumulate: bits & 4 != 0,
            };
            let (a, b) = (values(17 * 50, 1.0), values(50 * 33, 2.0));
            let mut c = values(17 * 33, 3.0);
            let expected = naive(shape, &a, &b, &c);
            gemm(shape, Parallelism::None, &a, &b, &mut c);
            for (found, expected) in c.iter().zip(expected) {
                // 50 roundings of 2^-24, each of a partial sum of at most 50.
                assert!((f64::from(*found) - expected).abs() < 50.0 * 50.0 * 6e-8, "{found} {expected} {shape:?}");
            }
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        for (m, n, k) in [(64, 256, 784), (16, 128, 256), (512, 256, 784), (256, 784, 64), (7, 10, 128)] {
            let (a, b) = (values(m * k, 1.0), values(k * n, 2.0));
            let shape = Gemm { m, n, k, a_transposed: false, b_transposed: true, accumulate: false };
            let mut one = vec![0.0; m * n];
            gemm(shape, Parallelism::None, &a, &b, &mut one);
            for threads in 2..5 {
                let mut many = vec![0.0; m * n];
                gemm(shape, Parallelism::Rayon(threads), &a, &b, &mut many);
                assert!(one.iter().zip(&many).all(|(x, y)| x.to_bits() == y.to_bits()), "{m} {n} {k} {threads}");
            }
        }
    }
}
