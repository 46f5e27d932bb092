//! The memory of one lane: one type for all transports, so that what mixes is compiled once.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
#[cfg(feature = "mpi")]
use std::ptr::NonNull;

use crate::memory::{self, OutOfMemory};

/// The block of a lane, to write where it leaves and to read where it arrives.
pub struct Block(Memory);

enum Memory {
    /// Of this process alone.
    Own(Vec<u8>),
    /// Shared with the other ranks of the host: one of two places, taken in turn.
    #[cfg(feature = "mpi")]
    Shared { places: Places, turn: usize },
}

/// Where the two blocks of a lane lie in shared memory.
#[cfg(feature = "mpi")]
#[derive(Clone, Copy)]
pub(super) struct Places {
    blocks: [NonNull<u8>; 2],
    length: usize,
}

// SAFETY: an address, and a promise on who touches what stands there (`Places::new`), which no thread changes.
#[cfg(feature = "mpi")]
unsafe impl Send for Places {}

#[cfg(feature = "mpi")]
impl Places {
    /// Two blocks of `length` bytes.
    ///
    /// # Safety
    /// They must stay there as long as any [`Block`] shows them. While a block that leaves shows one of them, nobody else may
    /// touch it; while one that arrives does, nobody may write it.
    pub(super) unsafe fn new(blocks: [NonNull<u8>; 2], length: usize) -> Self {
        Self { blocks, length }
    }
}

impl Block {
    /// `length` zeros of this process.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn zeroed(length: usize) -> Result<Self, OutOfMemory> {
        Ok(Self(Memory::Own(memory::zeroed(length)?)))
    }

    /// Shared memory.
    #[cfg(feature = "mpi")]
    pub(super) fn shared(places: Places) -> Self {
        Self(Memory::Shared { places, turn: 0 })
    }

    /// Shows the place of `phase`, where there are two.
    #[cfg(feature = "mpi")]
    pub(super) fn turn(&mut self, phase: u32) {
        if let Memory::Shared { turn, .. } = &mut self.0 {
            *turn = (phase % 2) as usize;
        }
    }
}

/// No bytes.
impl Default for Block {
    fn default() -> Self {
        Self(Memory::Own(Vec::new()))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(bytes) => bytes,
            // SAFETY: `Places::new` promises that the bytes are there and that nobody writes them now.
            #[cfg(feature = "mpi")]
            Memory::Shared { places, turn } => unsafe {
                std::slice::from_raw_parts(places.blocks[*turn].as_ptr(), places.length)
            },
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Own(bytes) => bytes,
            // SAFETY: `Places::new` promises that the bytes are there and that nobody else touches them now.
            #[cfg(feature = "mpi")]
            Memory::Shared { places, turn } => unsafe {
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
