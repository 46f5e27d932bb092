//! The search for circuits: which relay follows which, so that in each phase every ordered pair of ranks carries
//! exactly one circuit (docs/PROTOCOL.md, 7.5 to 7.7).
//!
//! The first and the last phase hold by construction: a rank's circuits leave through every other rank once, and arrive
//! so. What is searched is which relays meet in between. Among many ranks [`mend`] finds that. Among few most sets allow
//! none, and where ranks share hosts some circuits are better than others. There a local search swaps relays, every other
//! time those of a circuit that has a conflict. It takes a swap that makes things worse by delta with the probability
//! exp(-delta / T). It stops when no pair carries two circuits in a phase and no circuit meets a rank twice.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::mending::mend;
use super::{Circuit, Demand, Direction, SPREAD_RANKS};
use crate::ids::Rank;

/// How often a swap begins with a circuit that has a conflict, and not with any. Always would be slower: what is in the way has to move,
/// too.
const CONFLICTS_FIRST: f64 = 0.5;
/// What a pair of ranks of one host on one circuit costs. A conflict costs 1.
const SHARED_HOST: f64 = 0.05;
/// The search gives up after so many swaps, times the square of the number of circuits. That is few: with few ranks
/// most sets A(s) allow no plan, and a fresh draw of them is better than a longer search.
const SWAPS: usize = 4;
/// The search gives up after so many swaps, however many circuits there are. Where it would take more, circuits are mended
/// before it begins.
const MOST_SWAPS: usize = 4_000_000;
/// The most swaps that are tried to spread circuits over hosts once they have no conflict. They take a tenth of a
/// second.
const SPREADING: usize = 200_000;

/// Looks for circuits of `hops` hops that meet `demand`. Returns `None` if the search finds none. If ranks share
/// `hosts` (by rank, the label of its host), it goes on for some time and returns the circuits that meet a host twice
/// least often.
pub(super) fn search(demand: &Demand, hops: u8, hosts: &[u32], rng: &mut impl Rng) -> Option<Vec<Circuit>> {
    let mut search = Search::start(demand, hops, hosts, rng);
    let mut best: Option<(usize, Vec<Circuit>)> = None;
    let swaps = (SWAPS * search.circuits.len().pow(2)).min(MOST_SWAPS);
    let (mut done, mut last) = (0, swaps);
    while done < last {
        // These circuits keep all of 7.6, and meet a host twice less often than those that were found before.
        if search.conflicts == 0 && best.as_ref().is_none_or(|(shared, _)| search.shared < *shared) {
            if best.is_none() {
                last = last.min(done + SPREADING);
            }
            best = Some((search.shared, search.circuits.clone()));
            if search.shared == 0 || !search.worth_spreading {
                break;
            }
        }
        search.swap(rng);
        done += 1;
    }
    best.map(|(_, circuits)| circuits)
}

/// Whether circuits can meet a host twice and need not: some ranks share a host, and not all do.
pub(super) fn can_spread(hosts: &[u32]) -> bool {
    let shared = |host: &u32| hosts.iter().filter(|other| *other == host).count() > 1;
    hosts.iter().any(shared) && hosts.iter().any(|host| *host != hosts[0])
}

/// How many pairs of different ranks on `circuit` share a host.
fn on_its_hosts(circuit: &Circuit, hosts: &[u32]) -> usize {
    let path = || circuit.path().enumerate();
    let shares = |a: Rank, b: Rank| a != b && hosts[a.index()] == hosts[b.index()];
    path().map(|(i, a)| path().skip(i + 1).filter(|(_, b)| shares(a, *b)).count()).sum()
}

/// How many pairs of different ranks share a host, on each of `circuits` and all together.
pub(super) fn on_one_host(circuits: &[Circuit], hosts: &[u32]) -> usize {
    circuits.iter().map(|circuit| on_its_hosts(circuit, hosts)).sum()
}

