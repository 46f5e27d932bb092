//! All cells of a slot at once: messages in, blocks of bytes out, and back.
//!
//! A [`Sealer`] holds a term's keys, expanded. A job names keys by their place in it, and bytes by their [`Place`]. A term's
//! jobs are laid down once, in batches; each slot adds its number. So a device has the jobs at hand and takes a whole slot in one
//! call.
//!
//! Blocks are the processor's memory. Where they [stand on the device](Sealer::lay_lanes) that seals, the processor's are what
//! goes there and comes from there in parts, and what remains when the device has failed.

mod cpu;

use std::error::Error;
use std::ops::Range;

pub use cpu::CpuSealer;
use thiserror::Error;

use super::Unauthentic;
use super::key::Key;
use crate::device_memory::DeviceLanes;
use crate::ids::Slot;

/// A key of the sealer, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub(crate) u32);

/// A key of keystreams, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub(crate) u32);

/// Some bytes: `block` numbers a message or a block, `offset` counts bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which message or block.
    pub block: usize,
    /// Its first byte there.
    pub offset: usize,
}

/// Seal one cell under all layers of its onion.
#[derive(Debug)]
pub struct SealJob {
    /// The keys of its hops, the first hop's first: the layers are put on from the last to the first.
    pub layers: Vec<KeyId>,
    /// The cell's number in its lane.
    pub cell: u32,
    /// The payload, in a message.
    pub from: Place,
    /// Where the onion goes, in an outgoing block.
    pub to: Place,
}

/// Take one layer off one cell.
#[derive(Debug)]
pub struct OpenJob {
    /// The lane's key.
    pub key: KeyId,
    /// The cell's number in its lane.
    pub cell: u32,
    /// The cell, in an incoming block.
    pub from: Place,
    /// Where what is inside goes: an outgoing block of the next phase, or a message.
    pub to: Place,
    /// The keystream that lies over the cell, if one does.
    pub under: Option<StreamId>,
    /// The keystream to lay over what is inside, if one is. Only where that goes to a block.
    pub over: Option<StreamId>,
}

/// Jobs laid down to be sealed, by the order in which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealBatch(pub(crate) usize);

/// Jobs laid down to be peeled, from blocks to blocks, by the order in which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeelBatch(pub(crate) usize);

/// Jobs laid down to be opened, from blocks to messages, by the order in which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBatch(pub(crate) usize);

/// The jobs of a batch whose cells are not authentic, in their order.
pub type BadCells = Vec<usize>;

/// The device that seals has failed; on the processor nothing can.
#[derive(Debug, Error)]
#[error("the device that seals has failed: {0}")]
pub struct DeviceError(#[from] pub Box<dyn Error + Send + Sync>);

/// Why a batch was not peeled or opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Some cells are not what was sealed. Where what is in them should have gone, there are zeros; all others are opened.
    #[error("{} cells of the batch failed authentication", .0.len())]
    BadCells(BadCells),
    /// Nothing is known of the cells.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Seals and opens batches of cells. `Bytes` is the memory of messages.
pub trait Sealer: Send {
    /// The memory of messages.
    type Bytes;

    /// Where this sealer is on a device whose memory others may name: lays blocks of these lengths there, which from then on
    /// take the place of those that the calls below are given. Before any jobs are laid down.
    ///
    /// # Errors
    /// [`DeviceError`]: no memory.
    fn lay_lanes(&mut self, _outgoing: &[usize], _incoming: &[usize]) -> Result<Option<DeviceLanes>, DeviceError> {
        Ok(None)
    }

    /// Whether blocks stand on the device. Not any more once it has failed.
    fn lanes_on_device(&self) -> bool {
        false
    }

    /// Copies a part of each of some outgoing blocks, of which `first` is the number of the first, to the device, where blocks stand
    /// there.
    ///
    /// # Errors
    /// [`DeviceError`]; then blocks stand there no more.
    fn push<L: AsRef<[u8]>>(&mut self, _blocks: &[L], _first: usize, _part: Range<usize>) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Copies the head of each incoming block, wherever it stands.
    ///
    /// # Errors
    /// [`DeviceError`]; then blocks stand there no more, and those of this phase are lost.
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

    /// Takes a key for this term.
    fn add(&mut self, key: &Key) -> KeyId;

    /// Takes a key of keystreams for this term. The stream of a cell is that of its number and the slot, as a nonce is.
    fn add_stream(&mut self, key: &Key) -> StreamId;

    /// Lays down jobs that seal payloads of `payload` bytes.
    fn lay_seals(&mut self, payload: usize, jobs: Vec<SealJob>) -> SealBatch;

    /// Lays down jobs that take a layer off cells of `sealed` bytes, into blocks.
    fn lay_peels(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> PeelBatch;

    /// Lays down jobs that take the last layer off cells of `sealed` bytes, into messages.
    fn lay_opens(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> OpenBatch;

    /// The memory of messages has failed: from now on empty ones are sealed, and what arrives is only verified.
    fn seal_no_messages(&mut self) {}

    /// Seals a batch's cells into `blocks`.
    ///
    /// # Errors
    /// [`DeviceError`]; then what was written is of no use, and must not leave. In later slots empty messages are sealed.
    fn seal<L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        batch: SealBatch,
        messages: &[Self::Bytes],
        blocks: &mut [L],
    ) -> Result<(), DeviceError>;

    /// Takes a layer off a batch's cells, from blocks to blocks: their keystream first, and over what is inside goes that of the
    /// next hop. All are verified before it returns, and no one sees in the blocks what should be under a keystream.
    ///
    /// # Errors
    /// [`OpenError::BadCells`]: others are passed on; what stands in place of these must not leave. [`OpenError::Device`]: nothing
    /// may.
    fn peel<L: AsMut<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: PeelBatch,
        from: &[K],
        to: &mut [L],
    ) -> Result<(), OpenError>;

    /// Takes the last layer off a batch's cells, from blocks to messages, and their keystream first. All are verified before it
    /// returns.
    ///
    /// # Errors
    /// [`OpenError`]; then the messages are of no use.
    fn open<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: OpenBatch,
        from: &[K],
        messages: &mut [Self::Bytes],
    ) -> Result<(), OpenError>;

    /// Copies the start of a message to `host`.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn fetch(&mut self, message: &Self::Bytes, host: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies `host` to the start of a message.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn store(&mut self, host: &[u8], message: &mut Self::Bytes) -> Result<(), DeviceError>;

    /// Seals a few bytes, such as a beat.
    fn seal_record(&mut self, key: KeyId, cell: u32, slot: Slot, plain: &[u8], sealed: &mut [u8]);

    /// Opens a few bytes.
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
