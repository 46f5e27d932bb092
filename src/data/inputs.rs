//! Samples without targets, for a trained model: one array in a NumPy file.
//!
//! What the model takes is known, so nothing is guessed. Values must be of the model's type, or are converted to it as in
//! training. The array's shape must be that of a number of the model's samples, with channels where the training data had them.

use std::path::Path;

use ndarray::Array2;

use super::layout::channels_first;
use super::loaded::shown;
use super::{DataError, Dataset, Holds, Targets, gzip, npy};
use crate::element::{Element, Encoding, FileDtype, Layout};

/// Reads the samples of `file`, for a model whose samples have the shape `sample_shape` and the encoding `encoding`. They may
/// be (samples, ...) or (samples, values). `layout` says where the channels of images are in the file. If the samples go into
/// an embedding, it has a row for each token below `vocabulary`.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if the array is not what the
/// model takes.
pub fn load(
    file: &Path,
    encoding: Encoding,
    sample_shape: Vec<usize>,
    layout: Option<Layout>,
    vocabulary: Option<u32>,
) -> Result<Dataset, DataError> {
    let array = npy::parse(file, Holds::Inputs, gzip::read_file(file, gzip::MAX_OWN)?)?;
    let refused = |found: String, expected: String| DataError::content(file, Holds::Inputs.name(), found, expected);
    let kind = match encoding.element {
        Element::U8 => FileDtype::U8,
        Element::U16 => FileDtype::U16,
        Element::F32 => FileDtype::F32,
    };
    let features: usize = sample_shape.iter().product();
    let last = match (layout, &sample_shape[..]) {
        (Some(Layout::ChannelsLast), &[channels, height, width]) => Some([height, width, channels]),
        _ => None,
    };
    let form = last.map_or_else(|| sample_shape.clone(), |last| last.to_vec());
    let samples = match array.dims().split_first() {
        Some((samples, dims)) if dims == form || dims == [features] => u32::try_from(*samples).unwrap_or(0),
        _ => 0,
    };
    if samples == 0 {
        let as_said = if last.is_some() { ", as data.layout = \"channels_last\" says" } else { "" };
        let mend = mended(array.dims().get(1..).unwrap_or_default(), &form);
        let expected = format!(
            "samples of {}, which the model takes{as_said}, at least one, behind each other: (samples, ...){mend}",
            shown(&form)
        );
        return Err(refused(format!("the shape {}", shown(array.dims())), expected));
    }
    let found = array.kind();
    let Some(array) = array.converted(kind)? else {
        let expected = kind.name();
        let scaled = match kind {
            FileDtype::U8 if found.is_float() => {
                ", or numpy.rint(x * 255).astype(numpy.uint8) where x goes from 0 to 1"
            }
            _ => "",
        };
        let expected = format!("{expected}, which the model takes: save x.astype(numpy.{expected}){scaled}");
        return Err(refused(found.name().to_owned(), expected));
    };
    let value = encoding.element.bytes() as usize;
    let bytes = match last {
        Some(last) => channels_first(array.bytes(), last, value),
        None => array.into_bytes(),
    };
    let row = features * value;
    let inputs = Array2::from_shape_vec((samples as usize, row), bytes)
        .map_err(|error| refused(error.to_string(), format!("{samples} rows of {row} bytes")))?;
    let samples = Dataset { inputs, encoding, sample_shape, targets: Targets::none() };
    if let Some(vocabulary) = vocabulary {
        samples.known(file, vocabulary, "save such tokens as the model was trained on")?;
    }
    Ok(samples)
}

