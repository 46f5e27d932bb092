//! What remains of a run and what a run starts from: files that appear whole or not at all, readable by their owner
//! alone. This module knows no ranks and no messages.

pub mod checkpoint;
pub mod folder;
pub mod input;
pub mod lock;
pub mod model;
pub mod outputs;
pub(super) mod owner_key;
pub mod results;
mod sealed;
pub mod slots;
pub mod weights;

use std::path::PathBuf;

use thiserror::Error;

use crate::memory::OutOfMemory;
use crate::threads::Starved;

/// Why something cannot be kept.
#[derive(Debug, Error)]
pub enum KeptError {
    /// A file of the run cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The run's folder cannot be made.
    #[error("cannot make the folder {path}: {source}; name a place that can be written to with --out")]
    NoFolder {
        /// The path of the folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The folder that `--out` names is there already.
    #[error("the folder {0} exists; name another with --out, or remove it")]
    FolderExists(PathBuf),
    /// The folder that `--out` names holds a run that was begun and not finished.
    #[error(
        "the folder {folder} holds an unfinished run ({holds}; no model): it failed, or is still at work. Where it failed, \
         --resume auto goes on with it, or rm -r {folder}; or name another with --out"
    )]
    Unfinished {
        /// The path of the folder.
        folder: PathBuf,
        /// The names of the files in it.
        holds: String,
    },
    /// The folder that a run was to go on in holds something else.
    #[error(
        "the folder {folder} holds no run ({holds}): --resume goes on in a run's folder, or in one that is empty or not there yet"
    )]
    Foreign {
        /// The path of the folder.
        folder: PathBuf,
        /// The names of the files in it.
        holds: String,
    },
    /// Another process works in the folder.
    #[error("{by} is at work in {folder}; wait for its end, or name another folder with --out")]
    Busy {
        /// The path of the folder.
        folder: PathBuf,
        /// Who it is.
        by: String,
    },
    /// A file stands already where a new one was to be written.
    #[error("{path} exists; name another file with {option}, or remove it")]
    FileExists {
        /// The path of the file.
        path: PathBuf,
        /// The option of the command line that names it.
        option: &'static str,
    },
    /// A file was made by another process while this one ran, where there was none at the start.
    #[error("{path} was made by another while this ran, and stays as it is; what was to stand there is in {kept}")]
    Overtaken {
        /// The path of the file that another has made.
        path: PathBuf,
        /// The path of the file that now holds what was to stand there.
        kept: PathBuf,
    },
    /// A parameter has become infinite or not a number, though the loss does not show it.
    #[error("{parameter} has become {value}: training has diverged; lower train.optimizer.lr")]
    NotFinite {
        /// The parameter's name in the model.
        parameter: String,
        /// The value that was found.
        value: f32,
    },
    /// A checkpoint cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A checkpoint is not what was written.
    #[error("the checkpoint {path} is torn or altered: its digest is not that of its contents; {}", instead(.older.as_ref()))]
    Torn {
        /// The path of the file.
        path: PathBuf,
        /// The path of the next older checkpoint beside it.
        older: Option<PathBuf>,
    },
    /// A file is no checkpoint of this version.
    #[error("{path} is no checkpoint that this version of mixnn goes on from: found {found}")]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The file with what slots were like holds something else, or cannot be opened.
    #[error(
        "{path} does not tell what the run's slots were like: found {found}; the run writes it anew when it goes on"
    )]
    Slots {
        /// The path of the file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A checkpoint was sealed under another key.
    #[error("the checkpoint {path} was not sealed under the key in {key}; checkpoint.key names another")]
    ForeignKey {
        /// The path of the checkpoint.
        path: PathBuf,
        /// The path of the key.
        key: PathBuf,
    },
    /// The key of checkpoints cannot be read.
    #[error("cannot read the key of the checkpoints, {path}: {source}; checkpoint.key names another")]
    NoKey {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file that should hold the key of checkpoints holds something else.
    #[error("{path} holds no key for checkpoints: expected one line of 64 hexadecimal digits, as a run writes it")]
    NotAKey {
        /// The path of the file.
        path: PathBuf,
    },
    /// Others than its owner may read the key of checkpoints.
    #[error("{path}, the key of the checkpoints, has mode {mode:03o}: others may read it; chmod 600 {path}")]
    OpenKey {
        /// The path of the file.
        path: PathBuf,
        /// The mode that was found.
        mode: u32,
    },
    /// A checkpoint was abandoned, as its file could not be written or its run ended.
    #[error("a checkpoint was not finished")]
    Stuck,
    /// The operating system has no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// The operating system started no thread.
    #[error(transparent)]
    Threads(#[from] Starved),
    /// The operating system gave no memory for what was asked.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Something that no run should come to. The text says what.
    #[error("a bug: {0}")]
    Bug(String),
}

/// So many `bytes`, in words: `84 bytes`, `33.5 KiB`, `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        ..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", of(1 << 10)),
        _ => format!("{:.1} MiB", of(1 << 20)),
    }
}

/// Writes `bytes` in hexadecimal digits.
pub(in crate::run) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What to do where a checkpoint cannot be gone on from.
fn instead(older: Option<&PathBuf>) -> String {
    match older {
        Some(older) => format!("--resume {} goes on from the one before", older.display()),
        None => "there is none before it: start the run anew, in another folder".to_owned(),
    }
}

impl KeptError {
    /// The code with which the process exits because of this error (docs/PROTOCOL.md, 16.7).
    pub fn exit_code(&self) -> i32 {
        match self {
            KeptError::NotFinite { .. } => 1,
            KeptError::FolderExists(_)
            | KeptError::Unfinished { .. }
            | KeptError::Foreign { .. }
            | KeptError::FileExists { .. }
            | KeptError::Overtaken { .. }
            | KeptError::Format { .. }
            | KeptError::Slots { .. }
            | KeptError::ForeignKey { .. }
            | KeptError::NotAKey { .. }
            | KeptError::OpenKey { .. } => 2,
            KeptError::Write { .. }
            | KeptError::Read { .. }
            | KeptError::Torn { .. }
            | KeptError::NoKey { .. }
            | KeptError::NoFolder { .. }
            | KeptError::Busy { .. }
            | KeptError::Stuck
            | KeptError::Randomness(_)
            | KeptError::Threads(_)
            | KeptError::Memory(_) => 3,
            KeptError::Bug(_) => 70,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit_that_they_fill() {
        for (bytes, told) in [
            (84, "84 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (34_304, "33.5 KiB"),
            ((1 << 20) - 1, "1024.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5120.0 MiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }
}
