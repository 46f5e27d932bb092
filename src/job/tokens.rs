//! Whether the data are tokens where the network takes tokens, and the network takes them where the data are.

use super::op::Embedding;
use super::sample::Sample;
use super::{Job, JobError, Op};
use crate::element::Element;

impl Job {
    /// The embedding that the data go into: the network's first operation but for those that give each value on as it is.
    pub fn embedding(&self) -> Option<&Embedding> {
        match self.stages[0].ops.iter().find(|op| !matches!(op, Op::Flatten(_) | Op::Reshape(_))) {
            Some(Op::Embedding(embedding)) => Some(embedding),
            _ => None,
        }
    }
}

/// Whether an embedding takes the data as they are, and tokens go into one. Whether it has a row for each of them is seen by
/// who has the data.
///
/// # Errors
/// [`JobError::Conflict`].
pub(super) fn fit(job: &Job, sample: &Sample) -> Result<(), JobError> {
    let conflict = |stage: usize, problem: String, fix: String| {
        let problem = format!("stage {}: {problem}", stage + 1);
        Err(JobError::Conflict { at: job.stages[stage].at.clone(), problem, fix })
    };
    let first = job.embedding();
    for (index, stage) in job.stages.iter().enumerate() {
        let known = usize::from(index == 0 && first.is_some());
        // What is computed is no whole number, and no gradient would pass.
        if embeddings(&stage.ops) > known {
            let fix = "begin stage 1 with it: `flatten` and `reshape` alone may stand before it there";
            let problem = "`embedding` takes the data's tokens, not what other operations make of them";
            return conflict(index, problem.to_owned(), fix.to_owned());
        }
    }
    match (first, sample.largest_token) {
        (Some(_), _) if sample.is_scaled => {
            let (problem, fix) = scaled(job, sample);
            conflict(0, format!("`embedding` takes tokens, the data are {problem}"), fix.to_owned())
        }
        (None, Some(token)) => {
            let fix =
                format!("begin it with {{ op = \"embedding\", vocabulary = {}, width = 128 }}", u32::from(token) + 1);
            match job.data.source.form() {
                Some(_) => conflict(
                    0,
                    "it does not begin with an `embedding`, but the data are uint16, which are tokens".to_owned(),
                    format!(
                        "save numbers, as of 16-bit images, with .astype(numpy.float32), or, where they are tokens, {fix}"
                    ),
                ),
                None => conflict(0, "it does not begin with an `embedding`, but the data are tokens".to_owned(), fix),
            }
        }
        _ => Ok(()),
    }
}

/// How many there are, those within a `residual` too.
fn embeddings(ops: &[Op]) -> usize {
    let of = |op: &Op| match op {
        Op::Embedding(_) => 1,
        Op::Residual(residual) => embeddings(&residual.ops),
        _ => 0,
    };
    ops.iter().map(of).sum()
}

/// What scales the data, and what to do for tokens to stay as they are.
fn scaled(job: &Job, sample: &Sample) -> (&'static str, &'static str) {
    let is_array = job.data.source.form().is_some();
    match (sample.element == Element::U8, job.data.normal.is_some()) {
        (true, _) if !is_array => ("pixels", "take a source of tokens, such as \"tokens\" or \"text\""),
        (true, true) => (
            "scaled, and moved by data.mean and data.std",
            "leave both out, and write data.scale = 1 or save tokens as uint16, with .astype(numpy.uint16)",
        ),
        (true, false) => {
            ("bytes that are scaled", "write data.scale = 1, or save them as uint16, with .astype(numpy.uint16)")
        }
        (false, _) => ("moved or scaled by data.mean and data.std", "leave both out"),
    }
}
