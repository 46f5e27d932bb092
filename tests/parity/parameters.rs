//! Tables and optimizers: the same bits, but for the norm.

use mixnn::compute::{Adam, Lookup, Memory, Optimize};

use super::{Bench, Check};

pub fn checks<B: Memory + Lookup + Optimize>() -> Vec<Check<B>> {
    vec![
        ("tables looked up", look_up),
        ("tables added up", add_up),
        ("tables of many rows", many),
        ("optimizers", optimizers),
        ("norms", norms),
    ]
}

/// Numbers of rows, some twice, some of no row.
fn numbers<B: Memory>(bench: &mut Bench<'_, B>, count: usize, rows: usize) -> Vec<f32> {
    const ODD: [f32; 9] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, 0.999, 4e9, 1e30, 1e-40];
    (0..count)
        .map(|_| match bench.random.below(8) {
            0 => ODD[bench.random.below(9) as usize],
            1 => bench.random.below(rows as u32) as f32 + 0.75,
            2 => (rows - 1) as f32,
            3 => rows as f32 + bench.random.below(3) as f32,
            _ => bench.random.below(rows as u32) as f32,
        })
        .collect()
}

fn look_up<B: Memory + Lookup + Optimize>(bench: &mut Bench<'_, B>) {
    for (count, rows, n) in [(1, 1, 1), (7, 3, 5), (100, 10, 64), (33, 1000, 3), (3, 70, 1028), (0, 5, 4)] {
        let numbers = numbers(bench, count, rows);
        let (x, table, mut y) = (bench.put(&numbers), bench.tensor(rows * n, 1.0), bench.poison(count * n));
        bench.backend.look_up(count, rows, n, &x.here, &table.here, &mut y.here);
        bench.cpu.look_up(count, rows, n, &x.there, &table.there, &mut y.there);
        bench.same(&y, &format!("{count} numbers of {rows} rows of {n}"));
    }
}

/// Sums are in the order of the numbers, so that they have the same bits, too.
fn added<B: Memory + Lookup>(bench: &mut Bench<'_, B>, count: usize, rows: usize, n: usize) {
    for accumulate in [false, true] {
        let numbers = numbers(bench, count, rows);
        let (x, y) = (bench.put(&numbers), bench.tensor(count * n, 1.0));
        let mut table = if accumulate { bench.tensor(rows * n, 1.0) } else { bench.poison(rows * n) };
        bench.backend.add_up(count, rows, n, &x.here, &y.here, accumulate, &mut table.here);
        bench.cpu.add_up(count, rows, n, &x.there, &y.there, accumulate, &mut table.there);
        bench.same(&table, &format!("{count} numbers of {rows} rows of {n}, accumulate {accumulate}"));
    }
}

fn add_up<B: Memory + Lookup + Optimize>(bench: &mut Bench<'_, B>) {
    for (count, rows, n) in
        [(1, 1, 1), (9, 1, 3), (100, 3, 2), (0, 5, 4), (257, 256, 33), (300, 257, 1), (20, 2, 300)]
    {
        added(bench, count, rows, n);
    }
    let (count, rows, n) = (bench.size(1, 600), bench.size(1, 2000), bench.size(1, 20));
    added(bench, count, rows, n);
}

/// More numbers than one block sorts, and numbers of rows of three digits.
fn many<B: Memory + Lookup + Optimize>(bench: &mut Bench<'_, B>) {
    for (count, rows) in [(8193, 2), (9000, 300), (4096, 65_536), (4096, 70_000)] {
        added(bench, count, rows, 2);
    }
}

fn optimizers<B: Memory + Lookup + Optimize>(bench: &mut Bench<'_, B>) {
    for len in [1, 3, 4, 1023, 5001] {
        let spare = 3;
        let mut values = bench.values(len + spare, 2.0);
        values[len / 2] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][len % 3];
        let (clean, mut g) = (bench.tensor(len + spare, 2.0), bench.put(&values));
        let [mut w, mut v, mut m] = [(); 3].map(|()| bench.tensor(len + spare, 1.0));
        let squares: Vec<f32> = bench.values(len + spare, 1.0).iter().map(|value| value.abs()).collect();
        let mut s = bench.put(&squares);
        bench.backend.decay(len, 0.01, &w.here, &mut g.here);
        bench.cpu.decay(len, 0.01, &w.there, &mut g.there);
        bench.same(&g, "decay");
        bench.backend.clamp(len, 0.7, &mut g.here);
        bench.cpu.clamp(len, 0.7, &mut g.there);
        bench.same(&g, "clamp");
        bench.backend.sgd(len, 0.03, &clean.here, &mut w.here);
        bench.cpu.sgd(len, 0.03, &clean.there, &mut w.there);
        bench.same(&w, "sgd");
        for nesterov in [false, true] {
            bench.backend.sgd_momentum(len, 0.1, 0.9, nesterov, &g.here, &mut v.here, &mut w.here);
            bench.cpu.sgd_momentum(len, 0.1, 0.9, nesterov, &g.there, &mut v.there, &mut w.there);
            bench.same(&v, "momentum");
            bench.same(&w, "sgd with momentum");
        }
        let step = Adam { mean: [0.9, 0.1], square: [0.99, 0.01], rate: 0.3, root: 1.7, eps: 1e-8, keep: 0.999 };
        bench.backend.adam(len, step, &clean.here, &mut m.here, &mut s.here, &mut w.here);
        bench.cpu.adam(len, step, &clean.there, &mut m.there, &mut s.there, &mut w.there);
        for (twin, what) in [(&m, "mean"), (&s, "mean square"), (&w, "adam")] {
            bench.same(twin, what);
        }
    }
}

fn norms<B: Memory + Lookup + Optimize>(bench: &mut Bench<'_, B>) {
    for len in [0, 1, 5, 4099, 60_000] {
        let mut g = bench.tensor(len, 3.0);
        for accumulate in [false, true] {
            let mut sum = if accumulate { bench.tensor(1, 1.0) } else { bench.poison(1) };
            bench.backend.add_squares(len, &g.here, accumulate, &mut sum.here);
            bench.cpu.add_squares(len, &g.there, accumulate, &mut sum.there);
            // Positive terms: lanes of 256 squares in f32 there, all else in f64.
            bench.near(&sum, 9e-6 * len as f32, &format!("squares of {len}"));
        }
        // Of the same square: the same factor. The last two are within bounds, and no number.
        for square in [f32::INFINITY, 50.0, 0.25, f32::NAN] {
            let squares = bench.put(&[square]);
            bench.backend.bound_norm(len, 1.5, &squares.here, &mut g.here);
            bench.cpu.bound_norm(len, 1.5, &squares.there, &mut g.there);
            bench.same(&g, &format!("bound of a square of {square}"));
            if square.is_infinite() {
                g = bench.tensor(len, 3.0);
            }
        }
    }
}
