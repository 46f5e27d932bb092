//! The processor: rayon's threads, the crate `gemm`, vector loops.
//!
//! A result has the same bits for any number of threads: element-wise loops have no order, sums are folded in a fixed
//! one, and `gemm` splits no sum between threads.

mod conv;
mod elementwise;
mod exact;
mod fingerprint;
mod functions;
mod norm;
mod pool;
mod softmax;
mod vector;

use aligned_vec::{AVec, ConstAlign};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    Backend, ComputeError, Conv, Elementwise, Function, Gemm, Grid, Images, LossSum, Matrix, Memory, Norm, Place,
    Pool, Softmax, Window,
};

/// Memory on a cache line's boundary.
pub type Aligned<T> = AVec<T, ConstAlign<64>>;

/// Multiplications below which a product is not worth a second thread.
const PARALLEL_WORK: usize = 1 << 20;

/// The processor as a [`Backend`].
pub struct Cpu {
    simd: pulp::Arch,
    /// `None` for one thread: work runs where it is called.
    pool: Option<ThreadPool>,
    threads: usize,
}

impl Cpu {
    /// A backend of `threads` threads, at least one.
    ///
    /// # Errors
    /// Where the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = match threads {
            0 | 1 => None,
            many => Some(ThreadPoolBuilder::new().num_threads(many).thread_name(|i| format!("worker {i}")).build()?),
        };
        Ok(Self { simd: pulp::Arch::new(), pool, threads: threads.max(1) })
    }

    /// Runs `f` where the threads are, and tells whether to use them for so many multiplications.
    fn in_parts(&self, work: usize, f: impl FnOnce(bool) + Send) {
        match self.threads > 1 && work >= PARALLEL_WORK {
            true => self.enter(|| f(true)),
            false => f(false),
        }
    }

    fn parallelism(&self, work: usize) -> gemm::Parallelism {
        if self.threads > 1 && work >= PARALLEL_WORK {
            gemm::Parallelism::Rayon(self.threads)
        } else {
            gemm::Parallelism::None
        }
    }
}

/// Values of the images that go in and come out.
fn conv_sizes(shape: Conv, rows: usize) -> [usize; 2] {
    [rows * shape.channels * shape.window.pixels(), rows * shape.out * shape.window.outputs()]
}

fn zeroed<T: Copy>(len: usize, zero: T) -> Result<Aligned<T>, ComputeError> {
    let bytes = len.saturating_mul(size_of::<T>());
    let mut buf = Aligned::new(64);
    buf.try_reserve(len).map_err(|_| ComputeError::OutOfMemory { bytes })?;
    buf.resize(len, zero);
    Ok(buf)
}

impl Memory for Cpu {
    type Buf = Aligned<f32>;
    type Bytes = Aligned<u8>;
    type Event = ();

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

    fn decode_f32(&self, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf) {
        let from = bytes[at..at + 4 * len].as_chunks::<4>().0;
        for (to, from) in to[..len].iter_mut().zip(from) {
            *to = f32::from_le_bytes(*from);
        }
    }

    fn decode_u8(&self, bytes: &Self::Bytes, at: usize, len: usize, scale: f32, to: &mut Self::Buf) {
        elementwise::scale_bytes(self.simd, &bytes[at..at + len], scale, &mut to[..len]);
    }

    fn encode_f32(&self, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize) {
        let to = bytes[at..at + 4 * len].as_chunks_mut::<4>().0;
        for (to, from) in to.iter_mut().zip(&from[..len]) {
            *to = from.to_le_bytes();
        }
    }

    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf) {
        to[..len].copy_from_slice(&from[..len]);
    }

    fn wait(&self, (): ()) -> Result<(), ComputeError> {
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
            gemm::Parallelism::None => exact::gemm(shape, gemm::Parallelism::None, a, b, c),
            threads => self.enter(|| exact::gemm(shape, threads, a, b, c)),
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

impl Elementwise for Cpu {
    fn map(&self, f: Function, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        elementwise::map(self.simd, f, &x[..len], &mut y[..len]);
    }

    fn map_backward(
        &self,
        f: Function,
        len: usize,
        x: &Self::Buf,
        y: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        elementwise::map_backward(self.simd, f, &x[..len], &y[..len], &dy[..len], &mut dx[..len]);
    }

    fn add(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        elementwise::add(self.simd, &x[..len], &mut y[..len]);
    }

    fn blend(&self, len: usize, part: f32, factor: f32, from: &Self::Buf, to: &mut Self::Buf) {
        elementwise::blend(self.simd, part, factor, &from[..len], &mut to[..len]);
    }

    fn drop_out(&self, place: Place, p: f32, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        elementwise::drop_out(self.simd, place, p, &x[..len], &mut y[..len]);
    }

    fn sgd(&self, len: usize, rate: f32, g: &Self::Buf, w: &mut Self::Buf) {
        elementwise::sgd(self.simd, rate, &g[..len], &mut w[..len]);
    }

    fn sgd_momentum(
        &self,
        len: usize,
        rate: f32,
        momentum: f32,
        g: &Self::Buf,
        v: &mut Self::Buf,
        w: &mut Self::Buf,
    ) {
        elementwise::sgd_momentum(self.simd, rate, momentum, &g[..len], &mut v[..len], &mut w[..len]);
    }
}

impl Softmax for Cpu {
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf) {
        softmax::softmax(self.simd, n, &x[..rows * n], &mut y[..rows * n]);
    }

    fn softmax_backward(&self, rows: usize, n: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf) {
        let len = rows * n;
        softmax::softmax_backward(self.simd, n, &y[..len], &dy[..len], &mut dx[..len]);
    }

    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum {
        let len = labels.len() * classes;
        softmax::cross_entropy(self.simd, classes, &x[..len], labels, weight, &mut dx[..len])
    }
}

