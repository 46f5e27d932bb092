//! Lanes of one rank in a device's memory, over the shim and a transport that takes it, among ranks whose lanes are the processor's:
//! the same messages arrive, what is bad is passed on as noise, and a device that is lost at any time leaves its lanes to the processor.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, unsafe_code)]

mod shim;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::compute::cuda::{Cuda, CudaSealer};
use mixnn::crypto::aead::Library;
use mixnn::crypto::sealer::{CpuSealer, Sealer};
use mixnn::device_memory::DeviceLanes;
use mixnn::ids::{Phase, Rank, Slot, Term};
use mixnn::mix::FORWARD;
use mixnn::mix::beat::{Fault, Reason};
use mixnn::mix::clock::Clock;
use mixnn::mix::courier::{Courier, Noticed, Post, Timing, Word};
use mixnn::mix::geometry::Geometry;
use mixnn::mix::package::{MixedRoute, Route, TermSecrets, mixed_routes};
use mixnn::mix::plan::Plan;
use mixnn::mix::slot::Mixer;
use mixnn::transport::local::{Local, connect};
use mixnn::transport::{Backoff, Block, Exchange, Lane, Member, Membership, Transport, TransportError};
use shim::Shim;

const RANKS: u16 = 6;
const HOPS: u8 = 3;
const RUN: [u8; 32] = [7; 32];
const SLOTS: u64 = 5;
/// The rank with a device.
const THERE: Rank = Rank(2);
/// Who sends it bad cells, and in which slot.
const ATTACKERS: [Rank; 2] = [Rank(4), Rank(5)];
const ATTACKED: u64 = 1;

/// A transport that takes a device's memory.
struct Taking {
    inner: Local,
    device: Option<DeviceLanes>,
    lost: Arc<AtomicBool>,
    lengths: [Vec<usize>; 2],
    /// In which phase it sends a bad cell.
    flips: Option<Phase>,
    /// Phases begun, in all, and with lanes on the device.
    begun: [u64; 2],
    arriving: bool,
}

impl Taking {
    fn bytes<'a>(at: *mut u8, length: usize) -> &'a mut [u8] {
        // SAFETY: the shim's memory is this process's, has these bytes, and no kernel runs while blocks travel.
        unsafe { std::slice::from_raw_parts_mut(at, length) }
    }
}

impl Member for Taking {
    fn membership(&self) -> Membership {
        self.inner.membership()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }
}

impl Exchange for Taking {
    fn takes_device_memory(&self) -> bool {
        true
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        assert_eq!(device.is_some(), self.rank() == THERE);
        self.device = device;
        self.inner.lay(outgoing, incoming, None)
    }

    fn lanes_on_device(&self) -> bool {
        self.device.is_some()
    }

    fn leave_device(&mut self) {
        self.device = None;
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        self.inner.blocks()
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        let slot = self.begun[0] / u64::from(HOPS);
        self.begun[0] += 1;
        if let Some(lanes) = &self.device {
            assert!(!self.lost.load(Ordering::Relaxed), "blocks of a device that is lost");
            self.begun[1] += 1;
            // Out of the way of what the processor has there.
            for (i, block) in self.inner.blocks().0.iter_mut().enumerate() {
                block[..outgoing[i]].copy_from_slice(Self::bytes(lanes.outgoing.at(i, outgoing[i]), outgoing[i]));
            }
        }
        if self.flips == Some(phase) && slot == ATTACKED {
            let lane = (0..RANKS).filter(|peer| *peer != self.rank().0).position(|peer| peer == THERE.0).unwrap();
            self.inner.blocks().0[lane][100] ^= 4;
        }
        for (block, length) in self.inner.blocks().0.iter().zip(outgoing) {
            let blank = block[..*length].windows(16).any(|bytes| bytes.iter().all(|byte| *byte == bytes[0]));
            assert!(!blank, "an observer sees that nothing was sealed");
        }
        self.lengths = [outgoing.to_vec(), incoming.to_vec()];
        self.arriving = true;
        self.inner.begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        let done = self.inner.poll()?;
        if let Some(lanes) = self.device.as_ref().filter(|_| done && self.arriving) {
            let lengths = &self.lengths[1];
            for (i, block) in self.inner.blocks().1.iter().enumerate() {
                Self::bytes(lanes.incoming.at(i, lengths[i]), lengths[i]).copy_from_slice(&block[..lengths[i]]);
            }
        }
        self.arriving &= !done;
        Ok(done)
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        self.inner.wait(backoff)
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.inner.missing()
    }
}

/// What became of one slot on one rank: the fault that it heard of, and its forward message, until that is not what was sent.
type Came = (Option<Noticed>, Option<Vec<u8>>);