/// The state of a search: circuits that may still have conflicts, and how many these are.
struct Search<'a> {
    /// All circuits. Those of one source and direction stand together, and so do all spares.
    circuits: Vec<Circuit>,
    /// By circuit: the range of those with the same source and direction, or of all spares, itself among them.
    groups: Vec<std::ops::Range<usize>>,
    /// How many ranks there are.
    ranks: usize,
    /// How many circuits go from one rank to another in a phase: `carried[phase][from][to]`, flat. Only the phases
    /// between the first and the last are counted.
    carried: Vec<u16>,
    /// By rank: the label of its host.
    hosts: &'a [u32],
    /// How many conflicts there are: circuits in excess over a lane, and ranks that a circuit meets twice.
    conflicts: usize,
    /// How many pairs of different ranks on one circuit share a host.
    shared: usize,
    /// Whether the search is to go on for circuits that meet a host twice less often.
    worth_spreading: bool,
    /// T: 1 / ln(circuits). Then of as many swaps as there are circuits about one is taken that makes a conflict, so that conflicts do not come
    /// faster than they go, however many ranks there are.
    temperature: f64,
    /// The numbers of circuits that may have a conflict, each once. Of the circuits that share a lane, all but one are among them.
    suspects: Vec<usize>,
    /// By circuit: whether it is among the suspects.
    suspected: Vec<bool>,
}

impl<'a> Search<'a> {
    /// Deals out the first and last relays as 7.6 (d) asks, and the middle ones so that each rank has its share
    /// (docs/PROTOCOL.md, 7.7).
    fn start(demand: &Demand, hops: u8, hosts: &'a [u32], rng: &mut impl Rng) -> Self {
        let ranks = hosts.len() as u16;
        let mut circuits: Vec<Circuit> = Vec::new();
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        // Any permutation will do to start with. The search mends spares that return to their source as it does all
        // conflicts.
        let mut spare_to: Vec<Rank> = Rank::all(ranks).collect();
        spare_to.shuffle(rng);
        let directions: &[Direction] = if demand.topology().has_spare() {
            &[Direction::Forward, Direction::Backward, Direction::Spare]
        } else {
            &[Direction::Forward, Direction::Backward]
        };
        for &direction in directions {
            let first_of_all = circuits.len();
            for source in Rank::all(ranks) {
                let destination = demand.destination(source, direction).unwrap_or(spare_to[source.index()]);
                let (mut leaves, mut arrives) =
                    (demand.leaves(source, direction), demand.arrives(destination, direction));
                leaves.shuffle(rng);
                arrives.shuffle(rng);
                let start = circuits.len();
                for (part, (first, last)) in leaves.into_iter().zip(arrives).enumerate() {
                    let between = std::iter::repeat_n(Rank::OWNER, usize::from(hops) - 3);
                    let relays = std::iter::once(first).chain(between).chain(std::iter::once(last)).collect();
                    circuits.push(Circuit { source, direction, part: part as u16, relays, destination });
                }
                if direction != Direction::Spare {
                    groups.push(start..circuits.len());
                }
            }
            if direction == Direction::Spare {
                groups.push(first_of_all..circuits.len());
            }
        }
        spread_middles(&mut circuits, ranks, rng);
        mend(&mut circuits, &groups, ranks, rng);
        let mut search = Self {
            carried: vec![0; usize::from(hops - 2) * usize::from(ranks) * usize::from(ranks)],
            circuits: Vec::new(),
            groups: groups.into_iter().flat_map(|group| std::iter::repeat_n(group.clone(), group.len())).collect(),
            ranks: usize::from(ranks),
            hosts,
            conflicts: 0,
            shared: 0,
            worth_spreading: can_spread(hosts) && hosts.len() <= usize::from(SPREAD_RANKS),
            temperature: 1.0 / (circuits.len() as f64).ln(),
            suspects: Vec::new(),
            suspected: vec![false; circuits.len()],
        };
        for circuit in circuits {
            search.circuits.push(circuit);
            search.put(search.circuits.len() - 1);
        }
        search
    }

    /// Tries one swap, and takes it back if it makes things worse by too much.
    fn swap(&mut self, rng: &mut impl Rng) {
        let conflict = if rng.random::<f64>() < CONFLICTS_FIRST { self.suspect(rng) } else { None };
        let a = conflict.unwrap_or_else(|| rng.random_range(0..self.circuits.len()));
        let spots = self.circuits[a].relays.len();
        let spot = rng.random_range(0..spots);
        let spare = self.circuits[a].direction == Direction::Spare;
        // 7.7: relays are swapped where 7.6 (d) allows it. A first or last relay may change places with those of its
        // group alone: these circuits have source, destination and direction in common. Spares swap their ends.
        let (b, whole_end) = if spot > 0 && spot + 1 < spots {
            // A relay in the middle is free: swap it with that of any other circuit.
            (rng.random_range(0..self.circuits.len()), false)
        } else {
            (rng.random_range(self.groups[a].clone()), spare)
        };
        if a == b {
            self.note(a);
            return;
        }
        let before = self.energy();
        self.take(a);
        self.take(b);
        self.exchange(a, b, spot, whole_end);
        self.put(a);
        self.put(b);
        let worse = self.energy() - before;
        if worse > 0.0 && rng.random::<f64>() >= (-worse / self.temperature).exp() {
            self.take(a);
            self.take(b);
            self.exchange(a, b, spot, whole_end);
            self.put(a);
            self.put(b);
        }
    }

