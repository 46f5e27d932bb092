//! What all profiles look like from outside: a slot takes a rank's outbox away and fills its inbox.

use std::time::Duration;

use super::MixError;
use super::beat::{Fault, Order};
use crate::ids::{Rank, Slot};
use crate::transport::Exchange;

/// A rank's messages of a slot. The three of each kind are numbered [`FORWARD`](super::FORWARD),
/// [`BACKWARD`](super::BACKWARD) and [`SPARE`](super::SPARE).
pub struct Post<Bytes> {
    /// The messages that leave. A message of zeros is empty.
    pub outbox: [Bytes; 3],
    /// By outgoing message: how many bytes at its start are not padding.
    pub used: [usize; 3],
    /// The messages that have arrived.
    pub inbox: [Bytes; 3],
}

impl<Bytes> Post<Bytes> {
    /// Makes six empty messages, each by a call of `bytes`.
    ///
    /// # Errors
    /// Those of `bytes`.
    pub fn new<E>(mut bytes: impl FnMut() -> Result<Bytes, E>) -> Result<Self, E> {
        Ok(Self { outbox: [bytes()?, bytes()?, bytes()?], used: [0; 3], inbox: [bytes()?, bytes()?, bytes()?] })
    }
}

/// How a rank's time is spent, and how much it sends, summed over its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// The time for the role's own work.
    pub compute: Duration,
    /// The time to seal what leaves.
    pub seal: Duration,
    /// The time to move blocks, without the waiting.
    pub exchange: Duration,
    /// The time to take a layer off what is passed on.
    pub peel: Duration,
    /// The time to take the last layer off what arrives.
    pub open: Duration,
    /// The time in which it waited for peers or for the pace.
    pub wait: Duration,
    /// How many bytes it has sent.
    pub sent: u64,
    /// How many slots have overrun: the role was not ready, or the exchange before took longer than a slot may.
    pub overran: u64,
}

/// What a rank says in a slot, beside its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The owner's word. What another rank has here is not sent.
    pub order: Order,
    /// The fault that a rank other than the owner has noticed, if any.
    pub fault: Option<Fault>,
    /// How much time a rank other than the owner has needed to open, work and seal, for messages that have become ready since it last said
    /// so. It is not said beside a fault.
    pub worked: Duration,
}

impl Word {
    /// All is well, and the next slot follows.
    pub const WELL: Word = Word { order: Order::GoOn, fault: None, worked: Duration::ZERO };
}

/// What a rank hears in a slot, beside its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The owner's word, as far as this rank has heard it.
    pub order: Order,
    /// The first fault that this rank has noticed in this slot or, on the owner, was told of.
    pub fault: Option<Noticed>,
    /// Whether the inbox holds what was sent to this rank. A fault among cells that it only passes on leaves the inbox
    /// whole.
    pub intact: bool,
    /// The longest such time that a rank has said. The owner alone is told.
    pub worked: Duration,
}

/// A fault, and the rank that has noticed it. The least of several is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noticed {
    /// What was noticed.
    pub fault: Fault,
    /// The rank that has noticed it.
    pub by: Rank,
}

impl Noticed {
    /// The first of two faults, if there are any.
    pub fn first(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        [a, b].into_iter().flatten().min()
    }
}

/// Carries a rank's messages, one slot at a time.
pub trait Courier {
    /// The memory in which messages stand.
    type Bytes;

    /// Whether a fault is to travel to the owner in the next slot's [`Word`], unseen by others. If not,
    /// [`slot`](Courier::slot) fails with it.
    fn reports_faults(&self) -> bool;

    /// Waits until the messages of the next slot are to be sealed, if slots have a pace. Adds the time to `timing`.
    fn wait_to_seal(&mut self, _timing: &mut Timing) {}

    /// How much of the time that ranks have for their work this rank needs to open and seal messages.
    fn kept_from_work(&self) -> Duration {
        Duration::ZERO
    }

    /// Call this when the device that holds this rank's messages has failed. From then on empty messages leave, and
    /// what arrives is only verified.
    fn send_no_messages(&mut self) {}

    /// Runs one slot: `post.outbox` leaves, `word` goes with it, and `post.inbox` is filled with what arrives. Use the
    /// inbox only if it is [intact](Heard::intact) and the owner does not say [`Order::Stop`]. Adds to `timing`.
    ///
    /// # Errors
    /// [`MixError`]. Then nothing in the inbox may be used.
    fn slot(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        word: Word,
        post: &mut Post<Self::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError>;
}
