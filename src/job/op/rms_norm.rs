//! `{ op = "rms_norm" }`: PyTorch's `nn.RMSNorm`, over a vector, each token of a sequence, or a whole image.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, eps, eps_fits, put, put_f32};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// `x / sqrt(mean square + eps)` of each vector, token or image, then times `weight`. The shape stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RmsNorm {
    /// `eps`: what is added to the mean square, above 0. 2^-23 by default.
    pub eps: f32,
    /// `affine`: whether there is a weight, one value for every value of a vector, token or image. True by default.
    pub affine: bool,
}

impl Read for RmsNorm {
    const WORDS: &'static [&'static str] = &["rms_norm"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self { eps: eps(section, f32::EPSILON)?, affine: section.boolean("affine")?.unwrap_or(true) })
    }
}

impl Spec for RmsNorm {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put_f32(keys, "eps", self.eps);
        put(keys, "affine", self.affine);
    }

    fn fits(&self) -> bool {
        eps_fits(self.eps)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        Ok(input.clone())
    }
}
