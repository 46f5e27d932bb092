//! What hosts that collude see of a plan: the packages of all their ranks, read together.
//!
//! Of a circuit that passes its rank in the middle, a package says from whom the cells come and to whom they go. Of its
//! own circuits a rank also knows which message they carry. Two relays that follow each other on a circuit notice that
//! by the lane between them: what the one sends over it is what the other receives. A source finds its circuit at every
//! colluding rank on it, as it holds the keys of all hops and each receiver has the key of its own lane. An honest
//! relay in between parts what lies before it from what lies behind it.

use std::collections::HashSet;

use crate::ids::{Rank, RankSet};
use crate::mix::plan::{Circuit, Direction, Plan};

/// What colluding ranks know of a circuit, looking from one of its ends towards the other.
struct Sight {
    /// The ranks that the other end may be.
    other: RankSet,
    /// Which message the circuit carries. Only its ends are told; `None` where no end colludes.
    direction: Option<Direction>,
}

/// A circuit, and who looks at it.
struct Seen<'a> {
    /// The ranks on the circuit, from its source to its destination.
    path: &'a [Rank],
    /// Which message the circuit carries.
    direction: Direction,
    /// The ranks that collude.
    colluders: RankSet,
    /// All ranks of the job.
    everyone: RankSet,
}

impl Seen<'_> {
    /// Whether the rank at place `at` of the path colludes.
    fn inside(&self, at: usize) -> bool {
        self.colluders.contains(self.path[at])
    }

    /// The destination's place in the path.
    fn end(&self) -> usize {
        self.path.len() - 1
    }

    /// Whether the colluders know both ends of the circuit, and that these belong together.
    fn is_linked(&self) -> bool {
        let end = self.end();
        match self.inside(0) {
            true => self.inside(end - 1) || self.inside(end),
            false => (1..end).all(|at| self.inside(at)),
        }
    }

    /// Which message the circuit carries, as far as the colluders know it: only its two ends are told.
    fn told(&self) -> Option<Direction> {
        (self.inside(0) || self.inside(self.end())).then_some(self.direction)
    }

    /// What is known of the destination, where the source or the first relay colludes. `None` where neither does.
    fn onwards(&self) -> Option<Sight> {
        let end = self.end();
        if !self.inside(0) && !self.inside(1) {
            return None;
        }
        if self.is_linked() {
            return Some(Sight { other: RankSet::alone(self.path[end]), direction: self.told() });
        }
        if self.inside(0) {
            // No colluder is the destination, and no relay beside a colluder: they know these.
            let known = (1..end).filter(|at| (at - 1..=at + 1).any(|near| self.inside(near)));
            return Some(Sight { other: self.without(known), direction: Some(self.direction) });
        }
        let first_honest = (1..end).find(|at| !self.inside(*at)).unwrap_or(end);
        Some(Sight { other: self.without(1..=first_honest), direction: None })
    }

    /// What is known of the source, where the destination or the last relay colludes. `None` where neither does.
    fn backwards(&self) -> Option<Sight> {
        let end = self.end();
        if !self.inside(end) && !self.inside(end - 1) {
            return None;
        }
        if self.is_linked() {
            return Some(Sight { other: RankSet::alone(self.path[0]), direction: self.told() });
        }
        let last_honest = (1..end).rev().find(|at| !self.inside(*at)).unwrap_or(1);
        let direction = self.inside(end).then_some(self.direction);
        Some(Sight { other: self.without(last_honest..end), direction })
    }

    /// All ranks except those at these places of the path.
    fn without(&self, known: impl Iterator<Item = usize>) -> RankSet {
        self.everyone.without(known.map(|at| self.path[at]).collect())
    }
}

/// What is known of an honest rank s by the two circuits that leave it and arrive at it through one colluder v.
///
/// If v is outside A(s), what leaves through v goes to s's successor, and what arrives comes from there. If v is in
/// A(s), the same holds with the predecessor. With even N both circuits may be spares (docs/PROTECTION.md, "How they
/// reason").
#[derive(Clone, Copy)]
pub(super) struct Through {
    /// The ranks that may be s's successor if v is outside A(s).
    ahead: RankSet,
    /// The ranks that may be s's predecessor if v is in A(s).
    behind: RankSet,
    /// The ranks that may be s's successor if v is where its spare leaves and arrives.
    spare: RankSet,
}

