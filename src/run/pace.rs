//! How long ranks have for their work in each slot, where times are to tell nothing (docs/PROTOCOL.md, 20). The owner says it: first what
//! dummy work takes, then what suits how long ranks have worked, as they tell it in their beats.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::RunError;
use super::letters::opening::Pacing;
use super::letters::pieces::Pieces;
use super::letters::result::{self, Recipient, TermResult};
use super::letters::{Binding, Desk};
use super::trust::Credentials;
use crate::compute::Backend;
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::float::Float;
use crate::ids::{Rank, Term};
use crate::job::op::{Activation, Linear};
use crate::job::{self, Mix, Op, Optimizer, Profile, Shape};
use crate::memory;
use crate::mix::clock::Pace;
use crate::nn::{Pass, Stage, StageSpec};
use crate::random::Seed;
use crate::wire::HEADER;

/// The widest dummy stage, in values of a sample. A wider one would have weights that take more memory than many a
/// model.
const WIDEST: u32 = 2048;
/// How many times the dummy work is tried. The median of the tries counts.
const TRIES: usize = 5;
/// A rank's result may take this many times as long as the owner's dummy result took.
const SLACK: u32 = 4;
/// A rank's result may take this much longer on top of [`SLACK`].
const REST: Duration = Duration::from_millis(2);
/// The shortest time for work. Waking up a thread takes about as long.
const LEAST: Duration = Duration::from_micros(16);
/// The shortest time for work to begin with, before ranks have told how long they work.
const FIRST: Duration = Duration::from_micros(200);
/// Of so many slots at most one may find a rank that is not ready.
const PUNCTUAL: usize = 4;
/// Of so many slots at most one may find a rank that is not ready, where threads that work may hold up those that move cells, on a core that
/// they share. It would show who works.
const PUNCTUAL_ALONE: usize = 32;
/// How many steps of the time for work double it: each is a quarter of an octave.
const STEPS: i32 = 4;
/// Of how many slots it is known how long their ranks worked.
const KNOWN: usize = 512;
/// How many slots a time for work is kept at least, once ranks have told how long they work.
const KEPT: usize = 128;
/// How many slots the first time for work is kept at least. It is not from what ranks have told, so it is soon looked at again; from then on
/// this doubles, up to [`KEPT`].
const KEPT_AT_FIRST: usize = 32;
/// How much less time another time for work must promise, before it is taken: a part of 12.
const GAIN: u32 = 12;
/// Of fewer slots it is not said that too many overran.
const MANY: u64 = 256;

/// What a user is told of `mix.pace = "hosts"`, for ranks on `one_host` or on several. `None` where the job names another pace, or has none.
pub(super) fn told(mix: &Mix, one_host: bool) -> Option<&'static str> {
    let asks = (mix.profile, mix.pace) == (Profile::Mixed, job::Pace::Hosts);
    asks.then_some(match one_host {
        true => {
            "all ranks are on this host: slots begin when their ranks are ready, and who sees times reads who computes; mix.pace = \"auto\" \
             hides it"
        }
        false => "ranks are on several hosts: in each slot all have the same time for their work (mix.pace = \"hosts\")",
    })
}

/// What a user is told where at least every second of many `slots` `overran`, under the pace that the opening names.
pub(super) fn too_many_overran(overran: u64, slots: u64, pacing: Pacing) -> Option<String> {
    let (Pacing::Fixed { pace, .. }, true) = (pacing, slots >= MANY && 2 * overran >= slots) else { return None };
    let longer = match pace {
        Some(Pace::Work(_)) => "more time for work (mix.pace)",
        Some(Pace::Slots(_)) => "longer slots (mix.pace)",
        None => "a time for work that the job names (mix.pace = \"work 2ms\")",
    };
    Some(format!(
        "{overran} of {slots} slots overran: a rank was not ready in time. That costs slots, and who sees times may learn who computes. What \
         helps: {longer}, fewer ranks on a host, or a core for each rank (mpirun --bind-to core)"
    ))
}

