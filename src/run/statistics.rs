//! Checks that every micro-batch has enough samples for the operations that learn from all of it at once.
//!
//! The variance of one value is 0, whatever the value is. A `batch_norm` would turn it into 0, and its running variance
//! would shrink towards 0. PyTorch refuses when it comes to such a batch. The owner finds out before anything starts.

use crate::data::Batches;
use crate::job::{Boundary, Job, JobError, Op, Shape, Train};

/// Checks that all micro-batches of an epoch of `samples` training samples have enough for each operation. `boundaries`
/// are what passes between the job's stages.
///
/// # Errors
/// [`JobError::Conflict`].
pub(super) fn suffice(job: &Job, boundaries: &[Boundary], samples: usize) -> Result<(), JobError> {
    for (index, (stage, input)) in job.stages.iter().zip(boundaries).enumerate() {
        let (train, fewest) = (&job.train, fewest(&stage.ops, &input.shape));
        if smallest(train, samples) >= fewest {
            continue;
        }
        let (batch, micro_batch) = (train.batch, train.micro_batch);
        let cause = match micro_batch {
            1 => "train.micro_batch = 1".to_owned(),
            _ => {
                format!(
                    "{samples} samples in batches of {batch} and micro-batches of {micro_batch} leave 1 for the last"
                )
            }
        };
        return Err(JobError::Conflict {
            at: stage.at.clone(),
            problem: format!(
                "stage {}: `batch_norm` would learn from one value a channel, which has no variance: {cause}",
                index + 1
            ),
            fix: fix(train, samples, fewest),
        });
    }
    Ok(())
}

/// The fewest samples of a micro-batch from which all of `ops` learn, where samples of shape `input` go into the first.
fn fewest(ops: &[Op], input: &Shape) -> usize {
    let mut shape = input.clone();
    let mut most = 1;
    for op in ops {
        most = most.max(op.fewest(&shape));
        match op.output(&shape) {
            Ok(output) => shape = output,
            Err(_) => break,
        }
    }
    most as usize
}

/// How many samples the smallest micro-batch has in an epoch of `samples` training samples.
fn smallest(train: &Train, samples: usize) -> usize {
    match train.drop_last {
        true => train.micro_batch as usize,
        false => Batches::smallest(samples, train.micro_batch),
    }
}

