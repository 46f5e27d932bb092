//! `mixnn bench gemm`: matrix products on the processor, those of a job or square ones. All ranks multiply at once, each with its
//! part of the cores.

use super::ceilings::Ceiling;
use super::crew::Duty;
use super::products::{GemmCase, MatrixProduct, ProductKind};
use super::reading::{OverRanks, Reading};
use super::rounds::Spread;
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::job::Job;
use crate::run::prepare::Prepared;

/// The rows and columns of the square products that are tried where no job is given.
pub const SQUARES: [usize; 5] = [64, 128, 256, 512, 1024];

/// The columns of the table.
pub(super) const COLUMNS: [Column; 12] = [
    Column::of("stage", "stage", "", 5),
    Column::of("product", "product", "", 8),
    Column::of("m", "m", "", 7),
    Column::of("n", "n", "", 7),
    Column::of("k", "k", "", 7),
    Column::measured("avg_us", "avg", "us", 2),
    Column::measured("min_us", "min", "us", 2),
    Column::measured("max_us", "max", "us", 2),
    Column::measured("low_us", "low", "us", 2),
    Column::measured("high_us", "high", "us", 2),
    Column::measured("gflop_per_s", "GFLOP/s", "", 1),
    Column::measured("of_core_percent", "of a core", "%", 0),
];

/// Measures the products of `job`'s linear layers, or square ones, on `ranks` ranks or all that there are, each with `threads`
/// threads (0: its part of the cores).
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, job: Option<Job>, threads: u16, ranks: Option<u16>) -> Result<(), BenchError> {
    let ranks = bench.ranks(ranks, 1)?;
    let products = match job {
        Some(job) => of_job(&Prepared::of(job)?),
        None => SQUARES.map(|n| (None, MatrixProduct { m: n, n, k: n, kind: ProductKind::Forward })).to_vec(),
    };
    if products.is_empty() {
        return Err(BenchError::NoLayers);
    }
    let settings = [
        ("avg min max", "over the ranks, medians of the rounds".to_owned()),
        ("low high", "the least and largest average of a round".to_owned()),
        ("of a core", "of what one core does with matrices of 1024 x 1024".to_owned()),
    ];
    let machine = bench.crew.machine(ranks)?;
    let table = Sheet::begin(bench.format, "gemm", &machine, &settings, &COLUMNS)?;
    for (stage, product) in products {
        let crew = &mut bench.crew;
        let mut measured =
            bench.rounds.in_turns(&[Some(GemmCase { product, threads }), None], |case| match case {
                Some(case) => crew.measure(ranks, Duty::Gemm(*case), &[]),
                None => Ok(vec![Reading::of(Ceiling::Gemm.measured()?)]),
            })?;
        let core = measured.pop().and_then(|rates| Spread::of(rates.iter().map(|rate| rate[0].total)));
        let Some(time) = measured.first().and_then(|readings| OverRanks::of(readings, |reading| reading.total))
        else {
            continue;
        };
        let rate = product.operations() / time.avg.median;
        let [avg, min, max, low, high] = time.in_micros();
        table.row(&[
            stage.map(|stage| stage as u64).into(),
            product.kind.name().into(),
            (product.m as u64).into(),
            (product.n as u64).into(),
            (product.k as u64).into(),
            avg,
            min,
            max,
            low,
            high,
            (rate * 1e-9).into(),
            Entry::from(core.map(|core| 100.0 * rate / core.high)),
        ])?;
        if bench.rounds.is_over() {
            break;
        }
    }
    Ok(())
}

/// All products of the linear layers of a job, for a whole micro-batch, each with the number of its stage, from 1.
fn of_job(prepared: &Prepared) -> Vec<(Option<usize>, MatrixProduct)> {
    let rows = prepared.job.train.micro_batch as usize;
    let mut all = Vec::new();
    for (stage, spec) in prepared.specs().iter().enumerate() {
        for [vectors, input, out] in spec.affine_maps() {
            let m = rows * vectors;
            let three = ProductKind::ALL.map(|kind| match kind {
                ProductKind::Forward => MatrixProduct { m, n: out, k: input, kind },
                ProductKind::InputGradient => MatrixProduct { m, n: input, k: out, kind },
                ProductKind::WeightGradient => MatrixProduct { m: input, n: out, k: m, kind },
            });
            all.extend(three.map(|product| (Some(stage + 1), product)));
        }
    }
    all
}
