//! The result: what a rank returns at the end of a term (docs/PROTOCOL.md, 14). It is sealed to the owner under a key
//! from the rank's package, so that nobody else can have sent it. The values or the state of its stage may follow in pieces, under a
//! key that the result holds.

use serde::{Deserialize, Serialize};

use super::pieces::{End, Pieces};
use super::{Binding, Desk, padded, unpadded};
use crate::crypto::aead::Library;
use crate::crypto::hpke::{self, KeyPair};
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::Rank;
use crate::mix::beat::Fault;
use crate::run::{RunError, sealed};

/// What a result is called in errors.
const WHAT: &str = "the result";

/// To whom results are sealed: the owner, with one key pair for the whole run.
pub(in crate::run) struct Recipient(KeyPair);

impl Recipient {
    /// A recipient with a fresh key pair.
    pub(in crate::run) fn new(desk: &mut Desk<'_>) -> Self {
        Self(KeyPair::generate(&mut desk.stack))
    }

    /// The public key to which results are sealed. Packages carry it.
    pub(in crate::run) fn key(&self) -> &[u8] {
        self.0.public()
    }
}

/// What a rank returns at the end of a term.
#[derive(Serialize, Deserialize)]
pub(in crate::run) struct TermResult {
    /// Of the whole run so far, in nanoseconds: compute, seal, exchange, peel, open, wait. Then bytes sent, and slots
    /// that overran.
    pub(in crate::run) timing: [u64; 8],
    /// The first fault that the rank has noticed in this term.
    pub(in crate::run) fault: Option<Fault>,
    /// A fresh key, under which what the stage returns follows, or as many zeros.
    pub(in crate::run) key: Key,
}

/// How many bytes a result has before it is sealed: more than its encoding ever takes.
const PLAIN: usize = 160;
/// How many bytes a result has as it travels.
pub(in crate::run) const LENGTH: usize = PLAIN + hpke::OVERHEAD;

/// An end of the way that the `pieces` take which follow the result of the rank of `binding`. `key` is the one in the result. `library`
/// seals and opens.
pub(in crate::run) fn end(pieces: Pieces, library: Library, key: &Key, binding: &Binding<'_>) -> End {
    End::new(pieces, key, library, "what a stage returns", binding.rank)
}

/// What the result of a term of `slots` slots is sealed for: HPKE's `info` (docs/PROTOCOL.md, 14.2).
fn info(binding: &Binding<'_>, slots: u64) -> Vec<u8> {
    let mut info = binding.sealed(labels::RESULT);
    info.extend_from_slice(&slots.to_le_bytes());
    info
}

/// Writes the result of a term of `slots` slots and seals it to the public key `owner`, under the key `psk` of the
/// package.
///
/// # Errors
/// [`RunError::Memory`]; [`RunError::Sealed`] where nothing can be sealed to the key.
pub(in crate::run) fn write(
    returned: &TermResult,
    slots: u64,
    (owner, psk): (&[u8], &Key),
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<Vec<u8>, RunError> {
    let plain = padded(returned, PLAIN)?;
    hpke::seal(&mut desk.stack, owner, &info(binding, slots), Some(psk), &plain)
        .map_err(sealed("the package", Rank::OWNER))
}

/// Opens the result in `blob` of a term of `slots` slots. It must have been sealed to `recipient` under the key `psk`
/// of the rank's package.
///
/// # Errors
/// [`RunError::Sealed`], [`RunError::Unreadable`].
pub(in crate::run) fn read(
    blob: &[u8],
    slots: u64,
    (recipient, psk): (&Recipient, &Key),
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<TermResult, RunError> {
    let from = binding.rank;
    let plain = recipient.0.open(&mut desk.stack, &info(binding, slots), Some(psk), blob);
    let plain = plain.map_err(sealed(WHAT, from))?;
    unpadded(&plain).ok_or(RunError::Unreadable { what: WHAT, from })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Phase, Slot, Term};
    use crate::mix::beat::Reason;
    use crate::run::letters::encoded_length;
    use crate::run::trust::Credentials;

    /// The keys are those of the whole run. So what a result is bound to, and nothing else, tells it from that of another term, or of a term
    /// of another length.
    #[test]
    fn opens_for_its_term_slots_rank_and_run_alone() {
        let nobody = Credentials::default();
        let mut desk = Desk::new(&nobody).unwrap();
        let (recipient, psk) = (Recipient::new(&mut desk), Key::from_bytes([1; 32]));
        let binding = Binding { run: &[2; 32], opening: &[0; 32], term: Term(3), rank: Rank(4), ranks: 7 };
        let returned = TermResult { timing: [7; 8], fault: None, key: Key::from_bytes([3; 32]) };
        let blob = write(&returned, 5, (recipient.key(), &psk), &mut desk, &binding).unwrap();
        let mut opens = |slots, psk: &Key, binding: Binding<'_>| {
            read(&blob, slots, (&recipient, psk), &mut desk, &binding).is_ok_and(|read| read.timing == [7; 8])
        };
        assert!(opens(5, &psk, binding));
        assert!(!opens(4, &psk, binding) && !opens(6, &psk, binding));
        assert!(!opens(5, &Key::from_bytes([0; 32]), binding));
        for other in [
            Binding { term: Term(2), ..binding },
            Binding { rank: Rank(5), ..binding },
            Binding { run: &[0; 32], ..binding },
        ] {
            assert!(!opens(5, &psk, other));
        }
    }

    /// Each number takes as many bytes as it can.
    #[test]
    fn the_longest_result_fits() {
        let fault =
            Fault { slot: Slot(u64::MAX), phase: Phase(u8::MAX), peer: Rank(u16::MAX), reason: Reason::Device };
        let longest = TermResult { timing: [u64::MAX; 8], fault: Some(fault), key: Key::from_bytes([255; 32]) };
        assert!((100..PLAIN - 16).contains(&encoded_length(&longest).unwrap()));
        assert!(padded(&longest, PLAIN).is_ok());
    }
}
