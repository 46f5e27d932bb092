//! `train.loss`: what is minimised.

use toml::Value;

use super::JobError;
use super::keys::{exact, table};
use super::section::Section;

/// What is minimised: the mean over what counts of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross entropy of each label.
    CrossEntropy {
        /// The part of a label's distribution that is spread evenly over all classes.
        smoothing: f32,
        /// The label that does not count.
        ignored: Option<i64>,
    },
    /// The squared error of each value.
    MeanSquaredError,
    /// Binary cross entropy of each value, a logit.
    BinaryCrossEntropy,
}

const USUAL: Loss = Loss::CrossEntropy { smoothing: 0.0, ignored: None };
const KINDS: [(&str, Loss); 3] = [
    ("cross_entropy", USUAL),
    ("mean_squared_error", Loss::MeanSquaredError),
    ("binary_cross_entropy", Loss::BinaryCrossEntropy),
];

impl Loss {
    /// The word for it in a job.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy { .. } => KINDS[0].0,
            Loss::MeanSquaredError => KINDS[1].0,
            Loss::BinaryCrossEntropy => KINDS[2].0,
        }
    }

    /// The value of `train.loss`.
    pub(super) fn write(self) -> Value {
        let Loss::CrossEntropy { smoothing, ignored } = self else { return self.name().into() };
        if self == USUAL {
            return self.name().into();
        }
        let mut keys = table([("kind", self.name().into()), ("label_smoothing", exact(smoothing))]);
        if let Some(label) = ignored {
            keys.insert("ignore_index".to_owned(), label.into());
        }
        keys.into()
    }
}

/// Reads the key `loss` of `train`: a word, or a table.
pub(super) fn read(train: &Section<'_>) -> Result<Loss, JobError> {
    let (kind, section) = train.kind("loss", &KINDS)?;
    let mut loss = kind.unwrap_or(USUAL);
    if let Loss::CrossEntropy { smoothing, ignored } = &mut loss {
        let found = section.number("label_smoothing", "a part from 0 to 1", |part| (0.0..=1.0).contains(&part))?;
        *smoothing = found.map_or(0.0, |part| part as f32);
        *ignored = section.integer("ignore_index", i64::MIN..=i64::MAX)?;
    }
    section.finish()?;
    Ok(loss)
}
