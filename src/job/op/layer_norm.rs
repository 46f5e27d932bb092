//! `{ op = "layer_norm" }`: PyTorch's `nn.LayerNorm`, over a vector, each token of a sequence, or a whole image.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, eps, eps_fits, put, put_f32};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// `(x - mean) / sqrt(variance + eps)` of each vector, token or image, then times `weight` and plus `bias`. The shape stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// `eps`: what is added to the variance, above 0. 1e-5 by default.
    pub eps: f32,
    /// `affine`: whether there are a weight and a bias, one value of each for every value of a vector, token or image. True by default.
    pub affine: bool,
}

impl Read for LayerNorm {
    const WORDS: &'static [&'static str] = &["layer_norm"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(Self { eps: eps(section, 1e-5)?, affine: section.boolean("affine")?.unwrap_or(true) })
    }
}

impl Spec for LayerNorm {
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
        match *input.dims() {
            // Its mean is the value itself: 0 would come out, whatever goes in.
            [1] | [_, 1] | [1, 1, 1] => Err(Misfit::new(self.word(), "two values or more", input, "leave it out")),
            _ => Ok(input.clone()),
        }
    }
}
