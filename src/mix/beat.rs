//! The beat: 16 bytes at the head of each first-phase block that carry the owner's word to all ranks
//! (docs/PROTOCOL.md, "Beat").
//!
//! kind u8, reason u8, phase u8, 0 u8, peer u16, 0 u16, slot u64; little-endian.

use super::geometry::BEAT_RECORD;
use crate::ids::Slot;

/// The owner's word on how to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The next slot follows.
    GoOn,
    /// The epoch ends after this slot; new keys follow.
    EpochEnds {
        /// The epoch's last slot.
        after: Slot,
    },
    /// The run ends after this slot; results follow.
    RunEnds {
        /// The run's last slot.
        after: Slot,
    },
}

impl Order {
    /// Whether `slot` is the last under these keys.
    pub fn ends(self, slot: Slot) -> bool {
        match self {
            Order::GoOn => false,
            Order::EpochEnds { after } | Order::RunEnds { after } => slot >= after,
        }
    }

    /// The record of this word.
    pub fn to_record(self) -> [u8; BEAT_RECORD] {
        let (kind, slot) = match self {
            Order::GoOn => (0, Slot(0)),
            Order::EpochEnds { after } => (1, after),
            Order::RunEnds { after } => (2, after),
        };
        let mut record = [0; BEAT_RECORD];
        record[0] = kind;
        record[8..].copy_from_slice(&slot.0.to_le_bytes());
        record
    }

    /// The word of a record; `None` where no owner says that.
    pub fn from_record(record: &[u8; BEAT_RECORD]) -> Option<Self> {
        let [kind, 0, 0, 0, 0, 0, 0, 0, slot @ ..] = *record else {
            return None;
        };
        let after = Slot(u64::from_le_bytes(slot));
        match (kind, after.0) {
            (0, 0) => Some(Order::GoOn),
            (1, _) => Some(Order::EpochEnds { after }),
            (2, _) => Some(Order::RunEnds { after }),
            _ => None,
        }
    }
}

/// What ranks other than the owner put in their beats: all is well.
pub const WELL: [u8; BEAT_RECORD] = [0; BEAT_RECORD];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let words = [Order::GoOn, Order::EpochEnds { after: Slot(7) }, Order::RunEnds { after: Slot(u64::MAX) }];
        for word in words {
            assert_eq!(Order::from_record(&word.to_record()), Some(word));
        }
        assert!(
            Order::EpochEnds { after: Slot(7) }.ends(Slot(7)) && !Order::EpochEnds { after: Slot(7) }.ends(Slot(6))
        );
    }

    #[test]
    fn refuses_what_no_owner_says() {
        for (place, value) in [(0, 3), (1, 1), (7, 1), (8, 1)] {
            let mut record = Order::GoOn.to_record();
            record[place] = value;
            assert_eq!(Order::from_record(&record), None, "byte {place} = {value}");
        }
    }
}
