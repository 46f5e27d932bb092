//! What a convolution and the pools share: a window that moves over an image.

use serde::{Deserialize, Serialize};
use toml::{Table, Value as Toml};

use super::{Misfit, put};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The largest window, step and margin.
const WIDEST: i64 = 1024;

/// A window over an image; (height, width) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its size.
    pub kernel: [u32; 2],
    /// How far it moves.
    pub stride: [u32; 2],
    /// Rows and columns beside each edge of the image, smaller than the window.
    pub padding: [u32; 2],
}

impl Window {
    /// Reads `kernel`, `stride` and `padding`; the stride is `stride`, or the kernel where that is `None`.
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

    pub(super) fn write(&self, keys: &mut Table) {
        let pairs = [("kernel", self.kernel), ("stride", self.stride), ("padding", self.padding)];
        for (key, [height, width]) in pairs {
            match height == width {
                true => put(keys, key, i64::from(height)),
                false => put(keys, key, vec![Toml::from(i64::from(height)), Toml::from(i64::from(width))]),
            }
        }
    }

    pub(super) fn fits(&self) -> bool {
        let size = |size: &u32| (1..=WIDEST).contains(&i64::from(*size));
        self.kernel.iter().chain(&self.stride).all(size)
            && self.padding.iter().zip(&self.kernel).all(|(padding, kernel)| padding < kernel)
    }

    /// Channels of `input`, and the places of the window on it, (height, width).
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

    /// What comes out of a pool: a value for each channel and place. A window lies on the image with half of it at least.
    pub(super) fn pooled(&self, word: &str, input: &Shape) -> Result<Shape, Misfit> {
        let (channels, [height, width]) = self.places(word, input)?;
        if self.padding.iter().zip(&self.kernel).any(|(padding, kernel)| *padding > kernel / 2) {
            let takes = "a padding of at most half its kernel";
            return Err(Misfit::new(word, takes, input, "take a smaller `padding`"));
        }
        Ok(Shape::new([channels, height, width]))
    }
}
