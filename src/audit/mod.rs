//! What `mixnn audit` does: it plays the adversary (docs/AUDIT.md). Many short runs of a job, each with a plan and keys of its
//! own, are recorded at the transport, and what was recorded is asked who is who.
//!
//! [`course`] says which runs are played: the job's own and, as controls, some with a defence off. [`mod@play`] plays one, with a
//! [`record`]er at every rank and an ear for the [`truth`]. [`view`] is what someone sees of it; [`volume`] and [`time`] make
//! features of that, [`contents`] looks for a stage's own cells, [`question`] makes cases, and [`attack`] learns from half of the runs to answer those of the other half.
//! [`verdict`] says what that comes to, [`mod@print`] and [`html`] show it.
//!
//! Three channels are told apart. *Volume and order*: lengths, ends, tags and numbers of messages, the number of slots, and
//! what a rank's number says. *Time*: when anything leaves or arrives, and so also who comes before whom. *Contents*: bits that
//! a stage knows again.

mod attack;
mod contents;
mod course;
mod html;
mod play;
mod print;
mod question;
mod record;
mod time;
mod truth;
mod verdict;
mod view;
mod volume;

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use thiserror::Error;

use attack::Found;
use course::{Course, Courses, LOCKSTEP};
use play::Played;
use question::{Ask, Cases, Channel, Question, Who};
use verdict::Row;

use crate::job::{Link, Profile};
use crate::run::RunError;

/// Runs of the job, unless someone asks for another number.
pub const RUNS: u32 = 1000;
/// Slots of training in a run, at most, unless someone asks for another number.
pub const SLOTS: u32 = 48;
/// The fewest runs from which anything can be learned.
pub const FEWEST_RUNS: u32 = 40;

/// Why there is no audit.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The job cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too few runs.
    #[error("{found} runs show nothing; take at least {FEWEST_RUNS} (--runs), half of which are learned from")]
    TooFewRuns {
        /// Runs asked for.
        found: u32,
    },
    /// So many colluders that no rank is left.
    #[error(
        "{found} of {ranks} ranks are to collude; take 1 to {} (--colluders), so that two ranks besides the owner are left to \
         tell apart, or more ranks (--ranks)",
        ranks.saturating_sub(3)
    )]
    Colluders {
        /// Colluders asked for.
        found: u16,
        /// Ranks that play.
        ranks: u16,
    },
}

impl AuditError {
    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            AuditError::Run(error) => error.exit_code(),
            AuditError::TooFewRuns { .. } | AuditError::Colluders { .. } => 2,
        }
    }
}

/// How an audit is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Ranks that play; by default the fewest that the job needs in profile `mixed`.
    pub ranks: Option<u16>,
    /// Runs of the job. Its controls take more.
    pub runs: u32,
    /// Slots of training in a run, at most, unless a single micro-batch takes more.
    pub slots: u32,
    /// Ranks that collude, drawn anew in each run.
    pub colluders: u16,
}

/// An audit's figures.
pub struct Audit {
    /// The job's name.
    job: String,
    /// The job's profile.
    profile: Profile,
    /// The job's pace.
    pace: String,
    ranks: u16,
    colluders: u16,
    /// Runs of the job, and of all controls.
    runs: [usize; 2],
    /// Slots of the job's runs, on average.
    slots: f64,
    /// Cores of this machine.
    cores: usize,
    /// Threads that ran at once.
    threads: usize,
    /// Slots that took longer than their pace allows, where that is known.
    overran: Option<u64>,
    rows: Vec<Row>,
    took: Duration,
}

