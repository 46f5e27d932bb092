//! How the stages are placed on hosts: apart, and still so that whoever knows the hosts is surprised (docs/PROTOCOL.md,
//! 7.1).
//!
//! Stages that follow each other should stand on different hosts. But if hosts differ in size, the placements that part
//! them best are few. Then whoever knows how many ranks each host has could tell who hosts what. So a placement that
//! parts stages less well is drawn too, and the worse it is, the more rarely. The best placements have the chance 1,
//! those one step worse x, those two steps worse x^2, and so on, all times the chance that a blind draw gives them. x
//! is the smallest number for which the rule holds: no rank hosts a given stage with more than [`SURPRISE`] times the
//! chance of a blind draw. With x = 1 the draw is blind, so there is such an x.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::Roles;
use crate::ids::Rank;

/// No rank hosts a given stage with more than this many times the chance of a blind draw, 1 / (N - 1)
/// (docs/PROTOCOL.md, 7.1 (b)).
const SURPRISE: f64 = 2.0;
/// The most ways to give each stage a host that are all weighed. If there are more, as many blind draws stand for them
/// (docs/PROTOCOL.md, 7.1 (c)).
const WAYS: usize = 4096;
/// How many times the interval in which x lies is halved.
const HALVINGS: u32 = 30;
/// A user hears of it if on average more than this many pairs of neighbouring stages share a host beyond what has to
/// be.
const CROWDED: f64 = 0.1;

/// A way to give each stage a host.
#[derive(Clone, Debug)]
struct Placement {
    /// By stage: the number of its host in [`Placements::domains`].
    hosts: Vec<usize>,
    /// Its chance in a blind draw, up to a factor that all placements have in common.
    blind: f64,
    /// How well it parts stages: 0 is best. Equally good placements have the same level.
    level: usize,
}

/// The placements of some stages on some hosts, and how likely each is.
#[derive(Clone, Debug)]
pub struct Placements {
    /// The ranks of each host, or trust domain, that may host a stage: all but the owner.
    domains: Vec<Vec<Rank>>,
    /// How many stages there are.
    stages: u16,
    /// All placements, or blind draws that stand for them.
    placements: Vec<Placement>,
    /// By level: how many pairs of neighbouring stages share a host, how many pairs at distance two do, and how many
    /// pairs of stages do at all (docs/PROTOCOL.md, 7.1 (a)).
    levels: Vec<[usize; 3]>,
    /// The number x.
    step: f64,
    /// Whether one host has at least two ranks more than another, the owner counted.
    uneven: bool,
}

impl Placements {
    /// The placements of `stages` stages on the ranks of these `hosts`. `hosts` has a label for each rank. Ranks with
    /// the same label share a host. If there are too many placements to weigh them all, blind draws stand for them.
    pub fn of(stages: u16, hosts: &[u32], rng: &mut impl Rng) -> Self {
        let mut domains: BTreeMap<u32, Vec<Rank>> = BTreeMap::new();
        for (rank, host) in Rank::all(hosts.len() as u16).zip(hosts).skip(1) {
            domains.entry(*host).or_default().push(rank);
        }
        let domains: Vec<Vec<Rank>> = domains.into_values().collect();
        let members = |host: &u32| hosts.iter().filter(|other| *other == host).count();
        let (least, most) = (hosts.iter().map(members).min(), hosts.iter().map(members).max());
        let uneven = most > least.map(|least| least + 1);
        // With one rank on each host, one placement is as good as any other: hosts change places when it is drawn.
        let mut drawn = match domains.iter().all(|ranks| ranks.len() == 1) {
            true => some(stages, &domains, 1, rng),
            false => every(stages, &domains).unwrap_or_else(|| some(stages, &domains, WAYS, rng)),
        };
        // 7.1 (a): the fewer neighbours share a host, the better, then the fewer stages at distance two, then the fewer
        // pairs at all. The better a placement, the lower its level.
        let exposed: Vec<[usize; 3]> = drawn.iter().map(|placement| exposed(&placement.hosts)).collect();
        let mut levels = exposed.clone();
        levels.sort_unstable();
        levels.dedup();
        for (placement, exposed) in drawn.iter_mut().zip(exposed) {
            placement.level = levels.partition_point(|level| *level < exposed);
        }
        let mut placements = Self { domains, stages, placements: drawn, levels, step: 0.0, uneven };
        placements.settle();
        placements
    }

