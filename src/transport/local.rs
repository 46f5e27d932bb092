//! Ranks as threads of one process. They exchange the same bytes as processes do, but hand them over instead of sending
//! them.
//!
//! The sender of a block swaps it for the receiver's last one. So nothing is copied, and nothing is allocated once
//! every lane has been used. Whoever hands a block over, or takes one, wakes the thread at the other end if that sleeps
//! until then ([`bell`](super::bell)).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bell::Bell;
use super::{Backoff, Block, Cores, Exchange, Lane, Letters, Member, Membership, TIMEOUT, Transport, TransportError};
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::memory;

/// How many lanes there may be from one rank to another: tags are below this.
const TAGS: usize = 3;
/// The value of `Hub::aborted` until a rank aborts.
const RUNNING: i32 = -1;

/// What the threads of all ranks share.
struct Hub {
    ranks: u16,
    cores: Cores,
    /// The exit code of the first rank that has aborted, or [`RUNNING`].
    aborted: AtomicI32,
    /// The lanes, at `(from * ranks + to) * TAGS + tag`.
    lanes: Vec<Mutex<Handover>>,
    /// By rank: the letters from the owner to it, then those from it to the owner.
    letters: Vec<[Mutex<Unread>; 2]>,
    /// By rank: what wakes its thread.
    bells: Vec<Bell>,
}

/// Letters of one direction that have been posted and not read.
#[derive(Default)]
struct Unread {
    queue: VecDeque<Vec<u8>>,
    /// Whether their reader waits for the next one, and its bell counts that.
    awaited: bool,
}

/// One lane between two threads. At most one of its ends waits at a time.
#[derive(Default)]
struct Handover {
    /// The block that the sender has handed over, until the receiver takes it.
    full: Option<Block>,
    /// The block that the receiver has given back for the sender's next phase.
    empty: Option<Block>,
    /// Whether one end waits, and its bell counts that: the receiver for a block, or the sender for room.
    awaited: bool,
}

impl Handover {
    /// Notes that this end, whose bell is `me`, waits until the other end has done its part. Noted twice, it counts
    /// once.
    fn wait(&mut self, me: &Bell) {
        if !std::mem::replace(&mut self.awaited, true) {
            me.await_one();
        }
    }
}

/// One rank's end of the hub, for its thread.
pub struct Local {
    hub: Arc<Hub>,
    rank: Rank,
    timeout: Duration,
    outgoing: Vec<Lane>,
    incoming: Vec<Lane>,
    outgoing_blocks: Vec<Block>,
    incoming_blocks: Vec<Block>,
    /// By outgoing lane: whether its block of this phase has not been handed over yet.
    unsent: Vec<bool>,
    /// By incoming lane: whether its block of this phase has not been taken yet.
    unreceived: Vec<bool>,
}

/// Makes a hub, and returns the ends of `ranks` ranks in their order. Each goes to the thread of its rank.
pub fn connect(ranks: u16) -> Vec<Local> {
    let n = usize::from(ranks);
    let hub = Arc::new(Hub {
        ranks,
        cores: Cores::of_threads(ranks),
        aborted: AtomicI32::new(RUNNING),
        lanes: (0..n * n * TAGS).map(|_| Mutex::default()).collect(),
        letters: (0..n).map(|_| Default::default()).collect(),
        bells: (0..n).map(|_| Bell::default()).collect(),
    });
    Rank::all(ranks)
        .map(|rank| Local {
            hub: Arc::clone(&hub),
            rank,
            timeout: Duration::from_secs(600),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            outgoing_blocks: Vec::new(),
            incoming_blocks: Vec::new(),
            unsent: Vec::new(),
            unreceived: Vec::new(),
        })
        .collect()
}

