//! One matrix product by the crate `gemm-f32`: its loops, with its kernel for the instruction set that was chosen.
//!
//! The entry function of `gemm` uses the processor's best instruction set, for the whole process. To use another, its public
//! parts are put together here the way `gemm` does it.
#![allow(unsafe_code)]

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use pulp::Arch;

/// A matrix in memory: a pointer to its first value, and its strides.
#[derive(Clone, Copy)]
pub(super) struct Strided<P> {
    /// Pointer to the matrix's first value.
    pub(super) at: P,
    /// Number of values from one column to the next.
    pub(super) column: usize,
    /// Number of values from one row to the next.
    pub(super) row: usize,
}

impl<P> Strided<P> {
    /// The transpose of the matrix, in the same memory.
    pub(super) fn turned(self) -> Self {
        Self { at: self.at, column: self.row, row: self.column }
    }
}

/// The product C (m, n) = scale A (m, k) B (k, n), or C += scale A B. `gemm` prefers a C whose columns are contiguous.
#[derive(Clone, Copy)]
pub(super) struct RawProduct {
    /// Number of rows of A and C.
    pub(super) m: usize,
    /// Number of columns of B and C.
    pub(super) n: usize,
    /// Number of columns of A and rows of B: terms of each sum.
    pub(super) k: usize,
    /// The left matrix, (m, k).
    pub(super) a: Strided<*const f32>,
    /// The right matrix, (k, n).
    pub(super) b: Strided<*const f32>,
    /// The matrix for the result, (m, n).
    pub(super) c: Strided<*mut f32>,
    /// Whether the product is added to C. Else it overwrites C.
    pub(super) accumulate: bool,
    /// What the product is multiplied by.
    pub(super) scale: f32,
    /// Whether this product is part of longer sums. If so, `gemm` must not use its special path for products of one or two
    /// terms.
    pub(super) part: bool,
}

impl RawProduct {
    /// The part of this product that adds up the terms from `from` up to, but without, `to`.
    pub(super) fn terms(self, from: usize, to: usize) -> Self {
        let Self { a, b, .. } = self;
        let (a, b) = (
            Strided { at: a.at.wrapping_add(from * a.column), ..a },
            Strided { at: b.at.wrapping_add(from * b.row), ..b },
        );
        Self { k: to - from, a, b, ..self }
    }
}

/// Calls `gemm`'s loops with the kernels of the instruction set `$set`, whose vectors hold `$lanes` values.
macro_rules! by {
    ($set:ident, $lanes:literal, $token:expr, $product:expr, $threads:expr) => {{
        use gemm_f32::microkernel::$set::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
        let RawProduct { m, n, k, a, b, c, accumulate, scale, part } = $product;
        gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
            $token,
            m,
            n,
            k,
            c.at,
            c.column as isize,
            c.row as isize,
            accumulate,
            a.at,
            a.column as isize,
            a.row as isize,
            b.at,
            b.column as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            // `gemm` takes this for whether to conjugate, which changes no real number. It then does what `part` asks for.
            part,
            false,
            |a, b, c| a * b + c,
            &UKR,
            &H_UKR,
            false,
            $threads,
        )
    }};
}

/// Whether this instruction set has kernels for a few dot products of contiguous vectors.
pub(super) fn has_dots(simd: Arch) -> bool {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) | Arch::V3(_) => true,
        _ => false,
    }
}

/// Computes `product` with the kernels of `simd`, on as many threads as `threads` says.
///
/// # Safety
/// All values of A and B must be readable and all of C writable. Nothing else may access C meanwhile, and C must not overlap A
/// or B.
pub(super) unsafe fn multiply(simd: Arch, threads: Parallelism, product: RawProduct) {
    use gemm_common::simd;
    // SAFETY: as the caller promises; and `simd` is only there where the processor has the instructions, which are all that the
    // set of the same name in `gemm` asks for.
    unsafe {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => by!(avx512f, 16, simd::V4::new_unchecked(), product, threads),
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => by!(fma, 8, simd::V3::new_unchecked(), product, threads),
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => by!(neon, 4, simd::Scalar, product, threads),
            _ => by!(scalar, 1, simd::Scalar, product, threads),
        }
    }
}
