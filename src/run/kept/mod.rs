//! What remains of a run, and what a run starts from: files, whole or not at all, readable by their owner alone. It knows no ranks and
//! no messages.

pub mod folder;
pub mod input;
pub mod model;
pub mod outputs;
pub mod results;
pub mod weights;

use std::path::PathBuf;

use thiserror::Error;

use crate::memory::OutOfMemory;

/// Why something is not kept.
#[derive(Debug, Error)]
pub enum KeptError {
    /// A file of the run cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The run's folder cannot be made.
    #[error("cannot make the folder {path}: {source}; name a place that can be written to with --out")]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The folder named is there already.
    #[error("the folder {0} exists; name another with --out, or remove it")]
    FolderExists(PathBuf),
    /// The folder named holds what a run has begun.
    #[error(
        "the folder {folder} holds an unfinished run ({holds}; no model): it failed, or is still at work. Where it failed, \
         rm -r {folder}; or name another with --out"
    )]
    Unfinished {
        /// The folder that a failed run has left.
        folder: PathBuf,
        /// The names of what is in it.
        holds: String,
    },
    /// The file named is there already.
    #[error("{path} exists; name another file with {option}, or remove it")]
    FileExists {
        /// The file.
        path: PathBuf,
        /// The option of the command line that names it.
        option: &'static str,
    },
    /// The file named was not there at the start, and is now.
    #[error("{path} was made by another while this ran, and stays as it is; what was to stand there is in {kept}")]
    Overtaken {
        /// The file that another has made.
        path: PathBuf,
        /// The file that holds what was to stand there.
        kept: PathBuf,
    },
    /// Training has failed, though the loss does not show it.
    #[error("{parameter} has become {value}: training has diverged; lower train.optimizer.lr")]
    NotFinite {
        /// Its name in the model.
        parameter: String,
        /// What it holds.
        value: f32,
    },
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Something that cannot be.
    #[error("a bug: {0}")]
    Bug(String),
}

impl KeptError {
    /// The process's exit code.
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
