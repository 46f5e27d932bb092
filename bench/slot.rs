//! What a mixed slot costs beside the work that it cannot do without.
//!
//! `mpirun -n 6 target/release/examples/slot [CELL_BYTES] [SLOTS] [ROUNDS]` alternates between slots of the mix and a plain
//! loop that seals, exchanges and peels the same cells over the same MPI, and prints the medians and their ratio; then slots with
//! a keystream over all links, and their ratio to those without. First every block is a message, then blocks stand in memory
//! that the ranks share.
#![allow(clippy::unwrap_used, missing_docs)]

mod say;

use std::time::{Duration, Instant};

use mixnn::crypto::aead::{Library, TAG};
use mixnn::crypto::key::Key;
use mixnn::crypto::sealer::CpuSealer;
use mixnn::ids::{Phase, Rank, Slot, Term};
use mixnn::mix::clock::Clock;
use mixnn::mix::courier::{Courier, Post, Timing, Word};
use mixnn::mix::geometry::Geometry;
use mixnn::mix::package::{Route, TermSecrets, mixed_routes};
use mixnn::mix::plan::Plan;
use mixnn::mix::slot::Mixer;
use mixnn::transport::mpi::Mpi;
use mixnn::transport::{Exchange, Lane, Member, Transport};
use say::say;

const HOPS: u8 = 3;
const RUN: [u8; 32] = [7; 32];
const ROUTE_BYTES: usize = 1 << 16;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let cell = numbers.first().copied().unwrap_or(16_384) as u32;
    let slots = numbers.get(1).copied().unwrap_or(300);
    let rounds = numbers.get(2).copied().unwrap_or(15);
    let mut transport = Mpi::start(None, Duration::from_secs(120)).unwrap();
    let payload = (cell - HOPS as u32 * TAG as u32) / 16 * 16;
    let geometry = Geometry { ranks: transport.ranks(), hops: HOPS, cells: 1, payload };
    let library = Library::fastest(payload as usize);

    if transport.rank() == Rank::OWNER {
        say(format!(
            "{} ranks, {HOPS} hops, one cell of {cell} bytes a lane, {rounds} rounds of {slots} slots, {}",
            transport.ranks(),
            library.name()
        ));
    }
    for windows in [false, true] {
        transport.share_memory(windows);
        let (mut ratios, mut prices) = (Vec::new(), Vec::new());
        let (mut mixed, mut plain, mut linked) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds + 1 {
            let ours = mix(&mut transport, library, geometry, slots, round as u32, false);
            let all = mix(&mut transport, library, geometry, slots, round as u32, true);
            let bare = loop_alone(&mut transport, library, geometry, slots);
            // The first round warms up.
            if round > 0 {
                mixed.push(ours);
                plain.push(bare);
                ratios.push(ours / bare);
                linked.push(all);
                prices.push(all / ours);
            }
        }
        if transport.rank() != Rank::OWNER {
            continue;
        }
        let show = |name: &str, unit: &str, values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[values.len() - 1]);
            say(format!("{name:<28} {:8.3} {unit:<3} ({low:.3} to {high:.3})", values[values.len() / 2]));
        };
        say(if windows { "shared memory" } else { "messages" });
        show("mixed slot", "us", &mut mixed);
        show("seal, exchange, peel alone", "us", &mut plain);
        show("ratio", "", &mut ratios);
        show("slot with all links", "us", &mut linked);
        show("ratio to mixed slot", "", &mut prices);
    }
}

/// Microseconds a slot of the mix, the owner's clock.
fn mix(transport: &mut Mpi, library: Library, geometry: Geometry, slots: u64, round: u32, linked: bool) -> f64 {
    let mut routes = Vec::new();
    if transport.rank() == Rank::OWNER {
        let hosts: Vec<u32> = (0..u32::from(geometry.ranks)).collect();
        let plan = Plan::draw(3, HOPS, &hosts, &mut rand::rng()).unwrap();
        let secrets = TermSecrets::draw(geometry.ranks).unwrap();
        for route in mixed_routes(&plan, secrets, &RUN, Term(round), |_, _| linked) {
            let mut bytes = postcard::to_allocvec(&route).unwrap();
            bytes.resize(ROUTE_BYTES, 0);
            routes.push(bytes);
        }
    }
    let bytes = transport.letters().scatter(&routes, ROUTE_BYTES).unwrap();
    let (route, _): (Route, _) = postcard::take_from_bytes(&bytes).unwrap();
    let Route::Mixed(route) = route else { unreachable!("mixed_routes draws nothing else") };
    let sealer = CpuSealer::<Vec<u8>>::new(library, b"bench".to_vec());
    let mut mixer =
        Mixer::new(transport, sealer, geometry, route, &RUN, Term(round), Clock::new(None, false)).unwrap();
    let mut post = Post::new(|| Ok::<_, std::convert::Infallible>(vec![0; geometry.message()])).unwrap();
    let mut timing = Timing::default();
    transport.letters().gather(&[0]).unwrap();
    let started = Instant::now();
    for slot in 0..slots {
        mixer.slot(transport, Slot(slot), Word::WELL, &mut post, &mut timing).unwrap();
    }
    per_slot(started.elapsed(), slots)
}

/// Microseconds to seal, exchange and peel the same bytes, with one key and no plan.
fn loop_alone(transport: &mut Mpi, library: Library, geometry: Geometry, slots: u64) -> f64 {
    let me = transport.rank();
    let lanes: Vec<Lane> = Rank::all(geometry.ranks)
        .filter(|peer| *peer != me)
        .map(|peer| Lane { peer, tag: 0, length: geometry.block(Phase(1)) })
        .collect();
    transport.lay(&lanes, &lanes, None).unwrap();
    let key = library.key(&Key::from_bytes([1; 32]));
    let payload = geometry.payload as usize;
    let message = vec![0_u8; payload];
    let mut inbox = vec![0_u8; payload];
    transport.letters().gather(&[0]).unwrap();
    let started = Instant::now();
    for slot in 0..slots {
        // The same nonce in every lane: nothing here is secret.
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&slot.to_le_bytes());
        for block in transport.blocks().0 {
            let block = block.as_mut();
            key.seal(&nonce, b"bench", &message, &mut block[..payload + TAG]);
            key.seal_in_place(&nonce, b"bench", &mut block[..payload + 2 * TAG]);
            key.seal_in_place(&nonce, b"bench", &mut block[..payload + 3 * TAG]);
        }
        for phase in Phase::all(HOPS) {
            let cell = geometry.cell(phase);
            let lengths = [cell; 64];
            transport.exchange(phase, &lengths[..lanes.len()], &lengths[..lanes.len()]).unwrap();
            let (outgoing, incoming) = transport.blocks();
            for (from, to) in incoming.iter().zip(outgoing) {
                let to = if phase.0 == HOPS { &mut inbox[..] } else { &mut to.as_mut()[..cell - TAG] };
                key.open(&nonce, b"bench", &from.as_ref()[..cell], to).unwrap();
            }
        }
    }
    per_slot(started.elapsed(), slots)
}

fn per_slot(time: Duration, slots: u64) -> f64 {
    time.as_secs_f64() * 1e6 / slots as f64
}
