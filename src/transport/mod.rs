//! Moves blocks of bytes between ranks, and knows nothing of what they mean.
//!
//! In a phase a rank sends one block over each of its outgoing lanes and receives one over each incoming one. The lanes
//! are the transport's memory, so that sealing can write straight into what is sent. [`local`] carries them between the
//! threads of one process, [`mpi`] between processes; there they may stand in a device's memory.
//!
//! Outside slots, [`Transport::scatter`] and [`Transport::gather`] carry one message of one length between the owner and
//! each other rank, directly: MPI's collectives may travel through other ranks.

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
mod slice;

use std::time::{Duration, Instant};

use thiserror::Error;

pub use backoff::Backoff;
pub use block::Block;
pub use contention::{core_is_wanted, hold_core};
pub use cores::Cores;

use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::memory::OutOfMemory;

/// Why blocks did not travel.
#[derive(Debug, Error)]
pub enum TransportError {
    /// A peer stayed silent.
    #[error(
        "no answer within {} s from {}; the run ends ({setting})",
        waited.as_secs_f64(),
        missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Timeout {
        /// How long was waited.
        waited: Duration,
        /// Who is missing.
        missing: Vec<Rank>,
        /// What says how long to wait.
        setting: &'static str,
    },
    /// Another rank ended the run.
    #[error("another rank ended the run with code {code}")]
    Aborted {
        /// The exit code that it named.
        code: i32,
    },
    /// A message of another length than was agreed.
    #[error("{from} sent {found} bytes where {expected} were due")]
    Length {
        /// The sender.
        from: Rank,
        /// Bytes that came.
        found: usize,
        /// Bytes that were due.
        expected: usize,
    },
    /// A message longer than was agreed.
    #[error("a peer sent a message longer than was agreed")]
    TooLong,
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// No memory to share.
    #[error(
        "the ranks of this host cannot share memory for their lanes ({bytes} bytes of this rank's{}): is /dev/shm large enough? \
         `mixnn check --hosts` says how much they need (docker run --shm-size); transport.windows = false does without",
        code.map(|code| format!(", MPI error {code}")).unwrap_or_default()
    )]
    Window {
        /// Bytes that were asked for.
        bytes: usize,
        /// MPI's error, where it reports one.
        code: Option<i32>,
    },
    /// MPI reports an error.
    #[error("{call} failed with MPI error {code}")]
    Mpi {
        /// The MPI function.
        call: &'static str,
        /// Its error class or code.
        code: i32,
    },
}

impl TransportError {
    /// The owner has not answered for `waited`, though it sends what it must.
    pub fn silent_owner(waited: Duration) -> Self {
        Self::Timeout { waited, missing: vec![Rank::OWNER], setting: TIMEOUT }
    }
}

/// What says how long a silent peer is waited for in a run.
const TIMEOUT: &str = "transport.timeout";
/// What says so until a rank knows the run.
#[cfg(feature = "mpi")]
const START_TIMEOUT: &str = "--start-timeout";

/// One direction of what two ranks exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The rank at the other end.
    pub peer: Rank,
    /// Tells lanes between the same two ranks apart.
    pub tag: u8,
    /// Bytes of its longest block.
    pub length: usize,
}

/// Where the time of an exchange went.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeTime {
    /// In the transport's calls.
    pub busy: Duration,
    /// Waiting for peers.
    pub waiting: Duration,
}

/// Bytes of memory that `members` ranks of a host share for the `lanes` between them, each given by its length.
#[cfg(feature = "mpi")]
pub fn shared_memory(members: usize, lanes: impl Iterator<Item = usize>) -> u64 {
    shared::Segment::bytes_of_all(members, lanes) as u64
}

/// Bytes of memory that ranks share: none, where they are threads of one process.
#[cfg(not(feature = "mpi"))]
pub fn shared_memory(_: usize, _: impl Iterator<Item = usize>) -> u64 {
    0
}

/// Carries blocks between the ranks of a job.
pub trait Transport {
    /// This rank.
    fn rank(&self) -> Rank;

    /// Ranks of the job.
    fn ranks(&self) -> u16;

    /// This rank's part of its host's cores.
    fn cores(&self) -> Cores;

    /// Which of its host's ranks this one is, from 0 on.
    fn rank_on_host(&self) -> u16;

    /// How long a silent peer is waited for.
    fn timeout(&self) -> Duration;

    /// Sets how long a silent peer is waited for.
    fn set_timeout(&mut self, timeout: Duration);

    /// Whether ranks of one host are to exchange through memory that they share, from the next [`lay`](Transport::lay)
    /// on. Changes nothing where they do in any case.
    fn share_memory(&mut self, windows: bool);

    /// Whether lanes may stand in a device's memory.
    fn takes_device_memory(&self) -> bool;

    /// Lays the lanes of all phases to come; earlier ones are gone. Each lane's other end lays it too, wherever its own blocks
    /// stand. `device`, where such memory is [taken](Transport::takes_device_memory): what is sent and received in place of
    /// [`blocks`](Transport::blocks), which are there all the same.
    ///
    /// # Errors
    /// [`TransportError`].
    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError>;

    /// Whether what is sent and received is a device's memory.
    fn lanes_on_device(&self) -> bool;

    /// A device has failed: from the next phase on, between two of which this is called, [`blocks`](Transport::blocks) are sent and
    /// received.
    fn leave_device(&mut self);

    /// The blocks of the outgoing lanes, to write, and of the incoming ones, to read; in the order in which they were
    /// laid.
    fn blocks(&mut self) -> (&mut [Block], &[Block]);

    /// Starts a phase, where blocks cross a network in an order freshly shuffled: sends the first `outgoing[i]` bytes of each outgoing block and receives up to
    /// `incoming[i]` into each incoming one.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError>;

    /// Moves the phase on; whether all blocks have been sent and received.
    ///
    /// # Errors
    /// [`TransportError::Aborted`], [`TransportError::Mpi`].
    fn poll(&mut self) -> Result<bool, TransportError>;

    /// Waits a little for the phase to move on: for how long, or `None` where the time is over.
    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration>;

    /// The peers whose blocks of this phase are missing.
    fn missing(&mut self) -> Vec<Rank>;

    /// Gives the other ranks one message each, all of `length` bytes: `messages[r]` goes from the owner to rank r. Returns
    /// this rank's. Other ranks than the owner pass no messages.
    ///
    /// # Errors
    /// [`TransportError`].
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError>;

    /// Gives the owner one message of each rank, all of one length: on the owner, `result[r]` is from rank r. Empty on
    /// other ranks.
    ///
    /// # Errors
    /// [`TransportError`].
    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError>;

    /// Ends the run on all ranks with the exit code `code`, as far as the transport can.
    fn abort(&mut self, code: i32);

    /// Whether waiting may spin: each rank of this host has a core of its own.
    fn spins(&self) -> bool {
        self.cores().each_has(1)
    }

    /// Runs a whole phase.
    ///
    /// # Errors
    /// [`TransportError`]; [`TransportError::Timeout`] names the peers that are missing.
    fn exchange(
        &mut self,
        phase: Phase,
        outgoing: &[usize],
        incoming: &[usize],
    ) -> Result<ExchangeTime, TransportError> {
        let started = Instant::now();
        self.begin(phase, outgoing, incoming)?;
        let mut backoff = Backoff::new(self.spins(), self.timeout());
        let mut waiting = Duration::ZERO;
        while !self.poll()? {
            match self.wait(&mut backoff) {
                Some(paused) => waiting += paused,
                // A rank that was itself stopped may find everything there.
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