/// Says what the user can do so that every micro-batch has `fewest` samples. Each way that it names is enough alone.
fn fix(train: &Train, samples: usize, fewest: usize) -> String {
    let suffices = |changed: &Train| {
        let trained = !changed.drop_last || samples >= changed.batch as usize;
        trained && smallest(changed, samples) >= fewest
    };
    let micro_batches = (1..=train.batch).filter(|micro_batch| train.batch.is_multiple_of(*micro_batch));
    let of = |micro_batch, drop_last| Train { micro_batch, drop_last, ..train.clone() };
    let mut ways = Vec::new();
    if suffices(&of(train.micro_batch, true)) {
        ways.push("write train.drop_last = true, which leaves the last batch out".to_owned());
    }
    if let Some(micro_batch) = micro_batches.clone().find(|micro_batch| suffices(&of(*micro_batch, train.drop_last)))
    {
        ways.push(format!("take train.micro_batch = {micro_batch}"));
    }
    if ways.is_empty()
        && let Some(micro_batch) = micro_batches.clone().find(|micro_batch| suffices(&of(*micro_batch, true)))
    {
        ways.push(format!("take train.micro_batch = {micro_batch} and train.drop_last = true"));
    }
    match (ways.is_empty(), samples) {
        (true, 1) => "give it more samples to train on".to_owned(),
        (true, _) => "take a larger train.batch".to_owned(),
        (false, _) => ways.join(", or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network whose second stage has a batch norm of vectors, within a residual.
    fn job(batch: u32, micro_batch: u32, more: &str) -> Job {
        let text = format!(
            "name = \"n\"\nseed = 7\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\nbatch = {batch}\nmicro_batch = \
             {micro_batch}\n{more}\n[[stage]]\nops = [{{ op = \"linear\", out = 8 }}]\n[[stage]]\nops = [{{ op = \"residual\", \
             ops = [{{ op = \"batch_norm\" }}] }}, {{ op = \"linear\", out = 2 }}]"
        );
        Job::parse("job.toml", &text, &[]).unwrap()
    }

    fn refused(job: &Job, samples: usize) -> Option<String> {
        let boundary = |values: u32| Boundary { shape: Shape::new([values]), width: 4 };
        suffice(job, &[64, 8, 2].map(boundary), samples).err().map(|error| error.to_string())
    }

    #[test]
    fn every_micro_batch_of_an_epoch_counts() {
        for (batch, micro_batch, samples, fits) in [
            (32, 32, 64, true),
            (32, 32, 66, true),
            (32, 32, 65, false),
            (32, 8, 64, true),
            (32, 8, 82, true),
            (32, 8, 73, false),
            (32, 1, 64, false),
            (1, 1, 64, false),
            (32, 32, 1, false),
            (32, 32, 2, true),
        ] {
            let found = refused(&job(batch, micro_batch, ""), samples);
            assert_eq!(found.is_none(), fits, "{samples} by {batch} by {micro_batch}: {found:?}");
        }
        assert_eq!(refused(&job(32, 32, "drop_last = true"), 65), None);
        assert!(refused(&job(32, 1, "drop_last = true"), 64).is_some());
        // Without the batch norm nothing looks at a whole micro-batch.
        let mut plain = job(32, 1, "");
        plain.stages[1].ops.remove(0);
        assert_eq!(refused(&plain, 33), None);
    }

    #[test]
    fn it_is_said_where_and_what_to_do() {
        let what =
            "job.toml:12:1: stage 2: `batch_norm` would learn from one value a channel, which has no variance: ";
        let of = |batch, micro_batch, samples| {
            let found = refused(&job(batch, micro_batch, ""), samples).unwrap();
            found.strip_prefix(what).unwrap_or_else(|| panic!("{found}")).to_owned()
        };
        let drop = "write train.drop_last = true, which leaves the last batch out";
        let last = |samples, micro_batch| {
            format!("{samples} samples in batches of 32 and micro-batches of {micro_batch} leave 1 for the last; ")
        };
        assert_eq!(of(32, 32, 33), last(33, 32) + drop);
        assert_eq!(of(32, 8, 41), format!("{}{drop}, or take train.micro_batch = 16", last(41, 8)));
        assert_eq!(of(32, 8, 9), last(9, 8) + "take train.micro_batch = 16");
        assert_eq!(of(32, 1, 64), "train.micro_batch = 1; take train.micro_batch = 2");
        assert_eq!(of(32, 1, 33), "train.micro_batch = 1; take train.micro_batch = 2 and train.drop_last = true");
        assert_eq!(of(1, 1, 64), "train.micro_batch = 1; take a larger train.batch");
        assert_eq!(of(32, 32, 1), last(1, 32) + "give it more samples to train on");
    }

    /// Each way that the error names is tried, and is enough.
    #[test]
    fn what_is_said_to_do_helps() {
        for batch in [2, 3, 8, 12, 32] {
            for micro_batch in (1..=batch).filter(|micro_batch| batch % micro_batch == 0) {
                for samples in 2..100 {
                    let job = job(batch, micro_batch, "");
                    let Some(found) = refused(&job, samples) else { continue };
                    let (_, fix) = found.rsplit_once("; ").unwrap();
                    for way in fix.split(", or ") {
                        let mut changed = job.clone();
                        changed.train.drop_last = way.contains("drop_last = true");
                        if let Some((_, micro_batch)) = way.split_once("train.micro_batch = ") {
                            let digits: String = micro_batch.chars().take_while(char::is_ascii_digit).collect();
                            changed.train.micro_batch = digits.parse().unwrap();
                        }
                        assert!(
                            batch.is_multiple_of(changed.train.micro_batch) && changed.train != job.train,
                            "{found}"
                        );
                        assert!(!changed.train.drop_last || samples >= batch as usize, "{found}");
                        assert_eq!(refused(&changed, samples), None, "{found}");
                    }
                }
            }
        }
    }
}
