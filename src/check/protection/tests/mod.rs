//! The attack, tried on plans whose answers are known.

mod everything;

use super::*;
use crate::mix::plan::Direction;

/// The domains of so many ranks with one host each.
fn domains(ranks: u16) -> Vec<u32> {
    (0..u32::from(ranks)).collect()
}

fn plan(stages: u16, hops: u8, ranks: u16, rng: &mut StdRng) -> Plan {
    Plan::draw(stages, hops, &domains(ranks), rng).unwrap()
}

fn simulated(stages: u16, hops: u8, hosts: &[u16], plans: u32) -> Protection {
    Protection::simulate(Setup { stages, hops, hosts }, plans, Duration::from_secs(60), 1)
}

fn chances(protection: &Protection, hosts: usize, stage: bool) -> [Chance; 4] {
    let kind = CoalitionKind { hosts, stage };
    protection.rows.iter().find(|row| row.kind == kind).unwrap().chances.unwrap()
}

fn set(ranks: &[Rank]) -> RankSet {
    ranks.iter().copied().collect()
}

/// All ranks of `plan` but the owner, shuffled.
fn others(plan: &Plan, rng: &mut StdRng) -> Vec<Rank> {
    let mut others: Vec<Rank> = Rank::all(plan.ranks).skip(1).collect();
    others.shuffle(rng);
    others
}

/// The hosts of the stages of `plan`, in their true order.
fn truth(plan: &Plan) -> Vec<Rank> {
    [&[Rank::OWNER], plan.roles.hosts.as_slice(), &[Rank::OWNER]].concat()
}

/// The truth is never excluded, with odd and even N, one to nine relays, three and four hops, and any coalition. A rule
/// of the attack that was not sound would sooner or later exclude it.
#[test]
fn the_truth_is_never_excluded() {
    let mut rng = StdRng::seed_from_u64(1);
    for (stages, hops, ranks) in [(3, 3, 7), (5, 3, 7), (5, 3, 8), (4, 3, 9), (3, 4, 9), (3, 3, 12), (6, 4, 11)] {
        for _ in 0..6 {
            let plan = plan(stages, hops, ranks, &mut rng);
            for size in 0..usize::from(ranks) {
                let colluders = set(&others(&plan, &mut rng)[..size]);
                let knowledge = Knowledge::of(&plan, colluders);
                let order = truth(&plan);
                for three in order.windows(3) {
                    assert!(knowledge.ways(three[1], three[0], three[2]) > 0.0, "{plan:?} {colluders:?}");
                }
                let last = order[usize::from(stages)];
                assert!(knowledge.ways(Rank::OWNER, last, order[1]) > 0.0, "{plan:?} {colluders:?}");
                let relays = Rank::all(ranks).filter(|rank| !order.contains(rank)).collect::<Vec<Rank>>();
                for relay in &relays {
                    assert!(knowledge.ways_as_relay(*relay, set(&relays)) > 0.0, "{plan:?} {colluders:?}");
                }
            }
        }
    }
}

/// Two ranks collude, neither of which is an end. A message's circuits are on k of the (N - 2) (N - 3) ordered pairs.
#[test]
fn two_ranks_link_about_k_in_n_squared_flows() {
    // There must be so many plans that no single one decides: at N = 6 a plan has few pairs.
    const PLANS: u32 = 40;
    let mut rng = StdRng::seed_from_u64(2);
    for (stages, ranks, about) in [(3, 6, 0.3), (3, 8, 0.2), (4, 16, 0.09)] {
        let mut tried = Vec::new();
        for _ in 0..PLANS {
            let plan = plan(stages, 3, ranks, &mut rng);
            for pair in (1..ranks).flat_map(|v| (1..v).map(move |w| [Rank(v), Rank(w)])) {
                let linked = linked(&plan, set(&pair));
                let order = truth(&plan);
                let ways = order
                    .windows(2)
                    .flat_map(|two| [(two[0], two[1], Direction::Forward), (two[1], two[0], Direction::Backward)]);
                let between_others = ways.filter(|(from, to, _)| !pair.contains(from) && !pair.contains(to));
                tried.extend(between_others.map(|(from, _, way)| f64::from(u8::from(linked.contains(&(from, way))))));
            }
        }
        let found = mean(&tried).unwrap();
        let (n, k) = (f64::from(ranks), f64::from((ranks - 1) / 2));
        // The chance is at most this: a pair that is on a flow in both orders links one flow, not two.
        let most = 2.0 * k / ((n - 2.0) * (n - 3.0));
        assert!(found < most + 0.01 && found > most - 0.04, "N = {ranks}: {found}, at most {most}");
        assert!((found - about).abs() < 0.04, "N = {ranks}: {found}, about {about} is due");
    }
}

