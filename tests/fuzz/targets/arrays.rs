//! Tables and arrays: CSV, .npy, .npz, safetensors. Of what is accepted every sample is whole, every input finite, every
//! label a class or a finite number.
//!
//! An input's first byte says what is asked of it: a format in its lower two bits, then whether numbers are wanted as
//! labels, whether there is a shape, whether a scale, whether the channels of images stand last and, in the highest two, what the
//! network takes a sample for; of a table, whether a column without a name is left out.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mixnn::data::{Choice, Dataset, Holds, IGNORED, SampleForm, Takes, Targets, Wanted, csv, npy, npz, safetensors};
use mixnn::element::{Element, Layout};

/// One more than the largest class.
const CLASSES: u32 = 10;

fuzz_target!(|bytes: &[u8]| {
    let Some((&asked, bytes)) = bytes.split_first() else { return };
    let is_set = |bit: u8| asked >> bit & 1 == 1;
    let wanted =
        if is_set(2) { Wanted::Values } else { Wanted::Classes { ignored: Some(-100), classes: Some(CLASSES) } };
    let takes = [Takes::Numbers, Takes::Image, Takes::Tokens, Takes::Numbers][usize::from(asked >> 6)];
    let form = SampleForm {
        shape: is_set(3).then_some(&[2, 3]),
        scale: is_set(4).then_some(0.5),
        layout: is_set(5).then_some(Layout::ChannelsLast),
        takes,
    };
    let (labels, nameless) = (["y".to_owned()], [String::new()]);
    let drop = if is_set(6) { &nameless[..] } else { &[] };
    let file = Path::new("fuzzed");
    let read = match asked & 3 {
        0 => csv::parse(file, bytes, Choice { labels: &labels, inputs: None, drop }, form.shape, wanted).map(
            |(names, set)| {
                assert_eq!(names.len(), set.features());
                set
            },
        ),
        1 => npz::parse(file, bytes, form, wanted),
        2 => safetensors::parse(file, bytes, form, wanted),
        _ => {
            if let Ok(array) = npy::parse(file, Holds::Inputs, bytes.to_vec()) {
                let values: usize = array.dims().iter().product();
                assert!(values * array.kind().bytes() < bytes.len());
            }
            return;
        }
    };
    match read {
        Ok(set) => holds(&set),
        Err(error) => {
            let text = error.to_string();
            let is_placed = text.starts_with("fuzzed, ") || text.starts_with("data.layout: ");
            assert!(is_placed && text.contains(", expected "), "{text}");
        }
    }
});

fn holds(set: &Dataset) {
    let (samples, features) = (set.samples(), set.features());
    assert!(samples > 0 && features > 0 && (1..=3).contains(&set.sample_shape.len()));
    assert_eq!(set.bytes(), features * set.encoding.element.bytes() as usize);
    assert!(set.encoding.fits(features as u32));
    assert_eq!(set.targets.samples(), samples);
    match &set.targets {
        Targets::Classes { labels, places, .. } => {
            assert_eq!(labels.len(), samples * places);
            assert!(labels.iter().all(|label| *label < CLASSES || *label == IGNORED));
        }
        Targets::Values { values, width } => {
            assert_eq!(values.len(), samples * width);
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
    if set.encoding.element == Element::F32 {
        let bytes: Vec<u8> = set.inputs.iter().copied().collect();
        assert!(bytes.as_chunks().0.iter().all(|word| f32::from_le_bytes(*word).is_finite()));
    }
}