/// Decides when slots begin, as the job asks with `asked`: the values that follow a result have `values` bytes before they are sealed, and
/// `crowd` ranks share a core. The rest before results is never as long as `timeout`, for which a silent peer is waited for.
///
/// # Errors
/// [`RunError`]: no randomness, no memory.
pub(super) fn pacing(asked: job::Pace, values: u64, crowd: u32, timeout: Duration) -> Result<Pacing, RunError> {
    let pace = match asked {
        job::Pace::Lockstep => return Ok(Pacing::Lockstep),
        // Who does not know where the ranks are hides times.
        job::Pace::Auto | job::Pace::Hosts => None,
        job::Pace::Work(work) => Some(Pace::work(work)),
        job::Pace::Slots(slot) => Some(Pace::slots(slot)),
    };
    let rest = (crowd * (SLACK * measure_result(values)? + REST)).min(timeout / 2).min(job::LONGEST_SLOT);
    Ok(Pacing::Fixed { pace, rest: rest.as_nanos() as u64 })
}

/// Measures how long it takes to seal a result, and the values behind it, which have `values` bytes.
fn measure_result(values: u64) -> Result<Duration, RunError> {
    let nobody = Credentials::default();
    let mut desk = Desk::new(&nobody)?;
    let (recipient, psk) = (Recipient::new(&mut desk), Key::random()?);
    let binding = Binding { run: &[0; 32], opening: &[0; 32], term: Term(0), rank: Rank::OWNER, ranks: 0 };
    let started = Instant::now();
    let returned = TermResult { timing: [0; 8], fault: None, key: Key::random()? };
    result::write(&returned, 0, (recipient.key(), &psk), &mut desk, &binding)?;
    let sealed = started.elapsed();
    let pieces = Pieces::cut(values);
    if pieces.count == 0 {
        return Ok(sealed);
    }
    // One piece stands for all.
    let end = result::end(pieces, Library::fastest(pieces.length()), &returned.key, &binding);
    let zeros = memory::zeroed(pieces.length())?;
    let started = Instant::now();
    end.write(0, &zeros)?;
    Ok(sealed + started.elapsed() * pieces.count as u32)
}

/// Measures how long a micro-batch takes both ways through a dummy stage. That is a linear one between two of the
/// widest boundaries that messages of `message` bytes may carry, in numbers of the format `wire`.
///
/// # Errors
/// [`RunError::Compute`]: no memory.
pub(super) fn measure_work<B: Backend + 'static>(
    backend: &B,
    message: usize,
    micro_batch: u32,
    wire: Float,
) -> Result<Duration, RunError> {
    let width = ((message - HEADER) / wire.bytes() as usize / micro_batch as usize).clamp(1, WIDEST as usize) as u32;
    let spec = StageSpec {
        ops: vec![Op::Linear(Linear { input: None, out: width, bias: true }), Op::Activation(Activation::Relu)],
        input: Shape::new([width]),
        output: Shape::new([width]),
        data: None,
        wire,
        micro_batch,
        optimizer: Optimizer::sgd(0.9),
        seed: Seed::from_text("dummy"),
        loss: None,
        values: None,
    };
    let mut stage = Stage::new(backend, &spec)?;
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let started = Instant::now();
        stage.input(backend, Pass::evaluation(micro_batch as usize))?;
        stage.forward(backend);
        stage.backward_input(backend);
        stage.backward_params(backend);
        stage.step(backend, 0.0);
        backend.finish()?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    Ok(took[TRIES / 2])
}

/// Chooses how long ranks have for their work in a slot: one time while they train, and one while they are tested.
pub(super) struct WorkTime {
    /// The largest step that may be taken.
    most: i32,
    /// Of so many slots at most one may find a rank that is not ready.
    punctual: usize,
    /// The step that the ranks have been told last. `None` before the first.
    told: Option<i32>,
    /// The time for work while ranks train.
    training: WorkStep,
    /// The time for work while ranks are tested. `None` before they are.
    testing: Option<WorkStep>,
}

