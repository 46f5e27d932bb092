//! What remains of a run and what a run starts from: files that appear whole or not at all, readable by their owner
//! alone. This module knows no ranks and no messages.

pub mod folder;
pub mod input;
pub mod model;
pub mod outputs;
pub mod results;
pub mod weights;

use std::path::PathBuf;

use thiserror::Error;

use crate::memory::OutOfMemory;

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
         rm -r {folder}; or name another with --out"
    )]
    Unfinished {
        /// The path of the folder.
        folder: PathBuf,
        /// The names of the files in it.
        holds: String,
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
    /// The operating system gave no memory for what was asked.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Something that no run should come to. The text says what.
    #[error("a bug: {0}")]
    Bug(String),
}

impl KeptError {
    /// The code with which the process exits because of this error (docs/PROTOCOL.md, 16.7).
    pub fn exit_code(&self) -> i32 {
        match self {
            KeptError::NotFinite { .. } => 1,
            KeptError::FolderExists(_)
            | KeptError::Unfinished { .. }
            | KeptError::FileExists { .. }
            | KeptError::Overtaken { .. } => 2,
            KeptError::Write { .. } | KeptError::NoFolder { .. } | KeptError::Memory(_) => 3,
            KeptError::Bug(_) => 70,
        }
    }
}
