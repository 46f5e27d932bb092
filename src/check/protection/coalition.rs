//! What hosts that collude see of a plan: the packages of all their ranks, read together.
//!
//! A package says, of a circuit that passes its rank in the middle, from whom the cells come and to whom they go. Of its
//! own circuits a rank knows also which message they carry. Two relays that follow each other on a circuit find that by
//! the lane between them: what the one sends over it is what the other receives. A source finds its circuit at every
//! colluding rank on it, since it holds the keys of all hops and each receiver has the key of its own lane. An honest
//! relay in between parts what lies before it from what lies behind it.

use std::collections::HashSet;

use crate::ids::Rank;
use crate::mix::plan::{Circuit, Direction, Plan};

/// A set of ranks: bit r stands for rank r. A job has at most 64.
pub(super) type RankSet = u64;

/// The set of `rank` alone.
pub(super) fn alone(rank: Rank) -> RankSet {
    1 << rank.0
}

/// Whether `rank` is in `set`.
pub(super) fn holds(set: RankSet, rank: Rank) -> bool {
    set & alone(rank) != 0
}

/// What colluding ranks know of a circuit, looking from one of its ends towards the other.
struct Sight {
    /// The ranks that the other end may be.
    other: RankSet,
    /// Which message it carries. Only its ends are told.
    direction: Option<Direction>,
}

/// A circuit as `colluders` see it.
struct Seen<'a> {
    path: &'a [Rank],
    direction: Direction,
    colluders: RankSet,
    everyone: RankSet,
}

impl Seen<'_> {
    fn inside(&self, at: usize) -> bool {
        holds(self.colluders, self.path[at])
    }

    /// Where the destination stands.
    fn end(&self) -> usize {
        self.path.len() - 1
    }

    /// Whether the colluders know both ends and that they belong together.
    fn is_linked(&self) -> bool {
        let end = self.end();
        match self.inside(0) {
            true => self.inside(end - 1) || self.inside(end),
            false => (1..end).all(|at| self.inside(at)),
        }
    }

    /// Which message a circuit with a known end carries: its ends are told, no one else.
    fn told(&self) -> Option<Direction> {
        (self.inside(0) || self.inside(self.end())).then_some(self.direction)
    }

    /// What is known of a circuit that begins at a colluder or passes one first; `None` where neither.
    fn onwards(&self) -> Option<Sight> {
        let end = self.end();
        if !self.inside(0) && !self.inside(1) {
            return None;
        }
        if self.is_linked() {
            return Some(Sight { other: alone(self.path[end]), direction: self.told() });
        }
        if self.inside(0) {
            // Every relay beside a colluder, and the colluders, are no destination.
            let known = (1..end).filter(|at| (at - 1..=at + 1).any(|near| self.inside(near)));
            return Some(Sight { other: self.without(known), direction: Some(self.direction) });
        }
        let first_honest = (1..end).find(|at| !self.inside(*at)).unwrap_or(end);
        Some(Sight { other: self.without(1..=first_honest), direction: None })
    }

    /// What is known of a circuit that ends at a colluder or passes one last; `None` where neither.
    fn backwards(&self) -> Option<Sight> {
        let end = self.end();
        if !self.inside(end) && !self.inside(end - 1) {
            return None;
        }
        if self.is_linked() {
            return Some(Sight { other: alone(self.path[0]), direction: self.told() });
        }
        let last_honest = (1..end).rev().find(|at| !self.inside(*at)).unwrap_or(1);
        let direction = self.inside(end).then_some(self.direction);
        Some(Sight { other: self.without(last_honest..end), direction })
    }

    fn without(&self, known: impl Iterator<Item = usize>) -> RankSet {
        self.everyone & !known.map(|at| alone(self.path[at])).fold(0, |set, one| set | one)
    }
}

/// What is known of an honest rank s by the circuits that leave it and arrive at it through one colluder v. If v is
/// outside A(s), then what leaves through v goes forward and what arrives comes from s's successor; if it is in A(s), the
/// reverse; and with even N both may be spares.
#[derive(Clone, Copy)]
pub(super) struct Through {
    /// The ranks that may be s's successor, if v is outside A(s).
    ahead: RankSet,
    /// The ranks that may be s's predecessor, if v is in A(s).
    behind: RankSet,
    /// The ranks that may be s's successor, if v is where its spare leaves and arrives.
    spare: RankSet,
}

/// All that a coalition knows of who sends to whom.
pub(super) struct Knowledge {
    /// Ranks of the job, N.
    pub(super) ranks: u16,
    /// Stages of the job, S: the number of slots gives it away.
    pub(super) stages: u16,
    /// The colluding ranks.
    pub(super) colluders: RankSet,
    /// By stage, the colluder that hosts it. A stage can tell its place and S.
    pub(super) placed: Vec<Option<Rank>>,
    /// By colluder, who may be its successor and who its predecessor.
    own: Vec<[RankSet; 2]>,
    /// By honest rank and colluder, which is a first and a last relay of its circuits.
    through: Vec<Vec<Through>>,
    /// Circuits of one message, k.
    circuits: f64,
}

