//! The values of the data's samples: how they stand in memory and travel to the first stage, and what it makes of them.

use serde::{Deserialize, Serialize};

/// The type of a sample's values, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    /// Bytes, as of images.
    #[serde(rename = "uint8")]
    U8,
    /// Tokens.
    #[serde(rename = "uint16")]
    U16,
    /// IEEE 754 single precision.
    #[serde(rename = "float32")]
    F32,
}

impl Element {
    /// NumPy's name, which is also the one in text.
    pub fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::U16 => "uint16",
            Element::F32 => "float32",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> u32 {
        match self {
            Element::U8 => 1,
            Element::U16 => 2,
            Element::F32 => 4,
        }
    }
}

/// How the values of a sample become numbers: `scale x + shift`, in one step of rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// What they are.
    pub element: Element,
    /// One for all values, or one for each channel: each counts for an equal part of the sample.
    pub scale: Vec<f32>,
    /// As many.
    pub shift: Vec<f32>,
}

impl Encoding {
    /// All values times `scale`.
    pub fn scaled(element: Element, scale: f32) -> Self {
        Self { element, scale: vec![scale], shift: vec![0.0] }
    }

    /// Whether it is one for samples of `features` values.
    pub fn fits(&self, features: u32) -> bool {
        let channels = self.scale.len();
        let finite = self.scale.iter().chain(&self.shift).all(|number| number.is_finite());
        channels > 0 && channels == self.shift.len() && (features as usize).is_multiple_of(channels) && finite
    }
}
