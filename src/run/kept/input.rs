//! What a trained model takes in. It is kept beside the model's values, so that who has the model needs no data to use
//! it.

use serde::{Deserialize, Serialize};

use crate::element::{Element, Encoding};
use crate::job::Shape;
use crate::nn::StageSpec;

/// The key under which the model file's metadata has it.
pub(in crate::run) const KEY: &str = "mixnn.input";

/// What goes into a model: one sample, as the model file's JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::run) struct Input {
    /// The shape of a sample.
    pub(in crate::run) shape: Shape,
    /// How a value of a sample is stored.
    element: Element,
    /// By what each of the sample's equal parts is multiplied. These are f32 written as f64: the digits in JSON then
    /// give the same bits.
    scale: Vec<f64>,
    /// What is added to each of the sample's equal parts after that: f32 written as f64, too.
    shift: Vec<f64>,
}

impl Input {
    /// What goes into the stage of `spec`. `None` where another stage's output goes in.
    pub(in crate::run) fn of(spec: &StageSpec) -> Option<Self> {
        let Encoding { element, scale, shift } = spec.data.as_ref()?;
        let exact = |numbers: &[f32]| numbers.iter().copied().map(f64::from).collect();
        Some(Self { shape: spec.input.clone(), element: *element, scale: exact(scale), shift: exact(shift) })
    }

    /// Reads what [`json`](Input::json) wrote.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub(in crate::run) fn parse(text: &str) -> Result<Self, String> {
        let input: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match input.shape.fits() && input.encoding().fits(input.shape.values()) {
            true => Ok(input),
            false => Err(format!("{text} is no sample's shape, scale and shift")),
        }
    }

    /// Writes what a model takes as JSON.
    pub(in crate::run) fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// How the values of a sample become the numbers that the network computes with.
    pub(in crate::run) fn encoding(&self) -> Encoding {
        let single = |numbers: &[f64]| numbers.iter().map(|number| *number as f32).collect();
        Encoding { element: self.element, scale: single(&self.scale), shift: single(&self.shift) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_encoding_survives() {
        let scale: Vec<f32> = (1..4000).map(|i| 1.0 / (i as f32)).chain([f32::MIN_POSITIVE, f32::MAX]).collect();
        let shift = vec![-0.1; scale.len()];
        let encoding = Encoding { element: Element::U8, scale, shift };
        let exact = |numbers: &[f32]| numbers.iter().copied().map(f64::from).collect();
        let shape = Shape::new([1, encoding.scale.len() as u32]);
        let input =
            Input { shape, element: Element::U8, scale: exact(&encoding.scale), shift: exact(&encoding.shift) };
        let read = Input::parse(&input.json().unwrap()).unwrap();
        assert_eq!((read.encoding(), &read.shape), (encoding, &input.shape));
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        let good = r#"{"shape":[1,8,8],"element":"uint8","scale":[0.0625],"shift":[0.0]}"#;
        assert_eq!(Input::parse(good).unwrap().json().unwrap(), good);
        for (from, to) in [
            ("[1,8,8]", "[]"),
            ("[1,8,8]", "[0]"),
            ("[0.0625]", "[]"),
            ("[0.0625]", "[1e300]"),
            ("[0.0625]", "[1,1,1]"),
            ("uint8", "U8"),
            ("\"shift\"", "\"more\":1,\"shift\""),
        ] {
            assert!(Input::parse(&good.replace(from, to)).is_err(), "{to}");
        }
    }
}
