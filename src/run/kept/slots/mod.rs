//! What the slots of a run were like, as its owner alone knows it: what `mixnn report` shows of them. It stands in the file
//! [`FILE`] of the run's folder.
//!
//! However long a run is, this takes the same room. The first slots are all kept, so that the pipeline can be seen slot by slot. Of all
//! slots a sample is kept: each at first, then, whenever there is no more room, every second one of those.
//!
//! It says who hosts what. So its file is sealed under the owner's key, as checkpoints are.

mod file;

use std::time::Duration;

use super::results::RankTiming;
use crate::mix::courier::Timing;

/// The name of the file within a run's folder.
pub const FILE: &str = "slots.bin";
/// How many slots are kept from the start on.
const FIRST: usize = 1024;
/// How many slots are kept as a sample at most.
const SAMPLED: usize = 3072;
/// How many parts the time of a slot has: compute, seal, exchange, peel, open and wait, in this order.
pub const PARTS: usize = 6;
/// The unit of a slot's times.
const UNIT: Duration = Duration::from_nanos(100);

/// A slot, as the owner alone knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotEntry {
    /// Number of the slot, counted through all terms of this start of the run.
    pub number: u64,
    /// Number of the term.
    pub term: u32,
    /// Number of the slot in its term.
    pub slot: u32,
    /// Number of the epoch, from 0.
    pub epoch: u32,
    /// Whether the owner's forward message was more than cover.
    pub forward: bool,
    /// Whether the owner's backward message was more than cover.
    pub backward: bool,
    /// Whether the pass that ran was training.
    pub trains: bool,
    /// Where the owner's time went, part by part, in units of 100 ns.
    pub parts: [u32; PARTS],
}

/// Who takes part in the slots, and how they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSetup {
    /// How many ranks there are.
    pub ranks: u16,
    /// By stage on a rank, which rank hosts it.
    pub hosts: Vec<u16>,
    /// How many slots a stage takes in lockstep.
    pub latency: u8,
    /// Whether slots wait for no one, so that what stages do does not follow from what the owner sends.
    pub paced: bool,
}

/// What the slots of a run's last start were like.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotLog {
    /// Who takes part, once that is known.
    pub setup: SlotSetup,
    /// How many slots there were.
    pub slots: u64,
    /// How many of the owner's forward and backward messages were more than cover.
    pub real: [u64; 2],
    /// How many of the slots were over when the ranks last told where their time had gone.
    pub settled: u64,
    /// How many bytes all ranks together had sent in slots by then.
    pub bytes: u64,
    /// By rank, where its time had gone by then, part by part, in nanoseconds. Empty before the first term's end.
    pub ranks: Vec<[u64; PARTS]>,
    /// The first slots, each of them.
    pub first: Vec<SlotEntry>,
    /// The stride of the sample: a power of two.
    pub stride: u64,
    /// A sample of all slots: those whose number is a multiple of the stride, in order.
    pub sampled: Vec<SlotEntry>,
    /// What the owner's time had come to at the last slot, to take the next one's part from.
    before: Timing,
}

impl SlotLog {
    /// No slots yet. All the room that they will take is taken now.
    pub fn new() -> Self {
        Self {
            setup: SlotSetup::default(),
            slots: 0,
            real: [0; 2],
            settled: 0,
            bytes: 0,
            ranks: Vec::new(),
            first: Vec::with_capacity(FIRST),
            stride: 1,
            sampled: Vec::with_capacity(SAMPLED),
            before: Timing::default(),
        }
    }

    /// Takes the next slot. `place` says where it stands and what the owner sent, with a number and parts that do not count; `timing` is
    /// where the owner's time has gone so far in this start of the run.
    pub fn add(&mut self, place: SlotEntry, timing: &Timing) {
        let by_part = |t: &Timing| [t.compute, t.seal, t.exchange, t.peel, t.open, t.wait];
        let mut parts = by_part(timing);
        parts.iter_mut().zip(by_part(&self.before)).for_each(|(part, before)| *part = part.saturating_sub(before));
        self.before = *timing;
        let units = |time: Duration| u32::try_from(time.as_nanos() / UNIT.as_nanos()).unwrap_or(u32::MAX);
        let entry = SlotEntry { number: self.slots, parts: parts.map(units), ..place };
        self.slots += 1;
        self.real[0] += u64::from(entry.forward);
        self.real[1] += u64::from(entry.backward);
        if self.first.len() < FIRST {
            self.first.push(entry);
        }
        if entry.number.is_multiple_of(self.stride) {
            if self.sampled.len() == SAMPLED {
                self.stride *= 2;
                self.sampled.retain(|kept| kept.number.is_multiple_of(self.stride));
            }
            if entry.number.is_multiple_of(self.stride) {
                self.sampled.push(entry);
            }
        }
    }

    /// Takes what the ranks have told at the end of a term: by rank, where its time has gone so far, and how many bytes all of them have
    /// sent.
    pub fn settle(&mut self, ranks: &[RankTiming], bytes: u64) {
        let nanos = |ms: f64| (ms.max(0.0) * 1e6).round() as u64;
        let parts = |t: &RankTiming| [t.compute, t.seal, t.exchange, t.peel, t.open, t.wait].map(nanos);
        self.ranks = ranks.iter().map(parts).collect();
        (self.settled, self.bytes) = (self.slots, bytes);
    }
}

impl Default for SlotLog {
    fn default() -> Self {
        Self::new()
    }
}

impl SlotEntry {
    /// How many microseconds each part took.
    pub fn micros(&self) -> [f64; PARTS] {
        self.parts.map(|part| f64::from(part) * UNIT.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests;
