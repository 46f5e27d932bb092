//! Matrices on the device, by launches of `kernels/matrix.cu` and cuBLASLt's products.

use super::{Arg, Cuda, Device, OperandLayout, Product, Tensor};
use crate::compute::{Gemm, Matrix};

/// Number of threads along a row in a block of `kernels/matrix.cu`; also the side of a transposed tile.
const TILE: usize = 32;
/// Number of rows that a block takes at once.
const LINES: usize = 8;
/// Least number of rows that a block sums up.
const SHARE: usize = 64;
/// Most parts into which the rows of a sum are cut.
const PARTS: usize = 64;

impl<D: Device> Cuda<D> {
    /// One product of whole matrices: C (m, n) = A (m, k) B (k, n), with an optional bias and a final relu.
    fn product(
        &self,
        shape: Gemm,
        a: &Tensor<D::Memory>,
        b: &Tensor<D::Memory>,
        c: &Tensor<D::Memory>,
        (bias, relu): (Option<&Tensor<D::Memory>>, bool),
    ) {
        let Gemm { m, n, k, a_transposed, b_transposed, .. } = shape;
        a.check(m * k);
        b.check(k * n);
        c.check(m * n);
        let product = Product {
            shape,
            count: 1,
            a: OperandLayout::whole(if a_transposed { m } else { k }),
            b: OperandLayout::whole(if b_transposed { k } else { n }),
            c: OperandLayout::whole(n),
            relu,
        };
        let bias = bias.map(|bias| {
            bias.check(n);
            &bias.memory
        });
        if m * n > 0 {
            self.device.multiply(product, &a.memory, &b.memory, &c.memory, bias);
        }
    }
}

impl<D: Device> Cuda<D> {
    /// [`Matrix::sum_rows`] of `rows` rows of `x`, which begin at value `at`. The rows are summed in parts, and these in order.
    pub(super) fn add_rows(
        &self,
        rows: usize,
        n: usize,
        (x, at): (&Tensor<D::Memory>, usize),
        accumulate: bool,
        sum: &Tensor<D::Memory>,
    ) {
        let parts = rows.div_ceil(SHARE).clamp(1, PARTS);
        let share = rows.div_ceil(parts);
        x.check(at + rows * n);
        self.with_scratch(parts * n, |scratch| {
            let (columns, sums) = (Arg::U32(n as u32), scratch.arg(parts * n));
            let x = Arg::Memory(&x.memory, 4 * at);
            let args = [x, sums, Arg::U64(rows as u64), columns, Arg::U64(share as u64)];
            let grid = [n.div_ceil(TILE) as u32, parts as u32, 1];
            self.grid(grid, (TILE * LINES) as u32, "sum_rows_f32", &args);
            let counts = [parts as u32, n as u32, u32::from(accumulate)].map(Arg::U32);
            let args: Vec<_> = [scratch.arg(parts * n), sum.arg(n)].into_iter().chain(counts).collect();
            self.over(n, "fold_rows_f32", &args);
        });
    }
}

impl<D: Device> Matrix for Cuda<D> {
    fn transpose(&self, rows: usize, columns: usize, from: &Self::Buf, to: &mut Self::Buf) {
        let len = rows * columns;
        let args = [from.arg(len), to.arg(len), Arg::U32(rows as u32), Arg::U32(columns as u32)];
        let grid = [columns.div_ceil(TILE) as u32, rows.div_ceil(TILE) as u32, 1];
        assert!(grid[1] <= 65_535, "{rows} rows are more than a grid has");
        self.grid(grid, (TILE * LINES) as u32, "transpose_f32", &args);
    }

    fn gemm(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, c: &mut Self::Buf) {
        self.product(shape, a, b, c, (None, false));
    }

    fn gemm_bias(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, bias: &Self::Buf, relu: bool, c: &mut Self::Buf) {
        self.product(shape, a, b, c, (Some(bias), relu));
    }

    fn fill_rows(&self, rows: usize, n: usize, bias: &Self::Buf, y: &mut Self::Buf) {
        let args = [bias.arg(n), y.arg(rows * n), Arg::U64(rows as u64), Arg::U32(n as u32)];
        self.over(rows * n, "fill_rows_f32", &args);
    }

    fn sum_rows(&self, rows: usize, n: usize, x: &Self::Buf, accumulate: bool, sum: &mut Self::Buf) {
        self.add_rows(rows, n, (x, 0), accumulate, sum);
    }
}
