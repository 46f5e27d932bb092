//! The tensors `inputs` and `labels` in one safetensors file.

use std::path::Path;

use ::safetensors::tensor::Metadata;
use ::safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{Array, DataError, Dataset, Holds, Loaded, SampleForm, Wanted, gzip, samples};
use crate::element::FileDtype;
use crate::memory;

/// Reads the training part from `path`, plain or gzipped, and the test part from `test`, which has the same form.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if a tensor is missing or not
/// what `form` and `wanted` ask for.
pub fn load(path: &Path, test: Option<&Path>, form: SampleForm<'_>, wanted: Wanted) -> Result<Loaded, DataError> {
    let read = |path| Ok::<_, DataError>((path, parse(path, &gzip::read_file(path, gzip::MAX_OWN)?, form, wanted)?));
    Loaded::of(read(path)?, test.map(read).transpose()?, wanted.classes())
}

/// Reads the unpacked `bytes` of `file`. The number of classes is not set yet.
///
/// # Errors
/// [`DataError::Content`] if a tensor is missing or not what `form` and `wanted` ask for.
pub fn parse(file: &Path, bytes: &[u8], form: SampleForm<'_>, wanted: Wanted) -> Result<Dataset, DataError> {
    const WHOLE: &str = "a whole .safetensors file: save it again with safetensors.numpy.save_file";
    let (tensors, _) = deserialize(bytes).map_err(|why| DataError::content(file, "the file", why, WHOLE))?;
    let [inputs, labels] = [Holds::Inputs, Holds::labels(wanted)].map(|holds| tensor(file, &tensors, holds));
    samples::samples(inputs?, &labels?, form, wanted)
}

