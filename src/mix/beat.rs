//! The beat: 16 bytes, sealed, at the head of each first-phase block (docs/PROTOCOL.md, 9). From the owner it carries
//! the owner's word to all ranks. To the owner it carries what a rank has noticed. Between others it carries nothing.
//!
//! Its fields, little-endian, are: kind u8, reason u8, phase u8, 0 u8, peer u16, 0 u16, slot u64 (9.2).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Pace;
use super::geometry::BEAT_RECORD;
use crate::ids::{Phase, Rank, Slot};

/// The plaintext of a beat.
pub type Record = [u8; BEAT_RECORD];

/// The owner's word on how to go on (docs/PROTOCOL.md, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The next slot follows.
    GoOn,
    /// The term ends after a slot. Results follow, then the owner's verdict, then new keys.
    TermEnds {
        /// The last slot of the term. A rank that hears this later ends the term with the slot in which it does.
        after: Slot,
        /// What follows the results.
        returns: StageData,
    },
    /// The run ends after a slot. Results follow.
    RunEnds {
        /// The last slot of the run. A rank that hears this later ends the run with the slot in which it does.
        after: Slot,
        /// What follows the results.
        returns: StageData,
    },
    /// The run has failed, and ends with this phase.
    Stop(Reason),
    /// From the next slot on, slots keep this pace.
    Keep(Pace),
}

/// What of each stage travels outside slots: behind the results at a term's end, or at a run's start. Relays send and get as many
/// zeros (docs/PROTOCOL.md, 4.9 and 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum StageData {
    /// Nothing of the stage travels.
    Nothing = 0,
    /// The values of the stage's parameters travel.
    Values = 1,
    /// All that the stage goes on from travels.
    State = 2,
}

impl StageData {
    /// What has this number, if anything has.
    fn from_number(number: u8) -> Option<Self> {
        [Self::Nothing, Self::Values, Self::State].into_iter().find(|returns| *returns as u8 == number)
    }
}

/// What has gone wrong (docs/PROTOCOL.md, 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Reason {
    /// A cell or a beat is not what an honest rank has sealed for this place and slot.
    Authentication = 1,
    /// An authentic message does not fit what went before.
    Message = 2,
    /// The loss is not a number.
    NotANumber = 3,
    /// A rank cannot do its work.
    Failure = 4,
    /// The device that computes or seals for a rank is lost, or refuses.
    Device = 5,
}

impl Reason {
    /// The reason of this number, if there is one.
    fn from_number(number: u8) -> Option<Self> {
        [Self::Authentication, Self::Message, Self::NotANumber, Self::Failure, Self::Device]
            .into_iter()
            .find(|reason| *reason as u8 == number)
    }
}

/// A fault that a rank has noticed. The least of several is the first: they are ordered by slot, then by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The slot in which it was noticed.
    pub slot: Slot,
    /// The phase in which it was noticed. 0 if it is in the rank's own work.
    pub phase: Phase,
    /// The rank from which the bad block came. The rank itself if the fault is in its own work.
    pub peer: Rank,
    /// What has gone wrong.
    pub reason: Reason,
}

/// The kind of the record "go on" (docs/PROTOCOL.md, 9.3).
const GO_ON: u8 = 0;
/// The kind of the record "the term ends".
const TERM_ENDS: u8 = 1;
/// The kind of the record "the run ends".
const RUN_ENDS: u8 = 2;
/// The kind of the record "stop".
const STOP: u8 = 3;
/// The kind of the record in which a rank reports a fault (docs/PROTOCOL.md, 9.4).
const FAULT: u8 = 4;
/// The kind of the record "keep this pace" (docs/PROTOCOL.md, 9.3). Its second byte says what the time is.
const KEEP: u8 = 5;
/// The time of a pace is that for work.
const WORK: u8 = 0;
/// The time of a pace is that of a slot.
const SLOTS: u8 = 1;
/// The kind of the record in which a rank tells how long it has worked (docs/PROTOCOL.md, 9.4).
const WORKED: u8 = 6;

/// The record of zeros. Ranks other than the owner say it to each other, and to the owner while all is well. From the
/// owner it says "go on".
pub const WELL: Record = [0; BEAT_RECORD];

impl Order {
    /// Whether `slot` is the last one under these keys (docs/PROTOCOL.md, 9.5).
    pub fn ends(self, slot: Slot) -> bool {
        match self {
            Order::GoOn | Order::Keep(_) => false,
            Order::TermEnds { after, .. } | Order::RunEnds { after, .. } => slot >= after,
            Order::Stop(_) => true,
        }
    }

    /// The record of this word (docs/PROTOCOL.md, 9.3).
    pub fn to_record(self) -> Record {
        match self {
            Order::GoOn => WELL,
            Order::TermEnds { after, returns } => record([TERM_ENDS, returns as u8, 0], Rank(0), after),
            Order::RunEnds { after, returns } => record([RUN_ENDS, returns as u8, 0], Rank(0), after),
            Order::Stop(reason) => record([STOP, reason as u8, 0], Rank(0), Slot(0)),
            Order::Keep(Pace::Work(time)) => record([KEEP, WORK, 0], Rank(0), Slot(time)),
            Order::Keep(Pace::Slots(time)) => record([KEEP, SLOTS, 0], Rank(0), Slot(time)),
        }
    }

