//! `{ op = "reshape", shape = [16, 5, 5] }`: PyTorch's `nn.Unflatten`, of a whole sample.

use serde::{Deserialize, Serialize};
use toml::{Table, Value as Toml};

use super::{Misfit, Read, Spec, put};
use crate::job::section::Section;
use crate::job::shape::{DIMS, Shape};
use crate::job::{JobError, MOST_FEATURES};

/// A sample in another shape of as many values, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// `shape`: the shape that comes out, one to three numbers from 1 to 1,000,000. It has no default.
    pub shape: Shape,
}

impl Read for Reshape {
    const WORDS: &'static [&'static str] = &["reshape"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        const SHAPE: &str = "one to three whole numbers above 0, such as [16, 5, 5]";
        let dims = section.integers("shape", 1..=DIMS, 1..=MOST_FEATURES.into(), SHAPE)?;
        Ok(Self { shape: Shape::new(section.required("shape", dims, SHAPE)?) })
    }
}

impl Spec for Reshape {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        let dims: Vec<Toml> = self.shape.dims().iter().map(|dim| i64::from(*dim).into()).collect();
        put(keys, "shape", dims);
    }

    fn fits(&self) -> bool {
        self.shape.fits()
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        if self.shape.values() == input.values() {
            return Ok(self.shape.clone());
        }
        let takes = format!("{} values a sample to make {} of them", self.shape.values(), self.shape);
        let fix = format!("name a shape of {} values", input.values());
        Err(Misfit::new(self.word(), &takes, input, fix))
    }
}
