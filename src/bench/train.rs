//! `mixnn bench train`: a job over profiles, hops, relays and paces, beside the same job in one process. All of them compute the same
//! bits, so that nothing but the time differs.

use std::path::Path;

use super::crew::Crew;
use super::rounds::{Rounds, Spread};
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::job::{Job, Profile};
use crate::run::kept::results::Outcome;
use crate::run::prepare::Prepared;
use crate::run::{RunError, is_here, owner, single};

/// What is to be measured.
pub struct TrainAsked {
    /// The job's settings, as `key=value`, on top of its file.
    pub sets: Vec<String>,
    /// Profiles, in the order of the table.
    pub profiles: Vec<Mode>,
    /// For `mixed`: numbers of hops. Empty: the job's.
    pub hops: Vec<u8>,
    /// For `mixed`: numbers of relays. Empty: the job's.
    pub relays: Vec<u16>,
    /// For `mixed`: what decides when messages leave, as `mix.pace` says it. Empty: the job's.
    pub paces: Vec<String>,
    /// How many epochs a run has. The last one is timed.
    pub epochs: u32,
}

/// How a job is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In one process, without messages.
    Single,
    /// On ranks, in this profile.
    Ranks(Profile),
}

impl Mode {
    /// All ways, from the least protected to the most.
    pub const ALL: [Self; 4] =
        [Self::Single, Self::Ranks(Profile::Bare), Self::Ranks(Profile::Sealed), Self::Ranks(Profile::Mixed)];

    /// The word for it on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Single => "single",
            Mode::Ranks(profile) => profile.name(),
        }
    }
}

/// A row of the table: a job that is ready to run.
struct TrainCase {
    way: Mode,
    prepared: Prepared,
}

/// What one run came to.
struct Timed {
    seconds: f64,
    outcome: Outcome,
}

/// The columns of the table.
pub(super) const COLUMNS: [Column; 14] = [
    Column::of("way", "way", "", 7),
    Column::of("ranks", "ranks", "", 5),
    Column::of("hops", "hops", "", 4),
    Column::of("relays", "relays", "", 6),
    Column::of("pace", "pace", "", 9),
    Column::measured("median_s", "median", "s", 3),
    Column::measured("low_s", "low", "s", 3),
    Column::measured("high_s", "high", "s", 3),
    Column::measured("to_single", "to single", "", 2),
    Column::of("slots", "slots", "", 8),
    Column::of("overran", "overran", "", 8),
    Column::measured("rank_mb", "a rank", "MB", 1),
    Column::of("weights", "weights", "", 12),
    Column::of("rounds", "rounds", "", 6),
];

/// How many digits of the weights' digest are shown.
const DIGITS: usize = 12;

/// Runs the job at `path` in all ways that are asked for and prints a row for each.
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, path: &Path, asked: &TrainAsked) -> Result<(), BenchError> {
    let cases = cases(path, asked)?;
    let most = cases.iter().map(TrainCase::ranks).max().unwrap_or(1);
    bench.ranks(Some(most), 1)?;
    for case in &cases {
        is_here(case.prepared.job.compute)?;
        if case.way != Mode::Single {
            owner::can_run(&case.prepared, case.ranks())?;
        }
    }
    let Some(first) = cases.first() else { return Ok(()) };
    let settings = [
        ("job", format!("{}, batch {}", first.prepared.job.name, first.prepared.job.train.batch)),
        ("seed", first.prepared.job.seed.clone()),
        ("time", format!("of epoch {} of {0}, with validation and test", asked.epochs)),
        ("median", "of the rounds, with the least and the largest".to_owned()),
        ("a rank", "what a rank sends in an epoch, a mean over the ranks".to_owned()),
        ("to single", "time by that of one process, the median of the rounds".to_owned()),
    ];
    let machine = bench.crew.machine(most)?;
    let table = Sheet::begin(bench.format, "train", &machine, &settings, &COLUMNS)?;
    // The first epoch of a run warms up, where it has several.
    let rounds = Rounds { warms_up: asked.epochs == 1, ..bench.rounds };
    let crew = &mut bench.crew;
    let measured = rounds.in_turns(&cases, |case| case.run(crew))?;
    let alone = cases.iter().position(|case| case.way == Mode::Single);
    for (case, ran) in cases.iter().zip(&measured) {
        let Some(spread) = Spread::of(ran.iter().map(|ran| ran.seconds)) else { continue };
        let ratios = alone.and_then(|alone| {
            let turns = ran.iter().zip(&measured[alone]);
            Spread::of(turns.map(|(ran, single)| ran.seconds / single.seconds))
        });
        case.print(&table, spread, ratios, ran)?;
    }
    Ok(())
}

