//! `--local N`: every rank is a thread of this process. They do not show each other identities, as they share its
//! memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::owner::{self, Surroundings};
use super::prepare::Prepared;
use super::trust::Credentials;
use super::{Led, RunError, Watcher, serve};
use crate::threads;
use crate::transport::{Transport, local};

/// What a result says that carried messages: nothing but this process's memory.
const CARRIER: &str = "local";

/// Runs `prepared` on `ranks` ranks, all threads of this process. The calling thread is the owner. `host` is this
/// machine's name.
///
/// # Errors
/// [`RunError`]: that of the rank that ended the run.
pub fn run(prepared: &Prepared, ranks: u16, host: &str, watcher: &mut dyn Watcher) -> Led {
    owner::can_run(prepared, ranks)?;
    let (led, served) = run_over(local::connect(ranks), prepared, host, watcher);
    with_its_cause(led, served)
}

/// Runs `prepared` over `ends`, one a rank, the owner's first. Each other rank gets a thread of its own. Returns what
/// the run came to on the owner, then on each other rank in order. [`owner::can_run`] must hold for the number of
/// ranks.
pub fn run_over<T: Transport + Send>(
    ends: Vec<T>,
    prepared: &Prepared,
    host: &str,
    watcher: &mut dyn Watcher,
) -> (Led, Vec<Result<(), RunError>>) {
    run_served_by(ends, prepared, host, watcher, |end, host| serve::run(end, host, &Credentials::default()))
}

/// Does what [`run_over`] does, but each rank other than the owner runs `serve` with its end and the host's name.
pub fn run_served_by<T: Transport + Send>(
    ends: Vec<T>,
    prepared: &Prepared,
    host: &str,
    watcher: &mut dyn Watcher,
    serve: impl Fn(&mut T, &str) -> Result<(), RunError> + Sync,
) -> (Led, Vec<Result<(), RunError>>) {
    let lead = |own: &mut T| {
        let credentials = Credentials::default();
        let surroundings = Surroundings { host, carrier: CARRIER, strict: false, credentials: &credentials };
        owner::run(own, prepared, &surroundings, watcher)
    };
    together(ends, lead, |end| serve(end, host))
}

/// Has every rank do its part over its end of `ends`: the calling thread does `lead` as the owner, a thread for each other
/// rank does `serve`. Returns what it came to on the owner, then on each other rank in order. A rank that fails ends the others.
pub fn together<T: Transport + Send, R>(
    ends: Vec<T>,
    lead: impl FnOnce(&mut T) -> Result<R, RunError>,
    serve: impl Fn(&mut T) -> Result<(), RunError> + Sync,
) -> (Result<R, RunError>, Vec<Result<(), RunError>>) {
    let mut ends = ends.into_iter();
    let Some(mut own) = ends.next() else {
        return (Err(RunError::Bug("no ranks".to_owned())), Vec::new());
    };
    let serve = &serve;
    std::thread::scope(|scope| {
        let mut serving = Vec::new();
        let mut starved = None;
        for mut end in ends {
            let name = end.rank().to_string();
            let work = move || {
                let served = caught(|| serve(&mut end));
                tear_out(&mut end, &served);
                served
            };
            match threads::spawn(scope, &name, work) {
                Ok(thread) => serving.push(thread),
                Err(error) => {
                    starved = Some(error);
                    break;
                }
            }
        }
        let led = match starved {
            // The ranks that have started wait for others that do not come; the abort below frees them.
            Some(error) => Err(error.into()),
            None => caught(|| lead(&mut own)),
        };
        tear_out(&mut own, &led);
        let joined = serving.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())));
        (led, joined.collect())
    })
}

/// What the run came to on the owner, who `led` it. Where the owner has only heard of an error, that of the rank which met it, out of what
/// the others have `served`.
pub fn with_its_cause<R>(led: Result<R, RunError>, served: Vec<Result<(), RunError>>) -> Result<R, RunError> {
    match (led, served.into_iter().filter_map(Result::err).find(|error| !error.is_told_elsewhere())) {
        (Err(error), Some(first)) if error.is_told_elsewhere() => Err(first),
        (led, _) => led,
    }
}

/// Runs `rank` and turns a panic into an error. The panic hook has shown it by then; the other ranks must not be left
/// waiting.
fn caught<R>(rank: impl FnOnce() -> Result<R, RunError>) -> Result<R, RunError> {
    catch_unwind(AssertUnwindSafe(rank)).unwrap_or_else(|_| Err(panicked()))
}

/// What a rank ends with whose thread has panicked.
fn panicked() -> RunError {
    RunError::Bug("a rank's thread has panicked".to_owned())
}

/// Aborts the run on all ranks where this rank ended with an error that the others do not know of.
fn tear_out<T: Transport, R>(end: &mut T, ran: &Result<R, RunError>) {
    if let Some(error) = ran.as_ref().err().filter(|error| !error.is_orderly()) {
        end.letters().abort(error.exit_code());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::job::Job;
    use crate::run::kept::results::EpochReport;
    use crate::transport::{Member, TransportError};

    /// A watcher that panics when it is to show progress.
    struct Broken;

    impl Watcher for Broken {
        fn note(&mut self, _: &str) {}
        fn progress(&mut self, _: u32, _: usize, _: usize) {
            panic!("a panic, on purpose");
        }
        fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
            Ok(())
        }
    }

    /// Far less than the time-out for which ranks wait for each other.
    const SOON: Duration = Duration::from_secs(60);

    fn prepared() -> Prepared {
        let sets = ["train.epochs=1", "transport.timeout=600s", "compute.threads=1"].map(str::to_owned);
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap();
        Prepared::of(job).unwrap().short(64, 16)
    }

    /// The user reads the error of the rank that met it, and not what others have heard of it.
    #[test]
    fn the_error_of_the_rank_that_met_it_is_told() {
        let aborted = || Err(RunError::Transport(TransportError::Aborted { code: 70 }));
        let own = |text: &str| Err(RunError::Bug(text.to_owned()));
        let stopped = || Err(RunError::Stopped { code: 4 });
        for (led, served, due) in [
            (Ok(()), vec![Ok(()), Ok(())], None),
            (Ok(()), vec![own("a rank's"), Ok(())], None),
            (aborted(), vec![aborted(), own("a rank's"), own("another's")], Some("a bug: a rank's")),
            (own("the owner's"), vec![aborted(), own("a rank's")], Some("a bug: the owner's")),
            (stopped(), vec![stopped(), aborted()], Some("the owner has stopped the run")),
        ] {
            let told = with_its_cause(led, served).err().map(|error| error.to_string());
            assert_eq!(told.as_deref(), due);
        }
    }

    /// Whichever rank panics, and at whatever point, the others end at once.
    #[test]
    fn a_panic_ends_all_ranks() {
        let prepared = prepared();
        let started = Instant::now();
        let led = run(&prepared, 7, "host", &mut Broken).err().unwrap();
        assert!(matches!(led, RunError::Bug(_)), "{led}");
        let (led, served) = run_served_by(local::connect(7), &prepared, "host", &mut (), |end, host| {
            assert_ne!(end.rank().0, 3, "a panic, on purpose");
            serve::run(end, host, &Credentials::default())
        });
        assert_eq!((led.err().unwrap().exit_code(), served.len()), (70, 6));
        assert!(served.iter().all(|served| served.as_ref().unwrap_err().exit_code() == 70));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }
}
