//! Sealing and opening on the device, where messages are, by launches of `kernels/aes_gcm.cu`.
//!
//! The sealer has a queue of its own, so that cells do not wait in line behind the worker's arithmetic, though they share the
//! device with it. Who seals a message makes sure that the arithmetic that wrote it is done.
//!
//! Cells that are passed on stay on the processor, unless blocks stand on the device. Then they are peeled there, from block to
//! block, by the kernel that opens; it also takes keystreams off cells and lays them over what is passed on. Beats are always
//! sealed and opened by the processor.

mod batch;
mod keys;
mod lanes;

use std::ops::Range;

use zeroize::Zeroize;

use self::batch::{Batch, Span};
pub(super) use self::keys::EXPANDED;
use self::keys::Keys;
use self::lanes::LaneBlocks;
use super::{Arg, Device, Message};
use crate::compute::ComputeError;
use crate::crypto::Unauthentic;
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::crypto::sealer::{
    BadCells, CpuSealer, DeviceError, KeyId, OpenBatch, OpenError, OpenJob, PeelBatch, Place, SealBatch, SealJob,
    Sealer, StreamId,
};
use crate::device_memory::DeviceLanes;
use crate::ids::Slot;

/// A [`Sealer`] that seals from, and opens into, messages on a device.
pub struct CudaSealer<D: Device> {
    /// All keys of the sealer, the device's copies of those it uses, and the sealer's queue.
    keys: Keys<D>,
    /// The sealer on the processor. It keeps the jobs, seals records, and relays where blocks are not on the device.
    cpu: CpuSealer<Vec<u8>>,
    /// Whether the device has failed. From then on the processor seals empty messages in place of real ones, and opened cells
    /// are only verified.
    lost: bool,
    /// Whether blocks may stand on the device, see [`without_lanes`](Self::without_lanes).
    takes_lanes: bool,
    /// The blocks on the device, if they stand there.
    lanes: Option<LaneBlocks<D::Memory>>,
    /// By the number of each [`SealBatch`]: its jobs on the device, once it was used.
    seals: Vec<Option<Batch<D::Memory>>>,
    /// By the number of each [`PeelBatch`]: its jobs on the device, once it was used.
    peels: Vec<Option<Batch<D::Memory>>>,
    /// By the number of each [`OpenBatch`]: its jobs on the device, once it was used.
    opens: Vec<Option<Batch<D::Memory>>>,
}

