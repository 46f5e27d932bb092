//! The owner's word when it has the results of an epoch: whether the run goes on or has come to its end, and with which code all
//! ranks end (docs/PROTOCOL.md, "Results"). So no rank's exit code shows what it has noticed itself in the last slots.

use super::RunError;
use super::opening::Public;
use crate::crypto::Unauthentic;
use crate::crypto::aead::{Aead, Library, TAG};
use crate::crypto::key::Key;
use crate::ids::{Epoch, Rank};
use crate::transport::Transport;

/// Bytes of a verdict before it is sealed.
const PLAIN: usize = 16;
/// Bytes of a verdict.
const VERDICT: usize = PLAIN + TAG;

/// The cipher of one verdict, and nothing else: from the key that proves a rank's results. It seals a few bytes an epoch, so that
/// it does not matter how fast.
fn cipher(result: &Key, run: &[u8; 32], epoch: Epoch, rank: Rank) -> Box<dyn Aead> {
    let context = [b"verdict".as_slice(), run, &epoch.0.to_le_bytes(), &rank.0.to_le_bytes()].concat();
    Library::Rust.key(&result.derive(&context))
}

/// What `rank` is told.
fn seal(code: i32, result: &Key, run: &[u8; 32], epoch: Epoch, rank: Rank) -> Vec<u8> {
    let (mut plain, mut sealed) = ([0; PLAIN], vec![0; VERDICT]);
    plain[..4].copy_from_slice(&code.to_le_bytes());
    cipher(result, run, epoch, rank).seal(&[0; 12], &[], &plain, &mut sealed);
    sealed
}

fn open(sealed: &[u8], result: &Key, run: &[u8; 32], epoch: Epoch, rank: Rank) -> Result<i32, Unauthentic> {
    let mut plain = [0; PLAIN];
    cipher(result, run, epoch, rank).open(&[0; 12], &[], sealed, &mut plain)?;
    let [a, b, c, d, ..] = plain;
    Ok(i32::from_le_bytes([a, b, c, d]))
}

/// Tells all ranks with which `code` they end; 0: as they would. `results` are the keys that prove their results, by rank.
///
/// # Errors
/// [`RunError::Transport`].
pub(super) fn tell(
    transport: &mut dyn Transport,
    public: &Public,
    results: &[Key],
    epoch: Epoch,
    code: i32,
) -> Result<(), RunError> {
    let verdicts: Vec<Vec<u8>> = Rank::all(transport.ranks())
        .zip(results)
        .map(|(rank, result)| seal(code, result, &public.run, epoch, rank))
        .collect();
    transport.scatter(&verdicts, VERDICT)?;
    Ok(())
}

/// What the owner tells this rank.
///
/// # Errors
/// [`RunError::Stopped`]: that the run has failed. [`RunError::Transport`], [`RunError::Sealed`].
pub(super) fn hear(
    transport: &mut dyn Transport,
    public: &Public,
    result: &Key,
    epoch: Epoch,
) -> Result<(), RunError> {
    let (rank, sealed) = (transport.rank(), transport.scatter(&[], VERDICT)?);
    match open(&sealed, result, &public.run, epoch, rank).map_err(super::sealed("the verdict", Rank::OWNER))? {
        0 => Ok(()),
        code => Err(RunError::Stopped { code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_rank_epoch_and_run_alone() {
        let (key, run) = (Key::from_bytes([1; 32]), [2; 32]);
        let sealed = seal(-4, &key, &run, Epoch(3), Rank(4));
        assert_eq!(sealed.len(), VERDICT);
        assert_eq!(open(&sealed, &key, &run, Epoch(3), Rank(4)), Ok(-4));
        assert_eq!(open(&sealed, &key, &run, Epoch(2), Rank(4)), Err(Unauthentic));
        assert_eq!(open(&sealed, &key, &run, Epoch(3), Rank(5)), Err(Unauthentic));
        assert_eq!(open(&sealed, &key, &[0; 32], Epoch(3), Rank(4)), Err(Unauthentic));
        assert_eq!(open(&sealed, &Key::from_bytes([0; 32]), &run, Epoch(3), Rank(4)), Err(Unauthentic));
        let altered: Vec<u8> = sealed.iter().map(|byte| byte ^ 1).collect();
        assert_eq!(open(&altered, &key, &run, Epoch(3), Rank(4)), Err(Unauthentic));
    }
}
