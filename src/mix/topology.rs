//! Which ranks exchange blocks: who the peers of a rank are, and how its lanes to them are numbered (docs/PROTOCOL.md,
//! 5.4).
//!
//! Today every rank has a lane to every other. Nothing else in the mix counts on that: how many lanes a rank has, and
//! so how many circuits leave it, is asked here.

use serde::{Deserialize, Serialize};

use crate::ids::Rank;

/// The lanes between the ranks of a job. Each rank has as many as any other. For each outgoing lane it has an incoming
/// one from the same peer, under the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    ranks: u16,
}

impl Topology {
    /// A lane between any two of `ranks` ranks.
    pub fn all(ranks: u16) -> Self {
        Self { ranks }
    }

    /// The ranks of the job, the owner first.
    pub fn ranks(self) -> impl Iterator<Item = Rank> + Clone {
        Rank::all(self.ranks)
    }

    /// How many lanes leave a rank. As many arrive. In each phase one block goes over each of them.
    pub fn lanes(self) -> usize {
        usize::from(self.ranks).saturating_sub(1)
    }

    /// How many circuits carry the forward message of a rank. As many carry its backward message. This is k.
    pub fn circuits(self) -> usize {
        self.lanes() / 2
    }

    /// Whether a rank has one circuit more than its two messages need: the spare, which carries nothing. It has one if
    /// the number of ranks is even.
    pub fn has_spare(self) -> bool {
        !self.lanes().is_multiple_of(2)
    }

    /// The peers of `rank`, in the order of its lanes.
    pub fn peers(self, rank: Rank) -> impl Iterator<Item = Rank> + Clone {
        self.ranks().filter(move |peer| *peer != rank)
    }

    /// The number of the lane between `rank` and `peer`, counted from 0 among the lanes of `rank`.
    pub fn lane(self, rank: Rank, peer: Rank) -> usize {
        peer.index() - usize::from(peer > rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_numbered_as_their_peers_stand() {
        for ranks in 1..=65 {
            let topology = Topology::all(ranks);
            for rank in Rank::all(ranks) {
                let peers: Vec<Rank> = topology.peers(rank).collect();
                assert_eq!(peers.len(), topology.lanes());
                assert!(peers.iter().enumerate().all(|(lane, peer)| topology.lane(rank, *peer) == lane));
                // A lane leads both ways.
                assert!(peers.iter().all(|peer| topology.peers(*peer).any(|back| back == rank)));
            }
        }
    }

    #[test]
    fn two_messages_and_the_spare_take_all_lanes() {
        for ranks in 1..=65 {
            let topology = Topology::all(ranks);
            assert_eq!(2 * topology.circuits() + usize::from(topology.has_spare()), topology.lanes());
        }
    }
}
