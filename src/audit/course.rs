//! Which runs are played: those of the job itself, shortened, and as controls those with a defence off.
//!
//! Every course plays the job itself (A). Where the network can be told from another at all, it also plays a second
//! model (B) of other widths. All that changes a job stands here.

use std::path::Path;

use super::question::{Channel, Question};
use super::{FEWEST_RUNS, Options};
use crate::job::op::Linear;
use crate::job::{Init, Job, LinkEncryption, Mix, Op, Pace, Profile};
use crate::pipeline::DataPass;
use crate::run::RunError;
use crate::run::owner::can_run;
use crate::run::prepare::Prepared;

/// Where all hidden widths are at least this, the second model has half of each. Else it has twice of each.
const WIDE: u32 = 16;
/// How many runs the control in profile `sealed` has at least. One colluder seldom sees two stages' neighbours there,
/// so it takes many; they are short.
const SEALED: usize = 160;
/// How many runs the controls in profile `bare` and without links have at least.
const BARE: usize = 80;
/// The name of the pace under which slots start as soon as their ranks are ready.
pub(super) const LOCKSTEP: &str = "lockstep";
/// The name of the pace that the owner chooses by how long ranks work.
pub(super) const AUTO: &str = "auto";

/// Settings that are laid on top of any job: a single epoch, and one thread for arithmetic.
const SHORT: [&str; 2] = ["train.epochs=1", "compute.threads=1"];

/// Runs of one kind: a job, a second model of it, and what is asked of them.
pub(super) struct Course {
    /// The name of the defence that is off. `None` for the job's own runs.
    pub(super) without: Option<&'static str>,
    /// The job, made ready (A).
    pub(super) a: Prepared,
    /// The job with another model, made ready (B). `None` where this course is not asked to tell models apart, or
    /// cannot be.
    pub(super) b: Option<Prepared>,
    /// How often A runs, and B as often.
    pub(super) runs: usize,
    /// What this course is asked.
    pub(super) asks: Vec<(Question, Channel)>,
}

/// All courses of an audit, and what they have in common.
pub(super) struct Courses {
    /// The courses. The first is the job itself, the others are its controls.
    pub(super) all: Vec<Course>,
    /// The job's pace, as the job names it.
    pub(super) pace: String,
    /// The job's profile: how its messages travel.
    pub(super) profile: Profile,
    /// Between which ranks the job has links. In an audit each rank has a host of its own.
    pub(super) link: LinkEncryption,
    /// How many ranks play.
    pub(super) ranks: u16,
}

impl Courses {
    /// Reads the job at `path` with the settings `sets` on top. Makes it and its controls ready, as `options` say.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn of(path: &Path, sets: &[String], options: &Options) -> Result<Self, RunError> {
        let runs = options.runs as usize;
        let short_sets = SHORT.iter().map(|set| (*set).to_owned());
        let mut job = Job::load(path, &sets.iter().cloned().chain(short_sets).collect::<Vec<String>>())?;
        // Each rank has a host of its own here. Only `mixed` knows a pace.
        job.mix.pace = job.mix.pace.among(job.mix.profile != Profile::Mixed);
        let (profile, link, pace) = (job.mix.profile, job.mix.link, job.mix.pace.to_string());
        // The number of ranks is that of profile `mixed`, whatever the job's: without relays there would be nothing to
        // tell stages from.
        let as_mixed = Job { mix: Mix { profile: Profile::Mixed, ..job.mix.clone() }, ..job.clone() };
        let ranks = options.ranks.unwrap_or_else(|| as_mixed.ranks());
        let whole = Prepared::of(job.clone())?;
        can_run(&whole, ranks)?;
        let data = short(whole, options.slots.into());
        // What is left of the samples may be less than a batch.
        job.train.drop_last = false;
        let ready = |job: &Job| data.with(job.clone());
        let other = |job: &Job| other_widths(job).map(|job| ready(&job)).transpose();

