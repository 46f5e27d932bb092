//! `{ op = "max_pool", kernel = 2 }`: PyTorch's `nn.MaxPool2d`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, Window};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The largest value of each window; the stride is the kernel where the job does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// The window. Beside the image nothing is the largest.
    pub window: Window,
}

impl Read for MaxPool {
    const WORDS: &'static [&'static str] = &["max_pool"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self { window: Window::read(section, None)? })
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
