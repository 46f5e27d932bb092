//! Lanes in memory that the ranks of one host share.
//!
//! Each rank has a segment: a head, a directory, and two blocks for each of its outgoing lanes, taken in turn. It seals and
//! peels straight into its own blocks; its peers read them where they lie.
//!
//! A phase is complete when all ranks of the host have begun it. A rank begins phase t when its blocks of phase t are
//! written and those of phase t - 1 read, so a rank that knows phase t complete may write over what it sent in phase
//! t - 1: two blocks a lane are enough. Beginnings are counted in the first rank's head; the last to begin wakes who sleeps.
//!
//! A rank must not read a block before its phase is complete, nor write one before the phase before it is; whoever shares
//! the segment could. Ranks of one host are one trust domain.
#![allow(unsafe_code)]

use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use super::block::Places;
use super::{TransportError, futex};

/// Lanes between the same two ranks, at most.
const TAGS: usize = 3;
/// Bytes of a cache line; blocks and counters begin on one.
const LINE: usize = 64;
/// In a directory: no such lane.
const NOWHERE: u64 = u64::MAX;

/// What stands on a cache line of its own.
#[repr(C, align(64))]
struct Line<T>(T);

/// The head of a segment.
#[repr(C)]
struct Head {
    /// In the first rank's: beginnings of phases by all ranks, modulo 2^32.
    beginnings: Line<AtomicU32>,
    /// In the first rank's: the phase that a rank has last begun to sleep in.
    sleepers: Line<AtomicU32>,
    /// The phase that this rank has begun last.
    begun: Line<AtomicU32>,
}

/// One rank's memory, as it lies in this process.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    base: NonNull<u8>,
    bytes: usize,
}

impl Segment {
    /// Bytes of a segment with `outgoing` lanes, each given by its length, on a host of `members` ranks.
    pub(super) fn bytes(members: usize, outgoing: impl Iterator<Item = usize>) -> usize {
        // A line to spare: what is allocated may begin anywhere on one.
        LINE + fixed(members) + outgoing.map(|length| 2 * lines(length)).sum::<usize>()
    }

    /// Bytes that `members` ranks of a host share, with `lanes` between them.
    pub(super) fn bytes_of_all(members: usize, lanes: impl Iterator<Item = usize>) -> usize {
        let without = Self::bytes(members, std::iter::empty());
        members * without + Self::bytes(members, lanes) - without
    }

    /// A segment in the `bytes` bytes from `base` on, of which all ranks see the same; `None` where they are too few.
    ///
    /// # Safety
    /// The memory must stay as long as the segment is used, and nothing but segments may use it.
    pub(super) unsafe fn new(base: *mut u8, bytes: usize, members: usize) -> Option<Self> {
        // Pages begin on a line, so all ranks skip as much.
        let skipped = base.align_offset(LINE);
        let bytes = bytes.checked_sub(skipped).filter(|bytes| *bytes >= fixed(members))?;
        // SAFETY: as many bytes are there.
        NonNull::new(unsafe { base.add(skipped) }).map(|base| Self { base, bytes })
    }

    fn head(&self) -> &Head {
        // SAFETY: a segment begins on a cache line and is long enough for a Head and a directory (`new`), which are atomic
        // throughout.
        unsafe { self.base.cast().as_ref() }
    }

    /// Where the lane to the host's rank `to` under `tag` begins.
    fn directory(&self, to: usize, tag: u8) -> &AtomicU64 {
        let place = size_of::<Head>() + (to * TAGS + usize::from(tag)) * size_of::<AtomicU64>();
        // SAFETY: as in `head`; the directory has TAGS places for each rank of the host.
        unsafe { self.base.add(place).cast().as_ref() }
    }
}

/// The segments of all ranks of this host, in memory that `M` keeps.
pub(super) struct Shared<M> {
    _memory: M,
    segments: Vec<Segment>,
    /// This rank's number among those of the host.
    me: usize,
    /// The phase that was begun last.
    phase: u32,
}

impl<M> Shared<M> {
    /// The segments, by rank of the host, of which this is rank `me`. All ranks do this before anyone begins a phase.
    pub(super) fn new(memory: M, segments: Vec<Segment>, me: usize) -> Self {
        let head = segments[me].head();
        for counter in [&head.beginnings, &head.sleepers, &head.begun] {
            counter.0.store(0, Ordering::Relaxed);
        }
        Self { _memory: memory, segments, me, phase: 0 }
    }

