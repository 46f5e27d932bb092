//! What the owner and every other rank do alike within an epoch: slot after slot.

use std::time::{Duration, Instant};

use super::RunError;
use super::opening::Public;
use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::crypto::aead;
use crate::crypto::sealer::CpuSealer;
use crate::ids::{Epoch, Phase, Rank, Slot};
use crate::job::Profile;
use crate::mix::beat::{Fault, Order};
use crate::mix::courier::{Courier, Noticed, Post, Timing, Word};
use crate::mix::direct::Direct;
use crate::mix::package::Route;
use crate::mix::slot::Mixer;
use crate::mix::{BACKWARD, FORWARD};
use crate::role::{Role, RoleError};
use crate::transport::Transport;
use crate::wire::HEADER;

pub(super) type Bytes = <Cpu as Backend>::Bytes;
type CellSealer = CpuSealer<aead::Default, Bytes>;

/// Threads of a rank: as many as asked for, or its share of its host's cores.
pub(super) fn share_of_cores(asked: u16, ranks_on_host: u16) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() / usize::from(ranks_on_host.max(1))),
        asked => asked.into(),
    }
    .max(1)
}

/// What every cell of a run is bound to: the version of the protocol, the suite and the run.
fn associated_data(run: &[u8; 32]) -> Vec<u8> {
    [b"mixnn/1 A".as_slice(), run].concat()
}

/// Takes the keys of an epoch and lays its lanes.
///
/// # Errors
/// [`RunError::Transport`].
pub(super) fn courier<T: Transport>(
    transport: &mut T,
    public: &Public,
    route: Route,
    epoch: Epoch,
) -> Result<Box<dyn Courier<T, Bytes = Bytes>>, RunError> {
    let sealer = CellSealer::new(associated_data(&public.run));
    Ok(match route {
        Route::Mixed(route) => Box::new(Mixer::new(transport, sealer, public.geometry, route, &public.run, epoch)?),
        Route::Direct(route) => {
            let sealer = (public.profile == Profile::Sealed).then_some(sealer);
            Box::new(Direct::new(transport, sealer, public.geometry, &route)?)
        }
    })
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

/// Runs the slots of an epoch. `after` is called behind every slot.
///
/// From the slot on in which there is a fault, this rank works no more: its messages are empty, it relays, and tells the
/// owner; the owner tells all to stop, two slots after the fault, when every rank has had a beat to report an earlier one.
///
/// # Errors
/// [`RunError`].
pub(super) fn slots<T: Transport, R: Role<Cpu>>(
    transport: &mut T,
    courier: &mut dyn Courier<T, Bytes = Bytes>,
    backend: &Cpu,
    role: &mut R,
    post: &mut Post<Bytes>,
    timing: &mut Timing,
    after: &mut dyn FnMut(Over),
) -> Result<Ended, RunError> {
    // Nothing is on its way when an epoch begins.
    for message in &mut post.inbox {
        backend.clear(message, 0, HEADER);
    }
    let rank = transport.rank();
    let mut ended = Ended { order: Order::GoOn, slots: 0, fault: None, own: None };
    let mut waiting_since = None;
    loop {
        let slot = Slot(ended.slots);
        let started = Instant::now();
        if ended.fault.is_none() {
            match role.step(backend, slot, post) {
                Ok(order) => ended.order = order,
                Err(error) if courier.reports_faults() => {
                    let fault = Fault { slot, phase: Phase(0), peer: rank, reason: error.reason() };
                    ended.fault = Some(Noticed { fault, by: rank });
                    ended.own = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut word = Word { order: ended.order, fault: None };
        if let Some(noticed) = ended.fault {
            for message in &mut post.outbox {
                message.fill(0);
            }
            post.used = [0; 3];
            word.fault = Some(noticed.fault).filter(|_| rank != Rank::OWNER);
            if rank == Rank::OWNER && slot.0 >= noticed.fault.slot.0 + 2 {
                word.order = Order::Stop(noticed.fault.reason);
            }
            if waiting_since.get_or_insert(started).elapsed() > transport.timeout() {
                return Err(RunError::Unanswered(noticed));
            }
        }
        timing.compute += started.elapsed();
        let heard = courier.slot(transport, slot, word, post, timing).map_err(|error| match ended.fault {
            // Others may have heard the owner say stop where this rank could not.
            Some(noticed) => RunError::Unanswered(noticed),
            None => error.into(),
        })?;
        let real = [FORWARD, BACKWARD].map(|which| post.used[which] > 0);
        after(Over { slot, real, progress: role.progress() });
        ended.fault = Noticed::first(ended.fault, heard.fault);
        ended.slots += 1;
        if heard.order.ends(slot) {
            ended.order = heard.order;
            return Ok(ended);
        }
    }
}

/// Nanoseconds: compute, seal, exchange, peel, open, wait; and bytes sent.
pub(super) fn numbers(timing: &Timing) -> [u64; 7] {
    let Timing { compute, seal, exchange, peel, open, wait, sent } = *timing;
    let [compute, seal, exchange, peel, open, wait] =
        [compute, seal, exchange, peel, open, wait].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    [compute, seal, exchange, peel, open, wait, sent]
}

/// What [`numbers`] gave.
pub(super) fn from_numbers(numbers: [u64; 7]) -> Timing {
    let [times @ .., sent] = numbers;
    let [compute, seal, exchange, peel, open, wait] = times.map(Duration::from_nanos);
    Timing { compute, seal, exchange, peel, open, wait, sent }
}
