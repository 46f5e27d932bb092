//! What hosts that collude find out over a whole job, by simulation (docs/PROTECTION.md says how it is played).
//!
//! Plans are drawn as the owner draws them. On each, hosts of a [`CoalitionKind`] are drawn. Their packages are read together
//! ([`mod@coalition`]), and the orders that they cannot exclude are counted ([`orders`]). What they make of it is
//! compared with the plan. Circuits stay as long as the ranks stay on their hosts, so one look is all that there is to see of them; what
//! several draws come to is in [`draws`]. Hosts count, not ranks: the ranks of a host share what they know. The owner's host is trusted.
//!
//! Someone who sees no package but knows how many ranks each host has guesses, too ([`Placements::best_guesses`]).

mod coalition;
mod draws;
mod orders;
mod print;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use coalition::{Knowledge, linked};
use draws::{MOST_HOSTS, OneDraw};
use orders::PossibleOrders;

use crate::ids::{Rank, RankSet};
use crate::mix::plan::{Crowded, Placements, Plan};
use crate::report::chance::Chance;

/// How many plans are drawn at most.
pub(super) const PLANS: u32 = 1000;
/// No plan is begun after this time.
pub(super) const TIME: Duration = Duration::from_secs(2);
/// Where there are too many placements to weigh them all, samples of them are weighed, and so many such samples are
/// taken.
const SAMPLES: u32 = 8;
/// How many coalitions of each kind are drawn on a plan. Some of them may be the same.
const COALITIONS: usize = 16;

/// What plans are drawn for.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    /// How many stages ranks host, S.
    pub(super) stages: u16,
    /// How many hops a circuit has.
    pub(super) hops: u8,
    /// How many ranks each host has, the owner's host first. The ranks of a host have consecutive numbers.
    pub(super) hosts: &'a [u16],
}

impl Setup<'_> {
    /// The host of each rank, by rank. Hosts are counted from 0, and the owner's is the first.
    fn domains(&self) -> Vec<u32> {
        self.hosts.iter().zip(0..).flat_map(|(ranks, host)| std::iter::repeat_n(host, usize::from(*ranks))).collect()
    }
}

/// A kind of coalition: how many hosts, and whether one holds a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CoalitionKind {
    /// How many hosts collude.
    hosts: usize,
    /// Whether one of these hosts holds a stage. The others hold none, as far as there are such hosts.
    stage: bool,
}

/// The kinds of coalitions that `check` reckons with.
const KINDS: [CoalitionKind; 6] = [
    CoalitionKind { hosts: 1, stage: false },
    CoalitionKind { hosts: 2, stage: false },
    CoalitionKind { hosts: 3, stage: false },
    CoalitionKind { hosts: 1, stage: true },
    CoalitionKind { hosts: 2, stage: true },
    CoalitionKind { hosts: 3, stage: true },
];

/// What a coalition has found out on one plan.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The share of the real messages, in both directions, of which it sees a circuit whole.
    flows: f64,
    /// The share of the other stages whose rank its best guess names.
    guessed: f64,
    /// The share of the other stages whose rank it knows for certain.
    located: f64,
    /// 1 where it knows who hosts which stage, apart from the direction of the order; else 0.
    order: f64,
    /// How many ranks might host a stage next to one of its own, on average. `None` where it hosts no stage beside one
    /// of others.
    candidates: Option<f64>,
}

impl Found {
    /// What `colluders` find out on `plan`.
    fn on(plan: &Plan, colluders: RankSet, rng: &mut impl Rng) -> Self {
        let orders = PossibleOrders::fitting(&Knowledge::of(plan, colluders), rng);
        let hosts = &plan.roles.hosts;
        let is_real = |rank: Rank| rank == Rank::OWNER || hosts.contains(&rank);
        let real = linked(plan, colluders).into_iter().filter(|(source, _)| is_real(*source)).count();
        let outside = |stage: &usize| !colluders.contains(hosts[*stage]);
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
            others.iter().filter(beside).map(|stage| f64::from(orders.candidates(*stage).len())).collect();
        Self {
            flows: real as f64 / (2 * hosts.len() + 2) as f64,
            guessed: part(&|stage| orders.guess(stage, hosts[stage])),
            located: part(&|stage| f64::from(u8::from(orders.candidates(stage) == RankSet::alone(hosts[stage])))),
            order: f64::from(u8::from(orders.is(hosts))),
            candidates: mean(&beside),
        }
    }
}

/// The mean. `None` where there are no values.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A row of the table: what one kind of coalition finds out, over all plans.
struct CoalitionRow {
    /// The kind of the coalition.
    kind: CoalitionKind,
    /// The chances to see a flow whole, to guess a stage, to locate a stage, and to know the order. `None` where no
    /// plan has such hosts.
    chances: Option<[Chance; 4]>,
    /// How many ranks might host a stage next to one of the coalition's own, on average. `None` where it has none.
    candidates: Option<f64>,
}

