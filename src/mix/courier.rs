//! What all profiles look like from outside: a slot takes a rank's outbox away and fills its inbox.

use std::time::Duration;

use super::MixError;
use super::beat::{Fault, Order};
use crate::ids::{Rank, Slot};
use crate::transport::Exchange;

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
    /// Slots in which a phase began later than the pace says.
    pub overran: u64,
}

/// What a rank says in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The owner's word, and nobody else's.
    pub order: Order,
    /// What a rank other than the owner has noticed.
    pub fault: Option<Fault>,
}

impl Word {
    /// All is well; the next slot follows.
    pub const WELL: Word = Word { order: Order::GoOn, fault: None };
}

/// What a rank hears in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The owner's word.
    pub order: Order,
    /// The first fault that this rank has noticed in this slot or, on the owner, was told of.
    pub fault: Option<Noticed>,
    /// Whether the inbox holds what was sent to this rank. A fault among cells that it only passes on leaves it whole.
    pub intact: bool,
}

/// A fault, and who has noticed it. Of several the least is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noticed {
    /// What was noticed.
    pub fault: Fault,
    /// By whom.
    pub by: Rank,
}

impl Noticed {
    /// The first of two, if there are any.
    pub fn first(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        [a, b].into_iter().flatten().min()
    }
}

/// Carries a rank's messages, one slot at a time.
pub trait Courier {
    /// The memory of messages.
    type Bytes;

    /// Whether a fault travels to the owner in the next slot's [`Word`], unseen by others. Where it does not,
    /// [`slot`](Courier::slot) fails with it.
    fn reports_faults(&self) -> bool;

    /// Waits until the messages of the next slot are to be sealed, where its time is fixed.
    fn wait_to_seal(&mut self, _timing: &mut Timing) {}

    /// The longest that a phase, or the sealing, has taken this rank since this was last asked: what a pace must leave each.
    fn take_longest(&mut self) -> Duration {
        Duration::ZERO
    }

    /// The device that holds this rank's messages has failed: from now on empty ones leave, and what arrives is only verified.
    fn send_no_messages(&mut self) {}

    /// Runs one slot: `post.outbox` leaves, `post.inbox` is what arrived, where that is [intact](Heard::intact) and the owner does not say
    /// [`Order::Stop`].
    ///
    /// # Errors
    /// [`MixError`]; then nothing in the inbox may be used.
    fn slot(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        word: Word,
        post: &mut Post<Self::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError>;
}