/// All that a coalition knows of who sends to whom.
pub(super) struct Knowledge {
    /// How many ranks the job has, N.
    pub(super) ranks: u16,
    /// How many stages the job has, S. The number of slots gives it away.
    pub(super) stages: u16,
    /// The ranks that collude.
    pub(super) colluders: RankSet,
    /// For each stage, the colluder that hosts it, if one does. A stage can tell its place and S.
    pub(super) placed: Vec<Option<Rank>>,
    /// For each colluder, which ranks may be its successor, and which its predecessor.
    own: Vec<[RankSet; 2]>,
    /// By honest rank and then by colluder, in ascending order: what is known by the circuits for which that colluder is a first
    /// or a last relay.
    through: Vec<Vec<Through>>,
    /// How many circuits carry one message, k.
    circuits: f64,
    /// By rank: in how many ways what is seen of it goes together with being a relay, where that is the same whoever the other relays
    /// are. That is so where few ranks are excluded.
    as_relay: Vec<Option<f64>>,
}

impl Knowledge {
    /// Works out what `colluders` know of `plan`.
    pub(super) fn of(plan: &Plan, colluders: RankSet) -> Self {
        let n = usize::from(plan.ranks);
        let everyone: RankSet = Rank::all(plan.ranks).collect();
        let even = plan.topology().has_spare();
        let mut own: Vec<[RankSet; 2]> =
            Rank::all(plan.ranks).map(|rank| [everyone.without(RankSet::alone(rank)); 2]).collect();
        let unknown = |v: Rank| {
            let others = everyone.without(RankSet::alone(v));
            Through { ahead: others, behind: others, spare: if even { others } else { RankSet::EMPTY } }
        };
        let mut through = vec![colluders.iter().map(unknown).collect::<Vec<Through>>(); n];
        let place = |v: Rank| colluders.iter().take_while(|other| *other < v).count();
        // Each circuit is looked at from both ends. At a colluding end it narrows that colluder's own neighbours, at an
        // honest end what is known of this rank through the relay beside it.
        for circuit in plan.circuits.iter().filter(|circuit| is_seen(circuit, colluders)) {
            let path: Vec<Rank> = circuit.path().collect();
            let seen = Seen { path: &path, direction: circuit.direction, colluders, everyone };
            let (first, last) = (path[1], path[seen.end() - 1]);
            if let Some(sight) = seen.onwards() {
                match seen.inside(0) {
                    true => narrow_own(&mut own[circuit.source.index()], circuit, 0, sight.other, first),
                    false => through[circuit.source.index()][place(first)].narrow(&sight, false),
                }
            }
            if let Some(sight) = seen.backwards() {
                match seen.inside(seen.end()) {
                    true => narrow_own(&mut own[circuit.destination.index()], circuit, 1, sight.other, last),
                    false => through[circuit.destination.index()][place(last)].narrow(&sight, true),
                }
            }
        }
        let placed =
            plan.roles.hosts.iter().map(|host| Some(*host).filter(|host| colluders.contains(*host))).collect();
        let circuits = plan.topology().circuits() as f64;
        let (ranks, stages, as_relay) = (plan.ranks, plan.roles.stages(), Vec::new());
        let mut knowledge = Self { ranks, stages, colluders, placed, own, through, circuits, as_relay };
        knowledge.as_relay = Rank::all(ranks).map(|rank| knowledge.always_as_relay(rank, everyone)).collect();
        knowledge
    }

    /// What [`ways_as_relay`](Self::ways_as_relay) gives for `rank` whoever the relays are of `everyone`. `None` where it depends on
    /// that.
    fn always_as_relay(&self, rank: Rank, everyone: RankSet) -> Option<f64> {
        // The owner, the stages and the rank itself are no partners of a relay. A set of more ranks has a partner in any case.
        let others = u32::from(self.stages) + 2;
        let depends = |set: &RankSet| !set.is_empty() && set.len() <= others;
        let (own, through) = (&self.own[rank.index()], &self.through[rank.index()]);
        let sets = through.iter().flat_map(|through| [through.ahead, through.behind]).chain(*own);
        let settled = everyone.len() >= others + 2 && !sets.into_iter().any(|set| depends(&set));
        settled.then(|| self.reckon_as_relay(rank, everyone))
    }

    /// In how many ways what is seen of `rank` goes together with these neighbours; 0 where it contradicts them. `rank`
    /// is the owner or hosts a stage. Of a colluder it is 1 or 0.
    pub(super) fn ways(&self, rank: Rank, predecessor: Rank, successor: Rank) -> f64 {
        if self.colluders.contains(rank) {
            let [ahead, behind] = self.own[rank.index()];
            return f64::from(u8::from(ahead.contains(successor) && behind.contains(predecessor)));
        }
        let ways = |through: &Through| {
            let spare = f64::from(u8::from(through.spare.contains(successor))) / self.circuits;
            f64::from(u8::from(through.ahead.contains(successor)) + u8::from(through.behind.contains(predecessor)))
                + spare
        };
        self.through[rank.index()].iter().map(ways).product()
    }

    /// In how many ways what is seen of `rank` goes together with being a relay, if all of `relays` are; 0 where it
    /// contradicts that.
    pub(super) fn ways_as_relay(&self, rank: Rank, relays: RankSet) -> f64 {
        self.as_relay[rank.index()].unwrap_or_else(|| self.reckon_as_relay(rank, relays))
    }

