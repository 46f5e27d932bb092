//! Lanes in memory that the ranks of one host share (MPI 4.1, chapter 12: `MPI_Win_allocate_shared`).
//!
//! Each rank has a segment: two gates, the number of the phase that it is in, a directory, and two blocks for each of its
//! outgoing lanes, taken in turn. It seals and peels straight into its own blocks; its peers read them where they lie.
//!
//! A phase is complete when all peers have begun it. A rank begins phase t when its blocks of phase t are written and
//! those of phase t - 1 read, so a rank that knows phase t complete may write over what it sent in phase t - 1: two
//! blocks a lane are enough. Who begins lowers the gate of each peer by one; who lowers it to zero wakes the peer.
//!
//! A rank must not read a block before its phase is complete, nor write one before the phase before it is; whoever shares
//! the segment could. Ranks of one host are one trust domain.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::AsRaw;

use super::TransportError;

/// Lanes between the same two ranks, at most.
const TAGS: usize = 3;
/// Bytes of a cache line; blocks and counters begin on one.
const LINE: usize = 64;
/// In a gate: its rank sleeps until the gate is open.
const ASLEEP: u32 = 1 << 31;
/// In a directory: no such lane.
const NOWHERE: u64 = u64::MAX;

/// What stands on a cache line of its own.
#[repr(C, align(64))]
struct Line<T>(T);

/// The head of a segment.
#[repr(C)]
struct Head {
    /// For odd and even phases: how many peers have not begun it, and [`ASLEEP`].
    gates: [Line<AtomicU32>; 2],
    /// The phase that this rank has begun last.
    begun: Line<AtomicU32>,
}

/// One rank's memory, as it lies in this process.
#[derive(Clone, Copy)]
struct Segment {
    base: NonNull<u8>,
    bytes: usize,
}

impl Segment {
    fn head(&self) -> &Head {
        // SAFETY: a segment begins on a cache line and holds a Head and a directory (`Window::allocate`); all of it is
        // atomic; it stays mapped while the window lives, and no Segment leaves this module.
        unsafe { self.base.cast().as_ref() }
    }

    /// Where the lane to the host's rank `to` under `tag` begins.
    fn directory(&self, to: usize, tag: u8) -> &AtomicU64 {
        let place = size_of::<Head>() + (to * TAGS + usize::from(tag)) * size_of::<AtomicU64>();
        // SAFETY: as in `head`; the directory has TAGS places for each rank of the host.
        unsafe { self.base.add(place).cast().as_ref() }
    }
}

/// Where a lane's two blocks lie.
#[derive(Clone, Copy)]
pub(super) struct Places {
    blocks: [NonNull<u8>; 2],
    length: usize,
}

/// A lane's memory: of this process alone, or shared.
pub struct Block(Memory);

enum Memory {
    Own(Vec<u8>),
    Shared { places: Places, turn: usize },
}

impl Block {
    /// Zeros of this process.
    pub(super) fn own(length: usize) -> Self {
        Self(Memory::Own(vec![0; length]))
    }

    /// Shared memory. Its turn says which of its two blocks it shows.
    pub(super) fn shared(places: Places) -> Self {
        Self(Memory::Shared { places, turn: 0 })
    }

    /// Shows the block of `phase`.
    pub(super) fn turn(&mut self, phase: u32) {
        if let Memory::Shared { turn, .. } = &mut self.0 {
            *turn = (phase % 2) as usize;
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(bytes) => bytes,
            // SAFETY: `length` bytes of a segment that stays mapped while its window lives, which outlives the blocks
            // (`Mpi::lay` and its drop). No one writes them before this rank has begun the next phase, as the head of this
            // file says.
            Memory::Shared { places, turn } => unsafe {
                std::slice::from_raw_parts(places.blocks[*turn].as_ptr(), places.length)
            },
        }
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Own(bytes) => bytes,
            // SAFETY: as in `as_ref`; no one reads them before this rank has begun the phase of this block.
            Memory::Shared { places, turn } => unsafe {
                std::slice::from_raw_parts_mut(places.blocks[*turn].as_ptr(), places.length)
            },
        }
    }
}

/// The segments of all ranks of this host.
pub(super) struct Window {
    window: ffi::MPI_Win,
    segments: Vec<Segment>,
    /// This rank's number among those of the host.
    me: usize,
    /// Those with whom lanes are laid.
    peers: Vec<usize>,
    /// The phase that was begun last.
    phase: u32,
}

