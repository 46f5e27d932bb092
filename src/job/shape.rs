//! Shapes of samples, and how the stages' chain from the data to the loss.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Job, JobError, answers, tokens};
use crate::element::Element;

/// The most dimensions of a sample.
pub(super) const DIMS: usize = 3;
/// The most operations of a stage.
pub const MOST_OPS: usize = 1024;
/// The most values that a stage keeps of one micro-batch.
pub const MOST_ACTIVATIONS: u64 = 1 << 30;

/// The shape of a sample: `(values)` of a vector, `(tokens, width)` of a sequence, `(channels, height, width)` of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape(Vec<u32>);

impl Shape {
    /// A shape of these dimensions, at most three.
    pub fn new(dims: impl Into<Vec<u32>>) -> Self {
        Self(dims.into())
    }

    /// The dimensions.
    pub fn dims(&self) -> &[u32] {
        &self.0
    }

    /// Values of a sample; the most of a u32 where it has more.
    pub fn values(&self) -> u32 {
        self.0.iter().fold(1, |values, dim| dim.saturating_mul(values))
    }

    /// Whether there are one to three dimensions, and values.
    pub fn fits(&self) -> bool {
        (1..=DIMS).contains(&self.0.len()) && (1..u32::MAX).contains(&self.values())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(u32::to_string).collect();
        write!(f, "({})", dims.join(", "))
    }
}

/// What passes from one stage to the next, a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Its shape.
    pub shape: Shape,
    /// Bytes of a value on the wire: the data's own for what goes into the first stage, else as `mix.wire` says.
    pub width: u32,
}

impl Boundary {
    /// Values of a sample.
    pub fn features(&self) -> u32 {
        self.shape.values()
    }

    /// Bytes of `samples` samples.
    pub fn bytes(&self, samples: u32) -> u64 {
        u64::from(self.features()) * u64::from(self.width) * u64::from(samples)
    }
}

/// What the data say of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its shape.
    pub shape: Shape,
    /// The type of its values.
    pub element: Element,
    /// Whether its values are scaled or moved before the first operation takes them.
    pub is_scaled: bool,
    /// The largest of its tokens, where it has some.
    pub largest_token: Option<u16>,
    /// Whether its labels look like one class, of which one place of several is 1 and all others 0.
    pub is_one_hot: bool,
    /// What should come out for it; `None`: nobody knows, and nothing is compared.
    pub wanted: Option<Wanted>,
}

/// What should come out for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A class, or one for each of its places.
    Classes {
        /// Labels of a sample.
        places: u32,
        /// Number of classes.
        classes: u32,
    },
    /// So many numbers.
    Values(u32),
}

/// The S + 1 boundaries of the job's S stages: what goes into each stage, and what comes out of the last.
///
/// # Errors
/// [`JobError::Conflict`] where an operation does not take what the one before gives, the first one not what the data give,
/// or the last stage's output is not what the data's targets are compared with.
pub fn chain(job: &Job, sample: &Sample) -> Result<Vec<Boundary>, JobError> {
    tokens::fit(job, sample)?;
    let mut flowing = sample.shape.clone();
    let mut boundaries = vec![Boundary { shape: sample.shape.clone(), width: sample.element.bytes() }];
    for (index, stage) in job.stages.iter().enumerate() {
        let mut values = u64::from(flowing.values());
        for op in &stage.ops {
            flowing = op.output(&flowing).map_err(|misfit| JobError::Conflict {
                at: stage.at.clone(),
                problem: format!("stage {}: {}", index + 1, misfit.problem),
                fix: misfit.fix,
            })?;
            values += u64::from(flowing.values());
        }
        let micro_batch = job.train.micro_batch;
        if values * u64::from(micro_batch) > MOST_ACTIVATIONS {
            return Err(JobError::Conflict {
                at: stage.at.clone(),
                problem: format!("stage {}: {values} values a sample, in micro-batches of {micro_batch}", index + 1),
                fix: format!("a stage keeps at most {MOST_ACTIVATIONS}: take a smaller micro_batch, or more stages"),
            });
        }
        boundaries.push(Boundary { shape: flowing.clone(), width: job.mix.wire.bytes() });
    }
    answers::fit(job, sample, &flowing)?;
    Ok(boundaries)
}
