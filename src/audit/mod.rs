//! What `mixnn audit` does: it plays the adversary (docs/AUDIT.md). It plays many short runs of a job, each with a plan
//! and keys of its own, records them at the transport, and asks what was recorded who is who.
//!
//! [`course`] says which runs are played: the job's own and, as controls, some with a defence off. [`mod@play`] plays
//! one run, with a [`record`]er at every rank and an ear for the [`truth`]. [`view`] is what someone sees of a run.
//! [`volume`] and [`time`] make features of that, and [`contents`] looks for a stage's own cells. [`question`] makes
//! cases. [`attack`] learns from half of the runs to answer the cases of the other half. [`verdict`] says what that
//! comes to, and [`mod@print`] and [`html`] show it.
//!
//! Three channels are told apart. *Volume and order* are lengths, ends, tags and numbers of messages, the number of
//! slots, and what a rank's number says. *Time* is when anything leaves or arrives, and so also who comes before whom.
//! *Contents* are bits that a stage knows again.

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

use attack::Advantages;
use course::{AUTO, Course, Courses, LOCKSTEP};
use play::Played;
use question::{Ask, Cases, Channel, Question, Who};
use verdict::Row;

use crate::job::{LinkEncryption, Profile};
use crate::run::RunError;

/// How many times the job runs, unless someone asks for another number.
pub const RUNS: u32 = 1000;
/// How many slots of training a run has at most, unless someone asks for another number.
pub const SLOTS: u32 = 48;
/// The fewest runs from which anything can be learned.
pub const FEWEST_RUNS: u32 = 40;

/// Why no audit is played.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The job cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// So few runs were asked for that nothing could be learned from them.
    #[error("{found} runs show nothing; take at least {FEWEST_RUNS} (--runs), half of which are learned from")]
    TooFewRuns {
        /// How many runs were asked for.
        found: u32,
    },
    /// The user has stopped the audit before enough runs were played to learn anything from.
    #[error("stopped behind {found} runs of the job, which show nothing; it takes at least {FEWEST_RUNS}")]
    Stopped {
        /// How many runs of the job were played.
        found: usize,
    },
    /// So many ranks are to collude that none is left to ask about.
    #[error(
        "{found} of {ranks} ranks are to collude; take 1 to {} (--colluders), so that two ranks besides the owner are left to \
         tell apart, or more ranks (--ranks)",
        ranks.saturating_sub(3)
    )]
    Colluders {
        /// How many colluders were asked for.
        found: u16,
        /// How many ranks play.
        ranks: u16,
    },
}

impl AuditError {
    /// The code with which the process exits because of this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            AuditError::Run(error) => error.exit_code(),
            AuditError::TooFewRuns { .. } | AuditError::Colluders { .. } => 2,
            AuditError::Stopped { .. } => 3,
        }
    }
}

/// How an audit is to be played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many ranks play. `None`: the fewest that the job needs in profile `mixed`.
    pub ranks: Option<u16>,
    /// How many times the job runs. Its controls take more runs.
    pub runs: u32,
    /// How many slots of training a run has at most, unless a single micro-batch takes more.
    pub slots: u32,
    /// How many ranks collude. Which ones is drawn anew in each run.
    pub colluders: u16,
}

/// What an audit has come to: all that its table and its page show.
pub struct Audit {
    /// The name that the job gives itself.
    job: String,
    /// The profile that the job names.
    profile: Profile,
    /// The pace that the job names.
    pace: String,
    /// How many ranks have played.
    ranks: u16,
    /// How many ranks colluded.
    colluders: u16,
    /// How many runs were played of the job, and of all its controls together.
    runs: [usize; 2],
    /// How many slots a run of the job had, on average.
    slots: f64,
    /// How many cores this machine has.
    cores: usize,
    /// How many threads ran at once.
    threads: usize,
    /// In how many slots a phase began later than the pace says, summed over the job's runs. `None` where there was no
    /// pace.
    overran: Option<u64>,
    /// The rows of the table.
    rows: Vec<Row>,
    /// How long the audit has taken.
    took: Duration,
}

