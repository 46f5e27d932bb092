//! The mix over the in-memory transport: what a rank sends arrives at the rank that the plan names, and what anyone
//! alters on the way is found by the next rank.
#![allow(clippy::unwrap_used)]

mod seats;

use std::collections::VecDeque;
use std::time::Duration;

use mixnn::device_memory::DeviceLanes;
use mixnn::ids::{Phase, Rank, Slot};
use mixnn::mix::beat::{Fault, Order, Reason, StageData};
use mixnn::mix::courier::{Courier, Heard, Noticed, Timing, Word};
use mixnn::mix::geometry::Geometry;
use mixnn::mix::plan::Plan;
use mixnn::mix::{BACKWARD, FORWARD, SPARE};
use mixnn::random::Seed;
use mixnn::transport::local::Local;
use mixnn::transport::{Backoff, Block, Exchange, Lane, Member, Membership, TransportError};

/// Rank counts among which circuits of four hops are found: with six there is no room, which `mixnn check` says.
const FOUR_HOPS: [u16; 3] = [7, 8, 9];

/// The message that `rank` sends in `slot`: other bytes for every rank, slot and message.
fn sent(rank: Rank, slot: Slot, message: usize, length: usize) -> Vec<u8> {
    let seed = Seed::from_text(&format!("{rank} {slot} {message}"));
    let mut stream = seed.stream();
    (0..length).map(|_| stream.next_u32() as u8).collect()
}

/// Runs `slots` slots, the last of which the owner announces, and checks every inbox against `plan`'s demand.
fn messages_arrive(plan: &Plan, geometry: Geometry, slots: u64) {
    let word = Order::RunEnds { after: Slot(slots - 1), returns: StageData::Values };
    let inboxes = seats::seated(
        plan,
        geometry,
        |end| end,
        |seat| {
            let seats::Seat { mut transport, mut mixer, mut post } = seat;
            let (rank, length) = (transport.rank(), geometry.message());
            let mut timing = Timing::default();
            let mut arrived = Vec::new();
            for slot in (0..slots).map(Slot) {
                for message in [FORWARD, BACKWARD] {
                    post.outbox[message].copy_from_slice(&sent(rank, slot, message, length));
                }
                let order = if rank == Rank::OWNER { word } else { Order::GoOn };
                let own = Word { order, ..Word::WELL };
                let heard = mixer.slot(&mut transport, slot, own, &mut post, &mut timing).unwrap();
                assert_eq!(
                    heard,
                    Heard { order: word, fault: None, intact: true, worked: Duration::ZERO },
                    "{rank} in {slot}"
                );
                assert!(post.inbox[SPARE].iter().all(|byte| *byte == 0), "{rank}: a spare carries nothing");
                arrived.push([FORWARD, BACKWARD].map(|message| post.inbox[message].to_vec()));
            }
            assert_eq!(timing.sent, slots * geometry.slot_bytes());
            arrived
        },
    );
    for source in Rank::all(plan.ranks) {
        for slot in (0..slots).map(Slot) {
            let destinations = [(FORWARD, &plan.demand.forward), (BACKWARD, &plan.demand.backward)];
            for (message, destination) in destinations {
                let destination = destination[source.index()];
                let found = &inboxes[destination.index()][slot.0 as usize][message];
                let due = sent(source, slot, message, geometry.message());
                assert!(*found == due, "message {message} of {source} to {destination} in {slot}");
            }
        }
    }
}

#[test]
fn messages_arrive_unchanged_at_the_rank_of_the_demand() {
    for ranks in [6, 7, 8] {
        let plan = seats::plan(3, ranks, 3);
        let several = Geometry::new(ranks, 3, 3000, 256).unwrap();
        let one = Geometry::new(ranks, 3, 1000, 1 << 16).unwrap();
        assert!(several.cells >= 3 && one.cells == 1);
        messages_arrive(&plan, several, 5);
        messages_arrive(&plan, one, 2);
    }
}

