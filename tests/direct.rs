//! The profiles `bare` and `sealed` over the in-memory transport: messages reach the neighbours and nobody else, the owner's word goes
//! round, and what is not authentic is noticed.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::time::Duration;

use mixnn::crypto::aead::Library;
use mixnn::crypto::key::Key;
use mixnn::crypto::sealer::CpuSealer;
use mixnn::ids::{Rank, Slot};
use mixnn::mix::beat::{Order, StageData};
use mixnn::mix::courier::{Courier, Post, Timing, Word};
use mixnn::mix::direct::Direct;
use mixnn::mix::geometry::Geometry;
use mixnn::mix::package::{DirectRoute, Route, direct_routes};
use mixnn::mix::{BACKWARD, FORWARD, MixError, SPARE};
use mixnn::transport::local::connect;
use mixnn::transport::{Letters, Member, Transport};

const RANKS: u16 = 6;
/// The owner and the hosts of four stages, in the order in which messages pass them. Rank 1 hosts none.
const RING: [u16; 5] = [0, 4, 2, 5, 3];
/// The slot in which the owner says that the term ends, and the last one.
const SAID: u64 = 1;
const SLOTS: u64 = 4;
const LAST: Slot = Slot(SLOTS - 1);

fn geometry() -> Geometry {
    // Several cells a message.
    Geometry::new(RANKS, 3, 3000, 512).unwrap()
}

/// What `rank` sends in `slot` as `message`: `length` bytes, none of them zero.
fn sent(rank: u16, slot: u64, message: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| 1 + ((at * 7 + usize::from(rank) * 31 + slot as usize * 59 + message * 101) % 251) as u8)
        .collect()
}

/// The rank that stands `steps` behind `rank` in the ring.
fn behind(rank: u16, steps: usize) -> u16 {
    let at = RING.iter().position(|other| *other == rank).unwrap();
    RING[(at + RING.len() - steps) % RING.len()]
}

/// How many links the owner's word takes to `rank`.
fn distance(rank: u16) -> u64 {
    RING.iter().position(|other| *other == rank).map_or(1, |at| at.min(RING.len() - at)) as u64
}

fn route(rank: u16, routes: &mut [Option<DirectRoute>]) -> DirectRoute {
    routes[usize::from(rank)].take().unwrap()
}

fn routes() -> Vec<Option<DirectRoute>> {
    let hosts: Vec<Rank> = RING[1..].iter().copied().map(Rank).collect();
    let direct = |route| match route {
        Route::Direct(route) => Some(route),
        Route::Mixed(_) => None,
    };
    direct_routes(&hosts, RANKS).unwrap().into_iter().map(direct).collect()
}

/// What a rank saw in each slot: what it heard, and its inbox, forward and backward. Then how many bytes it has sent.
type Saw = (Vec<(Order, [Vec<u8>; 2])>, u64);

/// Changes the route of a rank.
type Change = fn(u16, &mut DirectRoute);

