//! One product by the crate `gemm-f32`: its loops, with its kernel for the instruction set that was chosen.
//!
//! The entry of `gemm` itself takes the processor's best set for the whole process. So its public parts are put together here, as
//! it puts them together.
#![allow(unsafe_code)]

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use pulp::Arch;

/// A matrix by its first value, and the values from one column to the next and from one row to the next.
#[derive(Clone, Copy)]
pub(super) struct Laid<P> {
    /// Where it begins.
    pub(super) at: P,
    /// From one column to the next.
    pub(super) column: usize,
    /// From one row to the next.
    pub(super) row: usize,
}

impl<P> Laid<P> {
    /// The same values with rows for columns.
    pub(super) fn turned(self) -> Self {
        Self { at: self.at, column: self.row, row: self.column }
    }
}

/// C (m, n) = scale A (m, k) B (k, n), or C + scale A B. `gemm` prefers a C whose columns lie in one piece.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: Laid<*const f32>,
    pub(super) b: Laid<*const f32>,
    pub(super) c: Laid<*mut f32>,
    /// Add to C instead of overwriting it.
    pub(super) accumulate: bool,
    pub(super) scale: f32,
    /// Do without `gemm`'s own way with products of one or two terms: these are a part of longer sums.
    pub(super) part: bool,
}

impl Product {
    /// The same product of the terms `from` up to `to`.
    pub(super) fn terms(self, from: usize, to: usize) -> Self {
        let Self { a, b, .. } = self;
        let (a, b) =
            (Laid { at: a.at.wrapping_add(from * a.column), ..a }, Laid { at: b.at.wrapping_add(from * b.row), ..b });
        Self { k: to - from, a, b, ..self }
    }
}

/// `gemm` with the kernels of `$set`, whose vectors hold `$lanes` values.
macro_rules! by {
    ($set:ident, $lanes:literal, $token:expr, $product:expr, $threads:expr) => {{
        use gemm_f32::microkernel::$set::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
        let Product { m, n, k, a, b, c, accumulate, scale, part } = $product;
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
            // Real numbers are their own conjugates: all that this does is what `part` says.
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

/// Whether there are kernels for a few products of vectors, each of which lies in one piece.
pub(super) fn has_dots(simd: Arch) -> bool {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) | Arch::V3(_) => true,
        _ => false,
    }
}

/// Works out `product`.
///
/// # Safety
/// All values of A and B can be read, all of C written, by no one else meanwhile.
pub(super) unsafe fn multiply(simd: Arch, threads: Parallelism, product: Product) {
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
