//! The plan that the owner draws once for a job: who hosts what, who sends to whom, and over which relays.
//!
//! Pure but for the randomness handed in. Stays for the whole job: every fresh draw would show an adversary another
//! sample from which to tell the constant flows from the changing cover.

mod circuits;
mod demand;
mod placement;
mod roles;

use std::collections::HashMap;

use rand::Rng;

pub use demand::Demand;
pub use placement::{Crowded, Placements};
pub use roles::Roles;

use super::MixError;
use super::topology::Topology;
use crate::ids::Rank;

/// Which message a circuit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The forward message.
    Forward,
    /// The backward message.
    Backward,
    /// Nothing: with even N one circuit a rank is left over.
    Spare,
}

/// The path of one lane's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Where it begins.
    pub source: Rank,
    /// Which message it carries.
    pub direction: Direction,
    /// Its place among those that carry the same message: which part of it.
    pub part: u16,
    /// v1, v2, ...: one fewer than hops.
    pub relays: Vec<Rank>,
    /// Where it ends.
    pub destination: Rank,
}

impl Circuit {
    /// All ranks that it touches, in order.
    pub fn path(&self) -> impl Iterator<Item = Rank> + Clone + '_ {
        std::iter::once(self.source).chain(self.relays.iter().copied()).chain(std::iter::once(self.destination))
    }
}

/// Everything that the owner draws for a job, but for keys.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Ranks.
    pub ranks: u16,
    /// Hops of every circuit.
    pub hops: u8,
    /// Who hosts which stage.
    pub roles: Roles,
    /// Who sends to whom.
    pub demand: Demand,
    /// The circuits, as many as there are lanes: in each phase each lane carries exactly one.
    pub circuits: Vec<Circuit>,
}

/// Tries of the search before a job is refused, each with a fresh draw of the sets: at N = 6 and S = 2, the worst case, 7
/// of 4,000 tries found a plan, in 0.4 ms a try; at N = 7, 378 of them, and 30 of them with 4 hops. So many that no one
/// meets a refusal by chance, nor misses a rank count that would work.
const TRIES: u32 = 12_000;

/// Where ranks share hosts, so many times circuits are looked for, and those that pass through a host twice least often are taken: a
/// search alone spreads them little, since most swaps meet a conflict.
const SPREAD: usize = 6;
/// The most ranks for which that is done: with more of them a search takes long.
const SPREAD_RANKS: u16 = 16;

/// The fewest ranks among which circuits of `hops` hops are looked for. With 4 hops and 6 ranks there are some, but the
/// search would find them one time in a few: a job is either refused or not.
fn fewest_ranks(hops: u8) -> u16 {
    u16::from(hops) + 3
}

impl Plan {
    /// Draws a plan for `stages` stages among ranks whose hosts are `hosts` (any labels; equal ones share a fate).
    ///
    /// # Errors
    /// [`MixError::NoPlan`] where the search finds no circuits.
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

    fn with_roles(roles: Roles, hops: u8, hosts: &[u32], rng: &mut impl Rng) -> Option<Self> {
        let ranks = hosts.len() as u16;
        if ranks < fewest_ranks(hops) {
            return None;
        }
        let wanted = if circuits::can_spread(hosts) && ranks <= SPREAD_RANKS { SPREAD } else { 1 };
        let mut found: Vec<(usize, Demand, Vec<Circuit>)> = Vec::new();
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

    /// The circuit in each (phase, sender, receiver).
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
