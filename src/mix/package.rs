//! One rank's part of the plan: its own role and nothing else (docs/PROTOCOL.md, 5).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::geometry::Geometry;
use super::plan::{Direction, Plan};
use super::{BACKWARD, FORWARD, SPARE};
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::{Phase, Rank, Term};

/// What a rank is told at the start of a term, sealed to it (docs/PROTOCOL.md, 5.3).
#[derive(Serialize, Deserialize)]
pub struct Package {
    /// How the rank's messages travel.
    pub route: Route,
    /// What the rank does: an encoding that the mix does not read, with zeros behind it. In the first term all ranks
    /// get equally many bytes of it. Later it is empty.
    #[serde(serialize_with = "crate::secret_bytes::write", deserialize_with = "crate::secret_bytes::read")]
    pub role: Zeroizing<Vec<u8>>,
    /// The key that proves to the owner that a result is from this rank. It is the same in all terms.
    pub result: Key,
    /// The public key that results are sealed to. It is the same in all terms.
    pub owner: Vec<u8>,
}

/// How a rank's messages travel (docs/PROTOCOL.md, 5.4).
#[derive(Serialize, Deserialize)]
pub enum Route {
    /// They travel through the mix, in the profile `mixed`.
    Mixed(MixedRoute),
    /// They go straight to the neighbours, in the profiles `bare` and `sealed`.
    Direct(DirectRoute),
}

/// A rank's way through the mix. Lanes are numbered by peer, in ascending order, with this rank left out.
#[derive(Serialize, Deserialize)]
pub struct MixedRoute {
    /// The secret from which the keys of its incoming lanes and links are derived (docs/PROTOCOL.md, 6.2 and 6.10).
    pub secret: Key,
    /// By lane: the key of the link to that peer, or `None` if the two have no link. Over a link, what they send each
    /// other from the second phase on goes under a keystream.
    pub links: Vec<Option<Key>>,
    /// By lane: the circuit that leaves over it in the first phase.
    pub circuits: Vec<OwnCircuit>,
    /// By phase but the last, then by incoming lane: the rank to which its cells are passed on.
    pub next: Vec<Vec<Rank>>,
    /// By lane: the number of the message that arrives over it in the last phase, and which part of it.
    pub arrivals: Vec<(u8, u16)>,
}

/// A circuit of which this rank is the source.
#[derive(Serialize, Deserialize)]
pub struct OwnCircuit {
    /// The number of the message that it carries.
    pub message: u8,
    /// Which part of the message it carries, of 0..k. 0 for a spare.
    pub part: u16,
    /// The keys of the circuit's hops, the first hop's first.
    pub layers: Vec<Key>,
}

/// A rank's links to its neighbours, where messages go straight to them.
#[derive(Serialize, Deserialize)]
pub struct DirectRoute {
    /// The links over which it sends.
    pub outgoing: Vec<Link>,
    /// The links over which it receives.
    pub incoming: Vec<Link>,
}

/// A link to a neighbour, in one direction.
#[derive(Serialize, Deserialize)]
pub struct Link {
    /// The neighbour at the other end.
    pub peer: Rank,
    /// The number of the message that travels over it. [`SPARE`] if only the owner's word does.
    pub message: u8,
    /// The key that seals what goes over it, in the profile `sealed`.
    pub key: Key,
}

impl Route {
    /// Whether `rank` of `ranks` ranks can take this route. Its lists are as long as the geometry has them, and what
    /// they name is there, once (docs/PROTOCOL.md, 5.4). What uses the route later indexes with these numbers, and does
    /// not check them again.
    pub fn fits(&self, geometry: &Geometry, rank: Rank, ranks: u16) -> bool {
        match self {
            Route::Mixed(route) => route.fits(geometry, rank),
            Route::Direct(DirectRoute { outgoing, incoming }) => [outgoing, incoming].into_iter().all(|links| {
                let lanes: BTreeSet<(Rank, u8)> = links.iter().map(|link| (link.peer, link.message)).collect();
                let there =
                    |&(peer, message): &(Rank, u8)| peer.0 < ranks && peer != rank && usize::from(message) <= SPARE;
                lanes.len() == links.len() && lanes.iter().all(there)
            }),
        }
    }
}