/// The tensors of a file and its header. No header makes it panic or read beyond `bytes`.
///
/// # Errors
/// Why the file cannot be read, in words.
pub fn deserialize(bytes: &[u8]) -> Result<(SafeTensors<'_>, Metadata), String> {
    if !ends_within(bytes) {
        return Err("tensors that end beyond the file".to_owned());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok((tensors, header))
}

/// Whether the tensors that the header names end within the file. The crate adds up their lengths without a check for overflow.
fn ends_within(bytes: &[u8]) -> bool {
    let ends = || -> Option<bool> {
        let (length, rest) = bytes.split_first_chunk()?;
        let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let header: Value = serde_json::from_slice(header).ok()?;
        let end = |tensor: &Value| tensor.get("data_offsets")?.get(1)?.as_u64();
        Some(header.as_object()?.values().filter_map(end).all(|end| end <= bytes.len() as u64))
    };
    // What is not a header is refused by the crate itself.
    ends().unwrap_or(true)
}

/// The tensor of a file that has the name of what it `holds`, as an array.
fn tensor(file: &Path, tensors: &SafeTensors<'_>, holds: Holds) -> Result<Array, DataError> {
    let name = holds.name();
    let Ok(tensor) = tensors.tensor(name) else {
        let mut names = tensors.names();
        names.sort_unstable();
        let expected = "`inputs` and `labels`: name them so when you save them";
        return Err(DataError::content(file, "the file", format!("the tensors {names:?}"), expected));
    };
    let kind = match tensor.dtype() {
        Dtype::BOOL => FileDtype::Bool,
        Dtype::U8 => FileDtype::U8,
        Dtype::U16 => FileDtype::U16,
        Dtype::U32 => FileDtype::U32,
        Dtype::U64 => FileDtype::U64,
        Dtype::I8 => FileDtype::I8,
        Dtype::I16 => FileDtype::I16,
        Dtype::I32 => FileDtype::I32,
        Dtype::I64 => FileDtype::I64,
        Dtype::F16 => FileDtype::F16,
        Dtype::BF16 => FileDtype::Bf16,
        Dtype::F32 => FileDtype::F32,
        Dtype::F64 => FileDtype::F64,
        other => {
            let expected = format!("bool, or an integer or a float of up to 64 bits: {}", holds.mended());
            return Err(DataError::content(file, name, format!("the type {other:?}"), expected));
        }
    };
    let values = memory::copied(tensor.data()).map_err(DataError::memory(file))?;
    Array::new(file, holds, kind, tensor.shape().to_vec(), values)
}

/// A file with eight tensors, each of the greatest length that the crate takes. Their sum with the header's length overflows.
/// It is for tests of this and other modules that read such files.
#[cfg(test)]
pub(crate) fn forged() -> Vec<u8> {
    let length = (1_u64 << 61) - 1;
    let tensors: Vec<String> = (0..8)
        .map(|index| {
            let (from, to) = (length * index, length * (index + 1));
            format!("\"t{index}\":{{\"dtype\":\"U8\",\"shape\":[{length}],\"data_offsets\":[{from},{to}]}}")
        })
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ::safetensors::tensor::{TensorView, serialize};

    use super::*;
    use crate::data::Targets;
    use crate::element::Element;

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: Some(9) };

    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        serialize(views.collect::<BTreeMap<_, _>>(), None).unwrap()
    }

    fn small() -> Vec<u8> {
        let floats = [0.5_f32, 1.5, 2.5, 3.5].map(f32::to_le_bytes).concat();
        file(&[("inputs", Dtype::F32, &[2, 2], &floats), ("labels", Dtype::U8, &[2], &[8, 0])])
    }

    fn refused(bytes: &[u8]) -> String {
        parse(Path::new("file"), bytes, SampleForm::default(), CLASSES).unwrap_err().to_string()
    }

    #[test]
    fn both_tensors_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        std::fs::write(&path, small()).unwrap();
        let loaded = load(&path, Some(&path), SampleForm::default(), CLASSES).unwrap();
        assert_eq!((loaded.train.encoding.element, &loaded.train.sample_shape[..]), (Element::F32, &[2][..]));
        assert_eq!(loaded.train.inputs.row(1).to_vec(), [2.5_f32, 3.5].map(f32::to_le_bytes).concat());
        assert_eq!(loaded.train.targets, Targets::classes(vec![8, 0], 9));
        assert_eq!(loaded.test.as_ref(), Some(&loaded.train));
        let values = load(&path, None, SampleForm::default(), Wanted::Values).unwrap();
        assert_eq!(values.train.targets, Targets::Values { values: vec![8.0, 0.0], width: 1 });
        assert_eq!(load(&dir.path().join("none"), None, SampleForm::default(), CLASSES).unwrap_err().exit_code(), 3);
    }

    /// `tests/reference/arrays.py` says what this file holds.
    #[test]
    fn a_file_of_the_python_library_is_read() {
        let bytes = include_bytes!("../../tests/reference/arrays/doubles.safetensors");
        let set = parse(Path::new("file"), bytes, SampleForm::default(), CLASSES).unwrap();
        assert_eq!((&set.sample_shape[..], set.targets), (&[1, 2, 3][..], Targets::classes(vec![2, 0, 1, 2], 0)));
        let due: Vec<u8> = (0..24).flat_map(|value| (value as f32 / 4.0).to_le_bytes()).collect();
        assert_eq!(set.inputs.into_raw_vec_and_offset().0, due);
    }

    #[test]
    fn missing_tensors_types_and_damage_are_told() {
        let error = refused(&file(&[("x", Dtype::U8, &[1], &[0]), ("inputs", Dtype::U8, &[1], &[0])]));
        assert!(error.contains("the tensors [\"inputs\", \"x\"], expected `inputs` and `labels`"), "{error}");
        let error = refused(&file(&[("labels", Dtype::U8, &[1], &[0]), ("inputs", Dtype::F8_E4M3, &[1], &[0])]));
        assert!(error.contains("inputs: the type F8_E4M3, expected bool"), "{error}");
        let whole = small();
        for length in 0..whole.len() {
            assert!(refused(&whole[..length]).starts_with("file, "), "cut to {length}");
        }
        assert!(refused(&[&whole[..], &[0]].concat()).contains("expected a whole .safetensors file"));
    }

    #[test]
    fn claims_beyond_the_file_are_refused() {
        assert!(refused(&forged()).contains("tensors that end beyond the file"));
    }
}
