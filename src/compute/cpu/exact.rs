//! The matrix product, through the crate `gemm`: the same bits for any number of threads.
#![allow(unsafe_code)]

use gemm::Parallelism;

use crate::compute::Gemm;

/// C = A B, or C + A B where the shape says so; all row-major.
///
/// # Panics
/// Where a slice is shorter than its shape.
pub(super) fn gemm(shape: Gemm, threads: Parallelism, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Gemm { m, n, k, a_transposed, b_transposed, .. } = shape;
    let (a_stride, b_stride) = (if a_transposed { m } else { k }, if b_transposed { k } else { n });
    within(shape, threads, 1.0, (a, a_stride), (b, b_stride), (c, n));
}

/// C = scale A B, or C + scale A B, of matrices that are parts of wider ones: each is a slice that begins with its first value,
/// and the values from one of its rows, as stored, to the next.
///
/// # Panics
/// Where a slice is shorter than its shape, or rows overlap.
pub(super) fn within(
    shape: Gemm,
    threads: Parallelism,
    scale: f32,
    (a, a_stride): (&[f32], usize),
    (b, b_stride): (&[f32], usize),
    (c, c_stride): (&mut [f32], usize),
) {
    let Gemm { m, n, k, a_transposed, b_transposed, accumulate } = shape;
    let holds = |len: usize, stride: usize, [rows, columns]: [usize; 2]| {
        rows == 0 || columns == 0 || (stride >= columns && len >= (rows - 1) * stride + columns)
    };
    let stored =
        |transposed: bool, [rows, columns]: [usize; 2]| if transposed { [columns, rows] } else { [rows, columns] };
    assert!(
        holds(a.len(), a_stride, stored(a_transposed, [m, k]))
            && holds(b.len(), b_stride, stored(b_transposed, [k, n]))
            && holds(c.len(), c_stride, [m, n]),
        "a buffer is shorter than {shape:?}"
    );
    // (column stride, row stride)
    let strides =
        |transposed: bool, stride: usize| if transposed { (stride as isize, 1) } else { (1, stride as isize) };
    let (a_strides, b_strides) = (strides(a_transposed, a_stride), strides(b_transposed, b_stride));
    // SAFETY: with these strides the last value of each matrix lies within its slice and no two rows of `c` overlap
    // (asserted above), and `c` is borrowed exclusively, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_stride as isize,
            accumulate,
            a.as_ptr(),
            a_strides.0,
            a_strides.1,
            b.as_ptr(),
            b_strides.0,
            b_strides.1,
            1.0,
            scale,
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

    #[test]
    fn a_part_of_a_wider_matrix_is_as_one_of_its_own() {
        let (m, n, k) = (13, 21, 9);
        let (a, b) = (values(m * 40, 1.0), values(n * 50, 2.0));
        let part = |of: &[f32], stride: usize, rows: usize, columns: usize| -> Vec<f32> {
            (0..rows).flat_map(|row| of[row * stride..][..columns].to_vec()).collect()
        };
        let shape = Gemm { m, n, k, a_transposed: false, b_transposed: true, accumulate: true };
        let mut wide = values(m * 30, 3.0);
        let before = wide.clone();
        within(shape, Parallelism::None, 0.5, (&a[7..], 40), (&b[20..], 50), (&mut wide[4..], 30));
        let due =
            naive(Gemm { accumulate: false, ..shape }, &part(&a[7..], 40, m, k), &part(&b[20..], 50, n, k), &[]);
        for (at, found) in wide.iter().enumerate() {
            let place = at.checked_sub(4).map(|at| (at / 30, at % 30)).filter(|(_, column)| *column < n);
            let due = place.map_or(0.0, |(row, column)| 0.5 * due[row * n + column]);
            assert!((f64::from(*found) - f64::from(before[at]) - due).abs() < 1e-5, "{at}");
        }
    }

    #[test]
    #[should_panic(expected = "a buffer is shorter")]
    fn a_part_that_leaves_its_slice_is_refused() {
        let shape = Gemm { m: 4, n: 4, k: 4, a_transposed: false, b_transposed: false, accumulate: false };
        within(shape, Parallelism::None, 1.0, (&[0.0; 27], 8), (&[0.0; 16], 4), (&mut [0.0; 16], 4));
    }
}
