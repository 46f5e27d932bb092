//! All ranks of a mix over the in-memory transport, each with its mixer on a thread of its own: what `run/seat.rs` sets
//! up, without the opening that comes before it.

use std::convert::Infallible;

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::crypto::aead::Library;
use mixnn::crypto::sealer::CpuSealer;
use mixnn::ids::Term;
use mixnn::mix::clock::Clock;
use mixnn::mix::courier::Post;
use mixnn::mix::geometry::Geometry;
use mixnn::mix::package::{MixedRoute, Route, TermSecrets, mixed_routes};
use mixnn::mix::plan::Plan;
use mixnn::mix::slot::Mixer;
use mixnn::transport::{Exchange, local};

/// The memory of messages: the processor's.
pub(crate) type Bytes = <Cpu as Memory>::Bytes;
/// What seals cells in a run.
pub(crate) type CellSealer = CpuSealer<Bytes>;

const RUN: [u8; 32] = [7; 32];
const TERM: Term = Term(0);
/// What all cells are bound to.
#[allow(dead_code, reason = "not every test opens cells itself")]
pub(crate) const DATA: &[u8] = b"test";

/// A rank, ready for its first slot.
pub(crate) struct Seat<T> {
    /// Its end of the transport, lanes laid.
    pub(crate) transport: T,
    /// Its keys and jobs.
    pub(crate) mixer: Mixer<CellSealer>,
    /// Its messages, all empty.
    pub(crate) post: Post<Bytes>,
}

/// A backend of one thread: work runs where it is called.
pub(crate) fn backend() -> Cpu {
    Cpu::new(1).unwrap()
}

/// A plan for `stages` stages among `ranks` ranks, each on a host of its own.
pub(crate) fn plan(stages: u16, ranks: u16, hops: u8) -> Plan {
    let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
    Plan::draw(stages, hops, &hosts, &mut rand::rng()).unwrap()
}

/// The routes of all ranks of `plan` under fresh keys, with a keystream over all links or over none.
pub(crate) fn routes(plan: &Plan, linked: bool) -> Vec<MixedRoute> {
    let routes = mixed_routes(plan, TermSecrets::draw(plan.ranks).unwrap(), &RUN, TERM, |_, _| linked);
    let mixed = |route| match route {
        Route::Mixed(route) => route,
        Route::Direct(_) => unreachable!("mixed_routes draws nothing else"),
    };
    routes.into_iter().map(mixed).collect()
}

/// Seats all ranks of `plan` under fresh keys and calls `rank` for each on its own thread; `wrap` gets each end of the
/// transport first. What the calls return, by rank.
#[allow(dead_code, reason = "not every test leaves the routes as they are")]
pub(crate) fn seated<T: Exchange + Send, R: Send>(
    plan: &Plan,
    geometry: Geometry,
    wrap: impl Fn(local::Local) -> T,
    rank: impl Fn(Seat<T>) -> R + Sync,
) -> Vec<R> {
    seated_on(routes(plan, true), geometry, wrap, rank)
}

/// As [`seated`], on these routes. Ranks beside each other seal with different libraries.
pub(crate) fn seated_on<T: Exchange + Send, R: Send>(
    routes: Vec<MixedRoute>,
    geometry: Geometry,
    wrap: impl Fn(local::Local) -> T,
    rank: impl Fn(Seat<T>) -> R + Sync,
) -> Vec<R> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = local::connect(routes.len() as u16)
            .into_iter()
            .map(wrap)
            .zip(routes)
            .map(|(mut transport, route)| {
                let rank = &rank;
                scope.spawn(move || {
                    let library = Library::ALL[transport.rank().index() % Library::ALL.len()];
                    let sealer = CellSealer::new(library, DATA.to_vec());
                    let mixer =
                        Mixer::new(&mut transport, sealer, geometry, route, &RUN, TERM, Clock::new(None, false))
                            .unwrap();
                    let message = || Ok::<_, Infallible>(backend().bytes(geometry.message()).unwrap());
                    let post = Post::new(message).unwrap();
                    rank(Seat { transport, mixer, post })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
