//! Where numbers are: tensors and messages, and what moves between them.

use super::ComputeError;
use crate::element::Encoding;
use crate::float::Float;

/// Two kinds of memory: a [`Buf`](Memory::Buf) holds a tensor's f32 values, [`Bytes`](Memory::Bytes) a message.
pub trait Memory {
    /// f32 values.
    type Buf: Send;
    /// The bytes of a message.
    type Bytes: Send;

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    fn zeros(&self, len: usize) -> Result<Self::Buf, ComputeError>;

    /// Copies `values` to the start of `buf`.
    fn upload(&self, values: &[f32], buf: &mut Self::Buf);

    /// Copies the start of `buf` to `values`; done when it returns.
    fn download(&self, buf: &Self::Buf, values: &mut [f32]);

    /// A message of `len` zero bytes.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    fn bytes(&self, len: usize) -> Result<Self::Bytes, ComputeError>;

    /// Copies the bytes from `at` on to `host`; done when it returns.
    fn get(&self, bytes: &Self::Bytes, at: usize, host: &mut [u8]);

    /// Copies `host` to the bytes from `at` on.
    fn put(&self, host: &[u8], bytes: &mut Self::Bytes, at: usize);

    /// Zeroes the bytes from `at` up to `end`.
    fn clear(&self, bytes: &mut Self::Bytes, at: usize, end: usize);

    /// `to` = the `len` numbers of `format` from `at` on, little-endian.
    fn decode(&self, format: Float, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf);

    /// `to` (rows, n) = the data's values from `at` on, as `encoding` has them, which is one for `n` values.
    fn decode_data(
        &self,
        encoding: &Encoding,
        bytes: &Self::Bytes,
        at: usize,
        rows: usize,
        n: usize,
        to: &mut Self::Buf,
    );

    /// The bytes from `at` on = the first `len` values of `from`, rounded to the nearest of `format` (to even between two),
    /// little-endian.
    fn encode(&self, format: Float, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize);

    /// The first `len` values of `to` = those of `from`, as [`encode`](Memory::encode) and [`decode`](Memory::decode)
    /// would leave them.
    fn round(&self, format: Float, len: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// The first `len` values of `to` = those of `from`.
    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf);

    /// Waits until all calls are done.
    ///
    /// # Errors
    /// What went wrong in one of them.
    fn finish(&self) -> Result<(), ComputeError>;
}
