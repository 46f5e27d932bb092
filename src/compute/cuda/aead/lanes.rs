//! Blocks of lanes on the device: those that leave in one piece of memory, those that arrive in another, so that a kernel
//! finds every cell by its distance from one address.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::ComputeError;
use crate::compute::cuda::Device;
use crate::crypto::sealer::Place;
use crate::device_memory::{DeviceBlocks, DeviceLanes};

/// Blocks begin on multiples of this: what those who move them like best.
const BOUNDARY: usize = 256;

/// A rank's blocks.
pub(super) struct Lanes<M> {
    pub(super) outgoing: Blocks<M>,
    pub(super) incoming: Blocks<M>,
}

/// Those of one direction.
pub(super) struct Blocks<M> {
    pub(super) memory: Arc<M>,
    places: Vec<Range<usize>>,
}

impl<M> Lanes<M> {
    /// Zeros, in blocks of these lengths; `None` where nobody else could use the device's memory.
    ///
    /// # Errors
    /// [`ComputeError`]: no memory.
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
    fn lay<D: Device<Memory = M>>(device: &D, lengths: &[usize]) -> Result<Self, ComputeError> {
        let (places, bytes) = places(lengths);
        Ok(Self { memory: Arc::new(device.allocate(bytes)?), places })
    }

    fn named<D: Device<Memory = M>>(&self, device: &D) -> Option<DeviceBlocks> {
        device.named(&self.memory, self.places.clone())
    }

    /// Where the memory has the `len` bytes at a place of a block.
    ///
    /// # Panics
    /// Where the block has fewer.
    pub(super) fn at(&self, Place { block, offset }: Place, len: usize) -> usize {
        let place = &self.places[block];
        let fits = offset.checked_add(len).is_some_and(|end| end <= place.len());
        assert!(fits, "{len} bytes at {offset} of a block of {}", place.len());
        place.start + offset
    }

    /// Where the same part of each block is.
    pub(super) fn parts(&self, part: Range<usize>) -> impl Iterator<Item = usize> {
        let at = move |block| self.at(Place { block, offset: part.start }, part.len());
        (0..self.places.len()).map(at)
    }
}

/// Where blocks of these lengths begin and end, and where the last one does.
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
