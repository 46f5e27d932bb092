//! The IDX format of Yann LeCun's MNIST page: a few big-endian numbers, then the elements.
//!
//! | bytes | |
//! |---|---|
//! | 0, 0 | magic |
//! | 1 | element type: 0x08 is the unsigned byte, the only one read here |
//! | 1 | number of dimensions, d |
//! | 4 d | the dimensions, each a big-endian `u32` |
//! | product of the dimensions | the elements, the last dimension runs fastest |
//!
//! This layer knows nothing of images and labels. [`super::mnist`] does.

use std::path::Path;

use super::{DataError, gzip};

/// The code of the element type `u8`.
const UNSIGNED_BYTE: u8 = 0x08;

/// The content of an IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The dimensions, outermost first: (images, height, width) or (labels).
    pub dims: Vec<usize>,
    /// The elements, row-major. There are as many as the product of `dims`.
    pub values: Vec<u8>,
}

/// Reads the file `path`, plain or gzipped, which must have `dimensions` dimensions.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::TooLarge`] above 1 GiB; [`DataError::CorruptGzip`]; and those of [`parse`].
pub fn read(path: &Path, dimensions: usize) -> Result<Idx, DataError> {
    parse(path, gzip::read_file(path, gzip::MAX_BYTES)?, dimensions)
}

/// Reads the unpacked `bytes` of `file`, which must have `dimensions` dimensions. `file` is only named in errors.
///
/// # Errors
/// [`DataError::BadMagic`], [`DataError::ElementType`], [`DataError::DimensionCount`],
/// [`DataError::AbsurdDimensions`], [`DataError::Truncated`] and [`DataError::TrailingBytes`].
pub fn parse(file: &Path, mut bytes: Vec<u8>, dimensions: usize) -> Result<Idx, DataError> {
    let found = bytes.len() as u64;
    let truncated =
        |expected: usize| DataError::Truncated { file: file.to_owned(), found, expected: expected as u64 };

    let (&[zero, one, element, count], rest) = bytes.split_first_chunk().ok_or_else(|| truncated(4))?;
    if [zero, one] != [0, 0] {
        return Err(DataError::BadMagic { file: file.to_owned(), found: [zero, one] });
    }
    if element != UNSIGNED_BYTE {
        return Err(DataError::ElementType { file: file.to_owned(), found: element });
    }
    if usize::from(count) != dimensions {
        let found = usize::from(count);
        return Err(DataError::DimensionCount { file: file.to_owned(), found, expected: dimensions });
    }

    let header = 4 + 4 * dimensions;
    let (words, _) = rest.split_at_checked(header - 4).ok_or_else(|| truncated(header))?;
    let (words, _) = words.as_chunks();
    let dims: Vec<usize> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
    let Some(elements) = elements(&dims) else {
        return Err(DataError::AbsurdDimensions { file: file.to_owned(), found: dims, limit: gzip::MAX_BYTES });
    };

    let expected = header as u64 + elements;
    if found < expected {
        return Err(DataError::Truncated { file: file.to_owned(), found, expected });
    }
    if found > expected {
        return Err(DataError::TrailingBytes { file: file.to_owned(), found, expected });
    }
    bytes.drain(..header);
    Ok(Idx { dims, values: bytes })
}

/// The product of `dims`. `None` if no file that is read may be so long.
fn elements(dims: &[usize]) -> Option<u64> {
    dims.iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim as u64))
        .filter(|&product| product <= gzip::MAX_BYTES)
}

/// An IDX file of bytes, for tests of this and other modules.
#[cfg(test)]
pub(super) fn encode(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, UNSIGNED_BYTE, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(values);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the dimensions (2, 3).
    fn small() -> Vec<u8> {
        encode(&[2, 3], &[1, 2, 3, 4, 5, 6])
    }

    fn refused(bytes: Vec<u8>) -> DataError {
        parse(Path::new("some-file"), bytes, 2).unwrap_err()
    }

    #[test]
    fn the_header_is_laid_out_as_published() {
        // "0x00000803(2051) magic number, 60000 number of images, 28, 28": the first 16 bytes of the training images, as that
        // page describes them.
        let header = [0, 0, 8, 3, 0, 0, 0xea, 0x60, 0, 0, 0, 28, 0, 0, 0, 28];
        assert_eq!(encode(&[60_000, 28, 28], &[]), header);
        let error = parse(Path::new("f"), header.to_vec(), 3).unwrap_err();
        assert!(matches!(error, DataError::Truncated { found: 16, expected: 47_040_016, .. }), "{error}");
    }

    #[test]
    fn reads_plain_and_gzipped_whatever_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed) = (dir.path().join("plain.gz"), dir.path().join("packed"));
        std::fs::write(&plain, small()).unwrap();
        std::fs::write(&packed, gzip::pack(&small())).unwrap();
        let expected = Idx { dims: vec![2, 3], values: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(read(&plain, 2).unwrap(), expected);
        assert_eq!(read(&packed, 2).unwrap(), expected);

        let cut = gzip::pack(&small());
        std::fs::write(&packed, &cut[..cut.len() - 4]).unwrap();
        assert!(matches!(read(&packed, 2), Err(DataError::CorruptGzip { .. })));
        assert!(matches!(read(&dir.path().join("none"), 2), Err(DataError::Io { action: "read", .. })));
    }

    #[test]
    fn a_wrong_header_is_told_by_what_is_wrong() {
        let changed = |at: usize, to: u8| {
            let mut bytes = small();
            bytes[at] = to;
            refused(bytes)
        };
        assert!(matches!(changed(1, 9), DataError::BadMagic { found: [0, 9], .. }));
        assert!(matches!(changed(2, 0x0d), DataError::ElementType { found: 0x0d, .. }));
        assert!(matches!(changed(3, 3), DataError::DimensionCount { found: 3, expected: 2, .. }));
        assert!(changed(2, 0x0d).to_string().contains("some-file holds IDX elements of type 0x0d, expected 0x08"));
    }

    #[test]
    fn every_cut_is_seen_and_counted() {
        let whole = small();
        for length in 0..whole.len() {
            let expected_bytes = [4, 12, 18][usize::from(length >= 4) + usize::from(length >= 12)];
            match refused(whole[..length].to_vec()) {
                DataError::Truncated { found, expected, .. } => {
                    assert_eq!((found, expected), (length as u64, expected_bytes));
                }
                other => assert_eq!(other.to_string(), "", "cut to {length}"),
            }
        }
        let error = refused([whole, vec![0, 0]].concat());
        assert!(matches!(error, DataError::TrailingBytes { found: 20, expected: 18, .. }), "{error}");
    }

    #[test]
    fn forged_dimensions_take_no_memory() {
        for dims in [[u32::MAX; 2], [1 << 16, 1 << 15]] {
            let error = refused(encode(&dims, &[1, 2, 3]));
            assert!(matches!(error, DataError::AbsurdDimensions { .. }), "{error}");
        }
        let error = refused(encode(&[1 << 15, 1 << 15], &[1, 2, 3]));
        assert!(matches!(error, DataError::Truncated { found: 15, expected: 1_073_741_836, .. }), "{error}");
        let overflow = parse(Path::new("f"), encode(&[u32::MAX; 5], &[]), 5).unwrap_err();
        assert!(matches!(overflow, DataError::AbsurdDimensions { .. }), "{overflow}");
    }
}
