//! Mending finds circuits, soon, gives up where there are none, and keeps its books meanwhile.

use std::convert::Infallible;

use rand::rngs::StdRng;
use rand::{SeedableRng, TryRng};

use super::*;
use crate::mix::plan::{Demand, Placements};
use crate::mix::topology::Topology;

/// What does not end within so many draws never ends.
const MANY: usize = 1_000_000;

/// Counts what is drawn. So it does not take a clock to tell whether something ends soon.
struct Counted {
    rng: StdRng,
    drawn: usize,
    most: usize,
}

impl Counted {
    fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), drawn: 0, most: MANY }
    }

    /// From now on, no more than `most` is to be drawn.
    fn at_most(&mut self, most: usize) -> &mut Self {
        (self.drawn, self.most) = (0, most);
        self
    }

    fn count(&mut self) {
        self.drawn += 1;
        assert!(self.drawn <= self.most, "this goes on and on: more than {} draws", self.most);
    }
}

impl TryRng for Counted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.count();
        self.rng.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.count();
        self.rng.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.count();
        self.rng.try_fill_bytes(bytes)
    }
}

/// Circuits as a search deals them out, and their groups.
fn dealt(ranks: u16, hops: u8, rng: &mut impl Rng) -> (Vec<Circuit>, Vec<Range<usize>>) {
    let alone: Vec<u32> = (0..u32::from(ranks)).collect();
    let demand = Demand::draw(&Placements::of(3, &alone, rng).draw(rng), Topology::all(ranks), rng);
    let mut spare_to: Vec<Rank> = Rank::all(ranks).collect();
    spare_to.shuffle(rng);
    let (mut circuits, mut groups): (Vec<Circuit>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    let mut deal = |direction| {
        let begin = circuits.len();
        for source in Rank::all(ranks) {
            let start = circuits.len();
            let destination = demand.destination(source, direction).unwrap_or(spare_to[source.index()]);
            let mut arrives = demand.arrives(destination, direction);
            arrives.shuffle(rng);
            for (part, (first, last)) in (0..).zip(demand.leaves(source, direction).into_iter().zip(arrives)) {
                let relays = if hops == 3 { vec![first, last] } else { vec![first, Rank::OWNER, last] };
                circuits.push(Circuit { source, direction, part, relays, destination });
            }
            if direction != Direction::Spare {
                groups.push(start..circuits.len());
            }
        }
        if direction == Direction::Spare {
            groups.push(begin..circuits.len());
        }
    };
    deal(Direction::Forward);
    deal(Direction::Backward);
    if demand.topology().has_spare() {
        deal(Direction::Spare);
    }
    (circuits, groups)
}

/// Asserts that of `before` only last relays have changed places within `groups`, with the destinations of spares, and middle ones.
fn assert_same_ends(before: &[Circuit], after: &[Circuit], groups: &[Range<usize>]) {
    let begins = |of: &Circuit| (of.source, of.direction, of.part, of.relays.len(), of.relays[0]);
    assert!(before.iter().map(begins).eq(after.iter().map(begins)));
    let ends = |circuits: &[Circuit]| {
        let mut ends: Vec<[Rank; 2]> =
            circuits.iter().map(|circuit| [circuit.relays[circuit.relays.len() - 1], circuit.destination]).collect();
        ends.sort_unstable();
        ends
    };
    for group in groups {
        assert_eq!(ends(&before[group.clone()]), ends(&after[group.clone()]));
    }
}

/// Asserts that no circuit meets a rank twice, and that no pair of relays carries two in a phase.
fn assert_mended(circuits: &[Circuit]) {
    for circuit in circuits {
        let mut path: Vec<Rank> = circuit.path().collect();
        if circuit.direction != Direction::Spare && circuit.source == circuit.destination {
            path.pop();
        }
        let length = path.len();
        path.sort_unstable();
        path.dedup();
        assert_eq!(path.len(), length, "{circuit:?}");
    }
    for at in 1..circuits[0].relays.len() {
        let mut pairs: Vec<&[Rank]> = circuits.iter().map(|circuit| &circuit.relays[at - 1..at + 1]).collect();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), circuits.len());
    }
}

/// How many of `deals` deals are mended, and how much is drawn for each circuit. It is never more than `most`. All promises are kept
/// in any case.
fn mended(ranks: u16, hops: u8, deals: usize, most: usize) -> (usize, f64) {
    let mut rng = Counted::new(u64::from(ranks) + 1000 * u64::from(hops));
    let (mut found, mut drawn, mut among) = (0, 0, 0);
    for _ in 0..deals {
        let (before, groups) = dealt(ranks, hops, rng.at_most(MANY));
        let mut circuits = before.clone();
        if mend(&mut circuits, &groups, ranks, rng.at_most(most * before.len())) {
            found += 1;
            assert_mended(&circuits);
        } else {
            let middles = |circuits: &[Circuit]| circuits.iter().map(|circuit| circuit.relays[1]).collect::<Vec<_>>();
            assert!(hops == 3 || middles(&circuits) == middles(&before));
        }
        assert_same_ends(&before, &circuits, &groups);
        drawn += rng.drawn;
        among += circuits.len();
    }
    (found, drawn as f64 / among as f64)
}

