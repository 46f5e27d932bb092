//! `[checkpoint]`: when a run writes down all that it goes on from, and where.

use std::path::PathBuf;
use std::time::Duration;

use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{JobTable, put, table};
use super::tree::{Node, Value};

/// `[checkpoint]`: when a run writes down all that it goes on from, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `checkpoint.every`: how often a checkpoint is written. By default at the end of each epoch.
    pub every: Every,
    /// `checkpoint.keep`: how many checkpoints stay, from 1 to 1,000: the newest ones. 2 by default.
    pub keep: u32,
    /// `checkpoint.key`: the file with the key that checkpoints are sealed under, which is made where it is not there. `None`, the
    /// default: `owner.key` in the run's folder.
    pub key: Option<PathBuf>,
}

/// `checkpoint.every`: how often a checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// `{ batches = K }`: behind every K batches of an epoch, and at its end.
    Batches(u32),
    /// `{ epochs = K }`: at the end of every K epochs, and at the run's end.
    Epochs(u32),
    /// `{ minutes = K }`: behind the first batch that ends K minutes after the last checkpoint, and at the run's end.
    Minutes(u32),
    /// `"never"`: only where a signal, `--max-time` or a file `STOP` ends the run early.
    Never,
}

/// How an [`Every`] is made of its number.
type Counted = fn(u32) -> Every;

/// The words of [`Every`] that have a number.
const COUNTED: [(&str, Counted); 3] =
    [("batches", Every::Batches), ("epochs", Every::Epochs), ("minutes", Every::Minutes)];

impl Every {
    /// Whether checkpoints are only written where a run is to end early.
    pub fn is_never(self) -> bool {
        self == Every::Never
    }

    /// How many batches a term runs at most, so that it ends where a checkpoint is due.
    pub fn batches(self) -> Option<u32> {
        match self {
            Every::Batches(batches) => Some(batches),
            Every::Epochs(_) | Every::Minutes(_) | Every::Never => None,
        }
    }

    /// The time after which a checkpoint is due.
    pub fn time(self) -> Option<Duration> {
        match self {
            Every::Minutes(minutes) => Some(Duration::from_secs(60 * u64::from(minutes))),
            Every::Batches(_) | Every::Epochs(_) | Every::Never => None,
        }
    }

    /// Reads how often a checkpoint is written.
    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const EXPECTED: &str = "{ batches = K }, { epochs = K }, { minutes = K } or \"never\"";
        let inner = match section.get("every") {
            Some(Node { value: Value::Text(text), .. }) if text == "never" => return Ok(Every::Never),
            Some(Node { value: Value::Table(_), .. }) | None => section.section("every")?,
            Some(node) => return Err(section.wrong("every", node, EXPECTED)),
        };
        let mut found = Vec::new();
        for (word, every) in COUNTED {
            found.extend(inner.integer(word, 1..=1_000_000)?.map(every));
        }
        inner.finish()?;
        match found[..] {
            [] => Ok(Every::Epochs(1)),
            [every] => Ok(every),
            _ => Err(section.unfit("every", "more than one of them", EXPECTED)),
        }
    }
}

impl JobTable for Checkpoint {
    const KEY: &'static str = "checkpoint";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const FILE: &str = "a file for the key that checkpoints are sealed under";
        let every = Every::read(section)?;
        let keep = section.integer("keep", 1..=1000)?.unwrap_or(2);
        let key = section.text("key", FILE)?;
        if key == Some("") {
            return Err(section.unfit("key", "an empty string", FILE));
        }
        let key = key.map(PathBuf::from);
        section.finish()?;
        Ok(Self { every, keep, key })
    }

    fn write(&self) -> Table {
        let counted = |word: &str, count: u32| table([(word, i64::from(count).into())]).into();
        let every = match self.every {
            Every::Batches(count) => counted("batches", count),
            Every::Epochs(count) => counted("epochs", count),
            Every::Minutes(count) => counted("minutes", count),
            Every::Never => "never".into(),
        };
        let mut keys = table([("every", every), ("keep", i64::from(self.keep).into())]);
        if let Some(key) = &self.key {
            put(&mut keys, "key", key.display().to_string());
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let due = Checkpoint { every: Every::Epochs(1), keep: 2, key: None };
        assert_eq!(parse(JOB, &[]).unwrap().checkpoint, due);
        for (every, due) in [
            ("{ batches = 50 }", Every::Batches(50)),
            ("{ epochs = 3 }", Every::Epochs(3)),
            ("{ minutes = 20 }", Every::Minutes(20)),
            ("\"never\"", Every::Never),
            ("{}", Every::Epochs(1)),
        ] {
            let keys = format!("checkpoint={{ every = {every}, keep = 1, key = \"a key\" }}");
            let job = parse(JOB, &[&keys]).unwrap();
            assert_eq!(job.checkpoint, Checkpoint { every: due, keep: 1, key: Some("a key".into()) });
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
        }
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            ("checkpoint.every=often", "`checkpoint.every` is the string \"often\"; expected { batches = K }"),
            ("checkpoint.every={ batches = 0 }", "from 1 to 1000000"),
            ("checkpoint.every={ batches = 5, epochs = 1 }", "more than one of them; expected { batches = K }"),
            ("checkpoint.every={ batch = 5 }", "did you mean `batches`?"),
            ("checkpoint.every=5", "the integer 5; expected { batches = K }"),
            ("checkpoint.keep=0", "from 1 to 1000"),
            ("checkpoint.key=\"\"", "an empty string; expected a file for the key"),
            ("checkpoint.keeps=1", "did you mean `keep`?"),
        ] {
            let found = refused(JOB, &[set]);
            assert!(found.starts_with(&format!("--set {set}: ")) && found.contains(words), "{found}");
        }
    }
}
