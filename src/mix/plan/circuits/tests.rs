//! A search counts conflicts and shared hosts as it goes: what it says is what there is.

use std::collections::{HashMap, HashSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::*;
use crate::mix::plan::Placements;
use crate::mix::topology::Topology;

/// By phase, sender and receiver: the circuits that go over the lane. Only the phases between the first and the last.
fn carried(circuits: &[Circuit]) -> HashMap<(usize, Rank, Rank), Vec<usize>> {
    let mut carried: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, circuit) in circuits.iter().enumerate() {
        for (phase, hop) in circuit.relays.windows(2).enumerate() {
            carried.entry((phase, hop[0], hop[1])).or_default().push(index);
        }
    }
    carried
}

/// How often a circuit meets a rank again. A relay that sends to itself may do so once.
fn repeats(circuit: &Circuit) -> usize {
    let path: Vec<Rank> = circuit.path().collect();
    let own = circuit.direction != Direction::Spare && circuit.source == circuit.destination;
    let all: usize = (0..path.len()).map(|at| path[at + 1..].iter().filter(|rank| **rank == path[at]).count()).sum();
    all - usize::from(own)
}

/// How a circuit begins: its source, direction, part and first relay.
type Begin = (Rank, Direction, u16, Rank);
/// How a circuit ends: the source whose group it is of, its direction, its last relay and its destination.
type End = (Option<Rank>, Direction, Rank, Rank);

/// Source, direction and part, the first relay, and the last relays with their destinations: what has to stay within a group.
fn ends(circuits: &[Circuit]) -> (Vec<Begin>, Vec<End>) {
    let begin = |of: &Circuit| (of.source, of.direction, of.part, of.relays[0]);
    let end = |of: &Circuit| {
        let group = Some(of.source).filter(|_| of.direction != Direction::Spare);
        (group, of.direction, of.relays[of.relays.len() - 1], of.destination)
    };
    let (mut begins, mut ends): (Vec<_>, Vec<_>) =
        (circuits.iter().map(begin).collect(), circuits.iter().map(end).collect());
    // First relays change places within a group, too.
    begins.iter_mut().for_each(|begin| begin.2 = 0);
    begins.sort_unstable();
    ends.sort_unstable();
    (begins, ends)
}

fn assert_counted(search: &Search, hosts: &[u32]) {
    let carried = carried(&search.circuits);
    let excess: usize = carried.values().map(|circuits| circuits.len() - 1).sum();
    let repeated: usize = search.circuits.iter().map(repeats).sum();
    assert_eq!(search.conflicts, excess + repeated);
    assert_eq!(search.shared, on_one_host(&search.circuits, hosts));
    let sum: usize = search.carried.iter().map(|carried| usize::from(*carried)).sum();
    assert_eq!(sum, search.circuits.len() * (search.circuits[0].relays.len() - 1));
    // Whoever has a conflict is among the suspects, but for one of those that share a lane.
    let suspects: HashSet<usize> = search.suspects.iter().copied().collect();
    assert_eq!(suspects.len(), search.suspects.len());
    assert!(search.suspected.iter().enumerate().all(|(at, suspected)| suspects.contains(&at) == *suspected));
    assert!(search.circuits.iter().enumerate().all(|(at, circuit)| repeats(circuit) == 0 || suspects.contains(&at)));
    for circuits in carried.values() {
        assert!(circuits.iter().filter(|circuit| !suspects.contains(circuit)).count() < 2);
    }
}

fn demand(stages: u16, ranks: u16, rng: &mut StdRng) -> Demand {
    let alone: Vec<u32> = (0..u32::from(ranks)).collect();
    let roles = Placements::of(stages, &alone, rng).draw(rng);
    Demand::draw(&roles, Topology::all(ranks), rng)
}

/// Among few ranks, where mending mostly gives up. Of so many draws of the sets so many at least allow circuits that are found.
#[test]
fn searches_find_circuits() {
    let mut rng = StdRng::seed_from_u64(3);
    for (stages, ranks, hops, draws, least) in [(5, 7, 3, 100, 17), (2, 9, 3, 20, 5), (3, 8, 4, 40, 32)] {
        let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
        let search = |_| search(&demand(stages, ranks, &mut rng), hops, &hosts, &mut rng);
        let all: Vec<Vec<Circuit>> = (0..draws).filter_map(search).collect();
        for circuits in &all {
            assert!(carried(circuits).values().all(|circuits| circuits.len() == 1));
            assert!(circuits.iter().all(|circuit| repeats(circuit) == 0));
        }
        let found = all.len();
        assert!(found >= least, "N = {ranks}, {hops} hops: {found} of {draws}");
    }
}

