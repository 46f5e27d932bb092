//! The backend on a GPU: kernels of our own, in `kernels/`, and matrix products by NVIDIA's cuBLASLt.
//!
//! Tensors and messages stay in the device's memory. Each family beside this file turns its calls into launches: which kernel,
//! how many threads, which arguments. A [`Device`] carries them out, one after the other.
//!
//! Results have the same bits from run to run, since no sum depends on which thread is first. Elementary functions and
//! element-wise operations have the same bits as on the processor. Sums and products have an order of their own.

mod aead;
mod attention;
mod conv;
mod device;
#[cfg(feature = "cuda")]
pub mod driver;
mod elementwise;
mod images;
mod lookup;
mod loss;
mod matrix;
mod memory;
mod norm;
mod optimize;
mod softmax;

use std::sync::{Arc, Mutex, PoisonError};

pub use aead::CudaSealer;
pub use device::{Arg, Device, Launch, OperandLayout, Product};

use super::{Backend, ComputeError};

macro_rules! sources {
    ($($file:literal),*) => { &[$(($file, include_str!(concat!("../../../kernels/", $file)))),*] };
}

/// The source files of the kernels, as pairs of file name and text. A device compiles them.
pub const SOURCES: &[(&str, &str)] = sources![
    "aes_gcm.cu",
    "attention.cu",
    "conv.cu",
    "elementwise.cu",
    "lookup.cu",
    "loss.cu",
    "matrix.cu",
    "norm.cu",
    "optimize.cu",
    "pool.cu",
    "softmax.cu",
    "wire.cu"
];

/// The text of `functions.cuh`, which the kernels include.
pub const FUNCTIONS: &str = include_str!("../../../kernels/functions.cuh");

/// Size of the workspace of matrix products, in bytes. It is what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Device memory, in bytes, that a rank takes besides tensors, messages and cells, if the device uses so many of its sealer's
/// keys.
pub fn own_memory(keys: u64) -> u64 {
    (WORKSPACE + aead::EXPANDED * keys as usize) as u64
}

/// Number of threads of a block, where nothing asks for another.
const THREADS: u32 = 256;

/// How much a call does at a time. Tests set less, so that small tensors fall into several parts, too.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most blocks over which the values of a tensor are spread. If a tensor has more values than threads, each thread takes
    /// several.
    pub blocks: u32,
    /// Most values of an intermediate result that is made for several images at a time, such as a convolution's columns. A
    /// single image may exceed it. The bits of a weight's gradient depend on this.
    pub values: usize,
}

impl Default for Bounds {
    /// 8192 blocks, eight times what a large device runs at once, and 16 Mi values, which are 64 MiB.
    fn default() -> Self {
        Self { blocks: 8192, values: 16 << 20 }
    }
}

/// A device as a [`Backend`].
pub struct Cuda<D: Device> {
    /// The device that carries out all calls.
    device: Arc<D>,
    /// How much a call does at a time.
    bounds: Bounds,
    /// A buffer that a call may use for itself. Since calls run one after the other, all share it.
    scratch: Mutex<Option<Tensor<D::Memory>>>,
    /// An error that occurred before a call reached the device. [`finish`](super::Memory::finish) returns it.
    failed: Mutex<Option<ComputeError>>,
}

impl<D: Device> Cuda<D> {
    /// The backend that computes on `device`, with the default bounds.
    pub fn new(device: D) -> Self {
        Self {
            device: Arc::new(device),
            bounds: Bounds::default(),
            scratch: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }

    /// This backend, with other bounds.
    #[must_use]
    pub fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// The device that carries out the calls.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// Calls `work` with the scratch buffer, which has at least `len` values of any content. The buffer grows if it must. If it
    /// cannot, `work` is not called, and [`finish`](super::Memory::finish) returns the error.
    fn with_scratch(&self, len: usize, work: impl FnOnce(&Tensor<D::Memory>)) {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.as_ref().is_none_or(|scratch| scratch.len < len) {
            // The old buffer is freed first, because there may be no room for both.
            *scratch = None;
            match self.tensor(len) {
                Ok(larger) => *scratch = Some(larger),
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(scratch) = &*scratch {
            work(scratch);
        }
    }

    /// Launches a kernel over at least so many threads, or as many as the bounds allow. The kernel loops over what is left.
    fn over(&self, threads: usize, kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        let blocks = threads.div_ceil(THREADS as usize).clamp(1, self.bounds.blocks as usize) as u32;
        self.grid([blocks, 1, 1], THREADS, kernel, args);
    }

    /// Launches a kernel over `rows` rows of `values` values each. x goes over the values, so that a thread computes only once
    /// what depends on its place in the row. y goes over the rows, as far as the bounds allow blocks.
    fn over_rows(&self, [rows, values]: [usize; 2], kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        let x = values.div_ceil(THREADS as usize);
        let y = (self.bounds.blocks as usize / x.max(1)).clamp(1, rows.max(1));
        self.grid([x as u32, y as u32, 1], THREADS, kernel, args);
    }

    /// Launches a kernel over `grid` blocks of `block` threads. A grid without blocks is not launched.
    fn grid(&self, grid: [u32; 3], block: u32, kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        if !grid.contains(&0) {
            self.device.launch(Launch { kernel, grid, block, shared: 0 }, args);
        }
    }
}

impl<D: Device> Backend for Cuda<D> {
    /// Calls `work` at once: the device carries calls out whichever thread makes them.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn fingerprint(&self) -> String {
        self.device.fingerprint()
    }
}

/// A tensor of f32 values in a device's memory.
pub struct Tensor<M> {
    /// The device memory that holds it.
    memory: M,
    /// Number of f32 values of the tensor.
    len: usize,
}

impl<M> Tensor<M> {
    /// The tensor as a kernel's argument, to read or write its first `len` values. Panics if it has fewer.
    fn arg(&self, len: usize) -> Arg<'_, M> {
        self.check(len);
        Arg::Memory(&self.memory, 0)
    }

    /// Panics unless the tensor has at least `len` values.
    fn check(&self, len: usize) {
        assert!(len <= self.len, "a buffer of {} values, of which {len} are asked for", self.len);
    }
}

/// A message in a device's memory.
pub struct Message<M> {
    /// The device memory that holds it.
    memory: M,
    /// Length of the message in bytes.
    len: usize,
}

impl<M> Message<M> {
    /// The message's bytes from `at` up to `at + len` as a kernel's argument. Panics if it is shorter.
    fn arg(&self, at: usize, len: usize) -> Arg<'_, M> {
        self.check(at, len);
        Arg::Memory(&self.memory, at)
    }

    /// Panics unless the message has the bytes from `at` up to `at + len`.
    fn check(&self, at: usize, len: usize) {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(fits, "a message of {} bytes, of which {len} from {at} on are asked for", self.len);
    }
}