    /// Reckons [`ways_as_relay`](Self::ways_as_relay) for these relays.
    fn reckon_as_relay(&self, rank: Rank, relays: RankSet) -> f64 {
        // One relay or two are each their own destination.
        let partners = if relays.len() >= 3 { relays.without(RankSet::alone(rank)) } else { RankSet::alone(rank) };
        if self.colluders.contains(rank) {
            let own = self.own[rank.index()];
            return f64::from(u8::from(
                partners == RankSet::alone(rank) || own.iter().all(|set| set.meets(partners)),
            ));
        }
        let ways = |through: &Through| {
            let spare = f64::from(u8::from(!through.spare.is_empty())) / self.circuits;
            f64::from(u8::from(through.ahead.meets(partners)) + u8::from(through.behind.meets(partners))) + spare
        };
        self.through[rank.index()].iter().map(ways).product()
    }
}

/// Whether a colluder stands at an end of `circuit`, or beside one. Of others nothing is learned.
fn is_seen(circuit: &Circuit, colluders: RankSet) -> bool {
    let relays = [circuit.relays.first(), circuit.relays.last()].into_iter().flatten();
    relays.chain([&circuit.source, &circuit.destination]).any(|rank| colluders.contains(*rank))
}

/// Narrows a colluder's successor and predecessor, in `own`, by a circuit of its own. `end` is 0 where the colluder is
/// the source, 1 where it is the destination. `other` are the ranks that the other end may be. `beside` is the relay
/// next to the colluder.
fn narrow_own(own: &mut [RankSet; 2], circuit: &Circuit, end: usize, other: RankSet, beside: Rank) {
    match circuit.direction {
        Direction::Forward => own[end] &= other,
        Direction::Backward => own[1 - end] &= other,
        // The spare goes through a rank outside A, and the successor is in A.
        Direction::Spare => own[0] = own[0].without(RankSet::alone(beside)),
    }
}

impl Through {
    /// Narrows what is known by a circuit that leaves s, or that `arrives` at s.
    fn narrow(&mut self, sight: &Sight, arrives: bool) {
        // Outside A(s), what leaves goes forward to the successor, and what arrives is the successor's backward
        // message.
        let outside_carries = if arrives { Direction::Backward } else { Direction::Forward };
        let (mut outside, mut within, mut spare) = (sight.other, sight.other, RankSet::FULL);
        if let Some(direction) = sight.direction {
            outside = if direction == outside_carries { outside } else { RankSet::EMPTY };
            spare = if direction == Direction::Spare { spare } else { RankSet::EMPTY };
            within =
                if direction == outside_carries || direction == Direction::Spare { RankSet::EMPTY } else { within };
        }
        self.ahead &= outside;
        self.behind &= within;
        self.spare &= spare;
    }
}

/// The messages of which `colluders` see at least one circuit whole, each as its source and direction.
pub(super) fn linked(plan: &Plan, colluders: RankSet) -> HashSet<(Rank, Direction)> {
    let is_linked = |circuit: &&Circuit| {
        let path: Vec<Rank> = circuit.path().collect();
        let seen = Seen { path: &path, direction: circuit.direction, colluders, everyone: RankSet::EMPTY };
        circuit.direction != Direction::Spare && seen.is_linked()
    };
    let seen = plan.circuits.iter().filter(|circuit| is_seen(circuit, colluders));
    seen.filter(is_linked).map(|circuit| (circuit.source, circuit.direction)).collect()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// What is reckoned once for all relays is what each choice of them gives. Small and large coalitions leave many ranks or few.
    #[test]
    fn what_is_said_of_all_relays_holds_for_each_choice() {
        let mut rng = StdRng::seed_from_u64(3);
        let (mut once, mut each) = (0, 0);
        for ranks in [7, 9, 14, 20] {
            let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
            let plan = Plan::draw(3, 3, &hosts, &mut rng).unwrap();
            for size in [1, 2, 4, 6] {
                let mut others: Vec<Rank> = Rank::all(ranks).skip(1).collect();
                others.shuffle(&mut rng);
                let knowledge = Knowledge::of(&plan, others[..size].iter().copied().collect());
                for _ in 0..20 {
                    others.shuffle(&mut rng);
                    let relays: RankSet = others[3..].iter().copied().collect();
                    let relay = others[rng.random_range(3..others.len())];
                    each += u32::from(knowledge.as_relay[relay.index()].is_none());
                    once += u32::from(knowledge.as_relay[relay.index()].is_some());
                    assert_eq!(knowledge.ways_as_relay(relay, relays), knowledge.reckon_as_relay(relay, relays));
                }
            }
        }
        assert!(once > 50 && each > 50, "{once} were said of all relays, {each} of these alone");
    }
}
