//! The backend on the processor: rayon's threads, the kernels of the crate `gemm-f32`, loops compiled to vector code.
//!
//! A result has the same bits for any number of threads. Element-wise loops have no order, sums are folded in a fixed one, and
//! `gemm` splits no sum between threads.

mod attention;
mod conv;
mod elementwise;
mod exact;
mod functions;
mod images;
mod kernel;
mod lookup;
mod loss;
mod norm;
mod optimize;
mod pool;
mod simd;
mod softmax;
mod vector;
mod wire;

use aligned_vec::{AVec, ConstAlign};
use gemm_common::Parallelism;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Backend, ComputeError, Gemm, Matrix, Memory};
use crate::element::Encoding;
use crate::float::Float;
use crate::memory;
use crate::slice;
use crate::threads::Starved;

/// A vector whose memory begins on a cache line's boundary, at a multiple of 64 bytes.
pub type Aligned<T> = AVec<T, ConstAlign<64>>;

/// The work, in multiplications, below which a call is not worth a second thread.
const PARALLEL_WORK: usize = 1 << 20;

/// The processor as a [`Backend`].
pub struct Cpu {
    /// The vector instructions that all loops and products use.
    simd: pulp::Arch,
    /// The worker threads. `None` where there is one thread: work then runs on the thread that calls.
    pool: Option<ThreadPool>,
    /// Number of threads, at least 1.
    threads: usize,
}

impl Cpu {
    /// A backend of `threads` threads. 0 counts as 1.
    ///
    /// # Errors
    /// [`ComputeError::Threads`] if they cannot be started; [`ComputeError::Simd`] if the environment names vector instructions
    /// that the processor lacks.
    pub fn new(threads: usize) -> Result<Self, ComputeError> {
        let simd = simd::chosen()?;
        let pool = match threads {
            0 | 1 => None,
            many => {
                let builder = ThreadPoolBuilder::new().num_threads(many).thread_name(|i| format!("worker {i}"));
                // Who moves messages on the same core goes first.
                let builder = builder.start_handler(|_| _ = slice::lengthen());
                Some(builder.build().map_err(Starved::from)?)
            }
        };
        Ok(Self { simd, pool, threads: threads.max(1) })
    }

    /// Number of threads that this backend works with, at least 1.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `f` on the worker threads if `work` multiplications are worth it, else on the calling thread. `f` is told which:
    /// `true` if it is to divide its work among threads.
    fn in_parts(&self, work: usize, f: impl FnOnce(bool) + Send) {
        match self.threads > 1 && work >= PARALLEL_WORK {
            true => self.enter(|| f(true)),
            false => f(false),
        }
    }

    /// How many of `items` one thread takes, where each is worth `work` multiplications. That is all of them if a second thread
    /// is not worth waking.
    fn share(&self, items: usize, work: usize) -> usize {
        match self.threads > 1 && items.saturating_mul(work) >= PARALLEL_WORK {
            true => items.div_ceil(self.threads),
            false => items,
        }
    }

    /// Computes `to` from the values of `from` in the same places, each worth `work` multiplications. Where that is worth it,
    /// threads compute parts side by side. `f` gets the same part of every slice.
    fn side_by_side<const K: usize>(
        &self,
        work: usize,
        from: [&[f32]; K],
        to: &mut [f32],
        f: impl Fn([&[f32]; K], &mut [f32]) + Sync,
    ) {
        let part = self.share(to.len(), work);
        if part == to.len() {
            return f(from, to);
        }
        self.enter(|| {
            to.par_chunks_mut(part)
                .enumerate()
                .for_each(|(i, to)| f(from.map(|from| &from[i * part..][..to.len()]), to));
        });
    }

    /// Checks that the processor has the vector instructions that the environment asks for, if it asks for any.
    ///
    /// # Errors
    /// [`ComputeError::Simd`] if it does not have them.
    pub fn is_here() -> Result<(), ComputeError> {
        simd::chosen().map(|_| ())
    }

    /// With which threads `gemm` is to multiply, for a product of `work` multiplications.
    fn parallelism(&self, work: usize) -> Parallelism {
        if self.threads > 1 && work >= PARALLEL_WORK { Parallelism::Rayon(self.threads) } else { Parallelism::None }
    }
}

