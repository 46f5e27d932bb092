//! Lanes in memory that the ranks of one host share (docs/PROTOCOL.md, 17.4 and 17.5).
//!
//! Each rank has a segment: a head, a directory, and two blocks for each of its outgoing lanes, which it uses in turn.
//! A rank seals and peels straight into its own blocks. Its peers read them where they stand.
//!
//! A phase is complete when all ranks of the host have begun it. A rank begins phase t when it has written its blocks
//! of phase t and read its peers' of phase t - 1. So once phase t is complete, a rank may write over what it sent in
//! phase t - 1. That is why two blocks a lane are enough. Beginnings are counted in the head of the first rank's
//! segment. The last rank to begin a phase wakes those who sleep.
//!
//! So a rank must not read a block before its phase is complete, nor write one before the phase before it is. Nothing
//! enforces that: whoever maps the segments could do both. Ranks of one host are one trust domain (17.6).
#![allow(unsafe_code)]

use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use super::block::Places;
use super::{TransportError, futex};

/// How many lanes there may be from one rank to another: tags are below this.
const TAGS: usize = 3;
/// Bytes of a cache line. Blocks and counters begin on one.
const LINE: usize = 64;
/// What a directory says where there is no such lane.
const NOWHERE: u64 = u64::MAX;

/// A value on a cache line of its own.
#[repr(C, align(64))]
struct Line<T>(T);

/// The head of a segment. All of it is atomic, since all ranks of the host use it at once.
#[repr(C)]
struct Head {
    /// In the first rank's head: how many phases all ranks together have begun, modulo 2^32. Ranks sleep on this word.
    beginnings: Line<AtomicU32>,
    /// In the first rank's head: the latest phase in which a rank has begun to sleep.
    sleepers: Line<AtomicU32>,
    /// The phase that this segment's rank has begun last, counted from 1, modulo 2^32.
    begun: Line<AtomicU32>,
}

/// One rank's memory, at the address where it is mapped in this process.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    base: NonNull<u8>,
    bytes: usize,
}

impl Segment {
    /// How many bytes a segment needs on a host of `members` ranks for these `outgoing` lanes, each given by the bytes
    /// of its longest block.
    pub(super) fn bytes(members: usize, outgoing: impl Iterator<Item = usize>) -> usize {
        // One line more, since the memory that is allocated may begin anywhere on a line.
        LINE + fixed(members) + outgoing.map(|length| 2 * lines(length)).sum::<usize>()
    }

    /// How many bytes the segments of all `members` ranks of a host need, with `lanes` between them.
    pub(super) fn bytes_of_all(members: usize, lanes: impl Iterator<Item = usize>) -> usize {
        let without = Self::bytes(members, std::iter::empty());
        members * without + Self::bytes(members, lanes) - without
    }

    /// Takes the `bytes` bytes from `base` on as a segment of a host of `members` ranks. Returns `None` if they are too
    /// few.
    ///
    /// # Safety
    /// The bytes must be mapped and initialized for as long as the segment, or a copy of it, is used. Nothing but
    /// segments, in this and other processes, may use them meanwhile. All processes must have mapped the same memory,
    /// at addresses that differ by whole pages.
    pub(super) unsafe fn new(base: *mut u8, bytes: usize, members: usize) -> Option<Self> {
        // Pages begin on a line, so all ranks skip equally many bytes.
        let skipped = base.align_offset(LINE);
        let bytes = bytes.checked_sub(skipped).filter(|bytes| *bytes >= fixed(members))?;
        // SAFETY: `skipped` was subtracted from the bytes above, so that many are there.
        NonNull::new(unsafe { base.add(skipped) }).map(|base| Self { base, bytes })
    }

    fn head(&self) -> &Head {
        // SAFETY: a segment begins on a cache line and is long enough for a Head and a directory (`new`). All of these
        // is atomic, so any rank may read and write them at any time. The memory stays as long as the segment is used.
        unsafe { self.base.cast().as_ref() }
    }