/// What a rank's forward message holds.
fn filled(rank: Rank, slot: u64, len: usize) -> Vec<u8> {
    [rank.0 as u8 + 1, slot as u8 + 1].repeat(len / 2)
}

/// All slots of one rank, which from a fault on tells the owner, and sends empty messages once its own are lost: what came, and how many
/// phases its lanes stood on a device.
fn run_slots<B: Memory, S: Sealer<Bytes = B::Bytes>>(
    mut transport: Taking,
    backend: &B,
    sealer: S,
    geometry: Geometry,
    route: MixedRoute,
) -> (Vec<Came>, u64) {
    let (rank, len) = (transport.rank(), geometry.message());
    let clock = Clock::new(None, false);
    let mut mixer = Mixer::new(&mut transport, sealer, geometry, route, &RUN, Term(0), clock).unwrap();
    let mut post = Post::new(|| backend.bytes(len)).unwrap();
    let (mut noticed, mut silent): (Option<Noticed>, _) = (None, false);
    let came = (0..SLOTS).map(|slot| {
        let message = if silent { vec![0; len] } else { filled(rank, slot, len) };
        backend.put(&message, &mut post.outbox[FORWARD], 0);
        let fault = noticed.filter(|_| rank != Rank::OWNER).map(|noticed| noticed.fault);
        let word = Word { fault, ..Word::WELL };
        let heard = mixer.slot(&mut transport, Slot(slot), word, &mut post, &mut Timing::default()).unwrap();
        noticed = Noticed::first(noticed, heard.fault);
        silent |= !heard.intact;
        let inbox = (!silent).then(|| {
            let mut inbox = vec![0; len];
            backend.get(&post.inbox[FORWARD], 0, &mut inbox);
            inbox
        });
        (heard.fault, inbox)
    });
    let came = came.collect();
    (came, transport.begun[1])
}

/// Where a circuit goes, rank by rank.
type Path = Vec<Rank>;

