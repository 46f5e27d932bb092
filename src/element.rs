//! The values of the data's samples: how they stand in files, how they stand in memory and travel to the first stage,
//! and which numbers that stage makes of them.

use serde::{Deserialize, Serialize};

/// The type of the values in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as they are written")]
pub enum FileDtype {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl FileDtype {
    /// NumPy's name for this type.
    pub fn name(self) -> &'static str {
        match self {
            FileDtype::Bool => "bool",
            FileDtype::U8 => "uint8",
            FileDtype::U16 => "uint16",
            FileDtype::U32 => "uint32",
            FileDtype::U64 => "uint64",
            FileDtype::I8 => "int8",
            FileDtype::I16 => "int16",
            FileDtype::I32 => "int32",
            FileDtype::I64 => "int64",
            FileDtype::F16 => "float16",
            FileDtype::Bf16 => "bfloat16",
            FileDtype::F32 => "float32",
            FileDtype::F64 => "float64",
        }
    }

    /// Whether values of this type are whole numbers. `Bool` does not count: it has only two values.
    pub fn is_integer(self) -> bool {
        !matches!(self, FileDtype::Bool | FileDtype::F16 | FileDtype::Bf16 | FileDtype::F32 | FileDtype::F64)
    }

    /// Whether values of this type are floats.
    pub fn is_float(self) -> bool {
        matches!(self, FileDtype::F16 | FileDtype::Bf16 | FileDtype::F32 | FileDtype::F64)
    }

    /// How many bytes a value of this type has.
    pub fn bytes(self) -> usize {
        match self {
            FileDtype::Bool | FileDtype::U8 | FileDtype::I8 => 1,
            FileDtype::U16 | FileDtype::I16 | FileDtype::F16 | FileDtype::Bf16 => 2,
            FileDtype::U32 | FileDtype::I32 | FileDtype::F32 => 4,
            FileDtype::U64 | FileDtype::I64 | FileDtype::F64 => 8,
        }
    }
}

/// Where the channels of an image stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// (channels, height, width), as the stages take images.
    ChannelsFirst,
    /// (height, width, channels), as image files have them.
    ChannelsLast,
}

impl Layout {
    /// The word for this layout in a job.
    pub fn name(self) -> &'static str {
        match self {
            Layout::ChannelsFirst => "channels_first",
            Layout::ChannelsLast => "channels_last",
        }
    }
}

/// The type of the values of a sample in memory and in messages, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    /// Bytes, such as the values of images.
    #[serde(rename = "uint8")]
    U8,
    /// Tokens: whole numbers below 65,536.
    #[serde(rename = "uint16")]
    U16,
    /// A number in IEEE 754 single precision.
    #[serde(rename = "float32")]
    F32,
}

impl Element {
    /// NumPy's name for this type. It is also the name in text.
    pub fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::U16 => "uint16",
            Element::F32 => "float32",
        }
    }

    /// How many bytes a value of this type has.
    pub fn bytes(self) -> u32 {
        match self {
            Element::U8 => 1,
            Element::U16 => 2,
            Element::F32 => 4,
        }
    }
}

/// How the values of a sample become numbers: value x becomes `scale x + shift`, rounded once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// The type of the values.
    pub element: Element,
    /// One factor for all values, or one for each channel. Channels are equal parts of the sample, one after the other.
    pub scale: Vec<f32>,
    /// What is added to the product: as many numbers as `scale` has.
    pub shift: Vec<f32>,
}

impl Encoding {
    /// The encoding that multiplies all values by `scale` and adds nothing.
    pub fn scaled(element: Element, scale: f32) -> Self {
        Self { element, scale: vec![scale], shift: vec![0.0] }
    }

    /// Whether this encoding suits samples of `features` values: its parts divide them, and its numbers are finite.
    pub fn fits(&self, features: u32) -> bool {
        let channels = self.scale.len();
        let finite = self.scale.iter().chain(&self.shift).all(|number| number.is_finite());
        channels > 0 && channels == self.shift.len() && (features as usize).is_multiple_of(channels) && finite
    }
}