#[test]
fn messages_arrive_over_four_hops() {
    for ranks in FOUR_HOPS {
        let plan = seats::plan(3, ranks, 4);
        let geometry = Geometry::new(ranks, 4, 3000, 256).unwrap();
        assert!(geometry.cells >= 3 && geometry.hops == 4);
        messages_arrive(&plan, geometry, 5);
    }
}

/// What goes wrong on the wire.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// One bit of this byte of the block.
    Flip(usize),
    /// The block of the slot before.
    Replay,
    /// The first two cells, one in the other's place.
    Splice,
    /// The block that was meant for another rank.
    Divert,
}

/// A transport that does an [`Attack`] on one block that it sends.
struct Attacked {
    inner: Local,
    geometry: Geometry,
    attack: Option<Attack>,
    target: Rank,
    slot: u64,
    phase: Phase,
    /// Phases begun so far, in all slots.
    begun: u64,
    outgoing: Vec<Lane>,
    /// The blocks to the target of the last `hops` phases.
    recorded: VecDeque<Vec<u8>>,
}

impl Attacked {
    fn alter(&mut self, attack: Attack) {
        let lane = self.outgoing.iter().position(|lane| lane.peer == self.target).unwrap();
        let other = self.inner.blocks().0[(lane + 1) % self.outgoing.len()].to_vec();
        let (start, cell) = (self.geometry.cells_at(self.phase), self.geometry.cell(self.phase));
        let block = &mut self.inner.blocks().0[lane];
        match attack {
            Attack::Flip(byte) => block[byte] ^= 1 << (byte % 8),
            Attack::Replay => block.copy_from_slice(&self.recorded[0]),
            Attack::Splice => {
                let (first, second) = block[start..].split_at_mut(cell);
                first.swap_with_slice(&mut second[..cell]);
            }
            Attack::Divert => block.copy_from_slice(&other),
        }
    }
}

impl Member for Attacked {
    fn membership(&self) -> Membership {
        self.inner.membership()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }
}

impl Exchange for Attacked {
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
        let slot = self.begun / u64::from(self.geometry.hops);
        self.begun += 1;
        if let Some(attack) = self.attack {
            if slot == self.slot && phase == self.phase {
                self.alter(attack);
            }
            let lane = self.outgoing.iter().position(|lane| lane.peer == self.target).unwrap();
            self.recorded.push_back(self.inner.blocks().0[lane].to_vec());
            if self.recorded.len() > usize::from(self.geometry.hops) {
                self.recorded.pop_front();
            }
        }
        self.inner.begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        self.inner.poll()
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        self.inner.wait(backoff)
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.inner.missing()
    }
}

const ATTACKER: Rank = Rank(2);
const VICTIM: Rank = Rank(4);
const ATTACKED_SLOT: u64 = 2;

