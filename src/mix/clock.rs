//! When the messages of a slot are sealed, and when they leave: as soon as their rank is ready, or when the time for work is over, whatever
//! the rank has to do (docs/PROTOCOL.md, 20).
//!
//! ```text
//! |-- work ------ seal |--phase--|--phase--|--phase--|-- work ------ seal |--phase--|
//!                      1         2         3         the inbox is here    1 of the next slot
//! ```
//!
//! How long a rank seals depends a little on what it has computed. So it seals within the time for work, as late as it dares, and its
//! messages leave when that time is over. Phases follow one another without waiting for a clock. Each is complete when the last rank has
//! begun it: so ranks stay together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::transport::{core_is_wanted, hold_core};

/// The longest time of a pace in nanoseconds: an hour (docs/PROTOCOL.md, 20.2).
pub const LONGEST_SLOT: u64 = 3_600_000_000_000;
/// Of how many slots it is known how long sealing took.
const SEALS: usize = 32;
/// Sealing is left so much more time than it took in any of the last [`SEALS`] slots. What a stage has written is sealed a little later than a relay's
/// cover, as it is still in another core's cache: that must not show in when it leaves.
const SPARE: Duration = Duration::from_micros(40);
/// How many times a rank that shares its core lets others go first, where all of them are about to do the same.
const TURNS: usize = 3;
/// How long before its time a wait that has no core to itself stops sleeping. The kernel's timers are not finer.
const WAKE: Duration = Duration::from_micros(60);

/// A pace: how long ranks have for their work (docs/PROTOCOL.md, 20.2). It is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// So many nanoseconds from the end of a slot's last phase until the messages of the next one leave.
    Work(u64),
    /// So many nanoseconds from when the messages of a slot leave until those of the next one do.
    Slots(u64),
}

impl Pace {
    /// A pace that gives ranks the time `work` in each slot.
    pub fn work(work: Duration) -> Self {
        Self::Work(nanoseconds(work))
    }

    /// A pace with slots of length `slot`.
    pub fn slots(slot: Duration) -> Self {
        Self::Slots(nanoseconds(slot))
    }

    /// Its time: for work, or of a slot.
    pub fn time(&self) -> Duration {
        let (Self::Work(time) | Self::Slots(time)) = self;
        Duration::from_nanos(*time)
    }

    /// Whether it is within the limits of docs/PROTOCOL.md, 20.2.
    pub fn fits(&self) -> bool {
        let (Self::Work(time) | Self::Slots(time)) = self;
        (1..=LONGEST_SLOT).contains(time)
    }
}

/// `time` in nanoseconds, within the limits of a pace.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_SLOT)
}

/// A rank's clock, for one term (docs/PROTOCOL.md, 20.3). It waits until it is time to seal, and to send.
pub struct Clock {
    /// The pace, or `None` in lockstep.
    pace: Option<Pace>,
    /// Whether this rank has a core of its own, so that a wait may spin.
    spins: bool,
    /// When the last phase of the last slot was complete, or the term began.
    over: Instant,
    /// When the messages of the last slot left or, in a slot of a fixed length, were to leave.
    left: Option<Instant>,
    /// When the messages of this slot are to leave.
    due: Instant,
    /// How long sealing has taken in the last slots.
    seals: VecDeque<Duration>,
    /// How many slots of a fixed length have begun late since [`take_overran`](Clock::take_overran).
    overran: u64,
}

impl Clock {
    /// A clock that goes at `pace`. Without a pace it waits for nothing. `spins` says that this rank has a core of its
    /// own, so that a wait may spin.
    pub fn new(pace: Option<Pace>, spins: bool) -> Self {
        let now = Instant::now();
        Self { pace, spins, over: now, left: None, due: now, seals: VecDeque::with_capacity(SEALS), overran: 0 }
    }

    /// Goes at `pace` from the next slot on.
    pub fn set(&mut self, pace: Pace) {
        self.pace = Some(pace);
    }

    /// Notes that the last phase of a slot is complete.
    pub fn slot_is_over(&mut self) {
        self.over = Instant::now();
    }

    /// Lets threads that wait for this rank's core go first, under a pace, unless someone else wants the core. Returns how long that took.
    ///
    /// A rank that does so when a slot is over, and again before its role works, holds up no rank that has still to see that the slot is
    /// over. Else these would be late for the next one, where the rank of a stage that works long is not.
    pub fn let_others_go_first(&self) -> Duration {
        if self.pace.is_none() {
            return Duration::ZERO;
        }
        let before = Instant::now();
        let mut now = before;
        for _ in 0..TURNS {
            // A turn would last as long as a slice of the scheduler.
            if core_is_wanted(now) {
                break;
            }
            hold_core(self.spins);
            now = Instant::now();
        }
        now - before
    }

    /// How many slots have overrun since this was last asked: the exchange before took longer than a slot may (docs/PROTOCOL.md, 20.5).
    pub fn take_overran(&mut self) -> u64 {
        std::mem::take(&mut self.overran)
    }

