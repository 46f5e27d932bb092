//! Shapes of samples, and how the stages' chain from the data to the loss.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Job, JobError};

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
    /// Bytes of a value on the wire: 1 for the data's bytes, else as `mix.wire` says.
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

/// The S + 1 boundaries of the job's S stages: what goes into each stage, and what comes out of the last; `sample` is the
/// shape of the data's samples.
///
/// # Errors
/// [`JobError::Conflict`] where an operation does not take what the one before gives, or the last stage's output has
/// another number of values than the data has classes.
pub fn chain(job: &Job, sample: &Shape, classes: u32) -> Result<Vec<Boundary>, JobError> {
    let mut flowing = sample.clone();
    let mut boundaries = vec![Boundary { shape: sample.clone(), width: 1 }];
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
    let values = flowing.values();
    if values != classes {
        return Err(JobError::Conflict {
            at: job.stages[job.stages.len() - 1].at.clone(),
            problem: format!("the last stage gives {values} values a sample, the data has {classes} classes"),
            fix: format!("end the last stage with {{ op = \"linear\", out = {classes} }}"),
        });
    }
    Ok(boundaries)
}
