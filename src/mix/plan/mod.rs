//! The plan that the owner draws once for a job: who hosts what, who sends to whom, and over which relays
//! (docs/PROTOCOL.md, 7).
//!
//! All of this is pure, but for the randomness that is handed in. A plan stays for the whole job. Every fresh draw
//! would show an adversary another sample from which to tell the constant flows from the changing cover.

mod circuits;
mod demand;
mod mending;
mod placement;
mod roles;

use std::collections::HashMap;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use demand::Demand;
pub use placement::{Crowded, Placements};
pub use roles::Roles;

use super::MixError;
use super::topology::Topology;
use crate::ids::Rank;

/// Which message a circuit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// The forward message.
    Forward,
    /// The backward message.
    Backward,
    /// Nothing. If the number of ranks is even, one circuit of each rank is left over.
    Spare,
}

/// The path of one lane's cells (docs/PROTOCOL.md, 7.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// The rank at which it begins.
    pub source: Rank,
    /// Which message of its source it carries.
    pub direction: Direction,
    /// Which part of that message it carries, of 0..k. 0 for a spare.
    pub part: u16,
    /// The ranks that pass the cells on, in order: v1, v2, ... One fewer than hops.
    pub relays: Vec<Rank>,
    /// The rank at which it ends.
    pub destination: Rank,
}

impl Circuit {
    /// All ranks that it touches, from the source to the destination.
    pub fn path(&self) -> impl Iterator<Item = Rank> + Clone + '_ {
        std::iter::once(self.source).chain(self.relays.iter().copied()).chain(std::iter::once(self.destination))
    }
}

/// Everything that the owner draws for a job, but for keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How many ranks the job has.
    pub ranks: u16,
    /// How many hops each circuit has.
    pub hops: u8,
    /// Which rank hosts which stage.
    pub roles: Roles,
    /// Which rank sends to which, and through which half of the others.
    pub demand: Demand,
    /// The circuits, as many as there are lanes. In each phase each lane carries exactly one.
    pub circuits: Vec<Circuit>,
}

/// How often the search is tried before a job is refused, each time with a fresh draw of the sets A(r). With 6 ranks
/// and 2 stages, the worst case, 20 of 4,000 tries found a plan, in 1.2 ms a try. With 7 ranks 1,646 of them did, and
/// 1,185 of them with 4 hops. There are so many tries that no one is refused by chance, nor misses a number of ranks
/// that would work.
const TRIES: u32 = 12_000;

/// How many plans are looked for where ranks share hosts. The one whose circuits meet a host twice least often is
/// taken. A single search spreads them little, since most swaps meet a conflict.
const SPREAD: usize = 6;
/// The most ranks for which circuits are spread over hosts. Among more of them swaps of single relays change little.
const SPREAD_RANKS: u16 = 32;

/// The fewest ranks among which circuits of `hops` hops are looked for. With 4 hops and 6 ranks there are some, but the
/// search would find them one time in a few. A job is to be refused always or never.
fn fewest_ranks(hops: u8) -> u16 {
    u16::from(hops) + 3
}

impl Plan {
    /// Draws a plan for `stages` stages and circuits of `hops` hops. `hosts` has a label for each rank. Ranks with the
    /// same label share a host.
    ///
    /// # Errors
    /// [`MixError::NoPlan`] if the search finds no circuits. It names the numbers of ranks for which it does.
    pub fn draw(stages: u16, hops: u8, hosts: &[u32], rng: &mut impl Rng) -> Result<Self, MixError> {
        let ranks = hosts.len() as u16;
        let roles = Placements::of(stages, hosts, rng).draw(rng);
        match Self::with_roles(roles, hops, hosts, rng) {
            Some(plan) => Ok(plan),
            None => {
                let works = (stages + 1).max(6)..=16;
                let found = |n: &u16| {
                    let alone: Vec<u32> = (0..u32::from(*n)).collect();
                    Self::with_roles(Placements::of(stages, &alone, rng).draw(rng), hops, &alone, rng).is_some()
                };
                Err(MixError::NoPlan { ranks, stages, hops, works: works.filter(found).collect() })
            }
        }
    }

    /// Draws demand and circuits until they fit (docs/PROTOCOL.md, 7.2 to 7.7). `None` if the search finds none.
    fn with_roles(roles: Roles, hops: u8, hosts: &[u32], rng: &mut impl Rng) -> Option<Self> {
        let ranks = hosts.len() as u16;
        if ranks < fewest_ranks(hops) {
            return None;
        }
        let wanted = if circuits::can_spread(hosts) && ranks <= SPREAD_RANKS { SPREAD } else { 1 };
        let mut found: Vec<(usize, Demand, Vec<Circuit>)> = Vec::new();
        // 7.7: where a search fails, the sets are drawn afresh.
        for _ in 0..TRIES {
            let demand = Demand::draw(&roles, Topology::all(ranks), rng);
            if let Some(circuits) = circuits::search(&demand, hops, hosts, rng) {
                found.push((circuits::on_one_host(&circuits, hosts), demand, circuits));
            }
            if found.len() == wanted {
                break;
            }
        }
        let (_, demand, circuits) = found.into_iter().min_by_key(|(pairs, ..)| *pairs)?;
        Some(Self { ranks, hops, roles, demand, circuits })
    }

    /// Which ranks exchange blocks.
    pub fn topology(&self) -> Topology {
        Topology::all(self.ranks)
    }

    /// The number of the circuit that each lane carries in each phase, by phase (from 1), sender and receiver.
    pub fn lanes(&self) -> HashMap<(u8, Rank, Rank), usize> {
        let mut lanes = HashMap::new();
        for (index, circuit) in self.circuits.iter().enumerate() {
            for (hop, (from, to)) in circuit.path().zip(circuit.path().skip(1)).enumerate() {
                lanes.insert((hop as u8 + 1, from, to), index);
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests;
