//! Sealing and opening all cells of a slot at once: from messages into blocks of bytes, and back.
//!
//! A [`Sealer`] holds a term's keys, expanded. A job names a key by the order in which it was added, and bytes by their
//! [`Place`]. The jobs of a term are laid down once, in batches. Each slot adds its number. So a device has the jobs at
//! hand and takes a whole slot in one call.
//!
//! Blocks are the processor's memory, unless they [stand on the device](Sealer::lay_lanes) that seals. Then the
//! processor's blocks hold only the parts that are copied to and from the device, and take over when the device has
//! failed.

mod cpu;

use std::error::Error;
use std::ops::Range;

pub use cpu::CpuSealer;
use thiserror::Error;

use super::Unauthentic;
use super::key::Key;
use crate::device_memory::DeviceLanes;
use crate::ids::Slot;

/// A key of the sealer, numbered in the order in which keys were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub(crate) u32);

/// A key of keystreams, numbered in the order in which these were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub(crate) u32);

/// The place of some bytes in a message or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the message or block.
    pub block: usize,
    /// The first byte's distance from the start of the message or block, in bytes.
    pub offset: usize,
}

/// A job: to seal one cell under all layers of its onion (docs/PROTOCOL.md, 8.2).
#[derive(Debug)]
pub struct SealJob {
    /// The keys of the cell's hops, the first hop's first. The layers are put on from the last to the first.
    pub layers: Vec<KeyId>,
    /// The cell's number in its block. It is a part of the nonce.
    pub cell: u32,
    /// Where the payload stands, in a message.
    pub from: Place,
    /// Where the onion goes, in an outgoing block.
    pub to: Place,
}

/// A job: to take one layer off one cell (docs/PROTOCOL.md, 8.6 and 8.7).
#[derive(Debug)]
pub struct OpenJob {
    /// The key of the lane over which the cell has come.
    pub key: KeyId,
    /// The cell's number in its block. It is a part of the nonce.
    pub cell: u32,
    /// Where the cell stands, in an incoming block.
    pub from: Place,
    /// Where to put what is inside the cell: an outgoing block of the next phase, or a message.
    pub to: Place,
    /// The keystream that lies over the cell, if one does. It comes off first.
    pub under: Option<StreamId>,
    /// The keystream to lay over what is inside, if any. Only what goes to a block has one.
    pub over: Option<StreamId>,
}

/// A batch of jobs that seal, numbered in the order in which such batches were laid down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealBatch(pub(crate) usize);

/// A batch of jobs that peel, from blocks to blocks, numbered in the order in which such batches were laid down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeelBatch(pub(crate) usize);

/// A batch of jobs that open, from blocks to messages, numbered in the order in which such batches were laid down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBatch(pub(crate) usize);

/// The jobs of a batch whose cells are not authentic: their places in the batch, in ascending order.
pub type BadCells = Vec<usize>;