impl<D: Device> CudaSealer<D> {
    /// A sealer without keys, on a queue of its own beside `device`'s. `data` is the associated data of all its cells.
    /// `library` does what the processor seals and opens.
    ///
    /// # Errors
    /// [`ComputeError`] if the device refuses a queue or memory.
    pub fn new(device: &D, library: Library, data: Vec<u8>) -> Result<Self, ComputeError> {
        let keys = Keys::new(device.beside()?, &data)?;
        let (seals, peels, opens) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            keys,
            cpu: CpuSealer::new(library, data),
            lost: false,
            takes_lanes: true,
            lanes: None,
            seals,
            peels,
            opens,
        })
    }

    /// This sealer, but blocks stay in the processor's memory and the processor relays.
    #[must_use]
    pub fn without_lanes(self) -> Self {
        Self { takes_lanes: false, ..self }
    }

    /// Starts to seal the cells of a batch. The sealed cells stay on the device.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if the device has no memory for the batch or its keys.
    pub fn start_to_seal(
        &mut self,
        slot: Slot,
        SealBatch(number): SealBatch,
        messages: &[Message<D::Memory>],
    ) -> Result<(), ComputeError> {
        self.keys.expand()?;
        self.cpu.note(slot, SealBatch(number));
        let jobs = &self.cpu.seals[number];
        let batch = match &mut self.seals[number] {
            Some(batch) => batch,
            none => {
                let lanes = self.lanes.as_ref().map(|lanes| &lanes.outgoing);
                none.insert(Batch::of_seals(&self.keys, jobs.length, &jobs.jobs, lanes)?)
            }
        };
        batch.launch(&self.keys, "aes_gcm_seal", slot, batch.messages(messages));
        Ok(())
    }

    /// Seals a batch on the device, copies the cells to their places in `blocks` unless they stand on the device, and waits.
    fn seal_there<L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        batch: SealBatch,
        messages: &[Message<D::Memory>],
        blocks: &mut [L],
    ) -> Result<(), ComputeError> {
        self.start_to_seal(slot, batch, messages)?;
        if let Some(batch) = &self.seals[batch.0] {
            self.keys.device.read_parts(&batch.cells, parts(&batch.spans, blocks).into_iter());
        }
        self.keys.device.finish()
    }

    /// Starts to open the cells of a batch. They are first copied from the blocks `from`; without these, the cells that are on
    /// the device already are opened.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if the device has no memory for the batch or its keys.
    pub fn start_to_open<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        OpenBatch(number): OpenBatch,
        from: Option<&[K]>,
        messages: &mut [Message<D::Memory>],
    ) -> Result<(), ComputeError> {
        self.keys.expand()?;
        let jobs = &self.cpu.opens[number];
        let batch = match &mut self.opens[number] {
            Some(batch) => batch,
            none => {
                let lanes = self.lanes.as_ref().map(|lanes| &lanes.incoming);
                none.insert(Batch::of_opens(&self.keys, jobs.length, &jobs.jobs, lanes, None)?)
            }
        };
        if let Some(from) = from {
            let part = |span: &Span| (&from[span.block].as_ref()[span.offset..][..span.len], span.at);
            self.keys.device.write_parts(batch.spans.iter().map(part), &batch.cells);
        }
        batch.launch(&self.keys, "aes_gcm_open", slot, batch.messages(messages));
        Ok(())
    }

    /// Opens a batch on the device, waits for it, and returns the jobs whose cells failed authentication.
    fn open_there<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: OpenBatch,
        from: &[K],
        messages: &mut [Message<D::Memory>],
    ) -> Result<BadCells, ComputeError> {
        self.start_to_open(slot, batch, Some(from), messages)?;
        self.opens[batch.0].as_ref().map_or(Ok(BadCells::new()), |batch| batch.take_bad(&self.keys.device))
    }

    /// Peels the cells of a batch from block to block on the device, and waits. Returns the jobs whose cells failed
    /// authentication. Without blocks there it does nothing.
    fn peel_there(&mut self, slot: Slot, PeelBatch(number): PeelBatch) -> Result<BadCells, ComputeError> {
        let Some(LaneBlocks { outgoing, incoming }) = &self.lanes else { return Ok(BadCells::new()) };
        self.keys.expand()?;
        let jobs = &self.cpu.peels[number];
        let batch = match &mut self.peels[number] {
            Some(batch) => batch,
            none => {
                let (from, to) = (Some(incoming), Some(outgoing));
                none.insert(Batch::of_opens(&self.keys, jobs.length, &jobs.jobs, from, to)?)
            }
        };
        let blocks = [Arg::Memory(&*outgoing.memory, 0), Arg::Null, Arg::Null];
        batch.launch(&self.keys, "aes_gcm_open", slot, blocks);
        batch.take_bad(&self.keys.device)
    }

    /// Runs `work` on the blocks on the device, if any are there, and waits for it. If the device fails, the sealer counts it
    /// as lost.
    fn on_lanes(&mut self, work: impl FnOnce(&D, &LaneBlocks<D::Memory>)) -> Result<(), DeviceError> {
        let Some(lanes) = self.lanes.as_ref().filter(|_| !self.lost) else { return Ok(()) };
        work(&self.keys.device, lanes);
        let done = self.keys.device.finish();
        self.lost = done.is_err();
        Ok(done?)
    }

    /// Waits until all that was started is done.
    ///
    /// # Errors
    /// [`ComputeError::Device`] if a call failed.
    pub fn finish(&self) -> Result<(), ComputeError> {
        self.keys.device.finish()
    }
}

/// Turns a list of bad cells into an error, if it has any.
fn all_good(bad: BadCells) -> Result<(), OpenError> {
    if bad.is_empty() { Ok(()) } else { Err(OpenError::BadCells(bad)) }
}

/// Messages of zeros in the processor's memory, each long enough for `len` bytes at every one of the places in it.
fn room(places: impl Iterator<Item = Place>, len: usize) -> Vec<Vec<u8>> {
    let mut room: Vec<Vec<u8>> = Vec::new();
    for Place { block, offset } in places {
        room.resize_with(room.len().max(block + 1), Vec::new);
        let reach = room[block].len().max(offset + len);
        room[block].resize(reach, 0);
    }
    room
}

/// For each of the `spans`, its offset on the device and its bytes in `blocks`. Spans are sorted by block and offset, and do
/// not overlap.
fn parts<'a, L: AsMut<[u8]>>(spans: &[Span], blocks: &'a mut [L]) -> Vec<(usize, &'a mut [u8])> {
    let (mut parts, mut spans) = (Vec::with_capacity(spans.len()), spans.iter().peekable());
    for (number, block) in blocks.iter_mut().enumerate() {
        let (mut rest, mut passed) = (block.as_mut(), 0);
        while let Some(span) = spans.next_if(|span| span.block == number) {
            let (here, behind) = rest.split_at_mut(span.offset - passed + span.len);
            parts.push((span.at, &mut here[span.offset - passed..]));
            (rest, passed) = (behind, span.offset + span.len);
        }
    }
    parts
}

impl From<ComputeError> for DeviceError {
    fn from(error: ComputeError) -> Self {
        Self(Box::new(error))
    }
}

impl From<ComputeError> for OpenError {
    fn from(error: ComputeError) -> Self {
        Self::Device(error.into())
    }
}

impl<D: Device> Sealer for CudaSealer<D> {
    type Bytes = Message<D::Memory>;

