//! The passes of a term: which samples go through the stages, and what for.

use std::ops::Range;

use crate::data::{Augmented, Batches, Dataset};
use crate::pipeline::{Depth, Pass};
use crate::wire::Kind;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stages learn from it.
    Train,
    /// Outputs are compared with their targets.
    Evaluate,
    /// Outputs are all that is asked for; there need not be targets.
    Infer,
}

impl Purpose {
    /// What a message that goes forward is.
    pub(super) fn kind(self) -> Kind {
        match self {
            Purpose::Train => Kind::Train,
            Purpose::Evaluate | Purpose::Infer => Kind::Evaluate,
        }
    }
}

/// A pass over samples that the owner is to run.
pub struct Planned<'a> {
    /// What for.
    pub purpose: Purpose,
    /// The samples.
    pub data: &'a Dataset,
    /// Which are in which micro-batch.
    pub batches: Batches,
    /// The batches that it goes through.
    pub part: Range<u32>,
    /// How they are moved and mirrored.
    pub augmented: Option<Augmented>,
    /// Which micro-batch goes when.
    pub pass: Pass,
}

impl<'a> Planned<'a> {
    /// A training pass through `depth` stages, over the batches `part` of `batches`.
    pub fn training(
        data: &'a Dataset,
        batches: Batches,
        part: Range<u32>,
        augmented: Augmented,
        depth: Depth,
    ) -> Self {
        let pass = Pass::training(depth, batches.full(), batches.micro_batches()).part(part.clone());
        Self { purpose: Purpose::Train, data, batches, part, augmented: Some(augmented), pass }
    }

    /// A pass that only looks, in the order of the samples, `micro_batch` at a time.
    pub fn evaluation(data: &'a Dataset, micro_batch: u32, depth: Depth) -> Self {
        let samples = data.samples() as u32;
        // One batch of all samples, so that the loss is the mean over them.
        let batches = Batches::new((0..samples).collect(), samples, micro_batch);
        let pass = Pass::evaluation(depth, batches.micro_batches());
        Self { purpose: Purpose::Evaluate, data, part: 0..batches.batches(), batches, augmented: None, pass }
    }

    /// As [`evaluation`](Planned::evaluation), for the outputs themselves.
    pub fn inference(data: &'a Dataset, micro_batch: u32, depth: Depth) -> Self {
        Self { purpose: Purpose::Infer, ..Self::evaluation(data, micro_batch, depth) }
    }

    /// Whether stages learn from it.
    pub fn trains(&self) -> bool {
        self.purpose == Purpose::Train
    }
}
