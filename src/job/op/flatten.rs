//! `{ op = "flatten" }`: PyTorch's `nn.Flatten`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// A sample of any shape as a vector (values), in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flatten;

impl Read for Flatten {
    const WORDS: &'static [&'static str] = &["flatten"];

    fn read(_word: &str, _section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self)
    }
}

impl Spec for Flatten {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, _keys: &mut Table) {}

    fn fits(&self) -> bool {
        true
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        Ok(Shape::new([input.values()]))
    }
}
