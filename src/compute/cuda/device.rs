//! What kernels run on: memory, launches and matrix products, which a queue carries out one after the other.
//!
//! The families beside this file decide which kernel a call is, over how many threads and with which arguments. A device only
//! carries that out. The real one is [`Driver`](super::driver::Driver), a GPU. The tests have another, which runs the same
//! kernels, compiled as C++, on the processor.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::ComputeError;
use crate::device_memory::DeviceBlocks;

/// A launch of a kernel over `grid` blocks of `block` threads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's function name in `kernels/`.
    pub kernel: &'static str,
    /// Number of blocks along x, y and z.
    pub grid: [u32; 3],
    /// Number of threads in a block.
    pub block: u32,
    /// Size of shared memory a block, in bytes, beyond what the kernel declares itself.
    pub shared: u32,
}

/// An argument of a kernel. Its type must be that of the kernel's parameter.
#[derive(Debug)]
pub enum Arg<'a, M> {
    /// A pointer into device memory, so many bytes behind its beginning.
    Memory(&'a M, usize),
    /// A null pointer, for a tensor that the kernel can do without.
    Null,
    /// A 32-bit number, `unsigned`.
    U32(u32),
    /// A 64-bit number, `unsigned long long`.
    U64(u64),
    /// A single-precision number, `float`.
    F32(f32),
}

/// One operand of a [`Product`]: a series of matrices of one size in a buffer. All distances count values, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperandLayout {
    /// Number of values from one stored row to the next.
    pub row: usize,
    /// Number of values from one product's matrix to the next product's. 0 if all products use the same matrix.
    pub step: usize,
    /// Offset of the first matrix, in values.
    pub at: usize,
}

impl OperandLayout {
    /// A single matrix at the beginning of its buffer, with `row` values in each stored row.
    pub fn whole(row: usize) -> Self {
        Self { row, step: 0, at: 0 }
    }
}

/// `count` matrix products of one shape, `C = A B` or `C += A B`, all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// The shape of each product, which operands are transposed, and whether C is added to.
    pub shape: crate::compute::Gemm,
    /// Number of products that one call computes.
    pub count: usize,
    /// Where the matrices A are in their buffer.
    pub a: OperandLayout,
    /// Where the matrices B are in their buffer.
    pub b: OperandLayout,
    /// Where the matrices C are in their buffer.
    pub c: OperandLayout,
    /// Whether values of C below 0 become 0 at the end. Allowed only with a bias.
    pub relu: bool,
}

/// Memory of a device and a queue of calls. Calls run one after the other, in order. A call may return before it is done,
/// unless its text says otherwise.
pub trait Device: Send + Sync + Sized {
    /// A piece of device memory. Dropping it waits for what was queued before, zeroes it and frees it.
    type Memory: Send + Sync;

    /// A new piece of `bytes` zero bytes, which begins at a multiple of 256.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if the device has no such piece.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, ComputeError>;

    /// Describes the `blocks` of a memory, byte ranges from its beginning, to code outside this process's own, such as an MPI
    /// library. `None` if no such code could use the device's memory.
    ///
    /// # Panics
    /// If a block ends beyond the memory.
    fn named(&self, _memory: &Arc<Self::Memory>, _blocks: Vec<Range<usize>>) -> Option<DeviceBlocks> {
        None
    }

    /// Copies `host` to the memory, from byte `at` on. `host` may change as soon as the call returns.
    fn write(&self, host: &[u8], to: &Self::Memory, at: usize);

    /// Copies `host.len()` bytes of the memory, from byte `at` on, to `host`. It is done when it returns.
    fn read(&self, from: &Self::Memory, at: usize, host: &mut [u8]);

    /// Copies each of the `parts` from the host to its byte offset in the memory, as [`write`](Self::write) does.
    fn write_parts<'a>(&self, parts: impl Iterator<Item = (&'a [u8], usize)>, to: &Self::Memory) {
        parts.for_each(|(host, at)| self.write(host, to, at));
    }

    /// Copies each of the `parts` from its byte offset in the memory to the host, as [`read`](Self::read) does.
    fn read_parts<'a>(&self, from: &Self::Memory, parts: impl Iterator<Item = (usize, &'a mut [u8])>) {
        parts.for_each(|(at, host)| self.read(from, at, host));
    }

    /// Copies the first `bytes` bytes of one memory to another.
    fn copy(&self, from: &Self::Memory, to: &Self::Memory, bytes: usize);

    /// Zeroes the memory from byte `at` up to, but without, byte `end`.
    fn clear(&self, memory: &Self::Memory, at: usize, end: usize);

    /// Runs a kernel with these arguments, in the order of its parameters.
    fn launch(&self, launch: Launch, args: &[Arg<'_, Self::Memory>]);

    /// Multiplies matrices of f32 values. If there is a `bias` (n), it is added to every row of C.
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
    /// [`ComputeError::Device`] with the first call that failed since the last time.
    fn finish(&self) -> Result<(), ComputeError>;

    /// Another queue on the same device and memory. It waits for none of this queue's calls. Where both want the device, its
    /// calls go first.
    ///
    /// # Errors
    /// [`ComputeError`] if the device refuses a queue.
    fn beside(&self) -> Result<Self, ComputeError>;

    /// What the bits of a result depend on: device, driver, libraries, precision.
    fn fingerprint(&self) -> String;
}
