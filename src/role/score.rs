//! What a pass is worth: losses and right answers, summed over micro-batches.

use crate::compute::LossSum;
use crate::data::Targets;
use crate::nn::{Criterion, Target};

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean loss of a label, or of a value.
    pub loss: f64,
    /// Part of the labels, or values, for which the output says what it should; `None` where a loss has no right and wrong.
    pub accuracy: Option<f64>,
}

/// Sums micro-batches up to a [`Score`].
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    loss: f64,
    terms: u64,
    correct: Option<u64>,
    samples: usize,
}

impl Tally {
    /// Nothing yet, by `criterion`.
    pub fn new(criterion: Criterion) -> Self {
        Self { loss: 0.0, terms: 0, correct: criterion.classifies().then_some(0), samples: 0 }
    }

    /// Adds a micro-batch of `samples`.
    pub fn add(&mut self, sum: LossSum, samples: usize) {
        self.loss += sum.loss;
        self.terms += u64::from(sum.terms);
        self.correct = self.correct.map(|correct| correct + u64::from(sum.correct));
        self.samples += samples;
    }

    /// Samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The mean over what was added.
    pub fn score(&self) -> Score {
        let terms = self.terms.max(1) as f64;
        Score { loss: self.loss / terms, accuracy: self.correct.map(|correct| correct as f64 / terms) }
    }
}

impl<'a> From<&'a Targets> for Target<'a> {
    fn from(targets: &'a Targets) -> Self {
        match targets {
            Targets::Classes { labels, classes, .. } => Target::Classes { labels, classes: *classes },
            Targets::Values { values, .. } => Target::Values(values),
        }
    }
}

/// What the gradient of one term of a batch is worth, where the loss is the mean over `terms`.
pub fn weight(terms: usize) -> f32 {
    1.0 / terms.max(1) as f32
}
