//! Reads whole files into memory, unpacks them if they are gzipped (RFC 1952), and never takes more than a limit.
//!
//! A gzipped file is recognised by its first bytes, not by its name. This layer knows no format inside the bytes.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::DataError;
use crate::memory;

/// Most bytes that are read of one file of a known data set, packed or unpacked: 1 GiB, 20 times MNIST's largest.
pub(super) const MAX_BYTES: u64 = 1 << 30;
/// Most bytes that are read of one file of a user's own samples, packed or unpacked: 16 GiB.
pub(super) const MAX_OWN: u64 = 16 << 30;

/// Whether `bytes` start like a gzip member (RFC 1952, section 2.3.1: ID1, ID2).
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The content of the file `path`, unpacked if it is gzipped.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::TooLarge`] if there are more than `limit` bytes; [`DataError::CorruptGzip`].
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    read(path, file, length, limit)
}

/// The bytes of `reader`, unpacked if they are gzipped. `name` stands in errors. `length` is a hint how many bytes to make room
/// for; it is not believed beyond `limit`.
///
/// # Errors
/// Those of [`read_file`].
pub(super) fn read(name: &Path, reader: impl Read, length: u64, limit: u64) -> Result<Vec<u8>, DataError> {
    let raw = read_up_to(reader, length, limit).map_err(DataError::io("read", name))?;
    unpack(name, within(name, raw, limit)?, limit)
}

/// `raw` itself, or what it unpacks to if it is gzipped. `name` stands in errors.
///
/// # Errors
/// [`DataError::TooLarge`] if there are more than `limit` bytes; [`DataError::CorruptGzip`].
pub(super) fn unpack(name: &Path, raw: Vec<u8>, limit: u64) -> Result<Vec<u8>, DataError> {
    if !is_gzip(&raw) {
        return within(name, raw, limit);
    }
    // A decoder for several members, because one for a single member would ignore whatever follows the first.
    let unpacked =
        read_up_to(MultiGzDecoder::new(raw.as_slice()), 0, limit).map_err(|source| match source.kind() {
            ErrorKind::OutOfMemory => DataError::io("unpack", name)(source),
            _ => DataError::CorruptGzip { file: name.to_owned(), source },
        })?;
    within(name, unpacked, limit)
}

/// Reads to the end, or one byte beyond `limit`, so that the caller sees that there was more. `length` is a hint how many bytes
/// to make room for, as in [`read`].
pub(super) fn read_up_to(reader: impl Read, length: u64, limit: u64) -> std::io::Result<Vec<u8>> {
    // One byte of room beyond the file lets `read_to_end` find the end without growing.
    let room = usize::try_from(length.min(limit).saturating_add(1)).unwrap_or(0);
    memory::fallibly(|| {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room)?;
        reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// `bytes`, if they are at most `limit`. `name` stands in errors.
///
/// # Errors
/// [`DataError::TooLarge`] if there are more.
pub(super) fn within(name: &Path, bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, DataError> {
    if bytes.len() as u64 > limit {
        return Err(DataError::TooLarge { file: name.to_owned(), limit });
    }
    Ok(bytes)
}

/// `bytes` as one gzip member, for tests of this and other modules.
#[cfg(test)]
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    assert!(encoder.read_to_end(&mut packed).is_ok());
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..5000u32).map(|i| (i * i % 251) as u8).collect()
    }

    #[test]
    fn plain_bytes_stay_and_packed_bytes_unpack() {
        let name = Path::new("x");
        assert_eq!(unpack(name, bytes(), MAX_BYTES).unwrap(), bytes());
        assert_eq!(unpack(name, pack(&bytes()), MAX_BYTES).unwrap(), bytes());
        let twice = [pack(&bytes()), pack(&[7])].concat();
        assert_eq!(unpack(name, twice, MAX_BYTES).unwrap(), [bytes(), vec![7]].concat());
    }

    #[test]
    fn damaged_gzip_is_refused() {
        let whole = pack(&bytes());
        let cut = whole[..whole.len() / 2].to_vec();
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        let trailing = [whole, vec![1, 2, 3]].concat();
        for damaged in [cut, flipped, trailing] {
            let error = unpack(Path::new("x.gz"), damaged, MAX_BYTES).unwrap_err();
            assert!(matches!(error, DataError::CorruptGzip { .. }), "{error}");
        }
    }

    #[test]
    fn the_limit_holds_for_plain_and_packed_bytes() {
        // A bomb: 16 MiB of zeros in about 16 KiB.
        let bomb = pack(&vec![0; 16 << 20]);
        assert!(bomb.len() < 1 << 17);
        let error = unpack(Path::new("bomb"), bomb, 1 << 17).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { limit: 131_072, .. }), "{error}");

        let name = Path::new("x");
        assert_eq!(read(name, [1u8, 2, 3].as_slice(), 3, 3).unwrap(), [1, 2, 3]);
        assert!(matches!(read(name, [1u8, 2, 3].as_slice(), 3, 2), Err(DataError::TooLarge { .. })));
        // A forged length takes no memory beyond the limit.
        assert!(read(name, [1u8, 2].as_slice(), u64::MAX, 8).unwrap().capacity() <= 9);
    }
}
