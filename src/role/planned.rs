//! The passes of a term: which samples go through the stages, and for what.

use std::ops::Range;

use crate::data::{Augmented, Batches, Dataset};
use crate::pipeline::{DataPass, Depth};
use crate::wire::Kind;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training: the stages learn from the samples.
    Train,
    /// Evaluation: outputs are compared with their targets, and nothing is learned.
    Evaluate,
    /// Inference: the outputs themselves are asked for. There need not be targets.
    Infer,
}

impl Purpose {
    /// The kind of the messages that go forward in such a pass.
    pub(super) fn kind(self) -> Kind {
        match self {
            Purpose::Train => Kind::Train,
            Purpose::Evaluate | Purpose::Infer => Kind::Evaluate,
        }
    }
}

/// A pass over samples that the owner is to run.
pub struct Planned<'a> {
    /// What the pass is for.
    pub purpose: Purpose,
    /// The samples and their targets.
    pub data: &'a Dataset,
    /// Which samples are in which micro-batch, for all batches of the epoch.
    pub batches: Batches,
    /// The batches that the pass goes through, by their numbers in the epoch.
    pub part: Range<u32>,
    /// How images are moved and mirrored. `None` outside training.
    pub augmented: Option<Augmented>,
    /// When each micro-batch of the pass leaves and comes back.
    pub pass: DataPass,
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
        let pass = DataPass::training(depth, batches.full(), batches.micro_batches()).part(part.clone());
        Self { purpose: Purpose::Train, data, batches, part, augmented: Some(augmented), pass }
    }

    /// An evaluation pass over all samples in their order, `micro_batch` at a time.
    pub fn evaluation(data: &'a Dataset, micro_batch: u32, depth: Depth) -> Self {
        let samples = data.samples() as u32;
        // All samples count as one batch, so that the loss is the mean over them.
        let batches = Batches::new((0..samples).collect(), samples, micro_batch);
        let pass = DataPass::evaluation(depth, batches.micro_batches());
        Self { purpose: Purpose::Evaluate, data, part: 0..batches.batches(), batches, augmented: None, pass }
    }

    /// An inference pass over all samples in their order, `micro_batch` at a time.
    pub fn inference(data: &'a Dataset, micro_batch: u32, depth: Depth) -> Self {
        Self { purpose: Purpose::Infer, ..Self::evaluation(data, micro_batch, depth) }
    }

    /// Whether the stages learn from the pass.
    pub fn trains(&self) -> bool {
        self.purpose == Purpose::Train
    }
}
