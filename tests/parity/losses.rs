//! Softmax and losses: exponentials have the same bits, their sums nearly.

use mixnn::compute::{Loss, LossSum, Memory, Softmax};

use super::{Bench, Check, SUM, Twin};

pub fn checks<B: Memory + Softmax + Loss>() -> Vec<Check<B>> {
    vec![
        ("softmax", softmax),
        ("cross entropy", cross_entropy),
        ("cross entropy of ties and no numbers", ties),
        ("losses of each value", each),
    ]
}

/// Rows and their values: a part of a warp, a warp, blocks, more than the threads of a block hold.
const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (3, 2),
    (300, 7),
    (37, 10),
    (5, 64),
    (9, 255),
    (2, 256),
    (3, 257),
    (5, 1000),
    (2, 1025),
    (1, 8192),
    (2, 9001),
];

fn softmax<B: Memory + Softmax + Loss>(bench: &mut Bench<'_, B>) {
    for (rows, n) in SHAPES {
        let mut values = bench.values(rows * n, 8.0);
        if n > 1 {
            values[n - 1] = f32::NEG_INFINITY;
        }
        if rows > 2 {
            // One that is no number leaves none in its row.
            values[n + n / 2] = [f32::NAN, f32::INFINITY][n % 2];
        }
        let x = bench.put(&values);
        let [mut y, mut dx] = [bench.poison(rows * n), bench.poison(rows * n)];
        bench.backend.softmax(rows, n, &x.here, &mut y.here);
        bench.cpu.softmax(rows, n, &x.there, &mut y.there);
        // Parts of 1, of a sum of positive terms.
        bench.near(&y, 8.0 * SUM, &format!("softmax of {rows} {n}"));
        // Whatever y is: of random sign, so that every value weighs in the sum.
        let (y, dy) = (bench.tensor(rows * n, 1.0), bench.tensor(rows * n, 1.0));
        bench.backend.softmax_backward(rows, n, &y.here, &dy.here, &mut dx.here);
        bench.cpu.softmax_backward(rows, n, &y.there, &dy.there, &mut dx.there);
        bench.near(&dx, 4.0 * SUM * (n as f32).sqrt(), &format!("softmax backward of {rows} {n}"));
    }
}

/// The same counts, and the same loss but for `most`.
fn alike([here, there]: [LossSum; 2], most: f64, what: &str) {
    assert_eq!((here.terms, here.correct), (there.terms, there.correct), "{what}");
    let both_bad = !here.loss.is_finite() && here.loss.to_bits() == there.loss.to_bits();
    let near = (here.loss - there.loss).abs() <= most || (here.loss.is_nan() && there.loss.is_nan()) || both_bad;
    assert!(near, "{what}: a loss of {}, the processor has {}", here.loss, there.loss);
}

fn compared<B: Memory + Loss>(
    bench: &Bench<'_, B>,
    classes: usize,
    x: &Twin<B>,
    labels: &[u32],
    smoothing: f32,
    weight: f32,
    what: &str,
) {
    let mut dx = bench.poison(x.len);
    let here = bench.backend.cross_entropy(classes, &x.here, labels, smoothing, weight, &mut dx.here);
    let there = bench.cpu.cross_entropy(classes, &x.there, labels, smoothing, weight, &mut dx.there);
    // A row's loss is the logarithm of a sum, and, smoothed, a mean of values up to 16 from the largest. The processor adds term
    // by term, and where these are all the same, each time loses up to 2^-24.
    let most = 16.0 * SUM + classes as f32 * f32::EPSILON / 2.0;
    alike([here, there], f64::from(most) * labels.len() as f64, what);
    bench.near(&dx, 8.0 * SUM * weight.abs(), what);
}

fn cross_entropy<B: Memory + Softmax + Loss>(bench: &mut Bench<'_, B>) {
    for (rows, classes) in SHAPES {
        for smoothing in [0.0, 0.1, 1.0] {
            let x = bench.tensor(rows * classes, 8.0);
            let labels: Vec<u32> = (0..rows)
                .map(|row| match row % 5 {
                    3 => [u32::MAX, classes as u32, classes as u32 + 1][row % 3],
                    4 => 0,
                    _ => bench.random.below(classes as u32),
                })
                .collect();
            let what = format!("cross entropy of {rows} {classes}, smoothing {smoothing}");
            compared(bench, classes, &x, &labels, smoothing, 0.7, &what);
        }
    }
    // No row, and none that counts.
    let x = bench.tensor(70, 1.0);
    compared(bench, 7, &x, &[9; 10], 0.1, 1.0, "none that counts");
    let (none, mut dx) = (bench.tensor(0, 1.0), bench.poison(0));
    let total = bench.backend.cross_entropy(7, &none.here, &[], 0.0, 1.0, &mut dx.here);
    assert_eq!(total, LossSum::default());
}

fn ties<B: Memory + Softmax + Loss>(bench: &mut Bench<'_, B>) {
    for classes in [2, 5, 300, 8194] {
        let last = classes - 1;
        let mut rows = vec![vec![-1.0; classes]; 8];
        // The first of those that are largest is what the output says.
        rows[1][last] = -0.5;
        rows[2][1] = 3.0;
        rows[2][last] = 3.0;
        rows[3][0] = f32::NAN;
        rows[4][last] = f32::NAN;
        rows[5][1] = f32::INFINITY;
        rows[6][0] = f32::NEG_INFINITY;
        rows[7].fill(f32::NEG_INFINITY);
        let x = rows.concat();
        for labels in [[0; 8], [1; 8], [last as u32; 8]] {
            for smoothing in [0.0, 0.1] {
                for (row, label) in labels.iter().enumerate() {
                    let x = bench.put(&x[row * classes..][..classes]);
                    let what = format!("row {row} of {classes}, label {label}, smoothing {smoothing}");
                    compared(bench, classes, &x, &[*label], smoothing, 1.0, &what);
                }
            }
        }
    }
}

fn each<B: Memory + Softmax + Loss>(bench: &mut Bench<'_, B>) {
    for (len, bad) in [
        (1, None),
        (5, Some(f32::NAN)),
        (300, None),
        (300, Some(f32::INFINITY)),
        (9, Some(f32::NEG_INFINITY)),
        (100_000, None),
    ] {
        let mut values = bench.values(len, 20.0);
        let mut targets = bench.values(len, 1.0);
        targets.iter_mut().for_each(|target| *target = target.abs());
        if len > 4 {
            values[..4].copy_from_slice(&[0.25, 0.0, -0.0, 1e4]);
            targets[..4].copy_from_slice(&[0.25, 1.0, 0.5, 0.0]);
            values[4] = bad.unwrap_or(-1e4);
        }
        let (x, mut dx) = (bench.put(&values), bench.poison(len));
        let here = bench.backend.squared_error(&x.here, &targets, 0.3, &mut dx.here);
        let there = bench.cpu.squared_error(&x.there, &targets, 0.3, &mut dx.there);
        bench.same(&dx, "slopes of the squared error");
        // Terms have the same bits; their sums are of f64.
        alike([here, there], 1e-12 * there.loss.abs(), &format!("squared error of {len}"));
        let here = bench.backend.binary_cross_entropy(&x.here, &targets, 0.3, &mut dx.here);
        let there = bench.cpu.binary_cross_entropy(&x.there, &targets, 0.3, &mut dx.there);
        bench.same(&dx, "slopes of the binary cross entropy");
        alike([here, there], 1e-12 * there.loss.abs(), &format!("binary cross entropy of {len}"));
    }
}
