//! Batches of jobs in the layout that `kernels/aes_gcm.cu` reads, and which bytes of blocks they cover.

use std::sync::Arc;

use super::keys::{Keys, SHARED};
use super::lanes::Blocks;
use crate::compute::ComputeError;
use crate::compute::cuda::{Arg, Device, Launch, Message, THREADS};
use crate::crypto::sealer::{BadCells, OpenJob, Place, SealJob};
use crate::ids::Slot;

/// Number of messages that a kernel takes.
const MESSAGES: usize = 3;
/// Most layers of an onion: as many as a job has room for.
const LAYERS: usize = 4;

/// Most cells that a block of threads takes, one after the other; and the number of blocks there must be before a block takes a
/// second cell. A block that takes several prepares its tables only once.
const CELLS: [u32; 2] = [8, 1024];

/// A range of bytes in a block, every byte of which belongs to a job, and its place on the device.
#[derive(Debug, PartialEq, Eq)]
/// Index of the block that the range is in.
pub(super) struct Span {
    /// First byte of the range in the block.
    pub(super) block: usize,
    /// Length of the range in bytes.
    pub(super) offset: usize,
    /// First byte of the range in the device's memory.
    pub(super) len: usize,
    pub(super) at: usize,
}

/// A batch of seal or open jobs on the device.
pub(super) struct Batch<M> {
    /// The jobs, in the kernel's layout.
    pub(super) jobs: M,
    /// How many jobs there are.
    pub(super) count: u32,
    /// Length in bytes of a payload if the batch seals, or of a sealed cell if it opens.
    pub(super) length: u32,
    /// The memory that holds the sealed cells: the batch's own, or that of the lanes if they stand on the device.
    pub(super) cells: Arc<M>,
    /// Which bytes of blocks are copied to or from `cells`. Empty if lanes stand on the device.
    pub(super) spans: Vec<Span>,
    /// Only where the batch opens: how many jobs were found bad, then for each job whether it was, 4 bytes each. All are zero
    /// while none is bad.
    pub(super) bad: Option<M>,
    /// Number of bytes that the kernel uses of each message. 0 if it does not use the message.
    reach: [usize; MESSAGES],
}

