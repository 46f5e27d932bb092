//! Jobs as `kernels/aes_gcm.cu` reads them, and which bytes of blocks they cover.

use std::sync::Arc;

use super::keys::{Keys, SHARED};
use super::lanes::Blocks;
use crate::compute::ComputeError;
use crate::compute::cuda::{Arg, Device, Launch, Message, THREADS};
use crate::crypto::sealer::{BadCells, OpenJob, Place, SealJob};
use crate::ids::Slot;

/// Messages that a kernel takes.
const MESSAGES: usize = 3;
/// Layers of an onion that a job has room for.
const LAYERS: usize = 4;

/// Cells that a block of threads takes at most, one after the other, and blocks that there are to be before it takes two. Each
/// block lays its tables first.
const CELLS: [u32; 2] = [8, 1024];

/// Bytes of a block, all of them some job's, and where they stand on the device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) block: usize,
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) at: usize,
}

/// A batch on the device.
pub(super) struct Batch<M> {
    /// The jobs, in the kernel's layout.
    pub(super) jobs: M,
    /// How many.
    pub(super) count: u32,
    /// Bytes of a payload, or of a sealed cell.
    pub(super) length: u32,
    /// The bytes of blocks that jobs cover; those of lanes that stand on the device.
    pub(super) cells: Arc<M>,
    /// Whose they are, where they are copied; none of lanes that stand on the device.
    pub(super) spans: Vec<Span>,
    /// Of opening: how many jobs were found bad, and behind that for each job whether it was. All zeros until some are.
    pub(super) bad: Option<M>,
    /// Bytes that each message must have.
    reach: [usize; MESSAGES],
}

impl<M> Batch<M> {
    /// Launches a kernel over the cells, between them and `messages`.
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

    /// Sealing, from payloads of `payload` bytes, into `lanes` where those stand on the device.
    pub(super) fn of_seals<D: Device<Memory = M>>(
        keys: &Keys<D>,
        payload: usize,
        jobs: &[SealJob],
        lanes: Option<&Blocks<M>>,
    ) -> Result<Self, ComputeError> {
        let layers = jobs.first().map_or(0, |job| job.layers.len());
        let targets: Vec<Place> = jobs.iter().map(|job| job.to).collect();
        let cells = Cells::at(&keys.device, &targets, payload + 16 * layers, lanes)?;
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

    /// Opening, of cells of `sealed` bytes, from `lanes` where those stand on the device; into `to` in place of messages where it
    /// peels.
    pub(super) fn of_opens<D: Device<Memory = M>>(
        keys: &Keys<D>,
        sealed: usize,
        jobs: &[OpenJob],
        lanes: Option<&Blocks<M>>,
        to: Option<&Blocks<M>>,
    ) -> Result<Self, ComputeError> {
        let sources: Vec<Place> = jobs.iter().map(|job| job.from).collect();
        let cells = Cells::at(&keys.device, &sources, sealed, lanes)?;
        // All blocks that leave are one message to the kernel.
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

    fn lay<D: Device<Memory = M>>(
        device: &D,
        length: usize,
        in_messages: impl ExactSizeIterator<Item = Place>,
        payload: usize,
        cells: Cells<M>,
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
        let Cells { memory, spans, .. } = cells;
        Ok(Self { jobs, count, length: length as u32, cells: memory, spans, bad: None, reach })
    }

    /// Waits for what was started: the jobs that were found bad since the last time. Which they are is asked where some are.
    ///
    /// # Errors
    /// [`ComputeError::Device`].
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

    /// The messages as a kernel takes them.
    ///
    /// # Panics
    /// Where one is missing, or shorter than the jobs say.
    pub(super) fn messages<'a>(&self, messages: &'a [Message<M>]) -> [Arg<'a, M>; MESSAGES] {
        std::array::from_fn(|i| if self.reach[i] == 0 { Arg::Null } else { messages[i].arg(0, self.reach[i]) })
    }
}

/// Where a batch's cells are.
struct Cells<M> {
    memory: Arc<M>,
    spans: Vec<Span>,
    /// By job.
    at: Vec<usize>,
}

impl<M> Cells<M> {
    /// Cells of `len` bytes at `places`: in `lanes`, or in memory of their own.
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

/// Little-endian numbers, one behind the other.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    /// `struct Places`.
    fn places(&mut self, message: Place, cell: usize) {
        self.u32(message.block as u32);
        self.u32(0);
        self.0.extend((message.offset as u64).to_le_bytes());
        self.0.extend((cell as u64).to_le_bytes());
    }
}

/// The bytes that cells of `len` bytes at `places` cover, and where each cell stands among them: on a multiple of 16, as kernels
/// load. Cells that follow each other in a block are one span, so that they are copied at once.
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
        // 56 follows 32 without a gap, but would not begin on a multiple of 16.
        let due = [(0, 32, 24, 0), (0, 100, 24, 32), (1, 32, 24, 64), (1, 56, 24, 96), (1, 80, 24, 128)];
        let due: Vec<Span> =
            due.into_iter().map(|(block, offset, len, at)| Span { block, offset, len, at }).collect();
        assert_eq!((found, at), (due, vec![128, 0, 64, 96, 32]));
        let (found, at) = spans(&[place(2, 64), place(2, 32), place(2, 32), place(3, 0)], 32);
        let due = [Span { block: 2, offset: 32, len: 64, at: 0 }, Span { block: 3, offset: 0, len: 32, at: 64 }];
        assert_eq!((found.as_slice(), at), (due.as_slice(), vec![32, 0, 0, 64]));
    }
}
