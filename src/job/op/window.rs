//! What a convolution and the pools share: a window that moves over an image.

use serde::{Deserialize, Serialize};
use toml::{Table, Value as Toml};

use super::{Misfit, put};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The most rows or columns of a window's kernel, stride and padding.
const WIDEST: i64 = 1024;

/// A window that moves over an image. Each of its keys is a pair (height, width); a job may write one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// `kernel`: the size of the window, from 1 to 1024. It has no default.
    pub kernel: [u32; 2],
    /// `stride`: how far the window moves, from 1 to 1024. Its default depends on the operation.
    pub stride: [u32; 2],
    /// `padding`: how many rows and columns are added on each side of the image, from 0, the default, to one less than the kernel.
    pub padding: [u32; 2],
}

impl WindowSpec {
    /// Reads the keys `kernel`, `stride` and `padding`. Where the job names no stride, it is `stride`, or the kernel where that is `None`.
    ///
    /// # Errors
    /// An absent kernel, a number out of its range, or a padding that is not smaller than the kernel.
    pub(super) fn read(section: &Section<'_>, stride: Option<u32>) -> Result<Self, JobError> {
        const KERNEL: &str = "a whole number from 1 to 1024, or two: [height, width]";
        const PADDING: &str = "a whole number from 0 to 1023, or two: [height, width]; smaller than the kernel";
        let pair = |key, from, text| Ok(section.integers(key, 2..=2, from..=WIDEST, text)?.map(|p| [p[0], p[1]]));
        let kernel = pair("kernel", 1, KERNEL)?;
        let kernel = section.required("kernel", kernel, KERNEL)?;
        let window = Self {
            kernel,
            stride: pair("stride", 1, KERNEL)?.unwrap_or(stride.map_or(kernel, |stride| [stride; 2])),
            padding: pair("padding", 0, PADDING)?.unwrap_or([0; 2]),
        };
        match section.get("padding") {
            Some(node) if !window.fits() => Err(section.wrong("padding", node, PADDING)),
            _ => Ok(window),
        }
    }

    /// Puts the keys `kernel`, `stride` and `padding` into the table `keys`. A pair of equal numbers becomes one number.
    pub(super) fn write(&self, keys: &mut Table) {
        let pairs = [("kernel", self.kernel), ("stride", self.stride), ("padding", self.padding)];
        for (key, [height, width]) in pairs {
            match height == width {
                true => put(keys, key, i64::from(height)),
                false => put(keys, key, vec![Toml::from(i64::from(height)), Toml::from(i64::from(width))]),
            }
        }
    }

    /// Whether a job may name this window: all numbers are in their ranges.
    pub(super) fn fits(&self) -> bool {
        let size = |size: &u32| (1..=WIDEST).contains(&i64::from(*size));
        self.kernel.iter().chain(&self.stride).all(size)
            && self.padding.iter().zip(&self.kernel).all(|(padding, kernel)| padding < kernel)
    }

    /// The channels of `input`, and how many places the window has on it, (height, width).
    ///
    /// # Errors
    /// [`Misfit`] of the operation `word` where `input` is no image, or smaller than the window.
    pub(super) fn places(&self, word: &str, input: &Shape) -> Result<(u32, [u32; 2]), Misfit> {
        let [channels, height, width] = *input.dims() else {
            let takes = "an image (channels, height, width)";
            return Err(Misfit::new(word, takes, input, "put a `reshape` before it, or take a `linear`"));
        };
        let [high, wide] = self.kernel;
        let mut places = [0; 2];
        for (i, size) in [height, width].into_iter().enumerate() {
            let room = u64::from(size) + 2 * u64::from(self.padding[i]);
            let Some(free) = room.checked_sub(self.kernel[i].into()) else {
                let takes = format!("images of at least {high}x{wide} with their padding");
                return Err(Misfit::new(word, &takes, input, "take a smaller `kernel`, or more `padding`"));
            };
            // A stride is at least 1, and a side of an image a u32.
            places[i] = u32::try_from(free / u64::from(self.stride[i].max(1)) + 1).unwrap_or(u32::MAX);
        }
        Ok((channels, places))
    }

    /// The shape that comes out of the pool `word`: (channels, height, width) with a value for each place of the window.
    ///
    /// # Errors
    /// [`Misfit`] as from [`WindowSpec::places`], and where a window would lie beside the image with more than half of it.
    pub(super) fn pooled(&self, word: &str, input: &Shape) -> Result<Shape, Misfit> {
        let (channels, [height, width]) = self.places(word, input)?;
        if self.padding.iter().zip(&self.kernel).any(|(padding, kernel)| *padding > kernel / 2) {
            let takes = "a padding of at most half its kernel";
            return Err(Misfit::new(word, takes, input, "take a smaller `padding`"));
        }
        Ok(Shape::new([channels, height, width]))
    }
}
