//! `{ op = "attention", heads = 4 }`: PyTorch's `nn.MultiheadAttention` of a sequence to itself, without dropout.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// Each token of a sequence gathers values of all its tokens, the more of one the better its own query agrees with that one's key. The
/// shape (tokens, width) stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// `heads`: into how many heads of equal width a token's values fall, from 1 to 1,000,000. It has no default.
    pub heads: u32,
    /// `causal`: whether a token gathers only from itself and the tokens before it. False by default.
    pub causal: bool,
    /// `rotary`: whether queries and keys are turned by an angle that depends on their place: value i of a head with value i + width / 2,
    /// as in GPT-NeoX and LLaMA. False by default.
    pub rotary: bool,
    /// `bias`: whether the maps to queries, keys and values, and the one of what is gathered, add a bias. True by default.
    pub bias: bool,
}

impl Read for Attention {
    const WORDS: &'static [&'static str] = &["attention"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let heads = section.integer("heads", 1..=MOST_FEATURES.into())?;
        Ok(Self {
            heads: section.required("heads", heads, "heads that share a token's values")?,
            causal: section.boolean("causal")?.unwrap_or(false),
            rotary: section.boolean("rotary")?.unwrap_or(false),
            bias: section.boolean("bias")?.unwrap_or(true),
        })
    }
}

impl Spec for Attention {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put(keys, "heads", i64::from(self.heads));
        put(keys, "causal", self.causal);
        put(keys, "rotary", self.rotary);
        put(keys, "bias", self.bias);
    }

    fn fits(&self) -> bool {
        (1..=MOST_FEATURES).contains(&self.heads)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        let [_, width] = *input.dims() else {
            let fix = "put a `reshape` before it";
            return Err(Misfit::new(self.word(), "a sequence (tokens, width)", input, fix));
        };
        let heads = self.heads.max(1);
        let fits = |heads: u32| width.is_multiple_of(heads) && (!self.rotary || (width / heads).is_multiple_of(2));
        let takes = match (width.is_multiple_of(heads), fits(heads)) {
            (_, true) => return Ok(input.clone()),
            (false, _) => format!("tokens of {heads} equal heads"),
            (true, _) => "heads of an even width where `rotary` is true".to_owned(),
        };
        let fix = match (1..heads).rev().find(|heads| fits(*heads)) {
            Some(fewer) => format!("take heads = {fewer}"),
            None => "take tokens of an even width, or leave `rotary` out".to_owned(),
        };
        Err(Misfit::new(self.word(), &takes, input, fix))
    }
}
