//! `{ op = "group_norm", groups = 4 }`: PyTorch's `nn.GroupNorm`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, eps, eps_fits, put, put_f32};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// `(x - mean) / sqrt(variance + eps)` of each group of a sample's channels, then times `weight` and plus `bias`. The shape, of an image
/// or a vector, stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupNorm {
    /// `groups`: into how many equal groups the channels fall, from 1 to 1,000,000. It has no default.
    pub groups: u32,
    /// `eps`: what is added to the variance, above 0. 1e-5 by default.
    pub eps: f32,
    /// `affine`: whether there are a weight and a bias, one value of each for every channel. True by default.
    pub affine: bool,
}

impl Read for GroupNorm {
    const WORDS: &'static [&'static str] = &["group_norm"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let groups = section.integer("groups", 1..=MOST_FEATURES.into())?;
        Ok(Self {
            groups: section.required("groups", groups, "groups of channels")?,
            eps: eps(section, 1e-5)?,
            affine: section.boolean("affine")?.unwrap_or(true),
        })
    }
}

impl Spec for GroupNorm {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put(keys, "groups", i64::from(self.groups));
        put_f32(keys, "eps", self.eps);
        put(keys, "affine", self.affine);
    }

    fn fits(&self) -> bool {
        self.groups > 0 && eps_fits(self.eps)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        match *input.dims() {
            [_, _] => Err(Misfit::new(self.word(), "images or vectors", input, "take `layer_norm` for sequences")),
            [channels, ..] if !channels.is_multiple_of(self.groups.max(1)) => {
                let takes = format!("channels in {} equal groups", self.groups);
                Err(Misfit::new(self.word(), &takes, input, format!("let `groups` divide {channels}")))
            }
            // Its mean is the value itself: 0 would come out, whatever goes in.
            _ if input.values() == self.groups => {
                let fix = format!("take fewer than {} groups", self.groups);
                Err(Misfit::new(self.word(), "two values a group or more", input, fix))
            }
            _ => Ok(input.clone()),
        }
    }
}