    /// How much of the time for work is left for sealing: more than it took of late, at most half of that time.
    pub fn margin(&self) -> Duration {
        let Some(pace) = self.pace else { return Duration::ZERO };
        let longest = self.seals.iter().copied().max().unwrap_or(Duration::ZERO);
        (longest + SPARE).min(pace.time() / 2)
    }

    /// Waits until the messages of the next slot are to be sealed. Returns how long it has waited.
    pub fn wait_to_seal(&mut self) -> Duration {
        let now = Instant::now();
        let seal_at = self.seal_at(now);
        self.wait(now, seal_at)
    }

    /// When the messages of the next slot are to be sealed, on a rank that could do it `now`. Notes when they are to leave.
    fn seal_at(&mut self, now: Instant) -> Instant {
        self.due = self.due(now);
        self.due.checked_sub(self.margin()).unwrap_or(now)
    }

    /// Waits until the messages are to leave, whose sealing has taken as long as `sealed`. Returns how long it has waited.
    pub fn wait_to_send(&mut self, sealed: Duration) -> Duration {
        if self.pace.is_none() {
            return Duration::ZERO;
        }
        if self.seals.len() == SEALS {
            self.seals.pop_front();
        }
        self.seals.push_back(sealed);
        self.wait(Instant::now(), self.due)
    }

    /// Waits from `before` on until something is `due`. Returns how long it has waited.
    fn wait(&self, before: Instant, due: Instant) -> Duration {
        let mut now = before;
        while now < due {
            match next(due - now, self.spins, core_is_wanted(now)) {
                Rest::Sleep(time) => std::thread::sleep(time),
                Rest::Spin => std::hint::spin_loop(),
                Rest::Hold => hold_core(self.spins),
            }
            now = Instant::now();
        }
        now - before
    }

    /// When the messages of the next slot are to leave, on a rank that could seal them `now`.
    fn due(&mut self, now: Instant) -> Instant {
        let due = match (self.pace, self.left) {
            (Some(Pace::Work(time)), _) => self.over + Duration::from_nanos(time),
            (Some(Pace::Slots(time)), Some(left)) => left + Duration::from_nanos(time),
            (None, _) | (Some(Pace::Slots(_)), None) => now,
        };
        // 20.5: the time that was lost is not made up for.
        self.overran += u64::from(due < now);
        self.left = Some(due.max(now));
        due
    }
}

/// What a wait does for a moment.
#[derive(Debug, PartialEq)]
enum Rest {
    /// Sleeps for this long.
    Sleep(Duration),
    /// Spins, and keeps the core.
    Spin,
    /// Spins or yields, and learns whether someone else wants the core.
    Hold,
}

