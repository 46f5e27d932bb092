//! Memory of a device, for those that know no device: where blocks stand in it, and that it stays.
//!
//! The addresses are for who takes a device's memory, such as a CUDA-aware MPI library. No processor may follow them.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// The blocks of a rank's lanes, on a device.
pub struct DeviceLanes {
    /// The blocks that this rank sends.
    pub outgoing: DeviceBlocks,
    /// The blocks that this rank receives.
    pub incoming: DeviceBlocks,
}

/// Blocks in one piece of a device's memory.
pub struct DeviceBlocks {
    /// The device's address from which the blocks are counted.
    base: usize,
    /// Where each block begins and ends, in bytes from `base` on.
    blocks: Vec<Range<usize>>,
    /// Keeps the memory as long as this is there.
    _memory: Arc<dyn Any + Send + Sync>,
}

impl DeviceBlocks {
    /// The `blocks` of a device's memory, in bytes from the address `base` on.
    ///
    /// # Safety
    /// All their bytes are the device's for as long as `memory` is there, and who has made them uses them only while no one
    /// else does.
    pub unsafe fn new(base: usize, blocks: Vec<Range<usize>>, memory: Arc<dyn Any + Send + Sync>) -> Self {
        Self { base, blocks, _memory: memory }
    }

    /// The device's address of the first `len` bytes of a block.
    ///
    /// # Panics
    /// Where the block has fewer, or there is none of this number.
    pub fn at(&self, block: usize, len: usize) -> *mut u8 {
        let block = &self.blocks[block];
        assert!(len <= block.len(), "{len} bytes of a block of {}", block.len());
        std::ptr::with_exposed_provenance_mut(self.base + block.start)
    }
}
