//! Moves blocks of bytes between ranks, and knows nothing of what they mean.
//!
//! A rank's end, a [`Transport`], does two things, and each has a trait of its own:
//!
//! - [`Exchange`]: in each phase of a slot a rank sends one block over each of its outgoing lanes and receives one over each incoming
//!   lane. The blocks are the transport's memory, so that sealing writes straight into what is sent.
//! - [`Letters`]: outside slots the owner and each other rank exchange messages of one length, directly. MPI's collectives would not do,
//!   as they may travel through other ranks.
//!
//! [`local`] joins the threads of one process, [`mpi`] processes; there blocks may stand in a device's memory.

#[cfg(feature = "mpi")]
pub mod aware;
mod backoff;
mod bell;
mod block;
mod contention;
mod cores;
#[cfg(feature = "mpi")]
mod futex;
pub mod hosts;
pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "mpi")]
mod shared;

use std::time::{Duration, Instant};

use thiserror::Error;

pub use backoff::Backoff;
pub use block::Block;
pub use contention::{core_is_wanted, hold_core};
pub use cores::Cores;

use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::memory::OutOfMemory;

/// Why blocks or letters did not travel.
#[derive(Debug, Error)]
pub enum TransportError {
    /// A peer has stayed silent.
    #[error(
        "no answer within {} s from {}; the run ends ({setting})",
        waited.as_secs_f64(),
        missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Timeout {
        /// How long this rank has waited.
        waited: Duration,
        /// The peers that have not answered.
        missing: Vec<Rank>,
        /// The setting from which the time-out comes.
        setting: &'static str,
    },
    /// Another rank has ended the run.
    #[error("another rank ended the run with code {code}")]
    Aborted {
        /// The exit code that the other rank has named.
        code: i32,
    },
    /// A message has another length than was agreed.
    #[error("{from} sent {found} bytes where {expected} were due")]
    Length {
        /// The rank that sent it.
        from: Rank,
        /// How many bytes came.
        found: usize,
        /// How many bytes were due.
        expected: usize,
    },
    /// A message is longer than was agreed.
    #[error("a peer sent a message longer than was agreed")]
    TooLong,
    /// There is no memory for blocks or letters.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// There is no memory that the ranks of this host could share for their lanes.
    #[error(
        "the ranks of this host cannot share memory for their lanes ({bytes} bytes of this rank's{}): is /dev/shm large enough? \
         `mixnn check --hosts` says how much they need (docker run --shm-size); transport.windows = false does without",
        code.map(|code| format!(", MPI error {code}")).unwrap_or_default()
    )]
    Window {
        /// How many bytes this rank asked for.
        bytes: usize,
        /// The error that MPI reports, if it does.
        code: Option<i32>,
    },
    /// A call of MPI has failed.
    #[error("{call} failed with MPI error {code}")]
    Mpi {
        /// The MPI function that has failed.
        call: &'static str,
        /// The error class or code that it has returned.
        code: i32,
    },
}

impl TransportError {
    /// The error of a rank whose owner has not answered for `waited`, though its blocks arrive.
    pub fn silent_owner(waited: Duration) -> Self {
        Self::Timeout { waited, missing: vec![Rank::OWNER], setting: TIMEOUT }
    }
}

/// The setting that says how long a silent peer is waited for in a run. Errors name it.
const TIMEOUT: &str = "transport.timeout";
/// The setting that says so until a rank knows the run. Errors name it.
#[cfg(feature = "mpi")]
const START_TIMEOUT: &str = "--start-timeout";

/// A lane, as one of its two ends sees it: over it one block goes to `peer`, or comes from there, in each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The rank at the other end.
    pub peer: Rank,
    /// A number below 3. It tells lanes between the same two ranks apart.
    pub tag: u8,
    /// How many bytes its longest block has.
    pub length: usize,
}

/// How the time of an exchange was spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeTime {
    /// The time that the transport's calls took.
    pub busy: Duration,
    /// The time in which this rank waited for peers.
    pub waiting: Duration,
}

/// How many bytes of memory `members` ranks of a host share for the `lanes` between all of them, each given by the
/// bytes of its longest block.
#[cfg(feature = "mpi")]
pub fn shared_memory(members: usize, lanes: impl Iterator<Item = usize>) -> u64 {
    shared::Segment::bytes_of_all(members, lanes) as u64
}

/// How many bytes of memory ranks share: none here, since they are threads of one process.
#[cfg(not(feature = "mpi"))]
pub fn shared_memory(_: usize, _: impl Iterator<Item = usize>) -> u64 {
    0
}

/// Where a rank stands among the others. All of it is known from the start and stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// This rank's number.
    pub rank: Rank,
    /// How many ranks the job has.
    pub ranks: u16,
    /// This rank's part of its host's cores.
    pub cores: Cores,
    /// Which of the ranks on its host this one is, counted from 0.
    pub rank_on_host: u16,
    /// Whether all ranks stand on this host.
    pub one_host: bool,
}

/// One of the ranks of a job.
pub trait Member {
    /// Where this rank stands.
    fn membership(&self) -> Membership;

    /// How long a silent peer is waited for.
    fn timeout(&self) -> Duration;

    /// This rank's number.
    fn rank(&self) -> Rank {
        self.membership().rank
    }

    /// How many ranks the job has.
    fn ranks(&self) -> u16 {
        self.membership().ranks
    }
}

