//! `[data]`: what the network learns from. Where samples come from, and the keys that depend on it, stand in `source.rs`.

use toml::Table;

use super::section::Section;
use super::table::{JobTable, put, table};
use super::{JobError, Source};

/// The most channels that have a mean and a standard deviation of their own.
const MOST_CHANNELS: usize = 4096;
/// The most zeros on each side of an image, `data.augment.crop`.
const MOST_CROP: i64 = 1024;

/// `[data]`: what the network learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// `data.source` and the keys that depend on it: where samples come from. It has no default.
    pub source: Source,
    /// `data.mean` and `data.std`: how values are moved and scaled before the first operation takes them. `None`, the default: they are
    /// not.
    pub normal: Option<Normal>,
    /// `data.augment`: how each image of a training pass is changed. By default it is not.
    pub augment: Augment,
    /// `data.validation`: the part of the training samples that is held out, from 0 up to, not including, 1. 0.1 by default.
    pub validation: f64,
}

impl JobTable for Data {
    const KEY: &'static str = "data";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let source = Source::read_from(section)?;
        let normal = Normal::read_from(section)?;
        let augment = Augment::read_from(section)?;
        let validation = section
            .number("validation", "a part from 0 up to, not including, 1", |part| (0.0..1.0).contains(&part))?;
        section.finish()?;
        Ok(Self { source, normal, augment, validation: validation.unwrap_or(0.1) })
    }

    fn write(&self) -> Table {
        let mut keys = table([("validation", self.validation.into())]);
        self.source.write_into(&mut keys);
        if let Some(normal) = &self.normal {
            normal.write_into(&mut keys);
        }
        self.augment.write_into(&mut keys);
        keys
    }
}

/// `data.mean` and `data.std`: values x become (x - mean) / std, behind the source's scale, as with PyTorch's `Normalize` behind
/// `ToTensor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// `mean`: what is taken off. One number for all values, or one for each channel of an image. 0 where the job names `std` alone.
    pub mean: Vec<f64>,
    /// `std`: what values are divided by, above 0. One number for all values, or one for each channel of an image. 1 where the job
    /// names `mean` alone.
    pub std: Vec<f64>,
}

impl Normal {
    /// Reads the keys `mean` and `std` of `[data]`. `None` where both are absent.
    ///
    /// # Errors
    /// A number out of its range, or two lists of different lengths.
    fn read_from(data: &Section<'_>) -> Result<Option<Self>, JobError> {
        let mean = data.one_or_more("mean", 1..=MOST_CHANNELS, "a number, or one for each channel", is_single)?;
        let expected = "a number above 0, or one for each channel";
        let std = data.one_or_more("std", 1..=MOST_CHANNELS, expected, |std| std as f32 > 0.0 && is_single(std))?;
        let (mean, std) = match (mean, std) {
            (None, None) => return Ok(None),
            (mean, std) => (mean.unwrap_or_else(|| vec![0.0]), std.unwrap_or_else(|| vec![1.0])),
        };
        let [means, stds] = [mean.len(), std.len()];
        if means != stds && means != 1 && stds != 1 {
            let problem = format!("there are {means} numbers in `mean`, but {stds} in `std`");
            return Err(data.conflict("std", problem, "write one number for each channel in both, or one for all"));
        }
        Ok(Some(Self { mean, std }))
    }

    /// Puts the keys `mean` and `std` into the table `data`.
    fn write_into(&self, data: &mut Table) {
        put(data, "mean", self.mean.clone());
        put(data, "std", self.std.clone());
    }
}

/// Whether an f32 holds a number of this size.
fn is_single(number: f64) -> bool {
    (number as f32).is_finite()
}

/// `data.augment`: how each image of a training pass is changed, at random and anew in each epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// `crop`: so many zeros are laid around the image, and a part of the image's own size is cut out at a random place. From 0, the
    /// default, to 1024.
    pub crop: u32,
    /// `flip`: whether half of the images, drawn at random, are mirrored left to right. False by default.
    pub flip: bool,
}

impl JobTable for Augment {
    const KEY: &'static str = "augment";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let crop = section.integer("crop", 0..=MOST_CROP)?.unwrap_or(0);
        let flip = section.boolean("flip")?.unwrap_or(false);
        section.finish()?;
        Ok(Self { crop, flip })
    }

    /// Nothing where images stay as they are: some sources have none, and do not know the key.
    fn write(&self) -> Table {
        if *self == Self::default() {
            return Table::new();
        }
        table([("crop", i64::from(self.crop).into()), ("flip", self.flip.into())])
    }
}

#[cfg(test)]
mod tests;