#[test]
fn fewer_relays_than_a_circuit_has_link_nothing() {
    let mut rng = StdRng::seed_from_u64(3);
    for (hops, ranks) in [(3, 7), (3, 8), (4, 9)] {
        let plan = plan(3, hops, ranks, &mut rng);
        for fewer in 1..usize::from(hops) - 1 {
            for _ in 0..20 {
                let some = &others(&plan, &mut rng)[..fewer];
                let own = |rank: &Rank| some.contains(rank);
                // Only messages of other ranks are counted: what begins or ends at one of the colluders is its own.
                let linked = linked(&plan, set(some)).into_iter().filter(|(source, direction)| {
                    !own(source) && !plan.demand.destination(*source, *direction).is_some_and(|to| own(&to))
                });
                assert_eq!(linked.count(), 0);
            }
        }
    }
    let [flows, _, located, order] = chances(&simulated(3, 3, &[1; 7], 20), 1, false);
    assert_eq!((flows.mean, located.mean, order.mean), (0.0, 0.0, 0.0));
}

/// The control: where all circuits run over the same two relays, these see every flow whole.
#[test]
fn two_relays_of_all_circuits_link_all_flows() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut plan = plan(4, 3, 9, &mut rng);
    let relays: Vec<Rank> = others(&plan, &mut rng).into_iter().filter(|r| plan.roles.stage(*r).is_none()).collect();
    let colluders = set(&relays[..2]);
    let honest = Found::on(&plan, colluders, &mut rng);
    assert!(honest.flows < 0.6, "{honest:?}");
    for circuit in &mut plan.circuits {
        circuit.relays = relays[..2].to_vec();
    }
    assert_eq!(Found::on(&plan, colluders, &mut rng).flows, 1.0);
    // Hops that are on one host are one relay to it. So two of the three hosts beside the owner's see more than one of
    // them does.
    let few = simulated(3, 3, &[3, 2, 2, 2], 20);
    assert!(few.domains.iter().map(|domain| domain.ranks).eq([3, 2, 2, 2]));
    let [one, two] = [1, 2].map(|hosts| chances(&few, hosts, true)[0].mean);
    assert!(one > 0.0 && two > one, "{one} {two}");
}

#[test]
fn all_colluding_know_everything() {
    let mut rng = StdRng::seed_from_u64(5);
    for (stages, hops, ranks) in [(3, 3, 7), (3, 3, 8), (4, 4, 10), (8, 3, 16)] {
        let plan = plan(stages, hops, ranks, &mut rng);
        let all = others(&plan, &mut rng);
        let found = Found::on(&plan, set(&all), &mut rng);
        assert_eq!((found.flows, found.guessed, found.located, found.order), (1.0, 1.0, 1.0, 1.0), "{found:?}");
        // They know as much where one stage keeps its package to itself.
        let but_one: Vec<Rank> = all.into_iter().filter(|rank| *rank != plan.roles.hosts[1]).collect();
        let found = Found::on(&plan, set(&but_one), &mut rng);
        assert_eq!((found.guessed, found.located, found.order), (1.0, 1.0, 1.0), "{found:?}");
    }
}

#[test]
fn more_colluders_never_know_less() {
    let mut rng = StdRng::seed_from_u64(6);
    for (stages, hops, ranks) in [(3, 3, 7), (3, 3, 8), (3, 4, 9), (3, 3, 12)] {
        for _ in 0..4 {
            let plan = plan(stages, hops, ranks, &mut rng);
            let others = others(&plan, &mut rng);
            let known = |size: usize, rng: &mut StdRng| {
                let colluders = set(&others[..size]);
                let orders = PossibleOrders::fitting(&Knowledge::of(&plan, colluders), rng);
                let candidates: Vec<RankSet> = (0..usize::from(stages)).map(|s| orders.candidates(s)).collect();
                (linked(&plan, colluders), candidates, orders.is(&plan.roles.hosts))
            };
            for size in 0..others.len() {
                let (fewer, more) = (known(size, &mut rng), known(size + 1, &mut rng));
                assert!(fewer.0.is_subset(&more.0));
                assert!(fewer.1.iter().zip(&more.1).all(|(fewer, more)| more.without(*fewer).is_empty()));
                assert!(!fewer.2 || more.2);
            }
        }
    }
}

