//! Numbers: tensors and the arithmetic on them, on the processor here, on other devices behind the same trait.
//!
//! A [`Backend`] owns two kinds of memory: a [`Buf`](Backend::Buf) holds a tensor's f32 values, [`Bytes`](Backend::Bytes)
//! a message. Messages are sealed from and opened into `Bytes`, so a tensor stays where it is from the opening of one
//! message to the sealing of the next.
//!
//! Calls may be asynchronous. Each runs after all earlier calls of the same backend, and hands back an event for those
//! who must know when it is done. An error of an asynchronous call comes out of [`Backend::wait`].
//!
//! Architecture invariant: knows numbers, not layers, messages or ranks. Every result is the same bits from run to run
//! and for any number of threads.

pub mod cpu;

use thiserror::Error;

/// What can go wrong with numbers.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// The device has no memory left.
    #[error("out of memory: {bytes} bytes asked for")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// The shape of a matrix product C = A B, all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// A is stored as its transpose, (k, m).
    pub a_transposed: bool,
    /// B is stored as its transpose, (n, k).
    pub b_transposed: bool,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

/// What a loss makes of one micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the samples' losses.
    pub loss: f64,
    /// Samples whose largest output is that of their class.
    pub correct: u32,
}

/// Tensors and the arithmetic on them.
///
/// Sizes are in values. A buffer may be longer than what a call uses of it; the rest is left alone.
///
/// # Panics
/// Every call panics where a buffer is shorter than its sizes say.
pub trait Backend {
    /// f32 values.
    type Buf: Send;
    /// The bytes of a message.
    type Bytes: Send;
    /// Tells when a call is done.
    type Event;

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    fn zeros(&self, len: usize) -> Result<Self::Buf, ComputeError>;

    /// Copies `values` to the start of `buf`.
    fn upload(&self, values: &[f32], buf: &mut Self::Buf) -> Self::Event;

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
    fn put(&self, host: &[u8], bytes: &mut Self::Bytes, at: usize) -> Self::Event;

    /// Zeroes the bytes from `at` up to `end`.
    fn clear(&self, bytes: &mut Self::Bytes, at: usize, end: usize) -> Self::Event;

    /// `to[i]` = the little-endian f32 at `at + 4 i`, for `len` values.
    fn decode_f32(&self, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf) -> Self::Event;

    /// `to[i]` = `scale` times the byte at `at + i`, for `len` values.
    fn decode_u8(&self, bytes: &Self::Bytes, at: usize, len: usize, scale: f32, to: &mut Self::Buf) -> Self::Event;

    /// The bytes from `at` on = the first `len` values of `from`, little-endian f32.
    fn encode_f32(&self, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize) -> Self::Event;

    /// The first `len` values of `to` = those of `from`.
    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf) -> Self::Event;

    /// `to` (columns, rows) = the transpose of `from` (rows, columns), both row-major.
    fn transpose(&self, rows: usize, columns: usize, from: &Self::Buf, to: &mut Self::Buf) -> Self::Event;

    /// C = A B, or C + A B.
    fn gemm(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, c: &mut Self::Buf) -> Self::Event;

    /// Every row of `y` (rows, n) = `bias` (n).
    fn fill_rows(&self, rows: usize, n: usize, bias: &Self::Buf, y: &mut Self::Buf) -> Self::Event;

    /// `sum` (n) = the sum of the rows of `x` (rows, n), first to last, on top of what it holds if `accumulate`.
    fn sum_rows(&self, rows: usize, n: usize, x: &Self::Buf, accumulate: bool, sum: &mut Self::Buf) -> Self::Event;

    /// `y` = max(`x`, 0), `len` values; not a number stays so.
    fn relu(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf) -> Self::Event;

    /// `dx` = `dy` where `y` > 0, else 0.
    fn relu_backward(&self, len: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf) -> Self::Event;

    /// `w -= rate * g`
    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf) -> Self::Event;

    /// `v = momentum * v + g; w -= rate * v`
    fn sgd_momentum(
        &self,
        len: usize,
        rate: f32,
        momentum: f32,
        g: &Self::Buf,
        v: &mut Self::Buf,
        w: &mut Self::Buf,
    ) -> Self::Event;

    /// Softmax cross entropy of `x` (labels.len(), classes) against `labels`, and its gradient times `weight` in `dx`
    /// (same shape). Done when it returns.
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum;

    /// Waits until `event` is done.
    ///
    /// # Errors
    /// What went wrong in an asynchronous call up to there.
    fn wait(&self, event: Self::Event) -> Result<(), ComputeError>;

    /// Runs `work` where the backend's threads are at hand.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// What the bits of a result depend on, besides the program: instruction set, cache sizes, device.
    fn fingerprint(&self) -> String;
}
