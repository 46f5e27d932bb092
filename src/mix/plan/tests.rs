//! What every plan must hold, from the smallest to the largest runs.

use std::collections::{HashMap, HashSet};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn alone(ranks: u16) -> Vec<u32> {
    (0..u32::from(ranks)).collect()
}

/// Asserts everything that a plan promises (docs/PROTOCOL.md, 7.6).
fn check(plan: &Plan) {
    let n = plan.ranks;
    // 7.6 (b): every ordered pair of ranks carries one circuit in each phase.
    let lanes = plan.lanes();
    let pairs = usize::from(n) * usize::from(n - 1);
    assert_eq!(plan.circuits.len(), pairs);
    assert_eq!(lanes.len(), pairs * usize::from(plan.hops));
    assert!(lanes.keys().all(|(_, from, to)| from != to));
    // Phases count from 1: a circuit begins in the first and ends in the last.
    for (at, circuit) in plan.circuits.iter().enumerate() {
        let last = circuit.relays[circuit.relays.len() - 1];
        assert_eq!(lanes[&(1, circuit.source, circuit.relays[0])], at);
        assert_eq!(lanes[&(plan.hops, last, circuit.destination)], at);
    }
    for circuit in &plan.circuits {
        assert_eq!(circuit.relays.len(), usize::from(plan.hops) - 1);
        let path: Vec<Rank> = circuit.path().collect();
        let distinct: HashSet<Rank> = path.iter().copied().collect();
        let own = circuit.source == circuit.destination;
        assert_eq!(distinct.len(), path.len() - usize::from(own), "{circuit:?}");
        assert!(!own || (circuit.direction != Direction::Spare && plan.roles.stage(circuit.source).is_none()));
        if let Some(destination) = plan.demand.destination(circuit.source, circuit.direction) {
            assert_eq!(circuit.destination, destination);
        }
    }
    // 7.6 (e): the real flows are entries of the demand.
    let mut at = Rank::OWNER;
    for host in &plan.roles.hosts {
        assert_eq!(plan.demand.forward[at.index()], *host);
        assert_eq!(plan.demand.backward[host.index()], at);
        at = *host;
    }
    assert_eq!(plan.demand.forward[at.index()], Rank::OWNER);
    // What a rank sees of its own circuits leaves its neighbours among half of the others.
    for rank in Rank::all(n) {
        let through = |own: &dyn Fn(&&Circuit) -> bool, relay: &dyn Fn(&Circuit) -> Rank| -> HashSet<Rank> {
            plan.circuits.iter().filter(own).map(relay).collect()
        };
        let first = |circuit: &Circuit| circuit.relays[0];
        let last = |circuit: &Circuit| circuit.relays[circuit.relays.len() - 1];
        let set: HashSet<Rank> = plan.demand.through[rank.index()].iter().copied().collect();
        assert_eq!(set.len(), usize::from(n - 1) / 2);
        let leaves_backward = through(&|c| c.source == rank && c.direction == Direction::Backward, &first);
        let arrives_forward = through(&|c| c.destination == rank && c.direction == Direction::Forward, &last);
        assert_eq!((&leaves_backward, &arrives_forward), (&set, &set));
        let leaves_forward = through(&|c| c.source == rank && c.direction == Direction::Forward, &first);
        let arrives_backward = through(&|c| c.destination == rank && c.direction == Direction::Backward, &last);
        assert_eq!(leaves_forward, arrives_backward);
        assert!(leaves_forward.is_disjoint(&set) && leaves_forward.len() == set.len());
        let (successor, predecessor) = (plan.demand.forward[rank.index()], plan.demand.backward[rank.index()]);
        if successor != rank {
            assert!(set.contains(&successor) && !set.contains(&predecessor));
        }
    }
    // Each message's parts are numbered through.
    let mut parts: HashMap<(Rank, Direction), HashSet<u16>> = HashMap::new();
    for circuit in &plan.circuits {
        assert!(parts.entry((circuit.source, circuit.direction)).or_default().insert(circuit.part));
    }
    let k = (n - 1) / 2;
    for ((_, direction), parts) in parts {
        let expected = if direction == Direction::Spare { 1 } else { k };
        assert_eq!(parts, (0..expected).collect());
    }
}