/// Exchanges blocks with other ranks, phase after phase, over lanes that are laid once a term.
///
/// A wrapper has to say of each call what it makes of it: no default stands in for one that it forgot.
pub trait Exchange: Member {
    /// Whether lanes may stand in a device's memory.
    fn takes_device_memory(&self) -> bool;

    /// Lays the lanes of all phases to come. Earlier ones are gone. The rank at the other end of a lane lays it too, wherever its own
    /// blocks stand. If `device` is given, which it may be where such memory is [taken](Exchange::takes_device_memory), then blocks are
    /// sent from there and received there. [`blocks`](Exchange::blocks) has the processor's blocks all the same.
    ///
    /// # Errors
    /// [`TransportError::Memory`] and [`TransportError::Window`] where there is no memory for the blocks.
    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError>;

    /// Whether blocks are sent from a device's memory and received there.
    fn lanes_on_device(&self) -> bool;

    /// Gives up a device that has failed. Call it between two phases. From the next phase on, [`blocks`](Exchange::blocks) are sent and
    /// received instead of the device's memory.
    fn leave_device(&mut self);

    /// The blocks of the outgoing lanes, to write, and of the incoming lanes, to read, each in the order in which the lanes were laid.
    fn blocks(&mut self) -> (&mut [Block], &[Block]);

    /// Starts a phase. Sends the first `outgoing[i]` bytes of each outgoing block, and receives up to `incoming[i]` bytes into each
    /// incoming one. Where blocks cross a network, they leave in an order that is shuffled afresh.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError>;

    /// Moves the phase on, without waiting. Says whether all blocks have been sent and received.
    ///
    /// # Errors
    /// [`TransportError::Aborted`], [`TransportError::Mpi`].
    fn poll(&mut self) -> Result<bool, TransportError>;

    /// Waits a little for the phase to move on. Returns how long it has waited, or `None` if the time of `backoff` is over.
    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration>;

    /// The peers whose blocks of this phase are missing, or who have not taken this rank's.
    fn missing(&mut self) -> Vec<Rank>;

    /// Runs a whole phase: [begins](Exchange::begin) it and waits until it is complete.
    ///
    /// # Errors
    /// [`TransportError`]. [`TransportError::Timeout`] names the peers that are missing.
    fn exchange(
        &mut self,
        phase: Phase,
        outgoing: &[usize],
        incoming: &[usize],
    ) -> Result<ExchangeTime, TransportError> {
        let started = Instant::now();
        self.begin(phase, outgoing, incoming)?;
        // Where each rank of this host has a core of its own, a wait may spin.
        let spins = self.membership().cores.each_has(1);
        let mut backoff = Backoff::new(spins, self.timeout());
        let mut waiting = Duration::ZERO;
        while !self.poll()? {
            match self.wait(&mut backoff) {
                Some(paused) => waiting += paused,
                // A rank that was itself stopped for a while may find everything there.
                None if self.poll()? => break,
                None => {
                    let (waited, missing) = (self.timeout(), self.missing());
                    return Err(TransportError::Timeout { waited, missing, setting: TIMEOUT });
                }
            }
        }
        Ok(ExchangeTime { busy: started.elapsed().saturating_sub(waiting), waiting })
    }
}

/// Carries letters, outside slots, between the owner and each other rank.
pub trait Letters {
    /// Gives each other rank one message, all of `length` bytes: `messages[r]` goes from the owner to rank r. Ranks other than the owner
    /// pass no messages. Returns the message for this rank.
    ///
    /// # Errors
    /// [`TransportError`].
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError>;

    /// Gives the owner one message of each rank, all of one length. On the owner, `result[r]` is from rank r. On other ranks the result
    /// is empty.
    ///
    /// # Errors
    /// [`TransportError`].
    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError>;

    /// Gives some ranks one message each, on the owner alone: `messages[i]` goes to the rank i behind `first`. Each of them calls
    /// [`scatter`](Self::scatter), and cannot tell the difference. So the owner need not hold the messages of all ranks at once.
    ///
    /// # Errors
    /// [`TransportError`].
    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError>;

    /// Takes one message of `length` bytes from each of `count` ranks, from `first` on, on the owner alone. Each of them calls
    /// [`gather`](Self::gather), and cannot tell the difference.
    ///
    /// # Errors
    /// [`TransportError`].
    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError>;

    /// Ends the run on all ranks with the exit code `code`, as far as that can be done from here.
    fn abort(&mut self, code: i32);
}

/// A rank's end of what joins the ranks of a job: who it is, its lanes, its letters.
pub trait Transport: Member {
    /// Sets how long a silent peer is waited for, by lanes and by letters.
    fn set_timeout(&mut self, timeout: Duration);

    /// Says whether ranks of one host are to exchange blocks through memory that they share, from the next [`lay`](Exchange::lay) on.
    /// Changes nothing where they do in any case. All ranks call this at once: what they have shared until then is given back.
    fn share_memory(&mut self, windows: bool);

    /// Exchanges blocks with other ranks.
    fn lanes(&mut self) -> &mut dyn Exchange;

    /// Carries letters between the owner and other ranks.
    fn letters(&mut self) -> &mut dyn Letters;
}

/// A transport whose first ranks can be taken by themselves.
pub trait Whole: Transport {
    /// The first `ranks` ranks as a job of their own, whose ranks keep their numbers. All ranks call this at once. `None` on a rank that
    /// is not among them. Those that are use nothing of the whole while they use this.
    ///
    /// # Errors
    /// [`TransportError`].
    fn first(&self, ranks: u16) -> Result<Option<Box<dyn Transport>>, TransportError>;
}
