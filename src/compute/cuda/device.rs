//! What kernels run on: memory, launches and matrix products, one after the other on a queue.
//!
//! The families beside this file say which kernel a call is, over how many threads and with which arguments; a device only
//! carries that out. One is [`Driver`](super::driver::Driver), a GPU; the tests have another, which runs the same kernels, compiled as C++,
//! on the processor.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::ComputeError;
use crate::device_memory::DeviceBlocks;

/// A launch: `grid` blocks of `block` threads, with `shared` bytes of shared memory beyond what the kernel declares itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The name of the kernel.
    pub kernel: &'static str,
    /// Blocks, by x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes.
    pub shared: u32,
}

/// An argument of a kernel, of the type that its parameter has.
#[derive(Debug)]
pub enum Arg<'a, M> {
    /// A pointer to device memory, so many bytes behind its beginning.
    Memory(&'a M, usize),
    /// A null pointer.
    Null,
    /// `unsigned`
    U32(u32),
    /// `unsigned long long`
    U64(u64),
    /// `float`
    F32(f32),
}

/// Matrices of a [`Product`] with a leading dimension each, and how far, in values, one is from the same one of the next
/// product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// Values from one stored row to the next.
    pub row: usize,
    /// Values from one product's matrix to the next product's; 0: all have the same.
    pub step: usize,
    /// Values before the first matrix.
    pub at: usize,
}

impl Side {
    /// One matrix that fills its buffer, whose stored rows have so many values.
    pub fn whole(row: usize) -> Self {
        Self { row, step: 0, at: 0 }
    }
}

/// `count` products `C = A B`, or `C + A B`, all row-major and of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Shape, transpositions, whether C is added to.
    pub shape: crate::compute::Gemm,
    /// How many.
    pub count: usize,
    /// Where A is.
    pub a: Side,
    /// Where B is.
    pub b: Side,
    /// Where C is.
    pub c: Side,
    /// Whether 0 stands in place of what is below it in the end. Only with a bias.
    pub relu: bool,
}

/// Memory and a queue. Calls run one after the other, in order; all but those that say so may return before they are done.
pub trait Device: Send + Sync + Sized {
    /// Device memory. Dropping it zeroes it, once what was queued before is done, and frees it.
    type Memory: Send + Sync;

    /// `bytes` zero bytes, on a boundary of 256.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, ComputeError>;

    /// The `blocks` of a memory, in bytes from its beginning on, for who is not of this process's code: an MPI library. `None` where
    /// nobody else could use it.
    ///
    /// # Panics
    /// Where a block ends beyond the memory.
    fn named(&self, _memory: &Arc<Self::Memory>, _blocks: Vec<Range<usize>>) -> Option<DeviceBlocks> {
        None
    }

    /// Copies `host` to the memory from `at` on. `host` may change once it returns.
    fn write(&self, host: &[u8], to: &Self::Memory, at: usize);

    /// Copies the memory from `at` on to `host`; done when it returns.
    fn read(&self, from: &Self::Memory, at: usize, host: &mut [u8]);

    /// Copies parts of `host`, each to its place in the memory, as [`write`](Self::write) would.
    fn write_parts<'a>(&self, parts: impl Iterator<Item = (&'a [u8], usize)>, to: &Self::Memory) {
        parts.for_each(|(host, at)| self.write(host, to, at));
    }

    /// Copies parts of the memory, each from its place to `host`, as [`read`](Self::read) would.
    fn read_parts<'a>(&self, from: &Self::Memory, parts: impl Iterator<Item = (usize, &'a mut [u8])>) {
        parts.for_each(|(at, host)| self.read(from, at, host));
    }

    /// Copies the first `bytes` bytes.
    fn copy(&self, from: &Self::Memory, to: &Self::Memory, bytes: usize);

    /// Zeroes the bytes from `at` up to `end`.
    fn clear(&self, memory: &Self::Memory, at: usize, end: usize);

    /// Runs a kernel.
    fn launch(&self, launch: Launch, args: &[Arg<'_, Self::Memory>]);

    /// Multiplies matrices. `bias` (n) is added to every row of C, where there is one.
    fn multiply(
        &self,
        product: Product,
        a: &Self::Memory,
        b: &Self::Memory,
        c: &Self::Memory,
        bias: Option<&Self::Memory>,
    );

    /// Waits until all calls are done.
    ///
    /// # Errors
    /// [`ComputeError::Device`]: what went wrong in one of them.
    fn finish(&self) -> Result<(), ComputeError>;

    /// Another queue of the same device and memory, which waits for none of this one's calls, and goes before them where both want
    /// the device.
    ///
    /// # Errors
    /// [`ComputeError`].
    fn beside(&self) -> Result<Self, ComputeError>;

    /// What the bits of a result depend on: device, libraries, precision.
    fn fingerprint(&self) -> String;
}
