//! Arrays, as files of several formats hold them, and the samples that are made of two.
//!
//! This layer knows no file's format: what it gets has as many bytes as its dimensions say.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::Array2;

use super::labels::{class, value};
use super::loaded::shown;
use super::{DataError, Dataset, Targets, Wanted};
use crate::element::{Element, Encoding};
use crate::memory;

/// The most dimensions of a sample.
const DIMS: usize = 3;

/// The type of an array's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as they are written")]
pub enum Kind {
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

impl Kind {
    /// NumPy's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::U8 => "uint8",
            Kind::U16 => "uint16",
            Kind::U32 => "uint32",
            Kind::U64 => "uint64",
            Kind::I8 => "int8",
            Kind::I16 => "int16",
            Kind::I32 => "int32",
            Kind::I64 => "int64",
            Kind::F16 => "float16",
            Kind::Bf16 => "bfloat16",
            Kind::F32 => "float32",
            Kind::F64 => "float64",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Kind::Bool | Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 | Kind::Bf16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }
}

/// An array of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    file: PathBuf,
    name: &'static str,
    kind: Kind,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// What arrays are made into, as far as they do not tell themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// The shape of a sample; `None`: all dimensions behind the first.
    pub shape: Option<&'a [u32]>,
    /// What bytes are multiplied by; `None`: 1/255. Only bytes may have one.
    pub scale: Option<f64>,
}

impl Array {
    /// The array `name` of `file`, its values `bytes`, little-endian and row-major.
    ///
    /// # Errors
    /// [`DataError::Content`] where there are more or fewer bytes than `dims` say.
    pub(super) fn new(
        file: &Path,
        name: &'static str,
        kind: Kind,
        dims: Vec<usize>,
        bytes: Vec<u8>,
    ) -> Result<Self, DataError> {
        let due = dims.iter().try_fold(kind.bytes(), |bytes, dim| bytes.checked_mul(*dim));
        if due != Some(bytes.len()) {
            let due = due.map_or("more than there can be".to_owned(), |due| due.to_string());
            let expected = format!("{due} for {} of {}: save it again", shown(&dims), kind.name());
            return Err(DataError::content(file, name, format!("{} bytes of values", bytes.len()), expected));
        }
        Ok(Self { file: file.to_owned(), name, kind, dims, bytes })
    }

    /// What its values are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Its values, little-endian.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, taken out.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Its values, in order, as what `read` makes of each, which is told its index.
    fn each<T>(&self, mut read: impl FnMut(usize) -> Result<T, (String, String)>) -> Result<Vec<T>, DataError> {
        let values = self.bytes.len() / self.kind.bytes();
        let row = self.dims.iter().skip(1).product::<usize>().max(1);
        let mut all = memory::room(values).map_err(DataError::memory(&self.file))?;
        for index in 0..values {
            all.push(read(index).map_err(|(found, expected)| {
                let place = match row {
                    1 => format!("{}, sample {index}", self.name),
                    _ => format!("{}, value {} of sample {}", self.name, index % row, index / row),
                };
                DataError::content(&self.file, place, found, expected)
            })?);
        }
        Ok(all)
    }

    fn word<const N: usize>(&self, index: usize) -> [u8; N] {
        self.bytes.as_chunks().0[index]
    }

    /// The value `index` where it is a whole number by type.
    fn integer(&self, index: usize) -> Option<i128> {
        Some(match self.kind {
            Kind::Bool => i128::from(self.bytes[index] != 0),
            Kind::U8 => self.bytes[index].into(),
            Kind::I8 => i8::from_le_bytes(self.word(index)).into(),
            Kind::U16 => u16::from_le_bytes(self.word(index)).into(),
            Kind::I16 => i16::from_le_bytes(self.word(index)).into(),
            Kind::U32 => u32::from_le_bytes(self.word(index)).into(),
            Kind::I32 => i32::from_le_bytes(self.word(index)).into(),
            Kind::U64 => u64::from_le_bytes(self.word(index)).into(),
            Kind::I64 => i64::from_le_bytes(self.word(index)).into(),
            Kind::F16 | Kind::Bf16 | Kind::F32 | Kind::F64 => return None,
        })
    }

    /// The value `index`.
    fn number(&self, index: usize) -> f64 {
        match self.kind {
            Kind::F16 => f16::from_le_bytes(self.word(index)).to_f64(),
            Kind::Bf16 => bf16::from_le_bytes(self.word(index)).to_f64(),
            Kind::F32 => f32::from_le_bytes(self.word(index)).into(),
            Kind::F64 => f64::from_le_bytes(self.word(index)),
            _ => self.integer(index).unwrap_or_default() as f64,
        }
    }

