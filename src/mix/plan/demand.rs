//! Which rank sends to which, and through which half of the other ranks (docs/PROTOCOL.md, 7.2 to 7.4).

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{Direction, Roles};
use crate::ids::Rank;
use crate::mix::topology::Topology;

/// The destinations of every rank's messages, and the sets of ranks through which they leave and arrive.
///
/// Real flows and cover are alike. `forward` is one permutation of the ranks: the owner, the stages and the owner again
/// are one cycle of it, and the relays another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Demand {
    /// `forward[s]` is the rank to which s sends its forward message: F(s).
    pub forward: Vec<Rank>,
    /// `backward[s]` is the rank to which s sends its backward message: B(s). It is the inverse of `forward`.
    pub backward: Vec<Rank>,
    /// By rank s: the set A(s), in ascending order. The forward message of s arrives through it and its backward
    /// message leaves through it. Through the others it is the reverse. A(s) holds the successor of s and not its
    /// predecessor.
    pub through: Vec<Vec<Rank>>,
    /// By rank s, if the number of ranks is even: the rank outside A(s) through which the spare of s leaves and
    /// arrives, a(s). Else empty.
    pub spare_through: Vec<Rank>,
    topology: Topology,
}

impl Demand {
    /// Draws which relay sends to which, and the sets.
    pub(super) fn draw(roles: &Roles, topology: Topology, rng: &mut impl Rng) -> Self {
        // 7.2: the owner, the hosts of the stages and the owner again form one cycle of F. Three or more relays form a
        // second one, in random order. One or two are their own destinations.
        let mut forward: Vec<Rank> = topology.ranks().collect();
        cycle(&mut forward, std::iter::once(Rank::OWNER).chain(roles.hosts.iter().copied()).collect());
        let mut relays: Vec<Rank> = topology.ranks().skip(1).filter(|rank| roles.stage(*rank).is_none()).collect();
        if relays.len() >= 3 {
            relays.shuffle(rng);
            cycle(&mut forward, relays);
        }
        // 7.2: B is the inverse of F.
        let mut backward = forward.clone();
        for (source, destination) in forward.iter().enumerate() {
            backward[destination.index()] = Rank(source as u16);
        }
        let mut demand = Self { forward, backward, through: Vec::new(), spare_through: Vec::new(), topology };
        // 7.3: draw A(r) and a(r) for each rank.
        for rank in topology.ranks() {
            demand.draw_set(rank, rng);
        }
        demand
    }

    /// Draws A(rank), uniform among the sets of its size that hold the successor and not the predecessor. With even N
    /// it also draws a(rank), uniform among the ranks outside A(rank) (docs/PROTOCOL.md, 7.3).
    fn draw_set(&mut self, rank: Rank, rng: &mut impl Rng) {
        let (successor, predecessor) = (self.forward[rank.index()], self.backward[rank.index()]);
        let mut free: Vec<Rank> =
            self.topology.peers(rank).filter(|peer| ![successor, predecessor].contains(peer)).collect();
        free.shuffle(rng);
        // A relay that is its own destination has neither a successor nor a predecessor.
        let mut inside: Vec<Rank> = Some(successor).filter(|r| *r != rank).into_iter().collect();
        let mut outside: Vec<Rank> = Some(predecessor).filter(|r| *r != rank).into_iter().collect();
        let rest = free.split_off(self.topology.circuits() - inside.len());
        inside.append(&mut free);
        outside.extend(rest);
        if self.topology.has_spare() {
            self.spare_through.push(outside[rng.random_range(0..outside.len())]);
        }
        inside.sort_unstable();
        self.through.push(inside);
    }

    /// Which ranks exchange blocks.
    pub(super) fn topology(&self) -> Topology {
        self.topology
    }

    /// The rank to which the message of `source` goes that `direction` names. `None` for a spare, which goes anywhere.
    pub fn destination(&self, source: Rank, direction: Direction) -> Option<Rank> {
        match direction {
            Direction::Forward => Some(self.forward[source.index()]),
            Direction::Backward => Some(self.backward[source.index()]),
            Direction::Spare => None,
        }
    }

    /// The ranks through which `direction`'s circuits leave `rank`, one circuit through each (docs/PROTOCOL.md, 7.4).
    pub fn leaves(&self, rank: Rank, direction: Direction) -> Vec<Rank> {
        match direction {
            Direction::Forward => self.outside(rank),
            Direction::Backward => self.through[rank.index()].clone(),
            Direction::Spare => vec![self.spare_through[rank.index()]],
        }
    }

    /// The ranks through which `direction`'s circuits arrive at `rank`, one circuit through each (docs/PROTOCOL.md,
    /// 7.4).
    pub fn arrives(&self, rank: Rank, direction: Direction) -> Vec<Rank> {
        match direction {
            Direction::Forward => self.through[rank.index()].clone(),
            Direction::Backward => self.outside(rank),
            Direction::Spare => vec![self.spare_through[rank.index()]],
        }
    }

    /// The set C(rank): the other ranks outside A(rank), but for the one of the spare (docs/PROTOCOL.md, 7.3).
    fn outside(&self, rank: Rank) -> Vec<Rank> {
        let spare = self.spare_through.get(rank.index());
        self.topology
            .peers(rank)
            .filter(|peer| !self.through[rank.index()].contains(peer) && Some(peer) != spare)
            .collect()
    }
}

/// Makes `forward` send from each of `ranks` to the next, and from the last to the first.
fn cycle(forward: &mut [Rank], ranks: Vec<Rank>) {
    for (from, to) in ranks.iter().zip(ranks.iter().cycle().skip(1)) {
        forward[from.index()] = *to;
    }
}
