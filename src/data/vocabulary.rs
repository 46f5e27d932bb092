//! Checks that samples are tokens for which an embedding has a row.

use std::borrow::Cow;
use std::path::Path;

use super::{DataError, Dataset};
use crate::element::Element;

impl Dataset {
    /// Checks that all values are whole numbers below `vocabulary`. The error names the first value that is not, as one of
    /// `file`, and ends with the `remedy`.
    ///
    /// # Errors
    /// [`DataError::Content`] if a value is not such a number.
    pub fn known(&self, file: &Path, vocabulary: u32, remedy: &str) -> Result<(), DataError> {
        let Some((index, value)) = self.stranger(vocabulary) else { return Ok(()) };
        let features = self.features();
        let place = format!("value {} of sample {}", index % features, index / features);
        let largest = vocabulary.saturating_sub(1);
        let expected = format!("a whole number from 0 to {largest}, for which the embedding has a row: {remedy}");
        Err(DataError::content(file, place, value.to_string(), expected))
    }

    /// The first value that is not a whole number below `vocabulary`, and its index.
    fn stranger(&self, vocabulary: u32) -> Option<(usize, f32)> {
        let bytes = match self.inputs.as_slice() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => self.inputs.iter().copied().collect(),
        };
        let unknown = |(_, value): &(usize, f32)| {
            let is_known = *value >= 0.0 && f64::from(*value) < f64::from(vocabulary) && value.fract() == 0.0;
            !is_known
        };
        match self.encoding.element {
            Element::U8 => bytes.iter().map(|byte| f32::from(*byte)).enumerate().find(unknown),
            Element::U16 => {
                let tokens = bytes.as_chunks().0.iter().map(|token| f32::from(u16::from_le_bytes(*token)));
                tokens.enumerate().find(unknown)
            }
            Element::F32 => {
                let singles = bytes.as_chunks().0.iter().map(|single| f32::from_le_bytes(*single));
                singles.enumerate().find(unknown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder};

    use super::*;
    use crate::data::Targets;
    use crate::element::Encoding;

    /// A data set of two samples with two values each.
    fn of(element: Element, bytes: Vec<u8>) -> Dataset {
        Dataset {
            inputs: Array2::from_shape_vec((2, bytes.len() / 2), bytes).unwrap(),
            encoding: Encoding::scaled(element, 1.0),
            sample_shape: vec![2],
            targets: Targets::none(),
        }
    }

    fn refused(set: &Dataset) -> Option<String> {
        set.known(Path::new("file"), 20, "do this").err().map(|error| error.to_string())
    }

    #[test]
    fn whole_numbers_below_the_vocabulary_are_known_whatever_their_type() {
        assert_eq!(refused(&of(Element::U8, vec![0, 19, 3, 7])), None);
        assert_eq!(refused(&of(Element::U16, vec![0, 0, 19, 0, 3, 0, 7, 0])), None);
        let expected = "expected a whole number from 0 to 19, for which the embedding has a row: do this";
        let due = |value: &str| Some(format!("file, value 1 of sample 1: {value}, {expected}"));
        assert_eq!(refused(&of(Element::U8, vec![0, 19, 3, 20])), due("20"));
        assert_eq!(refused(&of(Element::U16, vec![0, 0, 19, 0, 3, 0, 0, 1])), due("256"));
        let floats = |last: f32| of(Element::F32, [0.0, 19.0, -0.0, last].map(f32::to_le_bytes).concat());
        assert_eq!(refused(&floats(19.0)), None);
        for (last, shown) in [(3.5, "3.5"), (-1.0, "-1"), (25.0, "25"), (1e9, "1000000000"), (f32::NAN, "NaN")] {
            assert_eq!(refused(&floats(last)), due(shown));
        }
    }

    #[test]
    fn a_matrix_of_columns_is_read_in_the_order_of_its_samples() {
        let rows = of(Element::U8, vec![1, 2, 30, 4]);
        let mut columns = Array2::zeros((2, 2).f());
        columns.assign(&rows.inputs);
        let found = refused(&Dataset { inputs: columns, ..rows }).unwrap();
        assert!(found.starts_with("file, value 0 of sample 1: 30"), "{found}");
    }
}
