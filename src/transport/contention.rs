//! Whether someone else wants this core: learned from how long it takes to get it back.
//!
//! A yield hands the core to whoever waits for it. Among ranks that wait for each other it comes back within microseconds, since
//! each of them has little to do. A process that computes without end keeps it for a whole slice of the scheduler's, some
//! milliseconds, and slots have hundreds of yields. A sleep costs more than a quick yield and far less than a slice: who is woken
//! has run less than its share and goes before those who have run more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::slice;

/// A core that is away for so long has been someone else's: the shortest slices of common kernels are longer.
const SLOW: Duration = Duration::from_millis(1);
/// Turns of spinning between two looks at the clock.
const SPINS: u32 = 10;
/// How much must have been lost to slow yields before someone else is taken to want the core. A peer's long work, such as the keys of
/// a term, makes one slow, or two.
const ENOUGH: Duration = Duration::from_millis(24);
/// Within which time.
const WINDOW: Duration = Duration::from_millis(100);
/// And which part of the time since the first of them.
const PART: u32 = 2;
/// How long nothing is tried again after that.
const FIRST: Duration = Duration::from_millis(20);
/// How many times as long after each one that comes soon after another. Each trial costs a slice on each rank: a short run has few.
const LONGER: u32 = 8;
/// How long nothing is tried again, at most: with seven ranks that lose 4 ms each, one part in a hundred.
const LONGEST: Duration = Duration::from_millis(2560);

thread_local! {
    /// What this thread has learned.
    static LEARNED: Cell<Contention> = const { Cell::new(Contention::NONE) };
    /// Whether it has asked for short slices.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// What one thread knows of its core.
#[derive(Clone, Copy)]
pub(super) struct Contention {
    /// Until when the core is taken to be wanted.
    until: Option<Instant>,
    /// How long that has been said for.
    spell: Duration,
    /// When the first slow yield of a window began, and how much has been lost since.
    losses: Option<(Instant, Duration)>,
}

impl Contention {
    /// Nothing has been slow.
    pub(super) const NONE: Self = Self { until: None, spell: FIRST, losses: None };

    /// What this thread has learned so far.
    pub(super) fn learned() -> Self {
        LEARNED.get()
    }

    /// Keeps what this thread has learned. Once it has to share its core, it is to come to it soon when it is woken.
    pub(super) fn keep(self) {
        if self.until.is_some() && !ASKED.replace(true) {
            slice::shorten();
        }
        LEARNED.set(self);
    }

    /// Whether someone else is taken to want the core at `now`.
    pub(super) fn is_felt(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The core was away, or may have been, from `before` to `after`.
    pub(super) fn saw(&mut self, before: Instant, after: Instant) {
        let took = after.saturating_duration_since(before);
        if took < SLOW {
            return;
        }
        // A trial that is slow again, soon after the last time.
        if let Some(until) = self.until
            && after.saturating_duration_since(until) < self.spell
        {
            self.spell = (self.spell * LONGER).min(LONGEST);
            self.until = Some(after + self.spell);
            return;
        }
        let (began, lost) = match self.losses {
            Some((began, lost)) if after.saturating_duration_since(began) < WINDOW => (began, lost + took),
            _ => (before, took),
        };
        self.losses = Some((began, lost));
        if lost >= ENOUGH && lost * PART >= after.saturating_duration_since(began) {
            *self = Self { until: Some(after + FIRST), spell: FIRST, losses: None };
        }
    }
}

/// Whether someone else than the ranks of this run is taken to want this thread's core at `now`.
pub fn core_is_wanted(now: Instant) -> bool {
    Contention::learned().is_felt(now)
}

/// Spins a little or yields, and learns from how long that takes.
pub fn hold_core(spins: bool) {
    let before = Instant::now();
    match spins {
        true => (0..SPINS).for_each(|_| std::hint::spin_loop()),
        false => std::thread::yield_now(),
    }
    let mut contention = Contention::learned();
    contention.saw(before, Instant::now());
    contention.keep();
}
