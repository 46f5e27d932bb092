//! Letters: what travels between the owner and each other rank outside slots (docs/PROTOCOL.md, "Initialization",
//! "Results").
//!
//! Each file is one kind of letter: its form, its length, what it is bound to, and both its ends, `write` where it
//! leaves and `read` where it arrives. All ranks' letters of one kind have the same length, so that nobody can tell
//! them apart.

pub(super) mod announcement;
pub(super) mod lengths;
pub(super) mod opening;
pub(super) mod package;
pub(super) mod peers;
pub(super) mod pieces;
pub(super) mod result;
pub(super) mod role;
pub(super) mod start;
pub(super) mod verdict;

use postcard::ser_flavors::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use self::peers::Peers;
use super::RunError;
use super::trust::Credentials;
use crate::crypto::stack::WipedStack;
use crate::ids::{Rank, Term};
use crate::memory;
use crate::terminal;

/// How many bytes a host's name or a fingerprint has at most in a letter.
const NAME: usize = 128;

/// What a process needs to write and read letters.
pub(super) struct Desk<'a> {
    /// The stack on which letters are sealed and opened. It is wiped, so that no secret stays behind.
    stack: WipedStack,
    /// Who stands behind the other ranks, as far as they have shown it.
    pub(super) peers: Peers<'a>,
}

impl<'a> Desk<'a> {
    /// The desk of a process with these `credentials` that has met nobody yet.
    ///
    /// # Errors
    /// [`RunError::Memory`] for the stack.
    pub(super) fn new(credentials: &'a Credentials) -> Result<Self, RunError> {
        Ok(Self { stack: WipedStack::new()?, peers: Peers::new(credentials) })
    }
}

/// What a letter belongs to. A letter that was signed or sealed under another binding is refused.
#[derive(Clone, Copy)]
pub(super) struct Binding<'a> {
    /// The run's id, 32 bytes.
    pub(super) run: &'a [u8; 32],
    /// SHA-256 of the opening, as this process has said or heard it.
    pub(super) opening: &'a [u8; 32],
    /// The term in which the letter travels.
    pub(super) term: Term,
    /// The rank that the letter is from or for. At the other end is the owner.
    pub(super) rank: Rank,
    /// How many ranks the run has.
    pub(super) ranks: u16,
}

impl Binding<'_> {
    /// What a signature under `label` covers first, before the message itself (docs/PROTOCOL.md, 19.5).
    fn signed(&self, label: &[u8]) -> Vec<u8> {
        let Self { opening, term, rank, ranks, .. } = *self;
        [label, opening, &term.0.to_le_bytes(), &rank.0.to_le_bytes(), &ranks.to_le_bytes()].concat()
    }

    /// The bytes with which the `info` of whatever is sealed under `label` begins: label, run id, term, rank.
    fn sealed(&self, label: &[u8]) -> Vec<u8> {
        [label, self.run, &self.term.0.to_le_bytes(), &self.rank.0.to_le_bytes()].concat()
    }
}

/// Writes `value` in exactly `length` bytes: the length of its encoding (8 bytes), postcard's encoding, zeros
/// (docs/PROTOCOL.md, 2.3).
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`].
pub(super) fn padded<V: Serialize>(value: &V, length: usize) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let encoded = encoded_length(value)?;
    let end = encoded + 8;
    if end > length {
        return Err(RunError::Bug(format!("{end} bytes do not fit a message of {length}")));
    }
    // The memory has its full length from the start: what it would have grown out of would not be wiped.
    let mut bytes = Zeroizing::new(memory::zeroed(length)?);
    bytes[..8].copy_from_slice(&(encoded as u64).to_le_bytes());
    encode(value, &mut bytes[8..end])?;
    Ok(bytes)
}

/// Writes postcard's encoding of `value` to `bytes`.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit.
fn encode<V: Serialize>(value: &V, bytes: &mut [u8]) -> Result<(), RunError> {
    postcard::to_slice(value, bytes).map_err(|error| RunError::Bug(error.to_string()))?;
    Ok(())
}

/// How many bytes postcard's encoding of `value` has.
///
/// # Errors
/// [`RunError::Bug`].
fn encoded_length<V: Serialize>(value: &V) -> Result<usize, RunError> {
    postcard::serialize_with_flavor(value, Size::default()).map_err(|error| RunError::Bug(error.to_string()))
}

/// Reads a value that [`padded`] wrote. `None` where the bytes hold no such value.
pub(super) fn unpadded<V: DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (value, left) = postcard::take_from_bytes(rest.get(..length)?).ok()?;
    left.is_empty().then_some(value)
}

/// Makes a word fit to be shown to the owner's user, and to be compared: escaped and shortened. Its sender may have put
/// anything there.
pub(super) fn shown(word: &str) -> String {
    shortened(&terminal::escaped(word))
}

/// For serde: reads a word in the form in which it is [`shown`].
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(shown(&String::deserialize(from)?))
}

/// Cuts `name` between characters to at most [`NAME`] bytes.
fn shortened(name: &str) -> String {
    name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= NAME).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_hides_the_length_and_comes_off() {
        let (short, long) = (padded(&vec![1_u8], 64).unwrap(), padded(&vec![7_u8; 40], 64).unwrap());
        assert_eq!((short.len(), long.len()), (64, 64));
        assert_eq!(unpadded::<Vec<u8>>(&long), Some(vec![7; 40]));
        assert!(padded(&vec![0_u8; 60], 64).is_err());
        assert_eq!(unpadded::<Vec<u8>>(&[0xff; 64]), None);
        assert_eq!(unpadded::<Vec<u8>>(&[1, 2, 3]), None);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("node-1"), "node-1");
        assert_eq!(shortened(&"ä".repeat(100)).len(), 128);
    }
}
