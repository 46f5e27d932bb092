//! What the owner and every other rank do alike within an epoch: slot after slot.

use std::time::{Duration, Instant};

use super::RunError;
use super::opening::Public;
use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::crypto::aead;
use crate::crypto::sealer::CpuSealer;
use crate::ids::{Epoch, Slot};
use crate::job::Profile;
use crate::mix::beat::Order;
use crate::mix::courier::{Courier, Post, Timing};
use crate::mix::direct::Direct;
use crate::mix::package::Route;
use crate::mix::slot::Mixer;
use crate::role::Role;
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

/// Runs the slots of an epoch. `after` is called behind every slot. Returns the word that ended it, and its slots.
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
    after: &mut dyn FnMut(&R),
) -> Result<(Order, u64), RunError> {
    // Nothing is on its way when an epoch begins.
    for message in &mut post.inbox {
        backend.clear(message, 0, HEADER);
    }
    let mut slot = Slot(0);
    loop {
        let started = Instant::now();
        let order = role.step(backend, slot, post)?;
        timing.compute += started.elapsed();
        let heard = courier.slot(transport, slot, order, post, timing)?;
        after(role);
        if heard.ends(slot) {
            return Ok((heard, slot.0 + 1));
        }
        slot.0 += 1;
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
