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
pub fn run(prepared: &Prepared, ranks: u16, host: &str, watcher: &mut dyn Watcher) -> Led {
    owner::can_run(prepared, ranks)?;
    let (led, served) = over(local::connect(ranks), prepared, host, watcher);
    match (led, served.into_iter().filter_map(Result::err).find(|error| !error.is_told_elsewhere())) {
        (Err(error), Some(first)) if error.is_told_elsewhere() => Err(first),
        (led, _) => led,
    }
}

/// What a run comes to on the owner.
pub type Led = Result<(Outcome, Model), RunError>;

/// Runs `prepared` over `ends`, each on a thread of its own but the owner's, the first: what the owner comes to, and each of
/// the others. The ranks must [suffice](owner::can_run).
pub fn over<T: Transport + Send>(
    ends: Vec<T>,
    prepared: &Prepared,
    host: &str,
    watcher: &mut dyn Watcher,
) -> (Led, Vec<Result<(), RunError>>) {
    served_by(ends, prepared, host, watcher, |end, host| serve::run(end, host, &Credentials::default()))
}

/// As [`over`], where `serve` is what each rank but the owner's does.
pub fn served_by<T: Transport + Send>(
    ends: Vec<T>,
    prepared: &Prepared,
    host: &str,
    watcher: &mut dyn Watcher,
    serve: impl Fn(&mut T, &str) -> Result<(), RunError> + Sync,
) -> (Led, Vec<Result<(), RunError>>) {
    let mut ends = ends.into_iter();
    let Some(mut own) = ends.next() else {
        return (Err(RunError::Bug("no ranks".to_owned())), Vec::new());
    };
    let serve = &serve;
    std::thread::scope(|scope| {
        let serving: Vec<_> = ends
            .map(|mut end| {
                scope.spawn(move || {
                    // A panic is shown by its hook; here it must not leave the others waiting.
                    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut end, host)))
                        .unwrap_or_else(|_| Err(RunError::Bug("a rank's thread panicked".to_owned())));
                    tear_out(&mut end, &served);
                    served
                })
            })
            .collect();
        let credentials = Credentials::default();
        let place = Place { host, carrier: "local", strict: false, credentials: &credentials };
        let led = owner::run(&mut own, prepared, &place, watcher);
        tear_out(&mut own, &led);
        let joined = serving.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(RunError::Bug("a rank's thread panicked".to_owned())))
        });
        (led, joined.collect())
    })
}

/// Ends the run on all ranks where one cannot go on and the others do not know.
fn tear_out<T: Transport, R>(end: &mut T, ran: &Result<R, RunError>) {
    if let Some(error) = ran.as_ref().err().filter(|error| !error.is_orderly()) {
        end.abort(error.exit_code());
    }
}