impl Knowledge {
    /// What `colluders` know of `plan`.
    pub(super) fn of(plan: &Plan, colluders: RankSet) -> Self {
        let n = usize::from(plan.ranks);
        let everyone = Rank::all(plan.ranks).map(alone).fold(0, |set, one| set | one);
        let even = plan.topology().has_spare();
        let mut own: Vec<[RankSet; 2]> = Rank::all(plan.ranks).map(|rank| [everyone & !alone(rank); 2]).collect();
        let unknown = |v: Rank| {
            let others = everyone & !alone(v);
            Through { ahead: others, behind: others, spare: if even { others } else { 0 } }
        };
        let mut through = vec![Rank::all(plan.ranks).map(unknown).collect::<Vec<Through>>(); n];
        for circuit in &plan.circuits {
            let path: Vec<Rank> = circuit.path().collect();
            let seen = Seen { path: &path, direction: circuit.direction, colluders, everyone };
            let (first, last) = (path[1], path[seen.end() - 1]);
            if let Some(sight) = seen.onwards() {
                match seen.inside(0) {
                    true => narrow_own(&mut own[circuit.source.index()], circuit, 0, sight.other, first),
                    false => through[circuit.source.index()][first.index()].narrow(&sight, false),
                }
            }
            if let Some(sight) = seen.backwards() {
                match seen.inside(seen.end()) {
                    true => narrow_own(&mut own[circuit.destination.index()], circuit, 1, sight.other, last),
                    false => through[circuit.destination.index()][last.index()].narrow(&sight, true),
                }
            }
        }
        let placed = plan.roles.hosts.iter().map(|host| Some(*host).filter(|host| holds(colluders, *host))).collect();
        let circuits = plan.topology().circuits() as f64;
        Self { ranks: plan.ranks, stages: plan.roles.stages(), colluders, placed, own, through, circuits }
    }

    /// What is known of an honest `rank` through each colluder.
    fn through(&self, rank: Rank) -> impl Iterator<Item = &Through> {
        let all = Rank::all(self.ranks).zip(&self.through[rank.index()]);
        all.filter(|(v, _)| holds(self.colluders, *v)).map(|(_, through)| through)
    }

    /// In how many ways what is seen of `rank`, which is on the cycle of the owner and the stages, goes together with
    /// these neighbours: 0 where it does not. Of a colluder's own neighbours it is 1 or 0.
    pub(super) fn ways(&self, rank: Rank, predecessor: Rank, successor: Rank) -> f64 {
        if holds(self.colluders, rank) {
            let [ahead, behind] = self.own[rank.index()];
            return f64::from(u8::from(holds(ahead, successor) && holds(behind, predecessor)));
        }
        let ways = |through: &Through| {
            let spare = f64::from(u8::from(holds(through.spare, successor))) / self.circuits;
            f64::from(u8::from(holds(through.ahead, successor)) + u8::from(holds(through.behind, predecessor)))
                + spare
        };
        self.through(rank).map(ways).product()
    }

    /// The same for a rank that is a relay, as all of `relays` are.
    pub(super) fn ways_as_relay(&self, rank: Rank, relays: RankSet) -> f64 {
        // Fewer than three relays are each their own destination.
        let partners = if relays.count_ones() >= 3 { relays & !alone(rank) } else { alone(rank) };
        if holds(self.colluders, rank) {
            let own = self.own[rank.index()];
            return f64::from(u8::from(partners == alone(rank) || own.iter().all(|set| set & partners != 0)));
        }
        let ways = |through: &Through| {
            let spare = f64::from(u8::from(through.spare != 0)) / self.circuits;
            f64::from(u8::from(through.ahead & partners != 0) + u8::from(through.behind & partners != 0)) + spare
        };
        self.through(rank).map(ways).product()
    }
}

/// Narrows a colluder's successor and predecessor by a circuit of its own: `end` is 0 where it is its source, else 1;
/// through `beside` it leaves or arrives.
fn narrow_own(own: &mut [RankSet; 2], circuit: &Circuit, end: usize, other: RankSet, beside: Rank) {
    match circuit.direction {
        Direction::Forward => own[end] &= other,
        Direction::Backward => own[1 - end] &= other,
        // The spare goes through a rank outside A, and in A the successor is.
        Direction::Spare => own[0] &= !alone(beside),
    }
}

impl Through {
    /// Narrows by a circuit that leaves, or that `arrives`.
    fn narrow(&mut self, sight: &Sight, arrives: bool) {
        // What leaves forward goes to the successor; what arrives backward comes from there.
        let outside_carries = if arrives { Direction::Backward } else { Direction::Forward };
        let (mut outside, mut within, mut spare) = (sight.other, sight.other, RankSet::MAX);
        if let Some(direction) = sight.direction {
            outside = if direction == outside_carries { outside } else { 0 };
            spare = if direction == Direction::Spare { spare } else { 0 };
            within = if direction == outside_carries || direction == Direction::Spare { 0 } else { within };
        }
        self.ahead &= outside;
        self.behind &= within;
        self.spare &= spare;
    }
}

/// The messages, by source and direction, of which `colluders` see a circuit whole.
pub(super) fn linked(plan: &Plan, colluders: RankSet) -> HashSet<(Rank, Direction)> {
    let is_linked = |circuit: &&Circuit| {
        let path: Vec<Rank> = circuit.path().collect();
        let seen = Seen { path: &path, direction: circuit.direction, colluders, everyone: 0 };
        circuit.direction != Direction::Spare && seen.is_linked()
    };
    plan.circuits.iter().filter(is_linked).map(|circuit| (circuit.source, circuit.direction)).collect()
}