/// Plays the audit of the job at `path` with `sets` on top; tells `progress` how many runs are over, and of how many.
///
/// # Errors
/// [`AuditError`].
pub fn audit(
    path: &Path,
    sets: &[String],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Audit, AuditError> {
    let began = Instant::now();
    if options.runs < FEWEST_RUNS {
        return Err(AuditError::TooFewRuns { found: options.runs });
    }
    let courses = Courses::of(path, sets, options)?;
    let (ranks, colluders) = (courses.ranks, options.colluders);
    if colluders == 0 || colluders + 3 > ranks {
        return Err(AuditError::Colluders { found: colluders, ranks });
    }
    let Record { cases, slots, overran } = play(&courses, colluders, progress)?;
    let rows = rows(&courses, &cases);
    let own = &courses.all[0];
    let count = |course: &Course| course.runs * (1 + usize::from(course.b.is_some()));
    let per_rank = if courses.pace == LOCKSTEP { 1 } else { 2 };
    Ok(Audit {
        job: own.a.job.name.clone(),
        profile: courses.profile,
        pace: courses.pace.clone(),
        ranks,
        colluders,
        runs: [count(own), courses.all[1..].iter().map(count).sum()],
        slots,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: per_rank * usize::from(ranks),
        overran,
        rows,
        took: began.elapsed(),
    })
}

/// What all runs leave.
struct Record {
    /// By course.
    cases: Vec<Cases>,
    /// Slots of a run of the job, on average.
    slots: f64,
    /// See [`Audit::overran`].
    overran: Option<u64>,
}

/// Plays all runs of all courses, turn about, so that a machine that changes its speed does so in all of them.
fn play(courses: &Courses, colluders: u16, progress: &mut dyn FnMut(usize, usize)) -> Result<Record, RunError> {
    let ranks = courses.ranks;
    // The first run warms up: memory, threads, the processor's clock.
    Played::run(&courses.all[0].a, ranks)?;
    let mut turns: Vec<(f64, usize, usize)> = Vec::new();
    for (number, course) in courses.all.iter().enumerate() {
        turns.extend((0..course.runs).map(|run| ((run as f64 + 0.5) / course.runs as f64, number, run)));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut cases: Vec<Cases> = courses.all.iter().map(|_| Cases::default()).collect();
    let (mut slots, mut overran) = (0, Some(0));
    let mut rng = rand::rng();
    let of = turns.len();
    for (turn, (_, number, run)) in turns.into_iter().enumerate() {
        let Course { a, b, asks, .. } = &courses.all[number];
        // Which model runs first must not tell them apart.
        let b_first = rand::random::<bool>();
        let other = |due: bool| b.as_ref().filter(|_| due).map(|b| Played::run(b, ranks)).transpose();
        let early = other(b_first)?;
        let played = Played::run(a, ranks)?;
        let late = other(!b_first)?;
        if number == 0 {
            slots += played.slots();
            overran = overran.zip(played.overran).map(|(sum, slots)| sum + slots);
        }
        cases[number].add(asks, run, &played, colluders, &mut rng);
        if let Some(second) = early.or(late) {
            cases[number].add_models(asks, run, [&played, &second], colluders, &mut rng);
        }
        progress(turn + 1, of);
    }
    Ok(Record { cases, slots: slots as f64 / courses.all[0].runs as f64, overran })
}

/// The table: what each attack finds in the job's runs, and in the control's.
fn rows(courses: &Courses, cases: &[Cases]) -> Vec<Row> {
    let mut asks: Vec<Ask> = Vec::new();
    for channel in [Channel::Volume, Channel::Time] {
        for question in [Question::Role, Question::Order, Question::Cover, Question::Model] {
            asks.extend([Who::Observer, Who::Colluders].map(|who| (question, who, channel)));
        }
    }
    if courses.profile == Profile::Mixed {
        asks.push((Question::Neighbours, Who::Insider, Channel::Contents));
    }
    let row = |ask: Ask| {
        let (question, _, channel) = ask;
        let control =
            courses.all.iter().zip(cases).skip(1).find(|(course, _)| course.asks.contains(&(question, channel)));
        Row {
            ask,
            found: Found::of(cases[0].of(ask)),
            control: control.map(|(course, cases)| (course.without.unwrap_or_default(), Found::of(cases.of(ask)))),
            expected: expected(courses, channel),
        }
    };
    asks.into_par_iter().map(row).collect()
}

/// Why the attack on `channel` may win.
fn expected(courses: &Courses, channel: Channel) -> Option<&'static str> {
    match (courses.profile, channel) {
        (_, Channel::Contents) => (courses.link == Link::Off)
            .then_some("mix.link = \"off\" leaves that to a network that encrypts; \"all\" closes it"),
        (Profile::Bare, _) => Some("profile bare hides nothing; mix.profile = \"mixed\" does"),
        (Profile::Sealed, Channel::Volume) => {
            Some("profile sealed hides contents alone; mix.profile = \"mixed\" closes it")
        }
        (_, Channel::Time) if courses.pace == LOCKSTEP => {
            Some("lockstep does not hide times; mix.pace = \"auto\" closes it")
        }
        (Profile::Sealed, Channel::Time) => {
            Some("profile sealed hides contents alone; mix.profile = \"mixed\" closes it")
        }
        (Profile::Mixed, _) => None,
    }
}

#[cfg(test)]
mod tests;