impl<M> Batch<M> {
    /// Launches `kernel` over all cells of the batch. It reads or writes `messages`.
    pub(super) fn launch<D: Device<Memory = M>>(
        &self,
        keys: &Keys<D>,
        kernel: &'static str,
        slot: Slot,
        messages: [Arg<'_, M>; 3],
    ) {
        if self.count == 0 {
            return;
        }
        let [most, blocks] = CELLS;
        let each = (self.count / blocks).clamp(1, most);
        let expanded = [Arg::Memory(&keys.expanded, 0), Arg::U32(keys.data.1)];
        let jobs = [Arg::Memory(&self.jobs, 0), Arg::U32(self.count), Arg::U32(each)];
        let bad = self.bad.as_ref().map(|bad| Arg::Memory(bad, 0));
        let cells = [Arg::Memory(&*self.cells, 0)].into_iter().chain(bad);
        let args: Vec<_> = expanded
            .into_iter()
            .chain(jobs)
            .chain([Arg::U64(slot.0), Arg::U32(self.length)])
            .chain(messages)
            .chain(cells)
            .collect();
        let grid = [self.count.div_ceil(each), 1, 1];
        keys.device.launch(Launch { kernel, grid, block: THREADS, shared: SHARED[1] }, &args);
    }

    /// A batch that seals payloads of `payload` bytes. The cells go to `lanes` if those stand on the device, else to memory of
    /// the batch's own.
    pub(super) fn of_seals<D: Device<Memory = M>>(
        keys: &Keys<D>,
        payload: usize,
        jobs: &[SealJob],
        lanes: Option<&Blocks<M>>,
    ) -> Result<Self, ComputeError> {
        let layers = jobs.first().map_or(0, |job| job.layers.len());
        let targets: Vec<Place> = jobs.iter().map(|job| job.to).collect();
        let cells = DeviceCells::at(&keys.device, &targets, payload + 16 * layers, lanes)?;
        let mut bytes = Words::default();
        for (job, at) in jobs.iter().zip(&cells.at) {
            assert!(job.layers.len() == layers && (1..=LAYERS).contains(&layers), "onions of 1 to {LAYERS} layers");
            bytes.u32(job.cell);
            bytes.u32(layers as u32);
            let innermost_first = job.layers.iter().rev().map(|key| keys.number(*key)).chain(std::iter::repeat(0));
            innermost_first.take(LAYERS).for_each(|key| bytes.u32(key));
            bytes.places(job.from, *at);
        }
        Self::lay(&keys.device, payload, jobs.iter().map(|job| job.from), payload, cells, &bytes)
    }

    /// A batch that opens cells of `sealed` bytes. They come from `lanes` if those stand on the device, else from memory of the
    /// batch's own. With `to` the batch peels: what is opened goes to these blocks instead of messages.
    pub(super) fn of_opens<D: Device<Memory = M>>(
        keys: &Keys<D>,
        sealed: usize,
        jobs: &[OpenJob],
        lanes: Option<&Blocks<M>>,
        to: Option<&Blocks<M>>,
    ) -> Result<Self, ComputeError> {
        let sources: Vec<Place> = jobs.iter().map(|job| job.from).collect();
        let cells = DeviceCells::at(&keys.device, &sources, sealed, lanes)?;
        // To the kernel, all outgoing blocks are one message.
        let target = |job: &OpenJob| match to {
            Some(blocks) => Place { block: 0, offset: blocks.at(job.to, sealed - 16) },
            None => job.to,
        };
        let mut bytes = Words::default();
        for (job, at) in jobs.iter().zip(&cells.at) {
            bytes.u32(keys.number(job.key));
            bytes.u32(job.cell);
            bytes.u32(keys.stream(job.under));
            bytes.u32(keys.stream(job.over));
            bytes.places(target(job), *at);
        }
        let laid = Self::lay(&keys.device, sealed, jobs.iter().map(target), sealed - 16, cells, &bytes)?;
        Ok(Self { bad: Some(keys.device.allocate(4 + 4 * jobs.len())?), ..laid })
    }

    /// Writes the jobs to the device. `in_messages` says where each job's payload of `payload` bytes stands in the messages.
    fn lay<D: Device<Memory = M>>(
        device: &D,
        length: usize,
        in_messages: impl ExactSizeIterator<Item = Place>,
        payload: usize,
        cells: DeviceCells<M>,
        bytes: &Words,
    ) -> Result<Self, ComputeError> {
        let count = in_messages.len() as u32;
        let mut reach = [0; MESSAGES];
        for place in in_messages {
            assert!(place.offset.is_multiple_of(16), "payloads begin on a multiple of 16");
            reach[place.block] = reach[place.block].max(place.offset + payload);
        }
        let jobs = device.allocate(bytes.0.len())?;
        device.write(&bytes.0, &jobs, 0);
        let DeviceCells { memory, spans, .. } = cells;
        Ok(Self { jobs, count, length: length as u32, cells: memory, spans, bad: None, reach })
    }

    /// Waits for what was started, and returns the jobs that were found bad since the last time. The flags of single jobs are
    /// read only if some job was bad.
    ///
    /// # Errors
    /// [`ComputeError::Device`] if a call failed.
    pub(super) fn take_bad<D: Device<Memory = M>>(&self, device: &D) -> Result<BadCells, ComputeError> {
        let (Some(bad), mut count) = (&self.bad, [0; 4]) else { return Ok(BadCells::new()) };
        device.read(bad, 0, &mut count);
        device.finish()?;
        if count == [0; 4] {
            return Ok(BadCells::new());
        }
        let mut flags = vec![[0; 4]; self.count as usize];
        device.read(bad, 4, flags.as_flattened_mut());
        device.clear(bad, 0, 4 + 4 * flags.len());
        device.finish()?;
        Ok(flags.iter().enumerate().filter(|(_, flag)| **flag != [0; 4]).map(|(job, _)| job).collect())
    }

    /// The messages as arguments of a kernel: a null pointer for each one that it does not use.
    ///
    /// # Panics
    /// If a message is missing, or shorter than the jobs need.
    pub(super) fn messages<'a>(&self, messages: &'a [Message<M>]) -> [Arg<'a, M>; MESSAGES] {
        std::array::from_fn(|i| if self.reach[i] == 0 { Arg::Null } else { messages[i].arg(0, self.reach[i]) })
    }
}