#[test]
fn a_search_counts_what_is_there() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut changed = 0;
    for (hosts, hops) in (0..4).flat_map(|_| {
        [
            (&[0, 1, 2, 3, 4, 5][..], 3),
            (&[0, 0, 1, 1, 2, 3, 4], 3),
            (&[0, 0, 0, 1, 1, 2, 2, 2], 3),
            (&[0, 1, 2, 3, 0, 1, 2], 4),
            (&[0, 1, 1, 1, 2, 3, 4, 4], 4),
        ]
    }) {
        // One relay is left, or two, which are their own destinations; or three or more, which are not.
        let stages = *[2, hosts.len() as u16 - 2, hosts.len() as u16 - 3].choose(&mut rng).unwrap();
        let demand = demand(stages, hosts.len() as u16, &mut rng);
        let mut search = Search::start(&demand, hops, hosts, &mut rng);
        assert_counted(&search, hosts);
        let (start, before) = (search.circuits.clone(), ends(&search.circuits));
        for _ in 0..100 {
            search.swap(&mut rng);
            assert_counted(&search, hosts);
        }
        assert_eq!(ends(&search.circuits), before);
        changed += usize::from(search.circuits != start);
    }
    assert!(changed > 9, "{changed} of 20 searches have changed something");
}

/// Plays a search again that has begun with `before` and has ended with `rng`. Returns how many swaps it has tried until it had circuits
/// that keep all of 7.6, how many behind that, and how few pairs on one host such circuits had.
fn replayed(
    demand: &Demand,
    hops: u8,
    hosts: &[u32],
    mut before: StdRng,
    rng: &StdRng,
) -> (usize, usize, Option<usize>) {
    let mut search = Search::start(demand, hops, hosts, &mut before);
    let (mut until, mut behind, mut least) = (0, 0, None);
    loop {
        if search.conflicts == 0 {
            least = least.into_iter().chain([search.shared]).min();
        }
        if before == *rng {
            return (until, behind, least);
        }
        *if least.is_none() { &mut until } else { &mut behind } += 1;
        search.swap(&mut before);
    }
}

/// A search returns the best of all circuits that it has seen. It goes on behind the first ones only where others could meet a host
/// twice less often, and nowhere without end.
#[test]
fn a_search_returns_the_best_of_what_it_has_seen() {
    let spread = |ranks: u16, hosts: u16| (0..ranks).map(|rank| u32::from(rank % hosts)).collect::<Vec<u32>>();
    let mut found = [0; 2];
    for (hosts, hops, goes_on) in [
        (spread(6, 6), 3, false),
        (spread(7, 7), 3, false),
        (spread(8, 1), 3, false),
        (spread(8, 1), 4, false),
        (spread(7, 3), 3, true),
        (spread(8, 4), 4, true),
        (spread(9, 4), 3, true),
        (spread(16, 5), 3, true),
        (spread(33, 5), 3, false),
    ] {
        for seed in 0..if hosts.len() < 16 { 6 } else { 1 } {
            let demand = demand(3, hosts.len() as u16, &mut StdRng::seed_from_u64(10 + seed));
            let [before, mut rng] = [(); 2].map(|()| StdRng::seed_from_u64(seed));
            let circuits = search(&demand, hops, &hosts, &mut rng);
            let (until, behind, least) = replayed(&demand, hops, &hosts, before, &rng);
            assert_eq!(circuits.as_ref().map(|circuits| on_one_host(circuits, &hosts)), least, "{hosts:?}");
            let most = SWAPS * (hosts.len() * (hosts.len() - 1)).pow(2);
            match &circuits {
                None => assert_eq!(until, most),
                Some(_) if goes_on => assert_eq!(behind, SPREADING.min(most - until), "{hosts:?}"),
                Some(_) => assert_eq!(behind, 0, "{hosts:?}"),
            }
            for circuits in circuits.iter() {
                assert!(carried(circuits).values().all(|circuits| circuits.len() == 1));
                assert!(circuits.iter().all(|circuit| repeats(circuit) == 0));
            }
            found[usize::from(circuits.is_some())] += 1;
        }
    }
    assert!(found.iter().all(|times| *times > 5), "{found:?}");
}

/// Swaps take conflicts away and bring few new ones. Where there are middle relays, these leave their group, too.
#[test]
fn swaps_take_conflicts_away() {
    for hops in [3, 4] {
        let mut rng = StdRng::seed_from_u64(5);
        let (mut before, mut after, mut moved) = (0, 0, 0);
        for _ in 0..20 {
            let hosts: Vec<u32> = (0..9).collect();
            let mut search = Search::start(&demand(3, 9, &mut rng), hops, &hosts, &mut rng);
            // What mending has put in order is shuffled again.
            for a in 0..search.circuits.len() {
                let b = rng.random_range(search.groups[a].clone());
                if a != b {
                    [a, b].into_iter().for_each(|circuit| search.take(circuit));
                    search.exchange(a, b, usize::from(hops) - 2, false);
                    [a, b].into_iter().for_each(|circuit| search.put(circuit));
                }
            }
            let seconds = |search: &Search| {
                let of = |group: &std::ops::Range<usize>| {
                    let mut seconds: Vec<Rank> =
                        search.circuits[group.clone()].iter().map(|of| of.relays[1]).collect();
                    seconds.sort_unstable();
                    seconds
                };
                search.groups.iter().map(of).collect::<Vec<_>>()
            };
            let dealt = seconds(&search);
            before += search.conflicts;
            (0..1500).for_each(|_| search.swap(&mut rng));
            after += search.conflicts;
            moved += usize::from(seconds(&search) != dealt);
        }
        assert!(before > 300 && after * 3 < before, "{hops} hops: {before} conflicts at first, {after} in the end");
        assert_eq!(moved, if hops == 4 { 20 } else { 0 }, "{hops} hops: {moved} of 20");
    }
}