impl Hub {
    /// Locks the lane `tag` from the rank `from` to the rank `to`.
    fn lane(&self, from: Rank, to: Rank, tag: u8) -> MutexGuard<'_, Handover> {
        let place = (from.index() * usize::from(self.ranks) + to.index()) * TAGS + usize::from(tag);
        // A thread that panicked has left whole blocks behind, since they are only swapped. So its lock may be taken.
        self.lanes[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the letters between `rank` and the owner, of one direction.
    fn letters(&self, rank: Rank, to_owner: bool) -> MutexGuard<'_, Unread> {
        self.letters[rank.index()][usize::from(to_owner)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks a lane of which this end has done its part, and then rings `peer` if that waits. So `peer` wakes up to a
    /// lane that nobody has locked.
    fn done(&self, mut handover: MutexGuard<'_, Handover>, peer: Rank) {
        let awaited = std::mem::take(&mut handover.awaited);
        drop(handover);
        if awaited {
            self.bell(peer).brought();
        }
    }

    fn bell(&self, rank: Rank) -> &Bell {
        &self.bells[rank.index()]
    }

    /// Fails once a rank has aborted.
    fn running(&self) -> Result<(), TransportError> {
        match self.aborted.load(Ordering::SeqCst) {
            RUNNING => Ok(()),
            code => Err(TransportError::Aborted { code }),
        }
    }
}

impl Local {
    /// Puts a letter between `rank` and the owner into its queue, and wakes its reader if that waits.
    fn post(&self, rank: Rank, to_owner: bool, letter: Vec<u8>) {
        let mut letters = self.hub.letters(rank, to_owner);
        letters.queue.push_back(letter);
        let awaited = std::mem::take(&mut letters.awaited);
        drop(letters);
        if awaited {
            self.hub.bell(if to_owner { Rank::OWNER } else { rank }).brought();
        }
    }

    /// Sleeps until all that this rank's bell counts is there or a rank aborts, at most for `limit`.
    fn sleep(&self, limit: Duration) {
        self.hub.bell(self.rank).sleep(limit, || self.hub.running().is_err());
    }

    /// Waits for the next letter between `rank` and the owner, which must have `length` bytes.
    fn wait_for(&self, rank: Rank, to_owner: bool, length: usize) -> Result<Vec<u8>, TransportError> {
        let from = if to_owner { rank } else { Rank::OWNER };
        let mut backoff = Backoff::new(false, self.timeout);
        loop {
            let mut letters = self.hub.letters(rank, to_owner);
            if let Some(letter) = letters.queue.pop_front() {
                return match letter.len() == length {
                    true => Ok(letter),
                    false => Err(TransportError::Length { from, found: letter.len(), expected: length }),
                };
            }
            if !std::mem::replace(&mut letters.awaited, true) {
                self.hub.bell(self.rank).await_one();
            }
            drop(letters);
            self.hub.running()?;
            if backoff.pause_until_woken(|limit| self.sleep(limit)).is_none() {
                let (waited, missing) = (self.timeout, vec![from]);
                return Err(TransportError::Timeout { waited, missing, setting: TIMEOUT });
            }
        }
    }
}

impl Member for Local {
    fn membership(&self) -> Membership {
        let Hub { ranks, cores, .. } = *self.hub;
        Membership { rank: self.rank, ranks, cores, rank_on_host: self.rank.0, one_host: true }
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Exchange for Local {
    fn takes_device_memory(&self) -> bool {
        false
    }

    fn lay(&mut self, outgoing: &[Lane], incoming: &[Lane], _: Option<DeviceLanes>) -> Result<(), TransportError> {
        let blocks = |lanes: &[Lane]| lanes.iter().map(|lane| Block::zeroed(lane.length)).collect::<Result<_, _>>();
        (self.outgoing, self.incoming) = (outgoing.to_vec(), incoming.to_vec());
        (self.outgoing_blocks, self.incoming_blocks) = (blocks(outgoing)?, blocks(incoming)?);
        (self.unsent, self.unreceived) = (vec![false; outgoing.len()], vec![false; incoming.len()]);
        Ok(())
    }

    fn lanes_on_device(&self) -> bool {
        false
    }

    fn leave_device(&mut self) {}

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        (&mut self.outgoing_blocks, &self.incoming_blocks)
    }

    fn begin(&mut self, _: Phase, _: &[usize], _: &[usize]) -> Result<(), TransportError> {
        self.unsent.fill(true);
        self.unreceived.fill(true);
        Ok(())
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        self.hub.running()?;
        // Hand over each block whose lane has room.
        for (i, lane) in self.outgoing.iter().enumerate() {
            if !self.unsent[i] {
                continue;
            }
            let mut handover = self.hub.lane(self.rank, lane.peer, lane.tag);
            // The lane is full if the peer has not taken the block of the phase before.
            if handover.full.is_none() {
                let next = match handover.empty.take() {
                    Some(empty) if empty.len() == lane.length => empty,
                    _ => Block::zeroed(lane.length)?,
                };
                handover.full = Some(std::mem::replace(&mut self.outgoing_blocks[i], next));
                self.hub.done(handover, lane.peer);
                self.unsent[i] = false;
            } else {
                handover.wait(self.hub.bell(self.rank));
            }
        }
        // Take each block that is there, and give the last one back.
        for (i, lane) in self.incoming.iter().enumerate() {
            if !self.unreceived[i] {
                continue;
            }
            let mut handover = self.hub.lane(lane.peer, self.rank, lane.tag);
            if let Some(block) = handover.full.take() {
                if block.len() != lane.length {
                    return Err(TransportError::Length {
                        from: lane.peer,
                        found: block.len(),
                        expected: lane.length,
                    });
                }
                handover.empty = Some(std::mem::replace(&mut self.incoming_blocks[i], block));
                self.hub.done(handover, lane.peer);
                self.unreceived[i] = false;
            } else {
                handover.wait(self.hub.bell(self.rank));
            }
        }
        Ok(!self.unsent.contains(&true) && !self.unreceived.contains(&true))
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        backoff.pause_until_woken(|limit| self.sleep(limit))
    }

    fn missing(&mut self) -> Vec<Rank> {
        let incoming = self.incoming.iter().zip(&self.unreceived);
        let outgoing = self.outgoing.iter().zip(&self.unsent);
        let mut missing: Vec<Rank> =
            incoming.chain(outgoing).filter(|(_, open)| **open).map(|(lane, _)| lane.peer).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}

impl Letters for Local {
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        if self.rank != Rank::OWNER {
            return self.wait_for(self.rank, false, length);
        }
        let copies = messages[1..].iter().map(|message| memory::copied(message)).collect::<Result<_, _>>()?;
        self.give(Rank(1), copies)?;
        Ok(messages[0].clone())
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        if self.rank != Rank::OWNER {
            self.post(self.rank, true, memory::copied(message)?);
            return Ok(Vec::new());
        }
        let mut all = vec![memory::copied(message)?];
        all.extend(self.take(Rank(1), usize::from(self.hub.ranks) - 1, message.len())?);
        Ok(all)
    }

    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        first.following(messages.len()).zip(messages).for_each(|(rank, message)| self.post(rank, false, message));
        Ok(())
    }

    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        first.following(count).map(|rank| self.wait_for(rank, true, length)).collect()
    }

    fn abort(&mut self, code: i32) {
        // The first rank to abort names the code.
        let _ = self.hub.aborted.compare_exchange(RUNNING, code, Ordering::SeqCst, Ordering::SeqCst);
        self.hub.bells.iter().for_each(Bell::ring);
    }
}

impl Transport for Local {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Changes nothing: threads of one process share all memory in any case.
    fn share_memory(&mut self, _: bool) {}

