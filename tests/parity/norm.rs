//! Sets: what is done to each value with the same bits, sums nearly.

use mixnn::compute::{Grid, Memory, Norm};

use super::{Bench, Check, SUM, Twin};

pub fn checks<B: Memory + Norm>() -> Vec<Check<B>> {
    vec![("moments", moments), ("normalisation", normalisation), ("sums of sets", sums)]
}

/// (outer, sets, inner)
const GRIDS: [[usize; 3]; 23] = [
    // Side by side: a warp each, a block each, several blocks each.
    [1, 1, 1],
    [1, 19, 1],
    [1, 9, 10],
    [1, 3, 32],
    [1, 70, 100],
    [1, 1, 1000],
    [1, 3, 1025],
    [1, 2, 5003],
    // In runs, shorter and longer than a block, in one part and in several.
    [3, 1, 7],
    [8, 3, 2],
    [5, 7, 49],
    [2, 3, 256],
    [3, 4, 300],
    [40, 2, 131],
    [3, 2, 3001],
    // In columns, fewer and more than a block has, in one part and in several.
    [4, 3, 1],
    [64, 32, 1],
    [7, 100, 1],
    [65, 33, 1],
    [1000, 5, 1],
    [200, 70, 1],
    [500, 1, 1],
    [2200, 2, 1],
];

fn grids<B: Memory + Norm>(bench: &mut Bench<'_, B>) -> Vec<Grid> {
    let random = (0..6).map(|_| [bench.size(1, 20), bench.size(1, 20), bench.size(1, 40)]);
    let all: Vec<_> = random.chain(GRIDS).collect();
    all.into_iter().map(|[outer, sets, inner]| Grid { outer, sets, inner }).collect()
}

/// Values about 0.5, of a size of 1: a mean is off by `SUM`, a mean square by some times that.
fn values<B: Memory + Norm>(bench: &mut Bench<'_, B>, len: usize) -> Twin<B> {
    let values: Vec<f32> = bench.values(len, 0.8).iter().map(|value| value + 0.5).collect();
    bench.put(&values)
}

fn moments<B: Memory + Norm>(bench: &mut Bench<'_, B>) {
    for grid in grids(bench) {
        let x = values(bench, grid.len());
        for centred in [true, false] {
            let [mut mean, mut variance] = [bench.poison(grid.sets), bench.poison(grid.sets)];
            bench.backend.moments(grid, centred, &x.here, &mut mean.here, &mut variance.here);
            bench.cpu.moments(grid, centred, &x.there, &mut mean.there, &mut variance.there);
            bench.near(&mean, SUM, &format!("mean, {grid:?}, {centred}"));
            bench.near(&variance, 4.0 * SUM, &format!("variance, {grid:?}, {centred}"));
        }
    }
}

fn normalisation<B: Memory + Norm>(bench: &mut Bench<'_, B>) {
    let eps = 1e-5;
    for grid in grids(bench) {
        let (len, sets) = (grid.len(), grid.sets);
        let (x, dn) = (values(bench, len), values(bench, len));
        let (mean, variance) = (bench.tensor(sets, 1.0), bench.values(sets, 0.9));
        let variance = bench.put(&variance.iter().map(|value| value + 1.0).collect::<Vec<_>>());
        let mut n = bench.poison(len);
        bench.backend.normalize(grid, eps, &x.here, &mean.here, &variance.here, &mut n.here);
        bench.cpu.normalize(grid, eps, &x.there, &mean.there, &variance.there, &mut n.there);
        bench.same(&n, &format!("normalised, {grid:?}"));
        for centred in [true, false] {
            let mut dx = bench.poison(len);
            let (backend, cpu) = (bench.backend, &bench.cpu);
            backend.normalize_backward(grid, centred, eps, &n.here, &variance.here, &dn.here, &mut dx.here);
            cpu.normalize_backward(grid, centred, eps, &n.there, &variance.there, &dn.there, &mut dx.there);
            // n is below 8 and the scale below 4, so a term of n mean(n dn) below 8 x 8 x 1.3 x 4.
            bench.near(&dx, 330.0 * SUM, &format!("backward, {grid:?}, {centred}"));
        }
        let (weight, bias) = (bench.tensor(sets, 1.0), bench.tensor(sets, 1.0));
        for bias in [Some(&bias), None] {
            let mut y = bench.poison(len);
            let (here, there) = (bias.map(|bias| &bias.here), bias.map(|bias| &bias.there));
            bench.backend.scale(grid, &x.here, &weight.here, here, &mut y.here);
            bench.cpu.scale(grid, &x.there, &weight.there, there, &mut y.there);
            bench.same(&y, &format!("scaled, {grid:?}"));
        }
    }
}

fn sums<B: Memory + Norm>(bench: &mut Bench<'_, B>) {
    for grid in grids(bench) {
        let (x, y) = (bench.tensor(grid.len(), 1.0), bench.tensor(grid.len(), 1.0));
        for (y, accumulate) in [(None, false), (None, true), (Some(&y), false), (Some(&y), true)] {
            let mut sums = if accumulate { bench.tensor(grid.sets, 1.0) } else { bench.poison(grid.sets) };
            let (here, there) = (y.map(|y| &y.here), y.map(|y| &y.there));
            bench.backend.set_sums(grid, &x.here, here, accumulate, &mut sums.here);
            bench.cpu.set_sums(grid, &x.there, there, accumulate, &mut sums.there);
            bench.near(&sums, SUM * (grid.members() + 1) as f32, &format!("sums, {grid:?}, {accumulate}"));
        }
    }
}
