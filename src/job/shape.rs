//! How the stages' shapes chain from the data to the loss.

use super::{Job, JobError, Op};

/// What passes from one stage to the next, a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Values of a sample.
    pub features: u32,
    /// Bytes of a value on the wire: 1 for the data's bytes, 4 for f32.
    pub width: u32,
}

impl Boundary {
    /// Bytes of `samples` samples.
    pub fn bytes(self, samples: u32) -> u64 {
        u64::from(self.features) * u64::from(self.width) * u64::from(samples)
    }
}

/// The S + 1 boundaries of the job's S stages: what goes into each stage, and what comes out of the last.
///
/// # Errors
/// [`JobError::Conflict`] where an operation does not take what the one before gives, or the last stage's output has
/// fewer values than the data has classes.
pub fn chain(job: &Job, features: u32, classes: u32) -> Result<Vec<Boundary>, JobError> {
    let mut width = 1;
    let mut flowing = features;
    let mut boundaries = vec![Boundary { features, width }];
    for (index, stage) in job.stages.iter().enumerate() {
        for op in &stage.ops {
            flowing = match *op {
                Op::Linear { input: Some(expected), .. } if expected != flowing => {
                    return Err(JobError::Conflict {
                        at: stage.at.clone(),
                        problem: format!(
                            "stage {}: `{}` takes {expected} values a sample, but gets {flowing}",
                            index + 1,
                            op.name()
                        ),
                        fix: format!("write in = {flowing}, or leave `in` out"),
                    });
                }
                Op::Linear { out, .. } => out,
                Op::Relu => flowing,
            };
        }
        width = 4;
        boundaries.push(Boundary { features: flowing, width });
    }
    if flowing != classes {
        return Err(JobError::Conflict {
            at: job.stages[job.stages.len() - 1].at.clone(),
            problem: format!("the last stage gives {flowing} values a sample, the data has {classes} classes"),
            fix: format!("end the last stage with {{ op = \"linear\", out = {classes} }}"),
        });
    }
    Ok(boundaries)
}