/// Else a search would begin, which takes as long for each circuit as mending does for all.
#[test]
fn among_many_ranks_mending_alone_finds_circuits_soon() {
    for (ranks, hops, deals, most) in [
        (16, 3, 100, 40.0),
        (17, 3, 100, 40.0),
        (24, 3, 40, 20.0),
        (33, 3, 20, 15.0),
        (48, 3, 8, 15.0),
        (64, 3, 4, 15.0),
        (16, 4, 100, 15.0),
        (17, 4, 100, 12.0),
        (24, 4, 40, 7.0),
        (33, 4, 20, 5.0),
        (48, 4, 8, 5.0),
        (64, 4, 4, 5.0),
    ] {
        let (found, drawn) = mended(ranks, hops, deals, 1000);
        assert!(10 * found >= 9 * deals, "N = {ranks}, {hops} hops: {found} of {deals}");
        assert!(drawn < most, "N = {ranks}, {hops} hops: {drawn} draws for each circuit");
    }
}

/// Among few ranks there often are none: of 40 deals, no fewer and no more than so many are mended.
#[test]
fn mending_gives_up_where_there_are_no_circuits() {
    for (ranks, hops, least, most) in
        [(6, 3, 0, 10), (8, 3, 0, 15), (10, 3, 2, 30), (12, 3, 10, 40), (7, 4, 0, 15), (8, 4, 15, 38), (9, 4, 36, 40)]
    {
        let (found, _) = mended(ranks, hops, 40, 100 * STEPS);
        assert!((least..=most).contains(&found), "N = {ranks}, {hops} hops: {found} of 40");
    }
}

/// Asserts that all lists of `pairs` tell the same, and that circuits are as straight as they have to be.
fn assert_books_of(pairs: &Pairs) {
    let holders = pairs.holder.iter().filter(|holder| **holder != NONE).count();
    assert_eq!(holders, pairs.strays.iter().filter(|stray| !**stray).count());
    for (at, circuit) in pairs.circuits.iter().enumerate() {
        let pair = [circuit.relays[0], circuit.relays[1]];
        assert_eq!(pairs.pair[at], pair);
        let holds = pairs.holder[pair[0].index() * pairs.ranks + pair[1].index()] == at as u32;
        assert_ne!(pairs.strays[at], holds, "{at}");
        assert!(holds || pairs.astray.contains(&(at as u32)), "{at}");
        assert!(pairs.groups[pairs.group[at] as usize].contains(&at));
        assert!(is_straight(circuit) || pair[0] == pair[1], "{circuit:?}");
    }
    for first in Rank::all(pairs.ranks as u16) {
        for last in Rank::all(pairs.ranks as u16) {
            let holder = pairs.holder[first.index() * pairs.ranks + last.index()];
            let free = first != last && holder == NONE;
            assert_eq!(pairs.free_last[first.index()].contains(last), free);
            assert_eq!(pairs.free_first[last.index()].contains(first), free);
        }
    }
}

#[test]
fn pairs_keep_their_books() {
    let mut rng = Counted::new(1);
    for ranks in [6, 7, 8, 9, 10, 12] {
        for _ in 0..4 {
            let (before, groups) = dealt(ranks, 3, &mut rng);
            let mut circuits = before.clone();
            if !untangle(&mut circuits, &groups, rng.at_most(MANY)) {
                continue;
            }
            let mut pairs = Pairs::of(&mut circuits, &groups, ranks, &mut rng);
            assert_books_of(&pairs);
            for _ in 0..400 {
                let Some(circuit) = pairs.astray.pop() else { break };
                if std::mem::take(&mut pairs.strays[circuit as usize]) {
                    pairs.step(circuit as usize, &mut rng);
                }
                pairs.astray.shuffle(&mut rng);
                assert_books_of(&pairs);
            }
            assert_same_ends(&before, &circuits, &groups);
        }
    }
}

/// Asserts that all lists of `middles` tell the same. Returns by circuit its middle relay.
fn assert_books_of_middles(middles: &Middles) -> Vec<Option<Rank>> {
    let mut of = vec![None; middles.path.len()];
    for end in [0, 1] {
        for at in Rank::all(middles.ranks as u16) {
            for middle in Rank::all(middles.ranks as u16) {
                let holder = middles.holder[end][at.index() * middles.ranks + middle.index()];
                assert_eq!(middles.free[end][at.index()].contains(middle), holder == NONE);
                if holder != NONE {
                    let path = middles.path[holder as usize];
                    assert!(path[end] == at && !path.contains(&middle), "{path:?} {middle}");
                    let before = of[holder as usize].replace(middle);
                    assert_eq!(before, if end == 0 { None } else { Some(middle) });
                }
            }
        }
    }
    of
}

