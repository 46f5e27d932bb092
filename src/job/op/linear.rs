//! `{ op = "linear", out = 10 }`: PyTorch's `nn.Linear`. Acts on a vector, on each token of a sequence, and on an image as a
//! vector.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// `y = x Wᵀ + b` with learned W, of shape (out, in), and b, of shape (out). From (tokens, in) to (tokens, out) for a sequence, else from
/// all values of a sample to (out).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// `in`: the values of a vector that come in, from 1 to 10^9. `None`, the default: as many as the operation before gives.
    pub input: Option<u32>,
    /// `out`: the values of a vector that go out, from 1 to 1,000,000. It has no default.
    pub out: u32,
    /// `bias`: whether b is added. True by default.
    pub bias: bool,
}

impl Linear {
    /// How many vectors of a sample of the shape `input` are multiplied, and how many values each of them has: the tokens of a sequence, or
    /// a single vector of all values.
    pub fn vectors(input: &Shape) -> (u32, u32) {
        match *input.dims() {
            [tokens, width] => (tokens, width),
            _ => (1, input.values()),
        }
    }
}

impl Read for Linear {
    const WORDS: &'static [&'static str] = &["linear"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let out = section.integer("out", 1..=MOST_FEATURES.into())?;
        Ok(Self {
            input: section.integer("in", 1..=1_000_000_000)?,
            out: section.required("out", out, "features of a sample that go out")?,
            bias: section.boolean("bias")?.unwrap_or(true),
        })
    }
}

impl Spec for Linear {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        if let Some(input) = self.input {
            put(keys, "in", i64::from(input));
        }
        put(keys, "out", i64::from(self.out));
        put(keys, "bias", self.bias);
    }

    fn fits(&self) -> bool {
        (1..=MOST_FEATURES).contains(&self.out)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        let (_, width) = Self::vectors(input);
        if let Some(expected) = self.input.filter(|expected| *expected != width) {
            return Err(Misfit {
                problem: format!("`linear` takes {expected} values a sample, but gets {width}"),
                fix: format!("write in = {width}, or leave `in` out"),
            });
        }
        Ok(match *input.dims() {
            [tokens, _] => Shape::new([tokens, self.out]),
            _ => Shape::new([self.out]),
        })
    }
}
