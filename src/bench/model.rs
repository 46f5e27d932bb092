//! `mixnn bench model`: fits the [model](crate::model) of what jobs cost to what it measures here: cells, stages, slots, and a short run.
//! Then it holds the model against whole runs that it has not seen, and writes both into a file.

use std::path::{Path, PathBuf};

use super::cells::{CellWork, CryptoCase};
use super::held::{self, TimedJob};
use super::machine::COMMIT;
use super::reading::Reading;
use super::rounds::Spread;
use super::slot::{FEWEST, Slots, fits, one_cell};
use super::slots::SlotCase;
use super::stages::{PASSES, StageCase};
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::compute::processor;
use crate::crypto::aead::Library;
use crate::ids::Phase;
use crate::model::fit::{Observation, least_squares};
use crate::model::{Arithmetic, HeldRun, MeasuredOn, ModelFile, PerCell, Speeds};
use crate::run::RunError;
use crate::run::kept::results::VERSION;
use crate::terminal;

/// The lengths of the cells that are sealed and opened, in bytes.
const CELLS: [u32; 5] = [64, 1024, 5808, 16_384, 65_536];
/// The lengths of the cells in slots, in bytes.
const SLOT_CELLS: [u32; 5] = [256, 2048, 5888, 16_384, 65_536];
/// The numbers of ranks in slots, as far as there are so many.
const RANKS: [u16; 6] = [6, 7, 8, 10, 12, 16];
/// How many ranks are threads of this process where nobody says so and no launcher has started any.
pub const THREADS: u16 = 12;
/// The stages whose passes are measured: rows, values that go in, values that come out.
const STAGES: [[usize; 3]; 10] = [
    [1, 256, 256],
    [4, 784, 256],
    [16, 784, 256],
    [16, 256, 128],
    [16, 128, 10],
    [64, 784, 256],
    [64, 256, 128],
    [128, 512, 512],
    [512, 784, 256],
    [512, 256, 128],
];
/// What is to be measured.
pub struct ModelAsked {
    /// The file that the model is written to.
    pub out: PathBuf,
    /// How many slots are run at a time.
    pub slots: u32,
}

/// The columns of the table.
pub(super) const COLUMNS: [Column; 9] = [
    Column::of("kind", "kind", "", 9),
    Column::of("name", "name", "", 34),
    Column::of("way", "way", "", 8),
    Column::of("ranks", "ranks", "", 5),
    Column::measured("value", "value", "", 3),
    Column::of("unit", "unit", "", 22),
    Column::measured("predicted_us", "predicted", "us", 2),
    Column::measured("measured_us", "measured", "us", 2),
    Column::measured("off_percent", "off", "%", 1),
];

/// One thing that is measured in turns with all others.
#[derive(Clone, Copy)]
enum Turn {
    Cell(CryptoCase),
    Stage(StageCase),
    Slots(SlotCase),
    /// The run of this number.
    Run(usize),
}

/// What was measured of it, in seconds: of a stage the times of its passes, of all else one number.
type Times = [f64; 3];

