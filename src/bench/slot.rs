//! `mixnn bench slot`: what a slot costs, by ranks, hops, cells, and how blocks travel; and where its time goes. No role works in
//! it: this is the price of mixing alone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::ceilings::Ceiling;
use super::crew::{Crew, Duty, OverRanks, PARTS, Reading, meet};
use super::rounds::Spread;
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::crypto::aead::{Library, TAG};
use crate::crypto::key::Key;
use crate::crypto::sealer::CpuSealer;
use crate::ids::{Phase, Rank, Slot, Term};
use crate::mix::MixError;
use crate::mix::clock::Clock;
use crate::mix::courier::{Courier, Post, Timing, Word};
use crate::mix::geometry::Geometry;
use crate::mix::package::{Route, TermSecrets, mixed_routes};
use crate::mix::plan::Plan;
use crate::mix::slot::Mixer;
use crate::run::RunError;
use crate::transport::{Lane, Transport};

/// The fewest ranks that mix.
pub const FEWEST: u16 = 6;
/// The longest cell, and the longest message, that may be asked for, in bytes.
pub const LONGEST: u32 = 1 << 26;
/// The lengths of the cells that are tried, in bytes, unless the user names others.
pub const CELLS: [u32; 3] = [1024, 5888, 16_384];
/// How many slots are run at a time, unless the user names a number.
pub const SLOTS: u32 = 200;

/// The run id under which slots are sealed. Nothing in them is secret.
const RUN: [u8; 32] = [7; 32];
/// The stages of the plans: their number changes nothing of a slot.
const STAGES: u16 = 3;
/// Where the time of a slot goes, in the order of a [`Reading`]'s parts.
const NAMES: [&str; PARTS] = ["seal", "exchange", "wait", "peel", "open"];

/// Slots of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SlotCase {
    /// All lengths.
    pub geometry: Geometry,
    /// Whether ranks of one host exchange blocks through memory that they share.
    pub windows: bool,
    /// Whether there is a keystream over all links.
    pub linked: bool,
    /// Whether the mix is left out: the same cells are sealed, exchanged and opened in a plain loop, with one key and no plan.
    pub plain: bool,
    /// How many slots are run.
    pub slots: u32,
    /// The number of the term, which no two measurements share.
    pub term: u32,
    /// How many bytes the letter with a rank's route has.
    pub route: u32,
}

