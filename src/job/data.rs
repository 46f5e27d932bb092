//! `[data]`: what is learned.

use toml::{Table, Value};

use super::keys::table;
use super::section::Section;
use super::{JobError, Source, source};

/// The most channels that have a mean and a standard deviation of their own.
const MOST_CHANNELS: usize = 4096;
/// The most zeros around an image.
const MOST_CROP: i64 = 1024;

/// `[data]`
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Which data set.
    pub source: Source,
    /// What its values are brought to before the first operation.
    pub normal: Option<Normal>,
    /// What is done to each image of a training pass.
    pub augment: Augment,
    /// Part of the training samples that are held out, 0..1.
    pub validation: f64,
}

/// Values x become (x - mean) / std, after the source's scale, as with PyTorch's `Normalize` behind `ToTensor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// One for all values, or one for each channel of an image.
    pub mean: Vec<f64>,
    /// The same, above 0.
    pub std: Vec<f64>,
}

/// What is done to each image of a training pass, drawn anew for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Zeros around the image, out of which a part of the image's own size is cut at a random place.
    pub crop: u32,
    /// Whether it is mirrored left to right, one time in two.
    pub flip: bool,
}

/// Reads `[data]`.
pub(super) fn read(section: Section<'_>) -> Result<Data, JobError> {
    let source = source::read(&section)?;
    let normal = normal(&section)?;
    let augment = augment(section.section("augment")?)?;
    let validation =
        section.number("validation", "a part from 0 up to, not including, 1", |part| (0.0..1.0).contains(&part))?;
    section.finish()?;
    Ok(Data { source, normal, augment, validation: validation.unwrap_or(0.1) })
}

fn normal(section: &Section<'_>) -> Result<Option<Normal>, JobError> {
    let mean = section.one_or_more("mean", 1..=MOST_CHANNELS, "a number, or one for each channel", is_single)?;
    let expected = "a number above 0, or one for each channel";
    let std = section.one_or_more("std", 1..=MOST_CHANNELS, expected, |std| std as f32 > 0.0 && is_single(std))?;
    let (mean, std) = match (mean, std) {
        (None, None) => return Ok(None),
        (mean, std) => (mean.unwrap_or_else(|| vec![0.0]), std.unwrap_or_else(|| vec![1.0])),
    };
    let [means, stds] = [mean.len(), std.len()];
    if means != stds && means != 1 && stds != 1 {
        return Err(JobError::Conflict {
            at: section.at("std"),
            problem: format!("there are {means} numbers in `mean`, but {stds} in `std`"),
            fix: "write one number for each channel in both, or one for all".to_owned(),
        });
    }
    Ok(Some(Normal { mean, std }))
}

/// Whether an f32 holds a number of this size.
fn is_single(number: f64) -> bool {
    (number as f32).is_finite()
}

fn augment(section: Section<'_>) -> Result<Augment, JobError> {
    let crop = section.integer("crop", 0..=MOST_CROP)?.unwrap_or(0);
    let flip = section.boolean("flip")?.unwrap_or(false);
    section.finish()?;
    Ok(Augment { crop, flip })
}

impl Data {
    /// The table `data`.
    pub(super) fn write(&self) -> Table {
        let mut keys = self.source.write();
        let mut add = |key: &str, value: Value| {
            keys.insert(key.to_owned(), value);
        };
        add("validation", self.validation.into());
        if let Some(normal) = &self.normal {
            add("mean", normal.mean.clone().into());
            add("std", normal.std.clone().into());
        }
        if self.augment != Augment::default() {
            let Augment { crop, flip } = self.augment;
            add("augment", table([("crop", i64::from(crop).into()), ("flip", flip.into())]).into());
        }
        keys
    }
}

#[cfg(test)]
mod tests;