    /// Lays this rank's lanes: (the host's rank, tag, length) each. Before anyone begins a phase, all have to have laid
    /// theirs.
    ///
    /// # Errors
    /// [`TransportError::Window`] where the segment is too small.
    pub(super) fn lay(&mut self, outgoing: &[(usize, u8, usize)]) -> Result<Vec<Places>, TransportError> {
        let own = self.segments[self.me];
        for to in 0..self.segments.len() {
            for tag in 0..TAGS {
                own.directory(to, tag as u8).store(NOWHERE, Ordering::Relaxed);
            }
        }
        let mut end = fixed(self.segments.len());
        let mut places = Vec::with_capacity(outgoing.len());
        for (to, tag, length) in outgoing {
            end = lines(end);
            own.directory(*to, *tag).store(end as u64, Ordering::Relaxed);
            places.push(self.places(own, end, *length)?);
            end += 2 * lines(*length);
        }
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
            return Err(TransportError::Window { bytes: length, code: None });
        }
        // SAFETY: both blocks end within the segment, whose memory outlives the lanes (`Segment::new`). Who writes and reads a
        // block when is what the head of this file says.
        unsafe {
            let blocks = [begin, begin + lines(length)].map(|at| segment.base.add(at));
            Ok(Places::new(blocks, length))
        }
    }

    /// The phase that was begun last.
    pub(super) fn phase(&self) -> u32 {
        self.phase
    }

    /// Begins the next phase: this rank's blocks of it are written, those of the phase before read.
    pub(super) fn begin(&mut self) {
        self.phase = self.phase.wrapping_add(1);
        self.segments[self.me].head().begun.0.store(self.phase, Ordering::Release);
        let head = self.segments[0].head();
        let before = head.beginnings.0.fetch_add(1, Ordering::SeqCst);
        // Whoever sleeps in this phase, even where someone who is already in the next has noted that since.
        let sleepers = || head.sleepers.0.load(Ordering::SeqCst).wrapping_sub(self.phase) < 2;
        if self.is_complete_with(before.wrapping_add(1)) && sleepers() {
            futex::wake_all(&head.beginnings.0);
        }
    }

    /// Whether all ranks have begun the phase.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete_with(self.segments[0].head().beginnings.0.load(Ordering::SeqCst))
    }

    /// Whether the phase is complete with so many beginnings. All but this rank may have begun the next.
    fn is_complete_with(&self, beginnings: u32) -> bool {
        let ranks = self.segments.len() as u32;
        beginnings.wrapping_sub(self.phase.wrapping_mul(ranks)) < ranks
    }

    /// Sleeps until all ranks have begun the phase, at most `limit`; may wake early.
    pub(super) fn sleep(&self, limit: Duration) {
        let head = self.segments[0].head();
        head.sleepers.0.store(self.phase, Ordering::SeqCst);
        let found = head.beginnings.0.load(Ordering::SeqCst);
        if !self.is_complete_with(found) {
            futex::wait(&head.beginnings.0, found, limit);
        }
    }

    /// The ranks that have not begun the phase.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        let begun = |rank: usize| self.segments[rank].head().begun.0.load(Ordering::Acquire);
        // Another may be one phase ahead.
        (0..self.segments.len()).filter(move |rank| begun(*rank).wrapping_sub(self.phase) > 1)
    }
}

/// `length` rounded up to whole cache lines.
fn lines(length: usize) -> usize {
    length.next_multiple_of(LINE)
}