impl Window {
    /// Bytes of a segment with `outgoing` lanes, each given by its length, on a host of `members` ranks.
    pub(super) fn bytes(members: usize, outgoing: impl Iterator<Item = usize>) -> usize {
        // A line to spare: a segment may begin anywhere on one.
        let fixed = size_of::<Head>() + members * TAGS * size_of::<AtomicU64>() + LINE;
        (fixed + outgoing.map(|length| 2 * lines(length)).sum::<usize>()).next_multiple_of(LINE)
    }

    /// Allocates this rank's segment of `bytes` and maps those of the others of `host`. All its ranks call this at once.
    ///
    /// # Errors
    /// [`TransportError::Window`].
    pub(super) fn allocate(host: &SimpleCommunicator, bytes: usize) -> Result<Self, TransportError> {
        let done = |code: c_int| match code {
            0 => Ok(()),
            code => Err(TransportError::Window { bytes, code }),
        };
        // SAFETY: an MPI constant, initialized before main.
        let (mut window, mut base) = (unsafe { ffi::RSMPI_WIN_NULL }, ptr::null_mut::<u8>());
        // SAFETY: MPI is initialized while `host` lives; `base` and `window` outlive the calls; MPI 4.1, 12.2.3 and 12.5.3.
        // The shared lock lasts as long as the window: loads and stores go without further calls.
        unsafe {
            done(ffi::MPI_Comm_set_errhandler(host.as_raw(), ffi::RSMPI_ERRORS_RETURN))?;
            let (info, size) = (ffi::RSMPI_INFO_NULL, bytes as ffi::MPI_Aint);
            done(ffi::MPI_Win_allocate_shared(size, 1, info, host.as_raw(), (&raw mut base).cast(), &mut window))?;
            done(ffi::MPI_Win_lock_all(ffi::MPI_MODE_NOCHECK as c_int, window))?;
        }
        let mut segments = Vec::new();
        for rank in 0..host.size() {
            let (mut size, mut unit, mut base) = (0, 0, ptr::null_mut::<u8>());
            // SAFETY: as above; MPI 4.1, 12.2.3.
            done(unsafe { ffi::MPI_Win_shared_query(window, rank, &mut size, &mut unit, (&raw mut base).cast()) })?;
            let skipped = base.align_offset(LINE);
            let bytes = usize::try_from(size).unwrap_or(0).saturating_sub(skipped);
            // SAFETY: at most a line into a segment that has one to spare.
            match NonNull::new(unsafe { base.add(skipped) }) {
                Some(base) if bytes >= Self::bytes(host.size() as usize, [].into_iter()) - LINE => {
                    segments.push(Segment { base, bytes });
                }
                _ => return Err(TransportError::Window { bytes, code: 0 }),
            }
        }
        Ok(Self { window, segments, me: host.rank() as usize, peers: Vec::new(), phase: 0 })
    }

    /// Lays this rank's lanes: (the host's rank, tag, length) each; `peers` are those with whom lanes are laid, in either
    /// direction. Before anyone begins a phase, all have to have laid theirs.
    ///
    /// # Errors
    /// [`TransportError::Window`] where the segment is too small.
    pub(super) fn lay(
        &mut self,
        outgoing: &[(usize, u8, usize)],
        peers: Vec<usize>,
    ) -> Result<Vec<Places>, TransportError> {
        let own = self.segments[self.me];
        for to in 0..self.segments.len() {
            for tag in 0..TAGS {
                own.directory(to, tag as u8).store(NOWHERE, Ordering::Relaxed);
            }
        }
        let mut end = size_of::<Head>() + self.segments.len() * TAGS * size_of::<AtomicU64>();
        let mut places = Vec::with_capacity(outgoing.len());
        for (to, tag, length) in outgoing {
            end = lines(end);
            own.directory(*to, *tag).store(end as u64, Ordering::Relaxed);
            places.push(self.places(own, end, *length)?);
            end += 2 * lines(*length);
        }
        let head = own.head();
        head.begun.0.store(self.phase, Ordering::Relaxed);
        for gate in &head.gates {
            gate.0.store(peers.len() as u32, Ordering::Relaxed);
        }
        self.peers = peers;
        fence(Ordering::SeqCst);
        Ok(places)
    }

