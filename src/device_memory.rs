//! A device's memory, for those that know no device: where blocks stand in it, and that it stays there.
//!
//! The addresses are for whoever takes a device's memory, such as a CUDA-aware MPI library. The processor must not
//! follow them.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// The blocks of all lanes of a rank, in a device's memory.
pub struct DeviceLanes {
    /// The blocks that leave, by lane.
    pub outgoing: DeviceBlocks,
    /// The blocks that arrive, by lane.
    pub incoming: DeviceBlocks,
}

/// Blocks that stand in one piece of a device's memory.
pub struct DeviceBlocks {
    /// The device's address of that piece.
    base: usize,
    /// For each block, where it stands: in bytes from the base on.
    blocks: Vec<Range<usize>>,
    /// Keeps the memory as long as this is there.
    _memory: Arc<dyn Any + Send + Sync>,
}

impl DeviceBlocks {
    /// The `blocks` of a device's memory, in bytes from the device's address `base` on.
    ///
    /// # Safety
    /// All bytes of the blocks must stay the device's memory as long as `memory` is kept. From the beginning of a phase
    /// until it is complete, the transport to which the blocks were given reads or writes them. Only outside that time
    /// may the caller, who owns the memory, have the device read or write them.
    pub unsafe fn new(base: usize, blocks: Vec<Range<usize>>, memory: Arc<dyn Any + Send + Sync>) -> Self {
        Self { base, blocks, _memory: memory }
    }

    /// The device's address of the first `len` bytes of a block. The processor must not follow it.
    ///
    /// # Panics
    /// Where the block has fewer bytes, or there is no block of this number.
    pub fn at(&self, block: usize, len: usize) -> *mut u8 {
        let block = &self.blocks[block];
        assert!(len <= block.len(), "{len} bytes of a block of {}", block.len());
        std::ptr::with_exposed_provenance_mut(self.base + block.start)
    }
}
