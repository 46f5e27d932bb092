//! Which rank hosts which stage.

use serde::{Deserialize, Serialize};

use crate::ids::{Rank, StageId};

/// A placement of the stages on ranks 1..N, drawn from [`Placements`](super::Placements) (docs/PROTOCOL.md, 7.1). The
/// other ranks relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// `hosts[i]` is the rank that hosts stage i, counted from 0.
    pub hosts: Vec<Rank>,
}

impl Roles {
    /// The stage that `rank` hosts, if any.
    pub fn stage(&self, rank: Rank) -> Option<StageId> {
        self.hosts.iter().position(|host| *host == rank).map(|stage| StageId(stage as u16))
    }

    /// How many stages there are.
    pub fn stages(&self) -> u16 {
        self.hosts.len() as u16
    }
}
