//! When phases begin: as soon as their rank is ready, or at fixed times whatever the ranks have to do
//! (docs/PROTOCOL.md, 20).
//!
//! ```text
//! |--phase--|--phase--|--phase--|-------- work --------|--phase--|
//! 1         2         3         the inbox is here      seal      1 of the next slot
//! ```
//!
//! Every rank goes by its own clock from its own first phase on. The first phase of each slot keeps the clocks
//! together: it is complete at the same moment on all ranks, when the last of them has begun it (20.4).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ids::Phase;
use crate::transport::{core_is_wanted, hold_core};

/// The longest slot in nanoseconds: an hour (docs/PROTOCOL.md, 20.2).
pub const LONGEST_SLOT: u64 = 3_600_000_000_000;
/// The largest share that a phase may have of a slot, in parts of 65,536 (docs/PROTOCOL.md, 20.2). Up to four phases
/// and the sealing have to fit into the slot.
const LARGEST_SHARE: u16 = u16::MAX / 5;
/// The part of its time, 2/3, after which the first phase should be complete (docs/PROTOCOL.md, 20.4). The rest is for
/// what has to be done then.
const COMPLETE: (u32, u32) = (2, 3);
/// A phase that begins late by less than a slot over `DRIFT` is not counted as late: clocks may differ by that much
/// (docs/PROTOCOL.md, 20.6).
const DRIFT: u32 = 1000;
/// How long before its time a wait that has no core to itself stops sleeping. The kernel's timers are not finer.
const WAKE: Duration = Duration::from_micros(60);

/// A fixed pace: how long slots and phases are (docs/PROTOCOL.md, 20.2). It is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many nanoseconds there are from slot to slot.
    pub slot: u64,
    /// The share of the slot that each phase has, in parts of 65,536. Sealing before the first phase has as much.
    pub share: u16,
}

impl Pace {
    /// A pace with slots of length `slot` and phases of about `phase`. Phases are shorter if `hops` of them, the
    /// sealing and the work would not fit into a slot.
    pub fn new(slot: Duration, phase: Duration, hops: u8) -> Self {
        let slot = u64::try_from(slot.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_SLOT);
        let share = (phase.as_nanos() << 16) / u128::from(slot);
        let most = u16::MAX / u16::from(hops + 2);
        Self { slot, share: u16::try_from(share).unwrap_or(u16::MAX).clamp(1, most.min(LARGEST_SHARE)) }
    }

    /// A pace with slots of length `slot`, in which each of the `hops` phases, the sealing and the ranks' work have the
    /// same share (docs/PROTOCOL.md, 20.7).
    pub fn even(slot: Duration, hops: u8) -> Self {
        Self::new(slot, slot / u32::from(hops + 2), hops)
    }

    /// Whether it is within the limits of docs/PROTOCOL.md, 20.2.
    pub fn fits(&self) -> bool {
        (1..=LONGEST_SLOT).contains(&self.slot) && (1..=LARGEST_SHARE).contains(&self.share)
    }

    /// The time from the beginning of a slot to that of the next one.
    pub fn slot(&self) -> Duration {
        Duration::from_nanos(self.slot)
    }

    /// The time from the beginning of a phase to that of the next one: `slot * share / 65,536` (docs/PROTOCOL.md,
    /// 20.2).
    pub fn phase(&self) -> Duration {
        Duration::from_nanos(((u128::from(self.slot) * u128::from(self.share)) >> 16) as u64)
    }
}

/// A rank's clock, for one term (docs/PROTOCOL.md, 20.3). It waits until it is time to seal or to begin a phase.
pub struct Clock {
    /// The pace, or `None` in lockstep.
    pace: Option<Pace>,
    /// Whether this rank has a core of its own, so that a wait may spin.
    spins: bool,
    /// When this slot began or was to begin: T in docs/PROTOCOL.md, 20.3. `None` before the first slot at this pace.
    began: Option<Instant>,
    /// When the last wait ended. What this rank does until the next wait is measured from here.
    since: Instant,
    /// Whether a phase of this slot has begun late.
    late: bool,
    /// How many slots have had a late phase since [`take_overran`](Clock::take_overran).
    overran: u64,
    /// The longest time between two waits since [`take_longest`](Clock::take_longest).
    longest: Duration,
}

impl Clock {
    /// A clock that goes at `pace`. Without a pace it waits for nothing. `spins` says that this rank has a core of its
    /// own, so that a wait may spin.
    pub fn new(pace: Option<Pace>, spins: bool) -> Self {
        let since = Instant::now();
        Self { pace, spins, began: None, since, late: false, overran: 0, longest: Duration::ZERO }
    }