    /// Where the lane from the host's rank `from` lies, once that rank has laid it.
    ///
    /// # Errors
    /// [`TransportError::Window`] where it has laid none.
    pub(super) fn incoming(&self, from: usize, tag: u8, length: usize) -> Result<Places, TransportError> {
        fence(Ordering::SeqCst);
        let segment = self.segments[from];
        let begin = segment.directory(self.me, tag).load(Ordering::Relaxed);
        self.places(segment, usize::try_from(begin).unwrap_or(usize::MAX), length)
    }

    fn places(&self, segment: Segment, begin: usize, length: usize) -> Result<Places, TransportError> {
        let end = begin.checked_add(2 * lines(length)).filter(|end| *end <= segment.bytes);
        if end.is_none() || !begin.is_multiple_of(LINE) {
            return Err(TransportError::Window { bytes: length, code: 0 });
        }
        // SAFETY: both blocks end within the segment.
        let blocks = [begin, begin + lines(length)].map(|at| unsafe { segment.base.add(at) });
        Ok(Places { blocks, length })
    }

    /// The phase that was begun last.
    pub(super) fn phase(&self) -> u32 {
        self.phase
    }

    /// Begins the next phase: this rank's blocks of it are written, those of the phase before read.
    pub(super) fn begin(&mut self) {
        self.phase = self.phase.wrapping_add(1);
        self.segments[self.me].head().begun.0.store(self.phase, Ordering::Release);
        for peer in &self.peers {
            let gate = &self.segments[*peer].head().gates[(self.phase % 2) as usize].0;
            if gate.fetch_sub(1, Ordering::SeqCst) == ASLEEP + 1 {
                futex::wake(gate);
            }
        }
    }

    /// Whether all peers have begun the phase.
    pub(super) fn is_complete(&self) -> bool {
        self.gate().load(Ordering::SeqCst) & !ASLEEP == 0
    }

    /// Closes the gate of a complete phase, for the phase after the next: no peer begins that before this rank has begun the
    /// next.
    pub(super) fn close(&self) {
        self.gate().store(self.peers.len() as u32, Ordering::SeqCst);
    }

    /// Sleeps until all peers have begun the phase, at most `limit`; may wake early.
    pub(super) fn sleep(&self, limit: Duration) {
        let gate = self.gate();
        let found = gate.load(Ordering::SeqCst);
        if found & !ASLEEP == 0 {
            return;
        }
        let marked = found | ASLEEP;
        if found == marked || gate.compare_exchange(found, marked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            futex::wait(gate, marked, limit);
        }
    }

    /// The peers that have not begun the phase.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        let begun = |peer: usize| self.segments[peer].head().begun.0.load(Ordering::Acquire);
        // A peer may be one phase ahead.
        self.peers.iter().copied().filter(move |peer| begun(*peer).wrapping_sub(self.phase) > 1)
    }

    fn gate(&self) -> &AtomicU32 {
        &self.segments[self.me].head().gates[(self.phase % 2) as usize].0
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the window was allocated and locked by `allocate`, and MPI is not finalized before `Mpi` is dropped.
        unsafe {
            ffi::MPI_Win_unlock_all(self.window);
            ffi::MPI_Win_free(&mut self.window);
        }
    }
}

/// `length` rounded up to whole cache lines.
fn lines(length: usize) -> usize {
    length.next_multiple_of(LINE)
}

/// Waiting on a word of shared memory (futex(2)).
#[cfg(target_os = "linux")]
mod futex {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use rustix::thread::futex::{self, Flags, Timespec};

    /// Sleeps while `word` is `value`, at most `limit`.
    pub(super) fn wait(word: &AtomicU32, value: u32, limit: Duration) {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        // However it ends, the caller looks again.
        let _ = futex::wait(word, Flags::empty(), value, Some(&limit));
    }

    /// Wakes who sleeps on `word`.
    pub(super) fn wake(word: &AtomicU32) {
        let _ = futex::wake(word, Flags::empty(), 1);
    }
}

/// Other systems have no such call for all to use: sleep a little, look again.
#[cfg(not(target_os = "linux"))]
mod futex {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    pub(super) fn wait(_: &AtomicU32, _: u32, limit: Duration) {
        std::thread::sleep(limit.min(Duration::from_micros(20)));
    }

    pub(super) fn wake(_: &AtomicU32) {}
}
