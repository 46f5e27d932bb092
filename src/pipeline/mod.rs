//! Which micro-batch goes when. These are pure functions, without I/O or messages.
//!
//! The owner feeds one micro-batch a slot, and it alone knows the schedule; a stage reacts to what reaches it. Slots are
//! counted from the start of a pass over the data ([`DataPass`]). Let a stage take l slots (its latency), let there be S stages,
//! and M micro-batches in a batch. Then (docs/PROTOCOL.md, "Schedule"):
//!
//! - Micro-batch m leaves the owner in slot m and stage i (from 1) in slot m + l i. Its output is back at the owner in slot m +
//!   l S + 1, and the owner sends its gradient in the same slot.
//! - Stage i sends the gradient on in slot m + l S + 1 + l (S - i + 1). So stage 1 is done in slot m + 2 l S + 1, and a batch
//!   takes M + 2 l S + 1 slots.
//! - Stage 1 must have made its optimizer step before it sends on the first micro-batch of the next batch. So that one leaves
//!   the owner M + 2 l S - l slots after the first of this batch: this is the period.
//!
//! If the owner hosts stages before those of the ranks, these must have made their step, too, before the owner computes for the
//! next batch. The gradient reaches them one slot after stage 1 is done. So the period is M + 2 l S + 1, and the last batch
//! takes one slot more.
//!
//! Where the last stage has the loss itself (`train.loss_at = "last"`), it begins the way back in the slot in which it goes forward: it waits
//! neither for its output to reach the owner nor for a gradient to come back. So whatever follows comes l + 1 slots sooner.
//!
//! A job may have its S stages pass for K, so that the number of slots does not show how many there are. The owner then holds
//! each gradient for 2 l (K - S) slots, and stage i sends it on when the i-th of K stages would. Everything above but the first
//! item holds with K for S.
//!
//! All of this is so in lockstep, where a slot waits for its ranks. Under a pace a slot waits for no one, and the owner
//! goes by what has come back: see [`Answered`].

mod answered;
mod followed;
mod timetable;

use std::ops::Range;

use crate::ids::{Batch, MicroBatch};

pub use answered::Answered;
pub use followed::{OwnerSent, StageWork, followed};
pub use timetable::{NoneDue, Timetable, Turns};

/// How many stages the ranks host, and how many they pass for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Number of stages that ranks host, S.
    stages: u64,
    /// Number of stages that they pass for, K: at least S.
    shown: u64,
    /// Whether the owner hosts stages before those of the ranks.
    preceded: bool,
    /// Whether the last stage has the loss, and begins the way back itself.
    turned: bool,
    /// Number of slots that a stage takes, l.
    latency: u64,
}

impl Depth {
    /// `stages` stages that pass for `shown`, or for themselves if `shown` is less. Each takes one slot.
    pub fn new(stages: u16, shown: u16) -> Self {
        Self { stages: stages.into(), shown: shown.max(stages).into(), preceded: false, turned: false, latency: 1 }
    }

    /// `stages` stages that pass for themselves. Each takes one slot.
    pub fn of(stages: u16) -> Self {
        Self::new(stages, stages)
    }

    /// This depth, with or without stages of the owner before those of the ranks.
    #[must_use]
    pub fn preceded(self, preceded: bool) -> Self {
        Self { preceded, ..self }
    }

    /// This depth, with the loss at the last stage or at the owner. At the last stage, stages do not pass for more.
    #[must_use]
    pub fn turned(self, turned: bool) -> Self {
        Self { turned, ..self }
    }

    /// This depth, with stages that answer after `latency` slots: 1, or 2 if they compute beside the exchange.
    #[must_use]
    pub fn latency(self, latency: u8) -> Self {
        Self { latency: latency.into(), ..self }
    }

    /// Whether the last stage has the loss.
    pub fn is_turned(self) -> bool {
        self.turned
    }

    /// Number of slots that a stage takes.
    pub fn slots_of_a_stage(self) -> u8 {
        self.latency as u8
    }

    /// Number of slots from when a micro-batch leaves the owner to when it is back.
    pub fn slots_to_fill(self) -> u32 {
        (self.latency * self.shown) as u32 + 1
    }
}

/// A pass over the data: training, with gradients that go back, or evaluation, without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataPass {
    /// The stages that the pass goes through.
    depth: Depth,
    /// Whether the pass is training, with gradients that go back.
    training: bool,
    /// Number of the pass's first batch in the epoch.
    first: u64,
    /// Number of micro-batches in a full batch.
    full: u64,
    /// Number of micro-batches in the whole pass.
    total: u64,
}

