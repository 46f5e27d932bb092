//! Arrays as files of several formats hold them, and what their values become: inputs, labels or tokens.
//!
//! This layer knows no file format. The readers give it the dimensions, the type and the bytes of an array.

use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::labels::{class, value, whole};
use super::loaded::shown;
use super::{DataError, Holds, Targets, Wanted};
use crate::element::{Element, Encoding, FileDtype};
use crate::memory;

/// Number of different tokens that two bytes can hold.
const TOKENS: u32 = 1 << 16;

/// What a network takes a sample for. It decides how whole numbers and images are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Numbers whose order means nothing.
    #[default]
    Numbers,
    /// An image, (channels, height, width).
    Image,
    /// A sequence of tokens.
    Tokens,
}

/// An array that was read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The file that it comes from.
    file: PathBuf,
    /// What the array is for. Errors call it so.
    holds: Holds,
    /// The type of the array's values.
    kind: FileDtype,
    /// The array's dimensions, outermost first.
    dims: Vec<usize>,
    /// The array's values, little-endian and row-major.
    bytes: Vec<u8>,
}

impl Array {
    /// An array from `file` whose values are `bytes`, little-endian and row-major. `holds` says what it is for.
    ///
    /// # Errors
    /// [`DataError::Content`] if `bytes` are not as many as `dims` and `kind` say.
    pub(super) fn new(
        file: &Path,
        holds: Holds,
        kind: FileDtype,
        dims: Vec<usize>,
        bytes: Vec<u8>,
    ) -> Result<Self, DataError> {
        let due = dims.iter().try_fold(kind.bytes(), |bytes, dim| bytes.checked_mul(*dim));
        if due != Some(bytes.len()) {
            let due = due.map_or("more than there can be".to_owned(), |due| due.to_string());
            let expected = format!("{due} for {} of {}: save it again", shown(&dims), kind.name());
            return Err(DataError::content(file, holds.name(), format!("{} bytes of values", bytes.len()), expected));
        }
        Ok(Self { file: file.to_owned(), holds, kind, dims, bytes })
    }

    /// This array, whose bytes have the first dimension running fastest, with the last one running fastest (NumPy's `fortran_order`).
    ///
    /// # Errors
    /// [`DataError::Memory`] if there is no memory for a second copy.
    pub(super) fn by_rows(self) -> Result<Self, DataError> {
        let (width, values) = (self.kind.bytes(), self.dims.iter().product::<usize>());
        if self.dims.len() < 2 || values == 0 {
            return Ok(self);
        }
        // How far apart, in values, neighbours along each dimension stand in the file.
        let strides: Vec<usize> =
            self.dims.iter().scan(1, |stride, dim| Some(std::mem::replace(stride, *stride * dim))).collect();
        let mut bytes = memory::room(self.bytes.len()).map_err(DataError::memory(&self.file))?;
        let (mut at, mut place) = (0, vec![0; self.dims.len()]);
        for _ in 0..values {
            bytes.extend_from_slice(&self.bytes[at * width..][..width]);
            // The next place: the last dimension that has room goes one further, and those behind it begin anew.
            for (dim, place) in place.iter_mut().enumerate().rev() {
                *place += 1;
                at += strides[dim];
                if *place < self.dims[dim] {
                    break;
                }
                at -= strides[dim] * self.dims[dim];
                *place = 0;
            }
        }
        Ok(Self { bytes, ..self })
    }

    /// The file that the array comes from.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The type of the array's values.
    pub fn kind(&self) -> FileDtype {
        self.kind
    }

    /// The array's dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The array's values, little-endian and row-major.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The array's values, little-endian and row-major, taken out of it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Calls `read` with the index of each value, in order, and collects what it returns. An error of `read` says what was
    /// found and what was expected.
    fn each<T>(&self, mut read: impl FnMut(usize) -> Result<T, (String, String)>) -> Result<Vec<T>, DataError> {
        let values = self.bytes.len() / self.kind.bytes();
        let row = self.dims.iter().skip(1).product::<usize>().max(1);
        let mut all = memory::room(values).map_err(DataError::memory(&self.file))?;
        let name = self.holds.name();
        for index in 0..values {
            all.push(read(index).map_err(|(found, expected)| {
                let place = match row {
                    1 => format!("{name}, sample {index}"),
                    _ => format!("{name}, value {} of sample {}", index % row, index / row),
                };
                DataError::content(&self.file, place, found, expected)
            })?);
        }
        Ok(all)
    }

    /// The bytes of the value `index`, of which each value has `N`.
    fn word<const N: usize>(&self, index: usize) -> [u8; N] {
        self.bytes.as_chunks().0[index]
    }

    /// The value `index` as a whole number, if the array's type has only whole numbers.
    pub(super) fn integer(&self, index: usize) -> Option<i128> {
        Some(match self.kind {
            FileDtype::Bool => i128::from(self.bytes[index] != 0),
            FileDtype::U8 => self.bytes[index].into(),
            FileDtype::I8 => i8::from_le_bytes(self.word(index)).into(),
            FileDtype::U16 => u16::from_le_bytes(self.word(index)).into(),
            FileDtype::I16 => i16::from_le_bytes(self.word(index)).into(),
            FileDtype::U32 => u32::from_le_bytes(self.word(index)).into(),
            FileDtype::I32 => i32::from_le_bytes(self.word(index)).into(),
            FileDtype::U64 => u64::from_le_bytes(self.word(index)).into(),
            FileDtype::I64 => i64::from_le_bytes(self.word(index)).into(),
            FileDtype::F16 | FileDtype::Bf16 | FileDtype::F32 | FileDtype::F64 => return None,
        })
    }