    /// The word of a record. `None` if no owner says that.
    pub fn from_record(bytes: &Record) -> Option<Self> {
        let ([kind, reason, phase], peer, after) = fields(bytes)?;
        match (kind, reason, phase, peer.0, after.0) {
            (GO_ON, 0, 0, 0, 0) => Some(Order::GoOn),
            (TERM_ENDS, returns, 0, 0, _) => {
                StageData::from_number(returns).map(|returns| Order::TermEnds { after, returns })
            }
            (RUN_ENDS, returns, 0, 0, _) => {
                StageData::from_number(returns).map(|returns| Order::RunEnds { after, returns })
            }
            (STOP, reason, 0, 0, 0) => Reason::from_number(reason).map(Order::Stop),
            (KEEP, WORK, 0, 0, time) => Some(Pace::Work(time)).filter(Pace::fits).map(Order::Keep),
            (KEEP, SLOTS, 0, 0, time) => Some(Pace::Slots(time)).filter(Pace::fits).map(Order::Keep),
            _ => None,
        }
    }
}

/// What a beat tells the rank that receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The owner's word.
    Word(Order),
    /// A fault that a rank reports to the owner.
    Report(Fault),
    /// How long a rank has worked for its last messages, which it tells the owner.
    Worked(Duration),
    /// That all is well.
    Nothing,
}

impl Told {
    /// What the record of the rank `from` tells the rank `to` in `slot`, where circuits have `hops` hops. `None` if
    /// `from` says no such thing to `to`, which counts as a bad beat (docs/PROTOCOL.md, 9.4). The owner alone gives its
    /// word. Faults are reported to the owner alone, and only of slots and phases that there have been.
    pub fn of(record: &Record, from: Rank, to: Rank, slot: Slot, hops: u8) -> Option<Self> {
        if from == Rank::OWNER {
            return Order::from_record(record).map(Self::Word);
        }
        if let Some(worked) = worked_of(record) {
            return (to == Rank::OWNER).then_some(Self::Worked(worked));
        }
        match Fault::from_record(record)? {
            None => Some(Self::Nothing),
            Some(fault) if to == Rank::OWNER && fault.slot <= slot && fault.phase.0 <= hops => {
                Some(Self::Report(fault))
            }
            Some(_) => None,
        }
    }
}

/// The record that tells how long a rank has worked. Nothing is told of no time.
pub fn worked_record(worked: Duration) -> Record {
    match u64::try_from(worked.as_nanos()).unwrap_or(u64::MAX) {
        0 => WELL,
        time => record([WORKED, 0, 0], Rank(0), Slot(time)),
    }
}

/// How long a rank has worked, where a record tells that.
fn worked_of(bytes: &Record) -> Option<Duration> {
    match fields(bytes)? {
        ([WORKED, 0, 0], Rank(0), Slot(time)) if time > 0 => Some(Duration::from_nanos(time)),
        _ => None,
    }
}

impl Fault {
    /// The record that reports this fault (docs/PROTOCOL.md, 9.4).
    pub fn to_record(self) -> Record {
        record([FAULT, self.reason as u8, self.phase.0], self.peer, self.slot)
    }

    /// The fault that a record reports: `Some(None)` if it says that all is well, and `None` if no rank says that.
    pub fn from_record(bytes: &Record) -> Option<Option<Self>> {
        if *bytes == WELL {
            return Some(None);
        }
        match fields(bytes)? {
            ([FAULT, reason, phase], peer, slot) => {
                let reason = Reason::from_number(reason)?;
                Some(Some(Fault { slot, phase: Phase(phase), peer, reason }))
            }
            _ => None,
        }
    }
}

/// Lays out a record (docs/PROTOCOL.md, 9.2).
fn record([kind, reason, phase]: [u8; 3], peer: Rank, slot: Slot) -> Record {
    let mut record = WELL;
    record[..3].copy_from_slice(&[kind, reason, phase]);
    record[4..6].copy_from_slice(&peer.0.to_le_bytes());
    record[8..].copy_from_slice(&slot.0.to_le_bytes());
    record
}

