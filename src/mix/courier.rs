//! What all profiles look like from outside: a slot takes a rank's outbox away and fills its inbox.

use std::time::Duration;

use super::MixError;
use super::beat::Order;
use crate::ids::Slot;
use crate::transport::Transport;

/// A rank's messages of a slot, by [`FORWARD`](super::FORWARD), [`BACKWARD`](super::BACKWARD) and
/// [`SPARE`](super::SPARE).
pub struct Post<Bytes> {
    /// What leaves. All zeros is an empty message.
    pub outbox: [Bytes; 3],
    /// Bytes at the start of each outgoing message that are not padding.
    pub used: [usize; 3],
    /// What has arrived.
    pub inbox: [Bytes; 3],
}

impl<Bytes> Post<Bytes> {
    /// Empty messages, each made by `bytes`.
    ///
    /// # Errors
    /// Those of `bytes`.
    pub fn new<E>(mut bytes: impl FnMut() -> Result<Bytes, E>) -> Result<Self, E> {
        Ok(Self { outbox: [bytes()?, bytes()?, bytes()?], used: [0; 3], inbox: [bytes()?, bytes()?, bytes()?] })
    }
}

/// Where a rank's time goes, and what it sends, summed over its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// The role's own work.
    pub compute: Duration,
    /// Sealing what leaves.
    pub seal: Duration,
    /// Moving blocks.
    pub exchange: Duration,
    /// Taking a layer off what is passed on.
    pub peel: Duration,
    /// Taking the last layer off what arrives.
    pub open: Duration,
    /// Waiting for peers.
    pub wait: Duration,
    /// Bytes sent.
    pub sent: u64,
}

/// Carries a rank's messages, one slot at a time.
pub trait Courier<T: Transport> {
    /// The memory of messages.
    type Bytes;

    /// Runs one slot: `post.outbox` leaves, `post.inbox` is what arrived. `order` is the owner's word, and nobody
    /// else's; what comes back is the owner's word as this rank has heard it.
    ///
    /// # Errors
    /// [`MixError`]; then nothing in the inbox may be used.
    fn slot(
        &mut self,
        transport: &mut T,
        slot: Slot,
        order: Order,
        post: &mut Post<Self::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, MixError>;
}