#[test]
fn every_size_of_the_design_has_a_plan_that_keeps_its_promises() {
    let mut rng = StdRng::seed_from_u64(1);
    for stages in 2..=8 {
        for ranks in (stages + 1).max(6)..=16 {
            for _ in 0..2 {
                match Plan::draw(stages, 3, &alone(ranks), &mut rng) {
                    Ok(plan) => check(&plan),
                    Err(error) => panic!("S = {stages}, N = {ranks}: {error}"),
                }
            }
        }
    }
}

#[test]
fn four_hops_and_more_ranks_work_too() {
    let mut rng = StdRng::seed_from_u64(2);
    for (stages, ranks, hops) in [(3, 9, 4), (2, 16, 4), (3, 20, 3), (9, 32, 4), (5, 63, 3), (20, 64, 3)] {
        match Plan::draw(stages, hops, &alone(ranks), &mut rng) {
            Ok(plan) => check(&plan),
            Err(error) => panic!("S = {stages}, N = {ranks}, hops = {hops}: {error}"),
        }
    }
}

/// These have so many circuits that only mending finds a plan.
#[test]
fn hundreds_of_ranks_have_plans() {
    let mut rng = StdRng::seed_from_u64(8);
    for (stages, ranks, hops) in [(5, 128, 3), (100, 150, 4), (3, 301, 3)] {
        match Plan::draw(stages, hops, &alone(ranks), &mut rng) {
            Ok(plan) => check(&plan),
            Err(error) => panic!("S = {stages}, N = {ranks}, hops = {hops}: {error}"),
        }
    }
}

/// A message and its answer leave and arrive through the same two sets. That a relay of the one follows the same relay as on the
/// other happens as often as among pairs that are drawn at random: once for each rank and message, on average.
#[test]
fn messages_and_answers_pair_relays_independently() {
    let mut rng = StdRng::seed_from_u64(10);
    let (ranks, draws) = (24, 40);
    let mut mirrored = 0;
    for _ in 0..draws {
        let plan = Plan::draw(4, 3, &alone(ranks), &mut rng).unwrap();
        let of = |direction| plan.circuits.iter().filter(move |circuit| circuit.direction == direction);
        let back: HashSet<[Rank; 4]> = of(Direction::Backward)
            .map(|circuit| [circuit.destination, circuit.relays[1], circuit.relays[0], circuit.source])
            .collect();
        let is_mirrored = |c: &&Circuit| back.contains(&[c.source, c.relays[0], c.relays[1], c.destination]);
        mirrored += of(Direction::Forward).filter(is_mirrored).count();
    }
    let expected = f64::from(ranks) * f64::from(draws);
    assert!((mirrored as f64 / expected - 1.0).abs() < 0.13, "{mirrored} of {expected} expected");
}

#[test]
fn what_no_search_can_find_is_refused_with_what_works() {
    let mut rng = StdRng::seed_from_u64(3);
    // There are only four ranks, and a circuit of four hops has five.
    let error = Plan::draw(2, 4, &alone(4), &mut rng).unwrap_err().to_string();
    assert!(error.contains("these rank counts work:") && error.contains("9"), "{error}");
    // So many stages want more ranks than that.
    match Plan::draw(9, 4, &alone(4), &mut rng) {
        Err(MixError::NoPlan { ranks: 4, stages: 9, hops: 4, works }) => assert!(works.iter().copied().eq(10..=16)),
        other => panic!("{other:?}"),
    }
    // Here a long search finds some, one time in a few. No job is to run on one day and to be refused on the other.
    for (hops, ranks) in [(3, 5), (4, 6)] {
        let (hosts, roles) = (alone(ranks), Placements::of(2, &alone(ranks), &mut rng).draw(&mut rng));
        assert!((0..20).all(|_| Plan::with_roles(roles.clone(), hops, &hosts, &mut rng).is_none()));
    }
}

