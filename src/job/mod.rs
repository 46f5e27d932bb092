//! Turns `jobs/*.toml` into a validated [`Job`]: plain numbers and operation specs.
//!
//! The journey of a job: [`tree`] parses TOML and remembers where every value stands, [`overrides`] lays `--set`
//! on top, [`read`] takes each key out once and names what it does not know, [`data`] does so for the data and [`op`] for
//! operations, [`shape`] chains the stages to the data, [`answers`] holds what
//! comes out against the labels, [`mod@write`] prints the resolved job again.
//!
//! Architecture invariant: this is the only place that knows defaults, and it knows nothing of ranks' roles, messages
//! or arithmetic. It imports no other module of the crate but the leaves.

mod answers;
mod chain;
mod data;
mod init;
mod keys;
mod loss;
pub mod op;
mod optimizer;
mod overrides;
mod read;
mod sample;
mod schedule;
mod section;
mod shape;
mod source;
mod tokens;
mod tree;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use chain::{Boundary, MOST_ACTIVATIONS, MOST_OPS, chain};
pub use data::{Augment, Data, Normal};
pub use init::Init;
pub use loss::Loss;
pub use op::Op;
pub use optimizer::{Clip, Optimizer, Rule};
pub use read::duration;
pub use sample::{Sample, Wanted};
pub use schedule::{Decay, LearningRate};
pub use shape::Shape;
pub use source::{Form, Source};
pub use tree::At;
use tree::Table;

use crate::float::{Float, Precision};
use crate::random::Seed;

/// The fewest ranks among which `mixed` hides anything.
pub const FEWEST_MIXED_RANKS: u16 = 6;
/// The most ranks of a job.
pub const MOST_RANKS: u16 = 64;

/// The most features of a sample that go out of an operation.
pub const MOST_FEATURES: u32 = 1_000_000;
/// The most threads of a rank.
pub const MOST_THREADS: u16 = 1024;
/// The longest that a silent peer is waited for: a year.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(366 * 86_400);

/// Everything that a run does, resolved: no key is absent any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Names the run's folder.
    pub name: String,
    /// What repeatable numbers are drawn from, as the job names it.
    pub seed: String,
    /// Whether the job named no seed, and this one was drawn (256 bits).
    pub seed_drawn: bool,
    /// What is learned.
    pub data: Data,
    /// How it is learned.
    pub train: Train,
    /// What the network starts from.
    pub init: Init,
    /// The network: stages in order.
    pub stages: Vec<Stage>,
    /// How messages travel.
    pub mix: Mix,
    /// How blocks of bytes travel.
    pub transport: Transport,
    /// Who is accepted.
    pub trust: Trust,
    /// Who computes.
    pub compute: Compute,
    /// What is printed and kept.
    pub output: Output,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples per optimizer step.
    pub batch: u32,
    /// Samples that move through the pipeline at once.
    pub micro_batch: u32,
    /// Whether an epoch ends with the last batch that is whole; else the last one may be short.
    pub drop_last: bool,
    /// What is minimised.
    pub loss: Loss,
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// How fast.
    pub rate: LearningRate,
}

/// `[[stage]]`: what one rank hosts, or the owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Operations in order.
    pub ops: Vec<Op>,
    /// Whether it stands on the owner, not on a rank of its own.
    pub on_owner: bool,
    /// Where the stage stands in the file, for errors.
    pub at: At,
}

/// How much of a message's journey is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Neighbours send directly, nothing sealed or padded: the baseline.
    Bare,
    /// Neighbours send directly, AES-256-GCM, fixed-length messages, no cover.
    Sealed,
    /// Onion-encrypted fixed-length cells over relays, cover on every circuit.
    Mixed,
}

impl Profile {
    /// The word for it in a job.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Bare => "bare",
            Profile::Sealed => "sealed",
            Profile::Mixed => "mixed",
        }
    }
}

/// The shortest slot of a job, 20 microseconds.
pub const SHORTEST_SLOT: Duration = Duration::from_micros(20);
/// The longest slot of a job.
pub const LONGEST_SLOT: Duration = Duration::from_secs(3600);

