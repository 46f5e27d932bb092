//! The memory of one lane's blocks. It is one type for all transports, so that what seals and peels blocks is compiled
//! once.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
#[cfg(feature = "mpi")]
use std::ptr::NonNull;

use crate::memory::{self, OutOfMemory};

/// The block of one lane, in this rank's view: it is written where it leaves, and read where it arrives.
pub struct Block(BlockMemory);

/// Where a block's bytes stand.
enum BlockMemory {
    /// In memory of this process alone.
    Own(Vec<u8>),
    /// In memory that the ranks of this host share. The lane has two places there, and `turn` is the one that the block
    /// shows now.
    #[cfg(feature = "mpi")]
    Shared { places: Places, turn: usize },
}

/// Where the two blocks of a lane stand in shared memory, for even and for odd phases (docs/PROTOCOL.md, 17.4).
#[cfg(feature = "mpi")]
#[derive(Clone, Copy)]
pub(super) struct Places {
    blocks: [NonNull<u8>; 2],
    length: usize,
}

// SAFETY: it holds two addresses and a length, which never change. Nothing in it belongs to a thread. Who may touch the
// bytes when is a promise between ranks (`Places::new`), and a rank keeps it whichever of its threads it uses.
#[cfg(feature = "mpi")]
unsafe impl Send for Places {}

#[cfg(feature = "mpi")]
impl Places {
    /// Names two blocks of `length` bytes each.
    ///
    /// # Safety
    /// The bytes must be mapped in this process, initialized, for as long as any [`Block`] shows them. A block shows
    /// one of the two places at a time ([`Block::turn`]). From the end of a phase until this rank begins the next one,
    /// nobody else may touch the place that an outgoing block shows, and nobody may write to the place that an incoming
    /// block shows. Within a phase, between its beginning and its end, this rank must not use the block.
    pub(super) unsafe fn new(blocks: [NonNull<u8>; 2], length: usize) -> Self {
        Self { blocks, length }
    }
}

impl Block {
    /// Makes a block of `length` zeros in memory of this process.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn zeroed(length: usize) -> Result<Self, OutOfMemory> {
        Ok(Self(BlockMemory::Own(memory::zeroed(length)?)))
    }

    /// Makes the block of a lane in shared memory. It shows the place of even phases until it [turns](Block::turn).
    #[cfg(feature = "mpi")]
    pub(super) fn shared(places: Places) -> Self {
        Self(BlockMemory::Shared { places, turn: 0 })
    }

    /// Shows the place for the blocks of `phase`. Does nothing to a block in memory of this process.
    #[cfg(feature = "mpi")]
    pub(super) fn turn(&mut self, phase: u32) {
        if let BlockMemory::Shared { turn, .. } = &mut self.0 {
            *turn = (phase % 2) as usize;
        }
    }
}

/// An empty block.
impl Default for Block {
    fn default() -> Self {
        Self(BlockMemory::Own(Vec::new()))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            BlockMemory::Own(bytes) => bytes,
            // SAFETY: `Places::new` promises that the bytes are there, and that nobody writes to them now, between two
            // phases.
            #[cfg(feature = "mpi")]
            BlockMemory::Shared { places, turn } => unsafe {
                std::slice::from_raw_parts(places.blocks[*turn].as_ptr(), places.length)
            },
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            BlockMemory::Own(bytes) => bytes,
            // SAFETY: `Places::new` promises that the bytes are there, and that nobody else touches them now, between
            // two phases. Only blocks that leave are borrowed so.
            #[cfg(feature = "mpi")]
            BlockMemory::Shared { places, turn } => unsafe {
                std::slice::from_raw_parts_mut(places.blocks[*turn].as_ptr(), places.length)
            },
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}