impl MixedRoute {
    /// Does what [`Route::fits`] does, for a route through the mix.
    fn fits(&self, geometry: &Geometry, rank: Rank) -> bool {
        let hops = usize::from(geometry.hops);
        // The circuits, and the arrivals, are each part of both messages once, and with even N a spare.
        let once = |parts: Vec<(u8, u16)>| sorted(parts) == parts_of_a_rank(geometry);
        // Each list of `next` names each other rank once.
        let passed_on = |next: &Vec<Rank>| sorted(next.clone()).into_iter().eq(geometry.topology().peers(rank));
        self.links.len() == geometry.lanes()
            && once(self.circuits.iter().map(|own| (own.message, own.part)).collect())
            && self.circuits.iter().all(|own| own.layers.len() == hops)
            && self.next.len() + 1 == hops
            && self.next.iter().all(passed_on)
            && once(self.arrivals.clone())
    }
}

/// What a rank sends in a slot, and what it receives: the numbers and parts of both messages, and with even N of the
/// spare.
fn parts_of_a_rank(geometry: &Geometry) -> Vec<(u8, u16)> {
    let circuits = geometry.circuits() as u16;
    let parts =
        [FORWARD, BACKWARD].into_iter().flat_map(|message| (0..circuits).map(move |part| (message as u8, part)));
    parts.chain([(SPARE as u8, 0)]).take(geometry.lanes()).collect()
}

/// The values in ascending order.
fn sorted<V: Ord>(mut values: Vec<V>) -> Vec<V> {
    values.sort_unstable();
    values
}

/// The secrets of a term, on the owner: one for each rank, in their order (docs/PROTOCOL.md, 6.1).
pub struct TermSecrets(Vec<Key>);

impl TermSecrets {
    /// Draws one secret for each of `ranks` ranks.
    ///
    /// # Errors
    /// An error if the operating system has no randomness to give.
    pub fn draw(ranks: u16) -> Result<Self, rand::rngs::SysError> {
        Ok(Self((0..ranks).map(|_| Key::random()).collect::<Result<_, _>>()?))
    }
}

/// The key of the lane from `from` to `rank` in `phase`, derived from `rank`'s secret (docs/PROTOCOL.md, 6.2). `run` is
/// the run id.
pub fn hop_key(secret: &Key, run: &[u8; 32], term: Term, rank: Rank, phase: Phase, from: Rank) -> Key {
    derived(secret, labels::HOP, run, term, rank, phase, from)
}

/// The key of the link from `from` to `rank`, derived from `rank`'s secret (docs/PROTOCOL.md, 6.10). The rank that
/// sends over the link gets it in its package. Nobody else has it but the owner.
pub fn link_key(secret: &Key, run: &[u8; 32], term: Term, rank: Rank, from: Rank) -> Key {
    derived(secret, labels::LINK, run, term, rank, Phase(0), from)
}

/// The key of the keystreams over a link in `phase`, derived from the link's key (docs/PROTOCOL.md, 6.10).
pub fn stream_key(link: &Key, phase: Phase) -> Key {
    link.derive(&[labels::STREAM, &[phase.0]].concat())
}

/// Derives a key from a rank's secret: the label, the run id, the term, the receiver, the phase and the sender are its
/// info (docs/PROTOCOL.md, 6.2).
fn derived(secret: &Key, label: &[u8], run: &[u8; 32], term: Term, rank: Rank, phase: Phase, from: Rank) -> Key {
    let mut context = Zeroizing::new(Vec::with_capacity(48));
    context.extend_from_slice(label);
    context.extend_from_slice(run);
    context.extend_from_slice(&term.0.to_le_bytes());
    context.extend_from_slice(&rank.0.to_le_bytes());
    context.push(phase.0);
    context.extend_from_slice(&from.0.to_le_bytes());
    secret.derive(&context)
}

/// The number of the message that goes in `direction`.
fn message(direction: Direction) -> u8 {
    let number = match direction {
        Direction::Forward => FORWARD,
        Direction::Backward => BACKWARD,
        Direction::Spare => SPARE,
    };
    number as u8
}