/// Slots of a fixed pace that must pass within the time for which a silent peer is waited for.
pub const SLOTS_OF_TIMEOUT: u32 = 4;

/// When slots begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When their ranks are ready, so that times show who computes.
    Lockstep,
    /// At fixed times, so far apart as slots turn out to need at the start.
    Auto,
    /// At fixed times, so far apart.
    Slots(Duration),
}

impl std::fmt::Display for Pace {
    /// As a job has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pace::Lockstep => f.write_str("lockstep"),
            Pace::Auto => f.write_str("auto"),
            Pace::Slots(slot) => write!(f, "{}us", slot.as_micros()),
        }
    }
}

/// Between which ranks what is passed on goes under a keystream of theirs, so that no one else finds it again, its source too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Between ranks of different hosts.
    Hosts,
    /// Between all ranks.
    All,
    /// Between no ranks: for networks that encrypt.
    Off,
}

impl Link {
    /// With their words.
    pub const ALL: [(&'static str, Self); 3] = [("hosts", Self::Hosts), ("all", Self::All), ("off", Self::Off)];

    /// As a job has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::All => "all",
            Self::Off => "off",
        }
    }
}

/// `[mix]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// How much is protected.
    pub profile: Profile,
    /// Ranks that host no stage, at least.
    pub relays: u16,
    /// Hops of a circuit.
    pub hops: u8,
    /// Bytes that a cell may have at most.
    pub cell: u32,
    /// For how many stages the job's stages pass, as far as slots tell; 0: for as many as there are.
    pub depth: u16,
    /// When slots begin. `bare` and `sealed` know no pace.
    pub pace: Pace,
    /// Whose links are encrypted. `bare` and `sealed` pass nothing on.
    pub link: Link,
    /// How activations and gradients travel.
    pub wire: Float,
    /// Bytes of a message at least, 0: what the job needs. Equal lengths make two models look alike.
    pub message: u32,
    /// Bytes of a package at least, 0: what the job needs.
    pub package: u32,
    /// Bytes of a result at least, 0: what the job needs.
    pub result: u64,
}

/// `[transport]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// A peer that stays silent for so long ends the run.
    pub timeout: Duration,
    /// Ranks of one host exchange through memory that they share; else every block is a message.
    pub windows: bool,
}

/// `[trust]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The file that lists the identities of the ranks that the owner accepts; `None`: it accepts all.
    pub ranks: Option<PathBuf>,
}

/// `[compute]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compute {
    /// Who does the matrix work.
    pub backend: Backend,
    /// How a GPU rounds what goes into a product.
    pub precision: Precision,
    /// Threads a rank, 0: the rank's share of its host's cores.
    pub threads: u16,
    /// Whether ranks compute beside a slot's exchange: a stage answers one slot later.
    pub overlap: bool,
    /// Whose AES-256-GCM seals and opens on the processor.
    pub aead: AesGcm,
}

/// Who does the matrix work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The best that a rank's machine has.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU.
    Cuda,
}

impl Backend {
    /// The word for it in a job.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Auto => "auto",
            Backend::Cpu => "cpu",
            Backend::Cuda => "cuda",
        }
    }
}

/// Whose AES-256-GCM. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AesGcm {
    /// The fastest on a rank's processor.
    Auto,
    /// AWS-LC's.
    AwsLc,
    /// That of the crate `ring`.
    Ring,
    /// That of the crate `aes-gcm`, Rust alone.
    Rust,
}

impl AesGcm {
    /// With their words.
    pub const ALL: [(&'static str, Self); 4] =
        [("auto", Self::Auto), ("aws-lc", Self::AwsLc), ("ring", Self::Ring), ("rust", Self::Rust)];

    /// As a job has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
            Self::Rust => "rust",
        }
    }
}

/// `[output]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Print where a slot's time goes, by rank, at the end.
    pub timing: bool,
}

