//! `{ op = "max_pool", kernel = 2 }`: PyTorch's `nn.MaxPool2d`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, WindowSpec};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The largest value of each window of an image, from (channels, height, width) to the window's places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// `kernel`, `stride` and `padding`: the window. Its stride is its kernel by default. Padding is never the largest value.
    pub window: WindowSpec,
}

impl Read for MaxPool {
    const WORDS: &'static [&'static str] = &["max_pool"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self { window: WindowSpec::read(section, None)? })
    }
}

impl Spec for MaxPool {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        self.window.write(keys);
    }

    fn fits(&self) -> bool {
        self.window.fits()
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        self.window.pooled(self.word(), input)
    }
}