/// The routes of all ranks through the mix, in the order of ranks, with the keys that follow from a term's `secrets`.
/// `run` is the run id. `linked` says whether there is a keystream over what the first of two ranks sends to the
/// second.
pub fn mixed_routes(
    plan: &Plan,
    secrets: TermSecrets,
    run: &[u8; 32],
    term: Term,
    linked: impl Fn(Rank, Rank) -> bool,
) -> Vec<Route> {
    let (n, hops, topology) = (plan.ranks, usize::from(plan.hops), plan.topology());
    let mut circuits: Vec<Vec<Option<OwnCircuit>>> =
        (0..n).map(|_| (0..topology.lanes()).map(|_| None).collect()).collect();
    let mut next = vec![vec![vec![Rank::OWNER; topology.lanes()]; hops - 1]; usize::from(n)];
    let mut arrivals = vec![vec![(0, 0); topology.lanes()]; usize::from(n)];
    // 6.2: the source of a circuit gets the keys of all its hops. 5.4: each relay gets the rank to which it passes the
    // cells on, and the destination gets what arrives.
    for circuit in &plan.circuits {
        let path: Vec<Rank> = circuit.path().collect();
        let key = |(hop, pair): (usize, &[Rank])| {
            hop_key(&secrets.0[pair[1].index()], run, term, pair[1], Phase(hop as u8 + 1), pair[0])
        };
        let own = OwnCircuit {
            message: message(circuit.direction),
            part: circuit.part,
            layers: path.windows(2).enumerate().map(key).collect(),
        };
        circuits[path[0].index()][topology.lane(path[0], path[1])] = Some(own);
        for (hop, three) in path.windows(3).enumerate() {
            next[three[1].index()][hop][topology.lane(three[1], three[0])] = three[2];
        }
        let (last, destination) = (path[hops - 1], path[hops]);
        arrivals[destination.index()][topology.lane(destination, last)] = (message(circuit.direction), circuit.part);
    }
    // 6.10: the key of a link is derived from its receiver's secret, and its sender finds it in its package.
    let link = |from: Rank, to: Rank| linked(from, to).then(|| link_key(&secrets.0[to.index()], run, term, to, from));
    let links: Vec<Vec<_>> =
        Rank::all(n).map(|from| topology.peers(from).map(|to| link(from, to)).collect()).collect();
    let seats = secrets.0.into_iter().zip(links).zip(circuits).zip(next).zip(arrivals);
    seats
        .map(|((((secret, links), circuits), next), arrivals)| {
            let circuits = circuits.into_iter().flatten().collect();
            Route::Mixed(MixedRoute { secret, links, circuits, next, arrivals })
        })
        .collect()
}

