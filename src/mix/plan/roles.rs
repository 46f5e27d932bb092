//! Who hosts which stage.

use crate::ids::{Rank, StageId};

/// A placement of the stages on ranks 1..N-1, drawn from [`Placements`](super::Placements). The others relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// `hosts[i]` hosts stage i.
    pub hosts: Vec<Rank>,
}

impl Roles {
    /// The stage that `rank` hosts, if any.
    pub fn stage(&self, rank: Rank) -> Option<StageId> {
        self.hosts.iter().position(|host| *host == rank).map(|stage| StageId(stage as u16))
    }

    /// Stages.
    pub fn stages(&self) -> u16 {
        self.hosts.len() as u16
    }
}
