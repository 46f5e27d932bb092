//! Handwritten digits of 8x8 pixels inside the binary: a real data set that needs no file and no network.
//!
//! Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
//! <https://doi.org/10.24432/C50P49>, licensed CC BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>). This is its test
//! part, in the copy that scikit-learn carries; `DIGITS.md` beside this file tells where it was taken from.

use std::path::Path;

use ndarray::Array2;

use super::{DataError, Dataset, Loaded, Targets, gzip};
use crate::element::{Element, Encoding};

/// The data set as gzipped CSV. Each line is a sample: 64 pixels, row by row, then the class.
static PACKED: &[u8] = include_bytes!("digits.csv.gz");

/// Number of samples in the embedded file.
const SAMPLES: usize = 1797;
/// Height and width of an image in pixels.
const SIDE: usize = 8;
/// Number of values of an image.
const FEATURES: usize = SIDE * SIDE;
/// Number of classes: the ten digits.
const CLASSES: usize = 10;
/// The largest value of a pixel. A pixel counts how many of 4x4 finer ones have ink.
const BRIGHTEST: u8 = 16;

/// The 1,797 samples in the order of the source, with `sample_shape` `[1, 8, 8]`. The source has no test part. Bytes go in
/// times 1/16.
///
/// # Errors
/// [`DataError::CorruptGzip`], [`DataError::TooLarge`] and [`DataError::DamagedDigits`], each only if the binary is damaged.
pub fn load() -> Result<Loaded, DataError> {
    let text = gzip::unpack(Path::new("the embedded digits.csv.gz"), PACKED.to_vec(), gzip::MAX_BYTES)?;
    let (inputs, labels) = parse(&text)?;
    let samples = labels.len();
    let inputs = Array2::from_shape_vec((samples, FEATURES), inputs)
        .map_err(|error| damaged(samples, error.to_string(), format!("{FEATURES} pixels a line")))?;
    let train = Dataset {
        inputs,
        encoding: Encoding::scaled(Element::U8, 1.0 / f32::from(BRIGHTEST)),
        sample_shape: vec![1, SIDE, SIDE],
        targets: Targets::classes(labels, CLASSES),
    };
    Ok(Loaded { train, test: None, names: Vec::new() })
}

/// Reads the CSV text: pixels (samples, 64), row-major, and labels (samples).
fn parse(text: &[u8]) -> Result<(Vec<u8>, Vec<u32>), DataError> {
    let mut inputs = Vec::with_capacity(SAMPLES * FEATURES);
    let mut labels = Vec::with_capacity(SAMPLES);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    for (index, record) in reader.records().enumerate() {
        let line = index + 1;
        let record = record.map_err(|error| damaged(line, error.to_string(), "numbers".to_owned()))?;
        if record.len() != FEATURES + 1 {
            return Err(damaged(line, format!("{} fields", record.len()), format!("{}", FEATURES + 1)));
        }
        for (column, field) in record.iter().enumerate() {
            let limit = if column < FEATURES { BRIGHTEST } else { CLASSES as u8 - 1 };
            match field.parse::<u8>() {
                Ok(value) if value > limit => {
                    return Err(damaged(line, value.to_string(), format!("at most {limit}")));
                }
                Ok(pixel) if column < FEATURES => inputs.push(pixel),
                Ok(class) => labels.push(u32::from(class)),
                Err(_) => return Err(damaged(line, format!("{field:?}"), "a number".to_owned())),
            }
        }
    }
    if labels.len() != SAMPLES {
        return Err(damaged(labels.len(), "the end".to_owned(), format!("{SAMPLES} lines")));
    }
    Ok((inputs, labels))
}

/// The error that a line of the embedded file is not what was expected.
fn damaged(line: usize, found: String, expected: String) -> DataError {
    DataError::DamagedDigits { line, found, expected }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_file_is_the_one_that_digits_md_names() {
        let digest: String = Sha256::digest(PACKED).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("DIGITS.md").contains(&digest), "{digest}");
    }

    #[test]
    fn holds_the_published_samples() {
        let loaded = load().unwrap();
        assert!(loaded.test.is_none());
        let set = loaded.train;
        assert_eq!((set.samples(), set.features(), &set.sample_shape[..]), (1797, 64, &[1, 8, 8][..]));
        assert_eq!(set.encoding, Encoding::scaled(Element::U8, 0.0625));
        let Targets::Classes { labels, places: 1, classes: 10 } = &set.targets else { panic!("{:?}", set.targets) };
        // The class counts that scikit-learn and UCI publish, and the first sample of `sklearn.datasets.load_digits`.
        let mut counts = [0; 10];
        labels.iter().for_each(|&class| counts[class as usize] += 1);
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(set.inputs.row(0).to_vec()[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
        assert_eq!(set.inputs.iter().map(|&pixel| u64::from(pixel)).sum::<u64>(), 561_718);
    }

    #[test]
    fn damage_is_named_by_line() {
        let line = ["0"; 65].join(",");
        let message = |second: &str| parse(format!("{line}\n{second}\n").as_bytes()).unwrap_err().to_string();
        assert!(message("1,2").contains("line 2: 2 fields"));
        assert!(message(&line.replacen('0', "17", 1)).contains("line 2: 17, expected at most 16"));
        assert!(message(&format!("{},10", ["0"; 64].join(","))).contains("line 2: 10, expected at most 9"));
        assert!(message(&line.replacen('0', "x", 1)).contains("\"x\""));
        assert!(message(&line).contains("line 2: the end, expected 1797 lines"));
    }
}
