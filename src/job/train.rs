//! `[train]`: how the network is trained. Its keys `loss`, `optimizer`, `clip` and `schedule` hold tables, which have files of their own.

use toml::Table;

use super::section::Section;
use super::table::{JobTable, put, table};
use super::tree::{Node, Value};
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
    /// Whether the job leaves that number to mixnn (`micro_batch = "auto"`), and none is chosen yet: then it is `batch`.
    pub micro_batch_open: bool,
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
        let (micro_batch, micro_batch_open) = read_micro_batch(section, batch)?;
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
                format!("take one of {}, or \"auto\"", shortened(&divisors(batch).collect::<Vec<u32>>())),
            ));
        }
        Ok(Self { epochs, batch, micro_batch, micro_batch_open, drop_last, loss, loss_at, optimizer, rate })
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

/// What stands for a number of samples that mixnn is to choose.
const AUTO: &str = "auto";

/// Reads `micro_batch`, which is `batch` where it is absent or left open. Returns it with whether it is left open.
///
/// # Errors
/// [`JobError::Value`] where it is neither a number nor "auto".
fn read_micro_batch(section: &Section<'_>, batch: u32) -> Result<(u32, bool), JobError> {
    match section.get("micro_batch") {
        None => Ok((batch, false)),
        Some(Node { value: Value::Text(text), .. }) if text == AUTO => Ok((batch, true)),
        Some(Node { value: Value::Integer(number @ 1..=1_000_000), .. }) => Ok((*number as u32, false)),
        Some(node) => Err(section.wrong("micro_batch", node, "a whole number from 1 to 1000000, or \"auto\"")),
    }
}

impl Train {
    /// The numbers of samples that a micro-batch may have: all that divide `batch`, from 1 on.
    pub fn micro_batches(&self) -> impl Iterator<Item = u32> + use<> {
        divisors(self.batch)
    }
}

/// All numbers that divide `batch`, from 1 on.
fn divisors(batch: u32) -> impl Iterator<Item = u32> {
    (1..=batch).filter(move |part| batch.is_multiple_of(*part))
}

/// The items of a list as an error shows them: of more than twelve, the first eleven and the last.
fn shortened(items: &[u32]) -> String {
    let items: Vec<String> = items.iter().map(u32::to_string).collect();
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

    /// Until a number is chosen, the job is written with one that every job may have.
    #[test]
    fn a_micro_batch_may_be_left_open() {
        for set in ["train.micro_batch=auto", "train.micro_batch=\"auto\""] {
            let train = parse(JOB, &[set]).unwrap().train;
            assert_eq!((train.micro_batch, train.micro_batch_open), (32, true));
            assert_eq!(train.micro_batches().collect::<Vec<u32>>(), [1, 2, 4, 8, 16, 32]);
        }
        let job = parse(JOB, &["train.micro_batch=auto"]).unwrap();
        let written = parse(&job.to_toml(), &[]).unwrap();
        assert_eq!((written.train.micro_batch, written.train.micro_batch_open), (32, false));
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            ("train={}", "[train] lacks the key `epochs`: how many passes over the data to train"),
            ("train.epochs=-1", "from 0 to 1000000"),
            ("train.batch=1000001", "from 1 to 1000000"),
            ("train.micro_batch=0", "from 1 to 1000000"),
            ("train.micro_batch=automatic", "a whole number from 1 to 1000000, or \"auto\""),
            ("train.micro_batch=1.5", "a whole number from 1 to 1000000, or \"auto\""),
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
            found.contains("micro_batch = 5 does not divide batch = 32; take one of 1, 2, 4, 8, 16, 32, or \"auto\""),
            "{found}"
        );
        let found = refused(JOB, &["train.batch=720", "train.micro_batch=7"]);
        assert!(found.ends_with("take one of 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, ..., 720, or \"auto\""), "{found}");
    }
}