/// The fields of a record: kind, reason and phase, then peer, then slot. `None` if a byte that is always 0 is not.
fn fields(record: &Record) -> Option<([u8; 3], Rank, Slot)> {
    let [kind, reason, phase, 0, low, high, 0, 0, slot @ ..] = *record else {
        return None;
    };
    Some(([kind, reason, phase], Rank(u16::from_le_bytes([low, high])), Slot(u64::from_le_bytes(slot))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT_OF_ALL_FIELDS: Fault =
        Fault { slot: Slot(0x0102_0304_0506_0708), phase: Phase(3), peer: Rank(0x0a0b), reason: Reason::Failure };

    /// Reports are for the owner, and words are the owner's alone. Nobody reports what has not been.
    #[test]
    fn beats_tell_what_their_senders_may_say() {
        let fault = Fault { slot: Slot(4), phase: Phase(3), peer: Rank(2), reason: Reason::Authentication };
        let told = |record: Record, from: u16, to: u16| Told::of(&record, Rank(from), Rank(to), Slot(4), 3);
        assert_eq!(told(fault.to_record(), 3, 0), Some(Told::Report(fault)));
        assert_eq!(told(fault.to_record(), 3, 5), None, "a rank that is not the owner has no report to hear");
        assert_eq!(told(fault.to_record(), 0, 5), None, "the owner reports to nobody");
        for late in [Fault { slot: Slot(5), ..fault }, Fault { phase: Phase(4), ..fault }] {
            assert_eq!(told(late.to_record(), 3, 0), None, "{late:?}");
        }
        let stop = Order::Stop(Reason::Failure);
        assert_eq!(told(stop.to_record(), 0, 5), Some(Told::Word(stop)));
        assert_eq!((told(stop.to_record(), 3, 5), told(stop.to_record(), 3, 0)), (None, None));
        assert_eq!((told(WELL, 3, 0), told(WELL, 3, 5)), (Some(Told::Nothing), Some(Told::Nothing)));
        assert_eq!(told(WELL, 0, 5), Some(Told::Word(Order::GoOn)));
        assert_eq!(told([0xff; BEAT_RECORD], 3, 5), None);
        assert_eq!(told(record([WORKED, 0, 0], Rank(0), Slot(0)), 3, 0), None, "nothing is told of no time");
        let worked = Duration::from_nanos(123_456_789);
        let record = worked_record(worked);
        assert_eq!(told(record, 3, 0), Some(Told::Worked(worked)));
        assert_eq!((told(record, 3, 5), told(record, 0, 5)), (None, None), "the owner alone is told");
        assert_eq!(worked_record(Duration::ZERO), WELL);
        for (place, value) in [(1, 1), (2, 1), (3, 1), (4, 1), (6, 1)] {
            let mut altered = record;
            altered[place] = value;
            assert_eq!(told(altered, 3, 0), None, "byte {place}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let after = Slot(u64::MAX);
        let paces = [Pace::Slots(2_000_000), Pace::Work(300_000)].map(Order::Keep);
        for returns in [StageData::Nothing, StageData::Values, StageData::State] {
            for word in [Order::TermEnds { after: Slot(7), returns }, Order::RunEnds { after, returns }] {
                assert_eq!(Order::from_record(&word.to_record()), Some(word));
            }
        }
        for word in paces.into_iter().chain([Order::GoOn]) {
            assert_eq!(Order::from_record(&word.to_record()), Some(word));
        }
        for reason in (1..=5).filter_map(Reason::from_number) {
            let stop = Order::Stop(reason);
            assert_eq!(Order::from_record(&stop.to_record()), Some(stop));
            let fault = Fault { reason, ..FAULT_OF_ALL_FIELDS };
            assert_eq!(Fault::from_record(&fault.to_record()), Some(Some(fault)));
        }
        assert_eq!(Fault::from_record(&WELL), Some(None));
    }

    #[test]
    fn a_record_lies_as_the_protocol_says() {
        assert_eq!(FAULT_OF_ALL_FIELDS.to_record(), [4, 4, 3, 0, 0x0b, 0x0a, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn says_when_slots_end() {
        let end = Order::TermEnds { after: Slot(7), returns: StageData::State };
        assert!(end.ends(Slot(7)) && !end.ends(Slot(6)) && !Order::GoOn.ends(Slot(6)));
        assert!(Order::Stop(Reason::Message).ends(Slot(0)));
    }

    #[test]
    fn refuses_what_no_one_says() {
        let mut record = Order::TermEnds { after: Slot(7), returns: StageData::State }.to_record();
        record[1] += 1;
        assert_eq!(Order::from_record(&record), None);
        for pace in [Pace::Slots(0), Pace::Work(u64::MAX)] {
            assert_eq!(Order::from_record(&Order::Keep(pace).to_record()), None);
        }
        for (place, value) in [(0, 6), (0, 5), (0, 4), (1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (7, 1), (8, 1)] {
            let mut record = Order::GoOn.to_record();
            record[place] = value;
            assert_eq!(Order::from_record(&record), None, "byte {place} = {value}");
        }
        for (place, value) in [(0, 3), (0, 5), (1, 0), (1, 6), (3, 1), (6, 1), (7, 1)] {
            let mut record = FAULT_OF_ALL_FIELDS.to_record();
            record[place] = value;
            assert_eq!(Fault::from_record(&record), None, "byte {place} = {value}");
        }
    }

    #[test]
    fn the_least_fault_is_the_first() {
        let fault = |slot, phase, peer| Fault {
            slot: Slot(slot),
            phase: Phase(phase),
            peer: Rank(peer),
            ..FAULT_OF_ALL_FIELDS
        };
        let in_order = [fault(3, 1, 9), fault(3, 2, 1), fault(4, 0, 2), fault(4, 1, 1)];
        assert!(in_order.is_sorted());
    }
}
