//! How the stages' shapes chain from the data to the loss.

use super::sample::Sample;
use super::shape::Shape;
use super::{Job, JobError, answers, tokens};

/// The most operations of a stage.
pub const MOST_OPS: usize = 1024;
/// The most values that a stage keeps of one micro-batch.
pub const MOST_ACTIVATIONS: u64 = 1 << 30;

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