/// By what relays alone see, an order and its reverse look alike. Only the middle one of three stages has the same
/// place in both.
#[test]
fn relays_alone_cannot_tell_the_direction() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut known = 0;
    for _ in 0..20 {
        let plan = plan(3, 3, 7, &mut rng);
        let relays: Vec<Rank> =
            others(&plan, &mut rng).into_iter().filter(|r| plan.roles.stage(*r).is_none()).collect();
        let orders = PossibleOrders::fitting(&Knowledge::of(&plan, set(&relays)), &mut rng);
        assert_eq!(orders.candidates(0), orders.candidates(2));
        assert!(orders.candidates(0).contains(plan.roles.hosts[2]));
        if orders.is(&plan.roles.hosts) {
            known += 1;
            assert_eq!(orders.candidates(1), RankSet::alone(plan.roles.hosts[1]));
            assert_eq!(orders.guess(0, plan.roles.hosts[0]), 0.5);
        }
    }
    assert!(known > 5, "three relays of seven ranks know the order of {known} plans of 20");
}

/// Where there are many orders, they are sampled instead of counted. Where there are few, both ways agree.
#[test]
fn many_orders_are_sampled() {
    let found = simulated(8, 3, &[1; 16], 4);
    let [_, guessed, located, _] = chances(&found, 1, false);
    assert!(guessed.mean > 0.0 && guessed.mean < 0.5 && located.mean == 0.0, "{guessed:?} {located:?}");
}

/// Who knows the hosts guesses as well as is said. Here they know by having seen many plans. Where each rank has a host
/// of its own they guess blindly.
#[test]
fn who_knows_the_hosts_guesses_as_well_as_is_said() {
    const PLANS: u32 = 4000;
    let mut rng = StdRng::seed_from_u64(9);
    for hosts in [&[6, 1][..], &[1, 5, 1], &[3, 3, 3], &[1; 7]] {
        let setup = Setup { stages: 3, hops: 3, hosts };
        let (domains, said) = (setup.domains(), simulated(3, 3, hosts, 1));
        let draw = |rng: &mut StdRng| Placements::of(3, &domains, rng).draw(rng).hosts;
        let seen: Vec<Vec<Rank>> = (0..PLANS).map(|_| draw(&mut rng)).collect();
        let often = |stage: usize, rank: &Rank| seen.iter().filter(|hosts| hosts[stage] == *rank).count();
        let best = |stage: usize| Rank::all(domains.len() as u16).max_by_key(|rank| often(stage, rank)).unwrap();
        let guesses: Vec<Rank> = (0..3).map(best).collect();
        let mut right = [0.0; 3];
        for _ in 0..PLANS {
            let hosts = draw(&mut rng);
            (0..3)
                .filter(|stage| hosts[*stage] == guesses[*stage])
                .for_each(|stage| right[stage] += 1.0 / f64::from(PLANS));
        }
        let most = right.iter().copied().fold(0.0, f64::max);
        // The margin is six standard deviations.
        assert!(
            (mean(&right).unwrap() - said.hosts_known[0]).abs() < 0.05,
            "{hosts:?}: {right:?} {:?}",
            said.hosts_known
        );
        assert!(most < said.hosts_known[1] + 0.05 && most < 2.0 * said.blind + 0.05, "{hosts:?}: {right:?}");
        // In the second case the owner's host holds no other rank, so that it is one of two.
        assert_eq!(said.warning().is_some(), hosts[..2] == [6, 1] || hosts[..2] == [1, 5], "{hosts:?}");
    }
}

/// A coalition of a kind that the plan does not have is not made up.
#[test]
fn a_coalition_is_of_the_kind_that_it_is_named_after() {
    let mut rng = StdRng::seed_from_u64(8);
    let plan = plan(4, 3, 7, &mut rng);
    let domains = domains(7);
    for kind in KINDS {
        for _ in 0..20 {
            let Some(colluders) = coalition(&plan, &domains, kind, &mut rng) else {
                // There are two relays, so that no three can collude.
                assert_eq!(kind, CoalitionKind { hosts: 3, stage: false });
                continue;
            };
            assert!(colluders.len() as usize == kind.hosts && !colluders.contains(Rank::OWNER));
            let stages = plan.roles.hosts.iter().filter(|host| colluders.contains(**host)).count();
            assert_eq!(stages, usize::from(kind.stage));
        }
    }
}
