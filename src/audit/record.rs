//! A transport that writes down what it carries: when, how long, to whom, and in the first slot the heads of cells.
//!
//! Every rank writes into memory of its own, so that recording holds up all ranks alike. What was written is put on the
//! shelf when the rank's end is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::truth::Truth;
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank, RankSet};
use crate::mix::geometry::BEAT;
use crate::transport::{Backoff, Block, Exchange, Lane, Letters, Member, Membership, Transport, TransportError};

/// For how many phases there is room before a recording must grow. To grow would cost one rank time that others do not
/// spend.
const ROOM: usize = 1024;

/// In how many phases of a run heads are written down: as many as a slot has at most.
const FIRST: usize = 4;

/// The first bytes of a block's first cell.
pub(super) type CellHead = [u8; 16];

/// A time in nanoseconds since the run began.
pub(super) type Time = u64;

/// When one rank began and ended a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// When the rank's blocks left.
    pub(super) at: Time,
    /// When the last of the blocks that the rank receives was there; 0 where it never was.
    pub(super) done: Time,
}

/// A message outside slots, as one rank saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// When the message left, where this rank sent it to the owner. When it had arrived, where this rank received it.
    pub(super) at: Time,
    /// How many bytes the message has.
    pub(super) bytes: usize,
}

/// What one rank sent and received in a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    /// The lanes over which the rank sends.
    pub(super) lanes: Vec<Lane>,
    /// The phases of the run, in order.
    pub(super) begun: Vec<Begun>,
    /// How many bytes were sent: for each phase, by outgoing lane.
    pub(super) sent: Vec<u32>,
    /// The heads of the blocks that were sent, in the first phases alone: by phase, by outgoing lane.
    pub(super) heads: Vec<Vec<CellHead>>,
    /// When all blocks of each rank were there: for each phase, by rank; 0 where none came.
    pub(super) arrived: Vec<Time>,
    /// The messages outside slots, in order.
    pub(super) letters: Vec<Letter>,
    /// What the rank was and did, as it says itself.
    pub(super) truth: Truth,
}

/// Where the recordings of a run end up, by rank.
pub(super) type Shelf = Arc<Mutex<Vec<Recording>>>;

/// One rank's end of the transport, with what it has written down so far.
pub(super) struct Recorder<T: Transport> {
    /// The end that does the work.
    inner: T,
    /// When the run began.
    origin: Instant,
    /// The ranks that send over a lane to this one.
    senders: RankSet,
    /// The ranks whose blocks of this phase are not all there yet.
    missing: RankSet,
    /// What has been written down so far.
    recording: Recording,
    /// Where the recording is put at the end.
    shelf: Shelf,
}

impl<T: Transport> Recorder<T> {
    /// Records what goes over `inner`. Times are counted from `origin`.
    pub(super) fn new(inner: T, origin: Instant, shelf: &Shelf) -> Self {
        let ranks = usize::from(inner.ranks());
        let mut recording = Recording::default();
        recording.begun.reserve(ROOM);
        recording.sent.reserve(ROOM * 2 * ranks);
        recording.arrived.reserve(ROOM * ranks);
        recording.letters.reserve(16);
        Self { inner, origin, senders: RankSet::EMPTY, missing: RankSet::EMPTY, recording, shelf: Arc::clone(shelf) }
    }

    /// Keeps what the rank says of itself beside what was recorded of it.
    pub(super) fn keep(&mut self, truth: Truth) {
        self.recording.truth = truth;
    }

    /// The time now. It is never 0, which stands for what never came.
    fn now(&self) -> Time {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Notes that blocks have arrived. Those of the ranks in `still` are not there yet.
    fn arrivals(&mut self, still: RankSet) {
        let come = self.missing.without(still);
        if come.is_empty() {
            return;
        }
        let (now, ranks) = (self.now(), self.inner.ranks());
        let from = self.recording.arrived.len() - usize::from(ranks);
        for (rank, at) in Rank::all(ranks).zip(&mut self.recording.arrived[from..]) {
            if come.contains(rank) {
                *at = now;
            }
        }
        self.missing = still;
    }

    /// Notes a message outside slots.
    fn letter(&mut self, at: Time, bytes: usize) {
        self.recording.letters.push(Letter { at, bytes });
    }
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
    /// The recorder looks into blocks, so they have to stand in the processor's memory.
    fn takes_device_memory(&self) -> bool {
        false
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        self.senders = incoming.iter().map(|lane| lane.peer).collect();
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
        let still = if done { RankSet::EMPTY } else { self.inner.lanes().missing().into_iter().collect() };
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
        // The recorder looks as often as it can, as whoever watches a wire sees each block when it comes.
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

    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        let length = messages.first().map_or(0, Vec::len);
        self.inner.letters().give(first, messages)?;
        self.letter(self.now(), length);
        Ok(())
    }

    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        self.letter(self.now(), length);
        self.inner.letters().take(first, count, length)
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
