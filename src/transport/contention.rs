//! Whether someone else wants this core. A thread learns that from how long it takes to get its core back.
//!
//! A yield hands the core to whoever waits for it. Among ranks that wait for each other it comes back within
//! microseconds, since each of them has little to do. A process that computes without end keeps it for a whole slice of
//! the scheduler, some milliseconds, and a slot has hundreds of yields. A sleep costs more than a quick yield and far
//! less than a slice: a thread that is woken has run less than its share, so it goes before those that have run more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::slice;

/// A core that is away for at least this long has been someone else's. The shortest slices of common kernels are longer
/// than this.
const SLOW: Duration = Duration::from_millis(1);
/// How many turns of spinning there are between two looks at the clock.
const SPINS: u32 = 10;
/// How much time a thread must have lost to slow yields before someone else is taken to want its core. A peer's long
/// work, such as the keys of a term, makes only one yield slow, or two.
const ENOUGH: Duration = Duration::from_millis(24);
/// For how long losses are added up, from the beginning of the first of them.
const WINDOW: Duration = Duration::from_millis(100);
/// What has been lost must also be at least one over `PART` of the time since the first loss began.
const PART: u32 = 2;
/// For how long the core is taken to be wanted, once enough has been lost. Nothing is tried again meanwhile.
const FIRST: Duration = Duration::from_millis(20);
/// How many times longer the core is taken to be wanted if the trial after that time is slow again. Each trial costs a
/// slice on each rank, and a short run has few.
const LONGER: u32 = 8;
/// The longest time for which the core is taken to be wanted without a new trial. With seven ranks that lose 4 ms each
/// in a trial, trials then cost one part in a hundred.
const LONGEST: Duration = Duration::from_millis(2560);

thread_local! {
    /// What this thread has learned so far.
    static LEARNED: Cell<Contention> = const { Cell::new(Contention::NONE) };
    /// Whether this thread has asked for short slices.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// What one thread knows of its core.
#[derive(Clone, Copy)]
pub(super) struct Contention {
    /// Until when someone else is taken to want the core. It may have passed.
    until: Option<Instant>,
    /// For how long the core has been taken to be wanted, the last time.
    spell: Duration,
    /// When the first slow yield of the window began, and how much time has been lost since.
    losses: Option<(Instant, Duration)>,
}

impl Contention {
    /// What a thread knows at first: nothing has been slow.
    pub(super) const NONE: Self = Self { until: None, spell: FIRST, losses: None };

    /// What this thread has learned so far.
    pub(super) fn learned() -> Self {
        LEARNED.get()
    }

    /// Stores this as what the thread has learned. Once it has to share its core, it asks for short slices, so that it
    /// gets the core back soon after it is woken.
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

    /// Learns from a time, from `before` to `after`, for which the core was away, or may have been.
    pub(super) fn saw(&mut self, before: Instant, after: Instant) {
        let took = after.saturating_duration_since(before);
        if took < SLOW {
            return;
        }
        // This is a trial soon after the core was taken to be wanted, and it is slow again.
        if let Some(until) = self.until
            && after.saturating_duration_since(until) < self.spell
        {
            self.spell = (self.spell * LONGER).min(LONGEST);
            self.until = Some(after + self.spell);
            return;
        }
        // Else the loss counts together with those of the same window. Once they are enough, the core is taken to be
        // wanted.
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

/// Waits for a moment without sleeping: spins a little if `spins`, else yields. Learns from the time that it took
/// whether someone else wants the core.
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