impl WorkTime {
    /// Begins with the time `work`. A silent peer is waited for for `timeout`; a part of it is the longest time for work. `gives_way` says
    /// whether a thread that works lets those that move cells go first, where they share a core.
    pub(super) fn new(work: Duration, timeout: Duration, gives_way: bool) -> Self {
        let most = (timeout / job::SLOTS_OF_TIMEOUT).min(job::LONGEST_SLOT);
        let most = step_above(most) - 1;
        let training = WorkStep::new(step_above(work.max(FIRST)).min(most));
        let punctual = if gives_way { PUNCTUAL } else { PUNCTUAL_ALONE };
        Self { most, punctual, told: None, training, testing: None }
    }

    /// The pace of training, or of tests where nothing was trained.
    pub(super) fn chosen(&self) -> Pace {
        let of = self.testing.as_ref().filter(|_| self.training.known.is_empty()).unwrap_or(&self.training);
        Pace::work(time(of.step))
    }

    /// What is known of passes that train, or of others. Tests begin with what holds in training.
    fn of(&mut self, trains: bool) -> &mut WorkStep {
        let Self { training, testing, .. } = self;
        match trains {
            true => training,
            false => testing.get_or_insert_with(|| WorkStep::new(training.step)),
        }
    }

    /// Notes a slot of a pass that `trains`, or of another: its ranks have `worked` for so long, or nobody has told; and it `took` so
    /// long in all.
    pub(super) fn see(&mut self, trains: bool, worked: Duration, took: Duration) {
        let exchange = took.saturating_sub(self.told.map_or(Duration::ZERO, time));
        self.of(trains).see(worked, exchange);
    }

    /// The pace that the owner is to say in this slot of a pass that `trains`, or of another. `None` if it is what it has said last.
    pub(super) fn next(&mut self, trains: bool) -> Option<Pace> {
        let Self { most, punctual, .. } = *self;
        let step = self.of(trains).look(most, punctual);
        (self.told.replace(step) != Some(step)).then(|| Pace::work(time(step)))
    }
}

/// A time for work, and what is known of the slots for which it is chosen.
///
/// A slot takes the time for work, W, and the exchange, X. A rank whose work takes t, longer than W, answers some slots later: one for
/// each X + W that has begun in the time that was too short. So with times t of the slots that are known, a slot in which something moves
/// on takes about (X + W) (1 + the mean of ceil((t - W) / (X + W)) where t > W). The W for which that is least is taken, of those that are
/// too short for no more slots than may find a rank that is not ready.
struct WorkStep {
    /// The time for work, as a step: [`LEAST`] times 2 to the power of a [`STEPS`]th of it.
    step: i32,
    /// How long the rank worked that worked longest, and how long the exchange took, by slot; the oldest in front.
    known: VecDeque<[Duration; 2]>,
    /// How many slots have been seen since another step was last looked for.
    since: usize,
    /// How many slots the step is kept at least.
    kept: usize,
}

impl WorkStep {
    /// A time of which nothing is known yet.
    fn new(step: i32) -> Self {
        Self { step, known: VecDeque::with_capacity(KNOWN), since: 0, kept: KEPT_AT_FIRST }
    }

    /// Notes a slot: how long its ranks have `worked`, or nobody has told, and how long its `exchange` took.
    fn see(&mut self, worked: Duration, exchange: Duration) {
        self.since += 1;
        if worked.is_zero() {
            return;
        }
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back([worked, exchange]);
    }

    /// The step that is to hold, of those up to `most` that are too short for one slot in `punctual` at most. Another one is looked for
    /// every [`KEPT`] slots at most, and sooner at first.
    fn look(&mut self, most: i32, punctual: usize) -> i32 {
        if self.since < self.kept || self.known.len() < self.kept {
            return self.step;
        }
        (self.since, self.kept) = (0, KEPT.min(2 * self.kept));
        let exchange = self.exceeded(|[_, exchange]| exchange, 2);
        let shortest = step_above(self.exceeded(|[worked, _]| worked, punctual)).min(most);
        let best = (shortest..=most).min_by_key(|step| self.cost(time(*step), exchange)).unwrap_or(self.step);
        let [least, now] = [best, self.step].map(|step| self.cost(time(step), exchange));
        if self.step < shortest || now >= least + least / GAIN {
            self.step = best;
        }
        self.step
    }

