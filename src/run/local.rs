//! `--local N`: every rank a thread of this process. They do not show each other who they are: they share its memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::model::Model;
use super::owner::{self, Place};
use super::prepare::Prepared;
use super::results::Outcome;
use super::trust::Credentials;
use super::{RunError, Watcher, serve};
use crate::transport::{Transport, local};

/// Runs `prepared` on `ranks` ranks, all threads of this process; this one is the owner.
///
/// # Errors
/// [`RunError`]: that of the rank that ended the run.
pub fn run(
    prepared: &Prepared,
    ranks: u16,
    host: &str,
    watcher: &mut dyn Watcher,
) -> Result<(Outcome, Model), RunError> {
    owner::can_run(prepared, ranks)?;
    let mut ends = local::connect(ranks).into_iter();
    let Some(mut own) = ends.next() else {
        return Err(RunError::Bug("no ranks".to_owned()));
    };
    std::thread::scope(|scope| {
        let serving: Vec<_> = ends
            .map(|mut end| {
                scope.spawn(move || {
                    // A panic is shown by its hook; here it must not leave the others waiting.
                    let served =
                        catch_unwind(AssertUnwindSafe(|| serve::run(&mut end, host, &Credentials::default())))
                            .unwrap_or_else(|_| Err(RunError::Bug("a rank's thread panicked".to_owned())));
                    if let Err(error) = &served {
                        end.abort(error.exit_code());
                    }
                    served
                })
            })
            .collect();
        let credentials = Credentials::default();
        let place = Place { host, carrier: "local", strict: false, credentials: &credentials };
        let led = owner::run(&mut own, prepared, &place, watcher);
        if let Err(error) = &led {
            own.abort(error.exit_code());
        }
        let mut first = None;
        for thread in serving {
            match thread.join() {
                Ok(Err(error)) if !error.is_told_elsewhere() => first = first.or(Some(error)),
                Ok(_) => {}
                Err(_) => first = first.or(Some(RunError::Bug("a rank's thread panicked".to_owned()))),
            }
        }
        match (led, first) {
            (Err(error), Some(first)) if error.is_told_elsewhere() => Err(first),
            (led, _) => led,
        }
    })
}
