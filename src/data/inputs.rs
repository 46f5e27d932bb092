//! Samples without targets, for a model that is trained: one array of a NumPy file.
//!
//! What the model takes is known, so nothing is converted: the array's type is the model's, and its shape is that of as many
//! samples.

use std::path::Path;

use ndarray::Array2;

use super::loaded::shown;
use super::{DataError, Dataset, Kind, Targets, gzip, npy};
use crate::element::{Element, Encoding};

/// What the array is called in errors.
const NAME: &str = "inputs";

/// Reads the samples of `file` for a model that takes samples of `sample_shape` as `encoding` has them; where they go
/// into an embedding, it has a row for each token below `vocabulary`. They may stand as (samples, ...) or as (samples, values).
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`], [`DataError::Content`].
pub fn load(
    file: &Path,
    encoding: Encoding,
    sample_shape: Vec<usize>,
    vocabulary: Option<u32>,
) -> Result<Dataset, DataError> {
    let array = npy::parse(file, NAME, gzip::read_file(file, gzip::MAX_OWN)?)?;
    let refused = |found: String, expected: String| DataError::content(file, NAME, found, expected);
    let kind = match encoding.element {
        Element::U8 => Kind::U8,
        Element::U16 => Kind::U16,
        Element::F32 => Kind::F32,
    };
    if array.kind() != kind {
        let (found, expected) = (array.kind().name(), kind.name());
        let expected = format!("{expected}, which the model takes: save x.astype(numpy.{expected})");
        return Err(refused(found.to_owned(), expected));
    }
    let features: usize = sample_shape.iter().product();
    let samples = match array.dims().split_first() {
        Some((samples, dims)) if dims == sample_shape || dims == [features] => u32::try_from(*samples).unwrap_or(0),
        _ => 0,
    };
    if samples == 0 {
        let form = shown(&sample_shape);
        let expected =
            format!("samples of {form}, which the model takes, at least one, behind each other: (samples, ...)");
        return Err(refused(format!("the shape {}", shown(array.dims())), expected));
    }
    if encoding.element == Element::F32 {
        let numbers = array.bytes().as_chunks().0.iter().map(|number| f32::from_le_bytes(*number));
        if let Some((index, number)) = numbers.enumerate().find(|(_, number)| !number.is_finite()) {
            let place = format!("value {} of sample {}", index % features, index / features);
            return Err(DataError::content(file, place, number.to_string(), "a finite number"));
        }
    }
    let row = features * encoding.element.bytes() as usize;
    let inputs = Array2::from_shape_vec((samples as usize, row), array.into_bytes())
        .map_err(|error| refused(error.to_string(), format!("{samples} rows of {row} bytes")))?;
    let samples = Dataset { inputs, encoding, sample_shape, targets: Targets::none() };
    if let Some(vocabulary) = vocabulary {
        samples.known(file, vocabulary, "save such tokens as the model was trained on")?;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::npy::encode;
    use super::*;

    fn loaded(bytes: &[u8], element: Element, shape: &[usize], rows: Option<u32>) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.npy");
        std::fs::write(&file, bytes).unwrap();
        load(&file, Encoding::scaled(element, 1.0), shape.to_vec(), rows)
    }

    fn refused(bytes: &[u8], element: Element, shape: &[usize], rows: Option<u32>) -> String {
        let error = loaded(bytes, element, shape, rows).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        error[error.find("x.npy").unwrap()..].to_owned()
    }

    #[test]
    fn samples_stand_in_their_shape_or_in_rows() {
        let values: Vec<u8> = (0..12).collect();
        for dims in [&[2, 1, 2, 3][..], &[2, 6]] {
            let set = loaded(&encode("|u1", dims, &values), Element::U8, &[1, 2, 3], None).unwrap();
            assert_eq!((set.samples(), set.features(), set.sample_shape.as_slice()), (2, 6, &[1, 2, 3][..]));
            assert!(set.inputs.iter().copied().eq(values.iter().copied()));
            assert_eq!(set.targets.samples(), 0);
        }
        let floats: Vec<u8> = [0.5_f32, -1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let set = loaded(&encode("<f4", &[1, 2], &floats), Element::F32, &[2], None).unwrap();
        assert!(set.inputs.iter().eq(&floats));
    }

    #[test]
    fn what_the_model_does_not_take_is_refused() {
        let image = |descr, dims: &[usize], values: &[u8]| {
            refused(&encode(descr, dims, values), Element::U8, &[1, 2, 3], None)
        };
        assert_eq!(
            image("<f4", &[1, 6], &[0; 24]),
            "x.npy, inputs: float32, expected uint8, which the model takes: save x.astype(numpy.uint8)"
        );
        assert_eq!(
            image("|u1", &[2, 3, 2], &[0; 12]),
            "x.npy, inputs: the shape (2, 3, 2), expected samples of (1, 2, 3), which the model takes, at least one, behind each \
             other: (samples, ...)"
        );
        assert!(image("|u1", &[], &[0]).contains("the shape (), expected samples of (1, 2, 3)"));
        assert!(
            image("|u1", &[0, 6], &[])
                .contains("the shape (0, 6), expected samples of (1, 2, 3), which the model takes, at")
        );
        assert!(image("|u1", &[1 << 33, 0], &[]).contains("the shape (8589934592, 0)"));
        assert!(image("|u1", &[2, 6], &[0; 11]).contains("11 bytes of values, expected 12"));
        let file = Path::new("/no/such/file");
        assert_eq!(load(file, Encoding::scaled(Element::U8, 1.0), vec![1], None).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn what_is_no_finite_number_is_named() {
        for (number, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let floats: Vec<u8> = [0.0, 1.0, number, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
            let error = refused(&encode("<f4", &[2, 2], &floats), Element::F32, &[2], None);
            assert_eq!(error, format!("x.npy, value 0 of sample 1: {shown}, expected a finite number"));
        }
    }

    #[test]
    fn tokens_that_the_model_does_not_know_are_named() {
        let tokens = |last: u8| encode("<u2", &[2, 2], &[0, 0, 1, 0, 2, 0, last, 0]);
        assert!(loaded(&tokens(2), Element::U16, &[2], Some(3)).is_ok());
        let expected = "expected a whole number from 0 to 2, for which the embedding has a row: save such tokens as the model was \
                        trained on";
        assert_eq!(
            refused(&tokens(3), Element::U16, &[2], Some(3)),
            format!("x.npy, value 1 of sample 1: 3, {expected}")
        );
        let floats = |last: f32| encode("<f4", &[2, 2], &[0.0, 1.0, 2.0, last].map(f32::to_le_bytes).concat());
        assert!(loaded(&floats(2.0), Element::F32, &[2], Some(3)).is_ok());
        for (last, shown) in [(3.0, "3"), (0.5, "0.5"), (-1.0, "-1"), (1e9, "1000000000")] {
            let found = refused(&floats(last), Element::F32, &[2], Some(3));
            assert_eq!(found, format!("x.npy, value 1 of sample 1: {shown}, {expected}"));
        }
        assert!(
            refused(&encode("|u1", &[1, 2], &[2, 3]), Element::U8, &[2], Some(3))
                .starts_with("x.npy, value 1 of sample 0: 3")
        );
    }
}
