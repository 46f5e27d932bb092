//! Matrices: products, transposes, rows.

use super::Memory;

/// The shape of a matrix product C = A B, all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// A is stored as its transpose, (k, m).
    pub a_transposed: bool,
    /// B is stored as its transpose, (n, k).
    pub b_transposed: bool,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

/// Calls on matrices.
pub trait Matrix: Memory {
    /// `to` (columns, rows) = the transpose of `from` (rows, columns), both row-major.
    fn transpose(&self, rows: usize, columns: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// C = A B, or C + A B.
    fn gemm(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, c: &mut Self::Buf);

    /// C = A B, and `bias` (n) added to each of its rows, then, if `relu`, 0 in place of what is below it; `shape` does not
    /// accumulate.
    fn gemm_bias(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, bias: &Self::Buf, relu: bool, c: &mut Self::Buf);

    /// Every row of `y` (rows, n) = `bias` (n).
    fn fill_rows(&self, rows: usize, n: usize, bias: &Self::Buf, y: &mut Self::Buf);

    /// `sum` (n) = the sum of the rows of `x` (rows, n), first to last, on top of what it holds if `accumulate`.
    fn sum_rows(&self, rows: usize, n: usize, x: &Self::Buf, accumulate: bool, sum: &mut Self::Buf);
}
