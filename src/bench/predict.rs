//! `mixnn bench model --predict`: what protection costs on ranks that are not here, as the [model](crate::model) has it. Nothing is
//! measured: every row is a prediction.

use super::table::{Column, Sheet};
use super::{BenchError, BenchRun};
use crate::ids::Phase;
use crate::mix::geometry::Geometry;
use crate::model::{Arithmetic, ModelFile, OnHosts, PerCell, SlotStart, Speeds, StageLoad, Travel, Workload};
use crate::pipeline::Depth;

/// The numbers of ranks that are reckoned with.
pub const RANKS: [u16; 10] = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
/// The longest cell that a message is cut into, in bytes: as in a job that names none.
const LONGEST: u32 = 1 << 16;
/// How many hops circuits have.
const HOPS: u8 = 3;
/// How many micro-batches a batch has, for each stage: enough to fill the pipeline most of the time.
const FULL: u32 = 4;
/// How many batches an epoch has.
const BATCHES: u32 = 10;

/// What is assumed of the machines.
pub struct PredictAsked {
    /// The model of a core.
    pub model: Option<ModelFile>,
    /// Seconds from when a block leaves a rank to when it is at another.
    pub latency: f64,
    /// How many bytes a second a rank sends, while it receives as many.
    pub bandwidth: f64,
    /// Seconds that sending and receiving a block takes a rank, besides its bytes.
    pub block: f64,
    /// How many additions and multiplications a second a GPU does.
    pub gpu_operations: f64,
    /// How many bytes a second a GPU seals or opens.
    pub gpu_aes: f64,
    /// Seconds for any launch of a GPU's kernel.
    pub gpu_launch: f64,
    /// The numbers of ranks that are reckoned with.
    pub ranks: Vec<u16>,
}

/// The columns of the table.
pub(super) const COLUMNS: [Column; 15] = [
    Column::of("kind", "kind", "", 10),
    Column::of("each", "each rank", "", 9),
    Column::of("ranks", "ranks", "", 5),
    Column::of("stages", "stages", "", 6),
    Column::of("message_bytes", "message", "B", 9),
    Column::of("cells", "cells", "", 5),
    Column::of("cell_bytes", "cell", "B", 7),
    Column::measured("work_ms", "work", "ms a slot", 3),
    Column::measured("bare_ms", "bare", "ms a slot", 3),
    Column::measured("mixed_ms", "mixed", "ms a slot", 3),
    Column::measured("to_bare", "to bare", "", 2),
    Column::measured("seal_percent", "seal", "%", 0),
    Column::measured("exchange_percent", "exchange", "%", 0),
    Column::measured("open_percent", "peel, open", "%", 0),
    Column::measured("compute_percent", "compute", "%", 0),
];

/// What each rank of a row has.
struct EachRank {
    name: &'static str,
    speeds: Speeds,
    /// How wide the layers are, and how many samples a micro-batch has.
    width: u32,
    rows: u32,
}

