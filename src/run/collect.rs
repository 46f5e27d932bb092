//! What the owner collects at a term's end: the results of all ranks, and behind them, piece by piece, what their stages return
//! (docs/PROTOCOL.md, 14).

use zeroize::Zeroizing;

use super::RunError;
use super::epochs::{Sink, data_lengths};
use super::kept::results::RankTiming;
use super::letters::pieces::{AT_A_TIME, End, is_zero};
use super::letters::result;
use super::owner::{OwnerState, TermEnd};
use super::platform::Platform;
use super::seat;
use super::spent::Spent;
use crate::crypto::key::Key;
use crate::ids::Rank;
use crate::mix::beat::StageData;
use crate::mix::courier::Noticed;
use crate::nn::snapshot::{self, PIECE, Snapshot};
use crate::transport::Transport;

/// The owner's end of the way that the pieces of one rank take.
struct Arriving {
    rank: Rank,
    end: End,
    /// What is in the piece that came last. `None` where nothing is due, so that nobody reads it.
    plain: Option<Zeroizing<Vec<u8>>>,
    /// How many bytes are due from this rank. Behind them come zeros.
    due: u64,
}

/// The owner's ends of the way of all ranks' pieces.
struct Arrivals {
    /// By rank, from 1.
    ends: Vec<Arriving>,
    /// Room for pieces that nobody reads.
    unread: Zeroizing<Vec<u8>>,
}

impl Arrivals {
    /// The first `length` bytes of the piece that came last from `rank`.
    fn from(&self, rank: Rank, length: usize) -> &[u8] {
        self.ends[rank.index() - 1].plain.as_ref().map_or(&[], |plain| &plain[..length])
    }
}

impl<B: Platform> OwnerState<'_, B> {
    /// Collects the results of the term that has ended, and passes what the stages return to `sink`.
    pub(super) fn collect(&mut self, transport: &mut dyn Transport, sink: &mut dyn Sink) -> Result<(), RunError> {
        let Some(TermEnd { slots, returns, fault, own }) = self.ended.take() else {
            return Err(RunError::Bug("no term has ended".to_owned()));
        };
        // 14.3: every rank returns a result. The owner's own place in this gather is zeros that no one reads.
        let blobs = transport.letters().gather(&[0; result::LENGTH])?;
        let returned = match self.open_results(&blobs, slots, fault) {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(noticed)) => Err(RunError::Fault { noticed, own }),
            Err(error) => Err(error),
        };
        // 14.4: pieces follow in any case, so that nobody sees from them how the results are.
        self.take_pieces(transport, returns, returned, sink)
    }

    /// Opens the results in `blobs`, by rank, after a term of `slots` slots. Returns the keys of the pieces that follow, by rank from
    /// 1, or the first fault: of `fault`, which the owner knows, and those that the results tell.
    fn open_results(
        &mut self,
        blobs: &[Vec<u8>],
        slots: u64,
        fault: Option<Noticed>,
    ) -> Result<Result<Vec<Key>, Noticed>, RunError> {
        let mut timing = vec![RankTiming::new(0, &self.seat.timing)];
        let mut sent = self.seat.timing.sent;
        let mut overran = self.seat.timing.overran;
        let mut first = fault;
        let mut keys = Vec::new();
        for (rank, blob) in Rank::all(blobs.len() as u16).zip(blobs).skip(1) {
            let binding = self.public.binding(self.term, rank, blobs.len() as u16);
            let proven = (&self.recipient, &self.results[rank.index()]);
            // 14.2: a result opens only if its rank sealed it for this run, term and number of slots.
            let returned = result::read(blob, slots, proven, &mut self.desk, &binding)?;
            first = Noticed::first(first, returned.fault.map(|fault| Noticed { fault, by: rank }));
            let rank_timing = seat::from_numbers(returned.timing);
            sent += rank_timing.sent;
            overran = overran.max(rank_timing.overran);
            timing.push(RankTiming::new(rank.0, &rank_timing));
            keys.push(returned.key);
        }
        // 14.5: a fault in a result ends the run for all.
        if let Some(noticed) = first {
            return Ok(Err(noticed));
        }
        let Spent { slots: before, told, .. } = self.spent;
        self.spent = Spent { timing, sent, overran, slots: before + slots, told };
        Ok(Ok(keys))
    }

    /// Takes the pieces that follow the results, and passes what is in them to `sink`, with what the owner's own stages have. The pieces
    /// are under the keys in `returned`, by rank from 1. Where `returned` is an error, or one of the pieces does not open, those that
    /// follow are taken all the same, as all ranks send them, and that error is returned.
    fn take_pieces(
        &mut self,
        transport: &mut dyn Transport,
        data: StageData,
        returned: Result<Vec<Key>, RunError>,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let pieces = self.public.pieces(data);
        let lengths = data_lengths(data, &self.specs);
        let mut taken =
            returned.and_then(|keys| Ok((self.arriving(&keys, data, &lengths)?, self.own_snapshots(data)?)));
        let mut rounds = snapshot::rounds(&lengths).peekable();
        for number in 0.. {
            if number < pieces.count {
                // So many letters lie in memory at a time, however many ranks there are.
                for first in Rank::all(transport.ranks()).skip(1).step_by(AT_A_TIME) {
                    let count = AT_A_TIME.min(usize::from(transport.ranks() - first.0));
                    let arrived = transport.letters().take(first, count, pieces.length())?;
                    let from = first.index() - 1;
                    let opened = taken.as_mut().map(|(arriving, _)| {
                        open(number, &arrived, &mut arriving.ends[from..from + count], &mut arriving.unread)
                    });
                    if let Ok(Err(error)) = opened {
                        taken = Err(error);
                    }
                }
            } else if rounds.peek().is_none() {
                break;
            }
            // The owner's own stages may have more than any rank's.
            while let Some((_, stage, place)) = rounds.next_if(|(round, ..)| *round == number) {
                let Ok((arriving, own)) = &taken else { continue };
                let piece = match self.host_of(stage) {
                    Some(rank) => arriving.from(rank, place.len()),
                    None => &own[stage].as_ref().map(Snapshot::bytes).unwrap_or_default()[place],
                };
                if let Err(error) = sink.take(stage, piece) {
                    taken = Err(error);
                }
            }
        }
        taken.map(drop)
    }

    /// The owner's ends of the way of all ranks' pieces, under their `keys`, by rank from 1.
    fn arriving(&self, keys: &[Key], data: StageData, lengths: &[u64]) -> Result<Arrivals, RunError> {
        let (pieces, ranks) = (self.public.pieces(data), keys.len() as u16 + 1);
        let arriving = |(rank, key)| {
            let due = lengths.iter().enumerate().find(|(stage, _)| self.host_of(*stage) == Some(rank));
            let binding = self.public.binding(self.term, rank, ranks);
            let end = result::end(pieces, self.seat.aead, key, &binding);
            let plain = due.map(|_| pieces.room()).transpose()?;
            Ok(Arriving { rank, end, plain, due: due.map_or(0, |(_, length)| *length) })
        };
        let ends = Rank::all(ranks).skip(1).zip(keys).map(arriving).collect::<Result<_, RunError>>()?;
        Ok(Arrivals { ends, unread: pieces.room()? })
    }

    /// By stage, a snapshot of each that runs on the owner, where `data` of it is asked for.
    fn own_snapshots(&self, data: StageData) -> Result<Vec<Option<Snapshot>>, RunError> {
        let mut own: Vec<Option<Snapshot>> = self.specs.iter().map(|_| None).collect();
        if data == StageData::Nothing {
            return Ok(own);
        }
        for (hosted, first) in [(&self.hosted.head, 0), (&self.hosted.tail, self.remote.end)] {
            let snapshots = hosted.as_ref().map(|network| network.snapshots(&*self.seat.backend)).transpose()?;
            for (place, snapshot) in own[first..].iter_mut().zip(snapshots.into_iter().flatten()) {
                *place = Some(snapshot);
            }
        }
        Ok(own)
    }
}