/// A new aligned vector of `len` values, all `zero`. Memory that is not there is an error, not an abort.
fn zeroed<T: Copy>(len: usize, zero: T) -> Result<Aligned<T>, ComputeError> {
    let bytes = len.saturating_mul(size_of::<T>());
    let mut buf = Aligned::new(64);
    memory::fallibly(|| buf.try_reserve(len)).map_err(|_| ComputeError::OutOfMemory { bytes })?;
    buf.resize(len, zero);
    Ok(buf)
}

impl Memory for Cpu {
    type Buf = Aligned<f32>;
    type Bytes = Aligned<u8>;

    fn zeros(&self, len: usize) -> Result<Self::Buf, ComputeError> {
        zeroed(len, 0.0)
    }

    fn upload(&self, values: &[f32], buf: &mut Self::Buf) {
        buf[..values.len()].copy_from_slice(values);
    }

    fn download(&self, buf: &Self::Buf, values: &mut [f32]) {
        values.copy_from_slice(&buf[..values.len()]);
    }

    fn bytes(&self, len: usize) -> Result<Self::Bytes, ComputeError> {
        zeroed(len, 0)
    }

    fn get(&self, bytes: &Self::Bytes, at: usize, host: &mut [u8]) {
        host.copy_from_slice(&bytes[at..at + host.len()]);
    }

    fn put(&self, host: &[u8], bytes: &mut Self::Bytes, at: usize) {
        bytes[at..at + host.len()].copy_from_slice(host);
    }

    fn clear(&self, bytes: &mut Self::Bytes, at: usize, end: usize) {
        bytes[at..end].fill(0);
    }

    fn decode(&self, format: Float, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf) {
        let from = &bytes[at..at + format.bytes() as usize * len];
        wire::decode(self.simd, format, from, &mut to[..len]);
    }

    fn decode_data(
        &self,
        encoding: &Encoding,
        bytes: &Self::Bytes,
        at: usize,
        rows: usize,
        n: usize,
        to: &mut Self::Buf,
    ) {
        let from = &bytes[at..at + encoding.element.bytes() as usize * rows * n];
        wire::decode_data(self.simd, encoding, n, from, &mut to[..rows * n]);
    }

    fn encode(&self, format: Float, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize) {
        let to = &mut bytes[at..at + format.bytes() as usize * len];
        wire::encode(self.simd, format, &from[..len], to);
    }

    fn round(&self, format: Float, len: usize, from: &Self::Buf, to: &mut Self::Buf) {
        wire::round(self.simd, format, &from[..len], &mut to[..len]);
    }

    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf) {
        to[..len].copy_from_slice(&from[..len]);
    }

    fn finish(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}

impl Matrix for Cpu {
    fn transpose(&self, rows: usize, columns: usize, from: &Self::Buf, to: &mut Self::Buf) {
        let len = rows * columns;
        transpose::transpose(&from[..len], &mut to[..len], columns, rows);
    }

    fn gemm(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, c: &mut Self::Buf) {
        match self.parallelism(shape.m * shape.n * shape.k) {
            Parallelism::None => exact::gemm(self.simd, shape, Parallelism::None, a, b, c),
            threads => self.enter(|| exact::gemm(self.simd, shape, threads, a, b, c)),
        }
    }

    fn gemm_bias(&self, shape: Gemm, a: &Self::Buf, b: &Self::Buf, bias: &Self::Buf, relu: bool, c: &mut Self::Buf) {
        self.fill_rows(shape.m, shape.n, bias, c);
        self.gemm(Gemm { accumulate: true, ..shape }, a, b, c);
        if relu {
            let c = &mut c[..shape.m * shape.n];
            self.side_by_side(elementwise::COPIED, [], c, |[], c| elementwise::relu(self.simd, c));
        }
    }

    fn fill_rows(&self, rows: usize, n: usize, bias: &Self::Buf, y: &mut Self::Buf) {
        for row in y[..rows * n].chunks_exact_mut(n) {
            row.copy_from_slice(&bias[..n]);
        }
    }

    fn sum_rows(&self, rows: usize, n: usize, x: &Self::Buf, accumulate: bool, sum: &mut Self::Buf) {
        elementwise::sum_rows(self.simd, &x[..rows * n], accumulate, &mut sum[..n]);
    }
}

impl Backend for Cpu {
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn fingerprint(&self) -> String {
        format!("cpu/{}", simd::name(self.simd))
    }
}
