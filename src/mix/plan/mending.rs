//! Mends circuits that have been dealt out at random, until every ordered pair of ranks carries one circuit in each phase
//! (docs/PROTOCOL.md, 7.6 b and 7.7). It takes about as many steps as there are circuits.
//!
//! A circuit that cannot have what it was dealt is *astray*. It takes a place that another circuit has and sends that one
//! astray in its stead, until one of them comes upon a place that is free. No step makes more circuits stray, but for those
//! that have no such place.

use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{Circuit, Direction};
use crate::ids::{Rank, RankSet};

/// The mending gives up after so many steps for each circuit. Among many ranks it takes about one.
const STEPS: usize = 64;
/// How often a circuit changes its last relay to meet no rank twice, before the mending gives up.
const CHANGES: usize = 100;
/// For so many middle relays for each rank, and at most so many, others are asked to make room, before one of them is taken
/// from its circuits.
const TURNS: [usize; 2] = [2, 64];
/// One step in so many goes back, so that circuits do not go round in circles.
const BACK: u32 = 8;
/// Stands for the number of a circuit where there is none.
const NONE: u32 = u32::MAX;

/// Changes the last and the middle relays of `circuits` so that all of docs/PROTOCOL.md, 7.6 holds, if it holds but for (a) and
/// (b). `groups` are the circuits among which last relays may change places: those of one message, and all spares.
/// Returns whether that came about; where it did not, the circuits still meet 7.6 (d).
pub(super) fn mend(circuits: &mut [Circuit], groups: &[Range<usize>], ranks: u16, rng: &mut impl Rng) -> bool {
    if !untangle(circuits, groups, rng) {
        return false;
    }
    match circuits.first().map_or(0, |circuit| circuit.relays.len()) {
        2 => Pairs::of(circuits, groups, ranks, rng).mend(rng),
        3 => Middles::of(circuits, ranks).mend(rng),
        _ => false,
    }
}

/// Whether the ends of a circuit and the relays beside them are different ranks.
fn is_straight(circuit: &Circuit) -> bool {
    let [first, last] = [circuit.relays[0], circuit.relays[circuit.relays.len() - 1]];
    let ends = [circuit.source, circuit.destination];
    first != last && !ends.contains(&first) && !ends.contains(&last) && is_no_loop(circuit)
}

/// Whether a circuit may begin and end where it does. Only a relay that is its own destination sends to itself.
fn is_no_loop(circuit: &Circuit) -> bool {
    circuit.direction != Direction::Spare || circuit.source != circuit.destination
}

/// Lets last relays change places within their groups until all circuits are straight. Returns whether that came about.
fn untangle(circuits: &mut [Circuit], groups: &[Range<usize>], rng: &mut impl Rng) -> bool {
    for group in groups {
        for at in group.clone() {
            let mut changes = 0;
            while !is_straight(&circuits[at]) {
                if changes == CHANGES {
                    return false;
                }
                changes += 1;
                let other = rng.random_range(group.clone());
                exchange(circuits, at, other);
                // What was straight is to stay so.
                if other < at && !is_straight(&circuits[other]) {
                    exchange(circuits, at, other);
                }
            }
        }
    }
    true
}

/// Exchanges the last relays of two circuits of a group, and of spares the destinations with them.
fn exchange(circuits: &mut [Circuit], a: usize, b: usize) {
    if a == b {
        return;
    }
    let (low, high) = circuits.split_at_mut(a.max(b));
    let (x, y) = (&mut low[a.min(b)], &mut high[0]);
    let last = x.relays.len() - 1;
    std::mem::swap(&mut x.relays[last], &mut y.relays[last]);
    std::mem::swap(&mut x.destination, &mut y.destination);
}

/// Some rank of `set`, each as likely as any other.
fn any(set: RankSet, rng: &mut impl Rng) -> Option<Rank> {
    match set.len() {
        0 => None,
        size => set.nth(rng.random_range(0..size)),
    }
}

