//! How a run is refused before its first slot, so that all ranks end alike and in order (docs/PROTOCOL.md,
//! "Initialization", step 8).
//!
//! Whoever cannot go on says so in place of the message that is due from it. A refusal has the length of that message.
//! Ranks tell the owner, and the owner tells all ranks with which code to exit. An abort is only for peers that cannot
//! be reached: a launcher that several ranks ask for one at once may lose the exit code.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::RunError;
use super::letters::opening::{self, Opening, Public};
use super::letters::{announcement, package};
use crate::ids::Rank;
use crate::threads;
use crate::transport::Transport;

/// How often the owner tells the ranks that wait for the opening that it is still to come.
const SIGN: Duration = Duration::from_secs(1);

/// A refusal with the exit code `code`, in place of a message of `length` bytes.
fn refusal(code: i32, length: usize) -> Result<Vec<u8>, RunError> {
    let mut message = opening::write(&Opening::Refused(code))?;
    message.resize(length.max(opening::LENGTH), 0);
    Ok(message)
}

/// The exit code that `message` names, where it is a refusal. A code of 0 makes none.
pub(super) fn refused(message: &[u8]) -> Option<i32> {
    match opening::read(message.get(..opening::LENGTH)?) {
        Some(Opening::Refused(code)) if code != 0 => Some(code),
        _ => None,
    }
}

/// Tells all ranks, in place of the opening, that there is no run and that they are to exit with `code`. The owner
/// calls this instead of a run.
///
/// # Errors
/// [`RunError`].
pub fn refuse(transport: &mut dyn Transport, code: i32) -> Result<(), RunError> {
    scatter(transport, code, opening::LENGTH)
}

/// Tells all ranks, in place of their packages, that there is no run and that they are to exit with `code`. The owner
/// calls this when it has gathered the announcements.
///
/// # Errors
/// [`RunError`].
pub(super) fn refuse_packages(transport: &mut dyn Transport, public: &Public, code: i32) -> Result<(), RunError> {
    scatter(transport, code, package::length(public))
}

/// Scatters a refusal with `code`, of `length` bytes, to all ranks.
fn scatter(transport: &mut dyn Transport, code: i32, length: usize) -> Result<(), RunError> {
    let message = refusal(code, length)?;
    let messages = vec![message; usize::from(transport.ranks())];
    transport.letters().scatter(&messages, length)?;
    Ok(())
}

/// Gathers the ranks' announcements, then refuses the run with `code` in place of the packages for which they wait. The
/// owner calls this after the opening.
///
/// # Errors
/// [`RunError`].
pub(super) fn refuse_announcements(
    transport: &mut dyn Transport,
    public: &Public,
    code: i32,
) -> Result<(), RunError> {
    transport.letters().gather(&[0; announcement::LENGTH])?;
    refuse_packages(transport, public, code)
}

/// Looks for refusals among `messages`, which are by rank; the owner's own does not count.
///
/// # Errors
/// [`RunError::Declined`] where there are any. It names all ranks that refuse, and the code of the first.
pub(super) fn look_for_refusals(messages: &[Vec<u8>]) -> Result<(), RunError> {
    let all = Rank::all(messages.len() as u16).zip(messages).skip(1);
    let refusals: Vec<(Rank, i32)> = all.filter_map(|(rank, message)| Some((rank, refused(message)?))).collect();
    match refusals.first() {
        None => Ok(()),
        Some((_, code)) => {
            Err(RunError::Declined { ranks: refusals.iter().map(|(rank, _)| *rank).collect(), code: *code })
        }
    }
}

/// What the owner ends with for `error`. `tell` tells all ranks its code. The error is [told](RunError::Told) then,
/// unless they cannot be reached.
pub(super) fn told(error: RunError, tell: impl FnOnce(i32) -> Result<(), RunError>) -> RunError {
    let code = error.exit_code();
    match tell(code) {
        Ok(()) => RunError::Told { why: Box::new(error), code },
        Err(_) => error,
    }
}

