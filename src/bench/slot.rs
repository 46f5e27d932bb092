//! `mixnn bench slot`: what a slot costs, by ranks, hops, cells, and how blocks travel; and where its time goes. No role works in
//! it: this is the price of mixing alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Known;

use super::ceilings::Ceiling;
use super::crew::{Crew, Duty};
use super::reading::{OverRanks, PARTS, Reading, Readings};
use super::rounds::Spread;
use super::slots::{RUN, SlotCase};
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::crypto::aead::TAG;
use crate::ids::{Phase, Term};
use crate::memory;
use crate::mix::MixError;
use crate::mix::geometry::Geometry;
use crate::mix::package::{TermSecrets, mixed_routes};
use crate::mix::plan::Plan;
use crate::run::RunError;

/// The fewest ranks that mix.
pub const FEWEST: u16 = 6;
/// The longest cell, and the longest message, that may be asked for, in bytes.
pub const LONGEST: u32 = 1 << 26;
/// The lengths of the cells that are tried, in bytes, unless the user names others.
pub const CELLS: [u32; 3] = [1024, 5888, 16_384];
/// How many slots are run at a time, unless the user names a number.
pub const SLOTS: u32 = 200;

/// The stages of the plans: their number changes nothing of a slot.
const STAGES: u16 = 3;
/// Where the time of a slot goes, in the order of a [`Reading`]'s parts.
const NAMES: [&str; PARTS] = ["seal", "exchange", "wait", "peel", "open"];

/// What is to be measured.
pub struct SlotsAsked {
    /// How many ranks take part. `None`: all that there are.
    pub ranks: Option<u16>,
    /// How many hops circuits have, one number after the other.
    pub hops: Vec<u8>,
    /// Lengths of cells in the first phase, in bytes.
    pub cells: Vec<u32>,
    /// Whether ranks of one host share memory.
    pub windows: Vec<bool>,
    /// Whether there is a keystream over all links.
    pub links: Vec<bool>,
    /// How many slots are run at a time.
    pub slots: u32,
}

/// The columns of the table.
pub(super) const COLUMNS: [Column; 16] = [
    Column::of("ranks", "ranks", "", 5),
    Column::of("hops", "hops", "", 4),
    Column::of("cell_bytes", "cell", "B", 7),
    Column::of("blocks", "blocks", "", 8),
    Column::of("link", "link", "", 4),
    Column::of("part", "part", "", 8),
    Column::measured("avg_us", "avg", "us", 1),
    Column::measured("min_us", "min", "us", 1),
    Column::measured("max_us", "max", "us", 1),
    Column::measured("low_us", "low", "us", 1),
    Column::measured("high_us", "high", "us", 1),
    Column::measured("gb_per_s", "GB/s", "", 3),
    Column::measured("of_best_percent", "of best", "%", 0),
    Column::measured("to_alone", "to alone", "", 2),
    Column::measured("to_alone_low", "low", "", 2),
    Column::measured("to_alone_high", "high", "", 2),
];

