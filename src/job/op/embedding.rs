//! `{ op = "embedding", vocabulary = 65, width = 128 }`: PyTorch's `nn.Embedding`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// A row of the learned `weight`, of shape (vocabulary, width), for each token: row x for the token x. From (tokens) to (tokens, width).
/// Tokens are whole numbers from 0 up to, not including, `vocabulary`. The owner makes sure of that where it reads the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// `vocabulary`: how many different tokens there are, from 1 to 1,000,000. It has no default.
    pub vocabulary: u32,
    /// `width`: how many values go out for a token, from 1 to 1,000,000. It has no default.
    pub width: u32,
}

impl Read for Embedding {
    const WORDS: &'static [&'static str] = &["embedding"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let vocabulary = section.integer("vocabulary", 1..=MOST_FEATURES.into())?;
        let width = section.integer("width", 1..=MOST_FEATURES.into())?;
        Ok(Self {
            vocabulary: section.required("vocabulary", vocabulary, "tokens that there are")?,
            width: section.required("width", width, "values of a token that go out")?,
        })
    }
}

impl Spec for Embedding {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put(keys, "vocabulary", i64::from(self.vocabulary));
        put(keys, "width", i64::from(self.width));
    }

    fn fits(&self) -> bool {
        [self.vocabulary, self.width].iter().all(|size| (1..=MOST_FEATURES).contains(size))
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        match *input.dims() {
            [tokens] => Ok(Shape::new([tokens, self.width])),
            _ => Err(Misfit::new(self.word(), "a vector of tokens", input, "put a `flatten` before it")),
        }
    }
}
