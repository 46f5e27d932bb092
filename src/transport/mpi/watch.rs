//! Ends this process if MPI does not give it back. Some of MPI's calls wait for peers without a deadline. A peer that
//! was stopped there or has never come, or a launcher that does not answer, would keep this rank for ever
//! (docs/PROTOCOL.md, 17.7).
//!
//! The state below belongs to the process, as MPI does.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::ids::Rank;
use crate::terminal;
use crate::threads::Starved;

/// How much longer than the time-out a call may take.
const SPARE: Duration = Duration::from_secs(2);
/// How long MPI may take to end the run, before the watch ends the process.
const ENDING: Duration = Duration::from_secs(3);
/// How long a rank waits between its last words and the end. A launcher drops what it has not passed on by then.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How much longer each rank waits than the one before it. Ranks that notice the same at once are not to end the run at
/// once: Open MPI's launcher may crash then, and lose the exit code.
const TURN: Duration = Duration::from_millis(100);
/// After so many ranks the extra wait begins with none again.
const TURNS: u16 = 8;
/// How often the watch looks. It counts its looks to measure time, so that no time counts for which the process itself
/// was stopped.
const TICK: Duration = Duration::from_millis(250);
/// The exit code of a time-out.
const TIMED_OUT: i32 = 5;
/// What stands in place of an exit code if there is none.
const NONE: i32 = -1;

/// How many calls of MPI have been entered and left, both together: odd within a call. Only the thread that calls MPI
/// counts here.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// How many milliseconds a call may take.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// The exit code with which this rank is ending the run, or [`NONE`].
static CODE: AtomicI32 = AtomicI32::new(NONE);
/// This rank's number, as far as it is known.
static RANK: AtomicU16 = AtomicU16::new(0);
/// How far this rank has come: the number of an [`MpiState`].
static STATE: AtomicU8 = AtomicU8::new(MpiState::Initializing as u8);
/// Whether there is nothing more to watch.
static OVER: AtomicBool = AtomicBool::new(false);

/// How far MPI has come for this rank.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(u8)]
enum MpiState {
    /// It starts, for which all ranks must come. It knows no communicator yet whose ranks it could end.
    Initializing,
    /// It lets ranks learn of each other. This rank does not know a run yet.
    Meeting,
    /// It carries a run.
    Running,
    /// It ends, for which all ranks must come. It knows no communicator any more.
    Finalizing,
}

impl MpiState {
    /// The state that this process has reached.
    fn now() -> Self {
        let states = [MpiState::Initializing, MpiState::Meeting, MpiState::Running, MpiState::Finalizing];
        states[usize::from(STATE.load(Ordering::Relaxed)).min(3)]
    }

    /// Notes that this state has been reached.
    fn begin(self) {
        STATE.store(self as u8, Ordering::Relaxed);
    }

    /// What a user is told if a call of this state has taken `seconds`.
    fn complaint(self, seconds: f64) -> String {
        match self {
            MpiState::Initializing => format!(
                "MPI_Init has not come back for {seconds} s: it waits for a rank that hangs or has not got to start mixnn; the run \
                 ends (--start-timeout)"
            ),
            MpiState::Meeting => format!(
                "MPI has kept this rank waiting for {seconds} s, before any run: another rank hangs; the run ends (--start-timeout)"
            ),
            MpiState::Running => format!(
                "MPI has kept this rank waiting for {seconds} s: another rank hangs; the run ends (transport.timeout)"
            ),
            MpiState::Finalizing => format!(
                "MPI_Finalize has not come back for {seconds} s, behind the end of the run: another rank hangs, or MPI does; this \
                 process ends (transport.timeout)"
            ),
        }
    }
}

/// The watch over this process's calls of MPI. It ends when this is dropped.
pub(super) struct Watch(());

/// A call of MPI that goes on until this is dropped.
pub(super) struct Call(());

impl Watch {
    /// Begins to watch, before MPI is initialized. A call may take `patience` and [`SPARE`]. `abort` ends the whole run
    /// with an exit code, `leave` ends this process at once. `rank` is this rank's number, as far as it is known.
    ///
    /// # Errors
    /// [`Starved`] if there is no thread to watch.
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

    /// Notes that MPI is initialized, and that this process is `rank`.
    pub(super) fn initialized(&self, rank: Rank) {
        RANK.store(rank.0, Ordering::Relaxed);
        MpiState::Meeting.begin();
    }

    /// Lets calls take `timeout` and [`SPARE`] from now on, in a run that this rank knows.
    pub(super) fn set_timeout(&self, timeout: Duration) {
        limit(timeout);
        MpiState::Running.begin();
    }

    /// Notes that a call of MPI begins. It goes on until what this returns is dropped.
    pub(super) fn call(&self) -> Call {
        step();
        Call(())
    }
}

/// Stands for the time in which MPI runs. It has to be dropped when MPI's end begins.
pub(super) struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        MpiState::Finalizing.begin();
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

/// Lets calls take `timeout` and [`SPARE`].
fn limit(timeout: Duration) {
    let limit = timeout.saturating_add(SPARE).as_millis();
    LIMIT.store(u64::try_from(limit).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Counts that a call has been entered or left.
fn step() {
    CALLS.store(CALLS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Notes that MPI is to end the run with the exit code `code`. If it does not within [`ENDING`], the watch ends this
/// process with it.
pub(super) fn ending(code: i32) {
    CODE.store(code, Ordering::Relaxed);
}

/// Waits until what this rank has said is passed on, and then until it is its turn to end the run.
pub(super) fn last_words() {
    thread::sleep(LAST_WORDS + TURN * u32::from(RANK.load(Ordering::Relaxed) % TURNS));
}

/// The thread that watches. It looks once a [`TICK`] whether the same call still goes on, or the same end of the run.
fn watch(rank_is_known: bool, abort: fn(i32), leave: fn(i32) -> !) {
    let mut before = (0, NONE);
    let mut unchanged = Duration::ZERO;
    while !OVER.load(Ordering::Relaxed) {
        thread::sleep(TICK);
        let now = (CALLS.load(Ordering::Relaxed), CODE.load(Ordering::Relaxed));
        let (calls, code) = now;
        // While this rank ends the run, the end is waited for. Else a call is, if the last look saw the same one.
        let waits = if code == NONE { now == before && calls % 2 == 1 } else { code == before.1 };
        unchanged = if waits { unchanged + TICK } else { Duration::ZERO };
        before = now;
        // MPI has not ended the run in its time.
        if code != NONE && unchanged >= ENDING {
            leave(code);
        }
        let limit = Duration::from_millis(LIMIT.load(Ordering::Relaxed));
        // A call has taken longer than it may.
        if code == NONE && unchanged >= limit {
            let (state, rank) = (MpiState::now(), Rank(RANK.load(Ordering::Relaxed)));
            let who =
                if rank_is_known || state > MpiState::Initializing { format!("{rank}: ") } else { String::new() };
            terminal::note(&format!("mixnn: {who}error: {}", state.complaint(limit.as_secs_f64())));
            // Without a communicator there is no run that MPI could end. So this process ends alone, and its launcher
            // ends the others.
            if state == MpiState::Initializing || state == MpiState::Finalizing {
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