#[test]
fn middle_relays_keep_their_books() {
    let mut rng = Counted::new(2);
    for ranks in [7, 8, 9, 12, 16] {
        let (mut circuits, groups) = dealt(ranks, 4, &mut rng);
        assert!((0..20).any(|_| untangle(&mut circuits, &groups, rng.at_most(MANY))));
        let mut middles = Middles::of(&mut circuits, ranks);
        let mut astray: Vec<usize> = (0..middles.circuits.len()).collect();
        let (mut made, mut refused) = (0, 0);
        for _ in 0..400 {
            let Some(circuit) = astray.pop() else { break };
            let strays = astray.len();
            middles.insert(circuit, &mut astray, &mut rng);
            assert!(astray.len() <= strays + 2);
            let of = assert_books_of_middles(&middles);
            assert!(of[circuit].is_some());
            assert!(of.iter().enumerate().all(|(at, middle)| middle.is_none() == astray.contains(&at)));
            // Room that is made takes a middle relay from nobody.
            let end = rng.random_range(0..2);
            let [at, wanted] = [(); 2].map(|()| Rank(rng.random_range(0..ranks)));
            if at == wanted || middles.free[end][at.index()].contains(wanted) {
                continue;
            }
            if middles.set_free(end, at, wanted, &mut rng) {
                made += 1;
                assert!(middles.free[end][at.index()].contains(wanted));
                let now = assert_books_of_middles(&middles);
                assert!(of.iter().zip(&now).all(|(before, now)| before.is_some() == now.is_some()) && of != now);
            } else {
                refused += 1;
                assert_eq!(assert_books_of_middles(&middles), of);
            }
        }
        assert!(made > 9 && refused > 9, "N = {ranks}: {made} made, {refused} refused");
    }
}

fn circuit(direction: Direction, source: u16, relays: &[u16], destination: u16) -> Circuit {
    let relays = relays.iter().copied().map(Rank).collect();
    Circuit { source: Rank(source), direction, part: 0, relays, destination: Rank(destination) }
}

#[test]
fn straight_circuits_meet_no_rank_twice_at_their_ends() {
    use Direction::{Backward, Forward, Spare};
    for direction in [Forward, Backward, Spare] {
        assert!(is_straight(&circuit(direction, 1, &[2, 3], 4)));
        // Middle relays are not looked at.
        assert!(is_straight(&circuit(direction, 1, &[2, 2, 3], 4)));
        for (source, relays, destination) in
            [(1, [2, 2], 4), (1, [1, 3], 4), (1, [4, 3], 4), (1, [2, 1], 4), (1, [2, 4], 4), (1, [1, 1], 1)]
        {
            assert!(
                !is_straight(&circuit(direction, source, &relays, destination)),
                "{source} {relays:?} {destination}"
            );
        }
        assert_eq!(is_straight(&circuit(direction, 1, &[2, 3], 1)), direction != Spare);
    }
}

#[test]
fn last_relays_change_places_until_all_circuits_are_straight() {
    let mut rng = Counted::new(3);
    let mut failed = 0;
    for _ in 0..200 {
        for ranks in [6, 8, 12, 16] {
            let mut ends: Vec<[u16; 2]> = (0..ranks).map(|rank| [rank, (rank + 1) % ranks]).collect();
            ends.shuffle(&mut rng);
            let before: Vec<Circuit> = (0..ranks)
                .zip(&ends)
                .map(|(source, [last, to])| circuit(Direction::Spare, source, &[(source + 2) % ranks, *last], *to))
                .collect();
            let (mut circuits, groups) = (before.clone(), [0..3, 3..usize::from(ranks)]);
            let ended = untangle(&mut circuits, &groups, rng.at_most(101 * usize::from(ranks)));
            assert_same_ends(&before, &circuits, &groups);
            assert!(!ended || circuits.iter().all(is_straight), "{circuits:?}");
            failed += u32::from(!ended);
        }
    }
    assert!((100..700).contains(&failed), "{failed} of 800");
    // One alone has nobody to change with.
    let (mut alone, group) = ([circuit(Direction::Forward, 1, &[2, 2], 3)], 0..1);
    let group = std::slice::from_ref(&group);
    assert!(!untangle(&mut alone, group, rng.at_most(CHANGES)));
    alone[0].relays[1] = Rank(4);
    assert!(untangle(&mut alone, group, rng.at_most(0)));
}

#[test]
fn only_three_and_four_hops_are_mended() {
    let mut rng = Counted::new(4);
    assert!(!mend(&mut [], &[], 8, &mut rng));
    for relays in [&[2][..], &[2, 3, 4, 5]] {
        let mut circuits = [circuit(Direction::Forward, 1, relays, 6)];
        assert!(!mend(&mut circuits, &[], 8, &mut rng));
    }
}

#[test]
fn any_rank_of_a_set_is_as_likely() {
    let mut rng = Counted::new(5);
    assert_eq!(any(RankSet::EMPTY, &mut rng), None);
    let set: RankSet = [3, 64, 200].into_iter().map(Rank).collect();
    let drawn: Vec<Rank> = (0..300).map(|_| any(set, &mut rng).unwrap()).collect();
    for rank in set.iter() {
        let times = drawn.iter().filter(|drawn| **drawn == rank).count();
        assert!((60..140).contains(&times), "{rank}: {times}");
    }
}