/// A micro-batch of a pass, as the owner feeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Number of the micro-batch's batch in the epoch.
    pub batch: Batch,
    /// Number of the micro-batch in its batch, from 0.
    pub micro_batch: MicroBatch,
    /// Whether the micro-batch is the last of its batch.
    pub last: bool,
}

impl DataPass {
    /// A pass that trains on `micro_batches` micro-batches, `full` of them in a batch. The last batch may have fewer.
    pub fn training(depth: Depth, full: u32, micro_batches: u32) -> Self {
        Self { depth, training: true, first: 0, full: u64::from(full.max(1)), total: micro_batches.into() }
    }

    /// A pass that evaluates `micro_batches` micro-batches, one a slot. They all count as one batch.
    pub fn evaluation(depth: Depth, micro_batches: u32) -> Self {
        let full = u64::from(micro_batches.max(1));
        Self { depth, training: false, first: 0, full, total: micro_batches.into() }
    }

    /// The part of this pass that goes through the batches `batches`, counted from the pass's first.
    #[must_use]
    pub fn part(self, batches: Range<u32>) -> Self {
        let until = self.total.min(u64::from(batches.end) * self.full);
        let before = until.min(u64::from(batches.start) * self.full);
        Self { first: self.first + u64::from(batches.start), total: until - before, ..self }
    }

    /// This pass without the batches that have not begun when `fed` of its micro-batches have left. An evaluation, whose micro-batches
    /// owe each other nothing, ends with the last that has left.
    #[must_use]
    fn cut(self, fed: u64) -> Self {
        let begun = if self.training { fed.next_multiple_of(self.full) } else { fed };
        Self { total: self.total.min(begun), ..self }
    }

    /// Number of the batch in the epoch up to which the pass goes.
    pub fn until(&self) -> u32 {
        (self.first + self.total.div_ceil(self.full)) as u32
    }

    /// Number of micro-batches in the whole pass.
    pub fn micro_batches(&self) -> u64 {
        self.total
    }

    /// Number of slots by which gradients come sooner than from the owner: those in which the last output would go there, and its
    /// gradient to the stage.
    fn sooner(&self) -> u64 {
        if self.depth.turned { self.depth.latency + 1 } else { 0 }
    }

    /// Number of slots from the first micro-batch of a batch to the first of the next. In training one slot at least lies between the last
    /// of a batch and the first of the next.
    fn period(&self) -> u64 {
        let empty = 2 * self.depth.latency * self.depth.shown;
        let waits = match self.depth.preceded {
            false => empty - self.depth.latency,
            true => empty + 1,
        };
        if self.training { self.full + waits.saturating_sub(self.sooner()).max(1) } else { self.full }
    }

    /// Number of slots from when a micro-batch leaves the owner to the slot at whose start its output is back.
    fn round_trip(&self) -> u64 {
        self.depth.latency * self.depth.stages + 1
    }

    /// Number of slots for which the owner holds each gradient, 2 l (K - S).
    pub fn hold(&self) -> u64 {
        2 * self.depth.latency * (self.depth.shown - self.depth.stages)
    }

    /// Number of slots that the whole pass takes until the pipeline is empty. A pass without micro-batches takes none.
    pub fn slots(&self) -> u64 {
        let Some(last) = self.total.checked_sub(1) else {
            return 0;
        };
        let left = last / self.full * self.period() + last % self.full;
        let forward = self.depth.latency * self.depth.shown + 1;
        let behind = match self.training {
            true => {
                let back = 2 * self.depth.latency * self.depth.shown + 1 + u64::from(self.depth.preceded);
                forward.max(back - self.sooner())
            }
            false => forward,
        };
        left + behind + 1
    }

    /// Number of micro-batches that have left the owner before `slot`.
    fn fed(&self, slot: u64) -> u64 {
        let (batch, place) = (slot / self.period(), slot % self.period());
        self.total.min(batch * self.full + place.min(self.full))
    }

    /// The micro-batch that leaves the owner in `slot`, if any does.
    pub fn feed(&self, slot: u64) -> Option<Feed> {
        let (batch, place) = (slot / self.period(), slot % self.period());
        let index = batch * self.full + place;
        (place < self.full && index < self.total).then(|| self.nth(index))
    }

    /// The micro-batch number `index` of the pass, from 0.
    fn nth(&self, index: u64) -> Feed {
        let (batch, place) = (index / self.full, index % self.full);
        Feed {
            batch: Batch((self.first + batch) as u32),
            micro_batch: MicroBatch(place as u32),
            last: place + 1 == self.full || index + 1 == self.total,
        }
    }