/// Refuses to take part for `why`, in place of the announcement. The rank has heard the opening. Returns what the rank
/// ends with.
pub(super) fn decline(transport: &mut dyn Transport, public: &Public, why: RunError) -> RunError {
    let mut last_word = || -> Result<i32, RunError> {
        transport.letters().gather(&refusal(why.exit_code(), announcement::LENGTH)?)?;
        let word = transport.letters().scatter(&[], package::length(public))?;
        refused(&word).ok_or(RunError::Unreadable { what: "the owner's last word", from: Rank::OWNER })
    };
    match last_word() {
        Ok(code) => RunError::Told { why: Box::new(why), code },
        // The owner could not be told, so the caller aborts the run.
        Err(_) => why,
    }
}

/// Does the owner's `work` on a thread of its own; with much data it may take minutes. Meanwhile it tells the other
/// ranks each second that the opening is still to come. Where the work fails, they hear that there is no run.
///
/// # Errors
/// [`RunError`]: that of the work, or of the transport.
pub fn while_others_wait<R: Send>(
    transport: &mut dyn Transport,
    work: impl FnOnce() -> Result<R, RunError> + Send,
) -> Result<R, RunError> {
    let sign = opening::write(&Opening::Coming)?;
    let signs = vec![sign; usize::from(transport.ranks())];
    let worked = std::thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let thread = threads::spawn(scope, "prepare", move || {
            let result = work();
            drop(done);
            result
        })?;
        let mut signed = Ok(());
        while signed.is_ok() && is_done.recv_timeout(SIGN) == Err(RecvTimeoutError::Timeout) {
            signed = transport.letters().scatter(&signs, opening::LENGTH).map(|_| ());
        }
        let panicked = |_| Err(RunError::Bug("the thread that prepares a run has panicked".to_owned()));
        let result = thread.join().unwrap_or_else(panicked);
        signed.map_err(RunError::from).and(result)
    });
    worked.map_err(|error| match error {
        // Someone cannot be reached.
        RunError::Transport(_) => error,
        _ => told(error, |code| refuse(transport, code)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Letters;
    use crate::transport::local::connect;

    #[test]
    fn a_refusal_has_the_length_of_what_it_stands_for() {
        for length in [opening::LENGTH, announcement::LENGTH, 4096] {
            let message = refusal(3, length).unwrap();
            assert_eq!((message.len(), refused(&message)), (length, Some(3)));
            let mut altered = message;
            altered[40] ^= 1;
            assert_eq!(refused(&altered), None);
        }
        assert_eq!(refused(&refusal(0, opening::LENGTH).unwrap()), None, "0 would pass for a run that went well");
        assert_eq!((refused(&[0; 4096]), refused(&[])), (None, None));
    }

    #[test]
    fn all_who_refuse_are_named() {
        let mut messages = vec![vec![0; opening::LENGTH]; 4];
        assert!(look_for_refusals(&messages).is_ok());
        (messages[1], messages[3]) = (refusal(3, opening::LENGTH).unwrap(), refusal(4, opening::LENGTH).unwrap());
        let error = look_for_refusals(&messages).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.to_string(), "rank 1, rank 3 cannot take part, and say why");
    }

    /// A rank that waits for less than the work takes, and for longer than from sign to sign.
    #[test]
    fn the_owner_that_has_much_to_do_is_waited_for() {
        let mut ends = connect(2);
        let mut rank = ends.remove(1);
        std::thread::scope(|scope| {
            let heard = scope.spawn(move || {
                let mut signs = 0;
                while let Some(Opening::Coming) = opening::read(&rank.scatter(&[], opening::LENGTH).unwrap()) {
                    signs += 1;
                }
                signs
            });
            let own = &mut ends[0];
            let fail = || -> Result<(), RunError> {
                std::thread::sleep(SIGN * 3);
                Err(RunError::Bug("on purpose".to_owned()))
            };
            let told = while_others_wait(own, fail).unwrap_err();
            assert!(told.is_orderly() && told.exit_code() == 70, "{told}");
            assert!((1..=3).contains(&heard.join().unwrap()));
        });
    }
}
