//! Why a job cannot be run as it is written.

use std::path::PathBuf;

use thiserror::Error;

use super::at::At;

/// Why a job cannot be run as it is written.
#[derive(Debug, Error)]
pub enum JobError {
    /// The job's file cannot be opened, or is no text in UTF-8.
    #[error("cannot read the job {path}: {source}")]
    Read {
        /// The path of the job's file.
        path: PathBuf,
        /// What the operating system says about it.
        source: std::io::Error,
    },
    /// The job's text is not TOML.
    #[error("{at}: {message}")]
    Syntax {
        /// Where the parser stopped.
        at: At,
        /// What the parser says about it.
        message: String,
    },
    /// The job has a key that means nothing in its table.
    #[error("{at}: unknown key `{key}` in {section}{}", hint(.nearest, .known))]
    UnknownKey {
        /// Where the key stands.
        at: At,
        /// The unknown key, as it is written.
        key: String,
        /// The table in which it stands, such as `[train]`.
        section: String,
        /// The known key that looks most like it; `None` where none does.
        nearest: Option<String>,
        /// All keys that the table knows.
        known: Vec<&'static str>,
    },
    /// A key is absent that has no default.
    #[error("{at}: {section} lacks the key `{key}`: {expected}")]
    Missing {
        /// Where the table stands that should have the key.
        at: At,
        /// The table that should have the key, such as `[train]`.
        section: String,
        /// The key that is absent.
        key: &'static str,
        /// What the key should hold, in words.
        expected: String,
    },
    /// A value is of the wrong type, or out of its range.
    #[error("{at}: `{key}` is {found}; expected {expected}")]
    Value {
        /// Where the value stands, or its key.
        at: At,
        /// The key with its table, such as `train.epochs`.
        key: String,
        /// What stands there, in words, such as "the integer 0".
        found: String,
        /// What should stand there, in words, such as "true or false".
        expected: String,
    },
    /// Values are each fine, but do not go together.
    #[error("{at}: {problem}; {fix}")]
    Conflict {
        /// Where one of these values stands.
        at: At,
        /// What does not go together, in words.
        problem: String,
        /// What to do about it, in words.
        fix: String,
    },
}

/// The end of the error about an unknown key: the nearest known one, or else all that there are.
fn hint(nearest: &Option<String>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; it knows {}", known.join(", ")),
    }
}