/// Rank 2 does `attack` on what it sends to rank 4 in `phase` of slot 2. The victim must notice in that phase and name rank
/// 2, the rest of the circuit must notice later in the slot and nobody else, and with the next slot's beats the owner knows the
/// first.
fn is_noticed(plan: &Plan, geometry: Geometry, phase: Phase, attack: Attack) {
    let wrap = |inner: Local| {
        let attack = (inner.rank() == ATTACKER).then_some(attack);
        let (outgoing, recorded) = (Vec::new(), VecDeque::new());
        Attacked { inner, geometry, attack, target: VICTIM, slot: ATTACKED_SLOT, phase, begun: 0, outgoing, recorded }
    };
    let due = Noticed {
        fault: Fault { slot: Slot(ATTACKED_SLOT), phase, peer: ATTACKER, reason: Reason::Authentication },
        by: VICTIM,
    };
    let heard = seats::seated(plan, geometry, wrap, |seat| {
        let seats::Seat { mut transport, mut mixer, mut post } = seat;
        let rank = transport.rank();
        let mut all: Vec<Option<Noticed>> = Vec::new();
        for slot in (0..ATTACKED_SLOT + 4).map(Slot) {
            post.outbox[FORWARD].copy_from_slice(&sent(rank, slot, FORWARD, geometry.message()));
            let told = all.iter().flatten().min().filter(|_| rank != Rank::OWNER);
            let word = Word { fault: told.map(|noticed| noticed.fault), ..Word::WELL };
            all.push(mixer.slot(&mut transport, slot, word, &mut post, &mut Timing::default()).unwrap().fault);
        }
        all
    });
    let circuit = &plan.circuits[plan.lanes()[&(phase.0, ATTACKER, VICTIM)]];
    // A bad beat is the receiver's alone.
    let in_beat = matches!(attack, Attack::Flip(byte) if byte < geometry.cells_at(phase));
    let noise = if in_beat { circuit.path().count() } else { phase.index() + 1 };
    let behind: Vec<Rank> = circuit.path().skip(noise).collect();
    for (rank, all) in Rank::all(plan.ranks).zip(heard) {
        let [before, attacked, next] = [1, 2, 3].map(|slot| all[slot]);
        assert_eq!((all[0], before), (None, None), "{rank} finds fault before there is one");
        match (rank, attacked) {
            (VICTIM, _) => assert_eq!(attacked, Some(due), "{attack:?} in {phase}"),
            (_, Some(noticed)) => {
                assert!(noticed.fault.phase > phase && noticed.by == rank, "{attack:?}: {noticed:?}");
                assert!(behind.contains(&rank), "{attack:?} in {phase} shows to {rank}");
            }
            (_, None) => assert!(!behind.contains(&rank), "{rank} has got noise after {phase} and not noticed"),
        }
        assert_eq!(next, Some(due).filter(|_| rank == Rank::OWNER), "{rank} in the slot after {attack:?}");
        // A fault leaves nothing behind: what follows is in order again.
        assert_eq!(all[5], Some(due).filter(|_| rank == Rank::OWNER), "{rank}, later");
    }
}

#[test]
fn what_is_altered_on_the_way_is_found_by_the_next_rank_and_told_the_owner() {
    let plan = seats::plan(3, 6, 3);
    let geometry = Geometry::new(6, 3, 1000, 256).unwrap();
    assert!(geometry.cells >= 2);
    for phase in Phase::all(3) {
        let (block, cells) = (geometry.block(phase), geometry.cells_at(phase));
        // The first byte (of the beat, in the first phase), the first cell's, its tag's, one in the middle, the last.
        let mut bytes = vec![0, cells, cells + geometry.cell(phase) - 1, block / 2, block - 1];
        bytes.dedup();
        for byte in bytes {
            is_noticed(&plan, geometry, phase, Attack::Flip(byte));
        }
        for attack in [Attack::Replay, Attack::Splice, Attack::Divert] {
            is_noticed(&plan, geometry, phase, attack);
        }
    }
}

/// A rank that tells the owner what cannot be: that is a bad beat of its own.
#[test]
fn a_report_from_the_future_is_a_fault_of_who_reports_it() {
    let plan = seats::plan(3, 6, 3);
    let geometry = Geometry::new(6, 3, 1000, 1 << 16).unwrap();
    let now = Fault { slot: Slot(0), phase: Phase(1), peer: Rank(5), reason: Reason::Authentication };
    let cases = [
        (now, Noticed { fault: now, by: ATTACKER }),
        (Fault { slot: Slot(u64::MAX), ..now }, Noticed { fault: Fault { peer: ATTACKER, ..now }, by: Rank::OWNER }),
        (Fault { phase: Phase(4), ..now }, Noticed { fault: Fault { peer: ATTACKER, ..now }, by: Rank::OWNER }),
    ];
    for (told, due) in cases {
        let heard = seats::seated(
            &plan,
            geometry,
            |end| end,
            |seat| {
                let seats::Seat { mut transport, mut mixer, mut post } = seat;
                let fault = Some(told).filter(|_| transport.rank() == ATTACKER);
                let word = Word { fault, ..Word::WELL };
                mixer.slot(&mut transport, Slot(0), word, &mut post, &mut Timing::default()).unwrap().fault
            },
        );
        assert_eq!(heard[0], Some(due), "{told:?}");
    }
}
