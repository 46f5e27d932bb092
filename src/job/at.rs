//! Where something of a job was said, so that an error can point at it.

use std::fmt;
use std::sync::Arc;

/// Where a key or a value of a job was said.
#[derive(Clone, Debug)]
pub enum At {
    /// The place is in the job's file.
    File {
        /// The file's name, as errors show it.
        file: Arc<str>,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
    },
    /// The place is on the command line: the text behind `--set`.
    Set(Arc<str>),
}

/// Two places are always equal: where a job was said is no part of what it says.
impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            At::Set(text) => write!(f, "--set {text}"),
        }
    }
}