    fn lay_lanes(&mut self, outgoing: &[usize], incoming: &[usize]) -> Result<Option<DeviceLanes>, DeviceError> {
        if !self.takes_lanes {
            return Ok(None);
        }
        let laid = LaneBlocks::lay(&self.keys.device, outgoing, incoming)?;
        Ok(laid.map(|(lanes, named)| {
            self.lanes = Some(lanes);
            named
        }))
    }

    fn lanes_on_device(&self) -> bool {
        self.lanes.is_some() && !self.lost
    }

    fn push<L: AsRef<[u8]>>(&mut self, blocks: &[L], first: usize, part: Range<usize>) -> Result<(), DeviceError> {
        self.on_lanes(|device, LaneBlocks { outgoing, .. }| {
            let parts = blocks.iter().map(|block| &block.as_ref()[part.clone()]);
            device.write_parts(parts.zip(outgoing.parts(part.clone()).skip(first)), &outgoing.memory);
        })
    }

    fn heads<K: AsRef<[u8]>, const LEN: usize>(
        &mut self,
        blocks: &[K],
        heads: &mut [[u8; LEN]],
    ) -> Result<(), DeviceError> {
        if !self.lanes_on_device() {
            return self.cpu.heads(blocks, heads);
        }
        self.on_lanes(|device, LaneBlocks { incoming, .. }| {
            let heads = heads.iter_mut().map(|head| head.as_mut_slice());
            device.read_parts(&incoming.memory, incoming.parts(0..LEN).zip(heads));
        })
    }

    fn add(&mut self, key: &Key) -> KeyId {
        self.keys.add(key);
        self.cpu.add(key)
    }

    fn add_stream(&mut self, key: &Key) -> StreamId {
        self.keys.add_stream(key);
        self.cpu.add_stream(key)
    }

    fn lay_seals(&mut self, payload: usize, jobs: Vec<SealJob>) -> SealBatch {
        self.keys.want_to_seal(&jobs);
        self.seals.push(None);
        self.cpu.lay_seals(payload, jobs)
    }

    fn lay_peels(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> PeelBatch {
        if self.lanes.is_some() {
            self.keys.want_to_open(&jobs);
        }
        self.peels.push(None);
        self.cpu.lay_peels(sealed, jobs)
    }

    fn lay_opens(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> OpenBatch {
        self.keys.want_to_open(&jobs);
        self.opens.push(None);
        self.cpu.lay_opens(sealed, jobs)
    }

    fn seal_no_messages(&mut self) {
        self.lost = true;
    }

    fn seal<L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        batch: SealBatch,
        messages: &[Self::Bytes],
        blocks: &mut [L],
    ) -> Result<(), DeviceError> {
        if self.lost {
            let jobs = &self.cpu.seals[batch.0];
            let empty = room(jobs.jobs.iter().map(|job| job.from), jobs.length);
            return self.cpu.seal(slot, batch, &empty, blocks);
        }
        let sealed = self.seal_there(slot, batch, messages, blocks);
        self.lost = sealed.is_err();
        Ok(sealed?)
    }

    fn peel<L: AsMut<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: PeelBatch,
        from: &[K],
        to: &mut [L],
    ) -> Result<(), OpenError> {
        if !self.lanes_on_device() {
            return self.cpu.peel(slot, batch, from, to);
        }
        let peeled = self.peel_there(slot, batch);
        self.lost = peeled.is_err();
        all_good(peeled?)
    }

    fn open<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: OpenBatch,
        from: &[K],
        messages: &mut [Self::Bytes],
    ) -> Result<(), OpenError> {
        if self.lost {
            let jobs = &self.cpu.opens[batch.0];
            let mut shown = room(jobs.jobs.iter().map(|job| job.to), jobs.length);
            let opened = self.cpu.open(slot, batch, from, &mut shown);
            shown.iter_mut().for_each(|message| message.zeroize());
            return opened;
        }
        let opened = self.open_there(slot, batch, from, messages);
        self.lost = opened.is_err();
        all_good(opened?)
    }

    fn fetch(&mut self, message: &Self::Bytes, host: &mut [u8]) -> Result<(), DeviceError> {
        message.check(0, host.len());
        self.keys.device.read(&message.memory, 0, host);
        Ok(self.keys.device.finish()?)
    }

    fn store(&mut self, host: &[u8], message: &mut Self::Bytes) -> Result<(), DeviceError> {
        message.check(0, host.len());
        self.keys.device.write(host, &message.memory, 0);
        Ok(self.keys.device.finish()?)
    }

    fn seal_record(&mut self, key: KeyId, cell: u32, slot: Slot, plain: &[u8], sealed: &mut [u8]) {
        self.cpu.seal_record(key, cell, slot, plain, sealed);
    }

    fn open_record(
        &mut self,
        key: KeyId,
        cell: u32,
        slot: Slot,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unauthentic> {
        self.cpu.open_record(key, cell, slot, sealed, plain)
    }
}
