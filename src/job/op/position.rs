//! `{ op = "position" }`: a learned value for each place of a sequence.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// `y = x + weight` for each sequence, where `weight` is learned and has the shape (tokens, width) of the sequence. The shape stays the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position;

impl Read for Position {
    const WORDS: &'static [&'static str] = &["position"];

    fn read(_word: &str, _section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self)
    }
}

impl Spec for Position {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, _keys: &mut Table) {}

    fn fits(&self) -> bool {
        true
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        match input.dims() {
            [_, _] => Ok(input.clone()),
            _ => Err(Misfit::new(self.word(), "a sequence (tokens, width)", input, "put a `reshape` before it")),
        }
    }
}
