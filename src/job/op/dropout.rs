//! `{ op = "dropout", p = 0.5 }`: PyTorch's `nn.Dropout`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put_f32};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// In training, each value becomes 0 with probability `p`, else it is divided by 1 - `p`. Otherwise values stay as they are. The shape
/// stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// `p`: the probability that a value becomes 0, from 0 up to, not including, 1. 0.5 by default.
    pub p: f32,
}

impl Read for Dropout {
    const WORDS: &'static [&'static str] = &["dropout"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let p = section.number("p", "a part from 0 up to, not including, 1", |p| (0.0..1.0).contains(&(p as f32)))?;
        Ok(Self { p: p.map_or(0.5, |p| p as f32) })
    }
}

impl Spec for Dropout {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put_f32(keys, "p", self.p);
    }

    fn fits(&self) -> bool {
        (0.0..1.0).contains(&self.p)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        Ok(input.clone())
    }
}
