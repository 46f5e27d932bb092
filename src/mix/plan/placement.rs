//! How the stages are placed on hosts: apart, and still to the surprise of who knows the hosts.
//!
//! Stages that follow each other should stand on different hosts. But where hosts differ in size, the placements that part
//! them best are few, and who knows how many ranks each host has could tell who hosts what. So a placement that parts
//! stages less well is drawn too, and the worse it is, the more rarely: of those that part them best the chance is 1, of
//! those one step worse x, two steps worse x^2, and so on, all times the chance that a blind draw gives them. x is the
//! smallest number for which the rule holds: no rank hosts a given stage with more than [`SURPRISE`] times the chance of
//! a blind draw. Under x = 1 the draw is blind, so there is such an x.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::Roles;
use crate::ids::Rank;

/// No rank hosts a given stage with more than this times the chance of a blind draw, 1 / (N - 1).
const SURPRISE: f64 = 2.0;
/// Up to so many ways to give each stage a host, all are weighed; else as many blind draws are.
const WAYS: usize = 4096;
/// Halvings of the interval in which x lies.
const HALVINGS: u32 = 30;
/// How many more pairs of neighbouring stages share a host, on average, than need be before a user hears of it.
const CROWDED: f64 = 0.1;

/// A host for each stage, by its place in [`Placements::domains`].
#[derive(Clone, Debug)]
struct Placement {
    hosts: Vec<usize>,
    /// Its chance in a blind draw, up to a factor that all have in common.
    blind: f64,
    /// How well it parts stages, counted from 0, the best.
    level: usize,
}

/// The placements of some stages on some hosts, and how likely each is.
#[derive(Clone, Debug)]
pub struct Placements {
    /// The ranks of each trust domain that may host a stage: all but the owner.
    domains: Vec<Vec<Rank>>,
    stages: u16,
    placements: Vec<Placement>,
    /// By level, how often neighbours share a domain, how often stages at distance two do, and how many pairs of stages do.
    levels: Vec<[usize; 3]>,
    /// The number x.
    step: f64,
    /// Whether one host has two ranks more than another, the owner counted.
    uneven: bool,
}

impl Placements {
    /// The placements of `stages` stages on ranks whose hosts are `hosts` (a label a rank; equal ones are one trust domain).
    /// Where there are too many to weigh them all, those of blind draws stand for them.
    pub fn of(stages: u16, hosts: &[u32], rng: &mut impl Rng) -> Self {
        let mut domains: BTreeMap<u32, Vec<Rank>> = BTreeMap::new();
        for (rank, host) in Rank::all(hosts.len() as u16).zip(hosts).skip(1) {
            domains.entry(*host).or_default().push(rank);
        }
        let domains: Vec<Vec<Rank>> = domains.into_values().collect();
        let members = |host: &u32| hosts.iter().filter(|other| *other == host).count();
        let (least, most) = (hosts.iter().map(members).min(), hosts.iter().map(members).max());
        let uneven = most > least.map(|least| least + 1);
        // With a host a rank one placement is as good as any other: hosts change places when it is drawn.
        let mut drawn = match domains.iter().all(|ranks| ranks.len() == 1) {
            true => some(stages, &domains, 1, rng),
            false => every(stages, &domains).unwrap_or_else(|| some(stages, &domains, WAYS, rng)),
        };
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

    /// Finds the smallest x for which the rule holds.
    fn settle(&mut self) {
        let most = SURPRISE / self.domains.iter().map(Vec::len).sum::<usize>() as f64;
        let holds = |step: f64| {
            // A chance may be a rounding above what it is.
            self.odds(step).iter().flatten().all(|odds| *odds <= most * (1.0 + 1e-9))
        };
        if holds(0.0) {
            return;
        }
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

    /// The chance of each placement if x is `step`.
    fn chances(&self, step: f64) -> Vec<f64> {
        let weight = |of: &Placement| of.blind * step.powi(of.level as i32);
        let weights: Vec<f64> = self.placements.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// By stage and by size of a domain, the chance of one rank of such a domain to host the stage, if x is `step`. Domains of
    /// one size are equally likely, and so are the ranks of a domain.
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

    /// By stage, the chance of the rank that hosts it most likely: with this, the best guess of who knows the hosts and nothing
    /// else is right.
    pub fn best_guesses(&self) -> Vec<f64> {
        self.odds(self.step).into_iter().map(|odds| odds.into_iter().fold(0.0, f64::max)).collect()
    }

    /// Draws a placement by these chances, and the ranks for it.
    pub fn draw(&self, rng: &mut impl Rng) -> Roles {
        let mut left: f64 = rng.random();
        let mut taken = self.placements.len().saturating_sub(1);
        for (index, chance) in self.chances(self.step).into_iter().enumerate() {
            left -= chance;
            // Rounding may leave a little over: then the last of those that may be drawn is.
            if chance > 0.0 {
                taken = index;
            }
            if left < 0.0 {
                break;
            }
        }
        // Hosts of one size change places, and the ranks of each: where blind draws stand for all placements, these few
        // shall not decide which of the hosts it is.
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

    /// What the rule costs, where that is worth a word.
    pub fn crowded(&self) -> Option<Crowded> {
        let least = self.levels.first()?[0];
        let pairs = |of: &Placement| self.levels[of.level][0] as f64;
        let chances = self.chances(self.step);
        let together = self.placements.iter().zip(chances).map(|(of, chance)| chance * pairs(of)).sum();
        let pairs = self.stages.saturating_sub(1);
        (together > least as f64 + CROWDED).then_some(Crowded { together, least, pairs, uneven: self.uneven })
    }
}

/// How many ranks a domain has, the smallest first.
fn sizes(domains: &[Vec<Rank>]) -> Vec<usize> {
    domains.iter().map(Vec::len).collect::<BTreeSet<usize>>().into_iter().collect()
}

/// Every way to give each of `stages` a host, or `None` where there are more than [`WAYS`].
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

/// So many blind draws.
fn some(stages: u16, domains: &[Vec<Rank>], draws: usize, rng: &mut impl Rng) -> Vec<Placement> {
    let mut hosts: Vec<usize> =
        domains.iter().enumerate().flat_map(|(host, ranks)| std::iter::repeat_n(host, ranks.len())).collect();
    let mut draw = || hosts.partial_shuffle(rng, stages.into()).0.to_vec();
    (0..draws).map(|_| Placement { hosts: draw(), blind: 1.0, level: 0 }).collect()
}

/// How often neighbours share one of `hosts`, how often stages at distance two do, and pairs of stages that do.
fn exposed(hosts: &[usize]) -> [usize; 3] {
    let at = |distance: usize| hosts.iter().zip(hosts.iter().skip(distance)).filter(|(a, b)| a == b).count();
    [at(1), at(2), (1..hosts.len()).map(at).sum()]
}

/// Stages that follow each other share hosts more often than they would have to.
#[derive(Clone, Copy, Debug)]
pub struct Crowded {
    /// Pairs of neighbouring stages that share a host, on average.
    pub together: f64,
    /// The fewest such pairs that a placement has.
    pub least: usize,
    /// Pairs of neighbouring stages.
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