/// The job in all ways that are asked for. They share its data.
fn cases(path: &Path, asked: &TrainAsked) -> Result<Vec<TrainCase>, RunError> {
    let sets = |more: &[String]| {
        let fixed = [format!("train.epochs={}", asked.epochs), "output.timing=false".to_owned()];
        [&asked.sets, &fixed[..], more].concat()
    };
    let whole = Prepared::load(path, &sets(&[]))?;
    let mut cases = Vec::new();
    let mut add = |way: Mode, more: &[String]| -> Result<(), RunError> {
        // A seed that the job does not name is drawn once, for all.
        let seed = format!("seed={:?}", whole.job.seed);
        let job = Job::load(path, &sets(&[&[seed], more].concat()))?;
        cases.push(TrainCase { way, prepared: whole.with(job)? });
        Ok(())
    };
    for way in &asked.profiles {
        let profile = match way {
            Mode::Single => String::new(),
            Mode::Ranks(profile) => format!("mix.profile={:?}", profile.name()),
        };
        let profile: Vec<String> = Some(profile).filter(|profile| !profile.is_empty()).into_iter().collect();
        if *way != Mode::Ranks(Profile::Mixed) {
            add(*way, &profile)?;
            continue;
        }
        for hops in or_none(&asked.hops) {
            for relays in or_none(&asked.relays) {
                for pace in or_none(&asked.paces) {
                    let mut more = profile.clone();
                    more.extend(hops.map(|hops| format!("mix.hops={hops}")));
                    more.extend(relays.map(|relays| format!("mix.relays={relays}")));
                    more.extend(pace.map(|pace| format!("mix.pace={pace:?}")));
                    add(*way, &more)?;
                }
            }
        }
    }
    Ok(cases)
}

/// All of `values`, or once none where there are none.
fn or_none<T>(values: &[T]) -> Vec<Option<&T>> {
    match values.is_empty() {
        true => vec![None],
        false => values.iter().map(Some).collect(),
    }
}

/// How many megabytes a rank sends in an epoch of a run.
fn megabytes(outcome: &Outcome) -> f64 {
    outcome.wire_bytes_per_rank as f64 * 1e-6 / outcome.epochs.len().max(1) as f64
}

impl TrainCase {
    /// How many ranks it runs on.
    fn ranks(&self) -> u16 {
        match self.way {
            Mode::Single => 1,
            Mode::Ranks(_) => self.prepared.job.ranks(),
        }
    }

    /// Runs it once, with the ranks of `crew`.
    fn run(&self, crew: &mut Crew<'_>) -> Result<Timed, RunError> {
        let (outcome, _) = match self.way {
            Mode::Single => single::run(&self.prepared, &mut ())?,
            Mode::Ranks(_) => crew.train(self.ranks(), &self.prepared)?,
        };
        let seconds = outcome.epochs.last().map_or(outcome.seconds, |epoch| epoch.seconds);
        Ok(Timed { seconds, outcome })
    }

    /// Prints the row of what `ran` came to.
    fn print(&self, table: &Sheet, spread: Spread, ratios: Option<Spread>, ran: &[Timed]) -> Result<(), RunError> {
        let Spread { median, low, high } = spread;
        let (mix, mixes) = (&self.prepared.job.mix, self.way == Mode::Ranks(Profile::Mixed));
        let last = ran.last().map(|ran| &ran.outcome);
        let slots =
            last.and_then(|outcome| outcome.epochs.last()).map(|epoch| epoch.slots).filter(|slots| *slots > 0);
        let stages = self.prepared.job.remote().len() as u16;
        let mut digests: Vec<&str> = ran.iter().map(|ran| &*ran.outcome.weights_sha256).collect();
        digests.dedup();
        let weights = match digests[..] {
            [one] => one.get(..DIGITS).unwrap_or(one),
            _ => "DIFFER",
        };
        table.row(&[
            self.way.name().into(),
            u64::from(self.ranks()).into(),
            Some(u64::from(mix.hops)).filter(|_| mixes).into(),
            Some(u64::from(self.ranks() - 1 - stages.min(self.ranks() - 1))).filter(|_| mixes).into(),
            Entry::from(Some(mix.pace.to_string()).filter(|_| mixes).as_deref()),
            median.into(),
            low.into(),
            high.into(),
            ratios.map(|ratios| ratios.median).into(),
            slots.into(),
            last.map(|outcome| outcome.overran).filter(|_| mixes).into(),
            last.map(megabytes).filter(|_| self.way != Mode::Single).into(),
            weights.into(),
            (ran.len() as u64).into(),
        ])
    }
}