/// Measures, fits, holds against runs, writes the file, and prints a row for each parameter, each fit and each run.
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, asked: &ModelAsked) -> Result<(), BenchError> {
    let ranks = bench.ranks(None, FEWEST)?;
    let runs = held::runs(ranks)?;
    let mut turns = turns(ranks, asked.slots)?;
    turns.extend((0..runs.len()).map(Turn::Run));
    for turn in &turns {
        if let Turn::Slots(case) = turn {
            fits(&bench.crew, &case.geometry)?;
        }
    }
    let settings = [
        (
            "parameters",
            "what the model takes a machine for, fitted to what was measured; times are of one core".to_owned(),
        ),
        ("fits", "how far the fitted model is off from what it was fitted to".to_owned()),
        ("runs", "epochs of runs that the model has not seen, beside what it predicts".to_owned()),
        ("off", "by how much of what was measured the prediction is more, or less".to_owned()),
        ("file", asked.out.display().to_string()),
    ];
    let machine = bench.crew.machine(ranks)?;
    let table = Sheet::begin(bench.format, "model", &machine, &settings, &COLUMNS)?;
    let mut slots = Slots::default();
    let crew = &mut bench.crew;
    // Runs take turns with what the model is fitted to: a machine that is slow for a while is slow for both.
    let measured = bench.rounds.in_turns(&turns, |turn| -> Result<Times, RunError> {
        Ok(match turn {
            Turn::Cell(case) => [case.seconds(), 0.0, 0.0],
            Turn::Stage(case) => case.seconds()?,
            Turn::Slots(case) => [mean(&slots.measure(crew, *case)?), 0.0, 0.0],
            Turn::Run(number) => [runs[*number].epoch(crew)?, 0.0, 0.0],
        })
    })?;
    let medians: Option<Vec<Times>> = measured.iter().map(|rounds| median(rounds)).collect();
    let Some(medians) = medians else {
        terminal::remark("too little was measured to fit a model to: no file is written");
        return Ok(());
    };
    let standing = bench.crew.standing(ranks);
    let cores = (standing.cores.least() * f64::from(ranks)).max(1.0);
    let Fitted { mut speeds, rows } = fitted(&turns, &medians, cores)?;
    let (own, others) = medians[turns.len() - runs.len()..].split_at(held::FITTED);
    speeds.term = (own[0][0] - runs[0].predicted(&speeds)?).max(0.0) / f64::from(runs[0].ranks());
    speeds.uneven = uneven(&speeds, &runs[1..held::FITTED], &own[1..])?;
    for (name, value, unit) in parameters(&speeds) {
        let nothing = Entry::Nothing;
        table.row(&[
            "parameter".into(),
            name.into(),
            nothing.clone(),
            nothing.clone(),
            value.into(),
            unit.into(),
            nothing.clone(),
            nothing.clone(),
            nothing,
        ])?;
    }
    for (name, ranks, predicted, measured) in rows {
        print(&table, "fit", &name, None, ranks, predicted, measured)?;
    }
    let all = runs[held::FITTED..].iter().zip(others).map(|(run, times)| run.held(&speeds, times[0]));
    let held: Vec<HeldRun> = all.collect::<Result<_, _>>()?;
    for HeldRun { job, way, ranks, predicted, measured } in &held {
        print(&table, "run", job, Some(way), Some(*ranks), *predicted, *measured)?;
    }
    let on = MeasuredOn {
        version: VERSION.to_owned(),
        commit: COMMIT.unwrap_or("unknown").to_owned(),
        date: MeasuredOn::today(),
        processor: processor::name(),
        fingerprint: Cpu::new(1).map_err(RunError::from)?.fingerprint(),
        messages: bench.crew.carrier().to_owned(),
        ranks,
        one_host: standing.one_host,
    };
    ModelFile::new(on, speeds, held).write(&asked.out).map_err(RunError::from)?;
    terminal::remark(&format!("the model is in {}; mixnn check predicts with it", asked.out.display()));
    Ok(())
}

/// Everything that is measured, on up to `ranks` ranks.
fn turns(ranks: u16, slots: u32) -> Result<Vec<Turn>, BenchError> {
    let mut turns = Vec::new();
    for cell in CELLS {
        let library = Library::fastest(cell as usize);
        turns.extend([CellWork::Seal, CellWork::Open].map(|part| Turn::Cell(CryptoCase { cell, library, part })));
    }
    for [rows, input, out] in STAGES {
        let all = all_threads();
        let threads = if all > 1 { vec![1, all] } else { vec![1] };
        turns.extend(threads.into_iter().map(|threads| Turn::Stage(StageCase { rows, input, out, threads })));
    }
    for count in RANKS.into_iter().filter(|count| *count < ranks).chain([ranks]) {
        for cell in SLOT_CELLS {
            turns.push(Turn::Slots(SlotCase::of(one_cell(count, 3, cell)?, slots)));
        }
    }
    Ok(turns)
}

