//! What the owner measures before it fixes the pace (docs/PROTOCOL.md, "Pace").
//!
//! All that it measures is dummy work, of a size that follows from public numbers. So the pace does not tell how long
//! the model's own stages take.

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
use crate::job::{self, Op, Optimizer, Shape};
use crate::memory;
use crate::mix::beat::Order;
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
/// How many slots each round of calibration has. The first round has no pace, the second a first guess of it.
const ROUNDS: [usize; 2] = [32, 96];
/// A round ends after this time, even if it has fewer slots than [`ROUNDS`] says, but not before it has [`FEW`].
const ROUND: Duration = Duration::from_secs(2);
/// A round has at least this many slots, however long they take.
const FEW: usize = 8;
/// One slot in this many is taken for rare, and how long it took does not count.
const RARE: usize = 20;
/// The first guess of a phase is this many times what was seen.
const GUESS: u32 = 2;
/// The phase of the final pace is this many halves of what was seen: 1.5 times.
const MARGIN: u32 = 3;

/// Decides when slots begin, as the job asks with `asked`: circuits have `hops` hops, the values that follow a result
/// have `values` bytes before they are sealed, and `crowd` ranks share a core. The rest before results is never as long as `timeout`, for
/// which a silent peer is waited for.
///
/// # Errors
/// [`RunError`]: no randomness, no memory.
pub(super) fn pacing(
    asked: job::Pace,
    hops: u8,
    values: u64,
    crowd: u32,
    timeout: Duration,
) -> Result<Pacing, RunError> {
    let pace = match asked {
        job::Pace::Lockstep => return Ok(Pacing::Lockstep),
        job::Pace::Auto => None,
        job::Pace::Slots(slot) => Some(Pace::even(slot, hops)),
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

/// Watches slots of cover, before the first that carries anything, and comes to a pace (docs/PROTOCOL.md, 20.8).
pub(super) struct Calibration {
    /// How many hops a circuit has.
    hops: u8,
    /// What dummy work takes a rank in a slot.
    work: Duration,
    /// No slot is made longer than this.
    most: Duration,
    /// Which round runs, from 0; past the last one the pace is fixed.
    round: usize,
    /// When this round began.
    began: Instant,
    /// By slot of this round, the longest that a phase took.
    seen: Vec<Duration>,
}

impl Calibration {
    /// Begins to calibrate for circuits of `hops` hops, and for work that takes a rank as long as `work`. A silent peer
    /// is waited for for `timeout`; no slot may take longer than a part of that.
    pub(super) fn new(hops: u8, work: Duration, timeout: Duration) -> Self {
        let most = (timeout / job::SLOTS_OF_TIMEOUT).min(job::LONGEST_SLOT);
        Self { hops, work, most, round: 0, began: Instant::now(), seen: Vec::new() }
    }

    /// Takes the longest time that a phase took in the last slot. Returns the owner's word for the next slot, or `None`
    /// once the final pace has been said.
    pub(super) fn next(&mut self, longest: Duration) -> Option<Order> {
        let slots = *ROUNDS.get(self.round)?;
        self.seen.push(longest);
        if self.seen.len() < FEW || (self.seen.len() < slots && self.began.elapsed() < ROUND) {
            return Some(Order::GoOn);
        }
        // The first slots of a round also wait for ranks that were not ready to begin.
        self.seen.drain(..2);
        self.seen.sort_unstable();
        let usual = self.seen[self.seen.len() - 1 - self.seen.len() / RARE];
        let phase = if self.round == 0 { usual * GUESS } else { usual * MARGIN / 2 };
        (self.round, self.began) = (self.round + 1, Instant::now());
        self.seen.clear();
        let slot = phase * u32::from(self.hops + 1) + phase.max(self.work);
        Some(Order::Keep(Pace::new(slot.min(self.most), phase, self.hops)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;

    #[test]
    fn the_pace_leaves_room_for_what_was_seen_but_for_the_rarest() {
        let mut calibration = Calibration::new(3, Duration::from_millis(7), Duration::from_secs(9));
        let mut said = Vec::new();
        for slot in 0.. {
            let longest = if slot % 60 == 30 { 500 } else { 2 };
            match calibration.next(Duration::from_millis(longest)) {
                Some(Order::Keep(pace)) => said.push(pace),
                Some(_) => {}
                None => break,
            }
        }
        let [guess, pace] = said[..] else { panic!("{said:?}") };
        let near = |found: Duration, due: u64| found.abs_diff(Duration::from_millis(due)) < Duration::from_micros(50);
        assert!(near(guess.phase(), 4) && near(guess.slot(), 4 * 4 + 7), "{guess:?}");
        assert!(near(pace.phase(), 3) && near(pace.slot(), 4 * 3 + 7), "{pace:?}");
    }

    #[test]
    fn no_pace_outlasts_what_a_peer_is_waited_for() {
        let mut calibration = Calibration::new(3, Duration::from_secs(7), Duration::from_secs(9));
        let said = std::iter::from_fn(|| calibration.next(Duration::from_secs(1)));
        let longest = said.filter_map(|order| match order {
            Order::Keep(pace) => Some(pace.slot()),
            _ => None,
        });
        assert_eq!(longest.max(), Some(Duration::from_secs(9) / 4));
        let pacing = pacing(job::Pace::Auto, 3, 1 << 20, 1 << 20, Duration::from_secs(9)).unwrap();
        assert!(matches!(pacing, Pacing::Fixed { rest: 4_500_000_000, .. }), "{pacing:?}");
    }

    #[test]
    fn dummy_work_takes_its_time() {
        let backend = Cpu::new(1).unwrap();
        let [small, large] =
            [1 << 10, 1 << 16].map(|message| measure_work(&backend, message, 16, Float::F32).unwrap());
        assert!(large > small && small > Duration::ZERO, "{small:?} {large:?}");
        let pacing = pacing(job::Pace::Auto, 3, 4096, 2, Duration::from_secs(9)).unwrap();
        assert!(matches!(pacing, Pacing::Fixed { pace: None, rest } if rest > 4_000_000), "{pacing:?}");
    }
}
