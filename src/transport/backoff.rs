//! How to wait for a peer that may need this very core: first spin or yield, then sleep. Where [someone
//! else](super::contention) wants the core, a wait sleeps at once.

use std::time::{Duration, Instant};

use super::contention::Contention;

/// How many times a wait yields before its first sleep, if nobody ends that sleep: for a few milliseconds. A sleep
/// takes the kernel far longer than it is asked for.
const YIELDS: u32 = 2000;
/// How many times a wait yields before a sleep that someone ends. Many yields would keep the cores from those who have
/// work. With none, a core falls idle that is wanted again at once (7 ranks on 2 cores: a third slower).
const YIELDS_IF_WOKEN: u32 = 20;
/// How long a sleep lasts that nobody ends, as far as the kernel's timers are that fine.
const SLEEP: Duration = Duration::from_micros(20);
/// Where someone else wants the core, a sleep that nobody ends lasts this part of the time waited so far: one over
/// `PART`. So few sleeps end in vain, and none ends much too late.
const PART: u32 = 8;
/// The longest sleep that nobody ends, where someone else wants the core and the wait is short. A message in pieces moves on only when
/// its two ends look.
const NAP: Duration = Duration::from_micros(200);
/// Wherever a wait takes long, a sleep that nobody ends lasts this part of the time waited so far: one over `PATIENCE`. So a wait ends
/// hardly later, and where a core has tens of ranks, those that wait leave it to the one that works.
const PATIENCE: u32 = 64;
/// The longest sleep that nobody ends.
const LONG_NAP: Duration = Duration::from_millis(2);
/// The longest sleep where someone else wants the core, and what is waited for ends the sleep in most cases.
const NAP_IF_WOKEN: Duration = Duration::from_millis(5);
/// The longest sleep that someone ends. The wait looks again after it.
const LONG: Duration = Duration::from_secs(1);

/// One wait. Where each rank has a core of its own, it spins. Else it yields a number of times, then sleeps.
pub struct Backoff {
    /// Whether it may spin, since this rank has a core of its own.
    spins: bool,
    /// How many times it has yielded so far.
    rounds: u32,
    /// When the wait began.
    began: Instant,
    /// When the time is over. `None` if that is too far away to be told.
    deadline: Option<Instant>,
    /// When the last pause ended. A thread that spins loses its core at any time, also while the caller looks, so what
    /// it has lost is counted from here.
    looked: Instant,
}

/// What a wait does in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Spin,
    Yield,
    Sleep(Duration),
}

impl Backoff {
    /// Begins a wait whose time is over after `timeout`.
    pub fn new(spins: bool, timeout: Duration) -> Self {
        Self::begun(spins, timeout, Instant::now())
    }

    fn begun(spins: bool, timeout: Duration, now: Instant) -> Self {
        Self { spins, rounds: 0, began: now, deadline: now.checked_add(timeout), looked: now }
    }

    /// Waits a little for something that does not end a sleep. Returns how long that took, or `None` if the time of the
    /// wait is over.
    pub fn pause(&mut self) -> Option<Duration> {
        self.wait(YIELDS, Self::nap, std::thread::sleep)
    }

    /// Waits a little for something that ends a sleep in most cases, but not always. `sleep` sleeps at most for the
    /// time that it is given. Returns what [`pause`](Backoff::pause) does.
    pub fn pause_unless_woken(&mut self, sleep: impl FnOnce(Duration)) -> Option<Duration> {
        let nap = |wait: &Self, wanted, now| if wanted { NAP_IF_WOKEN } else { wait.nap(wanted, now) };
        self.wait(YIELDS, nap, sleep)
    }

    /// Waits a little for something that always ends a sleep. `sleep` sleeps until then, at most for the time that it
    /// is given. Returns what [`pause`](Backoff::pause) does.
    pub fn pause_until_woken(&mut self, sleep: impl FnOnce(Duration)) -> Option<Duration> {
        self.wait(YIELDS_IF_WOKEN, |_, _, _| LONG, sleep)
    }

    /// How long a sleep is to last that nobody ends.
    fn nap(&self, wanted: bool, now: Instant) -> Duration {
        let waited = now.saturating_duration_since(self.began);
        let patient = (waited / PATIENCE).clamp(SLEEP, LONG_NAP);
        match wanted {
            true => (waited / PART).min(NAP).max(patient),
            false => patient,
        }
    }

