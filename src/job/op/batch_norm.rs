//! `{ op = "batch_norm" }`: PyTorch's `nn.BatchNorm2d` of images, `nn.BatchNorm1d` of vectors.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, eps, eps_fits, put, put_f32};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// `(x - mean) / sqrt(variance + eps)` of each channel, then times `weight` and plus `bias`. In training, mean and variance are those of
/// the micro-batch, else the running ones. The shape, of an image or a vector, stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// `eps`: what is added to the variance, above 0. 1e-5 by default.
    pub eps: f32,
    /// `momentum`: how much a micro-batch counts in the running mean and variance, from 0 to 1. 0.1 by default.
    pub momentum: f32,
    /// `affine`: whether there are a weight and a bias, one value of each for every channel. True by default.
    pub affine: bool,
}

impl Read for BatchNorm {
    const WORDS: &'static [&'static str] = &["batch_norm"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let momentum = section.number("momentum", "a part from 0 to 1", |m| (0.0..=1.0).contains(&(m as f32)))?;
        Ok(Self {
            eps: eps(section, 1e-5)?,
            momentum: momentum.map_or(0.1, |momentum| momentum as f32),
            affine: section.boolean("affine")?.unwrap_or(true),
        })
    }
}

impl Spec for BatchNorm {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put_f32(keys, "eps", self.eps);
        put_f32(keys, "momentum", self.momentum);
        put(keys, "affine", self.affine);
    }

    fn fits(&self) -> bool {
        eps_fits(self.eps) && (0.0..=1.0).contains(&self.momentum)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        match input.dims() {
            [_, _] => Err(Misfit::new(self.word(), "images or vectors", input, "take `layer_norm` for sequences")),
            _ => Ok(input.clone()),
        }
    }

    /// Two samples where a sample has one value of each channel, else one. The variance of a single value is 0, whatever it is.
    fn fewest(&self, input: &Shape) -> u32 {
        match *input.dims() {
            [_] | [_, 1, 1] => 2,
            _ => 1,
        }
    }
}
