//! Tokens, as a tokenizer has written them: a `.npy` file of whole numbers, or a file of little-endian words and nothing else.
//! The words have 16 bits unless the job says otherwise.

use std::path::Path;

use super::array::Array;
use super::loaded::shown;
use super::{DataError, Holds, Loaded, gzip, npy, sequence};
use crate::element::FileDtype;

/// Number of 16-bit words below which nothing is said of what they look like.
const FEWEST: usize = 4;
/// Number of different tokens that are told apart at most.
const MOST: i128 = 1 << 16;

/// Reads the file `path`, plain or gzipped, and the file `test`, into samples of `context` tokens. All tokens must be below
/// `vocabulary`, which is the number of classes. `dtype` is the type of words without a header.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if there are no such tokens;
/// [`DataError::Unfit`] if a `.npy` file is of another type than `dtype`.
pub fn load(
    path: &Path,
    test: Option<&Path>,
    context: u32,
    vocabulary: u32,
    dtype: Option<FileDtype>,
) -> Result<Loaded, DataError> {
    let read = |path| {
        let tokens = parse(path, gzip::read_file(path, gzip::MAX_OWN)?, vocabulary, dtype)?;
        Ok::<_, DataError>((path, sequence::samples(path, &tokens, context)?))
    };
    Loaded::of(read(path)?, test.map(read).transpose()?, Some(vocabulary))
}

/// The tokens in the unpacked `bytes` of `file`.
fn parse(file: &Path, bytes: Vec<u8>, vocabulary: u32, dtype: Option<FileDtype>) -> Result<Vec<u16>, DataError> {
    let is_npy = npy::is_npy(&bytes);
    let array = if is_npy { of_array(file, bytes, dtype)? } else { words(file, bytes, dtype)? };
    let mut tokens = Vec::with_capacity(array.bytes().len() / array.kind().bytes());
    for at in 0..tokens.capacity() {
        let token = array.integer(at).unwrap_or(-1);
        match u16::try_from(token) {
            Ok(token) if u32::from(token) < vocabulary => tokens.push(token),
            _ => {
                let mut expected = format!("a token below data.vocabulary, {vocabulary}");
                let mut hints = Vec::new();
                // With a larger vocabulary every byte is a token, so that this would tell nothing.
                let may_be_bytes = !is_npy && dtype.is_none() && vocabulary <= 256;
                if may_be_bytes && array.bytes().iter().all(|byte| u32::from(*byte) < vocabulary) {
                    hints.push("where tokens are bytes, take data.dtype = \"uint8\"".to_owned());
                }
                if (0..MOST).contains(&token) {
                    hints.push(format!("where there are more, take data.vocabulary = {} or above", token + 1));
                }
                if !hints.is_empty() {
                    expected += &format!(": {}", hints.join("; "));
                }
                return Err(DataError::content(file, format!("token {at}"), token.to_string(), expected));
            }
        }
    }
    Ok(tokens)
}

/// The tokens of a `.npy` file, which must be one row of whole numbers.
fn of_array(file: &Path, bytes: Vec<u8>, dtype: Option<FileDtype>) -> Result<Array, DataError> {
    let array = npy::parse(file, Holds::Tokens, bytes)?;
    if let Some(dtype) = dtype.filter(|dtype| *dtype != array.kind()) {
        let found = format!("{:?} for {}", dtype.name(), file.display());
        let expected = format!("{:?}, as that .npy file says: leave it out", array.kind().name());
        return Err(DataError::Unfit { key: "dtype", found, expected });
    }
    if array.dims().len() != 1 {
        return Err(array.refused(shown(array.dims()), "one dimension: save tokens.reshape(-1)"));
    }
    match array.kind().is_integer() {
        true => Ok(array),
        false => Err(array.refused(array.kind().name(), "whole numbers: save tokens.astype(numpy.uint16)")),
    }
}

/// The tokens of a file of words and nothing else.
fn words(file: &Path, bytes: Vec<u8>, dtype: Option<FileDtype>) -> Result<Array, DataError> {
    let kind = dtype.unwrap_or(FileDtype::U16);
    if !bytes.len().is_multiple_of(kind.bytes()) {
        let expected = match dtype {
            Some(dtype) => format!("a multiple of {}, as data.dtype = {:?} says", dtype.bytes(), dtype.name()),
            None => "an even number, as of tokens of 16 bits, little-endian: where tokens are bytes, take data.dtype = \"uint8\""
                .to_owned(),
        };
        return Err(DataError::content(file, "the whole", format!("{} bytes", bytes.len()), expected));
    }
    if let Some((found, mend)) = dtype.is_none().then(|| seeming(&bytes)).flatten() {
        let expected = format!(
            "tokens of 16 bits, little-endian: {mend}, or data.dtype = \"uint16\" where the zeros are tokens too"
        );
        return Err(DataError::content(file, "the whole", found, expected));
    }
    let count = bytes.len() / kind.bytes();
    Array::new(file, Holds::Tokens, kind, vec![count], bytes)
}