/// Circuits of three hops. Which first relay goes with which last one is in question: a *pair* that carries one circuit.
struct Pairs<'a> {
    circuits: &'a mut [Circuit],
    groups: &'a [Range<usize>],
    /// By circuit: the number of its group.
    group: Vec<u32>,
    /// By group: the first relays of its circuits, and the last ones. They change places and stay the same.
    relays: Vec<[RankSet; 2]>,
    /// By circuit: its first and its last relay.
    pair: Vec<[Rank; 2]>,
    ranks: usize,
    /// By first and then last relay: the circuit that has the pair, or [`NONE`].
    holder: Vec<u32>,
    /// By first relay: the last relays with which it makes a pair that no circuit has.
    free_last: Vec<RankSet>,
    /// By last relay: the first relays with which it makes a pair that no circuit has.
    free_first: Vec<RankSet>,
    /// By circuit: whether it has no pair of its own.
    strays: Vec<bool>,
    /// The circuits that have none. Some of them may have found one since.
    astray: Vec<u32>,
    /// How many steps in a row have moved nothing.
    misses: usize,
}

impl<'a> Pairs<'a> {
    /// Gives each pair to one of the circuits that were dealt it, whichever comes first in a random order.
    fn of(circuits: &'a mut [Circuit], groups: &'a [Range<usize>], ranks: u16, rng: &mut impl Rng) -> Self {
        let everyone: RankSet = Rank::all(ranks).collect();
        let others: Vec<RankSet> = Rank::all(ranks).map(|rank| everyone.without(RankSet::alone(rank))).collect();
        let pair: Vec<[Rank; 2]> = circuits.iter().map(|circuit| [circuit.relays[0], circuit.relays[1]]).collect();
        let numbered = groups.iter().zip(0..).flat_map(|(group, number)| group.clone().map(move |_| number));
        let relays = |end: usize, group: &Range<usize>| pair[group.clone()].iter().map(|pair| pair[end]).collect();
        let mut pairs = Self {
            group: numbered.collect(),
            relays: groups.iter().map(|group| [relays(0, group), relays(1, group)]).collect(),
            pair,
            ranks: usize::from(ranks),
            holder: vec![NONE; usize::from(ranks) * usize::from(ranks)],
            free_last: others.clone(),
            free_first: others,
            strays: vec![false; circuits.len()],
            astray: Vec::new(),
            misses: 0,
            circuits,
            groups,
        };
        let mut order: Vec<usize> = (0..pairs.circuits.len()).collect();
        order.shuffle(rng);
        order.into_iter().for_each(|circuit| pairs.settle(circuit));
        pairs
    }

    /// Moves circuits until each has a pair of its own. Returns whether that came about.
    fn mend(mut self, rng: &mut impl Rng) -> bool {
        for _ in 0..STEPS * self.circuits.len() {
            let Some(circuit) = self.astray.pop() else { return true };
            if std::mem::take(&mut self.strays[circuit as usize]) {
                self.step(circuit as usize, rng);
            }
            if rng.random_ratio(1, BACK)
                && let Some(last) = self.astray.len().checked_sub(1)
            {
                self.astray.swap(rng.random_range(0..last + 1), last);
            }
        }
        self.astray.is_empty()
    }

    /// Where `holder` has the pair.
    fn place(&self, [first, last]: [Rank; 2]) -> usize {
        first.index() * self.ranks + last.index()
    }

    /// Gives `circuit` its pair, or lets it go astray where another has that.
    fn settle(&mut self, circuit: usize) {
        let pair = self.pair[circuit];
        if !self.free_last[pair[0].index()].contains(pair[1]) {
            self.strays[circuit] = true;
            self.astray.push(circuit as u32);
            return;
        }
        let place = self.place(pair);
        self.holder[place] = circuit as u32;
        self.free_last[pair[0].index()].remove(pair[1]);
        self.free_first[pair[1].index()].remove(pair[0]);
    }

    /// Takes the pair of `circuit` away, if it has one. Else it is astray no more.
    fn unsettle(&mut self, circuit: usize) {
        let pair = self.pair[circuit];
        let place = self.place(pair);
        if std::mem::take(&mut self.strays[circuit]) {
            return;
        }
        self.holder[place] = NONE;
        self.free_last[pair[0].index()].insert(pair[1]);
        self.free_first[pair[1].index()].insert(pair[0]);
    }

