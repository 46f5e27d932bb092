//! NumPy's own format, `.npy`: one array in a file.
//!
//! | bytes | |
//! |---|---|
//! | 6 | `\x93NUMPY` |
//! | 2 | version: 1.0, 2.0 or 3.0 |
//! | 2, from version 2.0 on 4 | length of the header, little-endian |
//! | as many | the header: a Python dictionary with the type, the order and the shape, and blanks |
//! | the rest | the values |
//!
//! Source: the documentation of `numpy.lib.format`. Of Python's literals only what NumPy writes is read, and without recursion.
//! Python objects (pickles) are refused, like every type that is not in [`FileDtype`].

use std::path::Path;

use super::{Array, DataError, Holds, Loaded, SampleForm, Wanted, gzip, samples};
use crate::element::FileDtype;

/// The first bytes of every file.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Length in bytes of the longest header that is read. NumPy has the same limit.
const MOST_HEADER: usize = 10_000;

/// The types that are read, by their codes without the byte order.
const KINDS: [(&str, FileDtype); 12] = [
    ("b1", FileDtype::Bool),
    ("u1", FileDtype::U8),
    ("u2", FileDtype::U16),
    ("u4", FileDtype::U32),
    ("u8", FileDtype::U64),
    ("i1", FileDtype::I8),
    ("i2", FileDtype::I16),
    ("i4", FileDtype::I32),
    ("i8", FileDtype::I64),
    ("f2", FileDtype::F16),
    ("f4", FileDtype::F32),
    ("f8", FileDtype::F64),
];

/// Reads the training part from the files `inputs` and `labels`, each plain or gzipped, and the test part from the two files of
/// `test`.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if an array is not what
/// `form` and `wanted` ask for.
pub fn load(
    [inputs, labels]: [&Path; 2],
    test: Option<[&Path; 2]>,
    form: SampleForm<'_>,
    wanted: Wanted,
) -> Result<Loaded, DataError> {
    let read = |[inputs, labels]: [&Path; 2]| {
        let [inputs, labels] = [(inputs, Holds::Inputs), (labels, Holds::labels(wanted))]
            .map(|(path, holds)| parse(path, holds, gzip::read_file(path, gzip::MAX_OWN)?));
        samples::samples(inputs?, &labels?, form, wanted)
    };
    let train = (inputs, read([inputs, labels])?);
    let test = test.map(|files| Ok::<_, DataError>((files[0], read(files)?))).transpose()?;
    Loaded::of(train, test, wanted.classes())
}

/// Whether `bytes` start like a `.npy` file.
pub(super) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the unpacked `bytes` of `file`. `holds` says what the array is for.
///
/// # Errors
/// [`DataError::Content`] if they are not a whole `.npy` file, or the array's type is not read.
pub fn parse(file: &Path, holds: Holds, mut bytes: Vec<u8>) -> Result<Array, DataError> {
    let refused = |found: String, expected: &str| DataError::content(file, holds.name(), found, expected);
    let damaged = || refused(format!("{} bytes", bytes.len()), "a whole .npy file: save it again with numpy.save");
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let start = &bytes[..bytes.len().min(MAGIC.len())];
        return Err(refused(
            format!("the first bytes {start:02x?}"),
            "those of a .npy file: save it with numpy.save",
        ));
    };
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        [major, minor] => {
            return Err(refused(format!("version {major}.{minor}"), "1.0, 2.0 or 3.0 of the .npy format"));
        }
    };
    if length > MOST_HEADER {
        return Err(refused(format!("a header of {length} bytes"), "at most 10000 bytes"));
    }
    let (header, values) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let header = String::from_utf8_lossy(header).into_owned();
    let header = header.trim();
    let NpyHeader { descr, fortran, shape } = NpyHeader::read(header).ok_or_else(|| {
        let expected = format!("one that numpy.save writes for an array of numbers: {}", holds.mended());
        refused(format!("the header {header:?}"), &expected)
    })?;
    let (order, code) = descr.split_at_checked(1).unwrap_or_default();
    let kind = KINDS.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    // Values of one byte have no byte order.
    let Some(kind) = kind.filter(|kind| matches!(order, "<" | ">") || order == "|" && kind.bytes() == 1) else {
        let expected = format!("bool, or an integer or a float of up to 64 bits: {}", holds.mended());
        return Err(refused(format!("the type {descr:?}"), &expected));
    };
    let start = bytes.len() - values.len();
    bytes.drain(..start);
    if order == ">" {
        bytes.chunks_exact_mut(kind.bytes()).for_each(<[u8]>::reverse);
    }
    let array = Array::new(file, holds, kind, shape, bytes)?;
    if fortran { array.by_rows() } else { Ok(array) }
}