    /// Does one step of a wait with this thread's clock, its core and `sleep`. It sleeps once it has made so many
    /// `yields`, for the time that `nap` says. `nap` is told whether someone else wants the core.
    fn wait(
        &mut self,
        yields: u32,
        nap: impl Fn(&Self, bool, Instant) -> Duration,
        sleep: impl FnOnce(Duration),
    ) -> Option<Duration> {
        let mut contention = Contention::learned();
        let act = |step| match step {
            Step::Spin => std::hint::spin_loop(),
            Step::Yield => std::thread::yield_now(),
            Step::Sleep(limit) => sleep(limit),
        };
        let waited = self.step(&mut contention, yields, nap, Instant::now, act);
        contention.keep();
        waited
    }

    /// Does one step of a wait, by the clock `now`, and learns from the time that it took whether someone else wants
    /// the core. `act` carries the step out.
    fn step(
        &mut self,
        contention: &mut Contention,
        yields: u32,
        nap: impl Fn(&Self, bool, Instant) -> Duration,
        now: impl Fn() -> Instant,
        act: impl FnOnce(Step),
    ) -> Option<Duration> {
        let before = now();
        let wanted = contention.is_felt(before);
        let step = if self.spins && !wanted {
            Step::Spin
        } else if self.rounds < yields && !wanted {
            self.rounds += 1;
            Step::Yield
        } else {
            let left = self.deadline.map_or(LONG, |deadline| deadline.saturating_duration_since(before));
            Step::Sleep(nap(self, wanted, before).min(left))
        };
        act(step);
        let after = now();
        match step {
            // Whoever spins never gives its core away. It is taken, at any time.
            Step::Spin => contention.saw(self.looked, after),
            Step::Yield => contention.saw(before, after),
            Step::Sleep(_) => {}
        }
        self.looked = after;
        match self.deadline {
            Some(deadline) if after > deadline => None,
            _ => Some(after - before),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);
    const QUICK: Duration = Duration::from_micros(2);
    const SLICE: Duration = Duration::from_millis(3);

    /// A thread on a simulated core. A yield or a turn of spinning takes `core`, and a sleep takes as long as it is
    /// asked to.
    struct Machine {
        clock: Cell<Instant>,
        core: Cell<Duration>,
        contention: Contention,
    }

    impl Machine {
        fn new(core: Duration) -> Self {
            Self { clock: Cell::new(Instant::now()), core: Cell::new(core), contention: Contention::NONE }
        }

        fn pass(&self, time: Duration) {
            self.clock.set(self.clock.get() + time);
        }

        /// What `backoff` does next.
        fn step(&mut self, backoff: &mut Backoff, yields: u32) -> Step {
            let did = Cell::new(Step::Spin);
            let (clock, core) = (&self.clock, &self.core);
            let act = |step| {
                did.set(step);
                let took = if let Step::Sleep(limit) = step { limit } else { core.get() };
                clock.set(clock.get() + took);
            };
            backoff.step(&mut self.contention, yields, Backoff::nap, || clock.get(), act);
            did.get()
        }

        /// What a wait of `steps` steps does, counted: spins, yields, sleeps.
        fn wait(&mut self, spins: bool, steps: usize) -> [usize; 3] {
            let mut backoff = Backoff::begun(spins, TIMEOUT, self.clock.get());
            let mut counts = [0; 3];
            for _ in 0..steps {
                let which = match self.step(&mut backoff, YIELDS_IF_WOKEN) {
                    Step::Spin => 0,
                    Step::Yield => 1,
                    Step::Sleep(_) => 2,
                };
                counts[which] += 1;
            }
            counts
        }
    }

    #[test]
    fn quick_yields_come_before_sleeps() {
        let mut machine = Machine::new(QUICK);
        for _ in 0..100 {
            assert_eq!(machine.wait(false, 30), [0, 20, 10]);
            assert_eq!(machine.wait(true, 30), [30, 0, 0]);
        }
    }

    /// Slices that a thread gives away before it takes its core to be wanted.
    const LEARNING: usize = 8;

    /// In ten seconds of waits few slices are given away. Without learning there would be as many as fit.
    #[test]
    fn slow_yields_are_the_last_for_a_while() {
        for spins in [false, true] {
            let mut machine = Machine::new(SLICE);
            let began = machine.clock.get();
            let (mut given, mut waits) = (0, 0);
            while machine.clock.get() < began + Duration::from_secs(10) {
                let [spun, yielded, slept] = machine.wait(spins, 20);
                let most = if waits == 0 { LEARNING } else { 1 };
                assert!(spun + yielded <= most && slept >= 20 - most, "{spun} {yielded} {slept}");
                given += spun + yielded;
                waits += 1;
            }
            assert!((9..=20).contains(&given), "{given} slices in {waits} waits");
        }
    }

    #[test]
    fn a_core_that_is_free_again_is_used_as_before() {
        let mut machine = Machine::new(SLICE);
        assert_eq!(machine.wait(false, 20), [0, LEARNING, 20 - LEARNING]);
        // Each slow yield comes soon after the time for which the one before has counted.
        for spell in [20, 160, 1280, 2560] {
            machine.pass(Duration::from_millis(spell));
            assert_eq!(machine.wait(false, 20), [0, 1, 19]);
        }
        machine.pass(Duration::from_millis(2560));
        machine.core.set(QUICK);
        machine.pass(Duration::from_secs(3));
        assert_eq!(machine.wait(false, 20), [0, 20, 0]);
        // Whoever takes it once more is not held to be there for as long as the one before.
        machine.pass(Duration::from_secs(10));
        machine.core.set(SLICE);
        assert_eq!(machine.wait(false, LEARNING + 1), [0, LEARNING, 1]);
        machine.pass(Duration::from_millis(20));
        assert_eq!(machine.wait(false, 1), [0, 1, 0]);
    }

    /// A peer that computes for some milliseconds at a term's start is not taken for someone else.
    #[test]
    fn a_slow_yield_now_and_then_changes_nothing() {
        let mut machine = Machine::new(QUICK);
        for _ in 0..200 {
            machine.core.set(SLICE);
            assert_eq!(machine.wait(false, 2), [0, 2, 0]);
            machine.core.set(QUICK);
            machine.pass(Duration::from_millis(60));
            assert_eq!(machine.wait(false, 20), [0, 20, 0]);
        }
    }

    /// Sleeps rarely end in vain and never much too late.
    #[test]
    fn sleeps_that_nobody_ends_grow_where_the_core_is_wanted() {
        let mut machine = Machine::new(SLICE);
        let mut backoff = Backoff::begun(false, TIMEOUT, machine.clock.get());
        (0..LEARNING).for_each(|_| assert_eq!(machine.step(&mut backoff, YIELDS), Step::Yield));
        backoff = Backoff::begun(false, TIMEOUT, machine.clock.get());
        let began = machine.clock.get();
        for _ in 0..30 {
            let waited = machine.clock.get() - began;
            let Step::Sleep(nap) = machine.step(&mut backoff, YIELDS) else { panic!("no sleep") };
            assert!(nap == SLEEP || nap == NAP || nap <= waited / PART, "{nap:?} after {waited:?}");
        }
        assert_eq!(machine.step(&mut backoff, YIELDS), Step::Sleep(NAP));
    }

    /// A wait that lasts long sleeps long, whether or not the core is known to be wanted, and never for more than a small part of the
    /// time that it has lasted.
    #[test]
    fn long_waits_leave_the_core_to_others() {
        for (core, soon) in [(QUICK, SLEEP), (SLICE, NAP)] {
            let mut machine = Machine::new(core);
            let mut backoff = Backoff::begun(false, TIMEOUT, machine.clock.get());
            let began = machine.clock.get();
            while machine.clock.get() < began + Duration::from_secs(1) {
                let waited = machine.clock.get() - began;
                if let Step::Sleep(nap) = machine.step(&mut backoff, YIELDS) {
                    assert!(nap <= soon.max(waited / PATIENCE), "{nap:?} after {waited:?}");
                }
            }
            assert_eq!(machine.step(&mut backoff, YIELDS), Step::Sleep(LONG_NAP));
        }
    }

    #[test]
    fn ends_after_its_time_and_not_before() {
        let woken: fn(&mut Backoff) -> Option<Duration> = |backoff| backoff.pause_until_woken(std::thread::sleep);
        for (spins, pause) in [(false, Backoff::pause as fn(&mut _) -> _), (true, Backoff::pause), (false, woken)] {
            let started = Instant::now();
            let mut backoff = Backoff::new(spins, Duration::from_millis(30));
            while pause(&mut backoff).is_some() {}
            let waited = started.elapsed();
            assert!(waited >= Duration::from_millis(30) && waited < Duration::from_secs(5), "{waited:?}");
        }
    }
}