    /// Swaps the relay at `spot` of two circuits. If `whole_end`, it swaps the last relays of two spares together with
    /// their destinations.
    fn exchange(&mut self, a: usize, b: usize, spot: usize, whole_end: bool) {
        let (low, high) = self.circuits.split_at_mut(a.max(b));
        let (x, y) = (&mut low[a.min(b)], &mut high[0]);
        if whole_end {
            let last = x.relays.len() - 1;
            std::mem::swap(&mut x.relays[last], &mut y.relays[last]);
            std::mem::swap(&mut x.destination, &mut y.destination);
        } else {
            std::mem::swap(&mut x.relays[spot], &mut y.relays[spot]);
        }
    }

    /// What the conflicts and the shared hosts cost together.
    fn energy(&self) -> f64 {
        self.conflicts as f64 + SHARED_HOST * self.shared as f64
    }

    /// Counts a circuit in.
    fn put(&mut self, index: usize) {
        let (repeated, shared) = self.own_cost(index);
        let before = self.conflicts;
        self.conflicts += repeated;
        self.shared += shared;
        for inner in 0..self.circuits[index].relays.len() - 1 {
            let place = self.place(index, inner);
            self.conflicts += usize::from(self.carried[place] > 0);
            self.carried[place] += 1;
        }
        if self.conflicts > before {
            self.note(index);
        }
    }

    /// Notes that a circuit may have a conflict.
    fn note(&mut self, index: usize) {
        if !std::mem::replace(&mut self.suspected[index], true) {
            self.suspects.push(index);
        }
    }

    /// A random circuit of those that have a conflict. It is no suspect any more: whoever leaves it as it is notes it again.
    fn suspect(&mut self, rng: &mut impl Rng) -> Option<usize> {
        while !self.suspects.is_empty() {
            let place = rng.random_range(0..self.suspects.len());
            let index = self.suspects.swap_remove(place);
            self.suspected[index] = false;
            let shares = |inner| self.carried[self.place(index, inner)] > 1;
            if (0..self.circuits[index].relays.len() - 1).any(shares) || self.own_cost(index).0 > 0 {
                return Some(index);
            }
        }
        None
    }

    /// Counts a circuit out.
    fn take(&mut self, index: usize) {
        let (repeated, shared) = self.own_cost(index);
        self.conflicts -= repeated;
        self.shared -= shared;
        for inner in 0..self.circuits[index].relays.len() - 1 {
            let place = self.place(index, inner);
            self.carried[place] -= 1;
            self.conflicts -= usize::from(self.carried[place] > 0);
        }
    }

    /// Where `carried` counts the hop of a circuit from its relay number `inner` to the next one.
    fn place(&self, index: usize, inner: usize) -> usize {
        let relays = &self.circuits[index].relays;
        (inner * self.ranks + relays[inner].index()) * self.ranks + relays[inner + 1].index()
    }

    /// How often the circuit meets a rank again, and how many pairs of different ranks on it share a host. A relay that
    /// is its own destination does not meet itself again.
    fn own_cost(&self, index: usize) -> (usize, usize) {
        let circuit = &self.circuits[index];
        let own = circuit.source == circuit.destination && circuit.direction != Direction::Spare;
        let mut repeated = 0;
        for (i, a) in circuit.path().enumerate() {
            for (j, b) in circuit.path().enumerate().skip(i + 1) {
                let ends = i == 0 && j == circuit.relays.len() + 1;
                repeated += usize::from(a == b && !(own && ends));
            }
        }
        (repeated, on_its_hosts(circuit, self.hosts))
    }
}

/// Makes every rank a middle relay of the same number of circuits in each phase, as 7.6 (b) asks. There are middle
/// relays with four hops.
fn spread_middles(circuits: &mut [Circuit], ranks: u16, rng: &mut impl Rng) {
    let middles = circuits.first().map_or(0, |circuit| circuit.relays.len().saturating_sub(2));
    for spot in 1..=middles {
        let mut relays: Vec<Rank> = Rank::all(ranks).cycle().take(circuits.len()).collect();
        relays.shuffle(rng);
        for (circuit, relay) in circuits.iter_mut().zip(relays) {
            circuit.relays[spot] = relay;
        }
    }
}

#[cfg(test)]
mod tests;