    /// The place of the directory that says where the lane to the host's rank `to` under `tag` begins, in bytes from
    /// the segment's beginning.
    fn directory(&self, to: usize, tag: u8) -> &AtomicU64 {
        let place = size_of::<Head>() + (to * TAGS + usize::from(tag)) * size_of::<AtomicU64>();
        // SAFETY: as in `head`. The directory has TAGS places for each rank of the host.
        unsafe { self.base.add(place).cast().as_ref() }
    }
}

/// The segments of all ranks of this host, as one of them sees them, in memory that `M` keeps.
pub(super) struct Shared<M> {
    _memory: M,
    /// By the number of the rank among those of the host.
    segments: Vec<Segment>,
    /// This rank's number among those of the host.
    me: usize,
    /// The phase that this rank has begun last, counted from 1, modulo 2^32. 0 if it has begun none.
    phase: u32,
}

impl<M> Shared<M> {
    /// Takes the segments of the host's ranks, in their order. This rank has the number `me` among them. Sets the
    /// counters of its own segment to 0. All ranks have to do this before anyone begins a phase.
    pub(super) fn new(memory: M, segments: Vec<Segment>, me: usize) -> Self {
        let head = segments[me].head();
        for counter in [&head.beginnings, &head.sleepers, &head.begun] {
            counter.0.store(0, Ordering::Relaxed);
        }
        Self { _memory: memory, segments, me, phase: 0 }
    }

    /// Lays this rank's outgoing lanes in its segment and enters them in its directory. A lane is given by the number
    /// of the peer on the host, its tag and the bytes of its longest block. Returns their places in the same order. All
    /// ranks have to have laid theirs before anyone begins a phase, and nobody may use lanes that were laid before.
    ///
    /// # Errors
    /// [`TransportError::Window`] if the segment is too small.
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
        // Whoever meets this rank after this line finds the directory filled.
        fence(Ordering::SeqCst);
        Ok(places)
    }

    /// Where the lane from the host's rank `from` under `tag` stands. Ask only after that rank has laid its lanes and
    /// the two have met.
    ///
    /// # Errors
    /// [`TransportError::Window`] if it has laid no such lane, or none that fits its segment.
    pub(super) fn incoming(&self, from: usize, tag: u8, length: usize) -> Result<Places, TransportError> {
        // What was entered before the two ranks met is seen after this line.
        fence(Ordering::SeqCst);
        let segment = self.segments[from];
        let begin = segment.directory(self.me, tag).load(Ordering::Relaxed);
        self.places(segment, usize::try_from(begin).unwrap_or(usize::MAX), length)
    }

    /// The places of a lane whose two blocks of `length` bytes begin `begin` bytes from the beginning of `segment`.
    fn places(&self, segment: Segment, begin: usize, length: usize) -> Result<Places, TransportError> {
        let end = begin.checked_add(2 * lines(length)).filter(|end| *end <= segment.bytes);
        if end.is_none() || !begin.is_multiple_of(LINE) {
            return Err(TransportError::Window { bytes: length, code: None });
        }
        // SAFETY: both blocks end within the segment, whose memory outlives the lanes (`Segment::new`). A rank writes its
        // own block of phase t between the end of phase t - 1 and its `begin` of t. Its peer reads it between the end of
        // phase t and its own `begin` of t + 1. The two never meet, as the head of this file says why.
        unsafe {
            let blocks = [begin, begin + lines(length)].map(|at| segment.base.add(at));
            Ok(Places::new(blocks, length))
        }
    }

    /// The phase that this rank has begun last.
    pub(super) fn phase(&self) -> u32 {
        self.phase
    }

    /// Begins the next phase (docs/PROTOCOL.md, 17.5). This rank has to have written its blocks of that phase and read
    /// its peers' blocks of the phase before. It must not write the former any more.
    pub(super) fn begin(&mut self) {
        self.phase = self.phase.wrapping_add(1);
        self.segments[self.me].head().begun.0.store(self.phase, Ordering::Release);
        let head = self.segments[0].head();
        let before = head.beginnings.0.fetch_add(1, Ordering::SeqCst);
        // Whether someone sleeps in this phase. The note may say the next phase: someone who has found this one
        // complete is already in it and has noted that since.
        let sleepers = || head.sleepers.0.load(Ordering::SeqCst).wrapping_sub(self.phase) < 2;
        if self.is_complete_with(before.wrapping_add(1)) && sleepers() {
            futex::wake_all(&head.beginnings.0);
        }
    }

    /// Whether all ranks have begun the phase: then this rank may read its peers' blocks of it.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete_with(self.segments[0].head().beginnings.0.load(Ordering::SeqCst))
    }

    /// Whether so many beginnings complete the phase. There may be up to one less than the ranks in excess, since all
    /// but this rank may have begun the next phase.
    fn is_complete_with(&self, beginnings: u32) -> bool {
        let ranks = self.segments.len() as u32;
        beginnings.wrapping_sub(self.phase.wrapping_mul(ranks)) < ranks
    }

    /// Sleeps until all ranks have begun the phase, at most for `limit`. It may wake up early.
    pub(super) fn sleep(&self, limit: Duration) {
        let head = self.segments[0].head();
        self.note_sleeper();
        let found = head.beginnings.0.load(Ordering::SeqCst);
        if !self.is_complete_with(found) {
            futex::wait(&head.beginnings.0, found, limit);
        }
    }

    /// Notes that a rank sleeps in this phase. A later phase that stands there stays: a rank that is slow to sleep may find this one
    /// complete by now, and others asleep in the next. With its own phase in the place of theirs it would not wake them, where it is the
    /// last to begin that.
    fn note_sleeper(&self) {
        let later = |noted: u32| (self.phase.wrapping_sub(noted).cast_signed() > 0).then_some(self.phase);
        // An error says that a later phase, or this one, stands there.
        let _ = self.segments[0].head().sleepers.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// The numbers of the ranks that have not begun the phase.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        let begun = |rank: usize| self.segments[rank].head().begun.0.load(Ordering::Acquire);
        // A rank that has begun this phase may also be one phase ahead.
        (0..self.segments.len()).filter(move |rank| begun(*rank).wrapping_sub(self.phase) > 1)
    }
}

