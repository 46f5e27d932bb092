//! What the owner and every other rank do alike within an epoch: slot after slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RunError;
use super::opening::{Pacing, Public};
use super::pace::Calibration;
use super::platform::Platform;
use crate::ids::{Epoch, Phase, Rank, Slot};
use crate::job::{MOST_THREADS, Profile};
use crate::memory;
use crate::mix::beat::{Fault, Order, Reason};
use crate::mix::clock::{Clock, Pace};
use crate::mix::courier::{Courier, Noticed, Post, Timing, Word};
use crate::mix::direct::Direct;
use crate::mix::package::Route;
use crate::mix::slot::Mixer;
use crate::mix::{BACKWARD, FORWARD};
use crate::role::overlap::Overlapped;
use crate::role::work::{Prompt, Work, Worker};
use crate::role::{Role, RoleError};
use crate::threads;
use crate::transport::{Cores, Transport, TransportError};
use crate::wire::HEADER;

/// Whether each of a host's ranks has a core to mix on and another to compute on.
pub(super) fn cores_suffice(cores: Cores) -> bool {
    cores.each_has(2)
}

/// Threads with which a rank computes: as many as asked for, or its part of its host's cores. Under a fixed pace the thread that
/// mixes has a core of its own.
pub(super) fn share_of_cores(asked: u16, cores: Cores, pacing: Pacing) -> usize {
    let mixing = usize::from(pacing != Pacing::Lockstep);
    match asked {
        0 => cores.whole().saturating_sub(mixing).clamp(1, MOST_THREADS.into()),
        asked => asked.into(),
    }
}

/// What every cell of a run is bound to: the version of the protocol, the suite and the run.
fn associated_data(run: &[u8; 32]) -> Vec<u8> {
    [b"mixnn/1 A".as_slice(), run].concat()
}

/// Takes the keys of an epoch and lays its lanes. Slots keep `pace`.
///
/// # Errors
/// [`RunError::Transport`], [`RunError::Compute`].
pub(super) fn courier<B: Platform>(
    transport: &mut dyn Transport,
    backend: &B,
    public: &Public,
    pace: Option<Pace>,
    route: Route,
    epoch: Epoch,
) -> Result<Box<dyn Courier<Bytes = B::Bytes>>, RunError> {
    let sealer = backend.sealer(associated_data(&public.run), public.pacing)?;
    let clock = Clock::new(pace, cores_suffice(transport.cores()));
    Ok(match route {
        Route::Mixed(route) => {
            Box::new(Mixer::new(transport, sealer, public.geometry, route, &public.run, epoch, clock)?)
        }
        Route::Direct(route) => {
            let seals = public.profile == Profile::Sealed;
            Box::new(Direct::new(transport, sealer, seals, public.geometry, &route)?)
        }
    })
}

/// What a rank keeps through the slots of a run.
pub(super) struct Seat<B: Platform> {
    /// Who computes.
    pub(super) backend: Arc<B>,
    /// Its messages.
    pub(super) post: Post<B::Bytes>,
    /// Where its time goes.
    pub(super) timing: Timing,
    /// When slots begin.
    pacing: Pacing,
    /// Whether roles work beside the exchange.
    overlap: bool,
    /// Bytes of a message.
    message: usize,
}

impl<B: Platform> Seat<B> {
    /// A seat in a run of these public numbers.
    ///
    /// # Errors
    /// [`RunError::Compute`]: no memory.
    pub(super) fn new(backend: Arc<B>, public: &Public) -> Result<Self, RunError> {
        let message = public.geometry.message();
        // To fill the first of them takes seconds where they are long: where there is no room for all, this says so at once.
        let bytes = message.saturating_mul(6);
        memory::room::<u8>(bytes)?;
        let post = Post::new(|| backend.bytes(message))?;
        let (pacing, overlap) = (public.pacing, public.compute.overlap);
        Ok(Self { post, timing: Timing::default(), pacing, overlap, message, backend })
    }