    fn refused(&self, found: impl Into<String>, expected: impl Into<String>) -> DataError {
        DataError::content(&self.file, self.name, found, expected)
    }

    /// The samples that it has, at least one, and how many values each.
    fn samples(&self) -> Result<(usize, usize), DataError> {
        match self.dims.split_first() {
            Some((&samples, rest)) if !self.dims.contains(&0) => Ok((samples, rest.iter().product())),
            _ => {
                Err(self
                    .refused(shown(&self.dims), "at least one sample of one value; samples are the first dimension"))
            }
        }
    }

    /// Its values as a data set has them: bytes and 16-bit words as they are, all others as f32.
    fn inputs(self, scale: Option<f64>) -> Result<(Encoding, Vec<u8>), DataError> {
        if let (Some(scale), true) = (scale, self.kind != Kind::U8) {
            let expected = format!("uint8, as data.scale = {scale} is for: leave it out, or take data.std");
            return Err(self.refused(self.kind.name(), expected));
        }
        match self.kind {
            Kind::U8 => {
                let scale = scale.unwrap_or(1.0 / 255.0) as f32;
                Ok((Encoding::scaled(Element::U8, scale), self.bytes))
            }
            Kind::U16 => Ok((Encoding::scaled(Element::U16, 1.0), self.bytes)),
            Kind::F16 | Kind::Bf16 | Kind::F32 | Kind::F64 => {
                let singles = self.each(|index| {
                    let number = self.number(index);
                    let single = value(number).map_err(|expected| (number.to_string(), expected))?;
                    Ok(single.to_le_bytes())
                })?;
                Ok((Encoding::scaled(Element::F32, 1.0), singles.into_flattened()))
            }
            other => {
                let expected = "uint8, uint16 (tokens) or floats: convert them, with .astype(numpy.uint16) or \
                                .astype(numpy.float32)";
                Err(self.refused(other.name(), expected))
            }
        }
    }