/// Opens piece `number` of some ranks, which `arrived` has in their order. `unread` is room for pieces that nobody reads.
///
/// # Errors
/// [`RunError::Sealed`]; [`RunError::Unreadable`] where anything but zeros follows what is due from a rank.
fn open(number: usize, arrived: &[Vec<u8>], ends: &mut [Arriving], unread: &mut [u8]) -> Result<(), RunError> {
    for (piece, Arriving { rank, end, plain, due }) in arrived.iter().zip(ends) {
        let plain = plain.as_mut().map_or(&mut *unread, |plain| plain.as_mut_slice());
        end.read(number, piece, plain)?;
        let behind = due.saturating_sub(number as u64 * PIECE as u64).min(plain.len() as u64);
        if !is_zero(&plain[behind as usize..]) {
            return Err(RunError::Unreadable { what: "what a stage returns", from: *rank });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::aead::Library;
    use crate::ids::Term;
    use crate::run::letters::Binding;
    use crate::run::letters::pieces::Pieces;

    /// What comes behind that which is due is zeros, in the piece in which it ends and in those that follow: no stage has a place to
    /// leave something in.
    #[test]
    fn nothing_but_zeros_follows_what_is_due() {
        let pieces = Pieces::cut(2 * PIECE as u64 + 100);
        let (key, binding) = (
            Key::from_bytes([1; 32]),
            Binding { run: &[0; 32], opening: &[0; 32], term: Term(0), rank: Rank(1), ranks: 7 },
        );
        let opens = |due: usize, at: usize| {
            let mut bytes = vec![0; 3 * PIECE];
            bytes[..due].fill(7);
            bytes[at] = 7;
            let end = || result::end(pieces, Library::Rust, &key, &binding);
            let mut ends = [Arriving { rank: Rank(1), end: end(), plain: None, due: due as u64 }];
            let mut unread = pieces.room().unwrap();
            let mut piece = |number| open(number, &[end().write(number, &bytes).unwrap()], &mut ends, &mut unread);
            (0..pieces.count).all(|number| piece(number).is_ok())
        };
        let due = PIECE + 10;
        assert!(opens(due, 0) && opens(due, PIECE - 1) && opens(due, due - 1));
        for at in [due, due + 1, 2 * PIECE - 1, 2 * PIECE, 2 * PIECE + 99] {
            assert!(!opens(due, at), "byte {at}");
        }
        assert!(opens(PIECE, 0) && !opens(PIECE, PIECE) && !opens(0, 0));
    }
}