/// Plays the audit of the job at `path`, with the settings `sets` on top. Tells `progress` how many runs are over, and
/// of how many. Plays no more where `progress` says `false`: the table is then that of the runs until there.
///
/// # Errors
/// [`AuditError`]. [`AuditError::Stopped`] where so few were played that they show nothing.
pub fn audit(
    path: &Path,
    sets: &[String],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> bool,
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
    let Observations { cases, played, slots, overran } = play(&courses, colluders, progress)?;
    if played[0] < FEWEST_RUNS as usize {
        return Err(AuditError::Stopped { found: played[0] });
    }
    let rows = rows(&courses, &cases);
    let own = &courses.all[0];
    let count = |(course, played): (&Course, &usize)| played * (1 + usize::from(course.b.is_some()));
    let mut counts = courses.all.iter().zip(&played).map(count);
    let per_rank = if courses.pace == LOCKSTEP { 1 } else { 2 };
    Ok(Audit {
        job: own.a.job.name.clone(),
        profile: courses.profile,
        pace: courses.pace.clone(),
        ranks,
        colluders,
        runs: [counts.next().unwrap_or(0), counts.sum()],
        slots,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: per_rank * usize::from(ranks),
        overran,
        rows,
        took: began.elapsed(),
    })
}

/// What all runs have left behind.
struct Observations {
    /// The cases of each course, by course.
    cases: Vec<Cases>,
    /// How often each course was played, by course.
    played: Vec<usize>,
    /// How many slots a run of the job had, on average.
    slots: f64,
    /// As in [`Audit::overran`]: slots of the job's runs that overran their pace. `None` where there was no pace.
    overran: Option<u64>,
}

/// Plays all runs of all courses, or those until `progress` says `false`. Courses take turns, so that a machine that changes its speed does
/// so in all of them.
fn play(
    courses: &Courses,
    colluders: u16,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Observations, RunError> {
    let ranks = courses.ranks;
    // The first run warms up memory, threads and the processor's clock. Nothing of it is kept.
    Played::run(&courses.all[0].a, ranks)?;
    // Each run of a course gets a place between 0 and 1, so that the courses' runs are spread alike over the whole
    // time.
    let mut turns: Vec<(f64, usize, usize)> = Vec::new();
    for (number, course) in courses.all.iter().enumerate() {
        turns.extend((0..course.runs).map(|run| ((run as f64 + 0.5) / course.runs as f64, number, run)));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut cases: Vec<Cases> = courses.all.iter().map(|_| Cases::default()).collect();
    let mut counts = vec![0; courses.all.len()];
    let (mut slots, mut overran) = (0, Some(0));
    let mut rng = rand::rng();
    let of = turns.len();
    for (turn, (_, number, run)) in turns.into_iter().enumerate() {
        let Course { a, b, asks, .. } = &courses.all[number];
        // Which model runs first is drawn, so that it does not tell them apart.
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
        counts[number] += 1;
        if !progress(turn + 1, of) {
            break;
        }
    }
    let slots = slots as f64 / counts[0].max(1) as f64;
    Ok(Observations { cases, played: counts, slots, overran })
}

/// The rows of the table: what the attacks find in the job's runs, and what they find in the control's.
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
            found: Advantages::of(cases[0].of(ask)),
            control: control
                .map(|(course, cases)| (course.without.unwrap_or_default(), Advantages::of(cases.of(ask)))),
            expected: expected(courses, question, channel),
        }
    };
    asks.into_par_iter().map(row).collect()
}

/// Why an attack on `channel` may answer `question` against the job. `None` where the job's profile and pace promise that
/// it does not.
fn expected(courses: &Courses, question: Question, channel: Channel) -> Option<&'static str> {
    match (courses.profile, channel) {
        (_, Channel::Contents) => (courses.link == LinkEncryption::Off)
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
        // Only the owner chooses a time that suits the model: a job that names one gives all models the same.
        (Profile::Mixed, Channel::Time) if question == Question::Model && courses.pace == AUTO => Some(
            "the time for work suits the model's slowest stage; mix.pace = \"2ms\", say, gives all models the same",
        ),
        (Profile::Mixed, _) => None,
    }
}

#[cfg(test)]
mod tests;