/// Where the sealed cells of a batch stand on the device.
struct DeviceCells<M> {
    /// The device memory that holds the cells.
    memory: Arc<M>,
    /// Which bytes of blocks are copied to or from `memory`.
    spans: Vec<Span>,
    /// By job: offset of its cell in the memory, in bytes.
    at: Vec<usize>,
}

impl<M> DeviceCells<M> {
    /// Places for cells of `len` bytes, which stand at `places` in blocks: in `lanes` if these stand on the device, else in new
    /// memory.
    fn at<D: Device<Memory = M>>(
        device: &D,
        places: &[Place],
        len: usize,
        lanes: Option<&Blocks<M>>,
    ) -> Result<Self, ComputeError> {
        if let Some(blocks) = lanes {
            let at: Vec<usize> = places.iter().map(|place| blocks.at(*place, len)).collect();
            assert!(at.iter().all(|at| at.is_multiple_of(16)), "cells begin on a multiple of 16");
            return Ok(Self { memory: Arc::clone(&blocks.memory), spans: Vec::new(), at });
        }
        let (spans, at) = spans(places, len);
        let memory = device.allocate(spans.last().map_or(0, |last| last.at + last.len))?;
        Ok(Self { memory: Arc::new(memory), spans, at })
    }
}

/// Little-endian numbers, one behind the other: the jobs in the kernel's layout.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    /// Appends the kernel's `struct Places`: a message's index, the byte offset in it, the byte offset of the cell.
    fn places(&mut self, message: Place, cell: usize) {
        self.u32(message.block as u32);
        self.u32(0);
        self.0.extend((message.offset as u64).to_le_bytes());
        self.0.extend((cell as u64).to_le_bytes());
    }
}

/// The byte ranges that cells of `len` bytes at `places` cover, and the offset of each cell on the device. That offset is a
/// multiple of 16, as the kernels load 16 bytes at a time. Cells that follow each other in a block form one span, so that they
/// are copied at once.
fn spans(places: &[Place], len: usize) -> (Vec<Span>, Vec<usize>) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|&job| (places[job].block, places[job].offset));
    let mut spans: Vec<Span> = Vec::new();
    let mut at = vec![0; places.len()];
    for job in order {
        let Place { block, offset } = places[job];
        let end = spans.last().map_or(0, |last| last.at + last.len);
        let span = match spans.pop() {
            Some(last)
                if last.block == block
                    && offset <= last.offset + last.len
                    && (offset - last.offset).is_multiple_of(16) =>
            {
                Span { len: last.len.max(offset - last.offset + len), ..last }
            }
            last => {
                spans.extend(last);
                Span { block, offset, len, at: end.next_multiple_of(16) }
            }
        };
        at[job] = span.at + offset - span.offset;
        spans.push(span);
    }
    (spans, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(block: usize, offset: usize) -> Place {
        Place { block, offset }
    }

    #[test]
    fn neighbours_are_one_span() {
        let places = [place(1, 80), place(0, 32), place(1, 32), place(1, 56), place(0, 100)];
        let (found, at) = spans(&places, 24);
        // The cell at 56 follows that at 32 without a gap, but would not begin on a multiple of 16.
        let due = [(0, 32, 24, 0), (0, 100, 24, 32), (1, 32, 24, 64), (1, 56, 24, 96), (1, 80, 24, 128)];
        let due: Vec<Span> =
            due.into_iter().map(|(block, offset, len, at)| Span { block, offset, len, at }).collect();
        assert_eq!((found, at), (due, vec![128, 0, 64, 96, 32]));
        let (found, at) = spans(&[place(2, 64), place(2, 32), place(2, 32), place(3, 0)], 32);
        let due = [Span { block: 2, offset: 32, len: 64, at: 0 }, Span { block: 3, offset: 0, len: 32, at: 64 }];
        assert_eq!((found.as_slice(), at), (due.as_slice(), vec![32, 0, 0, 64]));
    }
}