/// The device that seals has failed. The processor's sealer never fails so.
#[derive(Debug, Error)]
#[error("the device that seals has failed: {0}")]
pub struct DeviceError(#[from] pub Box<dyn Error + Send + Sync>);

/// Why a batch was not peeled or opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The cells of these jobs are not authentic. Zeros stand where their contents should have gone. All other cells
    /// are opened.
    #[error("{} cells of the batch failed authentication", .0.len())]
    BadCells(BadCells),
    /// The device has failed, so that nothing is known of any cell.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Seals and opens batches of cells.
pub trait Sealer: Send {
    /// The memory in which messages stand.
    type Bytes;

    /// Lays blocks of these lengths in the device's memory, where this sealer is on a device whose memory others may
    /// name. From then on the sealer uses these blocks in place of those that its other calls are given. Returns what
    /// others need to reach them, or `None` where blocks stay in the processor's memory. Call this before any jobs are
    /// laid down.
    ///
    /// # Errors
    /// [`DeviceError`]: no memory.
    fn lay_lanes(&mut self, _outgoing: &[usize], _incoming: &[usize]) -> Result<Option<DeviceLanes>, DeviceError> {
        Ok(None)
    }

    /// Whether blocks stand in the device's memory. Once the device has failed they do not any more.
    fn lanes_on_device(&self) -> bool {
        false
    }

    /// Copies the bytes `part` of each of `blocks` to the device, where blocks stand there. The first of `blocks` is
    /// the outgoing block number `first`, and the others follow it.
    ///
    /// # Errors
    /// [`DeviceError`]. From then on blocks do not stand on the device any more.
    fn push<L: AsRef<[u8]>>(&mut self, _blocks: &[L], _first: usize, _part: Range<usize>) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Copies the first `LEN` bytes of each incoming block to `heads`, wherever the blocks stand.
    ///
    /// # Errors
    /// [`DeviceError`]. From then on blocks do not stand on the device any more, and those of this phase are lost.
    fn heads<K: AsRef<[u8]>, const LEN: usize>(
        &mut self,
        blocks: &[K],
        heads: &mut [[u8; LEN]],
    ) -> Result<(), DeviceError> {
        for (block, head) in blocks.iter().zip(heads) {
            head.copy_from_slice(&block.as_ref()[..LEN]);
        }
        Ok(())
    }

    /// Takes a key for this term. Jobs name it by what this returns.
    fn add(&mut self, key: &Key) -> KeyId;

    /// Takes a key of keystreams for this term. The stream of a cell follows from its nonce: the cell's number and the
    /// slot.
    fn add_stream(&mut self, key: &Key) -> StreamId;

    /// Lays down jobs that seal payloads of `payload` bytes each.
    fn lay_seals(&mut self, payload: usize, jobs: Vec<SealJob>) -> SealBatch;

    /// Lays down jobs that take a layer off cells of `sealed` bytes each and put what is inside into blocks.
    fn lay_peels(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> PeelBatch;

    /// Lays down jobs that take the last layer off cells of `sealed` bytes each and put what is inside into messages.
    fn lay_opens(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> OpenBatch;

    /// Call this when the memory of messages has failed. From then on empty messages are sealed, and what arrives is
    /// only verified.
    fn seal_no_messages(&mut self) {}

    /// Seals the cells of a batch from `messages` into `blocks`. Call it once for each slot and batch, so that no nonce
    /// comes twice.
    ///
    /// # Errors
    /// [`DeviceError`]. Then what was written is of no use and must not leave. In later slots empty messages are
    /// sealed.
    fn seal<L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        batch: SealBatch,
        messages: &[Self::Bytes],
        blocks: &mut [L],
    ) -> Result<(), DeviceError>;

    /// Takes a layer off the cells of a batch, from blocks to blocks (docs/PROTOCOL.md, 8.6). A cell's keystream comes
    /// off first. That of the next hop goes over what is inside before anyone else can see it. All cells are verified
    /// before this returns.
    ///
    /// # Errors
    /// [`OpenError::BadCells`]: the other cells are passed on, and what stands in place of the bad ones must not leave.
    /// [`OpenError::Device`]: nothing may leave.
    fn peel<L: AsMut<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: PeelBatch,
        from: &[K],
        to: &mut [L],
    ) -> Result<(), OpenError>;

    /// Takes the last layer off the cells of a batch, from blocks to messages (docs/PROTOCOL.md, 8.7). A cell's
    /// keystream comes off first. All cells are verified before this returns.
    ///
    /// # Errors
    /// [`OpenError`]. Then the messages must not be used.
    fn open<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: OpenBatch,
        from: &[K],
        messages: &mut [Self::Bytes],
    ) -> Result<(), OpenError>;

    /// Copies the first bytes of a message to `host`, as many as that has.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn fetch(&mut self, message: &Self::Bytes, host: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies `host` to the first bytes of a message.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn store(&mut self, host: &[u8], message: &mut Self::Bytes) -> Result<(), DeviceError>;

    /// Seals a few bytes, such as a beat, as the cell number `cell` of `slot`. `sealed` must be longer than `plain` by
    /// a tag.
    fn seal_record(&mut self, key: KeyId, cell: u32, slot: Slot, plain: &[u8], sealed: &mut [u8]);

    /// Opens a few bytes that [`seal_record`](Sealer::seal_record) sealed.
    ///
    /// # Errors
    /// [`Unauthentic`].
    fn open_record(
        &mut self,
        key: KeyId,
        cell: u32,
        slot: Slot,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unauthentic>;
}
