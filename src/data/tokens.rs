//! Tokens, as a tokenizer has written them: a `.npy` file of bytes or 16-bit words, or little-endian 16-bit words and nothing
//! else.

use std::path::Path;

use super::array::Kind;
use super::loaded::shown;
use super::{DataError, Loaded, gzip, npy, sequence};

/// Reads `path`, plain or gzipped, and `test`, into samples of `context` tokens, all of them below `vocabulary`, which is the
/// number of classes.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`], [`DataError::Content`].
pub fn load(path: &Path, test: Option<&Path>, context: u32, vocabulary: u32) -> Result<Loaded, DataError> {
    let read = |path| {
        let tokens = parse(path, gzip::read_file(path, gzip::MAX_OWN)?, vocabulary)?;
        Ok::<_, DataError>((path, sequence::samples(path, &tokens, context)?))
    };
    Loaded::of(read(path)?, test.map(read).transpose()?, Some(vocabulary))
}

/// The tokens in the unpacked `bytes` of `file`.
fn parse(file: &Path, bytes: Vec<u8>, vocabulary: u32) -> Result<Vec<u16>, DataError> {
    let tokens = if npy::is_npy(&bytes) { of_array(file, bytes)? } else { words(file, &bytes)? };
    if let Some((at, token)) = tokens.iter().enumerate().find(|(_, token)| u32::from(**token) >= vocabulary) {
        let expected = format!("a token below data.vocabulary, {vocabulary}");
        return Err(DataError::content(file, format!("token {at}"), token.to_string(), expected));
    }
    Ok(tokens)
}

fn of_array(file: &Path, bytes: Vec<u8>) -> Result<Vec<u16>, DataError> {
    let array = npy::parse(file, "the tokens", bytes)?;
    let refused = |found: String, expected| DataError::content(file, "the tokens", found, expected);
    if array.dims().len() != 1 {
        return Err(refused(shown(array.dims()), "one dimension: save tokens.reshape(-1)"));
    }
    match array.kind() {
        Kind::U8 => Ok(array.bytes().iter().map(|byte| u16::from(*byte)).collect()),
        Kind::U16 => words(file, array.bytes()),
        other => Err(refused(other.name().to_owned(), "uint16 or uint8: save tokens.astype(numpy.uint16)")),
    }
}

fn words(file: &Path, bytes: &[u8]) -> Result<Vec<u16>, DataError> {
    let (words, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        let expected = "an even number: tokens of 16 bits, little-endian";
        return Err(DataError::content(file, "the whole", format!("{} bytes", bytes.len()), expected));
    }
    Ok(words.iter().map(|word| u16::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::Targets;

    const TOKENS: [u8; 10] = [1, 0, 2, 0, 0, 1, 4, 0, 5, 0];

    fn parsed(bytes: &[u8], vocabulary: u32) -> Result<Vec<u16>, String> {
        parse(Path::new("file"), bytes.to_vec(), vocabulary).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_are_words_or_an_array() {
        let due = Ok(vec![1, 2, 256, 4, 5]);
        assert_eq!(parsed(&TOKENS, 257), due);
        assert_eq!(parsed(&npy::encode("<u2", &[5], &TOKENS), 257), due);
        assert_eq!(parsed(&npy::encode("|u1", &[3], &[1, 0, 255]), 65536), Ok(vec![1, 0, 255]));
        assert_eq!(
            parsed(&TOKENS, 256).unwrap_err(),
            "file, token 2: 256, expected a token below data.vocabulary, 256"
        );
        assert_eq!(
            parsed(&TOKENS[1..], 257).unwrap_err(),
            "file, the whole: 9 bytes, expected an even number: tokens of 16 bits, little-endian"
        );
        let error = parsed(&npy::encode("<i8", &[1], &[0; 8]), 9).unwrap_err();
        assert!(error.starts_with("file, the tokens: int64, expected uint16 or uint8"), "{error}");
        let error = parsed(&npy::encode("<u2", &[1, 2], &[0; 4]), 9).unwrap_err();
        assert!(error.starts_with("file, the tokens: (1, 2), expected one dimension"), "{error}");
        assert!(parsed(&npy::encode("<u2", &[2], &[0; 3]), 9).unwrap_err().contains("3 bytes of values"));
    }

    #[test]
    fn files_become_samples() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = ["a.bin", "b.npy"].map(|name| dir.path().join(name));
        fs::write(&train, TOKENS).unwrap();
        fs::write(&test, npy::encode("|u1", &[3], &[9, 8, 7])).unwrap();
        let loaded = load(&train, Some(&test), 2, 300).unwrap();
        assert_eq!(loaded.train.inputs, ndarray::array![[1, 0, 2, 0], [0, 1, 4, 0]]);
        let labels = vec![2, 256, 4, 5];
        assert_eq!(loaded.train.targets, Targets::Classes { labels, places: 2, classes: 300 });
        assert_eq!(loaded.test.unwrap().targets, Targets::Classes { labels: vec![8, 7], places: 2, classes: 300 });
        let error = load(&train, Some(&test), 4, 300).unwrap_err().to_string();
        assert!(error.contains("b.npy, the whole: 3 tokens, expected more than 4"), "{error}");
        assert_eq!(load(&dir.path().join("none"), None, 1, 1).unwrap_err().exit_code(), 3);
    }
}
