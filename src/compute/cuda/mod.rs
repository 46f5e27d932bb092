//! GPUs: kernels of our own, in `kernels/`, and NVIDIA's matrix products.
//!
//! Tensors and messages stay in the device's memory. Each family beside this file turns its calls into launches: which kernel,
//! how many threads, which arguments. A [`Device`] carries them out, one after the other.
//!
//! The same bits from run to run: no sum depends on which thread is first. Elementary functions and what is done to each value
//! on its own have the processor's bits, too; sums and products have an order of their own.

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
mod matrix;
mod memory;
mod memory;
mod norm;
mod optimize;
mod softmax;

use std::sync::{Arc, Mutex, PoisonError};

pub use device::{Arg, Device, Launch, Product, Side};

use super::ComputeError;

macro_rules! sources {
    ($($file:literal),*) => { &[$(($file, include_str!(concat!("../../../kernels/", $file)))),*] };
}

/// The sources of the kernels, by file: what a device compiles.
pub const SOURCES: &[(&str, &str)] = sources![
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

/// Threads of a block where it does not matter.
const THREADS: u32 = 256;
/// Most blocks over which the values of a tensor are spread; each then takes several.
const BLOCKS: u32 = 8192;
/// Most values of a convolution's columns at a time, where one image does not have more: 64 MiB.
const COLUMNS: usize = 16 << 20;

/// A device as a [`Backend`].
pub struct Cuda<D: Device> {
    device: Arc<D>,
    /// See [`COLUMNS`].
    columns: usize,
    /// What a call needs for itself. Calls run one after the other, so that all may have the same.
    scratch: Mutex<Option<Tensor<D::Memory>>>,
    /// What went wrong before a call was carried out.
    failed: Mutex<Option<ComputeError>>,
}

impl<D: Device> Cuda<D> {
    /// The backend of `device`.
    pub fn new(device: D) -> Self {
        Self { device: Arc::new(device), columns: COLUMNS, scratch: Mutex::new(None), failed: Mutex::new(None) }
    }

    /// The same, with so many values of a convolution's columns at a time at most.
    #[must_use]
    pub fn with_columns(self, columns: usize) -> Self {
        Self { columns, ..self }
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
        let blocks = threads.div_ceil(THREADS as usize).clamp(1, BLOCKS as usize) as u32;
        self.grid([blocks, 1, 1], THREADS, kernel, args);
    }

    /// Launches a kernel over a grid; not one without blocks.
    fn grid(&self, grid: [u32; 3], block: u32, kernel: &'static str, args: &[Arg<'_, D::Memory>]) {
        if !grid.contains(&0) {
            self.device.launch(Launch { kernel, grid, block, shared: 0 }, args);
        }
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
