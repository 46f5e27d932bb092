//! What a rank learns that also sees the blocks of all others, and one that spoils its own circuits to see who finds that.
#![allow(clippy::unwrap_used)]

mod seats;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use mixnn::crypto::aead::{Library, Nonce, TAG};
use mixnn::crypto::key::Key;
use mixnn::device_memory::DeviceLanes;
use mixnn::ids::{Phase, Rank, Slot};
use mixnn::mix::FORWARD;
use mixnn::mix::courier::{Courier, Heard, Timing, Word};
use mixnn::mix::geometry::Geometry;
use mixnn::mix::package::MixedRoute;
use mixnn::mix::plan::{Circuit, Direction, Plan};
use mixnn::transport::local::Local;
use mixnn::transport::{Backoff, Block, Exchange, Lane, Member, Membership, TransportError};

const RANKS: u16 = 7;
const HOPS: u8 = 3;

/// By (phase, sender, receiver): the cells of one slot, as they are on the wire.
type Seen = BTreeMap<(Phase, Rank, Rank), Vec<u8>>;

/// A rank's end, which shows all that leaves to someone who looks on.
struct Observed<'a> {
    inner: Local,
    geometry: Geometry,
    outgoing: Vec<Lane>,
    seen: &'a Mutex<Seen>,
}

impl Member for Observed<'_> {
    fn membership(&self) -> Membership {
        self.inner.membership()
    }

    fn timeout(&self) -> std::time::Duration {
        self.inner.timeout()
    }
}

impl Exchange for Observed<'_> {
    fn takes_device_memory(&self) -> bool {
        self.inner.takes_device_memory()
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        self.outgoing = outgoing.to_vec();
        self.inner.lay(outgoing, incoming, device)
    }

    fn lanes_on_device(&self) -> bool {
        self.inner.lanes_on_device()
    }

    fn leave_device(&mut self) {
        self.inner.leave_device();
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        self.inner.blocks()
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        let cells = self.geometry.cells_at(phase)..self.geometry.block(phase);
        let from = self.inner.rank();
        let mut seen = self.seen.lock().unwrap();
        for (block, lane) in self.inner.blocks().0.iter().zip(&self.outgoing) {
            seen.insert((phase, from, lane.peer), block[cells.clone()].to_vec());
        }
        drop(seen);
        self.inner.begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        self.inner.poll()
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<std::time::Duration> {
        self.inner.wait(backoff)
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.inner.missing()
    }
}

/// The keys of the layers of a rank's circuits, by first-phase lane.
fn layers(route: &MixedRoute) -> Vec<Vec<Key>> {
    route.circuits.iter().map(|circuit| circuit.layers.iter().map(Key::twin).collect()).collect()
}

/// Plays one slot, and then every rank in turn as one that sees all blocks: it opens its own onions layer by layer, as it has
/// their keys, and looks for what is inside among what relays send. Of all circuits, how many it follows for a hop or more.
fn followed(linked: bool) -> usize {
    let plan = seats::plan(3, RANKS, HOPS);
    let geometry = Geometry::new(RANKS, HOPS, 3000, 256).unwrap();
    let routes = seats::routes(&plan, linked);
    let keys: Vec<_> = routes.iter().map(layers).collect();
    let seen = Mutex::new(Seen::new());
    let wrap = |inner| Observed { inner, geometry, outgoing: Vec::new(), seen: &seen };
    seats::seated_on(routes, geometry, wrap, |seat| {
        let seats::Seat { mut transport, mut mixer, mut post } = seat;
        mixer.slot(&mut transport, Slot(0), Word::WELL, &mut post, &mut Timing::default()).unwrap();
    });
    // A few bytes are enough to know a cell by: where any eight of them stand in what relays send.
    let mut places: HashMap<[u8; 8], (Phase, Rank, Rank)> = HashMap::new();
    let seen = seen.into_inner().unwrap();
    for (place, block) in seen.iter().filter(|((phase, _, _), _)| *phase > Phase(1)) {
        places.extend(eights(block).map(|bytes| (bytes, *place)));
    }
    let follows = |circuit: &&Circuit| {
        let path: Vec<Rank> = circuit.path().collect();
        let keys = &keys[path[0].index()][plan.topology().lane(path[0], path[1])];
        let mut cell = seen[&(Phase(1), path[0], path[1])][..geometry.cell(Phase(1))].to_vec();
        let mut hops = 0;
        for phase in (2..=HOPS).map(Phase) {
            let mut inside = vec![0; cell.len() - TAG];
            let nonce: Nonce = [0; 12];
            Library::Rust.key(&keys[phase.index() - 2]).open(&nonce, seats::DATA, &cell, &mut inside).unwrap();
            let found: BTreeSet<_> = eights(&inside).filter_map(|bytes| places.get(&bytes)).collect();
            let due = (phase, path[phase.index() - 1], path[phase.index()]);
            assert!(found.iter().all(|place| **place == due), "{due:?} is taken for {found:?}");
            hops += found.len();
            cell = inside;
        }
        hops > 0
    };
    plan.circuits.iter().filter(follows).count()
}

