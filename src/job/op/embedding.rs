//! `{ op = "embedding", vocabulary = 65, width = 128 }`: PyTorch's `nn.Embedding`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// Row `x` of `weight`, of shape (vocabulary, width), for each token `x`, a whole number from 0 up to, not including,
/// `vocabulary`. The owner looks at all data where they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// Tokens that there are.
    pub vocabulary: u32,
    /// Values of a token that go out.
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