    /// Its values as labels, of which each sample has as many.
    fn labels(&self, width: usize, wanted: Wanted) -> Result<Targets, DataError> {
        match wanted {
            Wanted::Classes { ignored, classes } => {
                if !self.dims.contains(&0) && self.integer(0).is_none() {
                    let expected = "whole numbers, which are classes: convert them, with .astype(numpy.int64), or take a loss \
                                    that wants numbers";
                    return Err(self.refused(self.kind.name(), expected));
                }
                let labels = self.each(|index| {
                    let label = self.integer(index).unwrap_or(-1);
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

/// The samples whose values are `inputs` (samples, ...) and whose labels are `labels` (samples) or (samples, ...).
///
/// # Errors
/// [`DataError::Content`]: types, dimensions, values that are none of the sort wanted.
pub(super) fn samples(inputs: Array, labels: &Array, form: Form<'_>, wanted: Wanted) -> Result<Dataset, DataError> {
    let (count, features) = inputs.samples()?;
    let (labelled, width) = labels.samples()?;
    if labelled != count {
        let expected = format!("{count}, one for each sample of {}", inputs.file.display());
        return Err(labels.refused(format!("labels of {labelled} samples"), expected));
    }
    let sample_shape = match form.shape {
        Some(shape) => {
            let shape: Vec<usize> = shape.iter().map(|dim| *dim as usize).collect();
            if shape.iter().try_fold(1_usize, |values, dim| values.checked_mul(*dim)) != Some(features) {
                let expected = format!("as many as in data.shape, {}", shown(&shape));
                return Err(inputs.refused(format!("{features} values a sample"), expected));
            }
            shape
        }
        None if inputs.dims.len() == 1 => vec![1],
        None => inputs.dims[1..].to_vec(),
    };
    if sample_shape.len() > DIMS {
        let found = format!("samples {}", shown(&sample_shape));
        return Err(inputs.refused(found, "at most three dimensions a sample: write data.shape = [...]"));
    }
    let targets = labels.labels(width, wanted)?;
    let (file, name) = (inputs.file.clone(), inputs.name);
    let (encoding, bytes) = inputs.inputs(form.scale)?;
    let row = features * encoding.element.bytes() as usize;
    let inputs = Array2::from_shape_vec((count, row), bytes).map_err(|error| {
        DataError::content(&file, name, error.to_string(), format!("{count} rows of {row} bytes"))
    })?;
    Ok(Dataset { inputs, encoding, sample_shape, targets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::IGNORED;

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: None };

    fn array(name: &'static str, kind: Kind, dims: &[usize], bytes: &[u8]) -> Array {
        Array::new(Path::new("file"), name, kind, dims.to_vec(), bytes.to_vec()).unwrap()
    }

    fn bytes(dims: &[usize]) -> Array {
        array("inputs", Kind::U8, dims, &(0..dims.iter().product::<usize>() as u8).collect::<Vec<u8>>())
    }

    fn two() -> Array {
        array("labels", Kind::I16, &[2], &[1, 0, 0, 0])
    }

    fn made(inputs: Array, labels: &Array, wanted: Wanted) -> Result<Dataset, DataError> {
        samples(inputs, labels, Form::default(), wanted)
    }

    fn refused(inputs: Array, labels: &Array, wanted: Wanted) -> String {
        made(inputs, labels, wanted).unwrap_err().to_string()
    }

    #[test]
    fn bytes_and_words_stay_and_floats_become_singles() {
        let set = made(bytes(&[2, 1, 2, 2]), &two(), CLASSES).unwrap();
        assert_eq!((set.sample_shape, set.encoding), (vec![1, 2, 2], Encoding::scaled(Element::U8, 1.0 / 255.0)));
        assert_eq!(set.inputs, ndarray::array![[0, 1, 2, 3], [4, 5, 6, 7]]);
        assert_eq!(set.targets, Targets::classes(vec![1, 0], 0));
        let set = made(array("inputs", Kind::U16, &[2, 1], &[1, 2, 3, 4]), &two(), CLASSES).unwrap();
        assert_eq!((set.sample_shape, set.encoding), (vec![1], Encoding::scaled(Element::U16, 1.0)));
        assert_eq!(set.inputs, ndarray::array![[1, 2], [3, 4]]);
        let ones: [(Kind, Vec<u8>); 4] = [
            (Kind::F16, [0.5, -2.0].map(|one| f16::from_f64(one).to_le_bytes()).concat()),
            (Kind::Bf16, [0.5, -2.0].map(|one| bf16::from_f64(one).to_le_bytes()).concat()),
            (Kind::F32, [0.5_f32, -2.0].map(f32::to_le_bytes).concat()),
            (Kind::F64, [0.5_f64, -2.0].map(f64::to_le_bytes).concat()),
        ];
        for (kind, bytes) in ones {
            let set = made(array("inputs", kind, &[2], &bytes), &two(), CLASSES).unwrap();
            assert_eq!((set.sample_shape, set.encoding), (vec![1], Encoding::scaled(Element::F32, 1.0)));
            assert_eq!(set.inputs.into_raw_vec_and_offset().0, [0.5_f32, -2.0].map(f32::to_le_bytes).concat());
        }
    }

    #[test]
    fn what_an_f32_does_not_hold_is_named_by_its_place() {
        let floats: Vec<u8> = [0.0, 1.0, 2.0, f64::NAN].map(f64::to_le_bytes).concat();
        let error = refused(array("inputs", Kind::F64, &[2, 2], &floats), &two(), CLASSES);
        assert_eq!(error, "file, inputs, value 1 of sample 1: NaN, expected a finite number that an f32 holds");
        let floats: Vec<u8> = [0.0, 1e39].map(f64::to_le_bytes).concat();
        let error = refused(array("inputs", Kind::F64, &[2], &floats), &two(), CLASSES);
        assert!(error.starts_with("file, inputs, sample 1: 1000000"), "{error}");
        let error = refused(array("inputs", Kind::I64, &[2], &[0; 16]), &two(), CLASSES);
        assert!(error.contains("inputs: int64, expected uint8, uint16 (tokens) or floats"), "{error}");
    }

    #[test]
    fn a_shape_and_a_scale_may_be_named() {
        let form = Form { shape: Some(&[2, 1, 2]), scale: Some(0.5) };
        let set = samples(bytes(&[2, 4]), &two(), form, CLASSES).unwrap();
        assert_eq!((set.sample_shape, set.encoding), (vec![2, 1, 2], Encoding::scaled(Element::U8, 0.5)));
        let error = |inputs: Array, form| samples(inputs, &two(), form, CLASSES).unwrap_err().to_string();
        let shape = |shape| Form { shape: Some(shape), scale: None };
        assert_eq!(
            error(bytes(&[2, 4]), shape(&[3, 2])),
            "file, inputs: 4 values a sample, expected as many as in data.shape, (3, 2)"
        );
        assert!(error(bytes(&[2, 4]), shape(&[u32::MAX, u32::MAX, u32::MAX])).contains("data.shape"));
        assert!(
            error(bytes(&[2, 1, 1, 1, 1]), Form::default()).contains("samples (1, 1, 1, 1), expected at most three")
        );
        let words = array("inputs", Kind::U16, &[2], &[0; 4]);
        assert!(error(words, form).contains("data.shape"));
        let words = array("inputs", Kind::U16, &[2, 4], &[0; 16]);
        assert!(error(words, form).contains("uint16, expected uint8, as data.scale = 0.5 is for"));
    }

    #[test]
    fn labels_are_what_the_loss_wants() {
        let labels = array("labels", Kind::I64, &[2, 2], &[3, -100, 0, 4].map(i64::to_le_bytes).concat());
        let wanted = |ignored, classes| Wanted::Classes { ignored, classes };
        let set = made(bytes(&[2]), &labels, wanted(Some(-100), Some(5))).unwrap();
        assert_eq!(set.targets, Targets::Classes { labels: vec![3, IGNORED, 0, 4], places: 2, classes: 0 });
        assert_eq!(
            refused(bytes(&[2]), &labels, CLASSES),
            "file, labels, value 1 of sample 0: -100, expected a class, a whole number from 0 to 999999, or train.loss.ignore_index names one that does \
             not count"
        );
        let error = refused(bytes(&[2]), &labels, wanted(Some(-100), Some(4)));
        assert!(error.ends_with(
            "value 1 of sample 1: 4, expected a class, a whole number from 0 to 3, or -100, which is ignored"
        ));
        let set = made(bytes(&[2]), &labels, Wanted::Values).unwrap();
        assert_eq!(set.targets, Targets::Values { values: vec![3.0, -100.0, 0.0, 4.0], width: 2 });

        let floats = array("labels", Kind::F32, &[2], &[0.5_f32, f32::INFINITY].map(f32::to_le_bytes).concat());
        assert!(refused(bytes(&[2]), &floats, CLASSES).contains("labels: float32, expected whole numbers"));
        assert!(refused(bytes(&[2]), &floats, Wanted::Values).contains("labels, sample 1: inf, expected a finite"));
        let halves = array("labels", Kind::F32, &[2], &[0.5_f32, 1.5].map(f32::to_le_bytes).concat());
        assert!(
            refused(bytes(&[2]), &halves, Wanted::Chances)
                .contains("labels, sample 1: 1.5, expected a number from 0 to 1")
        );
        let bools = array("labels", Kind::Bool, &[2], &[0, 1]);
        assert_eq!(made(bytes(&[2]), &bools, CLASSES).unwrap().targets, Targets::classes(vec![0, 1], 0));
        let large = array("labels", Kind::U64, &[2], &[0xff; 16]);
        assert!(refused(bytes(&[2]), &large, CLASSES).contains("18446744073709551615"));
    }

    #[test]
    fn every_type_of_labels_is_read() {
        let kinds: [(Kind, Vec<u8>); 8] = [
            (Kind::U8, vec![1, 0]),
            (Kind::I8, vec![1, 0]),
            (Kind::U16, [1_u16, 0].map(u16::to_le_bytes).concat()),
            (Kind::I16, [1_i16, 0].map(i16::to_le_bytes).concat()),
            (Kind::U32, [1_u32, 0].map(u32::to_le_bytes).concat()),
            (Kind::I32, [1_i32, 0].map(i32::to_le_bytes).concat()),
            (Kind::U64, [1_u64, 0].map(u64::to_le_bytes).concat()),
            (Kind::I64, [1_i64, 0].map(i64::to_le_bytes).concat()),
        ];
        for (kind, raw) in kinds {
            let labels = array("labels", kind, &[2], &raw);
            assert_eq!(made(bytes(&[2]), &labels, CLASSES).unwrap().targets, Targets::classes(vec![1, 0], 0));
            let values = Targets::Values { values: vec![1.0, 0.0], width: 1 };
            assert_eq!(made(bytes(&[2]), &labels, Wanted::Values).unwrap().targets, values);
        }
    }

    #[test]
    fn dimensions_must_go_together() {
        let error = refused(bytes(&[3]), &two(), CLASSES);
        assert_eq!(error, "file, labels: labels of 2 samples, expected 3, one for each sample of file");
        for dims in [&[][..], &[0], &[2, 0]] {
            let inputs = array("inputs", Kind::U8, dims, &vec![0; dims.iter().product()]);
            assert!(refused(inputs, &two(), CLASSES).contains("at least one sample of one value"), "{dims:?}");
        }
        let none = array("labels", Kind::F32, &[2, 0], &[]);
        assert!(refused(bytes(&[2]), &none, CLASSES).contains("labels: (2, 0), expected at least one"));
        let error = |dims: &[usize], bytes: usize| {
            Array::new(Path::new("file"), "inputs", Kind::F32, dims.to_vec(), vec![0; bytes]).unwrap_err().to_string()
        };
        assert_eq!(
            error(&[2, 3], 23),
            "file, inputs: 23 bytes of values, expected 24 for (2, 3) of float32: save it again"
        );
        assert!(error(&[usize::MAX, 2], 23).contains("more than there can be"));
        assert!(error(&[usize::MAX, 0], 23).contains("23 bytes"));
    }
}
