//! Which orders of the stages a coalition cannot exclude: who hosts stage 1, stage 2, and so on.
//!
//! An order counts as often as what was seen goes together with it ([`Knowledge::ways`]). Where there are few orders
//! all are tried. Else a sample stands for them, drawn stage by stage in proportion to these ways.

use rand::{Rng, RngExt};

use super::coalition::Knowledge;
use crate::ids::{Rank, RankSet};

/// Up to so many orders are tried one by one.
const FEW: u64 = 5_000;
/// How many orders a sample has.
const SAMPLE: u32 = 500;

/// The orders that a coalition cannot exclude, and how much speaks for each rank.
pub(super) struct PossibleOrders {
    /// By stage and then by rank: the weight of the orders in which that rank hosts that stage.
    weights: Vec<Vec<f64>>,
    /// The first order that was found. Empty where none was.
    first: Vec<Rank>,
    /// Whether no other order was found but the first and its reverse.
    settled: bool,
}

impl PossibleOrders {
    /// Finds the orders that do not contradict `knowledge`.
    pub(super) fn fitting(knowledge: &Knowledge, rng: &mut impl Rng) -> Self {
        let weights = vec![vec![0.0; usize::from(knowledge.ranks)]; usize::from(knowledge.stages)];
        let orders = Self { weights, first: Vec::new(), settled: true };
        let mut search = OrderSearch { knowledge, chain: vec![Rank::OWNER], all: search_is_small(knowledge), orders };
        match search.all {
            true => search.extend(1.0, rng),
            false => (0..SAMPLE).for_each(|_| search.extend(1.0, rng)),
        }
        let mut orders = search.orders;
        if orders.first.is_empty() {
            // No draw of the sample fits, so that nothing was learned.
            orders.settled = false;
            orders.weights.iter_mut().flatten().for_each(|weight| *weight = 1.0);
        }
        orders
    }

    /// The chance that the best guess at the host of `stage` names `host`: 1 or 0, or between where several ranks are
    /// equally good.
    pub(super) fn guess(&self, stage: usize, host: Rank) -> f64 {
        let weights = &self.weights[stage];
        let best = weights.iter().copied().fold(0.0, f64::max);
        let is_best = |weight: &&f64| **weight >= best * (1.0 - 1e-9);
        if !is_best(&&weights[host.index()]) {
            return 0.0;
        }
        1.0 / weights.iter().filter(is_best).count() as f64
    }

    /// The ranks that may host `stage`.
    pub(super) fn candidates(&self, stage: usize) -> RankSet {
        let ranks = Rank::all(self.weights[stage].len() as u16).zip(&self.weights[stage]);
        ranks.filter(|(_, weight)| **weight > 0.0).map(|(rank, _)| rank).collect()
    }

    /// Whether no order is left but `hosts` and its reverse.
    pub(super) fn is(&self, hosts: &[Rank]) -> bool {
        self.settled && (self.first == hosts || self.first.iter().eq(hosts.iter().rev()))
    }

    /// Counts `order`, the hosts of the stages, with this weight.
    fn add(&mut self, order: &[Rank], weight: f64) {
        for (weights, host) in self.weights.iter_mut().zip(order) {
            weights[host.index()] += weight;
        }
        if self.first.is_empty() {
            self.first = order.to_vec();
        }
        self.settled &= order == self.first || order.iter().eq(self.first.iter().rev());
    }
}

/// Whether there are few orders to try: so many as there are ways to give each stage without a known host a rank that
/// does not collude.
fn search_is_small(knowledge: &Knowledge) -> bool {
    let honest = u64::from(knowledge.ranks) - 1 - u64::from(knowledge.colluders.len());
    let unknown = knowledge.placed.iter().filter(|host| host.is_none()).count() as u64;
    let orders = (0..unknown).try_fold(1_u64, |orders, at| orders.checked_mul(honest.saturating_sub(at)));
    orders.is_some_and(|orders| orders <= FEW)
}

/// A search for orders that fit what a coalition knows.
struct OrderSearch<'a> {
    knowledge: &'a Knowledge,
    /// The owner, and the hosts of the first stages as far as they have been chosen.
    chain: Vec<Rank>,
    /// Whether every order is tried. Else each search draws one.
    all: bool,
    /// What has been found so far.
    orders: PossibleOrders,
}

impl OrderSearch<'_> {
    /// Chooses the hosts of the stages that follow the chain. The chain so far goes together with what was seen in
    /// `weight` ways.
    fn extend(&mut self, weight: f64, rng: &mut impl Rng) {
        if self.chain.len() > usize::from(self.knowledge.stages) {
            let weight = weight * self.ways_of_the_rest();
            if weight > 0.0 {
                self.orders.add(&self.chain[1..], weight);
            }
            return;
        }
        let next = self.next();
        if self.all {
            for (rank, ways) in next {
                self.follow(rank, weight * ways, rng);
            }
            return;
        }
        let total: f64 = next.iter().map(|(_, ways)| ways).sum();
        let mut drawn = rng.random::<f64>() * total;
        let chosen = next.iter().find(|(_, ways)| {
            drawn -= ways;
            drawn < 0.0
        });
        if let Some((rank, _)) = chosen {
            self.follow(*rank, weight * total, rng);
        }
    }

    /// Adds `rank` to the chain and goes on from there.
    fn follow(&mut self, rank: Rank, weight: f64, rng: &mut impl Rng) {
        self.chain.push(rank);
        self.extend(weight, rng);
        self.chain.pop();
    }

    /// The ranks that may host the next stage. Each comes with the number of ways in which it goes together with what
    /// is seen of the last host in the chain.
    fn next(&self) -> Vec<(Rank, f64)> {
        let stage = self.chain.len() - 1;
        let fits = |rank: &Rank| match self.knowledge.placed[stage] {
            Some(host) => *rank == host,
            None => !self.knowledge.colluders.contains(*rank) && !self.chain.contains(rank),
        };
        let ways = |rank: Rank| match self.chain[..] {
            [.., before, last] => self.knowledge.ways(last, before, rank),
            // The owner's other neighbour is not known yet.
            _ => 1.0,
        };
        let ranks = Rank::all(self.knowledge.ranks).filter(fits).map(|rank| (rank, ways(rank)));
        ranks.filter(|(_, ways)| *ways > 0.0).collect()
    }

    /// In how many ways the chain, once all hosts are chosen, goes together with what is seen of the last stage's host,
    /// of the owner, and of the relays that remain.
    fn ways_of_the_rest(&self) -> f64 {
        let (knowledge, chain) = (self.knowledge, &self.chain);
        let [first, last] = [chain[1], chain[chain.len() - 1]];
        let own =
            knowledge.ways(last, chain[chain.len() - 2], Rank::OWNER) * knowledge.ways(Rank::OWNER, last, first);
        if own == 0.0 {
            return 0.0;
        }
        let relays: Vec<Rank> = Rank::all(knowledge.ranks).filter(|rank| !chain.contains(rank)).collect();
        let set: RankSet = relays.iter().copied().collect();
        own * relays.iter().map(|rank| knowledge.ways_as_relay(*rank, set)).product::<f64>()
    }
}
