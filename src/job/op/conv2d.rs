//! `{ op = "conv2d", out = 6, kernel = 5 }`: PyTorch's `nn.Conv2d`.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, WindowSpec, put};
use crate::job::section::Section;
use crate::job::shape::Shape;
use crate::job::{JobError, MOST_FEATURES};

/// The most values as which one image is laid out for the matrix product: places of the window times values under it.
const MOST_COLUMNS: u64 = 1 << 24;

/// Convolution (cross-correlation, as everywhere) of an image, from (channels, height, width) to (`out`, places of the window). The
/// weight has the shape (out, channels / groups, height, width) of the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// `out`: the channels that go out, from 1 to 1,000,000. It has no default.
    pub out: u32,
    /// `kernel`, `stride` and `padding`: the window. Its stride is 1 by default.
    pub window: WindowSpec,
    /// `groups`: into how many equal groups the channels fall. A channel that goes out sees only those that come in with its own group.
    /// It divides `out`. 1 by default.
    pub groups: u32,
    /// `bias`: whether a learned number is added to each channel that goes out. True by default.
    pub bias: bool,
}

impl Read for Conv2d {
    const WORDS: &'static [&'static str] = &["conv2d"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        let out = section.integer("out", 1..=MOST_FEATURES.into())?;
        let out = section.required("out", out, "channels that go out")?;
        let window = WindowSpec::read(section, Some(1))?;
        const GROUPS: &str = "a whole number that divides `out`";
        let groups = section.integer("groups", 1..=MOST_FEATURES.into())?.unwrap_or(1);
        let spec = Self { out, window, groups, bias: section.boolean("bias")?.unwrap_or(true) };
        match section.get("groups") {
            Some(node) if !spec.fits() => Err(section.wrong("groups", node, GROUPS)),
            _ => Ok(spec),
        }
    }
}

impl Spec for Conv2d {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put(keys, "out", i64::from(self.out));
        self.window.write(keys);
        put(keys, "groups", i64::from(self.groups));
        put(keys, "bias", self.bias);
    }

    fn fits(&self) -> bool {
        (1..=MOST_FEATURES).contains(&self.out)
            && self.window.fits()
            && self.groups > 0
            && self.out.is_multiple_of(self.groups)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        let (channels, [height, width]) = self.window.places(self.word(), input)?;
        if !channels.is_multiple_of(self.groups.max(1)) {
            let takes = format!("channels in {} equal groups", self.groups);
            let fix = format!("let `groups` divide {channels} and `out`, {}", self.out);
            return Err(Misfit::new(self.word(), &takes, input, fix));
        }
        let [high, wide] = self.window.kernel;
        let under = u64::from(channels / self.groups.max(1)) * u64::from(high) * u64::from(wide);
        let columns = under.saturating_mul(u64::from(height) * u64::from(width));
        if columns > MOST_COLUMNS {
            let takes = format!("images that it lays out as at most {MOST_COLUMNS} values");
            let fix = format!("take a smaller `kernel` or a larger `stride`: these are {columns}");
            return Err(Misfit::new(self.word(), &takes, input, fix));
        }
        Ok(Shape::new([self.out, height, width]))
    }
}