/// `length` rounded up to whole cache lines.
fn lines(length: usize) -> usize {
    length.next_multiple_of(LINE)
}

/// How many bytes of a segment stand before its blocks, on a host of `members` ranks.
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

    /// Memory for `MEMBERS` segments with lanes of `length` bytes. It is made of words, since all of a segment but its
    /// blocks is atomic.
    fn memory(length: usize) -> Vec<Vec<u64>> {
        let bytes = Segment::bytes(MEMBERS, [length; MEMBERS - 1].into_iter());
        (0..MEMBERS).map(|_| vec![0; bytes / 8]).collect()
    }

    /// By rank: where the segments of all ranks are mapped. Here that is the same for all.
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

    /// A rank that is so slow to sleep in a phase that all others sleep in the next by then wakes them when it begins that.
    #[test]
    fn who_is_slow_to_sleep_takes_nobodys_note_away() {
        const LONG: Duration = Duration::from_secs(60);
        let mut memory = memory(LENGTH);
        let bytes = memory[0].len() * 8;
        let bases = segments(&mut memory);
        let laid = Barrier::new(MEMBERS);
        let began = std::time::Instant::now();
        let first_phase = |me: usize| {
            let mut rank = shared(&bases[me], me, bytes);
            rank.lay(&[]).unwrap();
            laid.wait();
            rank.begin();
            rank
        };
        std::thread::scope(|scope| {
            for me in 1..MEMBERS {
                let first_phase = &first_phase;
                scope.spawn(move || {
                    let mut rank = first_phase(me);
                    for phase in 1..=2 {
                        while !rank.is_complete() {
                            rank.sleep(LONG);
                        }
                        if phase == 1 {
                            rank.begin();
                        }
                    }
                });
            }
            let mut slow = first_phase(0);
            // All others are asleep in the second phase by then, or never will be.
            std::thread::sleep(Duration::from_millis(300));
            slow.note_sleeper();
            slow.begin();
        });
        assert!(began.elapsed() < LONG / 2, "nobody has woken them");
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
