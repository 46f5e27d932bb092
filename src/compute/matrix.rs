//! Matrices: products, transposes, sums over rows.

use super::Memory;

/// The shape of a matrix product C (m, n) = A (m, k) B (k, n). All matrices are row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Number of rows of A and C.
    pub m: usize,
    /// Number of columns of B and C.
    pub n: usize,
    /// Number of columns of A, which is the number of rows of B.
    pub k: usize,
    /// Whether A is stored as its transpose, (k, m).
    pub a_transposed: bool,
    /// Whether B is stored as its transpose, (n, k).
    pub b_transposed: bool,
    /// Whether the product is added to C. Else it overwrites C.
    pub accumulate: bool,
}

/// Calls on matrices, which are row-major.
pub trait Matrix: Memory {
    /// `to` (columns, rows) = the transpose of `from` (rows, columns).
    fn transpose(&self, rows: usize, columns: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// C = A B, or C += A B if `shape` accumulates.
    fn gemm(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, c: &mut Self::Buf);

    /// A linear layer: C = A B, plus `bias` (n) in each row, then `max(0, C)` if `relu`. `shape` must not accumulate.
    fn gemm_bias(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, bias: &Self::Buf, relu: bool, c: &mut Self::Buf);

    /// Copies `bias` (n) to every row of `y` (rows, n).
    fn fill_rows(&self, rows: usize, n: usize, bias: &Self::Buf, y: &mut Self::Buf);

    /// `sum` (n) = the sum of the rows of `x` (rows, n), added first to last. If `accumulate`, they are added to what `sum`
    /// holds.
    fn sum_rows(&self, rows: usize, n: usize, x: &Self::Buf, accumulate: bool, sum: &mut Self::Buf);
}