/// Advice how NumPy turns samples of the dimensions `found` into those of `form`. Empty if there is no plain way.
fn mended(found: &[usize], form: &[usize]) -> String {
    let long = |dims: &[usize]| dims.iter().copied().filter(|dim| *dim != 1).collect::<Vec<usize>>();
    match (found, form) {
        (&[height, width, channels], _) if form == [channels, height, width] => {
            ": for channels first save x.transpose(0, 3, 1, 2)".to_owned()
        }
        (&[channels, height, width], _) if form == [height, width, channels] => {
            ": for channels last save x.transpose(0, 2, 3, 1)".to_owned()
        }
        _ if found != form && long(found) == long(form) => {
            let dims: Vec<String> = form.iter().map(usize::to_string).collect();
            format!(": save x.reshape(-1, {})", dims.join(", "))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::npy::encode;
    use super::*;

    fn laid_out(bytes: &[u8], layout: Option<Layout>) -> Result<Dataset, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.npy");
        std::fs::write(&file, bytes).unwrap();
        load(&file, Encoding::scaled(Element::U8, 1.0), vec![3, 2, 4], layout, None)
            .map_err(|error| error.to_string())
    }

    fn loaded(bytes: &[u8], element: Element, shape: &[usize], rows: Option<u32>) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.npy");
        std::fs::write(&file, bytes).unwrap();
        load(&file, Encoding::scaled(element, 1.0), shape.to_vec(), None, rows)
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
            "x.npy, inputs: float32, expected uint8, which the model takes: save x.astype(numpy.uint8), or numpy.rint(x * \
             255).astype(numpy.uint8) where x goes from 0 to 1"
        );
        assert_eq!(
            image("|u1", &[2, 3, 2], &[0; 12]),
            "x.npy, inputs: the shape (2, 3, 2), expected samples of (1, 2, 3), which the model takes, at least one, behind each \
             other: (samples, ...)"
        );
        assert!(image("|u1", &[2, 2, 3], &[0; 12]).ends_with("(samples, ...): save x.reshape(-1, 1, 2, 3)"));
        assert!(
            image("|u1", &[2, 2, 3, 1], &[0; 12])
                .ends_with("(samples, ...): for channels first save x.transpose(0, 3, 1, 2)")
        );
        assert!(image("|u1", &[], &[0]).contains("the shape (), expected samples of (1, 2, 3)"));
        assert!(
            image("|u1", &[0, 6], &[])
                .contains("the shape (0, 6), expected samples of (1, 2, 3), which the model takes, at")
        );
        assert!(image("|u1", &[1 << 33, 0], &[]).contains("the shape (8589934592, 0)"));
        assert!(image("|u1", &[2, 6], &[0; 11]).contains("11 bytes of values, expected 12"));
        let file = Path::new("/no/such/file");
        assert_eq!(load(file, Encoding::scaled(Element::U8, 1.0), vec![1], None, None).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn what_is_no_finite_number_is_named() {
        for (number, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let floats: Vec<u8> = [0.0, 1.0, number, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
            let error = refused(&encode("<f4", &[2, 2], &floats), Element::F32, &[2], None);
            assert_eq!(
                error,
                format!("x.npy, inputs, value 0 of sample 1: {shown}, expected a finite number that an f32 holds")
            );
        }
    }

    #[test]
    fn values_become_what_they_became_in_training() {
        let doubles = encode("<f8", &[1, 2], &[0.5_f64, -1.0].map(f64::to_le_bytes).concat());
        let set = loaded(&doubles, Element::F32, &[2], None).unwrap();
        assert_eq!(set.inputs.into_raw_vec_and_offset().0, [0.5_f32, -1.0].map(f32::to_le_bytes).concat());
        let longs = |last: i64| encode("<i8", &[1, 2], &[1, last].map(i64::to_le_bytes).concat());
        assert_eq!(loaded(&longs(2), Element::U16, &[2], Some(3)).unwrap().inputs, ndarray::array![[1, 0, 2, 0]]);
        assert!(
            refused(&longs(-1), Element::U16, &[2], Some(3)).contains("value 1 of sample 0: -1, expected a token")
        );
        assert!(
            refused(&longs(3), Element::U16, &[2], Some(3))
                .contains("value 1 of sample 0: 3, expected a whole number from 0 to 2")
        );
        assert!(
            refused(&longs(1), Element::U8, &[2], Some(3))
                .contains("int64, expected uint8, which the model takes: save")
        );
    }

    #[test]
    fn channels_stand_where_they_stood_in_training() {
        let values: Vec<u8> = (0..24).collect();
        let turned: Vec<u8> = (0..24).map(|at| at % 8 * 3 + at / 8).collect();
        let last = Some(Layout::ChannelsLast);
        for dims in [&[1, 2, 4, 3][..], &[1, 24]] {
            let set = laid_out(&encode("|u1", dims, &values), last).unwrap();
            assert_eq!((set.sample_shape, set.inputs.into_raw_vec_and_offset().0), (vec![3, 2, 4], turned.clone()));
        }
        for layout in [None, Some(Layout::ChannelsFirst)] {
            let set = laid_out(&encode("|u1", &[1, 3, 2, 4], &values), layout).unwrap();
            assert_eq!(set.inputs.into_raw_vec_and_offset().0, values);
        }
        let error = laid_out(&encode("|u1", &[1, 3, 2, 4], &values), last).unwrap_err();
        assert!(
            error.contains(
                "expected samples of (2, 4, 3), which the model takes, as data.layout = \"channels_last\" says"
            ),
            "{error}"
        );
        assert!(error.ends_with(": for channels last save x.transpose(0, 2, 3, 1)"), "{error}");
        let error = laid_out(&encode("|u1", &[1, 2, 4, 3], &values), None).unwrap_err();
        assert!(error.ends_with(": for channels first save x.transpose(0, 3, 1, 2)"), "{error}");
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
