//! GPUs: kernels of our own, in `kernels/`, and NVIDIA's matrix products.
//!
//! Tensors and messages stay in the device's memory. Each family beside this file turns its calls into launches: which kernel,
//! how many threads, which arguments. A [`Device`] carries them out, one after the other.
//!
//! The same bits from run to run: no sum depends on which thread is first. Elementary functions and what is done to each value
//! on its own have the processor's bits, too; sums and products have an order of their own.

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
pub use device::{Arg, Device, Launch, Product, Side};

use super::{Backend, ComputeError};

macro_rules! sources {
    ($($file:literal),*) => { &[$(($file, include_str!(concat!("../../../kernels/", $file)))),*] };
}

/// The sources of the kernels, by file: what a device compiles.
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

/// What they include: `functions.cuh`.
pub const FUNCTIONS: &str = include_str!("../../../kernels/functions.cuh");

/// Bytes that matrix products may use for themselves: what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Bytes of a device's memory that a rank takes besides tensors, messages and cells, where so many of its sealer's keys are used there.
pub fn own_memory(keys: u64) -> u64 {
    (WORKSPACE + aead::EXPANDED * keys as usize) as u64
}

/// Threads of a block where it does not matter.
const THREADS: u32 = 256;

/// How much a call does at a time. Tests take less, so that small tensors, too, fall into several parts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most blocks over which the values of a tensor are spread; each thread then takes several.
    pub blocks: u32,
    /// Most values of what is made of images at a time, such as a convolution's columns, where one image's are not more.
    /// The bits of a weight's gradient follow from this, too.
    pub values: usize,
}

impl Default for Bounds {
    /// Eight times what a large device runs at once, and 64 MiB.
    fn default() -> Self {
        Self { blocks: 8192, values: 16 << 20 }
    }
}

/// A device as a [`Backend`].
pub struct Cuda<D: Device> {
    device: Arc<D>,
    bounds: Bounds,
    /// What a call needs for itself. Calls run one after the other, so that all may have the same.
    scratch: Mutex<Option<Tensor<D::Memory>>>,
    /// What went wrong before a call was carried out.
    failed: Mutex<Option<ComputeError>>,
}

impl<D: Device> Cuda<D> {
    /// The backend of `device`.
    pub fn new(device: D) -> Self {
        Self {
            device: Arc::new(device),
            bounds: Bounds::default(),
            scratch: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }

    /// The same, with other bounds.
    #[must_use]
    pub fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Who carries its calls out.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// Lets `work` have a buffer of at least `len` values, whatever they are. It grows as it must; where it cannot,
    /// [`finish`](super::Memory::finish) says so.
    fn with_scratch(&self, len: usize, work: impl FnOnce(&Tensor<D::Memory>)) {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.as_ref().is_none_or(|scratch| scratch.len < len) {
            // The old one goes first: there may be no room for both.
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

    /// Launches a kernel over so many threads, in whatever grid.
    fn over(&self, threads: usize, kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        let blocks = threads.div_ceil(THREADS as usize).clamp(1, self.bounds.blocks as usize) as u32;
        self.grid([blocks, 1, 1], THREADS, kernel, args);
    }

    /// Launches a kernel whose x goes over `values` of the `rows` that a tensor has, so that what belongs to a value's place
    /// is worked out once, and whose y goes over these, as far as there are blocks for it.
    fn over_rows(&self, [rows, values]: [usize; 2], kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        let x = values.div_ceil(THREADS as usize);
        let y = (self.bounds.blocks as usize / x.max(1)).clamp(1, rows.max(1));
        self.grid([x as u32, y as u32, 1], THREADS, kernel, args);
    }

    /// Launches a kernel over a grid; not one without blocks.
    fn grid(&self, grid: [u32; 3], block: u32, kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        if !grid.contains(&0) {
            self.device.launch(Launch { kernel, grid, block, shared: 0 }, args);
        }
    }
}

impl<D: Device> Backend for Cuda<D> {
    /// Calls are carried out elsewhere: who makes them is no matter.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn fingerprint(&self) -> String {
        self.device.fingerprint()
    }
}

/// f32 values on a device.
pub struct Tensor<M> {
    memory: M,
    len: usize,
}

impl<M> Tensor<M> {
    /// The first `len` values, to read or to write.
    fn arg(&self, len: usize) -> Arg<'_, M> {
        self.check(len);
        Arg::Memory(&self.memory, 0)
    }

    fn check(&self, len: usize) {
        assert!(len <= self.len, "a buffer of {} values, of which {len} are asked for", self.len);
    }
}

/// A message on a device.
pub struct Message<M> {
    memory: M,
    len: usize,
}

impl<M> Message<M> {
    /// The bytes from `at` up to `at + len`.
    fn arg(&self, at: usize, len: usize) -> Arg<'_, M> {
        self.check(at, len);
        Arg::Memory(&self.memory, at)
    }

    fn check(&self, at: usize, len: usize) {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(fits, "a message of {} bytes, of which {len} from {at} on are asked for", self.len);
    }
}
