//! Checkpoints: all that a run goes on from, each in one file, which the owner alone writes and can read.
//!
//! A file `checkpoint/EPOCH-BATCH.ckpt` names how many epochs are through, and how many batches of the next one. It has, in this
//! order (all numbers little-endian):
//!
//! 1. the line `mixnn checkpoint`;
//! 2. the length of the header, u32, and the header, JSON in the clear: what anyone may know ([`FileHeader`]);
//! 3. a stream that is sealed chunk by chunk (`kept/sealed.rs`): the length of the list of lengths, u64, and that list; the stages' [snapshots](crate::nn::snapshot) in
//!    [rounds](crate::nn::snapshot::rounds); then the length of the rest, u64, and the rest ([`Remainder`]);
//! 4. SHA-256 of all that comes before.
//!
//! The stream's key is derived from the owner's key and the header, which has 32 bytes of randomness: no two files have the same.
//! There are no keys of a run in it, and no nonces: a run that goes on draws all of these anew.

mod read;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::results::EpochReport;
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::mix::plan::{Plan, Roles};
use crate::role::score::Tally;

pub use read::{Checkpoint, Newest, newest};
pub use write::{CheckpointWriter, Written};

/// The name of the folder, within a run's, in which checkpoints are.
pub const FOLDER: &str = "checkpoint";
/// How a file of a checkpoint begins.
const MAGIC: &[u8] = b"mixnn checkpoint\n";
/// The version of the format of these files.
const FORMAT: u32 = 1;
/// How many bytes a header has at most.
const LONGEST_HEADER: u32 = 1 << 16;

/// How far training has come: what stands in a checkpoint's name. The later of two is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reached {
    /// How many epochs are through, with their validation.
    pub epochs: u32,
    /// How many batches of the next epoch are.
    pub batches: u32,
}

impl Reached {
    /// The name of the file.
    fn file_name(self) -> String {
        format!("{:04}-{:06}.ckpt", self.epochs, self.batches)
    }

    /// Reads the name of a file. `None` where it is none of a checkpoint.
    fn from_file_name(name: &str) -> Option<Self> {
        let (epochs, batches) = name.strip_suffix(".ckpt")?.split_once('-')?;
        Some(Self { epochs: epochs.parse().ok()?, batches: batches.parse().ok()? })
    }
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count: u32| if count == 1 { "" } else { "es" };
        let Self { epochs, batches } = *self;
        write!(f, "{epochs} epoch{}", if epochs == 1 { "" } else { "s" })?;
        if batches > 0 { write!(f, " and {batches} batch{}", plural(batches)) } else { Ok(()) }
    }
}

/// What stands in a checkpoint in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The version of the file's format.
    pub format: u32,
    /// The version of mixnn that wrote it.
    pub version: String,
    /// SHA-256 of the resolved job, in hexadecimal digits.
    pub job: String,
    /// SHA-256 of the data, in hexadecimal digits.
    pub data: String,
    /// How far training has come.
    #[serde(flatten)]
    pub reached: Reached,
    /// 32 random bytes, in hexadecimal digits.
    pub salt: String,
}

/// The key of the stream behind `header`, whose owner has the key `owner`.
fn stream_key(owner: &Key, header: &[u8]) -> Key {
    owner.derive(&[labels::CHECKPOINT, header].concat())
}

/// What a run goes on from, beside the states of its stages.
#[derive(Serialize, Deserialize)]
pub struct Remainder {
    /// The resolved job, as TOML.
    pub job: String,
    /// SHA-256 of the file that `init.from` names, if it names one.
    pub init: Option<[u8; 32]>,
    /// What the training pass of the running epoch has come to so far, with its exact bits.
    pub so_far: Tally,
    /// The reports of all epochs that are through.
    pub epochs: Vec<EpochReport>,
    /// The plan, where the run had ranks.
    pub plan: Option<KeptPlan>,
    /// What the bits depend on besides job and version.
    pub fingerprint: String,
    /// How long the run has taken so far, in seconds, all its starts together.
    pub seconds: f64,
    /// How often the run was started, this time included.
    pub starts: u32,
}

/// The plan of a run, and for whom it was drawn.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptPlan {
    /// The trust domain of each rank, by rank, by a name that stays the same from one start to the next.
    pub hosts: Vec<String>,
    /// Who hosts what, over which circuits.
    pub drawn: Drawn,
    /// How often plans were drawn for this job so far. Each draw shows who looks on another sample.
    pub draws: u32,
}

/// Who hosts what, drawn once for the whole run.
#[derive(Clone, Serialize, Deserialize)]
pub enum Drawn {
    /// In `mixed`: roles and circuits.
    Mixed(Plan),
    /// In `bare` and `sealed`: roles alone.
    Direct(Roles),
}

impl Drawn {
    /// Which rank hosts which stage.
    pub fn roles(&self) -> &Roles {
        match self {
            Drawn::Mixed(plan) => &plan.roles,
            Drawn::Direct(roles) => roles,
        }
    }
}

/// The checkpoints in the folder `folder`, the newest first.
fn listed(folder: &Path) -> Vec<(Reached, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((Reached::from_file_name(entry.file_name().to_str()?)?, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

#[cfg(test)]
mod tests;
