//! What a rank does with its messages. This is the only place where layers and the mix meet.
//!
//! In each slot a role reads its inbox, computes, and fills its outbox. The [`owner`] feeds the pipeline and computes the loss,
//! or has the last stage compute it, too (`loss`).
//! A [`stage`] runs its layers forward and backward. A [`relay`] sends nothing of its own. [`work`] decides when they do so.

pub mod judge;
mod loss;
pub mod overlap;
pub mod owner;
pub mod planned;
pub mod relay;
pub mod score;
pub mod stage;
pub mod work;

use thiserror::Error;

use crate::compute::{Backend, ComputeError};
use crate::ids::{Batch, Epoch, Slot};
use crate::mix::beat::{Order, Reason};
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::wire::{HEADER, Header, Kind, WireError};

/// Why a role cannot go on.
#[derive(Debug, Error)]
pub enum RoleError {
    /// The header of a message cannot be read.
    #[error("{slot}: {source}")]
    Header {
        /// The slot in which the message came.
        slot: Slot,
        /// What is wrong with the header.
        source: WireError,
    },
    /// A message is authentic but does not fit what this rank has done so far.
    #[error("{slot}: a message for {found} where {expected} was due")]
    Unexpected {
        /// The slot in which the message came.
        slot: Slot,
        /// The header that came, or a description of it.
        found: String,
        /// The header that was due, or a description of it.
        expected: String,
    },
    /// Training has failed: the loss is not finite.
    #[error("the loss is {loss} in epoch {}, batch {}: training has diverged; lower train.optimizer.lr", epoch.0 + 1, batch.0 + 1)]
    NotANumber {
        /// The loss of the micro-batch.
        loss: f64,
        /// The epoch in which it occurred.
        epoch: Epoch,
        /// The batch in which it occurred.
        batch: Batch,
    },
    /// The package describes no stage that this rank can host.
    #[error("the package tells of no stage that this rank can host: it is not from this run's owner")]
    Untold,
    /// A term has ended in the middle of a batch.
    #[error("the term has ended in the middle of a batch: there is nothing to go on from")]
    Unsettled,
    /// The thread on which the role computes has ended.
    #[error("a bug: the thread on which this rank computes has ended")]
    Gone,
    /// The backend has failed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
}

impl RoleError {
    /// What the owner is told of the error, by beat.
    pub fn reason(&self) -> Reason {
        match self {
            RoleError::Header { .. } | RoleError::Unexpected { .. } | RoleError::Untold | RoleError::Unsettled => {
                Reason::Message
            }
            RoleError::NotANumber { .. } => Reason::NotANumber,
            RoleError::Compute(ComputeError::Device { .. }) => Reason::Device,
            RoleError::Compute(_) | RoleError::Gone => Reason::Failure,
        }
    }
}

/// What a rank does in a slot, besides mixing.
pub trait Role<B: Backend>: Send {
    /// Reads `post.inbox` and fills `post.outbox`. The owner's answer says how the run goes on; other roles always answer
    /// [`Order::GoOn`].
    ///
    /// # Errors
    /// [`RoleError`] if a message does not fit, training fails, or the backend does.
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError>;

    /// Does what is still to be done behind the last step, and whose result nobody waits for: a stage's gradients of its parameters, and its
    /// optimizer step. It is called before the next step.
    fn settle(&mut self, _backend: &B) {}

    /// Whether the last step has left the forward message in the inbox, as it is of a batch whose turn has not come. It is to be given
    /// again.
    fn has_left(&self) -> bool {
        false
    }

    /// How far the pass is that runs. `None` on ranks that do not know.
    fn progress(&self) -> Option<PassProgress> {
        None
    }
}

/// How far the pass is that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassProgress {
    /// How many of its samples are through.
    pub done: usize,
    /// How many samples it has.
    pub of: usize,
    /// Whether the stages learn from it.
    pub trains: bool,
}

/// Reads the header of the message `which` (forward or backward) in the inbox. `None` if the message is empty. `capacity` is
/// the length of a message in bytes.
///
/// # Errors
/// [`RoleError::Header`] if the header cannot be read, or its tensor would not fit the message.
fn received<B: Backend>(
    backend: &B,
    slot: Slot,
    post: &Post<B::Bytes>,
    which: usize,
    capacity: usize,
) -> Result<Option<Header>, RoleError> {
    let mut bytes = [0; HEADER];
    backend.get(&post.inbox[which], 0, &mut bytes);
    let header = Header::from_bytes(&bytes).map_err(|source| RoleError::Header { slot, source })?;
    if header.body() > (capacity - HEADER) as u64 {
        let source = WireError::Field { field: "body", found: header.body() };
        return Err(RoleError::Header { slot, source });
    }
    Ok((header.kind != Kind::Empty).then_some(header))
}

/// Checks that the message that came is the one that was due.
///
/// # Errors
/// [`RoleError::Unexpected`].
fn check_due(slot: Slot, found: Header, due: Header) -> Result<(), RoleError> {
    match found == due {
        true => Ok(()),
        false => Err(RoleError::Unexpected { slot, found: format!("{found:?}"), expected: format!("{due:?}") }),
    }
}

/// Makes the messages in the outbox empty, forward and backward.
fn empty<B: Backend>(backend: &B, post: &mut Post<B::Bytes>) {
    for which in [FORWARD, BACKWARD] {
        address(backend, post, which, None);
    }
}

/// Writes `header` to the message `which` (forward or backward) in the outbox, whose tensor is already there. It zeroes what an
/// earlier, longer tensor has left behind it. `None` makes the message empty.
fn address<B: Backend>(backend: &B, post: &mut Post<B::Bytes>, which: usize, header: Option<Header>) {
    let used = header.map_or(0, |header| HEADER + header.body() as usize);
    let before = post.used[which];
    if before > used {
        backend.clear(&mut post.outbox[which], used, before);
    }
    if let Some(header) = header {
        backend.put(&header.to_bytes(), &mut post.outbox[which], 0);
    }
    post.used[which] = used;
}
