//! A GPU as a [`Device`], through NVIDIA's driver. The driver's library is looked for only when the program runs.
//!
//! The error of a failed call is kept until [`finish`](Device::finish) returns it. Until then, further calls do nothing.
#![allow(unsafe_code)]

pub mod compile;
mod gpu;
mod lt;
mod pinned;

use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::{result, sys};

use self::gpu::{Gpu, failure};
use self::lt::{Operands, Products};
use self::pinned::Pinned;
use super::{Arg, Device, Launch, OperandLayout, Product, WORKSPACE};
use crate::compute::{ComputeError, Gemm};
use crate::device_memory::DeviceBlocks;
use crate::float::Precision;

pub use gpu::{About, GpuMemory, found};
pub use lt::version as products_version;

/// Environment variables that make the driver write a GPU's memory to a file.
const DUMPS: [&str; 3] = [
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION",
    "CUDA_ENABLE_CPU_COREDUMP_ON_EXCEPTION",
    "CUDA_ENABLE_USER_TRIGGERED_COREDUMP",
];

/// A queue of a GPU, with all that its calls need.
pub struct Driver {
    /// The driver's handle of the queue.
    queue: sys::CUstream,
    /// In which precision products are computed.
    precision: Precision,
    /// What the calls of this queue share and change.
    state: Mutex<QueueState>,
    /// The GPU. It is the last field, so that it is dropped after the others, which give memory back to it.
    gpu: Arc<Gpu>,
}

/// What the calls of a queue share.
struct QueueState {
    /// cuBLASLt and its workspace, made when a product first needs them.
    products: Option<(Products, GpuMemory)>,
    /// Page-locked buffers through which copies go.
    pinned: Pinned,
    /// The first error since the last [`finish`](Device::finish).
    failed: Option<ComputeError>,
}

// SAFETY: a queue of the driver may be used from any thread, by several at once.
unsafe impl Send for Driver {}
// SAFETY: as above; all that changes is behind the lock.
unsafe impl Sync for Driver {}

impl Driver {
    /// Opens the GPU `ordinal`, which computes matrix products in `precision`.
    ///
    /// # Errors
    /// [`ComputeError::NoDevice`] if the GPU or a library is missing; [`ComputeError::Driver`] if the driver does not start;
    /// [`ComputeError::Compile`] if a kernel does not compile; [`ComputeError::Device`] if a call fails.
    pub fn open(ordinal: usize, precision: Precision) -> Result<Self, ComputeError> {
        // The driver is looked for first: if it is missing, so is everything else.
        found()?;
        lt::version()?;
        if let Some(name) = DUMPS.into_iter().find(|name| std::env::var_os(name).is_some_and(|said| said != "0")) {
            let missing = format!("{name} is set: a GPU's dump would hold keys and parameters; unset it");
            return Err(ComputeError::NoDevice { missing });
        }
        Self::on(Gpu::open(ordinal)?, precision, result::stream::create)
    }

    /// What the driver says of the GPU.
    pub fn about(&self) -> &About {
        &self.gpu.about
    }

    /// A new queue on `gpu`, made by `queue`.
    fn on(
        gpu: Arc<Gpu>,
        precision: Precision,
        queue: fn(StreamKind) -> Result<sys::CUstream, result::DriverError>,
    ) -> Result<Self, ComputeError> {
        let queue = gpu
            .enter()
            .and_then(|()| queue(StreamKind::NonBlocking))
            .map_err(|error| failure(&gpu.about, "make a queue", error))?;
        let state = QueueState { products: None, pinned: Pinned::none(), failed: None };
        Ok(Self { queue, precision, state: Mutex::new(state), gpu })
    }

    /// Locks what the calls of this queue share.
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `call` on this GPU, unless an earlier call has failed. `name` is the call's name in errors.
    fn call(&self, name: &str, call: impl FnOnce(&mut QueueState) -> Result<(), result::DriverError>) {
        let mut state = self.state();
        if state.failed.is_none()
            && let Err(error) = self.gpu.enter().and_then(|()| call(&mut state))
        {
            state.failed = Some(failure(&self.gpu.about, name, error));
        }
    }

    /// Waits until the queue is empty.
    fn synchronize(&self) -> Result<(), result::DriverError> {
        // SAFETY: the queue lives as long as `self`.
        unsafe { result::stream::synchronize(self.queue) }
    }
}