    /// Goes at `pace` from the next slot on.
    pub fn set(&mut self, pace: Pace) {
        (self.pace, self.began) = (Some(pace), None);
    }

    /// How many slots have overrun since this was last asked: one of their phases began late (docs/PROTOCOL.md, 20.6).
    pub fn take_overran(&mut self) -> u64 {
        std::mem::take(&mut self.overran)
    }

    /// The longest time that a phase, or the sealing, has taken this rank since this was last asked. A phase must have
    /// at least that (docs/PROTOCOL.md, 20.8).
    pub fn take_longest(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }

    /// Waits until the messages of the next slot are to be sealed. Call this when the work of the last phase is done.
    /// Returns how long it has waited.
    pub fn wait_to_seal(&mut self) -> Duration {
        self.wait(self.seal_due())
    }

    /// Waits until `phase` is to begin. Returns how long it has waited.
    pub fn wait_for(&mut self, phase: Phase) -> Duration {
        let due = self.due(phase, Instant::now());
        self.wait(due)
    }

    /// Notes that the blocks of the first phase are here (docs/PROTOCOL.md, 20.4). All ranks have begun that phase by
    /// now. If that is later than it should be, this clock is ahead of another, or of a rank that was late, and is put
    /// off by the difference.
    pub fn first_is_here(&mut self) {
        self.first_came(Instant::now());
    }

    /// Does what [`first_is_here`](Clock::first_is_here) does, at the time `now`.
    fn first_came(&mut self, now: Instant) {
        if let Some((began, pace)) = self.began.as_mut().zip(self.pace) {
            let latest = *began + pace.phase() * COMPLETE.0 / COMPLETE.1;
            *began += now.saturating_duration_since(latest);
        }
    }

    /// When the next slot is to begin: T + slot (docs/PROTOCOL.md, 20.3). `None` in lockstep and before the first slot.
    fn next_slot(&self) -> Option<Instant> {
        self.began.zip(self.pace).map(|(began, pace)| began + pace.slot())
    }

    /// When the messages of the next slot are to be sealed: T + slot - phase (docs/PROTOCOL.md, 20.3).
    fn seal_due(&self) -> Option<Instant> {
        self.next_slot().zip(self.pace).map(|(next, pace)| next - pace.phase())
    }

    /// When `phase` is to begin, on a rank that is ready for it `now`: T + (p - 1) phase (docs/PROTOCOL.md, 20.3). Its
    /// first phase begins a slot and sets T. Counts a slot in which a phase is late.
    fn due(&mut self, phase: Phase, now: Instant) -> Option<Instant> {
        let mut due = self.began.zip(self.pace).map(|(began, pace)| began + pace.phase() * u32::from(phase.0 - 1));
        if phase == Phase(1) {
            self.late = false;
            due = self.next_slot();
            // 20.5: a rank that is late for a first phase begins at once, and its T is that time.
            self.began = self.pace.map(|_| due.map_or(now, |due| due.max(now)));
        }
        // 20.6: a slot has overrun where one of its phases is late by more than clocks may differ.
        if let Some((due, pace)) = due.zip(self.pace)
            && now.saturating_duration_since(due) > pace.slot() / DRIFT
            && !self.late
        {
            self.late = true;
            self.overran += 1;
        }
        due
    }