    /// The micro-batch whose output is at the owner at the start of `slot`, if any is. In training the owner sends its gradient
    /// in this slot, or after it has [held](DataPass::hold) it.
    pub fn returned(&self, slot: u64) -> Option<Feed> {
        self.feed(slot.checked_sub(self.round_trip())?)
    }

    /// Most micro-batches that a stage on a rank has in flight.
    pub fn in_flight(&self) -> u64 {
        2 * self.depth.latency * self.depth.shown
    }

    /// Most micro-batches that the owner's first stages have in flight: from when one leaves the owner to when its gradient is
    /// back.
    pub fn in_flight_before(&self) -> u64 {
        self.in_flight() + 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Drives stages that react to messages, as the real ones do, by the schedule alone. Every micro-batch must pass every
    /// stage once each way, steps must fall between batches, and nothing may be left at the end.
    fn simulate(stages: usize, shown: usize, [preceded, turned]: [bool; 2], latency: u64, full: u32, total: u32) {
        let depth = Depth::new(stages as u16, shown as u16).preceded(preceded).turned(turned).latency(latency as u8);
        let pass = DataPass::training(depth, full, total);
        // For each stage, and for the owner behind the last: what it sends on, by slot.
        let mut forward = vec![HashMap::<u64, Feed>::new(); stages + 1];
        let mut backward = vec![HashMap::<u64, Feed>::new(); stages];
        let mut steps = vec![0; stages];
        let mut in_flight = vec![0; stages];
        let mut done = 0;
        // The gradients that come back to the owner's own stages, by slot, and these stages' steps.
        let (mut own, mut own_steps, mut own_in_flight) = (HashMap::<u64, Feed>::new(), 0, 0);
        for slot in 0..pass.slots() {
            if let Some(feed) = own.remove(&slot) {
                own_steps += u32::from(feed.last);
                own_in_flight -= 1;
            }
            for i in 0..stages {
                let mut at_once = None;
                for gradient in [true, false] {
                    let feed = if gradient { backward[i].remove(&slot) } else { at_once.take() };
                    if let Some(feed) = feed {
                        in_flight[i] -= 1;
                        steps[i] += u32::from(feed.last);
                        match i {
                            0 => {
                                done += 1;
                                assert!(!preceded || own.insert(slot + 1, feed).is_none());
                            }
                            _ => assert!(backward[i - 1].insert(slot + latency, feed).is_none()),
                        }
                    }
                    if let Some(feed) = forward[i].remove(&slot) {
                        assert_eq!(steps[i], feed.batch.0, "stage {i} works on {feed:?} after {} steps", steps[i]);
                        in_flight[i] += 1;
                        assert!(in_flight[i] <= pass.in_flight());
                        let owner = i + 1 == stages;
                        let then = slot + if owner { 1 } else { latency };
                        assert!(forward[i + 1].insert(then, feed).is_none());
                        at_once = Some(feed).filter(|_| owner && turned);
                    }
                }
            }
            assert_eq!(forward[stages].remove(&slot), pass.returned(slot), "slot {slot}");
            if let Some(feed) = pass.returned(slot).filter(|_| !turned) {
                assert!(backward[stages - 1].insert(slot + pass.hold() + latency, feed).is_none());
            }
            if let Some(feed) = pass.feed(slot) {
                assert!(
                    !preceded || own_steps == feed.batch.0,
                    "the owner works on {feed:?} after {own_steps} steps"
                );
                own_in_flight += u64::from(preceded);
                assert!(own_in_flight <= pass.in_flight_before());
                assert!(forward[0].insert(slot + latency, feed).is_none());
            }
        }
        assert_eq!(done, total, "S={stages} K={shown} l={latency} M={full} turned={turned}");
        assert!(forward.iter().chain(&backward).chain([&own]).all(HashMap::is_empty));
    }

    #[test]
    fn parts_of_a_pass_are_the_whole() {
        let pass = DataPass::training(Depth::of(2), 3, 11);
        let feeds = |pass: DataPass| (0..pass.slots()).filter_map(|slot| pass.feed(slot)).collect::<Vec<Feed>>();
        assert_eq!(feeds(pass).len(), 11);
        for cut in 0..=4 {
            let [head, tail] = [pass.part(0..cut), pass.part(cut..4)];
            assert_eq!([feeds(head), feeds(tail)].concat(), feeds(pass), "cut at {cut}");
        }
        assert_eq!(feeds(pass.part(2..3)), feeds(pass)[6..9]);
        assert_eq!(pass.part(0..9), pass);
        assert_eq!(pass.part(7..9).slots(), 0);
    }

    /// Whenever a pass is cut, the batch that has begun is whole, and nothing of what has left is missed.
    #[test]
    fn a_pass_is_cut_behind_the_batch_that_has_begun() {
        let (training, looking) = (DataPass::training(Depth::of(2), 3, 11), DataPass::evaluation(Depth::of(2), 11));
        for (pass, first) in [(training, 0), (training.part(1..4), 1), (looking, 0)] {
            for slot in 0..pass.slots() + 3 {
                let left = (0..slot).filter_map(|slot| pass.feed(slot)).count() as u64;
                assert_eq!(pass.fed(slot), left);
                let cut = pass.cut(pass.fed(slot));
                let due = if pass.training { left.next_multiple_of(3).min(pass.total) } else { left };
                assert_eq!(cut.micro_batches(), due);
                let feeds =
                    |pass: DataPass| (0..100).filter_map(move |slot| pass.feed(slot).map(|feed| (slot, feed)));
                let whole: Vec<_> = feeds(pass).take(due as usize).collect();
                let cut_feeds: Vec<_> = feeds(cut).collect();
                match pass.training {
                    true => assert_eq!(cut_feeds, whole, "slot {slot}"),
                    false => assert_eq!(cut_feeds.len(), whole.len()),
                }
                assert_eq!(
                    cut.until(),
                    if pass.training { first + (due as u32).div_ceil(3) } else { due.min(1) as u32 }
                );
            }
        }
    }

    #[test]
    fn every_micro_batch_passes_every_stage_once_each_way() {
        for stages in 1..6 {
            for full in 1..5 {
                for total in [1, 2, 5, 8, 11] {
                    for shown in [0, stages, stages + 1, stages + 3] {
                        for preceded in [false, true] {
                            simulate(stages, shown, [preceded, false], 1, full, total);
                            simulate(stages, shown, [preceded, false], 2, full, total);
                            // With the loss at the last stage none pass for more.
                            simulate(stages, stages, [preceded, true], 1, full, total);
                            simulate(stages, stages, [preceded, true], 2, full, total);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_figures_of_the_protocol() {
        let one = DataPass::training(Depth::of(3), 4, 4);
        assert_eq!((one.slots(), one.period()), (11, 9));
        assert_eq!(DataPass::training(Depth::of(3), 4, 8).slots(), 20);
        assert_eq!(DataPass::evaluation(Depth::of(3), 10).slots(), 10 + 3 + 1);
        let behind = DataPass::training(Depth::of(3).preceded(true), 4, 4);
        assert_eq!((behind.slots(), behind.period()), (12, 11));
        assert_eq!(DataPass::training(Depth::of(3), 4, 0).slots(), 0);
        let late = DataPass::training(Depth::of(3).latency(2), 4, 4);
        assert_eq!((late.slots(), late.period()), (4 + 12 + 1, 4 + 12 - 2));
        let turned = DataPass::training(Depth::of(3).turned(true), 4, 4);
        assert_eq!((turned.slots(), turned.period()), (9, 7));
    }

    /// Three stages that pass for five cannot be told from five: neither by the number of slots, nor by the slots between a
    /// stage's messages.
    #[test]
    fn stages_pass_for_more() {
        for latency in [1, 2] {
            let (few, many) = (Depth::new(3, 5).latency(latency), Depth::of(5).latency(latency));
            let passes = [few, many].map(|depth| DataPass::training(depth, 4, 10));
            assert_eq!(passes[0].slots(), passes[1].slots());
            let looks = [few, many].map(|depth| DataPass::evaluation(depth, 10));
            assert_eq!(looks[0].slots(), looks[1].slots());
            // The slot in which the gradient of what left in slot 0 comes by stage i.
            let due = |pass: &DataPass, stages: u64, i: u64| {
                let back = (0..).find(|slot| pass.returned(*slot).is_some()).unwrap_or(0);
                back + pass.hold() + u64::from(latency) * (stages - i + 1)
            };
            for i in 1..=3 {
                assert_eq!(due(&passes[0], 3, i), due(&passes[1], 5, i), "stage {i}");
            }
        }
        assert_eq!(Depth::new(3, 0), Depth::of(3));
    }

    #[test]
    fn evaluation_feeds_and_returns_every_slot() {
        let pass = DataPass::evaluation(Depth::of(2), 3);
        let fed: Vec<_> = (0..pass.slots()).map(|s| pass.feed(s).map(|f| f.micro_batch.0)).collect();
        let back: Vec<_> = (0..pass.slots()).map(|s| pass.returned(s).map(|f| f.micro_batch.0)).collect();
        assert_eq!(fed, [Some(0), Some(1), Some(2), None, None, None]);
        assert_eq!(back, [None, None, None, Some(0), Some(1), Some(2)]);
    }
}
