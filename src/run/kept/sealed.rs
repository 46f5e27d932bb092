//! A stream of bytes that is sealed chunk by chunk, so that it may be longer than memory.
//!
//! Each chunk but the last has [`CHUNK`] bytes and is sealed with AES-256-GCM under the stream's key. The nonce is the chunk's number
//! (u64, little-endian), then 1 for the last chunk and 0 for any other, then three zeros. So chunks can neither change places nor
//! be left out, and a stream that was cut off does not pass for a whole one.

use std::io::{Error, ErrorKind, Read, Result, Write};

use zeroize::Zeroizing;

use crate::crypto::Unauthentic;
use crate::crypto::aead::{Aead, Library, Nonce, TAG};
use crate::crypto::key::Key;
use crate::memory;

/// How many bytes a chunk has before it is sealed.
const CHUNK: usize = 1 << 20;

/// The cipher of a stream under `key`, which is for this stream alone.
fn cipher(key: &Key) -> Box<dyn Aead> {
    Library::AwsLc.key(key)
}

/// The nonce of chunk `number`.
fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = last.into();
    nonce
}

/// Memory for `bytes` bytes, as an error of reading or writing where there is none.
fn room(bytes: usize) -> Result<Vec<u8>> {
    memory::zeroed(bytes).map_err(|error| Error::new(ErrorKind::OutOfMemory, error))
}

/// Seals what is written to it, and writes that on. Call [`finish`](Self::finish) at the end: without it, the stream is no whole one.
pub(super) struct SealedWriter<W> {
    cipher: Box<dyn Aead>,
    /// The number of the chunk that is being filled.
    number: u64,
    /// That chunk, and how far it is filled.
    chunk: Zeroizing<Vec<u8>>,
    filled: usize,
    /// Memory for the chunk once it is sealed.
    sealed: Vec<u8>,
    to: W,
}

impl<W: Write> SealedWriter<W> {
    /// Seals under `key`, and writes to `to`.
    pub(super) fn new(key: &Key, to: W) -> Result<Self> {
        let (chunk, sealed) = (Zeroizing::new(room(CHUNK)?), room(CHUNK + TAG)?);
        Ok(Self { cipher: cipher(key), number: 0, chunk, filled: 0, sealed, to })
    }

    /// Seals the chunk as far as it is filled, and writes it.
    fn seal(&mut self, last: bool) -> Result<()> {
        let sealed = &mut self.sealed[..self.filled + TAG];
        self.cipher.seal(&nonce(self.number, last), &[], &self.chunk[..self.filled], sealed);
        self.to.write_all(sealed)?;
        self.number += 1;
        self.filled = 0;
        Ok(())
    }

    /// Writes the last chunk. Returns where it was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.seal(true)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        // A full chunk is sealed only when more follows: else it is the last.
        if self.filled == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.filled);
        self.chunk[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Opens a stream that [`SealedWriter`] has sealed.
pub(super) struct SealedReader<R> {
    cipher: Box<dyn Aead>,
    /// The number of the chunk that comes next.
    number: u64,
    /// The chunk that is being read, and which of its bytes are still to be read.
    chunk: Zeroizing<Vec<u8>>,
    left: std::ops::Range<usize>,
    /// How many bytes of the sealed stream are still to come.
    behind: u64,
    sealed: Vec<u8>,
    from: R,
}

impl<R: Read> SealedReader<R> {
    /// Opens the next `length` bytes of `from` under `key`.
    pub(super) fn new(key: &Key, from: R, length: u64) -> Result<Self> {
        let (chunk, sealed) = (Zeroizing::new(room(CHUNK)?), room(CHUNK + TAG)?);
        Ok(Self { cipher: cipher(key), number: 0, chunk, left: 0..0, behind: length, sealed, from })
    }

    /// Reads and opens the next chunk.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] where it was not sealed under this key, for this place.
    fn open(&mut self) -> Result<()> {
        let length = self.behind.min((CHUNK + TAG) as u64) as usize;
        let Some(plain) = length.checked_sub(TAG) else {
            return Err(ErrorKind::InvalidData.into());
        };
        let sealed = &mut self.sealed[..length];
        self.from.read_exact(sealed)?;
        self.behind -= length as u64;
        let nonce = nonce(self.number, self.behind == 0);
        let opened = self.cipher.open(&nonce, &[], sealed, &mut self.chunk[..plain]);
        opened.map_err(|Unauthentic| Error::from(ErrorKind::InvalidData))?;
        self.number += 1;
        self.left = 0..plain;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        // An empty stream has one chunk as well.
        if self.left.is_empty() && (self.behind > 0 || self.number == 0) {
            self.open()?;
        }
        let taken = bytes.len().min(self.left.len());
        bytes[..taken].copy_from_slice(&self.chunk[self.left.start..][..taken]);
        self.left.start += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32])
    }

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::new(&key(1), Vec::new()).unwrap();
        // In parts that do not fall on chunks.
        bytes.chunks(300_007).for_each(|part| writer.write_all(part).unwrap());
        writer.finish().unwrap()
    }

    fn opened(under: u8, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        SealedReader::new(&key(under), sealed, sealed.len() as u64)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_was_sealed_is_read_whole_or_not_at_all() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let sealed = sealed(&bytes);
            assert_eq!(sealed.len(), length + TAG * length.div_ceil(CHUNK).max(1));
            assert!(opened(1, &sealed).unwrap() == bytes, "{length}");
            assert_eq!(opened(2, &sealed).unwrap_err().kind(), ErrorKind::InvalidData, "another key");
            for at in [0, sealed.len() / 2, sealed.len() - 1] {
                let mut altered = sealed.clone();
                altered[at] ^= 1;
                assert_eq!(opened(1, &altered).unwrap_err().kind(), ErrorKind::InvalidData, "{length}: byte {at}");
            }
            // Cut off, behind a chunk too, and with chunks in each other's places.
            for end in [0, TAG - 1, sealed.len() - 1, (sealed.len() - 1) / (CHUNK + TAG) * (CHUNK + TAG)] {
                assert!(opened(1, &sealed[..end]).is_err(), "{length}: {end} bytes");
            }
            if length > 2 * CHUNK {
                let (one, rest) = sealed.split_at(CHUNK + TAG);
                let (two, rest) = rest.split_at(CHUNK + TAG);
                assert!(opened(1, &[two, one, rest].concat()).is_err());
            }
        }
    }
}