/// Says what 16-bit words look like that are halves or quarters of other numbers, and what to do about it. `None` if they look
/// like tokens. Of small numbers in 32 bits every second word is zero, of those in 64 bits three of four. Negative numbers have
/// all bits of these words set.
fn seeming(bytes: &[u8]) -> Option<(String, &'static str)> {
    let words: Vec<u16> = bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word)).collect();
    // The one place among `of` words that holds more than a sign, if there is only one.
    let alone = |of: usize| -> Option<usize> {
        if words.len() < FEWEST || !words.len().is_multiple_of(of) {
            return None;
        }
        let mut places =
            (0..of).filter(|place| words.iter().skip(*place).step_by(of).any(|word| !matches!(*word, 0 | u16::MAX)));
        let place = places.next()?;
        places.next().is_none().then_some(place)
    };
    const TO_WORDS: &str = "write them with tokens.astype(numpy.uint16).tofile(...)";
    Some(match (alone(4), alone(2)) {
        (Some(0), _) => (
            "three of four words of 16 bits are zero, as in tokens of 64 bits".to_owned(),
            "take data.dtype = \"int64\"",
        ),
        (Some(1 | 3), _) | (None, Some(1)) => (
            "the lower halves of all numbers are zero, as in floats, or tokens with the highest byte first"
                .to_owned(),
            TO_WORDS,
        ),
        (_, Some(0)) => (
            "every second word of 16 bits is zero, as in tokens of 32 bits".to_owned(),
            "take data.dtype = \"int32\"",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::Targets;

    const TOKENS: [u8; 10] = [1, 0, 2, 0, 0, 1, 4, 0, 5, 0];

    fn parsed(bytes: &[u8], vocabulary: u32) -> Result<Vec<u16>, String> {
        parsed_as(bytes, vocabulary, None)
    }

    fn parsed_as(bytes: &[u8], vocabulary: u32, dtype: Option<FileDtype>) -> Result<Vec<u16>, String> {
        parse(Path::new("file"), bytes.to_vec(), vocabulary, dtype).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_are_words_or_an_array() {
        let due = Ok(vec![1, 2, 256, 4, 5]);
        assert_eq!(parsed(&TOKENS, 257), due);
        assert_eq!(parsed(&npy::encode("<u2", &[5], &TOKENS), 257), due);
        assert_eq!(parsed(&npy::encode("|u1", &[3], &[1, 0, 255]), 65536), Ok(vec![1, 0, 255]));
        assert_eq!(
            parsed(&TOKENS, 256).unwrap_err(),
            "file, token 2: 256, expected a token below data.vocabulary, 256: where tokens are bytes, take data.dtype = \"uint8\"; \
             where there are more, take data.vocabulary = 257 or above"
        );
        assert_eq!(
            parsed(&TOKENS[1..], 257).unwrap_err(),
            "file, the whole: 9 bytes, expected an even number, as of tokens of 16 bits, little-endian: where tokens are bytes, take \
             data.dtype = \"uint8\""
        );
        assert_eq!(
            parsed(&[7, 1, 8, 1], 256).unwrap_err(),
            "file, token 0: 263, expected a token below data.vocabulary, 256: where tokens are bytes, take data.dtype = \"uint8\"; \
             where there are more, take data.vocabulary = 264 or above"
        );
        // With a vocabulary above 256 each byte is a token, which says nothing.
        let more = parsed(&[7, 1, 8, 1], 257).unwrap_err();
        assert!(
            more.ends_with("vocabulary, 257: where there are more, take data.vocabulary = 264 or above"),
            "{more}"
        );
        assert_eq!(
            parsed(&[7, 1, 255, 1], 255).unwrap_err(),
            "file, token 0: 263, expected a token below data.vocabulary, 255: where there are more, take data.vocabulary = 264 or \
             above"
        );
        let error = parsed(&npy::encode("<f4", &[1], &[0; 4]), 9).unwrap_err();
        assert!(
            error.starts_with("file, the tokens: float32, expected whole numbers: save tokens.astype"),
            "{error}"
        );
        let error = parsed(&npy::encode("<u2", &[1, 2], &[0; 4]), 9).unwrap_err();
        assert!(error.starts_with("file, the tokens: (1, 2), expected one dimension"), "{error}");
        assert!(parsed(&npy::encode("<u2", &[2], &[0; 3]), 9).unwrap_err().contains("3 bytes of values"));
    }

    #[test]
    fn tokens_of_every_width_are_read() {
        let due = [1_u8, 2, 200, 0, 5];
        let of = |bytes: u8| -> Vec<u8> {
            due.iter()
                .flat_map(|token| std::iter::once(*token).chain(std::iter::repeat_n(0, usize::from(bytes) - 1)))
                .collect()
        };
        let due = Ok(due.map(u16::from).to_vec());
        let kinds = [
            (FileDtype::U8, 1),
            (FileDtype::U16, 2),
            (FileDtype::U32, 4),
            (FileDtype::I32, 4),
            (FileDtype::U64, 8),
            (FileDtype::I64, 8),
        ];
        for (kind, bytes) in kinds {
            assert_eq!(parsed_as(&of(bytes), 256, Some(kind)), due, "{kind:?}");
        }
        for (descr, bytes) in [("<i8", 8), ("<u8", 8), ("<i4", 4), ("<u4", 4), ("<i2", 2)] {
            assert_eq!(parsed(&npy::encode(descr, &[5], &of(bytes)), 256), due, "{descr}");
        }
        let minus = [3_i32, -100].map(i32::to_le_bytes).concat();
        let error = parsed_as(&minus, 256, Some(FileDtype::I32)).unwrap_err();
        assert_eq!(error, "file, token 1: -100, expected a token below data.vocabulary, 256");
        let large = [3_u32, 65_539].map(u32::to_le_bytes).concat();
        assert!(
            parsed_as(&large, 65_536, Some(FileDtype::U32))
                .unwrap_err()
                .contains("token 1: 65539, expected a token below")
        );
        let error = parsed_as(&of(1), 256, Some(FileDtype::U32)).unwrap_err();
        assert_eq!(error, "file, the whole: 5 bytes, expected a multiple of 4, as data.dtype = \"uint32\" says");
        let error = parsed_as(&npy::encode("<u2", &[5], &of(2)), 256, Some(FileDtype::U32)).unwrap_err();
        assert_eq!(
            error,
            "data.dtype: \"uint32\" for file, expected \"uint16\", as that .npy file says: leave it out"
        );
        assert_eq!(parsed_as(&npy::encode("<u2", &[5], &of(2)), 256, Some(FileDtype::U16)), due);
    }

    #[test]
    fn halves_of_wider_numbers_are_seen() {
        // The floats of whole numbers up to 31 are recognised by their highest word.
        let numbers = [17_u32, 0, 65_535, 9, 300];
        let cases: [(Vec<u8>, &str); 9] = [
            ([17, -100, 4].map(i32::to_le_bytes).concat(), "every second word of 16 bits is zero"),
            ([17, -100, 4].map(i64::to_le_bytes).concat(), "three of four words of 16 bits are zero"),
            (numbers.map(u32::to_le_bytes).concat(), "every second word of 16 bits is zero"),
            (
                numbers.map(|number| u64::from(number).to_le_bytes()).concat(),
                "three of four words of 16 bits are zero",
            ),
            ([17_u32, 4].map(u32::to_le_bytes).concat(), "every second word of 16 bits is zero"),
            (numbers.map(u32::to_be_bytes).concat(), "the lower halves of all numbers are zero"),
            (
                numbers.map(|number| u64::from(number).to_be_bytes()).concat(),
                "the lower halves of all numbers are zero",
            ),
            (
                numbers.map(|number| ((number % 32) as f32).to_le_bytes()).concat(),
                "the lower halves of all numbers are zero",
            ),
            (
                numbers.map(|number| f64::from(number % 32).to_le_bytes()).concat(),
                "the lower halves of all numbers are zero",
            ),
        ];
        for (bytes, words) in cases {
            let error = parsed(&bytes, 65_536).unwrap_err();
            assert!(error.starts_with(&format!("file, the whole: {words}")), "{error}");
            assert!(error.ends_with("or data.dtype = \"uint16\" where the zeros are tokens too"), "{error}");
            // The job says that they are 16-bit words.
            assert_eq!(parsed_as(&bytes, 65_536, Some(FileDtype::U16)).unwrap().len(), bytes.len() / 2);
        }
        // Tokens of 16 bits with zeros among them, or nothing else; and too few words to tell.
        for words in [&[1_u16, 0, 2, 0, 3, 4][..], &[0; 8], &[5, 0], &[1, 0, 2, 0, 3]] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(parsed(&bytes, 65_536), Ok(words.to_vec()));
        }
    }

    #[test]
    fn files_become_samples() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = ["a.bin", "b.npy"].map(|name| dir.path().join(name));
        fs::write(&train, TOKENS).unwrap();
        fs::write(&test, npy::encode("|u1", &[3], &[9, 8, 7])).unwrap();
        let loaded = load(&train, Some(&test), 2, 300, None).unwrap();
        assert_eq!(loaded.train.inputs, ndarray::array![[1, 0, 2, 0], [0, 1, 4, 0]]);
        let labels = vec![2, 256, 4, 5];
        assert_eq!(loaded.train.targets, Targets::Classes { labels, places: 2, classes: 300 });
        assert_eq!(loaded.test.unwrap().targets, Targets::Classes { labels: vec![8, 7], places: 2, classes: 300 });
        let error = load(&train, Some(&test), 4, 300, None).unwrap_err().to_string();
        assert!(error.contains("b.npy, the whole: 3 tokens, expected more than 4"), "{error}");
        assert_eq!(load(&dir.path().join("none"), None, 1, 1, None).unwrap_err().exit_code(), 3);
    }
}
