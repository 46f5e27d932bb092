//! The schedule under a pace, where a stage may take any number of slots. The owner sends what the answers so far allow
//! (docs/PROTOCOL.md, "Schedule").

use super::{DataPass, Feed};

/// How far a pass has come, counted in micro-batches that were fed, came back and are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The pass that is counted.
    pass: DataPass,
    /// Most micro-batches that may be under way at once.
    most: u64,
    /// Number of micro-batches that have left the owner.
    fed: u64,
    /// Number of micro-batches whose output has come back to the owner.
    returned: u64,
    /// Number of micro-batches whose gradient stage 1 has taken. Only training has any.
    done: u64,
    /// Slots that an evaluation still goes on after all outputs are back, so that it takes as long as with the stages that it
    /// shows.
    linger: u64,
}

impl Answered {
    /// The start of `pass`, before anything has left. Twice as many micro-batches may be under way as in lockstep: so a stage
    /// that takes two slots has work in each.
    pub fn new(pass: &DataPass) -> Self {
        let DataPass { depth, training, .. } = *pass;
        let linger = if training { 0 } else { depth.latency * (depth.shown - depth.stages) };
        Self { pass: *pass, most: 2 * pass.in_flight(), fed: 0, returned: 0, done: 0, linger }
    }

    /// The micro-batch that leaves the owner in this slot, if one may. In training, the first of a batch waits until the outputs of all
    /// before it are back: stage 1 keeps it until it has made its step. Where the owner hosts stages itself before that, it waits until
    /// all before it are done, as these make their step then. Call once a slot.
    pub fn feed(&mut self) -> Option<Feed> {
        if self.returned == self.pass.total {
            self.linger = self.linger.saturating_sub(1);
        }
        let settled = if self.pass.training { self.done.min(self.returned) } else { self.returned };
        let before = if self.pass.depth.preceded { self.done } else { self.returned };
        let begins = self.pass.training && self.fed.is_multiple_of(self.pass.full);
        let may = self.fed < self.pass.total && self.fed - settled < self.most && (!begins || before == self.fed);
        may.then(|| {
            self.fed += 1;
            self.pass.nth(self.fed - 1)
        })
    }

    /// Ends the pass with the batch that has begun; an evaluation with the micro-batch that has left last.
    pub fn cut(&mut self) {
        self.pass = self.pass.cut(self.fed);
    }

    /// The pass, as far as it goes.
    pub fn pass(&self) -> DataPass {
        self.pass
    }

    /// Counts an output that has come back, and returns its micro-batch. `None` if no output is due.
    pub fn returned(&mut self) -> Option<Feed> {
        (self.returned < self.fed).then(|| {
            self.returned += 1;
            self.pass.nth(self.returned - 1)
        })
    }

    /// Counts a micro-batch that stage 1 says is done, and returns it. `None` if none is due. With the loss at the last stage it may be
    /// counted before its output, where several outputs wait for the owner.
    pub fn done(&mut self) -> Option<Feed> {
        let under_way = if self.pass.depth.turned { self.fed } else { self.returned };
        (self.pass.training && self.done < under_way).then(|| {
            self.done += 1;
            self.pass.nth(self.done - 1)
        })
    }

