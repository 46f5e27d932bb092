//! Makes samples out of two arrays, one of inputs and one of labels.

use ndarray::Array2;

use super::array::{Array, Takes};
use super::layout::{channels_first, seems_last};
use super::loaded::shown;
use super::{DataError, Dataset, Wanted};
use crate::element::Layout;

/// Most dimensions of a sample.
const DIMS: usize = 3;

/// What a job says of the samples, where the arrays do not say it themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleForm<'a> {
    /// The shape of a sample. `None`: all dimensions of the array behind the first.
    pub shape: Option<&'a [u32]>,
    /// The factor that bytes are multiplied by. `None`: 1/255. Only bytes may have one.
    pub scale: Option<f64>,
    /// Where the channels of images are in the file. `None`: the job does not say.
    pub layout: Option<Layout>,
    /// What the network takes a sample for.
    pub takes: Takes,
}

/// Makes samples of `inputs` (samples, ...) and `labels`, which is (samples) or (samples, ...).
///
/// # Errors
/// [`DataError::Content`] if types, dimensions or values are not what is wanted; [`DataError::Unfit`] if the layout does not
/// fit the samples.
pub(super) fn samples(
    inputs: Array,
    labels: &Array,
    form: SampleForm<'_>,
    wanted: Wanted,
) -> Result<Dataset, DataError> {
    let (count, features) = inputs.samples()?;
    let (labelled, width) = labels.samples()?;
    if labelled != count {
        let expected = format!("{count}, one for each sample of {}", inputs.file().display());
        return Err(labels.refused(format!("labels of {labelled} samples"), expected));
    }
    let StoredShape { sample_shape, last } = StoredShape::of(&inputs, features, form)?;
    let targets = labels.labels(width, wanted)?;
    let unshaped = inputs.refused("its values", "rows of one length");
    let (encoding, mut bytes) = inputs.inputs(form.scale, form.takes)?;
    let value = encoding.element.bytes() as usize;
    if let Some(dims) = last {
        bytes = channels_first(&bytes, dims, value);
    }
    let inputs = Array2::from_shape_vec((count, features * value), bytes).map_err(|_| unshaped)?;
    Ok(Dataset { inputs, encoding, sample_shape, targets })
}

/// How samples are stored in a file.
struct StoredShape {
    /// The shape of a sample, with channels first.
    sample_shape: Vec<usize>,
    /// (height, width, channels), if channels come last in the file.
    last: Option<[usize; 3]>,
}

impl StoredShape {
    /// Finds how samples of `features` values are stored in `inputs`.
    fn of(inputs: &Array, features: usize, form: SampleForm<'_>) -> Result<Self, DataError> {
        let own = match &inputs.dims()[1..] {
            [] => &[1],
            dims => dims,
        };
        let named: Option<Vec<usize>> = form.shape.map(|shape| shape.iter().map(|dim| *dim as usize).collect());
        let sample_shape = named.clone().unwrap_or_else(|| own.to_vec());
        if sample_shape.iter().try_fold(1_usize, |values, dim| values.checked_mul(*dim)) != Some(features) {
            let expected = format!("as many as in data.shape, {}", shown(&sample_shape));
            return Err(inputs.refused(format!("{features} values a sample"), expected));
        }
        if form.layout == Some(Layout::ChannelsLast) {
            return Self::turned(own, named.as_deref());
        }
        if form.layout.is_none() && form.takes == Takes::Image && (seems_last(own) || seems_last(&sample_shape)) {
            let dims = if seems_last(own) { own } else { &sample_shape };
            let expected = format!(
                "(channels, height, width): say which it is, data.layout = \"channels_last\"{} for (height, width, channels), \
                 or data.layout = \"channels_first\" where they are as they should be",
                behind(dims, named.as_deref())
            );
            return Err(inputs.refused(format!("images {}, which look like channels last", shown(dims)), expected));
        }
        if sample_shape.len() > DIMS {
            let (last, first) = (sample_shape.len() - 2, &sample_shape[..sample_shape.len() - 2]);
            let shape: Vec<String> = std::iter::once(first.iter().product::<usize>())
                .chain(sample_shape[last..].iter().copied())
                .map(|dim| dim.to_string())
                .collect();
            let expected = format!("at most three dimensions a sample: write data.shape, as [{}]", shape.join(", "));
            return Err(inputs.refused(format!("samples {}", shown(&sample_shape)), expected));
        }
        Ok(Self { sample_shape, last: None })
    }

