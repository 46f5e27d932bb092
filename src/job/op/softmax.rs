//! `{ op = "softmax" }`: PyTorch's `nn.Softmax(dim=-1)`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The softmax over the last dimension: `exp(x)` over the sum of all of them. The shape stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax;

impl Read for Softmax {
    const WORDS: &'static [&'static str] = &["softmax"];

    fn read(_word: &str, _section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self)
    }
}

impl Spec for Softmax {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, _keys: &mut Table) {}

    fn fits(&self) -> bool {
        true
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        Ok(input.clone())
    }
}