/// Measures slots and prints a row for each part of their time.
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, asked: &SlotsAsked) -> Result<(), BenchError> {
    let ranks = bench.ranks(asked.ranks, FEWEST)?;
    let mut lengths = Vec::new();
    for hops in &asked.hops {
        for cell in &asked.cells {
            lengths.push(one_cell(ranks, *hops, *cell)?);
        }
    }
    lengths.iter().try_for_each(|geometry| fits(&bench.crew, geometry))?;
    let settings = [
        ("avg min max", "a slot's time over the ranks, medians of the rounds".to_owned()),
        ("low high", "the least and largest average of a round".to_owned()),
        ("GB/s", "what a rank sends".to_owned()),
        (
            "of best",
            "of a slot that seals, opens and copies its bytes as fast as a core can, and waits for nothing"
                .to_owned(),
        ),
        ("alone", "a plain loop that seals, exchanges and opens the same cells, with one key and no plan".to_owned()),
        ("to alone", "a slot's time by that, turn by turn: the median, the least and the largest".to_owned()),
        ("slots", format!("{} at a time, {} rounds", asked.slots, bench.rounds.rounds)),
    ];
    let machine = bench.crew.machine(ranks)?;
    let table = Sheet::begin(bench.format, "slot", &machine, &settings, &COLUMNS)?;
    let mut slots = Slots::default();
    for geometry in lengths {
        let carriers = bench.crew.carriers(&asked.windows);
        let plain = SlotCase { plain: true, ..SlotCase::of(geometry, asked.slots) };
        let kinds = |windows: bool| {
            let mixed = asked.links.iter().map(move |linked| SlotCase { plain: false, linked: *linked, ..plain });
            mixed.chain([plain]).map(move |case| SlotCase { windows, ..case })
        };
        let cases: Vec<SlotCase> = carriers.into_iter().flat_map(kinds).collect();
        let (measured, best) = slots.in_turns(bench, &cases)?;
        for (case, readings) in cases.iter().zip(&measured) {
            let alone = cases.iter().position(|other| other.plain && other.windows == case.windows);
            let alone = alone.map_or(&[][..], |alone| &measured[alone]);
            print(&table, case, readings, alone, best, bench.crew.blocks(case.windows))?;
        }
        if bench.rounds.is_over() {
            return Ok(());
        }
    }
    Ok(())
}

/// The lengths where a lane carries one cell, of `cell` bytes in the first phase.
pub(super) fn one_cell(ranks: u16, hops: u8, cell: u32) -> Result<Geometry, MixError> {
    let tags = u32::from(hops) * TAG as u32;
    match cell.checked_sub(tags).map(|room| room / 16 * 16) {
        None | Some(0) => Err(MixError::CellTooSmall { found: cell, least: tags + 16 }),
        Some(payload) => Ok(Geometry { ranks, hops, cells: 1, payload }),
    }
}

/// Checks that this host has memory for slots of `geometry`, where all ranks stand on it.
///
/// # Errors
/// [`BenchError::Memory`].
pub(super) fn fits(crew: &Crew<'_>, geometry: &Geometry) -> Result<(), BenchError> {
    let (ranks, block, message) = (geometry.ranks, geometry.block(Phase(1)) as u64, geometry.message() as u64);
    // A block at each end of a lane, and one on its way; three messages that leave and three that arrive.
    let needed = u64::from(ranks).saturating_mul(3 * geometry.lanes() as u64 * block + 6 * message);
    match memory::available() {
        Some(found) if crew.standing(ranks).one_host && found < needed => Err(BenchError::Memory { needed, found }),
        _ => Ok(()),
    }
}

/// Slots that are measured, one kind after the other.
#[derive(Default)]
pub(super) struct Slots {
    /// The plans drawn so far, by numbers of ranks and hops: to draw one may take seconds.
    plans: BTreeMap<(u16, u8), Plan>,
    /// The number of the next term.
    term: u32,
}