    /// Finds the smallest x for which the rule holds, and sets `step` to it (docs/PROTOCOL.md, 7.1 (c)).
    fn settle(&mut self) {
        let most = SURPRISE / self.domains.iter().map(Vec::len).sum::<usize>() as f64;
        let holds = |step: f64| {
            // A chance may be above its true value by a rounding.
            self.odds(step).iter().flatten().all(|odds| *odds <= most * (1.0 + 1e-9))
        };
        if holds(0.0) {
            return;
        }
        // The rule fails at 0 and holds at 1, where the draw is blind. Halve the interval between.
        let (mut fails, mut suffices) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(fails, suffices);
            match holds(middle) {
                true => suffices = middle,
                false => fails = middle,
            }
        }
        self.step = suffices;
    }

    /// By placement: its chance to be drawn if x is `step`.
    fn chances(&self, step: f64) -> Vec<f64> {
        // 7.1 (c): the chance of a blind draw times x^n, over the sum of that.
        let weight = |of: &Placement| of.blind * step.powi(of.level as i32);
        let weights: Vec<f64> = self.placements.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// By stage, then by size of a host, the smallest first: the chance that one given rank of such a host hosts the
    /// stage, if x is `step`. Hosts of one size are equally likely, and so are the ranks of a host.
    fn odds(&self, step: f64) -> Vec<Vec<f64>> {
        let sizes = sizes(&self.domains);
        let size_of: Vec<usize> =
            self.domains.iter().map(|ranks| sizes.partition_point(|size| *size < ranks.len())).collect();
        let mut ranks = vec![0.0; sizes.len()];
        self.domains.iter().zip(&size_of).for_each(|(domain, size)| ranks[*size] += domain.len() as f64);
        let mut odds = vec![vec![0.0; sizes.len()]; usize::from(self.stages)];
        for (placement, chance) in self.placements.iter().zip(self.chances(step)) {
            for (odds, host) in odds.iter_mut().zip(&placement.hosts) {
                odds[size_of[*host]] += chance / ranks[size_of[*host]];
            }
        }
        odds
    }

    /// By stage: the highest chance that any rank has to host it. With this chance the best guess is right, of someone
    /// who knows the hosts and nothing else.
    pub fn best_guesses(&self) -> Vec<f64> {
        self.odds(self.step).into_iter().map(|odds| odds.into_iter().fold(0.0, f64::max)).collect()
    }

    /// Draws a placement by its chance, and the ranks that host the stages.
    pub fn draw(&self, rng: &mut impl Rng) -> Roles {
        let mut left: f64 = rng.random();
        let mut taken = self.placements.len().saturating_sub(1);
        for (index, chance) in self.chances(self.step).into_iter().enumerate() {
            left -= chance;
            // Rounding may leave a little over. Then the last placement that may be drawn is.
            if chance > 0.0 {
                taken = index;
            }
            if left < 0.0 {
                break;
            }
        }
        // Hosts of one size change places at random, and so do the ranks of each. Where blind draws stand for all
        // placements, these few are not to decide which of the hosts it is.
        let mut free = self.domains.clone();
        for size in sizes(&self.domains) {
            let places: Vec<usize> = (0..free.len()).filter(|place| self.domains[*place].len() == size).collect();
            let mut moved = places.clone();
            moved.shuffle(rng);
            places.iter().zip(moved).for_each(|(to, from)| free[*to].clone_from(&self.domains[from]));
        }
        free.iter_mut().for_each(|ranks| ranks.shuffle(rng));
        let hosts = self.placements.get(taken).map(|placement| placement.hosts.as_slice()).unwrap_or_default();
        Roles { hosts: hosts.iter().filter_map(|host| free[*host].pop()).collect() }
    }

    /// What the rule costs, if that is worth a word.
    pub fn crowded(&self) -> Option<Crowded> {
        let least = self.levels.first()?[0];
        let pairs = |of: &Placement| self.levels[of.level][0] as f64;
        let chances = self.chances(self.step);
        let together = self.placements.iter().zip(chances).map(|(of, chance)| chance * pairs(of)).sum();
        let pairs = self.stages.saturating_sub(1);
        (together > least as f64 + CROWDED).then_some(Crowded { together, least, pairs, uneven: self.uneven })
    }
}

