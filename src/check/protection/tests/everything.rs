//! The rules of the attack against trying everything. The rules are written down here a second time, in another way.

use super::*;

/// Joins the lanes of a circuit that `colluders` know to belong together, one rule at a time. Returns the relays that
/// they know to be on the same circuit as the lane at `end` (0: the first lane, else the last), and whether they see
/// the circuit whole.
fn joined(path: &[Rank], colluders: RankSet, end: usize) -> Option<(Vec<Rank>, bool)> {
    let lanes = path.len() - 1;
    let inside = |at: usize| colluders.contains(path[at]);
    let mut part: Vec<usize> = (0..lanes).collect();
    let mut join = |a: usize, b: usize| {
        let (from, to) = (part[a], part[b]);
        part.iter_mut().filter(|part| **part == from).for_each(|part| *part = to);
    };
    // A relay knows where the cells of each lane go. A source knows all keys, and so what each receiver receives.
    (1..lanes).filter(|at| inside(*at)).for_each(|at| join(at - 1, at));
    (1..=lanes).filter(|at| inside(0) && inside(*at)).for_each(|at| join(0, at - 1));
    let seen = |lane: usize| inside(lane) || inside(lane + 1);
    let (near, far) = if end == 0 { (0, lanes - 1) } else { (lanes - 1, 0) };
    let on = |at: &usize| [at - 1, *at].iter().any(|lane| seen(*lane) && part[*lane] == part[near]);
    seen(near).then(|| ((1..lanes).filter(on).map(|at| path[at]).collect(), seen(far) && part[near] == part[far]))
}

/// Whether some set A(rank) makes all that is seen of `rank` fit the neighbours `next` and `previous`.
fn some_set_fits(plan: &Plan, colluders: RankSet, rank: Rank, next: Rank, previous: Rank) -> bool {
    let size = u32::from((plan.ranks - 1) / 2);
    let sets = (0..1_u32 << plan.ranks)
        .map(|bits| Rank::all(plan.ranks).filter(|rank| bits >> rank.0 & 1 == 1).collect())
        .filter(|set: &RankSet| set.len() == size && !set.contains(rank));
    let own: RankSet = set(&plan.demand.through[rank.index()]);
    let fits = |set: RankSet| {
        let known = !colluders.contains(rank) || set == own;
        known
            && set.contains(next)
            && !set.contains(previous)
            && plan.circuits.iter().all(|circuit| {
                let path: Vec<Rank> = circuit.path().collect();
                let end_fits = |end: usize, beside: Rank, outside: Rank, within: Rank, other: Rank| {
                    let supposed = if set.contains(beside) { within } else { outside };
                    joined(&path, colluders, end)
                        .is_none_or(|(relays, whole)| !relays.contains(&supposed) && (!whole || supposed == other))
                };
                let (first, last) = (path[1], path[path.len() - 2]);
                (circuit.source != rank || end_fits(0, first, next, previous, circuit.destination))
                    && (circuit.destination != rank || end_fits(1, last, next, previous, circuit.source))
            })
    };
    sets.into_iter().any(fits)
}

/// With seven ranks everything can be tried: each order, each order of the relays, each set A(r). What the rules
/// exclude fits nothing. Little else fits nothing.
#[test]
fn the_rules_exclude_what_trying_everything_does() {
    let mut rng = StdRng::seed_from_u64(9);
    let (mut left, mut possible) = (0, 0);
    for kind in [KINDS[1], KINDS[3], KINDS[4], KINDS[4], KINDS[4], KINDS[5]] {
        let plan = plan(3, 3, 7, &mut rng);
        let colluders = coalition(&plan, &domains(7), kind, &mut rng).unwrap();
        let mut found = vec![RankSet::EMPTY; 3];
        let mut all: Vec<Rank> = (1..7).map(Rank).collect();
        permutations(&mut all, 0, &mut |all| {
            let (stages, relays) = all.split_at(3);
            let roles_fit = (0..3).all(|stage| {
                let known = [stages[stage], plan.roles.hosts[stage]].iter().any(|rank| colluders.contains(*rank));
                !known || stages[stage] == plan.roles.hosts[stage]
            });
            let cycle = [&[Rank::OWNER], stages].concat();
            let fits = |ranks: &[Rank]| {
                let n = ranks.len();
                (0..n).all(|i| some_set_fits(&plan, colluders, ranks[i], ranks[(i + 1) % n], ranks[(i + n - 1) % n]))
            };
            if roles_fit && fits(&cycle) && fits(relays) {
                found.iter_mut().zip(stages).for_each(|(found, rank)| found.insert(*rank));
            }
        });
        let orders = PossibleOrders::fitting(&Knowledge::of(&plan, colluders), &mut rng);
        let rules: Vec<RankSet> = (0..3).map(|stage| orders.candidates(stage)).collect();
        for (rules, tried) in rules.iter().zip(&found) {
            assert!(tried.without(*rules).is_empty(), "{kind:?}: excluded {rules:?}, but {tried:?} are possible");
        }
        left += rules.iter().map(|set| set.len()).sum::<u32>();
        possible += found.iter().map(|set| set.len()).sum::<u32>();
    }
    assert!(left * 10 <= possible * 11, "the rules leave {left} candidates, {possible} are possible");
}

fn permutations(all: &mut Vec<Rank>, from: usize, visit: &mut impl FnMut(&[Rank])) {
    if from == all.len() {
        return visit(all);
    }
    for other in from..all.len() {
        all.swap(from, other);
        permutations(all, from + 1, visit);
        all.swap(from, other);
    }
}
