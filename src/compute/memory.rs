//! The memory that a backend computes in: tensors, messages, and what moves between them.

use super::ComputeError;
use crate::element::Encoding;
use crate::float::Float;

/// The two kinds of memory of a backend: a [`Buf`](Memory::Buf) holds the f32 values of a tensor, a [`Bytes`](Memory::Bytes)
/// holds a message.
pub trait Memory {
    /// A buffer of f32 values, in the backend's memory.
    type Buf: Send;
    /// The bytes of a message, in the backend's memory.
    type Bytes: Send;

    /// A new buffer of `len` values, all zero.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if the memory is not there.
    fn zeros(&self, len: usize) -> Result<Self::Buf, ComputeError>;

    /// Copies `values` from the host to the start of `buf`.
    fn upload(&self, values: &[f32], buf: &mut Self::Buf);

    /// Copies the first `values.len()` values of `buf` to the host. It is done when it returns.
    fn download(&self, buf: &Self::Buf, values: &mut [f32]);

    /// A new message of `len` bytes, all zero.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if the memory is not there.
    fn bytes(&self, len: usize) -> Result<Self::Bytes, ComputeError>;

    /// Copies `host.len()` bytes of `bytes`, from byte `at` on, to the host. It is done when it returns.
    fn get(&self, bytes: &Self::Bytes, at: usize, host: &mut [u8]);

    /// Copies `host` into `bytes`, from byte `at` on.
    fn put(&self, host: &[u8], bytes: &mut Self::Bytes, at: usize);

    /// Zeroes `bytes` from byte `at` up to, but without, byte `end`.
    fn clear(&self, bytes: &mut Self::Bytes, at: usize, end: usize);

    /// Reads `len` little-endian numbers of `format` from byte `at` on, and writes them to the first values of `to`.
    fn decode(&self, format: Float, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf);

    /// Reads the data's values, `rows` times `n`, from byte `at` on, and writes them as f32 to `to` (rows, n). `encoding` says
    /// how they are stored and how each channel is scaled and shifted; it must be made for `n` values a row.
    fn decode_data(
        &self,
        encoding: &Encoding,
        bytes: &Self::Bytes,
        at: usize,
        rows: usize,
        n: usize,
        to: &mut Self::Buf,
    );

    /// Writes the first `len` values of `from` to `bytes`, from byte `at` on, as little-endian numbers of `format`. Each is
    /// rounded to the nearest number of the format, and to the even one between two.
    fn encode(&self, format: Float, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize);

    /// Writes the first `len` values of `from` to `to`, rounded as [`encode`](Memory::encode) followed by
    /// [`decode`](Memory::decode) would round them.
    fn round(&self, format: Float, len: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// Copies the first `len` values of `from` to `to`.
    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// Waits until all earlier calls of this backend are done.
    ///
    /// # Errors
    /// The error of an earlier call that failed.
    fn finish(&self) -> Result<(), ComputeError>;
}
