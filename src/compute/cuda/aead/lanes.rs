//! The blocks of lanes on the device. All outgoing blocks share one piece of memory and all incoming ones another, so that a
//! kernel finds every cell by its distance from one address.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::ComputeError;
use crate::compute::cuda::Device;
use crate::crypto::sealer::Place;
use crate::device_memory::{DeviceBlocks, DeviceLanes};

/// Blocks begin at multiples of this many bytes, which suits those that move them best.
const BOUNDARY: usize = 256;

/// A rank's blocks on the device.
pub(super) struct LaneBlocks<M> {
    /// The blocks that this rank sends.
    pub(super) outgoing: Blocks<M>,
    /// The blocks that this rank receives.
    pub(super) incoming: Blocks<M>,
}

/// The blocks of one direction.
pub(super) struct Blocks<M> {
    /// The memory that holds all blocks of the direction.
    pub(super) memory: Arc<M>,
    /// Byte range of each block in the memory.
    places: Vec<Range<usize>>,
}

impl<M> LaneBlocks<M> {
    /// Makes blocks of these lengths in bytes, all zeros, and describes them for the transport. `None` if nobody outside this
    /// process's own code could use the device's memory.
    ///
    /// # Errors
    /// [`ComputeError`] if the device has no memory for them.
    pub(super) fn lay<D: Device<Memory = M>>(
        device: &D,
        outgoing: &[usize],
        incoming: &[usize],
    ) -> Result<Option<(Self, DeviceLanes)>, ComputeError> {
        let (outgoing, incoming) = (Blocks::lay(device, outgoing)?, Blocks::lay(device, incoming)?);
        let named = (outgoing.named(device), incoming.named(device));
        Ok(match named {
            (Some(leaves), Some(arrives)) => {
                Some((Self { outgoing, incoming }, DeviceLanes { outgoing: leaves, incoming: arrives }))
            }
            _ => None,
        })
    }
}

impl<M> Blocks<M> {
    /// Makes blocks of these lengths in bytes, in one piece of memory.
    fn lay<D: Device<Memory = M>>(device: &D, lengths: &[usize]) -> Result<Self, ComputeError> {
        let (places, bytes) = places(lengths);
        Ok(Self { memory: Arc::new(device.allocate(bytes)?), places })
    }

    /// Describes the blocks for the transport, see [`Device::named`].
    fn named<D: Device<Memory = M>>(&self, device: &D) -> Option<DeviceBlocks> {
        device.named(&self.memory, self.places.clone())
    }

    /// Offset in the memory of `len` bytes at a place of a block.
    ///
    /// # Panics
    /// If the block ends before that.
    pub(super) fn at(&self, Place { block, offset }: Place, len: usize) -> usize {
        let place = &self.places[block];
        let fits = offset.checked_add(len).is_some_and(|end| end <= place.len());
        assert!(fits, "{len} bytes at {offset} of a block of {}", place.len());
        place.start + offset
    }

    /// Offset in the memory of the byte range `part` of each block, block by block.
    pub(super) fn parts(&self, part: Range<usize>) -> impl Iterator<Item = usize> {
        let at = move |block| self.at(Place { block, offset: part.start }, part.len());
        (0..self.places.len()).map(at)
    }
}

/// Byte range of each block, for blocks of these lengths, and the length of them all.
fn places(lengths: &[usize]) -> (Vec<Range<usize>>, usize) {
    let mut end = 0_usize;
    let places = lengths.iter().map(|length| {
        let begin = end.next_multiple_of(BOUNDARY);
        end = begin + length;
        begin..end
    });
    (places.collect(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_on_boundaries_and_do_not_touch() {
        assert_eq!(places(&[]), (vec![], 0));
        assert_eq!(places(&[300, 32, 256, 1]), (vec![0..300, 512..544, 768..1024, 1024..1025], 1025));
    }
}
