//! A text whose bytes are tokens. The training text defines which tokens there are.

use std::path::Path;

use super::{DataError, Loaded, gzip, sequence};

/// Reads the text `path`, plain or gzipped, and the text `test`, into samples of `context` tokens. A token is the rank of its
/// byte among the different bytes of `path`, and there are as many classes as different bytes.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if a text is too short, in
/// UTF-16, or has a byte that the training text lacks.
pub fn load(path: &Path, test: Option<&Path>, context: u32) -> Result<Loaded, DataError> {
    let text = gzip::read_file(path, gzip::MAX_OWN)?;
    if seems_wide(&text) {
        let expected = "text in UTF-8, whose bytes are tokens: save it so, as iconv -f UTF-16 -t UTF-8 does";
        return Err(DataError::content(path, "the whole", "text in UTF-16, as it looks", expected));
    }
    let (vocabulary, ranks) = ranks(&text);
    let read = |path, text: &[u8]| {
        let tokens = tokens(path, text, &ranks)?;
        Ok::<_, DataError>((path, sequence::samples(path, &tokens, context)?))
    };
    let train = read(path, &text)?;
    let test = test.map(|path| read(path, &gzip::read_file(path, gzip::MAX_OWN)?)).transpose()?;
    Loaded::of(train, test, Some(vocabulary))
}

/// Number of different bytes in `text`, and for each byte its rank among them.
fn ranks(text: &[u8]) -> (u32, [Option<u16>; 256]) {
    let mut there = [false; 256];
    text.iter().for_each(|byte| there[usize::from(*byte)] = true);
    let mut ranks = [None; 256];
    let mut vocabulary = 0;
    for (rank, _) in ranks.iter_mut().zip(there).filter(|(_, there)| *there) {
        *rank = Some(vocabulary);
        vocabulary += 1;
    }
    (vocabulary.into(), ranks)
}

/// Whether a text looks like UTF-16: it starts with a byte-order mark, or every second byte is zero.
fn seems_wide(text: &[u8]) -> bool {
    /// Length in bytes below which every second byte may be zero by chance.
    const FEWEST: usize = 4;
    let is_zero = |from: usize| text.iter().skip(from).step_by(2).all(|byte| *byte == 0);
    let is_halved = text.len() >= FEWEST && is_zero(0) != is_zero(1);
    text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) || is_halved
}

/// The tokens of a text: the rank of each byte.
fn tokens(file: &Path, text: &[u8], ranks: &[Option<u16>; 256]) -> Result<Vec<u16>, DataError> {
    let rank = |(at, byte): (usize, &u8)| ranks[usize::from(*byte)].ok_or_else(|| stranger(file, &text[..at], *byte));
    text.iter().enumerate().map(rank).collect()
}

/// The error that the training text lacks `byte`, which comes behind `before` in `file`.
fn stranger(file: &Path, before: &[u8], byte: u8) -> DataError {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let found = format!("the byte 0x{byte:02x} ({:?})", char::from(byte));
    let expected = "bytes that are in the training text too: its bytes are the vocabulary";
    DataError::content(file, format!("line {line}, byte {column}"), found, expected)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::Targets;

    #[test]
    fn a_text_of_two_bytes_a_character_is_seen() {
        let wide: Vec<u8> = "to be or not".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let turned: Vec<u8> = "to be or not".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked =
            [&[0xff, 0xfe][..], &"\u{4e00}\u{4e8c}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()];
        assert!(seems_wide(&wide) && seems_wide(&turned) && seems_wide(&marked.concat()));
        for text in [&b"to be"[..], b"a\0b\0cd", b"\0\0\0\0", b"a\0", b""] {
            assert!(!seems_wide(text), "{text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        fs::write(&path, wide).unwrap();
        let error = load(&path, None, 2).unwrap_err().to_string();
        assert!(error.contains("a.txt, the whole: text in UTF-16, as it looks, expected text in UTF-8"), "{error}");
    }

    #[test]
    fn tokens_are_ranks_of_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = ["a.txt", "b.txt"].map(|name| dir.path().join(name));
        fs::write(&train, "abba\nc").unwrap();
        fs::write(&test, gzip::pack(b"cab")).unwrap();
        let loaded = load(&train, Some(&test), 2).unwrap();
        // "\n" is token 0, "a" 1, "b" 2, "c" 3.
        assert_eq!(loaded.train.inputs, ndarray::array![[1, 0, 2, 0], [2, 0, 1, 0]]);
        assert_eq!(loaded.train.targets, Targets::Classes { labels: vec![2, 2, 1, 0], places: 2, classes: 4 });
        let found = loaded.test.unwrap();
        assert_eq!((found.inputs, found.encoding), (ndarray::array![[3, 0, 1, 0]], loaded.train.encoding));
        assert_eq!(found.targets, Targets::Classes { labels: vec![1, 2], places: 2, classes: 4 });
        assert_eq!(load(&train, None, 5).unwrap().test, None);

        fs::write(&test, "ab\nad").unwrap();
        let error = load(&train, Some(&test), 2).unwrap_err().to_string();
        assert!(
            error.contains("b.txt, line 2, byte 2: the byte 0x64 ('d'), expected bytes that are in the"),
            "{error}"
        );
        let error = load(&train, None, 6).unwrap_err().to_string();
        assert!(error.contains("a.txt, the whole: 6 tokens, expected more than 6"), "{error}");
        fs::write(&train, "").unwrap();
        assert!(load(&train, None, 1).unwrap_err().to_string().contains("0 tokens"));
        assert_eq!(load(&dir.path().join("none"), None, 1).unwrap_err().exit_code(), 3);
    }
}