/// What the header of a file says.
struct NpyHeader {
    /// The type: byte order, then its code, a letter and the number of bytes.
    descr: String,
    /// Whether the first dimension runs fastest.
    fortran: bool,
    /// The dimensions of the array, outermost first.
    shape: Vec<usize>,
}

impl NpyHeader {
    /// Reads a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. `None` if it has another form.
    fn read(text: &str) -> Option<Self> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.trim_start();
        while !rest.is_empty() {
            let (key, behind) = quoted(rest)?;
            let value = behind.trim_start().strip_prefix(':')?.trim_start();
            let behind = match key {
                "descr" => {
                    let (found, behind) = quoted(value)?;
                    descr = Some(found.to_owned());
                    behind
                }
                "fortran_order" => {
                    fortran = Some(value.starts_with("True"));
                    value.strip_prefix("True").or_else(|| value.strip_prefix("False"))?
                }
                "shape" => {
                    let (found, behind) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(dims(found)?);
                    behind
                }
                _ => return None,
            };
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(behind) => behind.trim_start(),
                None if behind.is_empty() => behind,
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// The quoted string at the start of `text`, and the text behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The numbers of a list such as `3, 4` or `3,`.
fn dims(text: &str) -> Option<Vec<usize>> {
    let mut dims: Vec<&str> = text.split(',').map(str::trim).collect();
    dims.pop_if(|last| last.is_empty());
    dims.into_iter().map(|dim| dim.parse().ok()).collect()
}

/// A `.npy` file, for tests of this and other modules.
#[cfg(test)]
pub(super) fn encode(descr: &str, dims: &[usize], values: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|dim| format!("{dim}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let header = format!("{header:117}\n");
    [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), values].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::data::{Targets, gzip};
    use crate::element::Element;

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: None };

    /// A file that NumPy wrote: the bytes 0 to 23 times 3, as 16-bit words (`tests/reference/arrays.py`).
    const OF_NUMPY: &[u8] = include_bytes!("../../tests/reference/arrays/tokens.npy");

    fn parsed(bytes: &[u8]) -> Result<Array, DataError> {
        parse(Path::new("file"), Holds::Inputs, bytes.to_vec())
    }

    fn refused(bytes: &[u8]) -> String {
        parsed(bytes).unwrap_err().to_string()
    }

    /// A file of version 1.0 with this header.
    fn with(header: &str, values: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), values].concat()
    }

    #[test]
    fn a_file_of_numpy_is_read() {
        let array = parsed(OF_NUMPY).unwrap();
        assert_eq!((array.kind(), array.dims()), (FileDtype::U16, &[24][..]));
        assert_eq!(array.bytes(), (0..24).flat_map(|value| [value * 3, 0]).collect::<Vec<u8>>());
        assert!(is_npy(OF_NUMPY) && !is_npy(b"\x93NUMP"));
        let floats = parsed(include_bytes!("../../tests/reference/arrays/big-endian.npy")).unwrap();
        assert_eq!((floats.kind(), floats.dims()), (FileDtype::F32, &[4, 1, 2, 3][..]));
        assert_eq!(floats.bytes(), (0..24).flat_map(|value| (value as f32 / 4.0).to_le_bytes()).collect::<Vec<u8>>());
        let columns = parsed(include_bytes!("../../tests/reference/arrays/columns.npy")).unwrap();
        assert_eq!((columns.dims(), columns.bytes()), (&[4, 2, 3][..], &(0..24).collect::<Vec<u8>>()[..]));
        let swapped = parsed(&encode(">u2", &[2], &[1, 2, 3, 4])).unwrap();
        assert_eq!((swapped.kind(), swapped.bytes()), (FileDtype::U16, &[2, 1, 4, 3][..]));
        for version in [2, 3] {
            let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': ()}";
            let length = (header.len() as u32).to_le_bytes();
            let array = parsed(&[MAGIC, &[version, 0], &length, header, &[7]].concat()).unwrap();
            assert_eq!((array.kind(), array.dims(), array.bytes()), (FileDtype::U8, &[][..], &[7][..]));
        }
    }

    #[test]
    fn every_cut_is_seen() {
        for length in 0..OF_NUMPY.len() {
            assert!(refused(&OF_NUMPY[..length]).starts_with("file, inputs: "), "cut to {length}");
        }
        let error = refused(&[OF_NUMPY, &[0]].concat());
        assert_eq!(error, "file, inputs: 49 bytes of values, expected 48 for (24) of uint16: save it again");
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused_by_name() {
        assert!(refused(b"PK\x03\x04").contains("the first bytes [50, 4b, 03, 04], expected those of a .npy file"));
        for (descr, words) in [
            ("|O", "the type \"|O\", expected bool, or an integer or a float"),
            ("<c8", "the type \"<c8\""),
            ("<U3", "the type \"<U3\""),
            ("<V2", "the type \"<V2\""),
            ("|f4", "the type \"|f4\""),
            ("", "the type \"\""),
        ] {
            let error = refused(&encode(descr, &[1], &[0; 8]));
            assert!(error.contains(words), "{descr}: {error}");
        }
        for (holds, words) in [
            (Holds::Inputs, ": save numbers with .astype(numpy.float32), and words as"),
            (
                Holds::Classes,
                ": save whole numbers with .astype(numpy.int64), and words as their numbers, numpy.unique(labels,",
            ),
            (Holds::Numbers, ": save them with .astype(numpy.float32)"),
            (Holds::Tokens, ": save them with .astype(numpy.uint16)"),
        ] {
            let error = parse(Path::new("file"), holds, encode("|O", &[1], &[0; 8])).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let mut late = OF_NUMPY.to_vec();
        late[6] = 4;
        assert!(refused(&late).contains("version 4.0, expected 1.0, 2.0 or 3.0"));
    }

    #[test]
    fn headers_that_numpy_does_not_write_are_refused() {
        for header in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': None, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (,,1)}",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{\u{e9}: 1}",
        ] {
            let error = refused(&with(header, &[0; 4]));
            assert!(error.contains("expected one that numpy.save writes"), "{header}: {error}");
        }
        let deep = "(".repeat(9000);
        assert!(refused(&with(&deep, &[])).contains("the header"));
        assert!(refused(&with(&"(".repeat(10_001), &[])).contains("a header of 10001 bytes"));
        let claims = "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}";
        assert!(refused(&with(claims, &[0; 8])).contains("more than there can be"));
    }

    fn put(dir: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn inputs_and_labels_are_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = put(&dir, "x.npy", &encode("|u1", &[2, 2], &[1, 2, 3, 4]));
        let labels =
            put(&dir, "y.npy", &gzip::pack(&encode("<i8", &[2], &[1_i64, 3].map(i64::to_le_bytes).concat())));
        let of_test = put(&dir, "y-test.npy", &encode("|b1", &[2], &[1, 0]));
        let loaded = load([&inputs, &labels], None, SampleForm::default(), CLASSES).unwrap();
        assert_eq!((loaded.train.targets, loaded.test), (Targets::classes(vec![1, 3], 4), None));
        let loaded = load([&inputs, &of_test], Some([&inputs, &labels]), SampleForm::default(), CLASSES).unwrap();
        assert_eq!(loaded.train.targets, Targets::classes(vec![1, 0], 4));
        assert_eq!((loaded.train.encoding.element, loaded.test.unwrap().samples()), (Element::U8, 2));
        let error = load([&inputs, &dir.path().join("none")], None, SampleForm::default(), CLASSES).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }
}