/// Why a job cannot be run as it is written.
#[derive(Debug, Error)]
pub enum JobError {
    /// The file cannot be opened.
    #[error("cannot read the job {path}: {source}")]
    Read {
        /// The job's file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{at}: {message}")]
    Syntax {
        /// Where.
        at: At,
        /// What the parser says.
        message: String,
    },
    /// A key that no one reads.
    #[error("{at}: unknown key `{key}` in {section}{}", hint(.nearest, .known))]
    UnknownKey {
        /// Where.
        at: At,
        /// The key found.
        key: String,
        /// The table it stands in.
        section: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
        /// All keys of this table.
        known: Vec<&'static str>,
    },
    /// A key without which the job means nothing.
    #[error("{at}: {section} lacks the key `{key}`: {expected}")]
    Missing {
        /// Where its table stands.
        at: At,
        /// The table.
        section: String,
        /// The key.
        key: &'static str,
        /// What it should hold.
        expected: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("{at}: `{key}` is {found}; expected {expected}")]
    Value {
        /// Where.
        at: At,
        /// The key, with its tables.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// Values that are each fine but do not go together.
    #[error("{at}: {problem}; {fix}")]
    Conflict {
        /// Where.
        at: At,
        /// What does not go together.
        problem: String,
        /// What to do.
        fix: String,
    },
}

fn hint(nearest: &Option<String>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; it knows {}", known.join(", ")),
    }
}

impl Job {
    /// Reads a job and lays `sets` (`train.epochs=1`) on top.
    ///
    /// # Errors
    /// Any [`JobError`]: the file, its syntax, a key, a value.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, JobError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| JobError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, sets)
    }

    /// Reads a job's `text`; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`Job::load`], but for the file.
    pub fn parse(file: &str, text: &str, sets: &[String]) -> Result<Self, JobError> {
        let mut tree = tree::parse(file, text)?;
        for set in sets {
            overrides::apply(&mut tree, set)?;
        }
        read::job(&tree)
    }

    /// The resolved job as TOML; reading it gives the same job.
    pub fn to_toml(&self) -> String {
        write::job(self).to_string()
    }

    /// The resolved job as JSON, with the tables and keys of [`to_toml`](Job::to_toml).
    pub fn to_json(&self) -> serde_json::Value {
        // A job's tables hold nothing that JSON has not: no dates, and finite numbers alone.
        serde_json::to_value(write::job(self)).unwrap_or_default()
    }

    /// What all repeatable numbers of the job are drawn from.
    pub fn seed(&self) -> Seed {
        Seed::from_text(&self.seed)
    }

    /// The stages that stand on ranks: all but the first ones and the last ones that stand on the owner.
    pub fn remote(&self) -> Range<usize> {
        let start = self.stages.iter().take_while(|stage| stage.on_owner).count();
        let behind = self.stages.iter().rev().take_while(|stage| stage.on_owner).count();
        start..(self.stages.len() - behind).max(start)
    }

    /// Whether ranks can share its stages. One process runs any.
    ///
    /// # Errors
    /// [`JobError::Conflict`].
    pub fn can_be_shared(&self) -> Result<(), JobError> {
        let (problem, fix) = match (self.remote().len(), self.mix.profile) {
            (0, Profile::Mixed) => {
                ("all stages have at = \"owner\"", "leave it out of at least 2 stages, or run the job with --single")
            }
            (0, _) => (
                "all stages have at = \"owner\"",
                "leave it out where a rank is to host the stage, or run the job with --single",
            ),
            (1, Profile::Mixed) => (
                "profile \"mixed\" needs at least 2 stages on ranks, the job has 1",
                "split the network into two stages, take mix.profile = \"sealed\", or run the job with --single",
            ),
            _ => return Ok(()),
        };
        let at = self.stages[0].at.clone();
        Err(JobError::Conflict { at, problem: problem.to_owned(), fix: fix.to_owned() })
    }

    /// The fewest ranks that can run it: owner, stages and, where they mix, relays.
    pub fn ranks(&self) -> u16 {
        let seats = 1 + self.remote().len() as u16;
        match self.mix.profile {
            Profile::Mixed => (seats + self.mix.relays).max(FEWEST_MIXED_RANKS),
            Profile::Bare | Profile::Sealed => seats,
        }
    }
}

#[cfg(test)]
mod hints;
#[cfg(test)]
mod tests;