    /// The value `index` as an f64, whatever the array's type.
    fn number(&self, index: usize) -> f64 {
        match self.kind {
            FileDtype::F16 => f16::from_le_bytes(self.word(index)).to_f64(),
            FileDtype::Bf16 => bf16::from_le_bytes(self.word(index)).to_f64(),
            FileDtype::F32 => f32::from_le_bytes(self.word(index)).into(),
            FileDtype::F64 => f64::from_le_bytes(self.word(index)),
            _ => self.integer(index).unwrap_or_default() as f64,
        }
    }

    /// The error that the array is not what was expected.
    pub(super) fn refused(&self, found: impl Into<String>, expected: impl Into<String>) -> DataError {
        DataError::content(&self.file, self.holds.name(), found, expected)
    }

    /// Number of samples, at least one, and number of values of each. Samples are the first dimension.
    pub(super) fn samples(&self) -> Result<(usize, usize), DataError> {
        match self.dims.split_first() {
            Some((&samples, rest)) if !self.dims.contains(&0) => Ok((samples, rest.iter().product())),
            _ => {
                Err(self
                    .refused(shown(&self.dims), "at least one sample of one value; samples are the first dimension"))
            }
        }
    }

    /// This array with values of `kind`: floats become f32, and whole numbers become 16-bit words, which are tokens. `None` if
    /// it would be another conversion.
    ///
    /// # Errors
    /// [`DataError::Content`] if a value is not one of `kind`.
    pub(super) fn converted(self, kind: FileDtype) -> Result<Option<Self>, DataError> {
        let bytes = match kind {
            // Values that are f32 already are checked, too: they must be finite.
            FileDtype::F32 if self.kind.is_float() => {
                let single = |index| {
                    let number = self.number(index);
                    value(number).map(f32::to_le_bytes).map_err(|expected| (number.to_string(), expected))
                };
                self.each(single)?.into_flattened()
            }
            FileDtype::U16 if self.kind.is_integer() && self.kind != FileDtype::U16 => {
                let expected = || format!("a token, a whole number from 0 to {}", TOKENS - 1);
                let token = |index| {
                    let number = self.integer(index).unwrap_or(-1);
                    u16::try_from(number).map(u16::to_le_bytes).map_err(|_| (number.to_string(), expected()))
                };
                self.each(token)?.into_flattened()
            }
            _ if kind == self.kind => return Ok(Some(self)),
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, bytes, ..self }))
    }

    /// The values as a data set has them, and their encoding. Bytes stay bytes and are multiplied by `scale`. 16-bit words stay
    /// so, and so become other whole numbers that the network `takes` for tokens. Floats become f32.
    pub(super) fn inputs(self, scale: Option<f64>, takes: Takes) -> Result<(Encoding, Vec<u8>), DataError> {
        let kind = self.kind;
        let element = match kind {
            FileDtype::U8 => Element::U8,
            FileDtype::U16 => Element::U16,
            _ if kind.is_float() => Element::F32,
            _ if kind.is_integer() && takes == Takes::Tokens => Element::U16,
            _ => {
                let expected = match takes {
                    Takes::Tokens => "whole numbers, which are tokens: save them with .astype(numpy.uint16)",
                    _ => {
                        "floats, or uint8, which are scaled: save them with .astype(numpy.float32), or, where they are \
                         tokens, begin stage 1 with an `embedding`"
                    }
                };
                return Err(self.refused(kind.name(), expected));
            }
        };
        if let (Some(scale), true) = (scale, element != Element::U8) {
            let instead = match element {
                Element::F32 if scale > 0.0 => format!(", or take data.std = {}", 1.0 / scale),
                Element::U16 if takes != Takes::Tokens => {
                    ", and save what are no tokens with .astype(numpy.float32)".to_owned()
                }
                _ => String::new(),
            };
            let expected = format!("uint8, as data.scale = {scale} is for: leave it out{instead}");
            return Err(self.refused(kind.name(), expected));
        }
        let (kind, scale) = match element {
            Element::U8 => (FileDtype::U8, scale.unwrap_or(1.0 / 255.0)),
            Element::U16 => (FileDtype::U16, 1.0),
            Element::F32 => (FileDtype::F32, 1.0),
        };
        let refused = self.refused(self.kind.name(), kind.name());
        let array = self.converted(kind)?.ok_or(refused)?;
        Ok((Encoding::scaled(element, scale as f32), array.into_bytes()))
    }

    /// The values as labels, `width` of them for each sample.
    pub(super) fn labels(&self, width: usize, wanted: Wanted) -> Result<Targets, DataError> {
        match wanted {
            Wanted::Classes { ignored, classes } => {
                let labels = self.each(|index| {
                    let number = || self.number(index).to_string();
                    let label = self.integer(index).map_or_else(|| whole(self.number(index)), Ok);
                    let label = label.map_err(|expected| (number(), expected))?;
                    class(label, ignored, classes).map_err(|expected| (label.to_string(), expected))
                })?;
                Ok(Targets::Classes { labels, places: width, classes: 0 })
            }
            Wanted::Values | Wanted::Chances => {
                let values = self.each(|index| {
                    let number = self.number(index);
                    wanted.number(number).map_err(|expected| (number.to_string(), expected))
                })?;
                Ok(Targets::Values { values, width })
            }
        }
    }
}