    /// Finds a pair for `circuit`, which is astray, at the cost of another one.
    fn step(&mut self, circuit: usize, rng: &mut impl Rng) {
        let [first, last] = self.pair[circuit];
        if self.free_last[first.index()].contains(last) {
            self.settle(circuit);
            return;
        }
        // Rather than this one, which would go back where it came from, the one that has the pair is to go on. A rank makes no
        // pair with itself, so that none may have it.
        let holder = Some(self.holder[self.place([first, last])]).filter(|holder| *holder != NONE);
        let ends = if rng.random() { [0, 1] } else { [1, 0] };
        let mut movers = [holder.map(|holder| holder as usize), Some(circuit)];
        if rng.random_ratio(1, BACK) {
            movers.reverse();
        }
        for mover in movers.into_iter().flatten() {
            for end in ends {
                let Some(partner) = self.partner(mover, end, rng) else { continue };
                if mover != circuit {
                    self.unsettle(mover);
                    self.settle(circuit);
                }
                self.swap(mover, partner);
                self.misses = 0;
                return;
            }
        }
        // Neither has a pair to go to. Others move first, and so may make room. Where that does not help, any change will do.
        self.misses += 1;
        let partner = rng.random_range(self.groups[self.group[circuit] as usize].clone());
        if self.misses > 8 * (self.astray.len() + 1) && partner != circuit && self.may_swap(circuit, partner) {
            self.misses = 0;
            self.swap(circuit, partner);
        } else {
            self.settle(circuit);
        }
    }

    /// A circuit of the group of `mover` with which it can change last relays so that a free pair is taken: with `end` 1 by
    /// `mover`, whose last relay becomes one that is free beside its first; with `end` 0 by the other, whose first relay is free
    /// beside the last one of `mover`.
    fn partner(&self, mover: usize, end: usize, rng: &mut impl Rng) -> Option<usize> {
        let (pair, group) = (self.pair[mover], self.group[mover] as usize);
        let free = if end == 1 { self.free_last[pair[0].index()] } else { self.free_first[pair[1].index()] };
        let wanted = any(free & self.relays[group][end], rng)?;
        let range = self.groups[group].clone();
        let at = self.pair[range.clone()].iter().position(|pair| pair[end] == wanted)?;
        let partner = range.start + at;
        (partner != mover && self.may_swap(mover, partner)).then_some(partner)
    }

    /// Whether two circuits stay straight when they change last relays. Only those of spares have to be looked at: in other groups
    /// all have the same ends. Equal first and last relays are found by there being no such pair.
    fn may_swap(&self, a: usize, b: usize) -> bool {
        let [x, y] = [&self.circuits[a], &self.circuits[b]];
        let fits = |one: &Circuit, other: &Circuit| {
            one.source != other.destination && one.relays[0] != other.destination && one.source != other.relays[1]
        };
        x.direction != Direction::Spare || (fits(x, y) && fits(y, x))
    }

    /// Lets two circuits of a group change last relays. `a` is in no list, `b` may be.
    fn swap(&mut self, a: usize, b: usize) {
        self.unsettle(b);
        exchange(self.circuits, a, b);
        let last = self.pair[a][1];
        self.pair[a][1] = self.pair[b][1];
        self.pair[b][1] = last;
        self.settle(a);
        self.settle(b);
    }
}

/// Circuits of four hops, whose first and last relays stay as they are. Beside each first relay every other rank is to be the middle
/// relay of one circuit, and beside each last relay, too. This is to colour the edges of a bipartite graph, with middle relays
/// as colours, where some edges may not have some colours.
struct Middles<'a> {
    circuits: &'a mut [Circuit],
    ranks: usize,
    everyone: RankSet,
    /// By circuit: its first and last relay, its source and its destination. It has none of them in the middle.
    path: Vec<[Rank; 4]>,
    /// By end (first relays, then last ones), by the relay there, and then by middle relay: the circuit that has both, or [`NONE`].
    holder: [Vec<u32>; 2],
    /// By end and then by the relay there: the middle ones that no circuit has beside it.
    free: [Vec<RankSet>; 2],
}

impl<'a> Middles<'a> {
    /// No circuit has a middle relay yet.
    fn of(circuits: &'a mut [Circuit], ranks: u16) -> Self {
        let path = |circuit: &Circuit| [circuit.relays[0], circuit.relays[2], circuit.source, circuit.destination];
        let everyone: RankSet = Rank::all(ranks).collect();
        let ranks = usize::from(ranks);
        Self {
            path: circuits.iter().map(path).collect(),
            circuits,
            ranks,
            everyone,
            holder: [vec![NONE; ranks * ranks], vec![NONE; ranks * ranks]],
            free: [vec![everyone; ranks], vec![everyone; ranks]],
        }
    }