/// Prints a row for each number of ranks, with a core and with a GPU for each.
///
/// # Errors
/// [`BenchError::NoModel`], [`BenchError::Run`].
pub fn run(bench: &mut BenchRun<'_>, asked: &PredictAsked) -> Result<(), BenchError> {
    let Some(model) = &asked.model else { return Err(BenchError::NoModel) };
    let network = Speeds {
        cores: 1.0,
        latency: asked.latency,
        turn: 0.0,
        block: asked.block,
        byte: 1.0 / asked.bandwidth,
        ..model.speeds
    };
    let launched = |byte: f64| PerCell { call: 0.0, byte };
    let arithmetic = Arithmetic {
        product: asked.gpu_launch,
        operation: 1.0 / asked.gpu_operations,
        entry: 0.0,
        value: 0.0,
        step: 0.0,
    };
    let gpu = Speeds {
        // A launch seals, peels or opens all cells of a phase.
        latency: asked.latency + asked.gpu_launch,
        seal: launched(1.0 / asked.gpu_aes),
        open: launched(1.0 / asked.gpu_aes),
        one_thread: arithmetic,
        all_threads: arithmetic,
        ..network
    };
    let kinds = [
        EachRank { name: "core", speeds: network, width: 1024, rows: 128 },
        EachRank { name: "GPU", speeds: gpu, width: 4096, rows: 4096 },
    ];
    let on = &model.on;
    let settings = [
        (
            "prediction",
            "nothing of this was measured; the model takes ranks as cores that have what follows".to_owned(),
        ),
        ("core", format!("a core of {}, measured {}, commit {}", on.processor, on.date, on.commit)),
        (
            "network",
            format!(
                "assumed: {} us from rank to rank, {} GB/s each, {} us for a message",
                1e6 * asked.latency,
                1e-9 * asked.bandwidth,
                1e6 * asked.block
            ),
        ),
        (
            "GPU",
            format!(
                "assumed: {} TFLOP/s, AES at {} GB/s, {} us a launch",
                1e-12 * asked.gpu_operations,
                1e-9 * asked.gpu_aes,
                1e6 * asked.gpu_launch
            ),
        ),
        ("stages", "half of the ranks host a linear layer each, the others are relays".to_owned()),
        ("layers", "1024 x 1024 with 128 samples for a core, 4096 x 4096 with 4096 for a GPU".to_owned()),
        ("slot", format!("in lockstep, a mean over {BATCHES} batches of {FULL} micro-batches a stage, {HOPS} hops")),
        ("to bare", "a slot of mixed by one of bare, which has the same schedule".to_owned()),
    ];
    let machine = bench.crew.machine(1)?;
    let table = Sheet::begin(bench.format, "predict", &machine, &settings, &COLUMNS)?;
    for kind in &kinds {
        for ranks in &asked.ranks {
            let stages = (*ranks / 2).max(2);
            let geometry = Geometry::new(*ranks, HOPS, 64 + 4 * kind.width * kind.rows, LONGEST)?;
            let width = kind.width as usize;
            let stage = |first: bool| StageLoad {
                maps: vec![[1, width, width]],
                values: 2.0 * f64::from(kind.width),
                stepped: 3.0 * (width * width) as f64,
                first,
            };
            let full = FULL * u32::from(stages);
            let mixed = Workload {
                geometry,
                travel: Travel::Mixed,
                pacing: SlotStart::Lockstep,
                depth: Depth::of(stages),
                stages: (0..stages).map(|stage_number| stage(stage_number == 0)).collect(),
                remote: 0..usize::from(stages),
                rows: kind.rows,
                full,
                training: BATCHES * full,
                validation: 0,
                terms: 0,
                owned: f64::from(kind.width),
            };
            let slots = mixed.slots() as f64;
            let places = OnHosts(*ranks);
            let bare = Workload { travel: Travel::Bare, ..mixed.clone() }.predicted(&kind.speeds, places);
            let parts = mixed.predicted(&kind.speeds, places);
            let (all, ms) = (parts.total(), |seconds: f64| 1e3 * seconds / slots);
            let rows = f64::from(kind.rows);
            let [work, _] = [&mixed.stages[1], &mixed.stages[0]].map(|stage| {
                stage.forward(kind.speeds.one_thread, rows) + stage.backward(kind.speeds.one_thread, rows)
            });
            table.row(&[
                "prediction".into(),
                kind.name.into(),
                u64::from(*ranks).into(),
                u64::from(stages).into(),
                (geometry.message() as u64).into(),
                u64::from(geometry.cells).into(),
                (geometry.cell(Phase(1)) as u64).into(),
                (1e3 * work).into(),
                ms(bare.total()).into(),
                ms(all).into(),
                (all / bare.total()).into(),
                (100.0 * parts.seal / all).into(),
                (100.0 * parts.exchange / all).into(),
                (100.0 * (parts.peel + parts.open) / all).into(),
                (100.0 * (parts.compute + parts.wait) / all).into(),
            ])?;
        }
    }
    Ok(())
}