    /// Measures the time since the last wait, then waits until `due`. Returns how long it has waited.
    fn wait(&mut self, due: Option<Instant>) -> Duration {
        let before = Instant::now();
        self.longest = self.longest.max(before - self.since);
        self.since = before;
        let Some(due) = due else { return Duration::ZERO };
        while self.since < due {
            match next(due - self.since, self.spins, core_is_wanted(self.since)) {
                Rest::Sleep(time) => std::thread::sleep(time),
                Rest::Spin => std::hint::spin_loop(),
                Rest::Hold => hold_core(self.spins),
            }
            self.since = Instant::now();
        }
        self.since - before
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

    const SLOT: Duration = Duration::from_millis(40);
    const PACE: Pace = Pace { slot: 40_000_000, share: u16::MAX / 5 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A clock that has begun its first slot, and when it did.
    fn begun() -> (Clock, Instant) {
        let (mut clock, start) = (Clock::new(Some(PACE), false), Instant::now());
        assert_eq!(clock.due(Phase(1), start), None);
        (clock, start)
    }

    /// Phases are due at their times however long a rank works, as long as it is done in time.
    #[test]
    fn phases_are_due_at_their_times() {
        let (mut clock, start) = begun();
        for (slot, work) in [0, 7, 1, 39, 5].into_iter().enumerate().skip(1) {
            let began = start + SLOT * (slot as u32 - 1);
            for phase in [2, 3] {
                let due = began + PACE.phase() * u32::from(phase - 1);
                assert_eq!(clock.due(Phase(phase), due - ms(1)), Some(due));
            }
            let next = began + SLOT;
            assert_eq!(clock.seal_due(), Some(next - PACE.phase()));
            assert_eq!(clock.due(Phase(1), began + ms(work)), Some(next));
        }
        assert_eq!(clock.take_overran(), 0);
    }

    #[test]
    fn a_slot_that_is_late_is_counted_once_and_moves_what_follows() {
        let (mut clock, start) = begun();
        let late = start + SLOT * 2;
        assert_eq!(clock.due(Phase(1), late), Some(start + SLOT));
        // This phase is late again, in the same slot.
        clock.due(Phase(2), late + SLOT / 2);
        assert_eq!((clock.take_overran(), clock.take_overran()), (1, 0));
        // The time that was lost is not made up for.
        assert_eq!(clock.due(Phase(1), late + ms(1)), Some(late + SLOT));
        // It is late by no more than clocks may differ.
        clock.due(Phase(1), late + SLOT * 2 + Duration::from_micros(30));
        assert_eq!(clock.take_overran(), 0);
    }

    /// Blocks of a first phase that come long after that should have begun put the clock off, by the time that it is.
    #[test]
    fn blocks_that_come_late_put_the_clock_off() {
        let (mut clock, start) = begun();
        std::thread::sleep(SLOT);
        clock.first_is_here();
        assert!(clock.seal_due().is_some_and(|due| due > start + SLOT));
    }

    /// A clock that is ahead of another one falls back to it. One that is not ahead stays.
    #[test]
    fn clocks_keep_together() {
        let usual = PACE.phase() * COMPLETE.0 / COMPLETE.1;
        for (here, back) in [(usual - ms(1), ms(0)), (usual, ms(0)), (usual + ms(20), ms(20))] {
            let (mut clock, start) = begun();
            clock.first_came(start + here);
            assert_eq!(clock.due(Phase(2), start), Some(start + PACE.phase() + back));
            assert_eq!(clock.due(Phase(1), start), Some(start + SLOT + back));
        }
    }

    /// What is due is waited for, whether the rank has a core to wait on or not.
    #[test]
    fn nothing_begins_before_its_time() {
        for spins in [false, true] {
            let mut clock = Clock::new(Some(PACE), spins);
            clock.wait_for(Phase(1));
            let began = clock.began.unwrap();
            for phase in [2, 3] {
                clock.wait_for(Phase(phase));
                assert!(Instant::now() >= began + PACE.phase() * u32::from(phase - 1));
            }
            clock.wait_to_seal();
            assert!(Instant::now() >= began + SLOT - PACE.phase());
            clock.wait_for(Phase(1));
            assert!(Instant::now() >= began + SLOT);
        }
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

    #[test]
    fn without_a_pace_nothing_is_due() {
        let (mut clock, start) = (Clock::new(None, false), Instant::now());
        for phase in [1, 2, 3, 1, 2, 3] {
            assert_eq!(clock.due(Phase(phase), start), None);
        }
        assert_eq!(clock.seal_due(), None);
        clock.set(PACE);
        assert_eq!(clock.due(Phase(1), start), None);
        assert_eq!(clock.due(Phase(2), start), Some(start + PACE.phase()));
    }

    /// What a phase has taken is told, for whoever sets the pace.
    #[test]
    fn the_longest_phase_is_told() {
        let mut clock = Clock::new(None, false);
        clock.wait_for(Phase(1));
        std::thread::sleep(ms(5));
        clock.wait_for(Phase(2));
        assert!(clock.take_longest() >= ms(5));
        assert_eq!(clock.take_longest(), Duration::ZERO);
    }

    #[test]
    fn a_pace_leaves_room_for_all_of_a_slot() {
        for hops in [3, 4] {
            let pace = Pace::new(SLOT, SLOT, hops);
            assert!(pace.fits() && pace.phase() * u32::from(hops + 1) <= SLOT, "{pace:?}");
            let even = Pace::even(SLOT, hops).phase();
            assert!((SLOT / u32::from(hops + 2)).abs_diff(even) < Duration::from_micros(2), "{even:?}");
        }
        assert!(!Pace { slot: 0, share: 1 }.fits() && !Pace { slot: 1, share: u16::MAX }.fits());
        assert!(!Pace { slot: u64::MAX, share: 1 }.fits() && !Pace { slot: 1, share: 0 }.fits());
    }
}
