//! The header of a message: what the tensor behind it is, and where in training it belongs (docs/PROTOCOL.md, "Message").
//!
//! This module knows bytes, not who sends them. All numbers are little-endian.

use thiserror::Error;

use crate::element::Element;
use crate::float::Float;
use crate::ids::{Batch, Epoch, MicroBatch};

/// Length of a header in bytes. The tensor follows it.
pub const HEADER: usize = 64;

/// What a message is for. The numbers are those in the header's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the message is cover. Its header is all zeros.
    Empty = 0,
    /// An activation in training, on its way to the next stage.
    Train = 1,
    /// An activation in evaluation, on its way to the next stage. No gradient will follow, so stages keep nothing of it.
    Evaluate = 2,
    /// The gradient of an activation, on its way to the stage before.
    Gradient = 3,
    /// Stage 1's answer to a gradient, which has no tensor. It tells the owner that the stage is done with the micro-batch.
    Done = 4,
    /// The targets of a micro-batch, from the owner to the last stage where that has the loss.
    Targets = 5,
}

/// The type of the values in a message's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// Bytes, as the data have them.
    U8,
    /// Tokens, as the data have them: 16-bit, little-endian.
    U16,
    /// Labels: 32-bit, little-endian.
    U32,
    /// Floating-point numbers of this format, little-endian.
    Float(Float),
}

impl From<Element> for Dtype {
    /// The type in which the data's values travel. They travel as they are.
    fn from(element: Element) -> Self {
        match element {
            Element::U8 => Dtype::U8,
            Element::U16 => Dtype::U16,
            Element::F32 => Dtype::Float(Float::F32),
        }
    }
}

/// The header: what is said in the 64 bytes before a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// What the message is for.
    pub kind: Kind,
    /// Only of a gradient, and of targets: whether it is the last of its batch, so that the stage makes an optimizer step. The answer
    /// [`Kind::Done`] repeats it.
    pub last: bool,
    /// The type of the tensor's values.
    pub dtype: Dtype,
    /// Number of the epoch, from 0.
    pub epoch: Epoch,
    /// Number of the batch in its epoch, from 0.
    pub batch: Batch,
    /// Number of the micro-batch in its batch, from 0.
    pub micro_batch: MicroBatch,
    /// Number of samples in the tensor.
    pub rows: u32,
    /// Number of values of each sample.
    pub features: u32,
    /// Only of a gradient, and of targets: the learning rate for the step behind the batch's last. The answer [`Kind::Done`] repeats it.
    pub rate: f32,
    /// Only of targets: by what the gradient of the summed loss is multiplied, so that it is that of the mean over the batch.
    pub weight: f32,
}

/// Why 64 bytes are not a header.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// A field has a value that no header has.
    #[error("a message header's {field} is {found}")]
    Field {
        /// Name of the header's field.
        field: &'static str,
        /// The value that was found.
        found: u64,
    },
}

impl Header {
    /// The header of an empty message. Its bytes are all zeros.
    pub const EMPTY: Header = Header {
        kind: Kind::Empty,
        last: false,
        dtype: Dtype::U8,
        epoch: Epoch(0),
        batch: Batch(0),
        micro_batch: MicroBatch(0),
        rows: 0,
        features: 0,
        rate: 0.0,
        weight: 0.0,
    };

    /// A header for a message of `kind` at a place in training, without a tensor.
    pub fn new(kind: Kind, epoch: Epoch, batch: Batch, micro_batch: MicroBatch) -> Self {
        Self { kind, epoch, batch, micro_batch, ..Self::EMPTY }
    }

    /// This header for a message with a tensor of `rows` samples, `features` values each, in the format `dtype`.
    pub fn with_tensor(self, dtype: Dtype, rows: u32, features: u32) -> Self {
        Self { dtype, rows, features, ..self }
    }

    /// Length in bytes of the tensor behind the header.
    pub fn body(&self) -> u64 {
        let width = match self.dtype {
            Dtype::U8 => 1,
            Dtype::U16 => 2,
            Dtype::U32 => 4,
            Dtype::Float(format) => format.bytes().into(),
        };
        (u64::from(self.rows) * u64::from(self.features)).saturating_mul(width)
    }