/// What is to be measured.
pub struct SlotsAsked {
    /// How many ranks take part. `None`: all that there are.
    pub ranks: Option<u16>,
    /// Numbers of hops.
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
const COLUMNS: [Column; 16] = [
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
    for hops in &asked.hops {
        for cell in &asked.cells {
            let geometry = one_cell(ranks, *hops, *cell)?;
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
                case.print(&table, readings, alone, best, bench.crew.blocks(case.windows))?;
            }
            if bench.rounds.is_over() {
                return Ok(());
            }
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
    ) -> Result<(Vec<Vec<Vec<Reading>>>, Option<Best>), RunError> {
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
    fn measure(&mut self, crew: &mut Crew<'_>, case: SlotCase) -> Result<Vec<Reading>, RunError> {
        if case.plain {
            return crew.measure(case.geometry.ranks, Duty::Slots(case), &[]);
        }
        let Geometry { ranks, hops, .. } = case.geometry;
        let plan = match self.plans.entry((ranks, hops)) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
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
    cores: f64,
}

impl Best {
    /// How many seconds a slot of `geometry` takes at best: a rank seals what leaves in all phases, opens what arrives in all of
    /// them, and copies what it sends.
    pub(super) fn slot(self, geometry: &Geometry) -> f64 {
        let bytes = geometry.slot_bytes() as f64;
        (2.0 * bytes / self.aes + bytes / self.copy) / self.cores.min(1.0)
    }
}

impl SlotCase {
    /// So many slots of these lengths, as a run has them on one host.
    pub(super) fn of(geometry: Geometry, slots: u32) -> Self {
        Self { geometry, windows: true, linked: false, plain: false, slots, term: 0, route: 0 }
    }

    /// Runs the slots on one rank, whose route is in `letters` on the owner and comes from there elsewhere. Returns what one slot took.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn reading(self, transport: &mut dyn Transport, letters: &[Vec<u8>]) -> Result<Reading, RunError> {
        transport.share_memory(self.windows);
        match self.plain {
            true => self.plain(transport),
            false => self.mixed(transport, letters),
        }
    }

    /// Does what [`reading`](Self::reading) does, with slots of the mix.
    fn mixed(self, transport: &mut dyn Transport, letters: &[Vec<u8>]) -> Result<Reading, RunError> {
        let Self { geometry, slots, term, route, .. } = self;
        let bytes = transport.letters().scatter(letters, route as usize)?;
        let unreadable = || RunError::Unreadable { what: "a route", from: Rank::OWNER };
        let (route, _): (Route, _) = postcard::take_from_bytes(&bytes).map_err(|_| unreadable())?;
        let Route::Mixed(route) = route else { return Err(unreadable()) };
        let sealer = CpuSealer::<Vec<u8>>::new(Library::fastest(geometry.payload as usize), b"bench".to_vec());
        let spins = transport.membership().cores.each_has(1);
        let mut mixer =
            Mixer::new(transport.lanes(), sealer, geometry, route, &RUN, Term(term), Clock::new(None, spins))?;
        let Ok(mut post) = Post::new(|| Ok::<_, Infallible>(vec![0; geometry.message()]));
        let mut timing = Timing::default();
        meet(transport)?;
        let started = Instant::now();
        for slot in 0..slots {
            mixer.slot(transport.lanes(), Slot(slot.into()), Word::WELL, &mut post, &mut timing)?;
        }
        let each = 1.0 / f64::from(slots.max(1));
        let parts = [timing.seal, timing.exchange, timing.wait, timing.peel, timing.open];
        Ok(Reading {
            total: started.elapsed().as_secs_f64() * each,
            parts: parts.map(|part| part.as_secs_f64() * each),
        })
    }

    /// Does what [`reading`](Self::reading) does, with a plain loop that seals, exchanges and opens the same cells.
    fn plain(self, transport: &mut dyn Transport) -> Result<Reading, RunError> {
        let Self { geometry, slots, .. } = self;
        let (payload, block) = (geometry.payload as usize, geometry.block(Phase(1)));
        let lanes: Vec<Lane> = Rank::all(geometry.ranks)
            .filter(|peer| *peer != transport.rank())
            .map(|peer| Lane { peer, tag: 0, length: block })
            .collect();
        transport.lanes().lay(&lanes, &lanes, None)?;
        let key = Library::fastest(payload).key(&Key::from_bytes([1; 32]));
        let (message, mut inbox) = (vec![0_u8; payload], vec![0_u8; payload]);
        meet(transport)?;
        let started = Instant::now();
        for slot in 0..u64::from(slots) {
            // The same nonce in every lane: nothing here is secret.
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&slot.to_le_bytes());
            for to in transport.lanes().blocks().0 {
                let to = to.as_mut();
                key.seal(&nonce, &[], &message, &mut to[..payload + TAG]);
                for layer in 2..=usize::from(geometry.hops) {
                    key.seal_in_place(&nonce, &[], &mut to[..payload + layer * TAG]);
                }
            }
            for phase in Phase::all(geometry.hops) {
                let cell = geometry.cell(phase);
                let lengths = vec![cell; lanes.len()];
                transport.lanes().exchange(phase, &lengths, &lengths).map_err(MixError::from)?;
                let (outgoing, incoming) = transport.lanes().blocks();
                for (from, to) in incoming.iter().zip(outgoing) {
                    let to = if phase.0 == geometry.hops { &mut inbox[..] } else { &mut to.as_mut()[..cell - TAG] };
                    let opened = key.open(&nonce, &[], &from.as_ref()[..cell], to);
                    assert!(opened.is_ok(), "a peer has sealed it with the same key");
                }
            }
        }
        Ok(Reading::of(started.elapsed().as_secs_f64() / f64::from(slots.max(1))))
    }

    /// A case whose numbers are as long as they may be on the way.
    #[cfg(test)]
    pub(super) fn longest() -> Self {
        let geometry = Geometry { ranks: u16::MAX, hops: u8::MAX, cells: u32::MAX, payload: u32::MAX };
        let most = u32::MAX;
        Self { geometry, windows: true, linked: true, plain: true, slots: most, term: most, route: most }
    }

    /// Prints a row for the whole slot and one for each part of it. `alone` are the readings of the plain loop, `blocks` says how blocks
    /// travelled.
    fn print(
        &self,
        table: &Sheet,
        readings: &[Vec<Reading>],
        alone: &[Vec<Reading>],
        best: Option<Best>,
        blocks: &'static str,
    ) -> Result<(), RunError> {
        let Self { geometry, linked, plain, .. } = self;
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
}