/// Bytes of a segment before its blocks.
fn fixed(members: usize) -> usize {
    lines(size_of::<Head>() + members * TAGS * size_of::<AtomicU64>())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::transport::Block;

    const MEMBERS: usize = 5;
    const LENGTH: usize = 100;
    const PHASES: u32 = 2000;

    /// Memory for `MEMBERS` segments. Words, since all of a segment but its blocks is atomic.
    fn memory(length: usize) -> Vec<Vec<u64>> {
        let bytes = Segment::bytes(MEMBERS, [length; MEMBERS - 1].into_iter());
        (0..MEMBERS).map(|_| vec![0; bytes / 8]).collect()
    }

    /// Segments for each rank, as each of them has mapped them.
    fn segments(memory: &mut [Vec<u64>]) -> Vec<Vec<usize>> {
        let bases: Vec<usize> = memory.iter_mut().map(|words| words.as_mut_ptr() as usize).collect();
        vec![bases; MEMBERS]
    }

    fn shared(bases: &[usize], me: usize, bytes: usize) -> Shared<()> {
        // SAFETY: the test keeps the memory, and uses it for nothing else.
        let segment = |base: &usize| unsafe { Segment::new(*base as *mut u8, bytes, MEMBERS) }.unwrap();
        Shared::new((), bases.iter().map(segment).collect(), me)
    }

    fn others(me: usize) -> Vec<usize> {
        (0..MEMBERS).filter(|peer| *peer != me).collect()
    }

    #[test]
    fn blocks_reach_their_peers_phase_after_phase() {
        let mut memory = memory(LENGTH);
        let bytes = memory[0].len() * 8;
        let laid = Barrier::new(MEMBERS);
        std::thread::scope(|scope| {
            for (me, bases) in segments(&mut memory).into_iter().enumerate() {
                let laid = &laid;
                scope.spawn(move || {
                    let mut shared = shared(&bases, me, bytes);
                    let lanes: Vec<_> = others(me).into_iter().map(|peer| (peer, 1, LENGTH)).collect();
                    let mut outgoing: Vec<Block> =
                        shared.lay(&lanes).unwrap().into_iter().map(Block::shared).collect();
                    laid.wait();
                    let incoming = others(me).into_iter().map(|from| shared.incoming(from, 1, LENGTH).unwrap());
                    let mut incoming: Vec<Block> = incoming.map(Block::shared).collect();
                    let value = |from: usize, to: usize, phase: u32| (from * 31 + to * 7) as u8 ^ phase as u8;
                    for phase in 1..=PHASES {
                        outgoing.iter_mut().for_each(|block| block.turn(phase));
                        for (block, to) in outgoing.iter_mut().zip(others(me)) {
                            block.as_mut().fill(value(me, to, phase));
                        }
                        shared.begin();
                        let mut sleeps = 0;
                        while !shared.is_complete() {
                            shared.sleep(Duration::from_secs(5));
                            sleeps += 1;
                            assert!(sleeps < 100, "rank {me} is not woken in phase {phase}");
                        }
                        incoming.iter_mut().for_each(|block| block.turn(phase));
                        for (block, from) in incoming.iter().zip(others(me)) {
                            assert_eq!(block.as_ref(), [value(from, me, phase); LENGTH], "{from} to {me}, {phase}");
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn who_has_not_begun_is_missing() {
        let mut memory = memory(LENGTH);
        let bytes = memory[0].len() * 8;
        let bases = segments(&mut memory);
        let mut ranks: Vec<_> = (0..MEMBERS).map(|me| shared(&bases[me], me, bytes)).collect();
        for rank in &mut ranks {
            rank.lay(&[]).unwrap();
        }
        for rank in [0, 1, 3] {
            ranks[rank].begin();
        }
        assert!(!ranks[0].is_complete());
        assert_eq!(ranks[0].missing().collect::<Vec<_>>(), [2, 4]);
        let before = std::time::Instant::now();
        ranks[0].sleep(Duration::from_millis(20));
        assert!(before.elapsed() >= Duration::from_millis(20), "nobody has begun");
        ranks[2].begin();
        ranks[4].begin();
        assert!(ranks.iter().all(Shared::is_complete));
        assert_eq!(ranks[0].missing().count(), 0);
    }

    #[test]
    fn lanes_that_do_not_fit_or_were_not_laid_are_refused() {
        let mut memory = memory(LENGTH);
        let bytes = memory[0].len() * 8;
        let bases = segments(&mut memory);
        let mut rank = shared(&bases[0], 0, bytes);
        let lane = |length| [(1, 0, length)];
        assert!(rank.lay(&lane(LENGTH)).is_ok());
        assert!(matches!(rank.lay(&lane(bytes)), Err(TransportError::Window { .. })));
        assert!(rank.lay(&lane(LENGTH)).is_ok());
        let peer = shared(&bases[1], 1, bytes);
        assert!(peer.incoming(0, 0, LENGTH).is_ok());
        assert!(matches!(peer.incoming(0, 1, LENGTH), Err(TransportError::Window { .. })));
        // SAFETY: the memory is the test's.
        assert!(unsafe { Segment::new(bases[0][0] as *mut u8, 64, MEMBERS) }.is_none());
    }
}
