//! What hosts that collude find out over a whole job, by simulation (docs/PROTECTION.md says how it is played).
//!
//! Plans are drawn as the owner draws them. On each, hosts of a [`Kind`] are drawn, their packages read together
//! ([`mod@coalition`]), the orders that they cannot exclude counted ([`orders`]), and what they make of it compared with
//! the plan. Circuits stay for the whole job, so one look is all that there is to see of them. Hosts count, not ranks:
//! the ranks of a host share what they know. The owner's host is trusted.
//!
//! Someone who sees no package and knows how many ranks each host has guesses, too ([`Placements::best_guesses`]).

mod coalition;
mod orders;
mod print;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use coalition::{Knowledge, RankSet, alone, holds, linked};
use orders::Orders;

use crate::ids::Rank;
use crate::mix::plan::{Crowded, Placements, Plan};
use crate::report::chance::Chance;

/// Plans drawn at most.
pub(super) const PLANS: u32 = 1000;
/// No plan is begun later than this.
pub(super) const TIME: Duration = Duration::from_millis(1500);
/// Where placements are too many to weigh them all, those of so many samples are.
const SAMPLES: u32 = 8;
/// Coalitions of each kind that are drawn on a plan; some may be the same.
const COALITIONS: usize = 16;

/// What a plan is drawn for.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    /// Stages, S.
    pub(super) stages: u16,
    /// Hops of a circuit.
    pub(super) hops: u8,
    /// Ranks of each host, the owner's first. A host's ranks follow each other.
    pub(super) hosts: &'a [u16],
}

impl Setup<'_> {
    /// The host of each rank, counted from 0. The owner's is the first.
    fn domains(&self) -> Vec<u32> {
        self.hosts.iter().zip(0..).flat_map(|(ranks, host)| std::iter::repeat_n(host, usize::from(*ranks))).collect()
    }
}

/// Who colludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// How many hosts.
    hosts: usize,
    /// Whether one of them hosts a stage. The others host none, as far as there are such.
    stage: bool,
}

/// The coalitions that `check` reckons with.
const KINDS: [Kind; 6] = [
    Kind { hosts: 1, stage: false },
    Kind { hosts: 2, stage: false },
    Kind { hosts: 3, stage: false },
    Kind { hosts: 1, stage: true },
    Kind { hosts: 2, stage: true },
    Kind { hosts: 3, stage: true },
];

/// What a coalition found out on one plan.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The part of the real messages, both ways, of which it sees a circuit whole.
    flows: f64,
    /// The part of the other stages of which its best guess names the rank.
    guessed: f64,
    /// The part of the other stages whose rank it knows for certain.
    located: f64,
    /// 1 where it knows who hosts which stage, but for the direction of the order.
    order: f64,
    /// How many ranks might host a stage next to one of its own; `None` where there is none that it does not host.
    candidates: Option<f64>,
}