/// Whoever is suspected is looked at once, and only where there is something. Then nobody is left.
#[test]
fn suspects_that_have_no_conflict_are_passed_over() {
    let mut rng = StdRng::seed_from_u64(6);
    let (mut named, mut passed) = (0, 0);
    for (ranks, hops) in [(7, 3), (8, 3), (7, 4), (16, 3)].repeat(5) {
        let hosts: Vec<u32> = (0..ranks).collect();
        let mut search = Search::start(&demand(3, ranks as u16, &mut rng), hops, &hosts, &mut rng);
        assert!(search.conflicts > 0 || search.suspects.is_empty());
        (0..200).for_each(|_| search.swap(&mut rng));
        let carried = carried(&search.circuits);
        let lanes = |circuit: &Circuit| {
            circuit.relays.windows(2).enumerate().map(|(at, hop)| (at, hop[0], hop[1])).collect::<Vec<_>>()
        };
        let mut left = search.suspects.clone();
        while let Some(index) = search.suspect(&mut rng) {
            let circuit = &search.circuits[index];
            assert!(repeats(circuit) > 0 || lanes(circuit).iter().any(|lane| carried[lane].len() > 1), "{circuit:?}");
            assert!(left.contains(&index) && !search.suspected[index] && !search.suspects.contains(&index));
            left.retain(|suspect| *suspect != index);
            named += 1;
        }
        passed += left.len();
        assert!(search.suspects.is_empty() && search.suspected.iter().all(|suspected| !suspected));
    }
    assert!(named > 99 && passed > 99, "{named} named, {passed} passed over");
}

/// A pair on one host costs something, and far less than a conflict.
#[test]
fn a_shared_host_costs_less_than_a_conflict() {
    let mut rng = StdRng::seed_from_u64(7);
    let hosts = [0, 0, 1, 1, 2, 2, 3];
    let mut search = Search::start(&demand(3, 7, &mut rng), 3, &hosts, &mut rng);
    let mut energy = |conflicts, shared| {
        (search.conflicts, search.shared) = (conflicts, shared);
        search.energy()
    };
    assert_eq!((energy(0, 0), energy(1, 0), energy(3, 0)), (0.0, 1.0, 3.0));
    let one = energy(0, 1);
    assert!(one > 0.0 && one < 0.2, "{one}");
    assert!((energy(3, 4) - (3.0 + 4.0 * one)).abs() < 1e-9);
}

#[test]
fn ranks_of_one_host_are_counted_by_pairs() {
    let circuit = |source, relays: &[u16], destination| Circuit {
        source: Rank(source),
        direction: Direction::Forward,
        part: 0,
        relays: relays.iter().copied().map(Rank).collect(),
        destination: Rank(destination),
    };
    let hosts = [0, 0, 0, 1, 1, 2, 3];
    for (circuit, pairs) in [
        (circuit(0, &[3, 5], 6), 0),
        (circuit(0, &[3, 5], 1), 1),
        (circuit(0, &[1, 5], 2), 3),
        (circuit(0, &[3, 4], 2), 2),
        // A rank shares no host with itself.
        (circuit(0, &[3, 5], 0), 0),
    ] {
        assert_eq!(on_its_hosts(&circuit, &hosts), pairs, "{circuit:?}");
        assert_eq!(on_one_host(&[circuit.clone(), circuit], &hosts), 2 * pairs);
    }
}

#[test]
fn middle_relays_are_dealt_evenly() {
    let mut rng = StdRng::seed_from_u64(2);
    let relays = vec![Rank::OWNER; 4];
    let circuit = Circuit { source: Rank(0), direction: Direction::Forward, part: 0, relays, destination: Rank(1) };
    let mut circuits = vec![circuit; 42];
    spread_middles(&mut circuits, 7, &mut rng);
    for spot in 0..4 {
        let times = |rank| circuits.iter().filter(|circuit| circuit.relays[spot] == rank).count();
        let expected = |rank| if spot % 3 > 0 { 6 } else { 42 * usize::from(rank == Rank::OWNER) };
        assert!(Rank::all(7).all(|rank| times(rank) == expected(rank)), "{spot}");
    }
}