/// The numbers of ranks that hosts have, each once, the smallest first.
fn sizes(domains: &[Vec<Rank>]) -> Vec<usize> {
    domains.iter().map(Vec::len).collect::<BTreeSet<usize>>().into_iter().collect()
}

/// Every way to give each of `stages` stages a host, or `None` if there are more than [`WAYS`].
fn every(stages: u16, domains: &[Vec<Rank>]) -> Option<Vec<Placement>> {
    domains.len().checked_pow(stages.into()).filter(|ways| *ways <= WAYS)?;
    let mut ways = vec![Placement { hosts: Vec::new(), blind: 1.0, level: 0 }];
    for _ in 0..stages {
        let longer = |way: &Placement| {
            let free = |host: usize| domains[host].len() - way.hosts.iter().filter(|other| **other == host).count();
            let with = |host| Placement {
                hosts: [way.hosts.as_slice(), &[host]].concat(),
                blind: way.blind * free(host) as f64,
                level: 0,
            };
            (0..domains.len()).map(with).filter(|way| way.blind > 0.0).collect::<Vec<Placement>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    Some(ways)
}

/// The placements of so many blind draws.
fn some(stages: u16, domains: &[Vec<Rank>], draws: usize, rng: &mut impl Rng) -> Vec<Placement> {
    let mut hosts: Vec<usize> =
        domains.iter().enumerate().flat_map(|(host, ranks)| std::iter::repeat_n(host, ranks.len())).collect();
    let mut draw = || hosts.partial_shuffle(rng, stages.into()).0.to_vec();
    (0..draws).map(|_| Placement { hosts: draw(), blind: 1.0, level: 0 }).collect()
}

/// How many pairs of neighbouring stages share one of `hosts`, how many pairs at distance two do, and how many pairs of
/// stages do at all.
fn exposed(hosts: &[usize]) -> [usize; 3] {
    let at = |distance: usize| hosts.iter().zip(hosts.iter().skip(distance)).filter(|(a, b)| a == b).count();
    [at(1), at(2), (1..hosts.len()).map(at).sum()]
}

/// That stages which follow each other share hosts more often than they would have to.
#[derive(Clone, Copy, Debug)]
pub struct Crowded {
    /// How many pairs of neighbouring stages share a host, on average.
    pub together: f64,
    /// How many do in the placement that has the fewest.
    pub least: usize,
    /// How many pairs of neighbouring stages there are.
    pub pairs: u16,
    /// Whether the ranks could be spread more evenly over the hosts.
    pub uneven: bool,
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { together, least, pairs, uneven } = self;
        let (cause, help) = match uneven {
            true => ("hosts of unequal size", "ranks spread evenly over the hosts, or more ranks, part them"),
            false => ("few ranks on few hosts", "more ranks or more hosts part them"),
        };
        write!(
            f,
            "{cause}: so that their sizes do not tell who hosts what, {together:.1} of the {pairs} pairs of stages that follow \
             each other share a host on average, where {least} would do; {help} (mixnn check --hosts)"
        )
    }
}

#[cfg(test)]
mod tests;