impl Device for Driver {
    type Memory = GpuMemory;

    fn allocate(&self, bytes: usize) -> Result<GpuMemory, ComputeError> {
        let failed = |error: result::DriverError| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => ComputeError::OutOfMemory { bytes },
            _ => failure(&self.gpu.about, "take memory", error),
        };
        if bytes == 0 {
            return Ok(GpuMemory { gpu: Arc::clone(&self.gpu), at: 0, bytes });
        }
        self.gpu.enter().map_err(failed)?;
        // SAFETY: the size is not 0; the memory is this value's alone until it is dropped, and zeroed before it is used.
        unsafe {
            let at = result::malloc_sync(bytes).map_err(failed)?;
            let memory = GpuMemory { gpu: Arc::clone(&self.gpu), at, bytes };
            result::memset_d8_async(at, 0, bytes, self.queue).map_err(failed)?;
            self.synchronize().map_err(failed)?;
            Ok(memory)
        }
    }

    fn named(&self, memory: &Arc<GpuMemory>, blocks: Vec<Range<usize>>) -> Option<DeviceBlocks> {
        let fits = blocks.iter().all(|block| block.start <= block.end && block.end <= memory.bytes);
        assert!(fits, "{blocks:?} of {} bytes", memory.bytes);
        let keeper: Arc<GpuMemory> = Arc::clone(memory);
        // SAFETY: the memory has these bytes until it is dropped; queues are finished before others use what they have written.
        Some(unsafe { DeviceBlocks::new(memory.at as usize, blocks, keeper) })
    }

    fn write(&self, host: &[u8], to: &GpuMemory, at: usize) {
        self.write_parts(std::iter::once((host, at)), to);
    }

    fn read(&self, from: &GpuMemory, at: usize, host: &mut [u8]) {
        self.read_parts(from, std::iter::once((at, host)));
    }

    fn write_parts<'a>(&self, parts: impl Iterator<Item = (&'a [u8], usize)>, to: &GpuMemory) {
        let parts: Vec<_> = parts.map(|(host, at)| (host, to.part(at, host.len()))).collect();
        self.call("copy to it", |state| state.pinned.write(&parts, self.queue));
    }

    fn read_parts<'a>(&self, from: &GpuMemory, parts: impl Iterator<Item = (usize, &'a mut [u8])>) {
        let mut parts: Vec<_> = parts.map(|(at, host)| (from.part(at, host.len()), host)).collect();
        self.call("copy from it", |state| state.pinned.read(&mut parts, self.queue));
    }

    fn copy(&self, from: &GpuMemory, to: &GpuMemory, bytes: usize) {
        assert!(bytes <= from.bytes && bytes <= to.bytes, "{bytes} bytes of {} to {}", from.bytes, to.bytes);
        if bytes > 0 {
            // SAFETY: both have as many bytes, and wait for the queue before they go.
            self.call("copy within it", |_| unsafe { result::memcpy_dtod_async(to.at, from.at, bytes, self.queue) });
        }
    }

    fn clear(&self, memory: &GpuMemory, at: usize, end: usize) {
        assert!(at <= end && end <= memory.bytes, "{at}..{end} of {}", memory.bytes);
        if at < end {
            // SAFETY: the memory has these bytes, and waits for the queue before it goes.
            self.call("clear memory", |_| unsafe {
                result::memset_d8_async(memory.at + at as u64, 0, end - at, self.queue)
            });
        }
    }

    fn launch(&self, launch: Launch, args: &[Arg<'_, GpuMemory>]) {
        let Launch { kernel, grid: [x, y, z], block, shared } = launch;
        // Arguments are laid out as on the processor: little-endian, so that an 8-byte word begins with a shorter argument's
        // bytes.
        let mut words = [0_u64; 24];
        assert!(args.len() <= words.len(), "{kernel} has {} arguments", args.len());
        for (word, arg) in words.iter_mut().zip(args) {
            *word = match arg {
                Arg::Memory(memory, at) => {
                    assert!(*at <= memory.bytes, "{kernel}: {at} of {}", memory.bytes);
                    memory.at + *at as u64
                }
                Arg::Null => 0,
                Arg::U32(number) => u64::from(*number),
                Arg::U64(number) => *number,
                Arg::F32(number) => u64::from(number.to_bits()),
            };
        }
        let mut pointers = words.each_mut().map(|word| std::ptr::from_mut(word).cast::<c_void>());
        // SAFETY: the tests launch every kernel with these arguments; memory waits for the queue before it goes.
        self.call(kernel, |_| unsafe {
            let function = self.gpu.function(kernel, shared)?;
            let pointers = &mut pointers[..args.len()];
            result::launch_kernel(function, (x, y, z), (block, 1, 1), shared, self.queue, pointers)
        });
    }

    fn multiply(&self, product: Product, a: &GpuMemory, b: &GpuMemory, c: &GpuMemory, bias: Option<&GpuMemory>) {
        check(&product, [a, b, c], bias);
        let Product { shape: Gemm { m, n, .. }, count, .. } = product;
        let mut state = self.state();
        // cuBLASLt does not take matrices without values.
        if state.failed.is_some() || [m, n, count].contains(&0) {
            return;
        }
        let done = (|| {
            self.gpu.enter().map_err(|error| failure(&self.gpu.about, "enter its context", error))?;
            if state.products.is_none() {
                state.products = Some((Products::new(self.precision)?, self.allocate(WORKSPACE)?));
            }
            let Some((products, workspace)) = &mut state.products else { unreachable!("made above") };
            let bias = bias.map(|bias| bias.at);
            let operands = Operands { a: a.at, b: b.at, c: c.at, bias, workspace: workspace.at, queue: self.queue };
            products.multiply(product, operands)
        })();
        if let Err(error) = done {
            state.failed = Some(error);
        }
    }

    fn finish(&self) -> Result<(), ComputeError> {
        let mut state = self.state();
        // The queue is waited for even after an error, because what was queued before it may be using memory.
        let done = self.gpu.enter().and_then(|()| self.synchronize());
        match state.failed.take() {
            Some(error) => Err(error),
            None => done.map_err(|error| failure(&self.gpu.about, "finish", error)),
        }
    }

    fn beside(&self) -> Result<Self, ComputeError> {
        Self::on(Arc::clone(&self.gpu), self.precision, ahead_of_others)
    }

    fn fingerprint(&self) -> String {
        let About { name, units, .. } = &self.gpu.about;
        let [driver, compiler] = [Some(self.gpu.driver), compile::version().ok()]
            .map(|version| version.map_or("?".to_owned(), |[major, minor]| format!("{major}.{minor}")));
        let products = lt::version().map_or("?".to_owned(), |version| version.to_string());
        let precision = self.precision.name();
        format!("cuda/{name}/{units}/{precision}/driver {driver}/nvrtc {compiler}/cublaslt {products}")
    }
}