        // Both models must have the same lengths, so that the job's own runs do not tell them apart.
        let pinned = match other(&job)? {
            Some(other) => pinned(&job, &[ready(&job)?, other], ranks),
            None => job.clone(),
        };
        let paired = |job: &Job| Ok::<_, RunError>((ready(job)?, other(job)?));
        let with = |profile: Profile, job: &Job| {
            let mix = Mix { profile, ..job.mix.clone() };
            Job { mix, ..job.clone() }
        };
        use Channel::{Contents, Time, Volume};
        use Question::{Cover, Model, Neighbours, Order, Role};
        let mut all = Vec::new();
        let (a, b) = paired(&pinned)?;
        let asks =
            [Role, Order, Cover, Model].into_iter().flat_map(|question| [(question, Volume), (question, Time)]);
        let asks = asks.chain([(Neighbours, Contents)].into_iter().filter(|_| profile == Profile::Mixed));
        all.push(Course { without: None, a, b, runs, asks: asks.collect() });
        // Controls that are asked about no times do not wait for a pace.
        let at_once = Job { mix: Mix { pace: Pace::Lockstep, ..pinned.mix.clone() }, ..pinned.clone() };
        // Controls for the questions about volume and contents: profile `sealed` shows addresses, `bare` shows lengths,
        // without fixed lengths the models differ, and without links a stage knows its own cells again.
        if profile == Profile::Mixed {
            let free = Mix { message: 0, package: 0, result: 0, ..at_once.mix.clone() };
            let (a, b) = paired(&Job { mix: free, ..job.clone() })?;
            let (sealed, bare) = (with(Profile::Sealed, &at_once), with(Profile::Bare, &at_once));
            let direct = |without, job: &Job, least, asks| {
                Ok::<_, RunError>(Course {
                    without: Some(without),
                    a: ready(job)?,
                    b: None,
                    runs: (runs / 2).max(least),
                    asks,
                })
            };
            all.push(direct("profile sealed", &sealed, SEALED, vec![(Role, Volume), (Order, Volume)])?);
            all.push(direct("profile bare", &bare, BARE, vec![(Cover, Volume)])?);
            let asks = vec![(Model, Volume)];
            all.push(Course {
                without: Some("lengths not fixed"),
                a,
                b,
                runs: (runs / 8).max(FEWEST_RUNS as usize),
                asks,
            });
            let off = Job { mix: Mix { link: LinkEncryption::Off, ..at_once.mix.clone() }, ..at_once.clone() };
            all.push(direct("mix.link off", &off, BARE, vec![(Neighbours, Contents)])?);
        }
        // The control for the questions about time.
        if pace != LOCKSTEP {
            let (a, b) = paired(&at_once)?;
            let asks = [Role, Order, Cover, Model].map(|question| (question, Time)).to_vec();
            all.push(Course { without: Some("lockstep"), a, b, runs, asks });
        }
        for course in &all {
            for prepared in std::iter::once(&course.a).chain(&course.b) {
                can_run(prepared, ranks)?;
            }
        }
        Ok(Self { all, pace, profile, link, ranks })
    }
}

/// Cuts the data down to as many training samples as fill `slots` slots, but at least one micro-batch, and to one
/// micro-batch to test.
fn short(whole: Prepared, slots: u64) -> Prepared {
    let Prepared { job, .. } = &whole;
    let (depth, micro) = (whole.depth(), job.train.micro_batch);
    let full = job.train.batch.div_ceil(micro);
    let fits = |total: &u32| DataPass::training(depth, full, *total).slots() <= slots;
    let total = (1..).take_while(fits).last().unwrap_or(1);
    // These are whole micro-batches, as far as the job has so many samples.
    let most = whole.epoch_samples();
    whole.short(most.min(total as usize * micro as usize), micro as usize)
}

/// `job` with half of each hidden width, or with twice of each where one of them is small. `None` where it has no
/// hidden width, or where other operations depend on the widths.
fn other_widths(job: &Job) -> Option<Job> {
    let bound = |op: &Op| matches!(op, Op::Residual(_) | Op::Reshape(_) | Op::GroupNorm(_) | Op::Attention(_));
    if job.stages.iter().flat_map(|stage| &stage.ops).any(bound) {
        return None;
    }
    let mut other = job.clone();
    // Values that the job names belong to the job's own widths.
    other.init = Init::default();
    let mut widths: Vec<(&mut Option<u32>, &mut u32)> = Vec::new();
    for op in other.stages.iter_mut().flat_map(|stage| &mut stage.ops) {
        if let Op::Linear(Linear { input, out, .. }) = op {
            widths.push((input, out));
        }
    }
    // What the last linear operation gives are the classes, whose number stays.
    let hidden = widths.len().checked_sub(1).filter(|hidden| *hidden > 0)?;
    let halve = widths[..hidden].iter().all(|(_, out)| **out >= WIDE);
    let mut before = None;
    for (index, (input, out)) in widths.into_iter().enumerate() {
        if let (Some(input), Some(before)) = (input, before) {
            *input = before;
        }
        if index < hidden {
            *out = if halve { *out / 2 } else { *out * 2 };
        }
        before = Some(*out);
    }
    Some(other)
}

