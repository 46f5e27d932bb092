//! `mixnn bench scale`: what a slot costs over more and more ranks. *Strong*: a message of one length is mixed by more ranks, in
//! smaller cells. *Weak*: cells keep their length, so that the message grows with the ranks.

use super::reading::OverRanks;
use super::rounds::Spread;
use super::slot::{FEWEST, Slots, fits, one_cell};
use super::slots::SlotCase;
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::ids::Phase;
use crate::mix::geometry::Geometry;

/// The numbers of ranks that are tried, as far as there are so many, unless the user names others.
const RANKS: [u16; 11] = [6, 7, 8, 10, 12, 16, 24, 32, 40, 48, 64];
/// The longest cell that a message is cut into, in bytes: as in a job that names none.
const LONGEST: u32 = 1 << 16;

/// What is to be measured.
pub struct ScaleAsked {
    /// Numbers of ranks. Empty: those of a list, up to as many as there are.
    pub ranks: Vec<u16>,
    /// How many hops circuits have.
    pub hops: u8,
    /// The length of the message that more and more ranks mix, in bytes.
    pub message: u32,
    /// The length of the cells that stay as they are, in bytes.
    pub cell: u32,
    /// How many slots are run at a time.
    pub slots: u32,
}

/// The columns of the table.
pub(super) const COLUMNS: [Column; 12] = [
    Column::of("scaling", "scaling", "", 7),
    Column::of("ranks", "ranks", "", 5),
    Column::of("message_bytes", "message", "B", 9),
    Column::of("cell_bytes", "cell", "B", 7),
    Column::of("cells", "cells", "", 5),
    Column::measured("avg_us", "avg", "us", 1),
    Column::measured("low_us", "low", "us", 1),
    Column::measured("high_us", "high", "us", 1),
    Column::measured("gb_per_s", "GB/s", "", 3),
    Column::measured("cores", "cores", "", 2),
    Column::measured("of_best_percent", "of best", "%", 0),
    Column::measured("to_first", "to first", "", 2),
];

/// Measures slots on more and more ranks and prints two rows for each number of them.
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, asked: &ScaleAsked) -> Result<(), BenchError> {
    let there = bench.ranks(None, FEWEST)?;
    let mut ranks = match asked.ranks.is_empty() {
        true => RANKS.into_iter().filter(|ranks| *ranks < there).chain([there]).collect(),
        false => asked.ranks.clone(),
    };
    ranks.sort_unstable();
    let mut lengths = Vec::new();
    for ranks in ranks {
        bench.ranks(Some(ranks), FEWEST)?;
        lengths.push([
            Geometry::new(ranks, asked.hops, asked.message, LONGEST)?,
            one_cell(ranks, asked.hops, asked.cell)?,
        ]);
    }
    lengths.iter().flatten().try_for_each(|geometry| fits(&bench.crew, geometry))?;
    let settings = [
        ("strong", format!("a message of {} bytes", asked.message)),
        ("weak", format!("a cell of {} bytes a lane", asked.cell)),
        ("avg low high", "a slot's time, a mean over the ranks: median, least and largest of the rounds".to_owned()),
        ("GB/s", "what a rank sends".to_owned()),
        ("cores", "how many a rank has, or the part of one: of the rank that has least".to_owned()),
        (
            "of best",
            "of a slot that seals, opens and copies its bytes as fast as a core can, and waits for nothing"
                .to_owned(),
        ),
        ("to first", "a slot's time, by that on the fewest ranks".to_owned()),
        ("slots", format!("{} at a time, {} hops, {} rounds", asked.slots, asked.hops, bench.rounds.rounds)),
    ];
    let machine = bench.crew.machine(there)?;
    let table = Sheet::begin(bench.format, "scale", &machine, &settings, &COLUMNS)?;
    let (mut slots, mut first) = (Slots::default(), [None; 2]);
    for both in lengths {
        let cases = both.map(|geometry| SlotCase::of(geometry, asked.slots));
        let (measured, best) = slots.in_turns(bench, &cases)?;
        for (i, (case, readings)) in cases.iter().zip(&measured).enumerate() {
            let Some(time) = OverRanks::of(readings, |reading| reading.total) else { continue };
            let (geometry, Spread { median, low, high }) = (case.geometry, time.avg);
            let first = *first[i].get_or_insert(median);
            table.row(&[
                ["strong", "weak"][i].into(),
                u64::from(geometry.ranks).into(),
                (geometry.message() as u64).into(),
                (geometry.cell(Phase(1)) as u64).into(),
                u64::from(geometry.cells).into(),
                (median * 1e6).into(),
                (low * 1e6).into(),
                (high * 1e6).into(),
                (geometry.slot_bytes() as f64 / median * 1e-9).into(),
                Entry::from(best.map(|best| best.cores)),
                Entry::from(best.map(|best| 100.0 * best.slot(&geometry) / median)),
                (median / first).into(),
            ])?;
        }
        if bench.rounds.is_over() {
            break;
        }
    }
    Ok(())
}