/// What a wait does that has the time `left`. `spins` says that it has a core of its own, and `wanted` that someone
/// else wants that core.
fn next(left: Duration, spins: bool, wanted: bool) -> Rest {
    match wanted || !spins {
        true if left > WAKE => Rest::Sleep(left - WAKE),
        // A thread that yields now would get its core back much too late.
        true if wanted => Rest::Spin,
        _ => Rest::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(40);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The time for work begins when a slot is over, however long that has taken.
    #[test]
    fn work_has_its_time_behind_each_slot() {
        let mut clock = Clock::new(Some(Pace::work(TIME)), false);
        assert_eq!(clock.due(clock.over), clock.over + TIME, "the first slot, too");
        let before = clock.over;
        std::thread::sleep(ms(2));
        clock.slot_is_over();
        assert!(clock.over >= before + ms(2));
        assert_eq!((clock.due(clock.over), clock.take_overran()), (clock.over + TIME, 0));
    }

    /// Slots of a fixed length begin at their times, however long an exchange takes, as long as it is done in time.
    #[test]
    fn slots_begin_at_their_times() {
        let (mut clock, start) = (Clock::new(Some(Pace::slots(TIME)), false), Instant::now());
        assert_eq!(clock.due(start), start);
        for (slot, exchange) in [0, 7, 1, 39, 5].into_iter().enumerate() {
            let began = start + TIME * slot as u32;
            assert_eq!(clock.due(began + ms(exchange)), began + TIME);
        }
        assert_eq!(clock.take_overran(), 0);
        let late = start + TIME * 7;
        assert!(clock.due(late) < late);
        assert_eq!((clock.take_overran(), clock.take_overran()), (1, 0));
        assert_eq!(clock.due(late + ms(1)), late + TIME, "the time that was lost is not made up for");
    }

    /// Messages leave when they are due, whether the rank has a core to wait on or not, and however long it has sealed.
    #[test]
    fn nothing_leaves_before_its_time() {
        for (spins, pace) in [(false, Pace::work(TIME)), (true, Pace::work(TIME)), (false, Pace::slots(TIME))] {
            for sealing in [ms(0), ms(5)] {
                let mut clock = Clock::new(Some(pace), spins);
                clock.wait_to_seal();
                clock.wait_to_send(sealing);
                clock.slot_is_over();
                let began = Instant::now();
                let mut waited = clock.wait_to_seal();
                std::thread::sleep(sealing);
                waited += clock.wait_to_send(sealing);
                assert!(began.elapsed() >= TIME - ms(1), "{pace:?}");
                assert!(waited + sealing <= began.elapsed(), "{pace:?}: {waited:?}");
            }
        }
    }

    /// Sealing begins a little longer before its messages leave than it has taken of late, and never takes more than half of the time for
    /// work.
    #[test]
    fn sealing_is_left_the_time_that_it_takes() {
        let mut clock = Clock::new(Some(Pace::work(TIME)), false);
        assert_eq!(clock.margin(), SPARE, "nothing is known yet");
        let mut seal = |took: Duration, times: usize| {
            // What is due is over.
            (0..times).for_each(|_| _ = clock.wait_to_send(took));
            clock.margin()
        };
        assert_eq!(seal(ms(2), SEALS), ms(2) + SPARE);
        assert_eq!(seal(ms(9), 1), ms(9) + SPARE);
        assert_eq!(seal(ms(2), SEALS - 1), ms(9) + SPARE);
        assert_eq!(seal(ms(2), 1), ms(2) + SPARE, "what was slow long ago does not count");
        assert_eq!(seal(2 * TIME, SEALS), TIME / 2);
        assert_eq!(clock.seal_at(clock.over), clock.over + TIME / 2);
        assert_eq!(clock.due, clock.over + TIME);
        let mut free = Clock::new(None, false);
        assert_eq!((free.wait_to_send(ms(2)), free.margin()), (Duration::ZERO, Duration::ZERO));
    }

    /// Nobody holds a core that someone else wants.
    #[test]
    fn a_core_that_is_wanted_is_left_until_just_before_the_time() {
        for spins in [false, true] {
            assert_eq!(next(ms(10), spins, true), Rest::Sleep(ms(10) - WAKE));
            assert_eq!(next(WAKE, spins, true), Rest::Spin);
            assert_eq!(next(WAKE, spins, false), Rest::Hold);
        }
        assert_eq!(next(ms(10), true, false), Rest::Hold);
        assert_eq!(next(ms(10), false, false), Rest::Sleep(ms(10) - WAKE));
    }

    /// A rank lets others go first under a pace alone.
    #[test]
    fn others_go_first_under_a_pace() {
        for spins in [false, true] {
            assert_eq!(Clock::new(None, spins).let_others_go_first(), Duration::ZERO);
            let paced = Clock::new(Some(Pace::work(TIME)), spins);
            // A clock may be too coarse to see one time, and others may want the core for long.
            let began = Instant::now();
            while paced.let_others_go_first() == Duration::ZERO {
                assert!(began.elapsed() < Duration::from_secs(120), "nobody ever goes first");
            }
        }
    }

    /// A thread that waits for the same core gets it meanwhile, in some of many tries: who goes next is the scheduler's to say.
    #[cfg(target_os = "linux")]
    #[test]
    fn who_waits_for_the_core_gets_it() {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        /// Has this thread run on the first core that it may run on, and on no other.
        fn on_one_core() {
            let allowed = sched_getaffinity(None).unwrap();
            let mut one = CpuSet::new();
            one.set((0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).unwrap());
            sched_setaffinity(None, &one).unwrap();
        }

        let went = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                on_one_core();
                while !over.load(Ordering::Relaxed) {
                    went.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
            let waits = scope.spawn(|| {
                on_one_core();
                let clock = Clock::new(Some(Pace::work(TIME)), false);
                // The other thread has begun.
                while went.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                let gets_it = |_: &usize| {
                    let before = went.load(Ordering::Relaxed);
                    clock.let_others_go_first();
                    went.load(Ordering::Relaxed) > before
                };
                (0..1000).filter(gets_it).count()
            });
            let got_it = waits.join();
            over.store(true, Ordering::Relaxed);
            // Without turns the scheduler would hardly change threads in so short a time.
            assert!(got_it.unwrap() >= 3);
        });
    }

    #[test]
    fn without_a_pace_nothing_is_due() {
        let (mut clock, start) = (Clock::new(None, false), Instant::now());
        assert_eq!((clock.due(start), clock.due(start + ms(3))), (start, start + ms(3)));
        clock.set(Pace::work(TIME));
        assert_eq!(clock.due(start), clock.over + TIME);
    }

    #[test]
    fn a_pace_has_limits() {
        assert_eq!(Pace::work(Duration::ZERO), Pace::Work(1));
        assert_eq!(Pace::slots(Duration::MAX), Pace::Slots(LONGEST_SLOT));
        assert!(Pace::Work(LONGEST_SLOT).fits() && !Pace::Work(LONGEST_SLOT + 1).fits() && !Pace::Slots(0).fits());
    }
}