impl Found {
    /// What `colluders` find out on `plan`.
    fn on(plan: &Plan, colluders: RankSet, rng: &mut impl Rng) -> Self {
        let orders = Orders::fitting(&Knowledge::of(plan, colluders), rng);
        let hosts = &plan.roles.hosts;
        let is_real = |rank: Rank| rank == Rank::OWNER || hosts.contains(&rank);
        let real = linked(plan, colluders).into_iter().filter(|(source, _)| is_real(*source)).count();
        let outside = |stage: &usize| !holds(colluders, hosts[*stage]);
        let others: Vec<usize> = (0..hosts.len()).filter(outside).collect();
        let part = |of: &dyn Fn(usize) -> f64| match others.len() {
            0 => 1.0,
            count => others.iter().map(|stage| of(*stage)).sum::<f64>() / count as f64,
        };
        let beside = |stage: &&usize| {
            let near = [stage.checked_sub(1), Some(**stage + 1)];
            near.into_iter().flatten().any(|near| near < hosts.len() && !outside(&near))
        };
        let beside: Vec<f64> =
            others.iter().filter(beside).map(|stage| f64::from(orders.candidates(*stage).count_ones())).collect();
        Self {
            flows: real as f64 / (2 * hosts.len() + 2) as f64,
            guessed: part(&|stage| orders.guess(stage, hosts[stage])),
            located: part(&|stage| f64::from(u8::from(orders.candidates(stage) == alone(hosts[stage])))),
            order: f64::from(u8::from(orders.is(hosts))),
            candidates: mean(&beside),
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// One kind of coalition over all plans.
struct Row {
    /// Who colludes.
    kind: Kind,
    /// Flows linked, stages guessed, stages located, the order known; `None` where no plan has such hosts.
    chances: Option<[Chance; 4]>,
    /// See [`Found::candidates`].
    candidates: Option<f64>,
}

/// One trust domain.
struct Domain {
    /// Its ranks.
    ranks: u16,
    /// How many stages it hosts, on average.
    stages: f64,
}

/// What the simulation gives.
pub(super) struct Protection {
    /// Plans that were drawn.
    plans: usize,
    /// The trust domains. The owner's is the first.
    domains: Vec<Domain>,
    /// The part of the plans in which two neighbouring stages share a domain.
    neighbours_together: f64,
    /// The chance to find a stage by guessing blindly.
    blind: f64,
    /// The chance that the best guess of who knows the hosts and nothing else finds a stage: on average over stages, and of that
    /// which is found most likely.
    hosts_known: [f64; 2],
    /// What it costs that this guess is no better.
    crowded: Option<Crowded>,
    /// The coalitions.
    rows: Vec<Row>,
}

/// What one plan gives.
struct Studied {
    stages: Vec<f64>,
    together: bool,
    /// By kind, what its coalitions find out.
    found: Vec<Vec<Found>>,
}

impl Protection {
    /// Draws up to `plans` plans for `setup`, for at most `time`; the numbers of `seed` decide which.
    pub(super) fn simulate(setup: Setup<'_>, plans: u32, time: Duration, seed: u64) -> Self {
        let (began, domains) = (Instant::now(), setup.domains());
        let study = |index: u32| {
            let mut rng = StdRng::seed_from_u64(seed.wrapping_add(u64::from(index)));
            let due = index == 0 || began.elapsed() < time;
            let plan = due.then(|| Plan::draw(setup.stages, setup.hops, &domains, &mut rng).ok()).flatten()?;
            Some(Studied::of(&plan, &domains, &mut rng))
        };
        let studied: Vec<Studied> = (0..plans).into_par_iter().filter_map(study).collect();
        let average =
            |of: &dyn Fn(&Studied) -> f64| mean(&studied.iter().map(of).collect::<Vec<f64>>()).unwrap_or(0.0);
        let domain =
            |(host, ranks): (usize, &u16)| Domain { ranks: *ranks, stages: average(&|plan| plan.stages[host]) };
        let mut rng = StdRng::seed_from_u64(seed);
        let placements = Placements::of(setup.stages, &domains, &mut rng);
        Self {
            plans: studied.len(),
            domains: setup.hosts.iter().enumerate().map(domain).collect(),
            neighbours_together: average(&|plan| f64::from(u8::from(plan.together))),
            blind: 1.0 / (domains.len() - 1) as f64,
            hosts_known: guesses(setup.stages, &domains, &mut rng),
            crowded: placements.crowded(),
            rows: (0..KINDS.len()).map(|kind| Row::of(kind, &studied)).collect(),
        }
    }
}

/// See [`Protection::hosts_known`].
fn guesses(stages: u16, domains: &[u32], rng: &mut impl Rng) -> [f64; 2] {
    let mut right = vec![0.0; usize::from(stages)];
    for _ in 0..SAMPLES {
        let guesses = Placements::of(stages, domains, rng).best_guesses();
        right.iter_mut().zip(guesses).for_each(|(right, guess)| *right += guess / f64::from(SAMPLES));
    }
    [mean(&right).unwrap_or(0.0), right.iter().copied().fold(0.0, f64::max)]
}

impl Studied {
    fn of(plan: &Plan, domains: &[u32], rng: &mut impl Rng) -> Self {
        let hosts: Vec<u32> = plan.roles.hosts.iter().map(|rank| domains[rank.index()]).collect();
        let count = |host: u32| hosts.iter().filter(|other| **other == host).count() as f64;
        Self {
            stages: (0..=domains.iter().copied().max().unwrap_or(0)).map(count).collect(),
            together: hosts.windows(2).any(|pair| pair[0] == pair[1]),
            found: KINDS.iter().map(|kind| study(plan, domains, *kind, rng)).collect(),
        }
    }
}

/// What coalitions of a kind, no two the same, find out on `plan`.
fn study(plan: &Plan, domains: &[u32], kind: Kind, rng: &mut impl Rng) -> Vec<Found> {
    let drawn: HashSet<RankSet> = (0..COALITIONS).filter_map(|_| coalition(plan, domains, kind, rng)).collect();
    drawn.into_iter().map(|colluders| Found::on(plan, colluders, rng)).collect()
}

/// The ranks of hosts of a kind, drawn at random; never the owner's host. `None` where there are none.
fn coalition(plan: &Plan, domains: &[u32], kind: Kind, rng: &mut impl Rng) -> Option<RankSet> {
    let ranks = |host: u32| Rank::all(plan.ranks).filter(move |rank| domains[rank.index()] == host);
    let mut others: Vec<u32> = domains.iter().copied().filter(|host| *host != domains[0]).collect();
    others.dedup();
    others.shuffle(rng);
    let (mut with, mut without): (Vec<u32>, Vec<u32>) =
        others.into_iter().partition(|host| ranks(*host).any(|rank| plan.roles.stage(rank).is_some()));
    let mut chosen = Vec::new();
    if kind.stage {
        chosen.push(with.pop()?);
        without.splice(0..0, with);
    }
    while chosen.len() < kind.hosts {
        // Hosts without a stage stand last, and so are taken first.
        chosen.push(without.pop()?);
    }
    Some(chosen.into_iter().flat_map(ranks).fold(0, |set, rank| set | alone(rank)))
}

impl Protection {
    /// What to warn of.
    pub(super) fn warning(&self) -> Option<String> {
        self.crowded.map(|crowded| crowded.to_string())
    }
}

impl Row {
    fn of(kind: usize, studied: &[Studied]) -> Self {
        let chance = |of: fn(&Found) -> f64| {
            let groups = studied.iter().map(|plan| plan.found[kind].iter().map(of).collect());
            Chance::of(&groups.collect::<Vec<Vec<f64>>>())
        };
        let chances = [chance(|f| f.flows), chance(|f| f.guessed), chance(|f| f.located), chance(|f| f.order)];
        let chances = match chances {
            [Some(flows), Some(guessed), Some(located), Some(order)] => Some([flows, guessed, located, order]),
            _ => None,
        };
        let candidates = studied.iter().flat_map(|plan| &plan.found[kind]).filter_map(|found| found.candidates);
        Self { kind: KINDS[kind], chances, candidates: mean(&candidates.collect::<Vec<f64>>()) }
    }
}

#[cfg(test)]
mod tests;
