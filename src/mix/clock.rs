//! When phases begin: as soon as their rank is ready, or at fixed times whatever the ranks have to do (docs/PROTOCOL.md,
//! "Pace").
//!
//! ```text
//! |--phase--|--phase--|--phase--|-------- work --------|--phase--|
//! 1         2         3         the inbox is here      seal      1 of the next slot
//! ```
//!
//! Every rank goes by its own clock from its own first phase on. The first phase of each slot keeps the clocks together: it is
//! complete at the same moment on all ranks, when the last of them has begun it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ids::Phase;
use crate::transport::{core_is_wanted, hold_core};

/// The longest slot: an hour.
pub const LONGEST_SLOT: u64 = 3_600_000_000_000;
/// The largest share: phases and sealing, at most five times a share, fill the slot.
const LARGEST_SHARE: u16 = u16::MAX / 5;
/// The first phase is complete after so much of its time, and leaves the rest for what is to be done then: `2 / 3`.
const COMPLETE: (u32, u32) = (2, 3);
/// A slot that begins late by less than this part of its length is no one's fault: clocks differ by that much.
const DRIFT: u32 = 1000;
/// How long before its time a wait that has no core to itself leaves off sleeping: the kernel's timers are not finer.
const WAKE: Duration = Duration::from_micros(60);

/// A fixed pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Nanoseconds from slot to slot.
    pub slot: u64,
    /// Of these, for one phase, and as much for sealing before the first: in parts of 65,536.
    pub share: u16,
}

impl Pace {
    /// Slots of `slot` with phases of about `phase`; shorter ones where `hops` of them, the work and the sealing would not fit.
    pub fn new(slot: Duration, phase: Duration, hops: u8) -> Self {
        let slot = u64::try_from(slot.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_SLOT);
        let share = (phase.as_nanos() << 16) / u128::from(slot);
        let most = u16::MAX / u16::from(hops + 2);
        Self { slot, share: u16::try_from(share).unwrap_or(u16::MAX).clamp(1, most.min(LARGEST_SHARE)) }
    }

    /// Slots of `slot`, a share of it for each phase, one for the ranks' work and one to seal.
    pub fn even(slot: Duration, hops: u8) -> Self {
        Self::new(slot, slot / u32::from(hops + 2), hops)
    }

    /// Whether ranks can keep it.
    pub fn fits(&self) -> bool {
        (1..=LONGEST_SLOT).contains(&self.slot) && (1..=LARGEST_SHARE).contains(&self.share)
    }

    /// From slot to slot.
    pub fn slot(&self) -> Duration {
        Duration::from_nanos(self.slot)
    }

    /// From phase to phase.
    pub fn phase(&self) -> Duration {
        Duration::from_nanos(((u128::from(self.slot) * u128::from(self.share)) >> 16) as u64)
    }
}

/// A rank's clock, for one term.
pub struct Clock {
    pace: Option<Pace>,
    spins: bool,
    /// When this slot began, or was to.
    began: Option<Instant>,
    /// When this rank last was to do something.
    since: Instant,
    /// Whether this slot has begun a phase late.
    late: bool,
    /// Slots that have.
    overran: u64,
    longest: Duration,
}

impl Clock {
    /// Goes at `pace`; without one, nothing waits. `spins`: there is a core to wait on.
    pub fn new(pace: Option<Pace>, spins: bool) -> Self {
        let since = Instant::now();
        Self { pace, spins, began: None, since, late: false, overran: 0, longest: Duration::ZERO }
    }

    /// Goes at `pace` from the next slot on.
    pub fn set(&mut self, pace: Pace) {
        (self.pace, self.began) = (Some(pace), None);
    }

    /// Slots in which a phase began late, since this was last asked.
    pub fn take_overran(&mut self) -> u64 {
        std::mem::take(&mut self.overran)
    }

    /// The longest that a phase, or the sealing, has taken this rank since this was last asked: what a phase must have.
    pub fn take_longest(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }

    /// The last phase's work is done: waits until the next slot's messages are to be sealed. Returns how long.
    pub fn wait_to_seal(&mut self) -> Duration {
        self.wait(self.seal_due())
    }

    /// Waits until `phase` is to begin. Returns how long.
    pub fn wait_for(&mut self, phase: Phase) -> Duration {
        let due = self.due(phase, Instant::now());
        self.wait(due)
    }

    /// The first phase's blocks are here. All ranks had begun it a moment ago, so that whose clock is ahead of another's, or of
    /// one that was late, sees it now.
    pub fn first_is_here(&mut self) {
        self.first_came(Instant::now());
    }

    fn first_came(&mut self, now: Instant) {
        if let Some((began, pace)) = self.began.as_mut().zip(self.pace) {
            let latest = *began + pace.phase() * COMPLETE.0 / COMPLETE.1;
            *began += now.saturating_duration_since(latest);
        }
    }

    fn next_slot(&self) -> Option<Instant> {
        self.began.zip(self.pace).map(|(began, pace)| began + pace.slot())
    }

    /// When the next slot's messages are to be sealed.
    fn seal_due(&self) -> Option<Instant> {
        self.next_slot().zip(self.pace).map(|(next, pace)| next - pace.phase())
    }

    /// When `phase` is to begin, for a rank that is ready for it `now`. A late one is counted.
    fn due(&mut self, phase: Phase, now: Instant) -> Option<Instant> {
        let mut due = self.began.zip(self.pace).map(|(began, pace)| began + pace.phase() * u32::from(phase.0 - 1));
        if phase == Phase(1) {
            self.late = false;
            due = self.next_slot();
            // Who is late begins at once, and counts from there.
            self.began = self.pace.map(|_| due.map_or(now, |due| due.max(now)));
        }
        if let Some((due, pace)) = due.zip(self.pace)
            && now.saturating_duration_since(due) > pace.slot() / DRIFT
            && !self.late
        {
            self.late = true;
            self.overran += 1;
        }
        due
    }

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
    Sleep(Duration),
    Spin,
    /// Spins or yields, and learns whether someone else wants the core.
    Hold,
}

/// What a wait does that has time `left`, on a core of its own if it `spins`. `wanted`: someone else wants that core.
fn next(left: Duration, spins: bool, wanted: bool) -> Rest {
    match wanted || !spins {
        true if left > WAKE => Rest::Sleep(left - WAKE),
        // Who yields now gets its core back much too late.
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

    /// A clock that has begun its first slot, and when.
    fn begun() -> (Clock, Instant) {
        let (mut clock, start) = (Clock::new(Some(PACE), false), Instant::now());
        assert_eq!(clock.due(Phase(1), start), None);
        (clock, start)
    }

    /// However long a rank works, as long as it ends in time.
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
        // Late again in the same slot.
        clock.due(Phase(2), late + SLOT / 2);
        assert_eq!((clock.take_overran(), clock.take_overran()), (1, 0));
        // The time that was lost is not made up for.
        assert_eq!(clock.due(Phase(1), late + ms(1)), Some(late + SLOT));
        // As late as clocks may differ.
        clock.due(Phase(1), late + SLOT * 2 + Duration::from_micros(30));
        assert_eq!(clock.take_overran(), 0);
    }

    /// A clock that is ahead of another's falls back to it, and one that is not stays.
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

    /// Nobody has a core to hold that someone else wants.
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

    /// What a phase has taken is told, for the one who sets the pace.
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
