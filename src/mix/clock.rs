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

/// The longest slot: an hour.
pub const LONGEST_SLOT: u64 = 3_600_000_000_000;
/// The largest share: phases and sealing, at most five times a share, fill the slot.
const LARGEST_SHARE: u16 = u16::MAX / 5;
/// The first phase is complete after so much of its time, and leaves the rest for what is to be done then: `2 / 3`.
const COMPLETE: (u32, u32) = (2, 3);
/// A slot that begins late by less than this part of its length is no one's fault: clocks differ by that much.
const DRIFT: u32 = 1000;
/// How long before its time a wait that yields leaves off sleeping: the kernel's timers are not finer.
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

/// A rank's clock, for one epoch.
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
        let due = self.next_slot().zip(self.pace).map(|(next, pace)| next - pace.phase());
        // What has not come to an end by now may still be made up for, in the time that sealing does not take.
        self.wait(due)
    }

    /// Waits until `phase` is to begin. Returns how long.
    pub fn wait_for(&mut self, phase: Phase) -> Duration {
        let now = Instant::now();
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
        self.wait(due)
    }

    /// The first phase's blocks are here. All ranks had begun it a moment ago, so that whose clock is ahead of another's, or of
    /// one that was late, sees it now.
    pub fn first_is_here(&mut self) {
        if let Some((began, pace)) = self.began.as_mut().zip(self.pace) {
            let latest = *began + pace.phase() * COMPLETE.0 / COMPLETE.1;
            *began += Instant::now().saturating_duration_since(latest);
        }
    }

    fn next_slot(&self) -> Option<Instant> {
        self.began.zip(self.pace).map(|(began, pace)| began + pace.slot())
    }

    fn wait(&mut self, due: Option<Instant>) -> Duration {
        let before = Instant::now();
        self.longest = self.longest.max(before - self.since);
        self.since = before;
        let Some(due) = due else { return Duration::ZERO };
        while self.since < due {
            match self.spins {
                true => std::hint::spin_loop(),
                false if due - self.since > WAKE => std::thread::sleep(due - self.since - WAKE),
                false => std::thread::yield_now(),
            }
            self.since = Instant::now();
        }
        self.since - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Duration = Duration::from_millis(40);

    fn slot(clock: &mut Clock, work: Duration) -> [Instant; 3] {
        std::thread::sleep(work);
        clock.wait_to_seal();
        [1, 2, 3].map(|phase| {
            clock.wait_for(Phase(phase));
            Instant::now()
        })
    }

    /// Tries until nothing else on this machine holds the thread up: a defect fails all of the tries.
    fn undisturbed(holds: impl Fn() -> bool) {
        assert!((0..20).any(|_| holds()));
    }

    /// However long a rank works, as long as it ends in time.
    #[test]
    fn phases_begin_at_their_times() {
        for spins in [false, true] {
            undisturbed(|| {
                let pace = Pace::even(SLOT, 3);
                let mut clock = Clock::new(Some(pace), spins);
                let first = slot(&mut clock, Duration::ZERO)[0];
                [0, 9, 3].into_iter().zip(1..).all(|(work, number)| {
                    let begun = slot(&mut clock, Duration::from_millis(work));
                    begun.into_iter().zip(0..).all(|(begun, phase)| {
                        let due = first + SLOT * number + pace.phase() * phase;
                        begun.max(due) - begun.min(due) < Duration::from_millis(3)
                    })
                }) && clock.take_overran() == 0
            });
        }
    }

    #[test]
    fn a_slot_that_is_late_is_counted_once_and_moves_what_follows() {
        undisturbed(|| {
            let mut clock = Clock::new(Some(Pace::even(SLOT, 3)), false);
            slot(&mut clock, Duration::ZERO);
            let late = slot(&mut clock, SLOT * 2)[0];
            let overran = clock.take_overran();
            // The time that was lost is not made up for.
            let next = slot(&mut clock, Duration::ZERO)[0] - late;
            overran == 1 && next > SLOT - Duration::from_millis(3) && next < SLOT + Duration::from_millis(3)
        });
    }

    /// A clock that is ahead of another's falls back to it, and one that is not stays.
    #[test]
    fn clocks_keep_together() {
        let pace = Pace::even(SLOT, 3);
        for (ahead, back) in [(30, Duration::from_millis(30) - pace.phase() * 2 / 3), (1, Duration::ZERO)] {
            undisturbed(|| {
                let mut clock = Clock::new(Some(pace), false);
                clock.wait_for(Phase(1));
                let first = Instant::now();
                std::thread::sleep(Duration::from_millis(ahead));
                clock.first_is_here();
                let near = |due: Duration| first.elapsed().abs_diff(due) < Duration::from_millis(3);
                let in_time = [2, 3].into_iter().all(|phase| {
                    clock.wait_for(Phase(phase));
                    near(pace.phase() * u32::from(phase - 1) + back)
                });
                clock.wait_to_seal();
                clock.wait_for(Phase(1));
                in_time && near(SLOT + back) && clock.take_overran() == 0
            });
        }
    }

    #[test]
    fn without_a_pace_nothing_waits() {
        undisturbed(|| {
            let mut clock = Clock::new(None, false);
            let began = Instant::now();
            for _ in 0..100 {
                slot(&mut clock, Duration::ZERO);
            }
            let at_once = began.elapsed() < SLOT && clock.take_overran() == 0;
            clock.set(Pace::even(SLOT, 3));
            slot(&mut clock, Duration::ZERO);
            slot(&mut clock, Duration::ZERO);
            at_once && began.elapsed() > SLOT
        });
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
