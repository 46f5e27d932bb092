//! The start: the values that a stage starts from, where the job names a file of them (docs/PROTOCOL.md, 4.9).
//!
//! They travel once, behind the first term's packages, in pieces. So the owner holds one piece for each rank at a time,
//! and not all values for each. All ranks get as many bytes; those without a stage get zeros.

use zeroize::{Zeroize, Zeroizing};

use super::Binding;
use super::opening::Public;
use crate::crypto::aead::{Aead, Library, Nonce, TAG};
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::Rank;
use crate::memory;
use crate::run::{RunError, sealed};

/// How many bytes a piece has at most before it is sealed. It is a multiple of four, so that no number is cut.
const PIECE: usize = 1 << 20;

/// How the values for each rank are cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) struct Pieces {
    /// How many pieces each rank gets; 0 where values are drawn from the seed.
    pub(in crate::run) count: usize,
    /// How many bytes each piece has before it is sealed.
    plain: usize,
}

impl Pieces {
    /// How values are cut in a run of these `public` numbers. All pieces together have the room of a result, which
    /// holds the values of any stage.
    pub(in crate::run) fn of(public: &Public) -> Self {
        Self::cut(if public.given { public.result as usize } else { 0 })
    }

    /// How so many `bytes` are cut.
    fn cut(bytes: usize) -> Self {
        let plain = PIECE.min(bytes.next_multiple_of(4));
        Self { count: bytes.checked_div(plain).map_or(0, |_| bytes.div_ceil(plain)), plain }
    }

    /// How many bytes a piece has as it travels.
    pub(in crate::run) fn length(&self) -> usize {
        self.plain + TAG
    }

    /// Zeroed memory for all pieces of one rank together.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn room(&self) -> Result<Zeroizing<Vec<u8>>, RunError> {
        Ok(Zeroizing::new(memory::zeroed(self.count * self.plain)?))
    }
}

/// One end of a start: at the owner, or at the rank.
pub(in crate::run) struct End {
    pieces: Pieces,
    cipher: Box<dyn Aead>,
}

impl End {
    /// An end for the rank of `binding`. `psk` is the key `result` of its package, from which the pieces' key is
    /// derived. `library` seals and opens.
    pub(in crate::run) fn new(pieces: Pieces, library: Library, psk: &Key, binding: &Binding<'_>) -> Self {
        Self { pieces, cipher: library.key(&psk.derive(&binding.sealed(labels::START))) }
    }

    /// Seals piece `number`, counted from 0, of `values`; behind these it is zeros.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub(in crate::run) fn write(&self, number: usize, values: &[f32]) -> Result<Vec<u8>, RunError> {
        let plain = self.pieces.plain;
        let mut piece = memory::zeroed(self.pieces.length())?;
        let here = values.get(number * plain / 4..).unwrap_or_default();
        let (words, _) = piece[..plain].as_chunks_mut();
        for (word, value) in words.iter_mut().zip(here) {
            *word = value.to_le_bytes();
        }
        self.cipher.seal_in_place(&nonce(number), &[], &mut piece);
        Ok(piece)
    }

    /// Opens piece `number`, counted from 0, into its place in `all`.
    ///
    /// # Errors
    /// [`RunError::Sealed`].
    pub(in crate::run) fn read(&self, number: usize, piece: &[u8], all: &mut [u8]) -> Result<(), RunError> {
        let plain = self.pieces.plain;
        let place = &mut all[number * plain..][..plain];
        self.cipher.open(&nonce(number), &[], piece, place).map_err(sealed("the initial values", Rank::OWNER))
    }
}

/// Reads the first `count` numbers in the bytes of all pieces. `None` where there are fewer, or where anything but
/// zeros follows.
pub(super) fn values(all: &[u8], count: u64) -> Option<Zeroizing<Vec<f32>>> {
    let (here, behind) = all.split_at_checked(usize::try_from(count.checked_mul(4)?).ok()?)?;
    let mut values = Zeroizing::new(memory::room(here.len() / 4).ok()?);
    for word in here.as_chunks().0 {
        let mut word: [u8; 4] = *word;
        values.push(f32::from_le_bytes(word));
        word.zeroize();
    }
    behind.iter().all(|byte| *byte == 0).then_some(values)
}

/// The nonce of a piece is its number, as the key is for one rank's start alone.
fn nonce(number: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;

    fn end(pieces: Pieces, psk: u8, rank: u16) -> End {
        let binding = Binding { run: &[2; 32], opening: &[3; 32], term: Term(0), rank: Rank(rank), ranks: 7 };
        End::new(pieces, Library::Rust, &Key::from_bytes([psk; 32]), &binding)
    }

    #[test]
    fn starts_are_cut_into_pieces_of_one_length() {
        let of = |bytes| {
            let pieces = Pieces::cut(bytes);
            (pieces.count, pieces.plain)
        };
        assert_eq!([of(0), of(3), of(4000)], [(0, 0), (1, 4), (1, 4000)]);
        assert_eq!([of(PIECE), of(PIECE + 1), of(5 * PIECE)], [(1, PIECE), (2, PIECE), (5, PIECE)]);
    }

    #[test]
    fn values_arrive_at_their_rank_and_nowhere_else() {
        let pieces = Pieces { count: 3, plain: 16 };
        let given: Vec<f32> = (0..9).map(|i| i as f32 - 4.5).collect();
        let (from, to) = (end(pieces, 1, 4), end(pieces, 1, 4));
        let mut all = pieces.room().unwrap();
        for number in 0..pieces.count {
            let piece = from.write(number, &given).unwrap();
            assert_eq!(piece.len(), from.write(number, &[]).unwrap().len(), "a relay's is as long");
            to.read(number, &piece, &mut all).unwrap();
            for other in [end(pieces, 2, 4), end(pieces, 1, 5)] {
                assert!(other.read(number, &piece, &mut all.clone()).is_err());
            }
            assert!(to.read((number + 1) % 3, &piece, &mut all.clone()).is_err(), "in another's place");
        }
        assert_eq!(*values(&all, 9).unwrap(), given);
        // Fewer numbers than there are, and more than there is room for.
        assert!(values(&all, 8).is_none() && values(&all, 13).is_none());
        assert_eq!(*values(&all, 12).unwrap(), [given, vec![0.0; 3]].concat());
    }
}