impl Slots {
    /// Measures `cases`, all on as many ranks, in turns, and beside them what the machine can do. Returns the readings, by case, round
    /// and rank, and what can be done at best, where that was measured.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn in_turns(
        &mut self,
        bench: &mut BenchRun<'_>,
        cases: &[SlotCase],
    ) -> Result<(Vec<Readings>, Option<Best>), RunError> {
        let crew = &mut bench.crew;
        let turns: Vec<Option<&SlotCase>> = cases.iter().map(Some).chain([None]).collect();
        let mut measured = bench.rounds.in_turns(&turns, |case| match case {
            Some(case) => self.measure(crew, **case),
            None => Ok(vec![Reading::of(Ceiling::Aes.measured()?), Reading::of(Ceiling::Copy.measured()?)]),
        })?;
        let ceilings = measured.pop().unwrap_or_default();
        let rate = |which: usize| Spread::of(ceilings.iter().map(|round| round[which].total));
        let ranks = cases.first().map_or(1, |case| case.geometry.ranks);
        let cores = crew.standing(ranks).cores.least();
        let best = rate(0).zip(rate(1)).map(|(aes, copy)| Best { aes: aes.high, copy: copy.high, cores });
        Ok((measured, best))
    }

    /// Measures slots like `case` once: what each rank took for one.
    pub(super) fn measure(&mut self, crew: &mut Crew<'_>, case: SlotCase) -> Result<Vec<Reading>, RunError> {
        if case.plain {
            return crew.measure(case.geometry.ranks, Duty::Slots(case), &[]);
        }
        let Geometry { ranks, hops, .. } = case.geometry;
        let plan = match self.plans.entry((ranks, hops)) {
            Known::Occupied(known) => known.into_mut(),
            Known::Vacant(new) => {
                let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
                new.insert(Plan::draw(STAGES, hops, &hosts, &mut rand::rng())?)
            }
        };
        let secrets = TermSecrets::draw(ranks)?;
        let routes = mixed_routes(plan, secrets, &RUN, Term(self.term), |_, _| case.linked);
        let mut letters = routes
            .iter()
            .map(|route| postcard::to_allocvec(route).map_err(|error| RunError::Bug(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let length = letters.iter().map(Vec::len).max().unwrap_or(0);
        letters.iter_mut().for_each(|letter| letter.resize(length, 0));
        let case = SlotCase { term: self.term, route: length as u32, ..case };
        self.term += 1;
        crew.measure(ranks, Duty::Slots(case), &letters)
    }
}

/// What a rank can do at best.
#[derive(Clone, Copy)]
pub(super) struct Best {
    /// How many bytes a core seals or opens a second.
    aes: f64,
    /// How many bytes a core copies a second.
    copy: f64,
    /// How much of a core the rank has that has least.
    pub(super) cores: f64,
}

impl Best {
    /// How many seconds a slot of `geometry` takes at best: a rank seals what leaves in all phases, opens what arrives in all of
    /// them, and copies what it sends.
    pub(super) fn slot(self, geometry: &Geometry) -> f64 {
        let bytes = geometry.slot_bytes() as f64;
        (2.0 * bytes / self.aes + bytes / self.copy) / self.cores.min(1.0)
    }
}

/// Prints a row for the whole of the slots of `case` and one for each part of them. `alone` are the readings of the plain loop, `blocks`
/// says how blocks travelled.
fn print(
    table: &Sheet,
    case: &SlotCase,
    readings: &[Vec<Reading>],
    alone: &[Vec<Reading>],
    best: Option<Best>,
    blocks: &'static str,
) -> Result<(), RunError> {
    let SlotCase { geometry, linked, plain, .. } = case;
    let mean = |ranks: &Vec<Reading>| ranks.iter().map(|reading| reading.total).sum::<f64>() / ranks.len() as f64;
    let turns = readings.iter().zip(alone).map(|(ours, alone)| mean(ours) / mean(alone));
    let to_alone = Spread::of(turns).filter(|_| !plain);
    let part = |name: &'static str, number: &dyn Fn(&Reading) -> f64, whole: bool| {
        let Some(time) = OverRanks::of(readings, number) else { return Ok(()) };
        let [avg, min, max, low, high] = time.in_micros();
        let rate = geometry.slot_bytes() as f64 / time.avg.median * 1e-9;
        let of_best = best.map(|best| 100.0 * best.slot(geometry) / time.avg.median);
        table.row(&[
            u64::from(geometry.ranks).into(),
            u64::from(geometry.hops).into(),
            (geometry.cell(Phase(1)) as u64).into(),
            blocks.into(),
            if *linked { "all" } else { "off" }.into(),
            name.into(),
            avg,
            min,
            max,
            low,
            high,
            Entry::from(Some(rate).filter(|_| whole)),
            Entry::from(of_best.filter(|_| whole)),
            Entry::from(to_alone.map(|ratio| ratio.median).filter(|_| whole)),
            Entry::from(to_alone.map(|ratio| ratio.low).filter(|_| whole)),
            Entry::from(to_alone.map(|ratio| ratio.high).filter(|_| whole)),
        ])
    };
    if *plain {
        return part("alone", &|reading| reading.total, true);
    }
    part("slot", &|reading| reading.total, true)?;
    NAMES.iter().enumerate().try_for_each(|(i, name)| part(name, &|reading| reading.parts[i], false))
}
