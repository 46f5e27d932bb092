//! `{ op = "avg_pool", kernel = 2 }` and `{ op = "global_avg_pool" }`: PyTorch's `nn.AvgPool2d` and
//! `nn.AdaptiveAvgPool2d(1)`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, WindowSpec};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The mean of each window of an image, from (channels, height, width) to the window's places. Padding counts as zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvgPool {
    /// `kernel`, `stride` and `padding`: the window. Its stride is its kernel by default.
    pub window: WindowSpec,
}

/// The mean of each channel of an image, from (channels, height, width) to (channels, 1, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalAvgPool;

impl Read for AvgPool {
    const WORDS: &'static [&'static str] = &["avg_pool"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self { window: WindowSpec::read(section, None)? })
    }
}

impl Spec for AvgPool {
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

impl Read for GlobalAvgPool {
    const WORDS: &'static [&'static str] = &["global_avg_pool"];

    fn read(_word: &str, _section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self)
    }
}

impl Spec for GlobalAvgPool {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, _keys: &mut Table) {}

    fn fits(&self) -> bool {
        true
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        match *input.dims() {
            [channels, _, _] => Ok(Shape::new([channels, 1, 1])),
            _ => Err(Misfit::new(self.word(), "an image (channels, height, width)", input, "leave it out")),
        }
    }
}
