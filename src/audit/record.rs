//! A transport that writes down what it carries: when, how long, to whom, and in the first slot the heads of cells.
//!
//! Every rank writes into memory of its own, so that recording holds up all ranks alike. What was written is put on the
//! shelf when the end is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::truth::Truth;
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::mix::geometry::BEAT;
use crate::transport::{Backoff, Block, Exchange, Lane, Letters, Member, Membership, Transport, TransportError};

/// Phases for which there is room before a recording must grow: growing would take time of one rank.
const ROOM: usize = 1024;

/// Phases of the first slot, at most.
const FIRST: usize = 4;

/// The first bytes of a block's first cell.
pub(super) type Head = [u8; 16];

/// Nanoseconds since the run began.
pub(super) type Time = u64;

/// A phase, as one rank goes through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// When its blocks left.
    pub(super) at: Time,
    /// When the last of the blocks that it receives was there; 0 where it never was.
    pub(super) done: Time,
}

/// A message outside slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// When it left (from another rank to the owner), or had arrived.
    pub(super) at: Time,
    /// Its bytes.
    pub(super) bytes: usize,
}

/// What one rank sent and received in a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    /// Its outgoing lanes.
    pub(super) lanes: Vec<Lane>,
    /// Its phases, in order.
    pub(super) begun: Vec<Begun>,
    /// Bytes sent: by phase, by outgoing lane.
    pub(super) sent: Vec<u32>,
    /// Of the first phases: by phase, by outgoing lane.
    pub(super) heads: Vec<Vec<Head>>,
    /// When the blocks of each rank were there: by phase, by rank; 0 where none came.
    pub(super) arrived: Vec<Time>,
    /// What went outside slots, in order.
    pub(super) letters: Vec<Letter>,
    /// What it was and did.
    pub(super) truth: Truth,
}

/// Where the recordings of a run end up, by rank.
pub(super) type Shelf = Arc<Mutex<Vec<Recording>>>;

/// One rank's end, and what it has written down so far.
pub(super) struct Recorder<T: Transport> {
    inner: T,
    origin: Instant,
    /// Bit r: rank r sends over a lane to this one.
    senders: u64,
    /// Bit r: not all blocks of rank r are there yet.
    missing: u64,
    recording: Recording,
    shelf: Shelf,
}

impl<T: Transport> Recorder<T> {
    /// Records what goes over `inner`, in time since `origin`.
    pub(super) fn new(inner: T, origin: Instant, shelf: &Shelf) -> Self {
        let ranks = usize::from(inner.ranks());
        let mut recording = Recording::default();
        recording.begun.reserve(ROOM);
        recording.sent.reserve(ROOM * 2 * ranks);
        recording.arrived.reserve(ROOM * ranks);
        recording.letters.reserve(8);
        Self { inner, origin, senders: 0, missing: 0, recording, shelf: Arc::clone(shelf) }
    }

    /// Keeps what the rank knows of itself beside what was recorded of it.
    pub(super) fn keep(&mut self, truth: Truth) {
        self.recording.truth = truth;
    }

    fn now(&self) -> Time {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Notes that the blocks of all `still` but these have arrived.
    fn arrivals(&mut self, still: u64) {
        let come = self.missing & !still;
        if come == 0 {
            return;
        }
        let (now, ranks) = (self.now(), usize::from(self.inner.ranks()));
        let from = self.recording.arrived.len() - ranks;
        for (rank, at) in self.recording.arrived[from..].iter_mut().enumerate() {
            if come >> rank & 1 == 1 {
                *at = now;
            }
        }
        self.missing = still;
    }

    fn letter(&mut self, at: Time, bytes: usize) {
        self.recording.letters.push(Letter { at, bytes });
    }
}

fn bits(ranks: impl Iterator<Item = Rank>) -> u64 {
    // A job has at most 64 ranks.
    ranks.fold(0, |set, rank| set | 1 << rank.index())
}

impl<T: Transport> Member for Recorder<T> {
    fn membership(&self) -> Membership {
        self.inner.membership()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }
}

impl<T: Transport> Exchange for Recorder<T> {
    /// What is sent has to stand in the blocks, where it is looked at.
    fn takes_device_memory(&self) -> bool {
        false
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        self.senders = bits(incoming.iter().map(|lane| lane.peer));
        self.recording.lanes = outgoing.to_vec();
        self.inner.lanes().lay(outgoing, incoming, device)
    }

    fn lanes_on_device(&self) -> bool {
        false
    }

    fn leave_device(&mut self) {
        self.inner.lanes().leave_device();
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        self.inner.lanes().blocks()
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        let (at, ranks) = (self.now(), usize::from(self.inner.ranks()));
        let heads = (self.recording.begun.len() < FIRST).then(|| {
            let start = if phase == Phase(1) { BEAT } else { 0 };
            let head =
                |block: &Block| block.get(start..).and_then(|cells| cells.first_chunk()).copied().unwrap_or([0; 16]);
            self.inner.lanes().blocks().0.iter().map(head).collect()
        });
        let recording = &mut self.recording;
        recording.heads.extend(heads);
        recording.begun.push(Begun { at, done: 0 });
        recording.sent.extend(outgoing.iter().map(|bytes| *bytes as u32));
        recording.arrived.resize(recording.arrived.len() + ranks, 0);
        self.missing = self.senders;
        self.inner.lanes().begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        let done = self.inner.lanes().poll()?;
        let still = if done { 0 } else { bits(self.inner.lanes().missing().into_iter()) };
        self.arrivals(still);
        if done {
            let now = self.now();
            if let Some(begun) = self.recording.begun.last_mut().filter(|begun| begun.done == 0) {
                begun.done = now;
            }
        }
        Ok(done)
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        // It looks whenever it can, as whoever watches a wire sees each block when it comes.
        backoff.pause()
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.inner.lanes().missing()
    }
}

impl<T: Transport> Letters for Recorder<T> {
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        let message = self.inner.letters().scatter(messages, length)?;
        self.letter(self.now(), length);
        Ok(message)
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        self.letter(self.now(), message.len());
        self.inner.letters().gather(message)
    }

    fn abort(&mut self, code: i32) {
        self.inner.letters().abort(code);
    }
}

impl<T: Transport> Transport for Recorder<T> {
    fn set_timeout(&mut self, timeout: Duration) {
        self.inner.set_timeout(timeout);
    }

    fn share_memory(&mut self, windows: bool) {
        self.inner.share_memory(windows);
    }

    fn lanes(&mut self) -> &mut dyn Exchange {
        self
    }

    fn letters(&mut self) -> &mut dyn Letters {
        self
    }
}

impl<T: Transport> Drop for Recorder<T> {
    fn drop(&mut self) {
        let rank = self.inner.rank().index();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shelf.get_mut(rank) {
            *place = std::mem::take(&mut self.recording);
        }
    }
}
