//! Who hosts which stage.

use rand::Rng;

use super::Placements;
use crate::ids::{Rank, StageId};

/// A random placement of the stages on ranks 1..N-1. The others relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// `hosts[i]` hosts stage i.
    pub hosts: Vec<Rank>,
}

impl Roles {
    /// Draws a [placement](Placements) on ranks whose hosts are `hosts` (a label a rank; equal ones are one trust domain).
    pub fn draw(stages: u16, hosts: &[u32], rng: &mut impl Rng) -> Self {
        Placements::of(stages, hosts, rng).draw(rng)
    }

    /// The stage that `rank` hosts, if any.
    pub fn stage(&self, rank: Rank) -> Option<StageId> {
        self.hosts.iter().position(|host| *host == rank).map(|stage| StageId(stage as u16))
    }

    /// Stages.
    pub fn stages(&self) -> u16 {
        self.hosts.len() as u16
    }
}