    fn lanes(&mut self) -> &mut dyn Exchange {
        self
    }

    fn letters(&mut self) -> &mut dyn Letters {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(rank: u16) -> Vec<Lane> {
        (0..3).filter(|peer| *peer != rank).map(|peer| Lane { peer: Rank(peer), tag: 0, length: 8 }).collect()
    }

    #[test]
    fn blocks_reach_their_peers_phase_after_phase() {
        std::thread::scope(|scope| {
            for mut end in connect(3) {
                scope.spawn(move || {
                    let me = end.rank().0;
                    let lanes = lanes(me);
                    end.lay(&lanes, &lanes, None).unwrap();
                    for phase in 1..=100_u8 {
                        for (lane, block) in lanes.iter().zip(end.blocks().0) {
                            block.fill((me * 16 + lane.peer.0) as u8 ^ phase);
                        }
                        end.exchange(Phase(phase), &[8, 8], &[8, 8]).unwrap();
                        for (lane, block) in lanes.iter().zip(end.blocks().1) {
                            assert_eq!(**block, [(lane.peer.0 * 16 + me) as u8 ^ phase; 8]);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn scatter_and_gather_go_by_rank() {
        std::thread::scope(|scope| {
            for mut end in connect(3) {
                scope.spawn(move || {
                    let me = end.rank().0 as u8;
                    let messages: Vec<Vec<u8>> = if me == 0 { (0..3).map(|r| vec![r; 4]).collect() } else { vec![] };
                    assert_eq!(end.scatter(&messages, 4).unwrap(), [me; 4]);
                    let all = end.gather(&[me + 10; 2]).unwrap();
                    assert_eq!(all.len(), if me == 0 { 3 } else { 0 });
                    assert!(all.iter().enumerate().all(|(r, message)| *message == [r as u8 + 10; 2]));
                });
            }
        });
    }

    /// The others scatter and gather as ever, and do not see that the owner deals with them in two groups.
    #[test]
    fn the_owner_gives_and_takes_by_groups() {
        std::thread::scope(|scope| {
            for mut end in connect(6) {
                scope.spawn(move || {
                    let me = end.rank().0 as u8;
                    if me > 0 {
                        assert_eq!(end.scatter(&[], 4).unwrap(), [me; 4]);
                        assert!(end.gather(&[me + 10; 2]).unwrap().is_empty());
                        return;
                    }
                    for (first, count) in [(1, 3), (4, 2)] {
                        end.give(Rank(first), (first..first + count).map(|rank| vec![rank as u8; 4]).collect())
                            .unwrap();
                        let taken = end.take(Rank(first), count.into(), 2).unwrap();
                        let expected: Vec<Vec<u8>> =
                            (first..first + count).map(|rank| vec![rank as u8 + 10; 2]).collect();
                        assert_eq!(taken, expected);
                    }
                });
            }
        });
    }

    #[test]
    fn a_silent_peer_is_named() {
        let mut ends = connect(3);
        let mut end = ends.remove(0);
        end.set_timeout(Duration::from_millis(20));
        end.lay(&lanes(0), &lanes(0), None).unwrap();
        match end.exchange(Phase(1), &[8, 8], &[8, 8]) {
            Err(TransportError::Timeout { missing, .. }) => assert_eq!(missing, [Rank(1), Rank(2)]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_abort_reaches_everyone_with_its_first_code() {
        let mut ends = connect(3);
        ends[1].abort(4);
        ends[2].abort(5);
        ends[0].lay(&lanes(0), &lanes(0), None).unwrap();
        let error = ends[0].exchange(Phase(1), &[8, 8], &[8, 8]);
        assert!(matches!(error, Err(TransportError::Aborted { code: 4 })), "{error:?}");
        assert!(matches!(ends[1].scatter(&[], 4), Err(TransportError::Aborted { code: 4 })));
    }
}
