//! What a pass comes to: losses and right answers, summed over micro-batches.

use serde::{Deserialize, Serialize};

use crate::compute::LossSum;
use crate::data::Targets;
use crate::nn::{Criterion, Target};

/// The result of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean loss of a label or a value. `None` if none counted.
    pub loss: Option<f64>,
    /// Share of labels or values for which the output agrees with the target, from 0 to 1. `None` if none counted, or if the
    /// loss has no right and wrong.
    pub accuracy: Option<f64>,
}

/// Sums up micro-batches for a [`Score`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Sum of the losses of all terms.
    loss: f64,
    /// Number of terms: labels or values that counted.
    terms: u64,
    /// Number of correct terms. `None` if the loss has no right and wrong.
    correct: Option<u64>,
    /// Number of samples of the micro-batches so far.
    samples: usize,
}

impl Tally {
    /// An empty tally, for losses by `criterion`.
    pub fn new(criterion: Criterion) -> Self {
        Self { loss: 0.0, terms: 0, correct: criterion.classifies().then_some(0), samples: 0 }
    }

    /// Adds the loss of a micro-batch of `samples` samples.
    pub fn add(&mut self, sum: LossSum, samples: usize) {
        self.loss += sum.loss;
        self.terms += u64::from(sum.terms);
        self.correct = self.correct.map(|correct| correct + u64::from(sum.correct));
        self.samples += samples;
    }

    /// Number of samples that were added.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The mean over what was added.
    pub fn score(&self) -> Score {
        let mean = |sum: f64| (self.terms > 0).then(|| sum / self.terms as f64);
        Score { loss: mean(self.loss), accuracy: self.correct.and_then(|correct| mean(correct as f64)) }
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

/// The factor of one term's gradient, if the loss of a batch is the mean over its `terms` terms.
pub fn weight(terms: usize) -> f32 {
    1.0 / terms.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Loss;

    /// The mean over nothing is none, neither 0 nor NaN.
    #[test]
    fn what_nothing_counts_for_has_no_score() {
        let of = |loss, sums: &[LossSum]| {
            let mut tally = Tally::new(Criterion::new(loss));
            sums.iter().for_each(|sum| tally.add(*sum, 4));
            tally.score()
        };
        let sum = |loss, terms, correct| LossSum { loss, terms, correct };
        let entropy = Loss::CrossEntropy { smoothing: 0.0, ignored: Some(-100) };
        for loss in [entropy, Loss::MeanSquaredError, Loss::BinaryCrossEntropy] {
            for sums in [&[][..], &[sum(0.0, 0, 0); 2]] {
                assert_eq!(of(loss, sums), Score { loss: None, accuracy: None });
            }
        }
        let counted = [sum(0.0, 0, 0), sum(3.0, 4, 1)];
        assert_eq!(of(entropy, &counted), Score { loss: Some(0.75), accuracy: Some(0.25) });
        assert_eq!(of(Loss::MeanSquaredError, &counted), Score { loss: Some(0.75), accuracy: None });
        // A loss that is NaN stays so. It ends the run.
        assert!(of(entropy, &[sum(f64::NAN, 4, 0)]).loss.is_some_and(f64::is_nan));
    }
}