/// With how many threads a run in one process computes.
fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The mean over the ranks of what a slot took.
fn mean(readings: &[Reading]) -> f64 {
    readings.iter().map(|reading| reading.total).sum::<f64>() / readings.len().max(1) as f64
}

/// The median of the rounds, for each number by itself. `None` where there are none.
fn median(rounds: &[Times]) -> Option<Times> {
    let of = |which: usize| Spread::of(rounds.iter().map(|times| times[which])).map(|spread| spread.median);
    Some([of(0)?, of(1)?, of(2)?])
}

/// A fit: what it is of, how many ranks, the seconds that it comes to, and those that were measured.
type FitRow = (String, Option<u16>, f64, f64);

/// The parameters, and how near they come to what they were fitted to.
struct Fitted {
    speeds: Speeds,
    rows: Vec<FitRow>,
}

/// Fits the parameters to what `turns` have taken on a host with `cores` cores.
fn fitted(turns: &[Turn], medians: &[Times], cores: f64) -> Result<Fitted, RunError> {
    let mut rows = Vec::new();
    let mut per_cell = |part: CellWork| {
        let mut named = Vec::new();
        for (turn, times) in turns.iter().zip(medians) {
            if let Turn::Cell(case) = turn
                && case.part == part
            {
                let observation = Observation { times: [1.0, f64::from(case.cell)], known: 0.0, seconds: times[0] };
                named.push((format!("{}, {} B", part.name(), case.cell), None, observation));
            }
        }
        let [call, byte] = found(&named, &mut rows);
        PerCell { call, byte }
    };
    let [seal, open] = [CellWork::Seal, CellWork::Open].map(&mut per_cell);
    let mut arithmetic = |threads: usize| -> Result<Arithmetic, RunError> {
        let mut named = Vec::new();
        for (turn, times) in turns.iter().zip(medians) {
            if let Turn::Stage(case) = turn
                && case.threads == threads
            {
                let StageCase { rows, input, out, .. } = case;
                for (pass, observation) in PASSES.iter().zip(case.observations(*times)?) {
                    named.push((format!("{pass} {rows}x{input}x{out}, {threads} thr."), None, observation));
                }
            }
        }
        let [product, operation, entry, value, step] = found(&named, &mut rows);
        Ok(Arithmetic { product, operation, entry, value, step })
    };
    let one_thread = arithmetic(1)?;
    let all_threads = if all_threads() > 1 { arithmetic(all_threads())? } else { one_thread };
    let mut named = Vec::new();
    for (turn, times) in turns.iter().zip(medians) {
        let Turn::Slots(case) = turn else { continue };
        let (geometry, ranks) = (case.geometry, f64::from(case.geometry.ranks));
        let crowd = (ranks / cores).max(1.0);
        let (lanes, hops, payload) = (geometry.lanes() as f64, f64::from(geometry.hops), f64::from(geometry.payload));
        let sealed = crowd * (seal.seconds(hops * lanes, payload) + open.seconds(hops * lanes, payload));
        // With a core for each rank, what all do at once cannot be told from what takes time by itself.
        let turn = if crowd > 1.0 { crowd * hops } else { 0.0 };
        let observation = Observation {
            times: [hops, turn, crowd * hops * lanes, crowd * geometry.slot_bytes() as f64],
            known: sealed,
            seconds: times[0],
        };
        named.push((format!("slot, {} B", geometry.cell(Phase(1))), Some(geometry.ranks), observation));
    }
    let [latency, turn, block, byte] = found(&named, &mut rows);
    let speeds =
        Speeds { cores, latency, turn, block, byte, seal, open, one_thread, all_threads, term: 0.0, uneven: 0.0 };
    Ok(Fitted { speeds, rows })
}