impl Images for Cpu {
    fn conv_scratch(&self, shape: Conv) -> usize {
        conv::scratch(shape)
    }

    fn conv(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        bias: Option<&Self::Buf>,
        scratch: &mut Self::Buf,
        y: &mut Self::Buf,
    ) {
        let [from, to] = conv_sizes(shape, rows);
        let (x, y, bias) = (&x[..from], &mut y[..to], bias.map(|bias| &bias[..shape.out]));
        self.in_parts(to * shape.under(), |parallel| {
            conv::forward(self.simd, parallel, shape, x, weight, bias, scratch, y);
        });
    }

    fn conv_backward_input(
        &self,
        shape: Conv,
        rows: usize,
        dy: &Self::Buf,
        weight: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let [from, to] = conv_sizes(shape, rows);
        let (dx, dy) = (&mut dx[..from], &dy[..to]);
        self.in_parts(to * shape.under(), |parallel| {
            conv::backward_input(self.simd, parallel, shape, dy, weight, scratch, dx);
        });
    }

    fn conv_backward_weight(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        accumulate: bool,
        scratch: &mut Self::Buf,
        dw: &mut Self::Buf,
    ) {
        let [from, to] = conv_sizes(shape, rows);
        let (x, dy, dw) = (&x[..from], &dy[..to], &mut dw[..shape.out * shape.under()]);
        self.in_parts(to * shape.under(), |parallel| {
            conv::backward_weight(self.simd, parallel, shape, x, dy, accumulate, scratch, dw);
        });
    }

    fn pool(&self, pool: Pool, window: Window, planes: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        pool::forward(self.simd, pool, window, &x[..from], &mut y[..to]);
    }

    fn pool_backward(
        &self,
        pool: Pool,
        window: Window,
        planes: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        pool::backward(self.simd, pool, window, &x[..from], &dy[..to], &mut dx[..from]);
    }
}

impl Norm for Cpu {
    fn moments(&self, grid: Grid, centred: bool, x: &Self::Buf, mean: &mut Self::Buf, variance: &mut Self::Buf) {
        let (mean, variance) = (&mut mean[..grid.sets], &mut variance[..grid.sets]);
        norm::moments(self.simd, grid, centred, &x[..grid.len()], mean, variance);
    }

    fn normalize(
        &self,
        grid: Grid,
        eps: f32,
        x: &Self::Buf,
        mean: &Self::Buf,
        variance: &Self::Buf,
        y: &mut Self::Buf,
    ) {
        let len = grid.len();
        norm::normalize(self.simd, grid, eps, &x[..len], &mean[..grid.sets], &variance[..grid.sets], &mut y[..len]);
    }

    fn normalize_backward(
        &self,
        grid: Grid,
        centred: bool,
        eps: f32,
        n: &Self::Buf,
        variance: &Self::Buf,
        dn: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let (len, variance) = (grid.len(), &variance[..grid.sets]);
        norm::normalize_backward(self.simd, grid, centred, eps, &n[..len], variance, &dn[..len], &mut dx[..len]);
    }

    fn scale(&self, grid: Grid, x: &Self::Buf, weight: &Self::Buf, bias: Option<&Self::Buf>, y: &mut Self::Buf) {
        let (len, bias) = (grid.len(), bias.map(|bias| &bias[..grid.sets]));
        norm::scale(self.simd, grid, &x[..len], &weight[..grid.sets], bias, &mut y[..len]);
    }

    fn set_sums(&self, grid: Grid, x: &Self::Buf, y: Option<&Self::Buf>, accumulate: bool, sums: &mut Self::Buf) {
        let (len, sets) = (grid.len(), grid.sets);
        norm::set_sums(self.simd, grid, &x[..len], y.map(|y| &y[..len]), accumulate, &mut sums[..sets]);
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
        fingerprint::of(self.simd)
    }
}
