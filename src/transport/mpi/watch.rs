//! Ends this process where MPI does not give it back: some of MPI's calls wait for peers without a deadline, and a peer that
//! was stopped there or has never come, or a launcher that does not answer, would keep this rank for ever.
//!
//! What stands here belongs to the process, as MPI does.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::ids::Rank;
use crate::terminal;
use crate::threads::Starved;

/// How much longer than the time-out a call may take.
const SPARE: Duration = Duration::from_secs(2);
/// How long MPI may take to end the run.
const ENDING: Duration = Duration::from_secs(3);
/// How long a rank waits between its last words and the end: launchers drop what they have not yet passed on then.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How much longer the next rank waits. Ranks that notice the same at once are not to end the run at once: Open MPI's launcher
/// may crash then, and lose the exit code.
const TURN: Duration = Duration::from_millis(100);
/// After so many ranks it is the first one's turn again.
const TURNS: u16 = 8;
/// How often the watch looks. It counts these, so that time for which the process itself was stopped is none.
const TICK: Duration = Duration::from_millis(250);
/// The exit code of a time-out.
const TIMED_OUT: i32 = 5;
/// No exit code.
const NONE: i32 = -1;

/// Calls entered and left: odd within one. Only the thread that calls MPI counts.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Milliseconds that a call may take.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// With which exit code this rank is ending the run.
static CODE: AtomicI32 = AtomicI32::new(NONE);
/// This rank.
static RANK: AtomicU16 = AtomicU16::new(0);
/// How far this rank has come, a [`Stage`].
static STAGE: AtomicU8 = AtomicU8::new(Stage::Initializing as u8);
/// Whether the watch is over.
static OVER: AtomicBool = AtomicBool::new(false);

/// What MPI does for this rank.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(u8)]
enum Stage {
    /// It starts, for which all ranks must come. It knows no communicator yet whose ranks it could end.
    Initializing,
    /// Ranks learn of each other, before this one knows a run.
    Meeting,
    /// It carries a run.
    Running,
    /// It ends, for which all ranks must come. It knows no communicator any more.
    Finalizing,
}

impl Stage {
    fn now() -> Self {
        let stages = [Stage::Initializing, Stage::Meeting, Stage::Running, Stage::Finalizing];
        stages[usize::from(STAGE.load(Ordering::Relaxed)).min(3)]
    }

    fn begin(self) {
        STAGE.store(self as u8, Ordering::Relaxed);
    }

    /// What a user is told where a call of this stage has taken `seconds`.
    fn complaint(self, seconds: f64) -> String {
        match self {
            Stage::Initializing => format!(
                "MPI_Init has not come back for {seconds} s: it waits for a rank that hangs or has not got to start mixnn; the run \
                 ends (--start-timeout)"
            ),
            Stage::Meeting => format!(
                "MPI has kept this rank waiting for {seconds} s, before any run: another rank hangs; the run ends (--start-timeout)"
            ),
            Stage::Running | Stage::Finalizing => format!(
                "MPI has kept this rank waiting for {seconds} s: another rank hangs; the run ends (transport.timeout)"
            ),
        }
    }
}

/// The watch over this process's calls of MPI; over when it is dropped.
pub(super) struct Watch(());

/// A call of MPI goes on.
pub(super) struct Call(());

impl Watch {
    /// Begins to watch, before MPI is initialized: calls may take `patience`, and a little more. `abort` ends the run, `leave` this
    /// process at once. `rank` is this one's number, as far as it is known.
    ///
    /// # Errors
    /// [`Starved`]: nobody would watch.
    pub(super) fn start(
        rank: Option<Rank>,
        patience: Duration,
        abort: fn(i32),
        leave: fn(i32) -> !,
    ) -> Result<Self, Starved> {
        RANK.store(rank.unwrap_or(Rank::OWNER).0, Ordering::Relaxed);
        limit(patience);
        let watch = move || watch(rank.is_some(), abort, leave);
        thread::Builder::new().name("watch".to_owned()).stack_size(1 << 17).spawn(watch)?;
        Ok(Self(()))
    }

    /// MPI is initialized, and this is `rank`.
    pub(super) fn initialized(&self, rank: Rank) {
        RANK.store(rank.0, Ordering::Relaxed);
        Stage::Meeting.begin();
    }

    /// Calls may take this time-out, and a little more.
    pub(super) fn set_timeout(&self, timeout: Duration) {
        limit(timeout);
        Stage::Running.begin();
    }

    /// Until what it returns is dropped, a call goes on.
    pub(super) fn call(&self) -> Call {
        step();
        Call(())
    }
}

/// Dropped when MPI's end begins.
pub(super) struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        Stage::Finalizing.begin();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        OVER.store(true, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        step();
    }
}

/// Sets how long a call may take.
fn limit(timeout: Duration) {
    let limit = timeout.saturating_add(SPARE).as_millis();
    LIMIT.store(u64::try_from(limit).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn step() {
    CALLS.store(CALLS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// From now on MPI ends the run with the exit code `code`, or the watch does.
pub(super) fn ending(code: i32) {
    CODE.store(code, Ordering::Relaxed);
}

/// Waits until what this rank has said is passed on, and for its turn to end the run.
pub(super) fn last_words() {
    thread::sleep(LAST_WORDS + TURN * u32::from(RANK.load(Ordering::Relaxed) % TURNS));
}

fn watch(rank_is_known: bool, abort: fn(i32), leave: fn(i32) -> !) {
    let mut before = (0, NONE);
    let mut unchanged = Duration::ZERO;
    while !OVER.load(Ordering::Relaxed) {
        thread::sleep(TICK);
        let now = (CALLS.load(Ordering::Relaxed), CODE.load(Ordering::Relaxed));
        let (calls, code) = now;
        let waits = if code == NONE { now == before && calls % 2 == 1 } else { code == before.1 };
        unchanged = if waits { unchanged + TICK } else { Duration::ZERO };
        before = now;
        if code != NONE && unchanged >= ENDING {
            leave(code);
        }
        let limit = Duration::from_millis(LIMIT.load(Ordering::Relaxed));
        if code == NONE && unchanged >= limit {
            let (stage, rank) = (Stage::now(), Rank(RANK.load(Ordering::Relaxed)));
            let who = if rank_is_known || stage > Stage::Initializing { format!("{rank}: ") } else { String::new() };
            terminal::note(&format!("mixnn: {who}error: {}", stage.complaint(limit.as_secs_f64())));
            if stage == Stage::Initializing || stage == Stage::Finalizing {
                last_words();
                leave(TIMED_OUT);
            }
            // MPI is to end the run from another thread than the one that it keeps. Where it does not, the watch does.
            ending(TIMED_OUT);
            if thread::Builder::new().spawn(move || abort(TIMED_OUT)).is_err() {
                leave(TIMED_OUT);
            }
        }
    }
}
