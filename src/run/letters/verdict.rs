//! The verdict: the owner's word when it has the results of a term (docs/PROTOCOL.md, 14.5).
//!
//! It says whether the run goes on or has come to its end, and with which code all ranks end. So no rank's exit code
//! shows what this rank has noticed itself in the last slots. While the owner still writes down what the ranks end with, it says each
//! second that they are to wait.

use super::Binding;
use crate::crypto::aead::{Aead, Library, Nonce, TAG};
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::ids::Rank;
use crate::run::{RunError, sealed};

/// How many bytes a verdict has before it is sealed.
const PLAIN: usize = 16;
/// How many bytes a verdict has as it travels.
pub(in crate::run) const LENGTH: usize = PLAIN + TAG;

/// The code that says: another verdict follows.
pub(in crate::run) const WAIT: i32 = i32::MIN;

/// The cipher of the verdicts of one term and of nothing else. Its key is derived from the key `psk` that proves a rank's results.
/// It seals a few bytes a term, so its speed does not matter.
fn cipher(psk: &Key, binding: &Binding<'_>) -> Box<dyn Aead> {
    Library::Rust.key(&psk.derive(&binding.sealed(labels::VERDICT)))
}

/// The nonce of a term's verdict `number`, counted from 0.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// Seals verdict `number` of the term, counted from 0, for the rank whose results `psk` proves: exit with `code`, or, where it is 0,
/// go on or end well; or [`WAIT`].
pub(in crate::run) fn write(code: i32, number: u64, psk: &Key, binding: &Binding<'_>) -> Vec<u8> {
    let (mut plain, mut sealed) = ([0; PLAIN], vec![0; LENGTH]);
    plain[..4].copy_from_slice(&code.to_le_bytes());
    cipher(psk, binding).seal(&nonce(number), &[], &plain, &mut sealed);
    sealed
}

/// Opens verdict `number` of the term, which [`write()`] wrote, and returns its code.
///
/// # Errors
/// [`RunError::Sealed`].
pub(in crate::run) fn read(verdict: &[u8], number: u64, psk: &Key, binding: &Binding<'_>) -> Result<i32, RunError> {
    let mut plain = [0; PLAIN];
    let opened = cipher(psk, binding).open(&nonce(number), &[], verdict, &mut plain);
    opened.map_err(sealed("the verdict", Rank::OWNER))?;
    let [a, b, c, d, ..] = plain;
    Ok(i32::from_le_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;

    #[test]
    fn opens_for_its_rank_epoch_and_run_alone() {
        let key = Key::from_bytes([1; 32]);
        let binding = Binding { run: &[2; 32], opening: &[0; 32], term: Term(3), rank: Rank(4), ranks: 7 };
        let verdict = write(-4, 2, &key, &binding);
        assert_eq!(verdict.len(), LENGTH);
        assert_eq!(read(&verdict, 2, &key, &binding).unwrap(), -4);
        assert!(matches!(read(&verdict, 1, &key, &binding), Err(RunError::Sealed { .. })), "in another's place");
        let refused = |key: &Key, binding: Binding<'_>, verdict: &[u8]| {
            assert!(matches!(read(verdict, 2, key, &binding), Err(RunError::Sealed { .. })));
        };
        refused(&key, Binding { term: Term(2), ..binding }, &verdict);
        refused(&key, Binding { rank: Rank(5), ..binding }, &verdict);
        refused(&key, Binding { run: &[0; 32], ..binding }, &verdict);
        refused(&Key::from_bytes([0; 32]), binding, &verdict);
        let altered: Vec<u8> = verdict.iter().map(|byte| byte ^ 1).collect();
        refused(&key, binding, &altered);
    }
}
