//! Pieces: how what a stage starts from or returns travels between its rank and the owner, in letters of one length
//! (docs/PROTOCOL.md, 4.9 and 14.4).
//!
//! A stage has as many values as memory holds, and a letter has not. So whoever sends or receives those of many ranks holds one piece
//! of each at a time.

use zeroize::Zeroizing;

use crate::crypto::aead::{Aead, Library, Nonce, TAG};
use crate::crypto::key::Key;
use crate::ids::Rank;
use crate::memory;
use crate::nn::snapshot::PIECE;
use crate::run::{RunError, sealed};

/// How many ranks' pieces the owner sends or receives at a time, so that its memory does not grow with the number of ranks.
pub(in crate::run) const AT_A_TIME: usize = 64;

/// How the bytes of each rank are cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) struct Pieces {
    /// How many pieces there are for each rank.
    pub(in crate::run) count: usize,
    /// How many bytes each piece has before it is sealed.
    plain: usize,
}

impl Pieces {
    /// How so many `bytes` are cut.
    pub(in crate::run) fn cut(bytes: u64) -> Self {
        let plain = (PIECE as u64).min(bytes.next_multiple_of(4));
        let count = if plain == 0 { 0 } else { bytes.div_ceil(plain) };
        Self { count: count as usize, plain: plain as usize }
    }

    /// How many bytes a piece has as it travels.
    pub(in crate::run) fn length(&self) -> usize {
        self.plain + TAG
    }

    /// Zeroed memory for what is in one piece.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn room(&self) -> Result<Zeroizing<Vec<u8>>, RunError> {
        Ok(Zeroizing::new(memory::zeroed(self.plain)?))
    }
}

/// One end of the way that the bytes of one rank take: at the owner, or at the rank.
pub(in crate::run) struct End {
    pieces: Pieces,
    cipher: Box<dyn Aead>,
    /// What travels, as errors call it, and who sends it.
    what: &'static str,
    from: Rank,
}

impl End {
    /// An end of the way of `what` that `from` sends, as `pieces` under `key`. The key is for these pieces alone. `library` seals and
    /// opens.
    pub(super) fn new(pieces: Pieces, key: &Key, library: Library, what: &'static str, from: Rank) -> Self {
        Self { pieces, cipher: library.key(key), what, from }
    }

    /// Seals piece `number`, counted from 0, of `bytes`; behind these it is zeros.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn write(&self, number: usize, bytes: &[u8]) -> Result<Vec<u8>, RunError> {
        let here = bytes.get(number * self.pieces.plain..).unwrap_or_default();
        let here = &here[..here.len().min(self.pieces.plain)];
        self.write_piece(number, |piece| piece[..here.len()].copy_from_slice(here))
    }

    /// Seals piece `number`, counted from 0. `fill` gets its bytes as zeros, and writes what is in it.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn write_piece(
        &self,
        number: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Vec<u8>, RunError> {
        let mut piece = memory::zeroed(self.pieces.length())?;
        fill(&mut piece[..self.pieces.plain]);
        self.cipher.seal_in_place(&nonce(number), &[], &mut piece);
        Ok(piece)
    }

    /// Opens piece `number`, counted from 0, into `plain`, which has [room](Pieces::room) for what is in it.
    ///
    /// # Errors
    /// [`RunError::Sealed`].
    pub(in crate::run) fn read(&self, number: usize, piece: &[u8], plain: &mut [u8]) -> Result<(), RunError> {
        self.cipher.open(&nonce(number), &[], piece, plain).map_err(sealed(self.what, self.from))
    }
}

/// The bytes of one rank, as they come in pieces, with zeros behind them.
pub(in crate::run) struct Joined(Zeroizing<Vec<u8>>);

impl Joined {
    /// Room for the bytes of all `pieces`.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn new(pieces: Pieces) -> Result<Self, RunError> {
        Ok(Self(Zeroizing::new(memory::room(pieces.count * pieces.plain)?)))
    }

    /// Takes the bytes of the next piece. There must be room for them.
    pub(in crate::run) fn take(&mut self, plain: &[u8]) {
        self.0.extend_from_slice(plain);
    }

    /// The first `length` bytes. `None` where fewer have come, or where anything but zeros follows.
    pub(in crate::run) fn first(mut self, length: u64) -> Option<Zeroizing<Vec<u8>>> {
        let length = usize::try_from(length).ok()?;
        if !is_zero(self.0.get(length..)?) {
            return None;
        }
        self.0.truncate(length);
        Some(self.0)
    }
}

/// Whether there is nothing but zeros in `bytes`.
pub(in crate::run) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The nonce of a piece is its number, as the key is for one rank's values alone.
fn nonce(number: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(pieces: Pieces, key: u8) -> End {
        End::new(pieces, &Key::from_bytes([key; 32]), Library::Rust, "the values", Rank(4))
    }

    #[test]
    fn values_are_cut_into_pieces_of_one_length() {
        let of = |bytes: usize| {
            let pieces = Pieces::cut(bytes as u64);
            (pieces.count, pieces.plain)
        };
        assert_eq!([of(0), of(3), of(4000)], [(0, 0), (1, 4), (1, 4000)]);
        assert_eq!([of(PIECE), of(PIECE + 1), of(5 * PIECE)], [(1, PIECE), (2, PIECE), (5, PIECE)]);
        assert_eq!(Pieces::cut(1 << 40).count, 1 << 20);
    }

    #[test]
    fn bytes_arrive_in_their_order_and_under_their_key_alone() {
        let pieces = Pieces { count: 3, plain: 16 };
        let given: Vec<u8> = (1..=36).collect();
        let (from, to) = (end(pieces, 1), end(pieces, 1));
        let taken = |length: u64| {
            let mut joined = Joined::new(pieces).unwrap();
            let mut plain = pieces.room().unwrap();
            for number in 0..pieces.count {
                let piece = from.write(number, &given).unwrap();
                assert_eq!(piece.len(), from.write(number, &[]).unwrap().len(), "a relay's is as long");
                to.read(number, &piece, &mut plain).unwrap();
                joined.take(&plain);
                assert!(end(pieces, 2).read(number, &piece, &mut plain.clone()).is_err());
                assert!(to.read((number + 1) % 3, &piece, &mut plain.clone()).is_err(), "in another's place");
            }
            joined.first(length)
        };
        assert_eq!(*taken(36).unwrap(), given);
        // Fewer bytes than there are, and more than there is room for.
        assert!(taken(35).is_none() && taken(49).is_none());
        assert_eq!(*taken(48).unwrap(), [given.clone(), vec![0; 12]].concat());
    }
}