/// A trust domain: a host, as seen over all plans.
struct Domain {
    /// How many ranks it has.
    ranks: u16,
    /// How many stages it hosts on average.
    stages: f64,
}

/// What the simulation has given.
pub(super) struct Protection {
    /// How many plans were drawn.
    plans: usize,
    /// The trust domains. The owner's is the first.
    domains: Vec<Domain>,
    /// The share of the plans in which two neighbouring stages share a domain.
    neighbours_together: f64,
    /// The chance to find a stage by a blind guess.
    blind: f64,
    /// The chance that someone who knows the hosts and nothing else finds a stage by the best guess: on average over
    /// the stages, and for the stage that is found most easily.
    hosts_known: [f64; 2],
    /// How often neighbouring stages must share a host for that guess to be no better, where that is worth a warning.
    crowded: Option<Crowded>,
    /// The rows of the table, by kind of coalition.
    rows: Vec<CoalitionRow>,
    /// What 1, 2, ... hosts have of one plan, as far as there are so many hosts.
    one_draw: Vec<OneDraw>,
}

/// What the simulation finds on one plan.
struct Studied {
    /// How many stages each host holds, by host.
    stages: Vec<f64>,
    /// Whether two neighbouring stages share a host.
    together: bool,
    /// What the coalitions of each kind find out, by kind.
    found: Vec<Vec<Found>>,
    /// What 1, 2, ... hosts have of it, whoever is on them.
    one_draw: Vec<OneDraw>,
}

impl Protection {
    /// Draws up to `plans` plans for `setup`, for at most `time`. `seed` decides which.
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
            rows: (0..KINDS.len()).map(|kind| CoalitionRow::of(kind, &studied)).collect(),
            one_draw: (0..studied.first().map_or(0, |plan| plan.one_draw.len()))
                .map(|size| OneDraw::mean(studied.iter().map(|plan| plan.one_draw[size])))
                .collect(),
        }
    }
}

/// The chances of [`Protection::hosts_known`], for `stages` stages on ranks whose hosts are `domains`.
fn guesses(stages: u16, domains: &[u32], rng: &mut impl Rng) -> [f64; 2] {
    let mut right = vec![0.0; usize::from(stages)];
    for _ in 0..SAMPLES {
        let guesses = Placements::of(stages, domains, rng).best_guesses();
        right.iter_mut().zip(guesses).for_each(|(right, guess)| *right += guess / f64::from(SAMPLES));
    }
    [mean(&right).unwrap_or(0.0), right.iter().copied().fold(0.0, f64::max)]
}

impl Studied {
    /// Plays all kinds of coalitions on `plan`.
    fn of(plan: &Plan, domains: &[u32], rng: &mut impl Rng) -> Self {
        let hosts: Vec<u32> = plan.roles.hosts.iter().map(|rank| domains[rank.index()]).collect();
        let count = |host: u32| hosts.iter().filter(|other| **other == host).count() as f64;
        Self {
            stages: (0..=domains.iter().copied().max().unwrap_or(0)).map(count).collect(),
            together: hosts.windows(2).any(|pair| pair[0] == pair[1]),
            found: KINDS.iter().map(|kind| study(plan, domains, *kind, rng)).collect(),
            one_draw: (1..=MOST_HOSTS).map_while(|hosts| OneDraw::on(plan, domains, hosts, rng)).collect(),
        }
    }
}

/// What coalitions of `kind` find out on `plan`, no two of them the same.
fn study(plan: &Plan, domains: &[u32], kind: CoalitionKind, rng: &mut impl Rng) -> Vec<Found> {
    let drawn: HashSet<RankSet> = (0..COALITIONS).filter_map(|_| coalition(plan, domains, kind, rng)).collect();
    drawn.into_iter().map(|colluders| Found::on(plan, colluders, rng)).collect()
}

/// Draws hosts of `kind` and returns their ranks. The owner's host is never among them. `None` where the plan has no
/// such hosts.
fn coalition(plan: &Plan, domains: &[u32], kind: CoalitionKind, rng: &mut impl Rng) -> Option<RankSet> {
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
        // Hosts without a stage stand last in the list, and so are taken first.
        chosen.push(without.pop()?);
    }
    Some(chosen.into_iter().flat_map(ranks).collect())
}

impl Protection {
    /// How far the chances of the table are from what they would be with more plans, at most, with 95 % certainty.
    fn error(&self) -> f64 {
        let chances = self.rows.iter().filter_map(|row| row.chances).flatten();
        chances.map(|chance| (chance.high - chance.mean).max(chance.mean - chance.low)).fold(0.0, f64::max)
    }

    /// What the user is to be warned of.
    pub(super) fn warning(&self) -> Option<String> {
        self.crowded.map(|crowded| crowded.to_string())
    }
}

impl CoalitionRow {
    /// The row of the kind number `kind`, over all plans.
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
