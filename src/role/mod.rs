//! What a rank does with its messages: the only place where layers and the mix meet.
//!
//! In each slot a role reads its inbox, computes, and fills its outbox. [`owner`] feeds the pipeline and computes the
//! loss, [`stage`] runs its layers forward and backward, [`relay`] has nothing to say. [`work`] says when they do so.

pub mod judge;
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
use crate::wire::{HEADER, Header, Kind, WireError};

/// Why a role cannot go on.
#[derive(Debug, Error)]
pub enum RoleError {
    /// A message's header is none.
    #[error("{slot}: {source}")]
    Header {
        /// When.
        slot: Slot,
        /// What is wrong.
        source: WireError,
    },
    /// An authentic message that does not fit what this rank has done so far.
    #[error("{slot}: a message for {found} where {expected} was due")]
    Unexpected {
        /// When.
        slot: Slot,
        /// What came.
        found: String,
        /// What was due.
        expected: String,
    },
    /// Training has failed.
    #[error("the loss is {loss} in epoch {}, batch {}: training has diverged; lower train.optimizer.lr", epoch.0 + 1, batch.0 + 1)]
    NotANumber {
        /// The loss.
        loss: f64,
        /// In which epoch.
        epoch: Epoch,
        /// In which batch.
        batch: Batch,
    },
    /// What a rank is told of its stage is none that it can host.
    #[error("the package tells of no stage that this rank can host: it is not from this run's owner")]
    Untold,
    /// The role's thread has ended.
    #[error("a bug: the thread on which this rank computes has ended")]
    Gone,
    /// Arithmetic failed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
}

impl RoleError {
    /// What the owner is told of it.
    pub fn reason(&self) -> Reason {
        match self {
            RoleError::Header { .. } | RoleError::Unexpected { .. } | RoleError::Untold => Reason::Message,
            RoleError::NotANumber { .. } => Reason::NotANumber,
            RoleError::Compute(ComputeError::Device { .. }) => Reason::Device,
            RoleError::Compute(_) | RoleError::Gone => Reason::Failure,
        }
    }
}

/// A rank's own part in a slot.
pub trait Role<B: Backend>: Send {
    /// Reads `post.inbox`, fills `post.outbox`. The owner says how to go on; others say [`Order::GoOn`].
    ///
    /// # Errors
    /// [`RoleError`].
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError>;

    /// Samples that are through the pass that runs, and samples of it; `None` on ranks that do not know.
    fn progress(&self) -> Option<(usize, usize)> {
        None
    }
}

/// The header of the message `which` that has arrived, `None` for an empty one.
///
/// # Errors
/// [`RoleError::Header`]; also where the tensor would not fit the message.
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

/// Puts `header` at the head of the message `which` that leaves, and zeroes what is left behind its tensor of an earlier
/// one. `None` makes it an empty message.
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