    /// Whether everything has been sent and is back, and the evaluation's extra slots have passed.
    pub fn is_over(&self) -> bool {
        self.returned == self.pass.total && self.linger == 0 && (!self.pass.training || self.done == self.pass.total)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Depth;
    use super::*;

    /// With stages that take any number of slots, everything passes once and in order. No batch begins before the outputs of the last one
    /// are back, nor before it is done where the owner has stages to step.
    #[test]
    fn every_micro_batch_passes_however_slow_the_stages_are() {
        for (full, total) in [(1, 1), (4, 4), (4, 11), (3, 30)] {
            for (delays, preceded) in
                [[1, 1], [2, 2], [1, 7], [5, 3]].into_iter().flat_map(|delays| [(delays, false), (delays, true)])
            {
                let pass = DataPass::training(Depth::of(3).preceded(preceded), full, total);
                let mut answered = Answered::new(&pass);
                let (mut ahead, mut back) = (Vec::new(), Vec::new());
                let (mut fed, mut came, mut finished) = (0, 0, 0);
                for slot in 0.. {
                    if answered.is_over() {
                        break;
                    }
                    assert!(slot < 10_000, "stuck: {answered:?}");
                    if back.first() == Some(&slot) {
                        back.remove(0);
                        let done = answered.done().unwrap();
                        assert_eq!(done.batch.0 * full + done.micro_batch.0, finished);
                        finished += 1;
                    }
                    if ahead.first() == Some(&slot) {
                        ahead.remove(0);
                        answered.returned().unwrap();
                        came += 1;
                        back.push((slot + delays[1]).max(back.last().copied().unwrap_or(0) + 1));
                    }
                    if let Some(feed) = answered.feed() {
                        assert_eq!(feed.batch.0 * full + feed.micro_batch.0, fed);
                        let before = if preceded { finished } else { came };
                        assert!(before >= feed.batch.0 * full, "a batch before its turn");
                        assert!(u64::from(fed - finished) < 2 * pass.in_flight());
                        assert_eq!(feed.last, (fed + 1).is_multiple_of(full) || fed + 1 == total);
                        fed += 1;
                        ahead.push((slot + delays[0]).max(ahead.last().copied().unwrap_or(0) + 1));
                    }
                }
                assert_eq!((fed, finished), (total, total));
            }
        }
    }

    #[test]
    fn a_batch_that_has_begun_is_ended() {
        for (fed, due) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
            let mut training = Answered::new(&DataPass::training(Depth::of(2), 3, 8));
            assert_eq!((0..fed).filter(|_| training.feed().is_some()).count(), fed);
            training.cut();
            let mut left = fed;
            while training.feed().is_some() {
                left += 1;
            }
            assert_eq!(left, due);
            (0..due).for_each(|_| assert!(training.returned().is_some() && training.done().is_some()));
            assert!(training.is_over() && training.pass().until() == due.div_ceil(3) as u32);
        }
        let mut looking = Answered::new(&DataPass::evaluation(Depth::of(2), 8));
        assert!(looking.feed().is_some() && !looking.is_over());
        looking.cut();
        assert!(looking.feed().is_none() && looking.returned().is_some() && looking.is_over());
    }

    #[test]
    fn answers_that_are_not_due_are_told() {
        let mut training = Answered::new(&DataPass::training(Depth::of(2), 2, 2));
        assert!(training.returned().is_none() && training.done().is_none() && !training.is_over());
        training.feed();
        assert!(training.done().is_none() && training.returned().is_some() && training.returned().is_none());
        assert!(training.done().is_some() && training.done().is_none());
        // With the loss at the last stage it is done before its output is counted, and a batch is over when both are.
        let mut turned = Answered::new(&DataPass::training(Depth::of(2).turned(true), 2, 2));
        assert!(turned.done().is_none() && turned.feed().is_some() && turned.feed().is_some());
        assert!(turned.done().is_some() && turned.done().is_some() && turned.done().is_none() && !turned.is_over());
        assert!(turned.returned().is_some() && turned.returned().is_some() && turned.is_over());
        let mut looking = Answered::new(&DataPass::evaluation(Depth::of(2), 1));
        assert!(looking.feed().is_some() && looking.returned().is_some() && looking.done().is_none());
        assert!(looking.is_over());
        // An evaluation through two stages that pass for four.
        let mut looking = Answered::new(&DataPass::evaluation(Depth::new(2, 4), 1));
        assert!(looking.feed().is_some() && looking.returned().is_some());
        assert!(!looking.is_over() && looking.feed().is_none() && !looking.is_over());
        assert!(looking.feed().is_none() && looking.is_over());
        assert!(Answered::new(&DataPass::training(Depth::of(2), 2, 0)).is_over());
    }
}
