//! Matrices: transposes and rows with the same bits, sums and products nearly.

use mixnn::compute::{Gemm, Matrix, Memory};

use super::{Bench, Check, SUM};

pub fn checks<B: Memory + Matrix>() -> Vec<Check<B>> {
    vec![("transpose and fill", transpose_and_fill), ("sums of rows", sums), ("products", products)]
}

fn transpose_and_fill<B: Memory + Matrix>(bench: &mut Bench<'_, B>) {
    for (rows, columns) in [(1, 1), (1, 70), (33, 32), (100, 65), (257, 31)] {
        let (from, mut to) = (bench.tensor(rows * columns, 1.0), bench.poison(rows * columns));
        bench.backend.transpose(rows, columns, &from.here, &mut to.here);
        bench.cpu.transpose(rows, columns, &from.there, &mut to.there);
        bench.same(&to, "transpose");
        let (bias, mut y) = (bench.tensor(columns, 1.0), bench.poison(rows * columns));
        bench.backend.fill_rows(rows, columns, &bias.here, &mut y.here);
        bench.cpu.fill_rows(rows, columns, &bias.there, &mut y.there);
        bench.same(&y, "rows filled");
    }
}

fn sums<B: Memory + Matrix>(bench: &mut Bench<'_, B>) {
    for (rows, n) in [(1, 1), (7, 33), (64, 10), (65, 100), (1000, 3), (5000, 40)] {
        let x = bench.tensor(rows * n, 1.0);
        for accumulate in [false, true] {
            let mut sum = if accumulate { bench.tensor(n, 1.0) } else { bench.poison(n) };
            bench.backend.sum_rows(rows, n, &x.here, accumulate, &mut sum.here);
            bench.cpu.sum_rows(rows, n, &x.there, accumulate, &mut sum.there);
            bench.near(&sum, SUM * rows as f32 + SUM, "sum of rows");
        }
    }
}

fn products<B: Memory + Matrix>(bench: &mut Bench<'_, B>) {
    for _ in 0..12 {
        let [m, n, k] = [bench.size(1, 70), bench.size(1, 70), bench.size(1, 150)];
        let flip = |bench: &mut Bench<'_, B>| bench.random.below(2) == 1;
        let (a_transposed, b_transposed, accumulate) = (flip(bench), flip(bench), flip(bench));
        let shape = Gemm { m, n, k, a_transposed, b_transposed, accumulate };
        let (a, b) = (bench.tensor(m * k, 1.0), bench.tensor(k * n, 1.0));
        let mut c = if accumulate { bench.tensor(m * n, 1.0) } else { bench.poison(m * n) };
        bench.backend.gemm(shape, &a.here, &b.here, &mut c.here);
        bench.cpu.gemm(shape, &a.there, &b.there, &mut c.there);
        bench.near(&c, SUM * k as f32, &format!("{shape:?}"));
        let bias = bench.tensor(n, 1.0);
        let shape = Gemm { accumulate: false, ..shape };
        for relu in [false, true] {
            let mut y = bench.poison(m * n);
            bench.backend.gemm_bias(shape, &a.here, &b.here, &bias.here, relu, &mut y.here);
            bench.cpu.gemm_bias(shape, &a.there, &b.there, &bias.there, relu, &mut y.there);
            bench.near(&y, SUM * (k + 1) as f32, &format!("{shape:?} with a bias, relu {relu}"));
        }
        // What is not a number stays so, and infinite what is.
        let mut odd = vec![0.5; n];
        odd[0] = f32::NAN;
        odd[n - 1] = f32::INFINITY;
        let (bias, mut y) = (bench.put(&odd), bench.poison(m * n));
        bench.backend.gemm_bias(shape, &a.here, &b.here, &bias.here, true, &mut y.here);
        bench.cpu.gemm_bias(shape, &a.there, &b.there, &bias.there, true, &mut y.there);
        bench.near(&y, SUM * (k + 1) as f32, &format!("{shape:?} with an odd bias and relu"));
    }
}