/// Chi-squared over where the first two stages stand: 30 pairs of places among 6 ranks, so 29 degrees of freedom.
#[test]
fn placement_is_uniform() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut counts: HashMap<(Rank, Rank), f64> = HashMap::new();
    const DRAWS: u32 = 1500;
    for _ in 0..DRAWS {
        let plan = Plan::draw(4, 3, &alone(7), &mut rng).unwrap();
        *counts.entry((plan.roles.hosts[0], plan.roles.hosts[1])).or_default() += 1.0;
    }
    let expected = f64::from(DRAWS) / 30.0;
    let missing = (30 - counts.len()) as f64 * expected;
    let chi: f64 = counts.values().map(|count| (count - expected).powi(2) / expected).sum::<f64>() + missing;
    assert!(chi < 58.3, "chi-squared {chi} (p < 0.001): {counts:?}");
}

/// The sets of 7.3: A(r) holds the successor and not the predecessor, a(r) is any of the other ranks outside, and all are as likely.
#[test]
fn any_rank_may_be_in_a_set_or_carry_a_spare() {
    let mut rng = StdRng::seed_from_u64(14);
    // One relay is left, or two, or so many that they send to each other.
    for (stages, ranks) in [(4, 6), (3, 6), (2, 6), (6, 8), (2, 8), (4, 7)] {
        const DRAWS: usize = 400;
        let half = usize::from(ranks - 1) / 2;
        let (mut inside, mut spares) =
            (vec![vec![0; ranks.into()]; ranks.into()], vec![vec![0; ranks.into()]; ranks.into()]);
        let roles = Placements::of(stages, &alone(ranks), &mut rng).draw(&mut rng);
        for _ in 0..DRAWS {
            let demand = Demand::draw(&roles, Topology::all(ranks), &mut rng);
            for rank in Rank::all(ranks) {
                let [successor, predecessor] = [&demand.forward, &demand.backward].map(|of| of[rank.index()]);
                // Three relays or more send to each other, and fewer to themselves.
                let is_relay = rank != Rank::OWNER && roles.stage(rank).is_none();
                assert_eq!(successor == rank, is_relay && ranks - 1 - stages < 3);
                let set = &demand.through[rank.index()];
                assert!(set.len() == half && set.is_sorted() && !set.contains(&rank));
                assert!(successor == rank || (set.contains(&successor) && !set.contains(&predecessor)));
                set.iter().for_each(|peer| inside[rank.index()][peer.index()] += 1);
                if let Some(spare) = demand.spare_through.get(rank.index()) {
                    assert!(*spare != rank && !set.contains(spare));
                    spares[rank.index()][spare.index()] += 1;
                }
            }
            assert_eq!(demand.spare_through.len(), if ranks % 2 == 0 { ranks.into() } else { 0 });
        }
        // Where relays are in a second cycle, its order changes from draw to draw. So all that is counted is of the owner.
        let demand = Demand::draw(&roles, Topology::all(ranks), &mut rng);
        let [successor, predecessor] = [demand.forward[0], demand.backward[0]];
        for peer in Rank::all(ranks).skip(1) {
            let expected = match peer {
                _ if peer == successor => 1.0,
                _ if peer == predecessor => 0.0,
                _ => (half - 1) as f64 / f64::from(ranks - 3),
            };
            let share = |times: &Vec<Vec<usize>>| times[0][peer.index()] as f64 / DRAWS as f64;
            assert!((share(&inside) - expected).abs() < 0.12, "{peer} of {ranks}: {}", share(&inside));
            let outside = f64::from(ranks - 1) - half as f64;
            let spare = if ranks % 2 == 0 { (1.0 - expected) / outside } else { 0.0 };
            assert!((share(&spares) - spare).abs() < 0.12, "{peer} of {ranks}: {} carry a spare", share(&spares));
        }
    }
}

/// Given what a stage knows of its own circuits, each of its candidates is its successor equally often.
#[test]
fn candidates_are_equally_likely() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut place_in_set = [0.0_f64; 3];
    const DRAWS: u32 = 800;
    for _ in 0..DRAWS {
        let plan = Plan::draw(4, 3, &alone(7), &mut rng).unwrap();
        // This is the second stage. Neither of its neighbours is the owner.
        let stage = plan.roles.hosts[1];
        let (set, successor) = (&plan.demand.through[stage.index()], plan.demand.forward[stage.index()]);
        // The owner is known to host no third stage. If it is in the set, there are fewer candidates.
        if !set.contains(&Rank::OWNER) {
            place_in_set[set.iter().position(|rank| *rank == successor).unwrap()] += 1.0;
        }
    }
    let expected = place_in_set.iter().sum::<f64>() / 3.0;
    let chi: f64 = place_in_set.iter().map(|count| (count - expected).powi(2) / expected).sum();
    assert!(chi < 13.8, "chi-squared {chi} with 2 degrees of freedom (p < 0.001): {place_in_set:?}");
}