    /// The header as its 64 bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1] = self.last.into();
        bytes[2] = match self.dtype {
            Dtype::U8 => 0,
            Dtype::Float(format) => 1 + format as u8,
            Dtype::U16 => 4,
            Dtype::U32 => 5,
        };
        let [rate, weight] = [self.rate, self.weight].map(f32::to_bits);
        let words = [self.epoch.0, self.batch.0, self.micro_batch.0, self.rows, self.features, rate, weight];
        for (to, word) in bytes[4..32].as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// Reads a header from its bytes.
    ///
    /// # Errors
    /// [`WireError::Field`] if a field has a value that no header has. Bytes that are not in use must be zero.
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Result<Self, WireError> {
        let wrong = |field, found: u8| Err(WireError::Field { field, found: found.into() });
        let kind = match bytes[0] {
            0 => Kind::Empty,
            1 => Kind::Train,
            2 => Kind::Evaluate,
            3 => Kind::Gradient,
            4 => Kind::Done,
            5 => Kind::Targets,
            other => return wrong("kind", other),
        };
        let last = match bytes[1] {
            0 => false,
            1 => true,
            other => return wrong("last flag", other),
        };
        let dtype = match bytes[2] {
            0 => Dtype::U8,
            1 => Dtype::Float(Float::F32),
            2 => Dtype::Float(Float::Bf16),
            3 => Dtype::Float(Float::F16),
            4 => Dtype::U16,
            5 => Dtype::U32,
            other => return wrong("dtype", other),
        };
        let unused = if kind == Kind::Targets { 32 } else { 28 };
        if let Some(other) = [3].into_iter().chain(unused..HEADER).find(|&i| bytes[i] != 0) {
            return wrong("padding", bytes[other]);
        }
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        Ok(Header {
            kind,
            last,
            dtype,
            epoch: Epoch(word(4)),
            batch: Batch(word(8)),
            micro_batch: MicroBatch(word(12)),
            rows: word(16),
            features: word(20),
            rate: f32::from_bits(word(24)),
            weight: f32::from_bits(word(28)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Header = Header {
        kind: Kind::Gradient,
        last: true,
        dtype: Dtype::Float(Float::F32),
        epoch: Epoch(0x0102_0304),
        batch: Batch(5),
        micro_batch: MicroBatch(6),
        rows: 7,
        features: 256,
        rate: 0.1,
        weight: 0.0,
    };

    #[test]
    fn reads_what_it_writes_at_the_documented_places() {
        let bytes = SAMPLE.to_bytes();
        assert_eq!(Header::from_bytes(&bytes), Ok(SAMPLE));
        assert_eq!(bytes[..8], [3, 1, 1, 0, 4, 3, 2, 1]);
        assert_eq!(bytes[24..28], 0.1_f32.to_le_bytes());
        assert_eq!(SAMPLE.body(), 7 * 256 * 4);
        for (number, (_, format)) in Float::ALL.into_iter().enumerate() {
            let header = Header { dtype: Dtype::Float(format), ..SAMPLE };
            assert_eq!(header.to_bytes()[2], 1 + number as u8);
            assert_eq!(Header::from_bytes(&header.to_bytes()), Ok(header));
            assert_eq!(header.body(), 7 * 256 * u64::from(format.bytes()));
        }
        for (element, number) in [(Element::U8, 0), (Element::U16, 4), (Element::F32, 1)] {
            let header = Header { dtype: element.into(), ..SAMPLE };
            assert_eq!(header.to_bytes()[2], number);
            assert_eq!(Header::from_bytes(&header.to_bytes()), Ok(header));
            assert_eq!(header.body(), 7 * 256 * u64::from(element.bytes()));
        }
        let targets = Header { kind: Kind::Targets, dtype: Dtype::U32, weight: 0.5, ..SAMPLE };
        assert_eq!(Header::from_bytes(&targets.to_bytes()), Ok(targets));
        assert_eq!((targets.to_bytes()[0], targets.to_bytes()[2], targets.body()), (5, 5, 7 * 256 * 4));
        assert_eq!(targets.to_bytes()[28..32], 0.5_f32.to_le_bytes());
        assert_eq!(Header::EMPTY.to_bytes(), [0; HEADER]);
    }

    #[test]
    fn refuses_what_no_header_holds() {
        for (place, value) in [(0, 6), (1, 2), (2, 6), (3, 1), (28, 1), (47, 9), (63, 1)] {
            let mut bytes = SAMPLE.to_bytes();
            bytes[place] = value;
            assert!(Header::from_bytes(&bytes).is_err(), "byte {place} = {value}");
        }
    }
}