/// Runs all ranks of a term whose end the owner says in slot [`SAID`]. `change` changes a rank's route before it is laid.
fn run(seals: bool, used: usize, change: Change) -> Vec<Result<Saw, MixError>> {
    let (geometry, mut routes) = (geometry(), routes());
    std::thread::scope(|scope| {
        let ranks: Vec<_> = connect(RANKS)
            .into_iter()
            .map(|mut end| {
                let rank = end.rank().0;
                // Where one rank panics, the others wait so long: far more than a busy machine takes.
                end.set_timeout(Duration::from_secs(20));
                let mut route = route(rank, &mut routes);
                change(rank, &mut route);
                scope.spawn(move || {
                    let sealer = CpuSealer::<Vec<u8>>::new(Library::Ring, b"test".to_vec());
                    let mut direct = Direct::new(&mut end, sealer, seals, geometry, &route).unwrap();
                    assert!(!direct.reports_faults());
                    let mut post = Post::new(|| Ok::<_, Infallible>(vec![0; geometry.message()])).unwrap();
                    let (mut saw, mut timing) = (Vec::new(), Timing::default());
                    for slot in 0..SLOTS {
                        if RING.contains(&rank) {
                            for message in [FORWARD, BACKWARD] {
                                post.outbox[message][..used].copy_from_slice(&sent(rank, slot, message, used));
                                post.used[message] = used;
                            }
                        }
                        let order = if slot < SAID {
                            Order::GoOn
                        } else {
                            Order::TermEnds { after: LAST, returns: StageData::State }
                        };
                        let order = if rank == 0 { order } else { Order::GoOn };
                        let word = Word { order, ..Word::WELL };
                        let heard = direct.slot(&mut end, Slot(slot), word, &mut post, &mut timing);
                        // Nobody is to wait for a rank that has gone.
                        let heard = heard.inspect_err(|_| end.abort(4))?;
                        assert_eq!((heard.fault, heard.intact), (None, true));
                        assert!(post.inbox[SPARE].iter().all(|byte| *byte == 0));
                        saw.push((heard.order, [FORWARD, BACKWARD].map(|message| post.inbox[message].clone())));
                    }
                    Ok((saw, timing.sent))
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Messages of `used` bytes go round, and each rank sends as many bytes as the protocol says (docs/PROTOCOL.md, 15).
fn goes_round(seals: bool, used: usize, block: u64, word: u64) {
    let length = geometry().message();
    for (rank, saw) in (0..RANKS).zip(run(seals, used, |_, _| {})) {
        let (saw, bytes) = saw.unwrap();
        for (slot, (order, inbox)) in (0..).zip(saw) {
            let knows = slot + 1 >= SAID + distance(rank).max(1);
            let due = if knows { Order::TermEnds { after: LAST, returns: StageData::State } } else { Order::GoOn };
            assert_eq!(order, due, "rank {rank}, slot {slot}");
            for (message, inbox) in [FORWARD, BACKWARD].into_iter().zip(inbox) {
                let mut due = vec![0; length];
                if RING.contains(&rank) {
                    let source = behind(rank, if message == FORWARD { 1 } else { RING.len() - 1 });
                    due[..used].copy_from_slice(&sent(source, slot, message, used));
                }
                assert!(inbox == due, "rank {rank}, slot {slot}, message {message}");
            }
        }
        // The owner has one link more, to the rank that hosts nothing and sends nothing.
        let due = match rank {
            0 => 2 * block + word,
            1 => 0,
            _ => 2 * block,
        };
        assert_eq!(bytes, SLOTS * due, "rank {rank}");
    }
}

#[test]
fn sealed_messages_go_round() {
    let geometry = geometry();
    assert!(geometry.cells > 1 && geometry.circuits() > 1);
    let cells = geometry.circuits() as u64 * u64::from(geometry.cells);
    let block = 32 + geometry.message() as u64 + 16 * cells;
    for used in [geometry.message(), 100, 0] {
        goes_round(true, used, block, 32);
    }
}

#[test]
fn bare_messages_go_round() {
    let length = geometry().message();
    // Of an empty message its header travels.
    for used in [length, 100, 64, 0] {
        goes_round(false, used, 16 + used.max(64) as u64, 16);
    }
}

/// A neighbour that has another key, for a message or for the owner's word.
#[test]
fn what_another_key_has_sealed_ends_the_slot() {
    let changes: [(Change, u16, u16); 2] =
        [(|rank, route| replace(route, (rank, 2), 4), 2, 4), (|rank, route| replace(route, (rank, 1), 0), 1, 0)];
    for (change, finder, sender) in changes {
        let found = run(true, 100, change).swap_remove(usize::from(finder));
        let Err(MixError::Unauthentic { slot: Slot(0), from, .. }) = found else {
            panic!("rank {finder} finds {found:?}")
        };
        assert_eq!(from, Rank(sender));
    }
}

/// Replaces the key of what comes from `from`, if `rank` is the rank that is meant.
fn replace(route: &mut DirectRoute, (rank, meant): (u16, u16), from: u16) {
    if rank == meant {
        route
            .incoming
            .iter_mut()
            .filter(|link| link.peer == Rank(from))
            .for_each(|link| link.key = Key::from_bytes([9; 32]));
    }
}
