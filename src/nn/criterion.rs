//! The loss: it compares the outputs of the last stage with the targets.

use serde::{Deserialize, Serialize};

use crate::compute::{Backend, LossSum};
use crate::job::Loss;

/// The loss that a stage computes of its own outputs (`train.loss_at = "last"`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossSpec {
    /// The loss, without a label to ignore: labels say so themselves.
    pub loss: Loss,
    /// Number of classes, if the loss compares with classes. 0 if it compares with numbers.
    pub classes: u32,
}

impl LossSpec {
    /// Whether the loss can be computed of samples of `outputs` values.
    pub fn fits(&self, outputs: u32) -> bool {
        match self.loss {
            Loss::CrossEntropy { smoothing, .. } => {
                self.classes > 0 && outputs.is_multiple_of(self.classes) && (0.0..=1.0).contains(&smoothing)
            }
            Loss::MeanSquaredError | Loss::BinaryCrossEntropy => self.classes == 0,
        }
    }
}

/// What the outputs for a micro-batch are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A class for each sample, or for each place of a sample: (samples x places). A label of `classes` or above does not
    /// count.
    Classes {
        /// The labels, (samples x places).
        labels: &'a [u32],
        /// Number of classes that a label may name.
        classes: usize,
    },
    /// A number for each output value, (samples, width).
    Values(&'a [f32]),
}

/// The loss of a job, as a function of outputs and targets.
#[derive(Clone, Copy, Debug)]
pub struct Criterion(Loss);

impl Criterion {
    /// The criterion that computes `loss`.
    pub fn new(loss: Loss) -> Self {
        Self(loss)
    }

    /// Whether outputs are right or wrong under this loss, so that there is an accuracy.
    pub fn classifies(self) -> bool {
        !matches!(self.0, Loss::MeanSquaredError)
    }

    /// The summed loss of the outputs `x` (samples, outputs). Its gradient times `weight` is written to `dx` (samples,
    /// outputs).
    ///
    /// # Panics
    /// If the targets are not of the kind that the loss takes. A job is checked against its data before.
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
