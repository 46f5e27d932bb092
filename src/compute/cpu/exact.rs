//! The matrix product, by the crate `gemm-f32`: the same bits for any number of threads and for caches of any size.
//!
//! `gemm` adds the terms of a long sum in parts: as many terms at a time as fit into the first-level cache, but at least 512.
//! To keep the cache's size out of the bits, sums are cut here, in the places where `gemm` cuts them if 512 terms fit. Where
//! `gemm` would ask for a cache's size, no call has more terms than that.
#![allow(unsafe_code)]

use gemm_common::Parallelism;
use pulp::Arch;

use super::kernel::{self, RawProduct, Strided};
use crate::compute::Gemm;

/// Most terms that are added to each other before their sum is added to C.
const TERMS: usize = 512;
/// Largest number of rows and of columns up to which sums are cut into parts of [`TERMS`] and a rest. The sums of larger
/// products are cut into equal parts.
const SMALL: usize = 64;

/// C = A B, or C += A B if `shape` accumulates, of whole row-major matrices.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub(super) fn gemm(simd: Arch, shape: Gemm, threads: Parallelism, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Gemm { m, n, k, a_transposed, b_transposed, .. } = shape;
    let (a_stride, b_stride) = (if a_transposed { m } else { k }, if b_transposed { k } else { n });
    within(simd, shape, threads, 1.0, (a, a_stride), (b, b_stride), (c, n));
}

/// C = scale A B, or C += scale A B, where each matrix may be part of a wider one. A matrix is a slice that begins with its
/// first value, and its stride: the number of values from one stored row to the next.
///
/// # Panics
/// If a slice is shorter than its shape says, or the rows of a matrix overlap.
pub(super) fn within(
    simd: Arch,
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
    fn strided<P>(at: P, stride: usize, transposed: bool) -> Strided<P> {
        let by_rows = Strided { at, column: 1, row: stride };
        if transposed { by_rows.turned() } else { by_rows }
    }
    let a = strided(a.as_ptr(), a_stride, a_transposed);
    let b = strided(b.as_ptr(), b_stride, b_transposed);
    let c = strided(c.as_mut_ptr(), c_stride, false);
    let product = match c.row > 1 {
        // `gemm` prefers a C whose columns are contiguous. C has contiguous rows, so its transpose is computed: B^T A^T.
        true => {
            RawProduct { m: n, n: m, k, a: b.turned(), b: a.turned(), c: c.turned(), accumulate, scale, part: false }
        }
        false => RawProduct { m, n, k, a, b, c, accumulate, scale, part: false },
    };
    let most = terms(simd, &product);
    // SAFETY: with these strides the last value of each matrix lies within its slice and no two rows of `c` overlap
    // (asserted above), and `c` is borrowed exclusively, so it overlaps neither `a` nor `b`.
    let multiply = |product| unsafe { kernel::multiply(simd, threads, product) };
    if k <= most {
        return multiply(product);
    }
    for from in (0..k).step_by(most) {
        let accumulate = accumulate || from > 0;
        multiply(RawProduct { accumulate, part: true, ..product }.terms(from, k.min(from + most)));
    }
}

/// How many terms of a sum are added up in one call of `gemm`.
fn terms(simd: Arch, product: &RawProduct) -> usize {
    let RawProduct { m, n, k, .. } = *product;
    if k <= TERMS || has_a_way_of_its_own(simd, product) {
        k
    } else if m.max(n) <= SMALL {
        TERMS
    } else {
        k.div_ceil(k.div_ceil(TERMS))
    }
}

/// Whether `gemm` has a special path for this product, in which it does not ask for a cache's size: a vector times a matrix, or
/// a few dot products of contiguous vectors.
fn has_a_way_of_its_own(simd: Arch, product: &RawProduct) -> bool {
    let RawProduct { m, n, a, b, c, .. } = *product;
    let dots = a.column == 1 && b.row == 1;
    let few = kernel::has_dots(simd) && m * n <= 256;
    (dots && (few || m <= 1 || n <= 1))
        || (n <= 1 && a.row == 1 && c.row == 1)
        || (m <= 1 && b.column == 1 && c.column == 1)
}

#[cfg(test)]
mod tests;
