//! `[train]`: how the network is trained. Its keys `loss`, `optimizer`, `clip` and `schedule` hold tables, which have files of their own.

use toml::Table;

use super::section::Section;
use super::table::{JobTable, put, table};
use super::{JobError, LearningRate, Loss, Optimizer};

/// `[train]`: how the network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// `train.epochs`: passes over the training samples, from 0 to 1,000,000. With 0, nothing is learned, and what the stages start from is
    /// tested. It has no default.
    pub epochs: u32,
    /// `train.batch`: samples of an optimizer step, from 1 to 1,000,000. 64 by default.
    pub batch: u32,
    /// `train.micro_batch`: samples that move through the pipeline at once. It divides `batch`, which is its default.
    pub micro_batch: u32,
    /// `train.drop_last`: whether an epoch ends with the last whole batch. Otherwise its last batch may be short. False by default.
    pub drop_last: bool,
    /// `train.loss`: what is minimised. Cross entropy by default.
    pub loss: Loss,
    /// `train.loss_at`: who computes the gradient of the loss. The owner by default.
    pub loss_at: LossAt,
    /// `train.optimizer` without its learning rate, and `train.clip`: how parameters follow their gradients.
    pub optimizer: Optimizer,
    /// `train.optimizer.lr` and `train.schedule`: the learning rate, and how it changes over the run.
    pub rate: LearningRate,
}

/// `train.loss_at`: who computes the gradient of the loss. The bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossAt {
    /// `"owner"`: the owner, of the outputs that come back to it. So labels never leave it.
    Owner,
    /// `"last"`: the last stage, of its own outputs and of the labels, which the owner sends it. A batch takes two slots less, or three
    /// with `compute.overlap`.
    Last,
}

impl LossAt {
    /// All of them, with their words in a job.
    const ALL: [(&'static str, Self); 2] = [("owner", Self::Owner), ("last", Self::Last)];

    /// The word in a job.
    fn name(self) -> &'static str {
        Self::ALL[usize::from(self == Self::Last)].0
    }
}

impl JobTable for Train {
    const KEY: &'static str = "train";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let epochs = section.integer("epochs", 0..=1_000_000)?;
        let epochs = section.required("epochs", epochs, "how many passes over the data to train")?;
        let batch: u32 = section.integer("batch", 1..=1_000_000)?.unwrap_or(64);
        let micro_batch: u32 = section.integer("micro_batch", 1..=1_000_000)?.unwrap_or(batch);
        let drop_last = section.boolean("drop_last")?.unwrap_or(false);
        let loss = Loss::read_from(section)?;
        let loss_at = section.choice("loss_at", &LossAt::ALL)?.unwrap_or(LossAt::Owner);
        let (optimizer, peak) = Optimizer::read_from(section)?;
        let rate = LearningRate::read_from(section, peak)?;
        section.finish()?;
        if !batch.is_multiple_of(micro_batch) {
            let problem = if micro_batch > batch { "exceeds" } else { "does not divide" };
            return Err(section.conflict(
                "micro_batch",
                format!("micro_batch = {micro_batch} {problem} batch = {batch}"),
                format!("take one of {}", shortened(&divisors(batch))),
            ));
        }
        Ok(Self { epochs, batch, micro_batch, drop_last, loss, loss_at, optimizer, rate })
    }

    fn write(&self) -> Table {
        let mut keys = table([
            ("epochs", i64::from(self.epochs).into()),
            ("batch", i64::from(self.batch).into()),
            ("micro_batch", i64::from(self.micro_batch).into()),
            ("drop_last", self.drop_last.into()),
        ]);
        self.loss.write_into(&mut keys);
        if self.loss_at != LossAt::Owner {
            put(&mut keys, "loss_at", self.loss_at.name());
        }
        self.optimizer.write_into(&mut keys, self.rate.peak);
        self.rate.write_into(&mut keys);
        keys
    }
}

/// All numbers that divide `batch`, from 1 on.
fn divisors(batch: u32) -> Vec<String> {
    (1..=batch).filter(|part| batch.is_multiple_of(*part)).map(|part| part.to_string()).collect()
}

/// The items of a list as an error shows them: of more than twelve, the first eleven and the last.
fn shortened(items: &[String]) -> String {
    match items.len() {
        0..=12 => items.join(", "),
        many => format!("{}, ..., {}", items[..11].join(", "), items[many - 1]),
    }
}

#[cfg(test)]
mod tests {
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let train = parse(JOB, &["train={ epochs = 5 }"]).unwrap().train;
        assert_eq!((train.epochs, train.batch, train.micro_batch, train.drop_last), (5, 64, 64, false));
        let job = parse(JOB, &["train={ epochs = 1, batch = 48, micro_batch = 12, drop_last = true }"]).unwrap();
        let train = &job.train;
        assert_eq!((train.epochs, train.batch, train.micro_batch, train.drop_last), (1, 48, 12, true));
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            ("train={}", "[train] lacks the key `epochs`: how many passes over the data to train"),
            ("train.epochs=-1", "from 0 to 1000000"),
            ("train.batch=1000001", "from 1 to 1000000"),
            ("train.micro_batch=0", "from 1 to 1000000"),
            ("train.drop_last=1", "true or false"),
            ("train.epoch=1", "did you mean `epochs`?"),
        ] {
            let found = refused(JOB, &[set]);
            assert!(found.starts_with(&format!("--set {set}: ")) && found.contains(words), "{found}");
        }
    }

    #[test]
    fn micro_batches_divide_the_batch() {
        let found = refused(JOB, &["train.micro_batch=64"]);
        assert!(found.contains("micro_batch = 64 exceeds batch = 32"), "{found}");
        let found = refused(JOB, &["train.micro_batch=5"]);
        assert!(
            found.contains("micro_batch = 5 does not divide batch = 32; take one of 1, 2, 4, 8, 16, 32"),
            "{found}"
        );
        let found = refused(JOB, &["train.batch=720", "train.micro_batch=7"]);
        assert!(found.ends_with("take one of 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, ..., 720"), "{found}");
    }
}
