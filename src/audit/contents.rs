//! What a stage finds of its own cells in the blocks of others, where its operator also sees all blocks.
//!
//! The stage has the keys of all layers of its own circuits. So it knows which bits its relays pass on, hop by hop, and
//! only has to look for them. Whoever the last relay sends them to is a neighbour. The head of a cell is enough to know
//! it by, and counter mode opens the head alone.

use std::collections::HashMap;

use super::play::Played;
use super::record::CellHead;
use crate::crypto::key::Key;
use crate::crypto::keystream::Keystream;
use crate::ids::Rank;

/// To whom the cells of stages are delivered in the first slot, as far as they are found.
pub(super) struct Destinations {
    /// For the rank of each stage: where the last relays of its circuits send its cells.
    destinations: HashMap<Rank, Vec<Rank>>,
}

impl Destinations {
    /// Looks for the cells of every stage of the run `played`.
    pub(super) fn of(played: &Played) -> Self {
        let mut receivers: HashMap<CellHead, Rank> = HashMap::new();
        for recording in &played.ranks {
            let last = recording.heads.get(played.phases - 1).into_iter().flatten();
            receivers.extend(last.zip(&recording.lanes).map(|(head, lane)| (*head, lane.peer)));
        }
        let destinations = |rank: Rank| {
            let recording = played.of(rank);
            let first = recording.heads.first().into_iter().flatten();
            let inside = first.zip(&recording.truth.circuits).map(|(head, layers)| {
                // The last layer stays on, as this is what the last relay sends.
                layers.iter().take(played.phases - 1).fold(*head, |head, key| inside(key, head))
            });
            (rank, inside.filter_map(|head| receivers.get(&head).copied()).collect())
        };
        Self { destinations: played.hosts().into_iter().map(destinations).collect() }
    }

    /// The features of the rank `stage` and another rank: how many of the stage's circuits are seen to end at the
    /// other.
    pub(super) fn of_pair(&self, stage: Rank, other: Rank) -> Vec<f64> {
        let ends = self.destinations.get(&stage).into_iter().flatten();
        vec![ends.filter(|rank| **rank == other).count() as f64]
    }
}

/// Takes one layer off the head of a cell. In the first slot the nonce of a block's first cell is all zeros.
fn inside(key: &[u8; 32], head: CellHead) -> CellHead {
    let mut inside = [0; 16];
    Keystream::new(&Key::from_bytes(*key)).add(&[0; 12], &head, &mut inside);
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::aead::{Library, TAG};

    #[test]
    fn the_head_is_that_of_what_was_sealed() {
        let (key, plain) = ([5; 32], [9; 40]);
        let mut sealed = [0; 40 + TAG];
        Library::Rust.key(&Key::from_bytes(key)).seal(&[0; 12], b"run", &plain, &mut sealed);
        assert_eq!(inside(&key, sealed[..16].try_into().unwrap()), plain[..16]);
    }
}