/// The [`Speeds::uneven`] for which `runs`, whose epochs took so many seconds, are predicted best: of 21 values from 0 to 1, the one with the
/// least sum of squares of relative errors.
fn uneven(speeds: &Speeds, runs: &[TimedJob], times: &[Times]) -> Result<f64, RunError> {
    let mut best = (0.0, f64::INFINITY);
    for step in 0..=20 {
        let speeds = Speeds { uneven: f64::from(step) / 20.0, ..*speeds };
        let mut squares = 0.0;
        for (run, times) in runs.iter().zip(times) {
            squares += (run.predicted(&speeds)? / times[0] - 1.0).powi(2);
        }
        if squares < best.1 {
            best = (speeds.uneven, squares);
        }
    }
    Ok(best.0)
}

/// The parameters that fit the observations `named`. Adds how near they come to `rows`.
fn found<const N: usize>(named: &[(String, Option<u16>, Observation<N>)], rows: &mut Vec<FitRow>) -> [f64; N] {
    let observations: Vec<Observation<N>> = named.iter().map(|(.., observation)| observation.clone()).collect();
    let parameters = least_squares(&observations);
    for (name, ranks, observation) in named {
        rows.push((name.clone(), *ranks, observation.predicted(&parameters), observation.seconds));
    }
    parameters
}

/// Prints a row of something predicted and measured.
fn print(
    table: &Sheet,
    kind: &str,
    name: &str,
    way: Option<&str>,
    ranks: Option<u16>,
    predicted: f64,
    measured: f64,
) -> Result<(), RunError> {
    table.row(&[
        kind.into(),
        name.into(),
        Entry::from(way),
        Entry::from(ranks.map(u64::from)),
        Entry::Nothing,
        Entry::Nothing,
        (1e6 * predicted).into(),
        (1e6 * measured).into(),
        Entry::from(Some(100.0 * (predicted / measured - 1.0)).filter(|_| measured > 0.0)),
    ])
}

/// The parameters as they are printed: name, value, unit.
fn parameters(speeds: &Speeds) -> Vec<(&'static str, f64, &'static str)> {
    let Speeds { cores, latency, turn, block, byte, seal, open, one_thread, all_threads, term, uneven } = *speeds;
    let rate = |byte: f64| if byte > 0.0 { 1e-9 / byte } else { f64::INFINITY };
    let mut all = vec![
        ("cores of a host", cores, ""),
        ("a phase", 1e6 * latency, "us"),
        ("a rank in a phase", 1e6 * turn, "us of a core"),
        ("a block in a phase", 1e6 * block, "us of a core"),
        ("a byte of a block", 1e9 * byte, "ns of a core"),
        ("sealing a cell", 1e6 * seal.call, "us"),
        ("sealing bytes", rate(seal.byte), "GB/s"),
        ("opening a cell", 1e6 * open.call, "us"),
        ("opening bytes", rate(open.byte), "GB/s"),
        ("a rank in a term", 1e3 * term, "ms"),
        ("unevenness of work", uneven, "of the longest"),
    ];
    for (arithmetic, names) in [
        (one_thread, ["a product", "products", "entries of products", "values", "values of a step"]),
        (
            all_threads,
            [
                "a product, all threads",
                "products, all threads",
                "entries of products, all threads",
                "values, all threads",
                "values of a step, all threads",
            ],
        ),
    ] {
        let Arithmetic { product, operation, entry, value, step } = arithmetic;
        all.extend([
            (names[0], 1e6 * product, "us"),
            (names[1], rate(operation), "GFLOP/s"),
            (names[2], 1e9 * entry, "ns"),
            (names[3], 1e9 * value, "ns"),
            (names[4], 1e9 * step, "ns"),
        ]);
    }
    all
}

/// Whether a file can be written to `path`, as far as that can be told before anything is measured.
///
/// # Errors
/// [`RunError::Model`].
pub fn can_write(path: &Path) -> Result<(), RunError> {
    ModelFile::can_write(path).map_err(RunError::from)
}