/// `job` with lengths of messages, packages and results that are enough for each of `models` among `ranks` ranks.
fn pinned(job: &Job, models: &[Prepared], ranks: u16) -> Job {
    let mut job = job.clone();
    for needed in models.iter().map(|model| model.needed_lengths(ranks)) {
        // Lengths beyond these types do not travel either, and `can_run` says so.
        job.mix.message = job.mix.message.max(u32::try_from(needed.message).unwrap_or(u32::MAX));
        job.mix.package = job.mix.package.max(u32::try_from(needed.package).unwrap_or(u32::MAX));
        job.mix.result = job.mix.result.max(needed.result);
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/digits.toml");

    const OPTIONS: Options = Options { ranks: None, runs: 100, slots: 48, colluders: 1 };

    fn widths(job: &Job) -> Vec<u32> {
        let ops = job.stages.iter().flat_map(|stage| &stage.ops);
        ops.filter_map(|op| if let Op::Linear(linear) = op { Some(linear.out) } else { None }).collect()
    }

    #[test]
    fn two_models_have_one_geometry_and_as_many_slots() {
        let courses = Courses::of(Path::new(DIGITS), &[], &OPTIONS).unwrap();
        let own = &courses.all[0];
        let (a, b) = (&own.a, own.b.as_ref().unwrap());
        assert_eq!((widths(&a.job), widths(&b.job)), (vec![64, 32, 10], vec![32, 16, 10]));
        // Each rank has a host of its own.
        assert_eq!((courses.ranks, courses.pace.as_str()), (7, "auto"));
        assert_eq!(a.geometry(7).unwrap(), b.geometry(7).unwrap());
        assert_eq!((a.job.mix.package, a.job.mix.result), (b.job.mix.package, b.job.mix.result));
        for needed in [a, b].map(|model| model.needed_lengths(7)) {
            let mix = &a.job.mix;
            let pinned = [u64::from(mix.message), mix.package.into(), mix.result];
            assert!(pinned.into_iter().zip([needed.message, needed.package, needed.result]).all(|(a, b)| a >= b));
        }
        let slots = |prepared: &Prepared| {
            let batches = prepared.batches(0);
            DataPass::training(prepared.depth(), batches.full(), batches.micro_batches()).slots()
        };
        assert!(slots(a) == slots(b) && (40..=48).contains(&slots(a)));
        assert_eq!((a.validation.samples(), a.test.samples()), (0, 16));
        // The controls: addresses show, lengths show, lengths differ, times show.
        let controls: Vec<_> = courses.all[1..].iter().map(|course| course.without.unwrap()).collect();
        assert_eq!(controls, ["profile sealed", "profile bare", "lengths not fixed", "mix.link off", LOCKSTEP]);
        let in_lockstep = Courses::of(Path::new(DIGITS), &["mix.pace=lockstep".to_owned()], &OPTIONS).unwrap();
        assert_eq!((in_lockstep.all.len(), in_lockstep.pace.as_str()), (5, LOCKSTEP));
        let free = &courses.all[3];
        assert_ne!(free.a.geometry(7).unwrap(), free.b.as_ref().unwrap().geometry(7).unwrap());
    }

    /// However few samples there are, they are played.
    #[test]
    fn a_batch_that_is_not_whole_is_played_all_the_same() {
        let sets = ["train.drop_last=true".to_owned()];
        let courses = Courses::of(Path::new(DIGITS), &sets, &Options { slots: 1, ..OPTIONS }).unwrap();
        for course in &courses.all {
            assert_eq!((course.a.train.samples(), course.a.epoch_samples()), (16, 16));
        }
    }

    #[test]
    fn narrow_models_grow_and_inputs_follow() {
        let text = std::fs::read_to_string(DIGITS).unwrap();
        let text = text.replace("out = 64", "out = 8").replace("out = 32", "in = 8, out = 40");
        let job = Job::parse("job.toml", &text, &[]).unwrap();
        let other = other_widths(&job).unwrap();
        assert_eq!(widths(&other), [16, 80, 10]);
        assert!(matches!(other.stages[1].ops[0], Op::Linear(Linear { input: Some(16), .. })));
        let text =
            text.replace("{ op = \"linear\", out = 8 }, ", "").replace("{ op = \"linear\", in = 8, out = 40 }, ", "");
        assert!(other_widths(&Job::parse("job.toml", &text, &[]).unwrap()).is_none());
    }
}
