//! `train.loss`: what is minimised.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{exact, put, table};

/// The key under which the loss stands in `[train]`.
const KEY: &str = "loss";

/// `train.loss`: what is minimised, the mean over what counts of a batch. Cross entropy by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// `cross_entropy`: the softmax cross entropy of each label, which is a class.
    CrossEntropy {
        /// `label_smoothing`: the part of a label's distribution that is spread evenly over all classes, from 0 to 1. 0 by default.
        smoothing: f32,
        /// `ignore_index`: the label that does not count. `None`, the default: all labels count.
        ignored: Option<i64>,
    },
    /// `mean_squared_error`: the squared error of each value.
    MeanSquaredError,
    /// `binary_cross_entropy`: the binary cross entropy of each value, which is a logit.
    BinaryCrossEntropy,
}

impl Loss {
    /// The loss of a job that says nothing about it.
    const USUAL: Self = Self::CrossEntropy { smoothing: 0.0, ignored: None };
    /// All losses with the defaults of their keys, in the order in which errors list them.
    const ALL: [Self; 3] = [Self::USUAL, Self::MeanSquaredError, Self::BinaryCrossEntropy];

    /// The word for the loss in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::MeanSquaredError => "mean_squared_error",
            Self::BinaryCrossEntropy => "binary_cross_entropy",
        }
    }

    /// Reads the loss that stands in `train`, as a word or as a table.
    ///
    /// # Errors
    /// A word that is no loss, a key that the loss does not know, or a value out of its range.
    pub(super) fn read_from(train: &Section<'_>) -> Result<Self, JobError> {
        let (kind, section) = train.kind(KEY, &Self::ALL.map(|loss| (loss.name(), loss)))?;
        let mut loss = kind.unwrap_or(Self::USUAL);
        if let Self::CrossEntropy { smoothing, ignored } = &mut loss {
            let found =
                section.number("label_smoothing", "a part from 0 to 1", |part| (0.0..=1.0).contains(&part))?;
            *smoothing = found.map_or(0.0, |part| part as f32);
            *ignored = section.integer("ignore_index", i64::MIN..=i64::MAX)?;
        }
        section.finish()?;
        Ok(loss)
    }

    /// Puts the loss into `train`: as a word, or as a table where one of its keys is not the default.
    pub(super) fn write_into(self, train: &mut Table) {
        match self {
            Self::CrossEntropy { smoothing, ignored } if self != Self::USUAL => {
                let mut keys = table([("kind", self.name().into()), ("label_smoothing", exact(smoothing))]);
                if let Some(label) = ignored {
                    put(&mut keys, "ignore_index", label);
                }
                put(train, KEY, keys);
            }
            _ => put(train, KEY, self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn a_loss_is_a_word_or_a_table() {
        let loss = |text: &str| {
            let job = parse(JOB, &[&format!("train.loss={text}")]).unwrap();
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{text}");
            job.train.loss
        };
        let cross_entropy = |smoothing, ignored| Loss::CrossEntropy { smoothing, ignored };
        assert_eq!(loss("cross_entropy"), cross_entropy(0.0, None));
        assert_eq!(loss("{ label_smoothing = 0.1 }"), cross_entropy(0.1, None));
        assert_eq!(loss("{ kind = \"cross_entropy\", ignore_index = -100 }"), cross_entropy(0.0, Some(-100)));
        assert_eq!(loss("mean_squared_error"), Loss::MeanSquaredError);
        assert_eq!(loss("{ kind = \"binary_cross_entropy\" }"), Loss::BinaryCrossEntropy);
        assert_eq!(parse(JOB, &[]).unwrap().train.loss, cross_entropy(0.0, None));
        for (text, words) in [
            ("hinge", "expected \"cross_entropy\" or \"mean_squared_error\" or \"binary_cross_entropy\""),
            ("{ label_smoothing = 1.5 }", "a part from 0 to 1"),
            ("{ label_smothing = 0.1 }", "did you mean `label_smoothing`?"),
            ("{ kind = \"mean_squared_error\", ignore_index = 1 }", "unknown key `ignore_index`"),
        ] {
            let message = refused(JOB, &[&format!("train.loss={text}")]);
            assert!(message.contains(words), "{message}");
        }
    }
}