    /// Of the times `of` the slots that are known, the one that one in `above` is longer than.
    fn exceeded(&self, of: fn([Duration; 2]) -> Duration, above: usize) -> Duration {
        let mut times: Vec<Duration> = self.known.iter().copied().map(of).collect();
        times.sort_unstable();
        times.len().checked_sub(1 + times.len() / above).map_or(Duration::ZERO, |at| times[at])
    }

    /// How long a slot takes in which something moves on, with the time `work` and the `exchange`, by the slots that are known.
    fn cost(&self, work: Duration, exchange: Duration) -> Duration {
        let slot = (exchange + work).as_nanos().max(1);
        let later = |[worked, _]: &[Duration; 2]| worked.saturating_sub(work).as_nanos().div_ceil(slot);
        let later: u128 = self.known.iter().map(later).sum();
        let all = slot + slot * later / self.known.len().max(1) as u128;
        Duration::from_nanos(u64::try_from(all).unwrap_or(u64::MAX))
    }
}

/// The time for work of a step.
fn time(step: i32) -> Duration {
    LEAST.mul_f64(2_f64.powf(f64::from(step) / f64::from(STEPS)))
}

/// The first step whose time is `work` or longer.
fn step_above(work: Duration) -> i32 {
    let steps = (work.as_secs_f64() / LEAST.as_secs_f64()).max(1.0).log2() * f64::from(STEPS);
    steps.ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// Plays slots of a pass that `trains`, or of another, whose ranks work as `worked` says, where the exchange takes 500 us. Returns
    /// the time for work in the end, and how often one was said.
    fn play(times: &mut WorkTime, trains: bool, worked: impl Fn(usize) -> Duration) -> (Duration, usize) {
        let mut said = 0;
        for slot in 0..4 * KNOWN {
            said += usize::from(times.next(trains).is_some());
            let took = time(times.told.unwrap()) + us(500);
            times.see(trains, worked(slot), took);
        }
        (time(times.told.unwrap()), said)
    }

    /// The time for work that comes of such slots in training, where it begins with `first`.
    fn chosen(first: Duration, worked: impl Fn(usize) -> Duration) -> (Duration, usize) {
        play(&mut WorkTime::new(first, Duration::from_secs(120), false), true, worked)
    }

    /// Tests take less work than training. Each has its own time at once, whatever ran before.
    #[test]
    fn training_and_tests_have_their_own_times() {
        let mut times = WorkTime::new(us(900), Duration::from_secs(120), true);
        let (training, _) = play(&mut times, true, |_| us(900));
        assert_eq!(times.next(false), None, "tests begin with the time of training");
        let (testing, _) = play(&mut times, false, |_| us(200));
        assert_eq!(times.chosen(), Pace::work(training));
        let mut tests = WorkTime::new(us(900), Duration::from_secs(120), true);
        let (testing_alone, _) = play(&mut tests, false, |_| us(200));
        assert_eq!(tests.chosen(), Pace::work(testing_alone));
        assert!(testing < us(240) && training >= us(900), "{testing:?} {training:?}");
        for _ in 0..2 {
            assert_eq!([times.next(true), times.next(true)], [Some(Pace::work(training)), None]);
            assert_eq!([times.next(false), times.next(false)], [Some(Pace::work(testing)), None]);
        }
    }

    #[test]
    fn the_time_for_work_suits_the_work() {
        // All work as long: it is that.
        for first in [us(16), us(5000)] {
            let (work, said) = chosen(first, |_| us(300));
            assert!((us(300)..us(360)).contains(&work), "{work:?}");
            assert!(said <= 3, "said {said} times");
        }
        // One slot in a hundred takes long: that one is later, and not all longer.
        let (work, _) = chosen(us(100), |slot| if slot % 100 == 0 { us(9000) } else { us(200) });
        assert!((us(200)..us(240)).contains(&work), "{work:?}");
        // One in two does, or one in five: the time is for these.
        for part in [2, 5] {
            let (work, _) = chosen(us(100), |slot| us(if slot % part == 0 { 900 } else { 200 }));
            assert!((us(900)..us(1080)).contains(&work), "{part}: {work:?}");
        }
    }

    /// What hardly gains anything is not said.
    #[test]
    fn a_pace_is_kept_while_none_is_much_better() {
        let (work, said) = chosen(us(330), |slot| us(if slot % 2 == 0 { 290 } else { 310 }));
        assert_eq!(said, 1, "{work:?}");
        // Nobody has told anything: the first one holds.
        assert_eq!(chosen(us(330), |_| Duration::ZERO).1, 1);
    }

    #[test]
    fn no_pace_outlasts_what_a_peer_is_waited_for() {
        let mut times = WorkTime::new(Duration::from_secs(7), Duration::from_secs(9), true);
        let Some(Pace::Work(first)) = times.next(true) else { panic!("none is said") };
        assert!(Duration::from_nanos(first) <= Duration::from_secs(9) / job::SLOTS_OF_TIMEOUT);
        (0..KNOWN).for_each(|_| times.see(true, Duration::from_secs(8), Duration::from_secs(9)));
        times.next(true);
        assert!(time(times.told.unwrap()) <= Duration::from_secs(9) / job::SLOTS_OF_TIMEOUT);
        let pacing = pacing(job::Pace::Auto, 1 << 20, 1 << 20, Duration::from_secs(9)).unwrap();
        assert!(matches!(pacing, Pacing::Fixed { rest: 4_500_000_000, .. }), "{pacing:?}");
    }

    #[test]
    fn where_every_second_slot_overran_it_is_said() {
        let under = |pace| Pacing::Fixed { pace, rest: 0 };
        let [work, slot] = [Pace::work(us(9)), Pace::slots(us(9))].map(Some);
        for (overran, slots, pacing, said) in [
            (127, 255, under(None), None),
            (128, 256, under(None), Some("mix.pace = \"work 2ms\"")),
            (127, 256, under(None), None),
            (300, 300, under(work), Some("more time for work")),
            (300, 300, under(slot), Some("longer slots")),
            (300, 300, Pacing::Lockstep, None),
        ] {
            let told = too_many_overran(overran, slots, pacing);
            assert_eq!(told.is_some(), said.is_some(), "{overran} of {slots}: {told:?}");
            assert!(told.unwrap_or_default().contains(said.unwrap_or_default()));
        }
    }

    /// Whoever has left the pace open hears whether times tell who computes.
    #[test]
    fn it_is_said_what_times_tell() {
        let mix = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            job::Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap().mix
        };
        let open = mix(&[]);
        assert!(told(&open, true).is_some_and(|line| line.contains("who sees times reads who computes")));
        assert!(told(&open, false).is_some_and(|line| line.contains("all have the same time for their work")));
        for sets in [["mix.pace=auto"], ["mix.pace=lockstep"], ["mix.profile=bare"], ["mix.profile=sealed"]] {
            assert_eq!([true, false].map(|one_host| told(&mix(&sets), one_host)), [None, None], "{sets:?}");
        }
    }

    #[test]
    fn dummy_work_takes_its_time() {
        let backend = Cpu::new(1).unwrap();
        let [small, large] =
            [1 << 10, 1 << 16].map(|message| measure_work(&backend, message, 16, Float::F32).unwrap());
        assert!(large > small && small > Duration::ZERO, "{small:?} {large:?}");
        let pacing = pacing(job::Pace::Auto, 4096, 2, Duration::from_secs(9)).unwrap();
        assert!(matches!(pacing, Pacing::Fixed { pace: None, rest } if rest > 4_000_000), "{pacing:?}");
    }

    /// The time behind the slots has room for all pieces of what ranks return.
    #[test]
    fn sealing_all_pieces_takes_its_time() {
        let few = (0..8).map(|_| measure_result(0).unwrap()).min().unwrap();
        let many = measure_result(1 << 32).unwrap();
        assert!(many > 20 * few, "{few:?} {many:?}");
    }
}