/// What came to all ranks, where the device is lost when it is waited for the last of so many times, and attackers flip a bit in
/// one phase; phases with lanes on it; all circuits.
fn run(finishes: i64, flips: Option<Phase>) -> (Vec<Vec<Came>>, u64, Vec<Path>) {
    let geometry = Geometry::new(RANKS, HOPS, 400, 256).unwrap();
    let hosts: Vec<u32> = (0..u32::from(RANKS)).collect();
    let plan = Plan::draw(2, HOPS, &hosts, &mut rand::rng()).unwrap();
    let routes = mixed_routes(&plan, TermSecrets::draw(RANKS).unwrap(), &RUN, Term(0), |_, _| true);
    let ran: Vec<_> = std::thread::scope(|scope| {
        let threads = connect(RANKS).into_iter().zip(routes).map(|(mut inner, route)| {
            let Route::Mixed(route) = route else { unreachable!("mixed_routes draws nothing else") };
            scope.spawn(move || {
                inner.set_timeout(Duration::from_secs(30));
                let flips = flips.filter(|_| ATTACKERS.contains(&inner.rank()));
                let rank = inner.rank();
                let shim = Shim::new(false);
                let lost = Arc::clone(&shim.lost);
                let lengths = [Vec::new(), Vec::new()];
                let end = Taking { inner, device: None, lost, lengths, flips, begun: [0; 2], arriving: false };
                if rank == THERE {
                    shim.finishes.store(finishes, Ordering::Relaxed);
                    // Messages are elsewhere: what is lost is the lanes' device.
                    let sealer = CudaSealer::<Shim>::new(&shim, Library::AwsLc, b"run".to_vec()).unwrap();
                    return run_slots(end, &Cuda::new(Shim::new(false)), sealer, geometry, route);
                }
                let sealer = CpuSealer::new(Library::AwsLc, b"run".to_vec());
                run_slots(end, &Cpu::new(1).unwrap(), sealer, geometry, route)
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let there = ran[THERE.index()].1;
    let paths = plan.circuits.iter().map(|circuit| circuit.path().collect()).collect();
    (ran.into_iter().map(|(came, _)| came).collect(), there, paths)
}

/// Who has sent what came in a slot; `None` where that was empty.
fn sender(message: &[u8], slot: u64) -> Option<Rank> {
    let rank = Rank(u16::from(message[0]).checked_sub(1)?);
    assert!(message == filled(rank, slot, message.len()), "slot {slot}: {:?}", &message[..4]);
    Some(rank)
}

#[test]
fn the_same_messages_arrive() {
    let (came, there, _) = run(i64::MAX, None);
    assert_eq!(there, SLOTS * u64::from(HOPS));
    for slot in 0..SLOTS {
        let mut senders: Vec<_> = came
            .iter()
            .map(|came| {
                let (fault, message) = &came[slot as usize];
                assert_eq!(*fault, None);
                sender(message.as_ref().unwrap(), slot).expect("no empty message was sent")
            })
            .collect();
        senders.sort_unstable();
        assert_eq!(senders, Rank::all(RANKS).collect::<Vec<_>>());
    }
}

/// Two bad cells at once, which come under their layer alone or under a keystream: who is behind the device on their circuits finds
/// noise in their place, and nobody else finds anything.
#[test]
fn noise_takes_the_place_of_bad_cells_on_the_device() {
    for phase in Phase::all(HOPS) {
        let (came, there, paths) = run(i64::MAX, Some(phase));
        assert_eq!(there, SLOTS * u64::from(HOPS));
        let spoiled = |path: &&Path| path[phase.index()] == THERE && ATTACKERS.contains(&path[phase.index() - 1]);
        let spoiled: Vec<&Path> = paths.iter().filter(spoiled).collect();
        assert_eq!(spoiled.len(), ATTACKERS.len());
        for (rank, came) in Rank::all(RANKS).zip(&came) {
            let found = Phase::all(HOPS).filter(|at| *at >= phase).flat_map(|at| {
                let on = spoiled.iter().filter(move |path| path[at.index()] == rank);
                on.map(move |path| Fault {
                    slot: Slot(ATTACKED),
                    phase: at,
                    peer: path[at.index() - 1],
                    reason: Reason::Authentication,
                })
            });
            let due = found.min().map(|fault| Noticed { fault, by: rank });
            for (slot, (fault, _)) in (0..).zip(came) {
                match slot {
                    ATTACKED => assert_eq!(*fault, due, "{phase}: {rank}"),
                    // The owner hears of it with the next beats.
                    _ => assert!(fault.is_none() || rank == Rank::OWNER, "{phase}: {rank} in slot {slot}: {fault:?}"),
                }
            }
        }
    }
}

#[test]
fn a_device_that_is_lost_leaves_its_lanes_to_the_processor() {
    lost_at_every_wait(None);
}

/// More is waited for where cells are bad: to know which, and for the noise.
#[test]
fn a_device_may_be_lost_over_bad_cells() {
    lost_at_every_wait(Some(Phase(2)));
}

/// Slots of a device that is lost when it is waited for the first time, the second, and so on through two slots.
fn lost_at_every_wait(flips: Option<Phase>) {
    let waits = if flips.is_some() { 2 * 6 + 3 } else { 2 * 6 };
    for finishes in 0.. {
        let (came, there, _) = run(finishes, flips);
        let of_device = |noticed: &Noticed| noticed.fault.reason == Reason::Device;
        let mut own = came[THERE.index()].iter().filter_map(|(fault, _)| *fault).filter(of_device);
        let own = own.next().expect("a device that is lost is noticed");
        let Fault { slot: Slot(slot), phase, peer, reason } = own.fault;
        assert_eq!((phase, peer, reason, own.by), (Phase(0), THERE, Reason::Device, THERE), "{finishes}");
        assert!((slot * u64::from(HOPS)..=(slot + 1) * u64::from(HOPS)).contains(&there), "{finishes}: {there}");
        let spoiled = |at: u64| flips.is_some() && at == ATTACKED;
        // With the next slot's beats the owner knows, and that it was the first, unless cells were bad before.
        let told = came[0].iter().filter_map(|(fault, _)| *fault).min().unwrap();
        match flips.is_some() && slot > ATTACKED {
            true => assert_eq!((told.fault.slot, told.fault.reason), (Slot(ATTACKED), Reason::Authentication)),
            false => assert_eq!((told.fault, told.by), (own.fault, THERE), "{finishes}"),
        }
        // Nobody takes for a message of this slot what is none.
        for (came, at) in came.iter().flat_map(|came| came.iter().zip(0..)) {
            came.1.as_ref().map(|message| sender(message, at));
        }
        assert!(came[THERE.index()][slot as usize].1.is_none(), "{finishes}");
        // What others have of it is noise, in that slot alone; from then on all blocks are as sealed.
        for (rank, came) in Rank::all(RANKS).zip(&came).filter(|(rank, _)| ![Rank::OWNER, THERE].contains(rank)) {
            for (at, (fault, _)) in (0..).zip(came) {
                let noise = fault.is_some_and(|noticed| {
                    let Fault { slot: in_slot, phase, peer, reason } = noticed.fault;
                    in_slot.0 == slot && (peer == THERE || phase > Phase(1)) && reason == Reason::Authentication
                });
                let due = fault.is_none() || at == slot && noise || spoiled(at);
                assert!(due, "{finishes}: {rank} in slot {at}: {fault:?}");
            }
        }
        if slot == 2 {
            // Every wait of two slots has been the last.
            assert!(finishes >= waits, "{finishes}");
            return;
        }
    }
}
