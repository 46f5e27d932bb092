//! Makes samples out of one long row of tokens. At each place the target is the next token.

use std::path::Path;

use ndarray::Array2;

use super::{DataError, Dataset, Targets};
use crate::element::{Element, Encoding};

/// Cuts the `tokens` of `file` into samples of `context` tokens, one behind the other. The target at each place is the token
/// behind it. A rest that is too short is left out. The number of classes is not set yet.
///
/// # Errors
/// [`DataError::Content`] if there are too few tokens for one sample.
pub(super) fn samples(file: &Path, tokens: &[u16], context: u32) -> Result<Dataset, DataError> {
    let places = context as usize;
    let samples = tokens.len().saturating_sub(1).checked_div(places).unwrap_or(0);
    if samples == 0 {
        let found = format!("{} tokens", tokens.len());
        let expected = format!(
            "more than {context}: as many as data.context says make a sample, and one more foretells its last"
        );
        return Err(DataError::content(file, "the whole", found, expected));
    }
    let taken = samples * places;
    let bytes: Vec<u8> = tokens[..taken].iter().flat_map(|token| token.to_le_bytes()).collect();
    let row = places * Element::U16.bytes() as usize;
    let inputs = Array2::from_shape_vec((samples, row), bytes)
        .map_err(|error| DataError::content(file, "the whole", error.to_string(), format!("{row} bytes a sample")))?;
    let labels = tokens[1..=taken].iter().map(|token| u32::from(*token)).collect();
    Ok(Dataset {
        inputs,
        encoding: Encoding::scaled(Element::U16, 1.0),
        sample_shape: vec![places],
        targets: Targets::Classes { labels, places, classes: 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_foretells_the_next_token() {
        for length in [7, 8, 9] {
            let tokens: Vec<u16> = (0..length).map(|token| token + 300).collect();
            let set = samples(Path::new("file"), &tokens, 3).unwrap();
            assert_eq!((set.samples(), &set.sample_shape[..], set.encoding.element), (2, &[3][..], Element::U16));
            assert_eq!(set.inputs, ndarray::array![[44, 1, 45, 1, 46, 1], [47, 1, 48, 1, 49, 1]]);
            let labels = vec![301, 302, 303, 304, 305, 306];
            assert_eq!(set.targets, Targets::Classes { labels, places: 3, classes: 0 });
        }
        assert_eq!(samples(Path::new("file"), &[0; 10], 3).unwrap().samples(), 3);
    }

    #[test]
    fn a_sample_must_be_there() {
        for (length, context) in [(0, 1), (1, 1), (3, 3), (9, 0)] {
            let error = samples(Path::new("file"), &vec![0; length], context).unwrap_err().to_string();
            assert!(error.contains(&format!("{length} tokens, expected more than {context}")), "{error}");
        }
    }
}
