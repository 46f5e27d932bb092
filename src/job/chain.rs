//! How the stages' shapes chain from the data to the loss.

use super::sample::Sample;
use super::shape::Shape;
use super::{Job, JobError, answers, tokens};

/// The most values that a stage keeps of one micro-batch: what goes into it, and what comes out of each of its operations.
pub const MOST_ACTIVATIONS: u64 = 1 << 30;

/// What passes from one stage to the next for each sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The shape of what passes.
    pub shape: Shape,
    /// How many bytes a value has on the wire. What goes into the first stage travels as the data have it, everything else as
    /// `mix.wire` says.
    pub width: u32,
}

impl Boundary {
    /// How many values pass for a sample.
    pub fn features(&self) -> u32 {
        self.shape.values()
    }

    /// How many bytes pass for so many samples.
    pub fn bytes(&self, samples: u32) -> u64 {
        u64::from(self.features()) * u64::from(self.width) * u64::from(samples)
    }
}

/// The S + 1 boundaries of the job's S stages: what goes into each stage, and what comes out of the last one. The data's samples are
/// such as `sample` says.
///
/// # Errors
/// [`JobError::Conflict`] where an operation does not take what the one before it gives (the first one: what the data give), where a
/// stage would keep more than [`MOST_ACTIVATIONS`], or where what comes out is not what the data want.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, classes, parse, with_ops};

    #[test]
    fn shapes_chain_from_the_data_to_the_classes() {
        let job = parse(JOB, &[]).unwrap();
        let boundaries = chain(&job, &classes([1, 8, 8], 10)).unwrap();
        let found: Vec<(u32, u32)> =
            boundaries.iter().map(|boundary| (boundary.features(), boundary.width)).collect();
        assert_eq!(found, [(64, 1), (16, 4), (10, 4)]);
        assert_eq!(boundaries[1].bytes(3), 3 * 16 * 4);
        let error = chain(&job, &classes([7, 3, 3], 10)).unwrap_err().to_string();
        assert!(error.contains("stage 1: `linear` takes 64 values a sample, but gets 63"), "{error}");
        let error = chain(&job, &classes([64], 12)).unwrap_err().to_string();
        assert!(error.contains("gives 10 values a sample, (10); the data have 12 classes"), "{error}");
    }

    #[test]
    fn a_stage_keeps_only_so_much() {
        let ops =
            "{ op = \"linear\", out = 1000000 }, { op = \"relu\" }, { op = \"linear\", out = 900000 }, ".repeat(60);
        let error = chain(&with_ops(ops.trim_end_matches(", ")), &classes([1, 8, 8], 10)).unwrap_err().to_string();
        let words = "job.toml:14:1: stage 1: 174000064 values a sample, in micro-batches of 8; a stage keeps at most 1073741824";
        assert!(error.starts_with(words), "{error}");
    }
}