#[test]
fn neighbours_stand_on_different_hosts_where_they_can() {
    let mut rng = StdRng::seed_from_u64(6);
    // Nine ranks on three hosts, the owner on the first.
    let hosts = [0, 0, 0, 1, 1, 1, 2, 2, 2];
    for _ in 0..20 {
        let plan = Plan::draw(3, 3, &hosts, &mut rng).unwrap();
        check(&plan);
        let of: Vec<u32> = plan.roles.hosts.iter().map(|rank| hosts[rank.index()]).collect();
        assert!(of[0] != of[1] && of[1] != of[2] && of[0] != of[2], "{of:?}");
    }
    // On two hosts stages 1 and 3 must share one, but neighbours need not.
    let plan = Plan::draw(3, 3, &[0, 0, 0, 0, 1, 1, 1], &mut rng).unwrap();
    let of: Vec<u32> = plan.roles.hosts.iter().map(|rank| u32::from(rank.0 > 3)).collect();
    assert!(of[0] != of[1] && of[1] != of[2], "{of:?}");
}

#[test]
fn circuits_spread_over_hosts() {
    let mut rng = StdRng::seed_from_u64(7);
    let hosts = [0, 0, 1, 1, 2, 2, 3, 3, 4];
    let shared = |plan: &Plan| circuits::on_one_host(&plan.circuits, &hosts);
    let (mut with, mut without) = (0, 0);
    for _ in 0..20 {
        // The same roles: who hosts what is not the circuits' doing.
        let roles = Placements::of(3, &hosts, &mut rng).draw(&mut rng);
        with += shared(&Plan::with_roles(roles.clone(), 3, &hosts, &mut rng).unwrap());
        without += shared(&Plan::with_roles(roles, 3, &alone(9), &mut rng).unwrap());
    }
    assert!(with * 20 < without * 19, "{with} pairs on one host with the rule, {without} without");
}

/// Only where some ranks share a host, and not all do, is it worth a longer search to spread circuits.
#[test]
fn circuits_can_spread_over_some_hosts() {
    for (hosts, can) in [(&[0, 1, 2, 3][..], false), (&[5, 5, 5], false), (&[0, 0, 1], true), (&[0, 1, 1], true)] {
        assert_eq!(circuits::can_spread(hosts), can, "{hosts:?}");
    }
}

/// Where ranks share hosts, several plans are looked for, and that is taken whose circuits meet a host twice least often. Where they share
/// none, and among many, it is the first one: looking for more takes time.
#[test]
fn of_several_plans_the_best_is_taken_where_hosts_are_shared() {
    let on = |ranks: u16, hosts: u16| (0..ranks).map(|rank| u32::from(rank % hosts)).collect::<Vec<u32>>();
    for (hosts, plans) in [(on(8, 8), 1), (on(8, 1), 1), (on(8, 4), SPREAD), (on(33, 4), 1)] {
        let ranks = hosts.len() as u16;
        let roles = Placements::of(3, &hosts, &mut StdRng::seed_from_u64(11)).draw(&mut StdRng::seed_from_u64(12));
        let [mut rng, mut again] = [(); 2].map(|()| StdRng::seed_from_u64(13));
        let plan = Plan::with_roles(roles.clone(), 3, &hosts, &mut rng).unwrap();
        let mut found = Vec::new();
        while found.len() < plans {
            let demand = Demand::draw(&roles, Topology::all(ranks), &mut again);
            found.extend(circuits::search(&demand, 3, &hosts, &mut again));
        }
        assert_eq!(rng, again, "{hosts:?}: it is {plans} that are looked for");
        let pairs = |circuits: &Vec<Circuit>| circuits::on_one_host(circuits, &hosts);
        let best = found.iter().min_by_key(|circuits| pairs(circuits)).unwrap();
        assert_eq!(&plan.circuits, best, "{hosts:?}");
        // The control: they differ.
        assert!(plans == 1 || found.iter().any(|circuits| pairs(circuits) > pairs(best)));
    }
}
