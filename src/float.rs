//! The formats in which numbers travel, and in which a GPU multiplies them.

use serde::{Deserialize, Serialize};

/// How an f32 is written into a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Float {
    /// IEEE 754 single precision: the number as it is.
    #[default]
    F32,
    /// The upper half of a single: the same range, with 8 bits of precision.
    Bf16,
    /// IEEE 754 half precision: up to 65,504, with 11 bits of precision.
    F16,
}

impl Float {
    /// All formats, with the words for them in a job.
    pub const ALL: [(&'static str, Float); 3] = [("f32", Float::F32), ("bf16", Float::Bf16), ("f16", Float::F16)];

    /// The word for this format in a job.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// How many bytes a number has in this format.
    pub fn bytes(self) -> u32 {
        match self {
            Float::F32 => 4,
            Float::Bf16 | Float::F16 => 2,
        }
    }
}

/// How a GPU rounds what goes into a matrix product. The processor takes f32 as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// It does not round: all bits go in.
    #[default]
    Fp32,
    /// It rounds to 11 bits of precision, for NVIDIA's tensor cores.
    Tf32,
    /// It rounds to 8 bits of precision.
    Bf16,
}

impl Precision {
    /// All precisions, with the words for them in a job.
    pub const ALL: [(&'static str, Precision); 3] =
        [("fp32", Precision::Fp32), ("tf32", Precision::Tf32), ("bf16", Precision::Bf16)];

    /// The word for this precision in a job.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}
