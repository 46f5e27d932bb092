//! The loss: what the outputs of the last stage are worth.

use crate::compute::{Backend, LossSum};
use crate::job::Loss;

/// What the outputs for a micro-batch should be.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Classes, (samples x places); those of `classes` or above do not count.
    Classes {
        /// The labels.
        labels: &'a [u32],
        /// Number of classes.
        classes: usize,
    },
    /// Numbers, (samples, width).
    Values(&'a [f32]),
}

/// A job's loss.
#[derive(Clone, Copy, Debug)]
pub struct Criterion(Loss);

impl Criterion {
    /// That of `loss`.
    pub fn new(loss: Loss) -> Self {
        Self(loss)
    }

    /// Whether its outputs are right or wrong, so that there is an accuracy.
    pub fn classifies(self) -> bool {
        !matches!(self.0, Loss::MeanSquaredError)
    }

    /// The loss of `x` (samples, outputs), a sum, and its gradient times `weight` in `dx` (samples, outputs).
    ///
    /// # Panics
    /// Where the targets are not of the kind that the loss takes.
    pub fn of<B: Backend>(
        self,
        backend: &B,
        x: &B::Buf,
        target: Target<'_>,
        weight: f32,
        dx: &mut B::Buf,
    ) -> LossSum {
        match (self.0, target) {
            (Loss::CrossEntropy { smoothing, .. }, Target::Classes { labels, classes }) => {
                backend.cross_entropy(classes, x, labels, smoothing, weight, dx)
            }
            (Loss::MeanSquaredError, Target::Values(values)) => backend.squared_error(x, values, weight, dx),
            (Loss::BinaryCrossEntropy, Target::Values(values)) => backend.binary_cross_entropy(x, values, weight, dx),
            (loss, target) => unreachable!("{loss:?} does not take {target:?}: a job is checked against its data"),
        }
    }
}
