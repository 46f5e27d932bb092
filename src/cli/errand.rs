//! What rank 0 is asked for, and how one process alone does it. Ranks that are processes are played in `ranks.rs`.

use std::time::Duration;

use clap::Args;

use super::launcher::Start;
use super::{HowArgs, signals};
use crate::job::{self, Profile};
use crate::run::prepare::Prepared;
use crate::run::trust::Credentials;
use crate::run::{Led, RunError, Watcher, hostname, is_here, local, owner, single};
use crate::terminal;

/// How ranks that are processes find together.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// How long a rank waits for others that do not get to start, until it knows the job; then the job's transport.timeout counts
    #[arg(
        long,
        value_name = "TIME",
        env = "MIXNN_START_TIMEOUT",
        hide_env_values = true,
        default_value = START_TIMEOUT,
        value_parser = patience
    )]
    pub(super) start_timeout: Duration,
}

/// How long a rank waits for the opening, unless the user says otherwise.
const START_TIMEOUT: &str = "120s";
/// The shortest such wait that a user may choose. The owner tells the others each second that it is coming, as far as
/// its machine has time for that.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Reads how long to wait. An empty text, as of a variable that was set to nothing, stands for the default.
fn patience(text: &str) -> Result<Duration, String> {
    let text = if text.is_empty() { START_TIMEOUT } else { text };
    job::duration(text, Duration::from_millis(1))
        .filter(|time| *time >= LEAST_PATIENCE)
        .ok_or_else(|| "expected a time of at least \"5s\", such as \"120s\" or \"10m\"".to_owned())
}

/// Runs a job that is ready, tells a watcher about it, and returns what it came to.
pub(super) type Lead<'a> = dyn FnMut(&mut (dyn Watcher + Send)) -> Led + 'a;

/// What rank 0 is asked for. All other ranks serve, whatever it is.
pub(super) trait Errand: Sync {
    /// Whether it stops on SIGINT with something to go on from. Else SIGINT ends it.
    const STOPS: bool = false;
    /// What it finds that an earlier errand has left.
    type Found: Send;
    /// Where the errand writes what it comes to.
    type Out: Send;

    /// How the job is to run, as the command line says.
    fn how(&self) -> &HowArgs;

    /// Opens what the errand needs, with the settings `sets` on top of the job.
    fn prepare(&self, sets: &[String]) -> Result<(Prepared, Self::Found), RunError>;

    /// Makes what the errand will write to, before any other rank hears of a run.
    fn open(&self, prepared: &Prepared, found: Self::Found) -> Result<Self::Out, RunError>;

    /// Has `lead` run the job. Writes and prints what it comes to.
    fn carry_out(&self, prepared: &Prepared, out: Self::Out, lead: &mut Lead<'_>) -> Result<(), RunError>;
}

/// The words of `error`. Where it depends on how this process was started, they also say what to type.
pub(super) fn explained(error: &RunError) -> String {
    match error.cause() {
        RunError::TooFewRanks { needed, .. } => format!("{error}; start {needed}: {}", Start::here().more(*needed)),
        _ => error.to_string(),
    }
}

/// Opens what `errand` needs, with all settings of the command line on top of the job.
pub(super) fn prepare<E: Errand>(errand: &E) -> Result<(Prepared, E::Found), RunError> {
    let how = errand.how();
    let mut sets = how.sets.clone();
    sets.extend(how.profile.iter().map(|profile| format!("mix.profile={profile:?}")));
    errand.prepare(&sets)
}

/// Carries `errand` out in this process alone: with `--single`, or with all ranks as threads. Returns the exit code.
pub(super) fn alone<E: Errand>(errand: &E, start: &Start) -> Result<i32, RunError> {
    let (prepared, found) = prepare(errand)?;
    let how = errand.how();
    let ranks = how.local.unwrap_or_else(|| prepared.job.ranks());
    if !how.single {
        owner::can_run(&prepared, ranks)?;
        if how.local.is_none() {
            terminal::remark(&start.alone(ranks, cfg!(feature = "mpi")));
        }
    }
    is_here(prepared.job.compute)?;
    let out = errand.open(&prepared, found)?;
    if E::STOPS {
        signals::take_interrupts();
    }
    let host = hostname();
    match how.single {
        true => errand.carry_out(&prepared, out, &mut |watcher| single::run(&prepared, watcher))?,
        false => {
            note(&prepared, &Credentials::default());
            errand.carry_out(&prepared, out, &mut |watcher| local::run(&prepared, ranks, &host, watcher))?;
        }
    }
    Ok(0)
}

/// Tells the user, before the run, which promises do not hold.
pub(super) fn note(prepared: &Prepared, credentials: &Credentials) {
    if prepared.job.mix.profile == Profile::Bare {
        return;
    }
    match (&credentials.trust, &credentials.identity) {
        (None, _) => terminal::remark("ranks not authenticated: the MPI layer is trusted"),
        (Some(_), None) => terminal::remark(
            "the owner has no identity: ranks cannot know it, and those with a trust file refuse it; mixnn keygen makes one",
        ),
        (Some(_), Some(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_has_a_least() {
        assert_eq!(patience(""), patience("120s"));
        assert_eq!((patience("5s"), patience("2m")), (Ok(LEAST_PATIENCE), Ok(Duration::from_secs(120))));
        for text in ["4999ms", "0", "-1s", "forever"] {
            assert!(patience(text).unwrap_err().contains("at least"), "{text}");
        }
    }
}