/// All runs of eight bytes.
fn eights(bytes: &[u8]) -> impl Iterator<Item = [u8; 8]> {
    bytes.windows(8).filter_map(|window| window.try_into().ok())
}

/// A source knows which bits its relays send, but not which keystream goes over them.
#[test]
fn who_sees_all_blocks_finds_none_of_its_own_cells() {
    assert_eq!(followed(true), 0);
    // The control: without keystreams every circuit is followed to its end.
    assert_eq!(followed(false), usize::from(RANKS) * usize::from(RANKS - 1));
}

/// Who finds a bad cell when `spoiler` seals layer `layer` of all its forward circuits under keys that nobody has; and who has lost a
/// message of its own.
fn finders(plan: &Plan, spoiler: Rank, layer: usize) -> [BTreeSet<Rank>; 2] {
    let geometry = Geometry::new(RANKS, HOPS, 3000, 256).unwrap();
    let mut routes = seats::routes(plan, true);
    for circuit in &mut routes[spoiler.index()].circuits {
        if usize::from(circuit.message) == FORWARD {
            circuit.layers[layer] = Key::random().unwrap();
        }
    }
    let noticed = seats::seated_on(
        routes,
        geometry,
        |end| end,
        |seat| {
            let seats::Seat { mut transport, mut mixer, mut post } = seat;
            assert!(mixer.reports_faults());
            mixer.slot(&mut transport, Slot(0), Word::WELL, &mut post, &mut Timing::default()).unwrap()
        },
    );
    let of = |which: &dyn Fn(&Heard) -> bool| {
        Rank::all(RANKS).filter(|rank| which(&noticed[rank.index()])).collect::<BTreeSet<Rank>>()
    };
    [of(&|heard| heard.fault.is_some()), of(&|heard| !heard.intact)]
}

/// A bad cell is seen by those on its circuit, who know each other by their lanes, and by nobody else: least of all by the rank
/// that has spoiled it, to whom it would show its successor's relays.
#[test]
fn a_spoiled_cell_shows_on_its_circuit_alone() {
    for _ in 0..3 {
        let plan = seats::plan(3, RANKS, HOPS);
        for spoiler in Rank::all(RANKS) {
            let own = |circuit: &&Circuit| circuit.source == spoiler && circuit.direction == Direction::Forward;
            for layer in 0..usize::from(HOPS) {
                let spoiled = || plan.circuits.iter().filter(own);
                let touched = spoiled().flat_map(|circuit| circuit.path().skip(layer + 1)).collect();
                // Relays work on; the destination has nothing to work with.
                let lost = spoiled().filter_map(|circuit| circuit.path().last()).collect();
                assert_eq!(finders(&plan, spoiler, layer), [touched, lost], "{spoiler}, layer {layer}");
            }
        }
    }
}