/// A queue whose work goes before that of other queues, as far as multiprocessors become free. The sealer has it: other ranks
/// wait for messages, not for arithmetic.
fn ahead_of_others(kind: StreamKind) -> Result<sys::CUstream, result::DriverError> {
    let (_, greatest) = result::stream::get_priority_range()?;
    result::stream::create_with_priority(kind, greatest)
}

/// Panics if a product would read or write beyond the memory that it is given.
fn check(product: &Product, [a, b, c]: [&GpuMemory; 3], bias: Option<&GpuMemory>) {
    let Product { shape: Gemm { m, n, k, a_transposed, b_transposed, .. }, count, relu, .. } = *product;
    assert!(!relu || bias.is_some(), "a relu without a bias");
    let end = |side: OperandLayout, transposed: bool, [rows, columns]: [usize; 2]| {
        let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
        match [rows, columns, count].contains(&0) {
            true => 0,
            false => side.at + (count - 1) * side.step + (rows - 1) * side.row + columns,
        }
    };
    let ends = [
        (a, end(product.a, a_transposed, [m, k])),
        (b, end(product.b, b_transposed, [k, n])),
        (c, end(product.c, false, [m, n])),
    ];
    for (memory, values) in ends.into_iter().chain(bias.map(|bias| (bias, n))) {
        let there = memory.bytes / 4;
        assert!(values <= there, "a product takes {values} values of {there}: {product:?}");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: made by this value, and used by nothing after it.
            unsafe {
                let _ = self.synchronize();
                let _ = result::stream::destroy(self.queue);
            }
        }
    }
}