    /// Gives each circuit a middle relay. Returns whether that came about. Else the circuits keep those that they had.
    fn mend(mut self, rng: &mut impl Rng) -> bool {
        let mut astray: Vec<usize> = (0..self.circuits.len()).collect();
        astray.shuffle(rng);
        for _ in 0..STEPS * self.circuits.len() {
            let Some(circuit) = astray.pop() else { break };
            self.insert(circuit, &mut astray, rng);
        }
        if !astray.is_empty() {
            return false;
        }
        for first in 0..self.ranks {
            for (middle, circuit) in self.holder[0][first * self.ranks..][..self.ranks].iter().enumerate() {
                if *circuit != NONE {
                    self.circuits[*circuit as usize].relays[1] = Rank(middle as u16);
                }
            }
        }
        true
    }

    /// Where `holder` has the circuit with `middle` beside `at`.
    fn place(&self, at: Rank, middle: Rank) -> usize {
        at.index() * self.ranks + middle.index()
    }

    /// Gives a circuit a middle relay, and others another one where need be. Those that may not have what is left go astray.
    fn insert(&mut self, circuit: usize, astray: &mut Vec<usize>, rng: &mut impl Rng) {
        let [first, last, ..] = self.path[circuit];
        let allowed = self.everyone.without(self.path[circuit].into_iter().collect());
        for _ in 0..TURNS[1].min(TURNS[0] * self.ranks) {
            let both = self.free[0][first.index()] & self.free[1][last.index()] & allowed;
            if let Some(middle) = any(both, rng) {
                self.put(circuit, middle);
                return;
            }
            if let Some(wanted) = any(allowed, rng) {
                let _ = self.set_free(0, first, wanted, rng) && self.set_free(1, last, wanted, rng);
            }
        }
        let Some(wanted) = any(allowed, rng) else {
            unreachable!("of seven ranks three at least are not on the path")
        };
        for (end, at) in [first, last].into_iter().enumerate() {
            let holder = self.holder[end][self.place(at, wanted)];
            if holder != NONE {
                self.take(holder as usize, wanted);
                astray.push(holder as usize);
            }
        }
        self.put(circuit, wanted);
    }

    /// Makes `wanted` free beside the relay `at` of an end. The circuit that has it gets a middle relay that is free there; at its
    /// other end, who has that gets `wanted`, and so on, until one is free at such an end. Changes nothing, and returns false,
    /// where one of these circuits may not have what it would get.
    fn set_free(&mut self, end: usize, at: Rank, wanted: Rank, rng: &mut impl Rng) -> bool {
        let mut others = self.free[end][at.index()];
        others.remove(at);
        others.remove(wanted);
        let Some(other) = any(others, rng) else { return false };
        let (mut chain, mut end, mut at, mut has, mut gets) = (Vec::new(), end, at, wanted, other);
        loop {
            let circuit = self.holder[end][self.place(at, has)];
            if circuit == NONE {
                break;
            }
            let path = self.path[circuit as usize];
            if path.contains(&gets) {
                return false;
            }
            chain.push((circuit as usize, has, gets));
            end = 1 - end;
            at = path[end];
            (has, gets) = (gets, has);
        }
        chain.iter().for_each(|(circuit, has, _)| self.take(*circuit, *has));
        chain.iter().for_each(|(circuit, _, gets)| self.put(*circuit, *gets));
        true
    }

    /// Gives a circuit a middle relay that is free at both of its ends.
    fn put(&mut self, circuit: usize, middle: Rank) {
        for end in [0, 1] {
            let at = self.path[circuit][end];
            let place = self.place(at, middle);
            self.holder[end][place] = circuit as u32;
            self.free[end][at.index()].remove(middle);
        }
    }

    /// Takes its middle relay from a circuit.
    fn take(&mut self, circuit: usize, middle: Rank) {
        for end in [0, 1] {
            let at = self.path[circuit][end];
            let place = self.place(at, middle);
            self.holder[end][place] = NONE;
            self.free[end][at.index()].insert(middle);
        }
    }
}

#[cfg(test)]
mod tests;