    /// The pace that slots are to keep, where it is known.
    pub(super) fn pace(&self) -> Option<Pace> {
        match self.pacing {
            Pacing::Fixed { pace, .. } => pace,
            Pacing::Lockstep => None,
        }
    }

    /// Waits, under a fixed pace, until the results of slots that ended at `ended` are due.
    pub(super) fn rest(&self, ended: Instant) {
        if let Pacing::Fixed { rest, .. } = self.pacing {
            std::thread::sleep(Duration::from_nanos(rest).saturating_sub(ended.elapsed()));
        }
    }

    /// Runs the slots of an epoch. `after` is called behind every slot.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn slots<R: Role<B>>(
        &mut self,
        transport: &mut dyn Transport,
        courier: &mut dyn Courier<Bytes = B::Bytes>,
        role: &mut R,
        calibration: Option<Calibration>,
        after: &mut dyn FnMut(Over),
    ) -> Result<Ended, RunError> {
        // Work beside the slots has the backend, and the slots one that does not wait for it.
        let backend = Arc::clone(&self.backend);
        let beside = backend.beside()?;
        let (mut work, workshop): (Box<dyn Work<B>>, _) = match self.pacing {
            Pacing::Fixed { .. } => {
                let (worker, workshop) = Worker::new(&*backend, self.message)?;
                (Box::new(worker), workshop)
            }
            // The owner answers at once: its own slots are those of the schedule.
            Pacing::Lockstep if self.overlap && transport.rank() != Rank::OWNER => {
                let (work, workshop) = Overlapped::new(&*backend, self.message)?;
                (Box::new(work), workshop)
            }
            Pacing::Lockstep => return self.slots_of(transport, courier, &backend, &mut Prompt(role), None, after),
        };
        std::thread::scope(|scope| {
            let thread = threads::spawn(scope, "role", || workshop.run(&*backend, role))?;
            let ended = self.slots_of(transport, courier, &beside, &mut *work, calibration, after);
            drop(work);
            match thread.join() {
                Ok(()) => ended,
                Err(_) => Err(RunError::Bug("the thread on which this rank computes has panicked".to_owned())),
            }
        })
    }

    /// As [`slots`](Seat::slots), where `work` says what is sent.
    ///
    /// From the slot on in which there is a fault, this rank works no more: its messages are empty, it relays, and tells the
    /// owner; the owner tells all to stop, two slots after the fault, when every rank has had a beat to report an earlier one.
    fn slots_of(
        &mut self,
        transport: &mut dyn Transport,
        courier: &mut dyn Courier<Bytes = B::Bytes>,
        backend: &B,
        work: &mut dyn Work<B>,
        mut calibration: Option<Calibration>,
        after: &mut dyn FnMut(Over),
    ) -> Result<Ended, RunError> {
        let Self { post, timing, pacing, message: length, .. } = self;
        // Nothing is on its way when an epoch begins.
        for message in &mut post.inbox {
            backend.clear(message, 0, HEADER);
        }
        let rank = transport.rank();
        let mut ended = Ended { order: Order::GoOn, slots: 0, fault: None, own: None };
        let mut waiting_since = None;
        loop {
            let slot = Slot(ended.slots);
            courier.wait_to_seal(timing);
            let started = Instant::now();
            let calibrating = calibration.as_mut().and_then(|calibration| calibration.next(courier.take_longest()));
            let works = ended.fault.is_none() && calibrating.is_none();
            if let Some(order) = calibrating {
                ended.order = order;
            } else if works {
                match work.take(backend, slot, post, &mut timing.compute) {
                    Ok(order) => ended.order = order,
                    Err(error) if courier.reports_faults() => {
                        let fault = Fault { slot, phase: Phase(0), peer: rank, reason: error.reason() };
                        ended.fault = Some(Noticed { fault, by: rank });
                        ended.own = Some(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if ended.own.as_ref().is_some_and(|own| own.reason() == Reason::Device) {
                courier.send_no_messages();
            }
            let mut word = Word { order: ended.order, fault: None };
            if let Some(noticed) = ended.fault {
                for message in &mut post.outbox {
                    backend.clear(message, 0, *length);
                }
                post.used = [0; 3];
                word.fault = Some(noticed.fault).filter(|_| rank != Rank::OWNER);
                if rank == Rank::OWNER && slot.0 >= noticed.fault.slot.0 + 2 {
                    word.order = Order::Stop(noticed.fault.reason);
                }
                if waiting_since.get_or_insert(started).elapsed() > transport.timeout() {
                    return Err(unanswered(rank, noticed, TransportError::silent_owner(transport.timeout()).into()));
                }
            }
            // What is sealed, and opened into, is what was cleared.
            if let Err(error) = backend.finish() {
                courier.send_no_messages();
                let error = RoleError::from(error);
                let fault = Fault { slot, phase: Phase(0), peer: rank, reason: error.reason() };
                if ended.fault.is_none() {
                    (ended.fault, ended.own) = (Some(Noticed { fault, by: rank }), Some(error));
                }
            }
            let heard = courier.slot(transport, slot, word, post, timing).map_err(|error| match ended.fault {
                // Others may have heard the owner say stop where this rank could not.
                Some(noticed) => unanswered(rank, noticed, error.into()),
                None => error.into(),
            })?;
            if let (Order::Keep(pace), Pacing::Fixed { pace: known, .. }) = (heard.order, &mut *pacing) {
                *known = Some(pace);
            }
            ended.fault = Noticed::first(ended.fault, heard.fault);
            let real = [FORWARD, BACKWARD].map(|which| post.used[which] > 0);
            if works && ended.fault.is_none() {
                work.give(backend, slot, post);
            }
            after(Over { slot, real, progress: work.progress() });
            ended.slots += 1;
            if heard.order.ends(slot) {
                ended.order = heard.order;
                return Ok(ended);
            }
        }
    }
}

/// How `rank` ends by itself with `error` after it has noticed a fault. The owner says what was noticed; any other rank ends as one
/// does that has noticed nothing, so that nobody learns where it was.
fn unanswered(rank: Rank, noticed: Noticed, error: RunError) -> RunError {
    match rank {
        Rank::OWNER => RunError::Unanswered(noticed),
        _ => error,
    }
}

/// How the slots of an epoch ended.
pub(super) struct Ended {
    /// The owner's word.
    pub(super) order: Order,
    /// How many there were.
    pub(super) slots: u64,
    /// The first fault that this rank has noticed or, on the owner, was told of.
    pub(super) fault: Option<Noticed>,
    /// What went wrong in this rank's own work.
    pub(super) own: Option<RoleError>,
}

/// A slot that is over, as this rank alone knows it.
pub(super) struct Over {
    /// Which.
    pub(super) slot: Slot,
    /// Whether this rank's forward and backward message were more than cover.
    pub(super) real: [bool; 2],
    /// What its role says of [its progress](Role::progress).
    pub(super) progress: Option<(usize, usize)>,
}

/// Nanoseconds: compute, seal, exchange, peel, open, wait; bytes sent, and slots that overran.
pub(super) fn numbers(timing: &Timing) -> [u64; 8] {
    let Timing { compute, seal, exchange, peel, open, wait, sent, overran } = *timing;
    let [compute, seal, exchange, peel, open, wait] =
        [compute, seal, exchange, peel, open, wait].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    [compute, seal, exchange, peel, open, wait, sent, overran]
}

/// What [`numbers`] gave.
pub(super) fn from_numbers(numbers: [u64; 8]) -> Timing {
    let [times @ .., sent, overran] = numbers;
    let [compute, seal, exchange, peel, open, wait] = times.map(Duration::from_nanos);
    Timing { compute, seal, exchange, peel, open, wait, sent, overran }
}
