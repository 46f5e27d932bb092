//! Who hosts which stage.

use rand::Rng;
use rand::seq::SliceRandom;

use crate::ids::{Rank, StageId};

/// A random placement of the stages on ranks 1..N-1. The others relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// `hosts[i]` hosts stage i.
    pub hosts: Vec<Rank>,
}

/// Placements drawn before the one that exposes least is taken.
const DRAWS: u32 = 2000;

impl Roles {
    /// Draws a placement: uniform among those that break the rules for `hosts` (a label a rank; equal ones are one trust
    /// domain) as little as any drawn. The rules, first to last: no two neighbouring stages in one domain, no two at
    /// distance two, few stages in a domain.
    pub fn draw(stages: u16, hosts: &[u32], rng: &mut impl Rng) -> Self {
        let mut ranks: Vec<Rank> = Rank::all(hosts.len() as u16).skip(1).collect();
        let mut best: Option<([usize; 3], Roles)> = None;
        // With a domain a rank, or one for all, every placement is as good as any other.
        for _ in 0..DRAWS {
            ranks.shuffle(rng);
            let drawn = Roles { hosts: ranks[..usize::from(stages)].to_vec() };
            let exposed = drawn.exposed(hosts);
            let settled = exposed == [0, 0, 0];
            if best.as_ref().is_none_or(|(least, _)| exposed < *least) {
                best = Some((exposed, drawn));
            }
            if settled {
                break;
            }
        }
        best.map_or(Roles { hosts: Vec::new() }, |(_, roles)| roles)
    }

    /// How often neighbours share a domain, how often stages at distance two do, and pairs of stages that do.
    fn exposed(&self, hosts: &[u32]) -> [usize; 3] {
        let domain: Vec<u32> = self.hosts.iter().map(|rank| hosts[rank.index()]).collect();
        let at = |distance: usize| domain.iter().zip(domain.iter().skip(distance)).filter(|(a, b)| a == b).count();
        let pairs = (1..domain.len()).map(at).sum();
        [at(1), at(2), pairs]
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