/// The routes of all ranks straight to their neighbours (docs/PROTOCOL.md, 15.1). `hosts[i]` hosts stage i. A rank that
/// hosts none has one link, over which it hears the owner's word.
///
/// # Errors
/// An error if the operating system has no randomness to give.
pub fn direct_routes(hosts: &[Rank], ranks: u16) -> Result<Vec<Route>, rand::rngs::SysError> {
    let mut routes: Vec<DirectRoute> =
        (0..ranks).map(|_| DirectRoute { outgoing: Vec::new(), incoming: Vec::new() }).collect();
    let mut link = |from: Rank, to: Rank, message: usize| {
        let key = Key::random()?;
        let copy = key.twin();
        routes[from.index()].outgoing.push(Link { peer: to, message: message as u8, key });
        routes[to.index()].incoming.push(Link { peer: from, message: message as u8, key: copy });
        Ok(())
    };
    // The ring: owner, hosts of the stages, owner. Between two that follow each other there is one link forward and one
    // backward.
    let ring: Vec<Rank> = [Rank::OWNER].into_iter().chain(hosts.iter().copied()).chain([Rank::OWNER]).collect();
    for pair in ring.windows(2) {
        link(pair[0], pair[1], FORWARD)?;
        link(pair[1], pair[0], BACKWARD)?;
    }
    for rank in Rank::all(ranks).skip(1).filter(|rank| !hosts.contains(rank)) {
        link(Rank::OWNER, rank, SPARE)?;
    }
    Ok(routes.into_iter().map(Route::Direct).collect())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn routes(plan: &Plan, term: u32) -> Vec<MixedRoute> {
        let secrets = TermSecrets::draw(plan.ranks).unwrap();
        let mixed = |route| match route {
            Route::Mixed(route) => route,
            Route::Direct(_) => panic!("a plan gives routes through the mix"),
        };
        mixed_routes(plan, secrets, &[1; 32], Term(term), |_, _| true).into_iter().map(mixed).collect()
    }

    /// A new term shows a rank nothing new: the same circuits go over the same lanes, under other keys.
    #[test]
    fn terms_change_keys_alone() {
        let hosts: Vec<u32> = (0..7).collect();
        let plan = Plan::draw(3, 3, &hosts, &mut StdRng::seed_from_u64(1)).unwrap();
        for (one, other) in routes(&plan, 0).iter().zip(&routes(&plan, 1)) {
            assert_eq!((&one.next, &one.arrivals), (&other.next, &other.arrivals));
            assert_ne!(one.secret.bytes(), other.secret.bytes());
            for (a, b) in one.circuits.iter().zip(&other.circuits) {
                assert_eq!((a.message, a.part), (b.message, b.part));
                assert!(a.layers.iter().zip(&b.layers).all(|(a, b)| a.bytes() != b.bytes()));
            }
        }
    }

    /// A route that is drawn fits its own rank and no other. One that lacks or doubles something fits nobody.
    #[test]
    fn routes_that_name_what_is_not_there_do_not_fit() {
        for n in [7, 8] {
            let hosts: Vec<u32> = (0..n).collect();
            let plan = Plan::draw(3, 3, &hosts, &mut StdRng::seed_from_u64(3)).unwrap();
            let geometry = Geometry::new(n as u16, 3, 1000, 1 << 16).unwrap();
            let breaks: [fn(&mut MixedRoute); 10] = [
                |route| route.links.truncate(1),
                |route| route.circuits.truncate(1),
                |route| route.circuits[0].layers.clear(),
                |route| route.circuits[0].message = 3,
                |route| route.circuits[0].part = 100,
                |route| route.next.truncate(1),
                |route| route.next[0].truncate(1),
                |route| route.next[1][0] = Rank(8),
                |route| route.arrivals[0] = route.arrivals[1],
                |route| route.arrivals.truncate(0),
            ];
            for (i, route) in routes(&plan, 0).into_iter().enumerate() {
                let rank = Rank(i as u16);
                assert!(route.fits(&geometry, rank) && !route.fits(&geometry, Rank((i as u16 + 1) % n as u16)));
            }
            for broken in breaks {
                let mut route = routes(&plan, 0).remove(2);
                broken(&mut route);
                assert!(!route.fits(&geometry, Rank(2)));
            }
        }
        let geometry = Geometry::new(3, 3, 1000, 1 << 16).unwrap();
        let direct = |rank: usize| direct_routes(&[Rank(1)], 2).unwrap().remove(rank);
        assert!((0..2).all(|rank| direct(rank).fits(&geometry, Rank(rank as u16), 2)));
        assert!(!direct(0).fits(&geometry, Rank(1), 2) && !direct(0).fits(&geometry, Rank(0), 1));
    }

    /// Keys are derived from the bytes of docs/PROTOCOL.md, 6.2 and 6.10. No run could miss the term or the run in
    /// them, since secrets are drawn afresh for each: they are a second line.
    #[test]
    fn keys_are_derived_as_the_protocol_says() {
        let (secret, run) = (Key::from_bytes([5; 32]), std::array::from_fn(|at| at as u8));
        let info = |label: &[u8], phase: u8| [label, &run, &[4, 3, 2, 1], &[6, 0], &[phase], &[0x21, 0]].concat();
        let hop = hop_key(&secret, &run, Term(0x0102_0304), Rank(6), Phase(2), Rank(0x21));
        assert_eq!(hop.bytes(), secret.derive(&info(b"hop", 2)).bytes());
        let link = link_key(&secret, &run, Term(0x0102_0304), Rank(6), Rank(0x21));
        assert_eq!(link.bytes(), secret.derive(&info(b"link", 0)).bytes());
        assert_eq!(stream_key(&link, Phase(3)).bytes(), link.derive(b"stream\x03").bytes());
    }

    /// What the source puts on is what each hop takes off, and no two lanes share a key.
    #[test]
    fn source_and_hops_derive_the_same_keys() {
        let hosts: Vec<u32> = (0..8).collect();
        let plan = Plan::draw(3, 3, &hosts, &mut StdRng::seed_from_u64(2)).unwrap();
        let routes = routes(&plan, 4);
        let mut seen = std::collections::HashSet::new();
        for circuit in &plan.circuits {
            let path: Vec<Rank> = circuit.path().collect();
            let own = &routes[path[0].index()].circuits[plan.topology().lane(path[0], path[1])];
            for (hop, (pair, key)) in path.windows(2).zip(&own.layers).enumerate() {
                let secret = &routes[pair[1].index()].secret;
                let derived = hop_key(secret, &[1; 32], Term(4), pair[1], Phase(hop as u8 + 1), pair[0]);
                assert_eq!(derived.bytes(), key.bytes());
                assert!(seen.insert(*key.bytes()));
            }
        }
        assert_eq!(seen.len(), 8 * 7 * 3);
    }
}