    /// How samples are stored if channels come last: in the array's `own` dimensions, or, if a sample is one row of values
    /// there, in the shape `named` that the job gives.
    fn turned(own: &[usize], named: Option<&[usize]>) -> Result<Self, DataError> {
        let refused = |found: String, expected: String| Err(DataError::Unfit { key: "layout", found, expected });
        let last = match (own, named) {
            (&[height, width, channels], _) | (&[_], Some(&[channels, height, width])) => [height, width, channels],
            _ => {
                let expected = "(height, width, channels), as \"channels_last\" says, or rows of values with data.shape = \
                                [channels, height, width]: leave it out for other samples";
                return refused(format!("samples {}", shown(own)), expected.to_owned());
            }
        };
        let [height, width, channels] = last;
        let sample_shape = vec![channels, height, width];
        match named {
            Some(shape) if shape != sample_shape => {
                let expected =
                    format!("{}, the shape behind \"channels_last\", or no data.shape", shown(&sample_shape));
                refused(format!("data.shape {}", shown(shape)), expected)
            }
            _ => Ok(Self { sample_shape, last: Some(last) }),
        }
    }
}

/// The words that name the `data.shape` to write beside the layout, if the job has `named` another. `dims` are an image's
/// (height, width, channels).
fn behind(dims: &[usize], named: Option<&[usize]>) -> String {
    match (dims, named) {
        (&[height, width, channels], Some(shape)) if shape != [channels, height, width] => {
            format!(" with data.shape = [{channels}, {height}, {width}]")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use half::{bf16, f16};

    use super::*;
    use crate::data::{Holds, IGNORED, Targets};
    use crate::element::{Element, Encoding, FileDtype};

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: None };

    fn array(name: &str, kind: FileDtype, dims: &[usize], bytes: &[u8]) -> Array {
        let holds = if name == "inputs" { Holds::Inputs } else { Holds::Classes };
        Array::new(Path::new("file"), holds, kind, dims.to_vec(), bytes.to_vec()).unwrap()
    }

    fn bytes(dims: &[usize]) -> Array {
        array("inputs", FileDtype::U8, dims, &(0..dims.iter().product::<usize>() as u8).collect::<Vec<u8>>())
    }

    fn two() -> Array {
        array("labels", FileDtype::I16, &[2], &[1, 0, 0, 0])
    }

    fn made(inputs: Array, labels: &Array, wanted: Wanted) -> Result<Dataset, DataError> {
        samples(inputs, labels, SampleForm::default(), wanted)
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
        let set = made(array("inputs", FileDtype::U16, &[2, 1], &[1, 2, 3, 4]), &two(), CLASSES).unwrap();
        assert_eq!((set.sample_shape, set.encoding), (vec![1], Encoding::scaled(Element::U16, 1.0)));
        assert_eq!(set.inputs, ndarray::array![[1, 2], [3, 4]]);
        let ones: [(FileDtype, Vec<u8>); 4] = [
            (FileDtype::F16, [0.5, -2.0].map(|one| f16::from_f64(one).to_le_bytes()).concat()),
            (FileDtype::Bf16, [0.5, -2.0].map(|one| bf16::from_f64(one).to_le_bytes()).concat()),
            (FileDtype::F32, [0.5_f32, -2.0].map(f32::to_le_bytes).concat()),
            (FileDtype::F64, [0.5_f64, -2.0].map(f64::to_le_bytes).concat()),
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
        let error = refused(array("inputs", FileDtype::F64, &[2, 2], &floats), &two(), CLASSES);
        assert_eq!(error, "file, inputs, value 1 of sample 1: NaN, expected a finite number that an f32 holds");
        let floats: Vec<u8> = [0.0, 1e39].map(f64::to_le_bytes).concat();
        let error = refused(array("inputs", FileDtype::F64, &[2], &floats), &two(), CLASSES);
        assert!(error.starts_with("file, inputs, sample 1: 1000000"), "{error}");
        let error = refused(array("inputs", FileDtype::I64, &[2], &[0; 16]), &two(), CLASSES);
        assert!(
            error.contains("inputs: int64, expected floats, or uint8, which are scaled: save them with"),
            "{error}"
        );
    }

    #[test]
    fn a_shape_and_a_scale_may_be_named() {
        let form = SampleForm { shape: Some(&[2, 1, 2]), scale: Some(0.5), ..SampleForm::default() };
        let set = samples(bytes(&[2, 4]), &two(), form, CLASSES).unwrap();
        assert_eq!((set.sample_shape, set.encoding), (vec![2, 1, 2], Encoding::scaled(Element::U8, 0.5)));
        let error = |inputs: Array, form| samples(inputs, &two(), form, CLASSES).unwrap_err().to_string();
        let shape = |shape| SampleForm { shape: Some(shape), ..SampleForm::default() };
        assert_eq!(
            error(bytes(&[2, 4]), shape(&[3, 2])),
            "file, inputs: 4 values a sample, expected as many as in data.shape, (3, 2)"
        );
        assert!(error(bytes(&[2, 4]), shape(&[u32::MAX, u32::MAX, u32::MAX])).contains("data.shape"));
        assert!(error(bytes(&[2, 1, 2, 1, 3]), SampleForm::default()).contains(
            "samples (1, 2, 1, 3), expected at most three dimensions a sample: write data.shape, as [2, 1, 3]"
        ));
        let words = array("inputs", FileDtype::U16, &[2], &[0; 4]);
        assert!(error(words, form).contains("data.shape"));
        let words = array("inputs", FileDtype::U16, &[2, 4], &[0; 16]);
        assert!(
            error(words, form).contains("uint16, expected uint8, as data.scale = 0.5 is for: leave it out, and save")
        );
        let floats = array("inputs", FileDtype::F32, &[2, 4], &[0; 32]);
        assert!(
            error(floats, form)
                .contains("float32, expected uint8, as data.scale = 0.5 is for: leave it out, or take data.std = 2")
        );
        // An error that leaving out the scale does not mend is told first.
        let whole = array("inputs", FileDtype::I32, &[2, 4], &[0; 32]);
        assert!(error(whole, form).contains("int32, expected floats"));
    }

    #[test]
    fn whole_numbers_are_tokens_for_a_network_that_takes_tokens() {
        let form = SampleForm { takes: Takes::Tokens, ..SampleForm::default() };
        let of = |kind, values: &[u8]| samples(array("inputs", kind, &[2, 2], values), &two(), form, CLASSES);
        let longs = [3_i64, 0, 65_535, 7].map(i64::to_le_bytes).concat();
        let set = of(FileDtype::I64, &longs).unwrap();
        assert_eq!(
            (set.encoding, set.inputs),
            (Encoding::scaled(Element::U16, 1.0), ndarray::array![[3, 0, 0, 0], [255, 255, 7, 0]])
        );
        for bad in [-1_i32, 65_536] {
            let values = [3, 0, bad, 7].map(i32::to_le_bytes).concat();
            let error = of(FileDtype::I32, &values).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("file, inputs, value 0 of sample 1: {bad}, expected a token, a whole number from 0 to 65535")
            );
        }
        assert!(
            of(FileDtype::Bool, &[0; 4])
                .unwrap_err()
                .to_string()
                .contains("bool, expected whole numbers, which are tokens")
        );
    }

    /// Two images of 3x4 pixels with one channel, which comes last.
    fn last() -> Array {
        bytes(&[2, 3, 4, 1])
    }

    #[test]
    fn images_with_channels_last_are_told_and_turned() {
        let image = SampleForm { takes: Takes::Image, ..SampleForm::default() };
        let made = |inputs: Array, form| samples(inputs, &two(), form, CLASSES).map_err(|error| error.to_string());
        assert_eq!(
            made(last(), image).unwrap_err(),
            "file, inputs: images (3, 4, 1), which look like channels last, expected (channels, height, width): say which it is, \
             data.layout = \"channels_last\" for (height, width, channels), or data.layout = \"channels_first\" where they are as \
             they should be"
        );
        // A shape without a layout rearranges nothing.
        let shape = |shape: &'static [u32], layout| SampleForm { shape: Some(shape), layout, ..image };
        assert!(made(last(), shape(&[1, 3, 4], None)).unwrap_err().contains("\"channels_last\" for (height,"));
        assert_eq!(made(bytes(&[2, 18]), shape(&[3, 3, 2], None)).unwrap().sample_shape, [3, 3, 2]);
        let pixels = || bytes(&[2, 4, 5, 3]);
        let error = made(bytes(&[2, 60]), shape(&[4, 5, 3], None)).unwrap_err();
        assert!(
            error.contains("\"channels_last\" with data.shape = [3, 4, 5] for (height, width, channels)"),
            "{error}"
        );
        // If the network does not take them for images, their order does not matter.
        assert_eq!(made(pixels(), SampleForm::default()).unwrap().sample_shape, [4, 5, 3]);

        let turned = SampleForm { layout: Some(Layout::ChannelsLast), ..image };
        let set = made(pixels(), turned).unwrap();
        assert_eq!(set.sample_shape, [3, 4, 5]);
        let green: Vec<u8> = (0..20).map(|place| 60 + 3 * place + 1).collect();
        assert_eq!(set.inputs.row(1).as_slice().unwrap()[20..40], green);
        for rows in [
            shape(&[3, 4, 5], turned.layout),
            SampleForm { takes: Takes::Numbers, ..shape(&[3, 4, 5], turned.layout) },
        ] {
            assert_eq!(made(bytes(&[2, 60]), rows).unwrap(), set);
            assert_eq!(made(pixels(), rows).unwrap(), set);
        }
        let first = SampleForm { layout: Some(Layout::ChannelsFirst), ..image };
        assert_eq!(made(pixels(), first).unwrap().inputs.row(1)[0], 60);
        let error = made(pixels(), shape(&[4, 5, 3], turned.layout)).unwrap_err();
        assert_eq!(
            error,
            "data.layout: data.shape (4, 5, 3), expected (3, 4, 5), the shape behind \"channels_last\", or no data.shape"
        );
        let error = made(bytes(&[2, 60]), turned).unwrap_err();
        assert!(error.starts_with("data.layout: samples (60), expected (height, width, channels)"), "{error}");
    }

    #[test]
    fn labels_are_what_the_loss_wants() {
        let labels = array("labels", FileDtype::I64, &[2, 2], &[3, -100, 0, 4].map(i64::to_le_bytes).concat());
        let wanted = |ignored, classes| Wanted::Classes { ignored, classes };
        let set = made(bytes(&[2]), &labels, wanted(Some(-100), Some(5))).unwrap();
        assert_eq!(set.targets, Targets::Classes { labels: vec![3, IGNORED, 0, 4], places: 2, classes: 0 });
        assert_eq!(
            refused(bytes(&[2]), &labels, CLASSES),
            "file, labels, value 1 of sample 0: -100, expected a class, a whole number from 0 to 999999: number classes from 0 up, or, \
             where -100 counts for nothing, write train.loss = { kind = \"cross_entropy\", ignore_index = -100 }"
        );
        let error = refused(bytes(&[2]), &labels, wanted(Some(-100), Some(4)));
        assert!(error.contains(
            "value 1 of sample 1: 4, expected a class, a whole number from 0 to 3, or -100, which is ignored"
        ));
        let set = made(bytes(&[2]), &labels, Wanted::Values).unwrap();
        assert_eq!(set.targets, Targets::Values { values: vec![3.0, -100.0, 0.0, 4.0], width: 2 });

        let floats = array("labels", FileDtype::F32, &[2], &[0.5_f32, f32::INFINITY].map(f32::to_le_bytes).concat());
        let error = refused(bytes(&[2]), &floats, CLASSES);
        assert!(
            error.contains("labels, sample 0: 0.5, expected a class, a whole number from 0 to 999999; where"),
            "{error}"
        );
        let whole = array("labels", FileDtype::F64, &[2], &[3.0, -100.0].map(f64::to_le_bytes).concat());
        let set = made(bytes(&[2]), &whole, wanted(Some(-100), Some(5))).unwrap();
        assert_eq!(set.targets, Targets::classes(vec![3, IGNORED], 0));
        assert!(refused(bytes(&[2]), &floats, Wanted::Values).contains("labels, sample 1: inf, expected a finite"));
        let halves = array("labels", FileDtype::F32, &[2], &[0.5_f32, 1.5].map(f32::to_le_bytes).concat());
        assert!(
            refused(bytes(&[2]), &halves, Wanted::Chances)
                .contains("labels, sample 1: 1.5, expected a number from 0 to 1")
        );
        let bools = array("labels", FileDtype::Bool, &[2], &[0, 1]);
        assert_eq!(made(bytes(&[2]), &bools, CLASSES).unwrap().targets, Targets::classes(vec![0, 1], 0));
        let large = array("labels", FileDtype::U64, &[2], &[0xff; 16]);
        assert!(refused(bytes(&[2]), &large, CLASSES).contains("18446744073709551615"));
    }

    #[test]
    fn every_type_of_labels_is_read() {
        let kinds: [(FileDtype, Vec<u8>); 8] = [
            (FileDtype::U8, vec![1, 0]),
            (FileDtype::I8, vec![1, 0]),
            (FileDtype::U16, [1_u16, 0].map(u16::to_le_bytes).concat()),
            (FileDtype::I16, [1_i16, 0].map(i16::to_le_bytes).concat()),
            (FileDtype::U32, [1_u32, 0].map(u32::to_le_bytes).concat()),
            (FileDtype::I32, [1_i32, 0].map(i32::to_le_bytes).concat()),
            (FileDtype::U64, [1_u64, 0].map(u64::to_le_bytes).concat()),
            (FileDtype::I64, [1_i64, 0].map(i64::to_le_bytes).concat()),
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
            let inputs = array("inputs", FileDtype::U8, dims, &vec![0; dims.iter().product()]);
            assert!(refused(inputs, &two(), CLASSES).contains("at least one sample of one value"), "{dims:?}");
        }
        let none = array("labels", FileDtype::F32, &[2, 0], &[]);
        assert!(refused(bytes(&[2]), &none, CLASSES).contains("labels: (2, 0), expected at least one"));
        let error = |dims: &[usize], bytes: usize| {
            Array::new(Path::new("file"), Holds::Inputs, FileDtype::F32, dims.to_vec(), vec![0; bytes])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&[2, 3], 23),
            "file, inputs: 23 bytes of values, expected 24 for (2, 3) of float32: save it again"
        );
        assert!(error(&[usize::MAX, 2], 23).contains("more than there can be"));
        assert!(error(&[usize::MAX, 0], 23).contains("23 bytes"));
    }
}
