//! One process for each rank: rank 0 carries an errand out, and the others serve whatever it is.

use super::errand::{Errand, StartArgs, alone, explained, note, prepare};
use super::identity::IdentityArgs;
use super::launcher::Start;
use super::{complain, fail, kind};
use crate::ids::Rank;
use crate::run::{RunError, is_here, owner, serve, while_others_wait};
use crate::transport::mpi::{self, Mpi, abort_everywhere};
use crate::transport::{Member, Transport};

/// Plays this process's rank and returns the exit code. Only rank 0 has use for `errand`. With `join` there is none.
pub(super) fn play<E: Errand>(errand: Option<&E>, start: &Start, identity: &IdentityArgs, args: &StartArgs) -> i32 {
    let library = mpi::library();
    let mut transport = match enter(start, args, &library) {
        Ok(transport) => transport,
        Err(code) => return code,
    };
    if transport.rank() != Rank::OWNER {
        return serve(&mut transport, identity);
    }
    let Some(errand) = errand else {
        let code =
            refuse_alone("rank 0 is the owner and runs the job: mpirun -n 1 mixnn run JOB : -n 6 mixnn join", 2);
        return refuse(&mut transport, code);
    };
    if transport.ranks() == 1 {
        drop(transport);
        return alone(errand, start).unwrap_or_else(|error| fail(&error));
    }
    match lead(&mut transport, errand, identity, &library) {
        Ok(()) => 0,
        // Ranks that cannot take part say why themselves. Only the owner knows which ranks these are, so it prints
        // that.
        Err(error) if error.is_told_elsewhere() && !matches!(error.cause(), RunError::Declined { .. }) => {
            leave(&mut transport, &error)
        }
        Err(error) => end(&mut transport, &error, ""),
    }
}

/// Joins this process with the others by MPI, whose library is named `library`. A panic ends all of them from then on.
///
/// # Errors
/// The exit code where they do not come together. Why has been said.
pub(super) fn enter(start: &Start, args: &StartArgs, library: &str) -> Result<Mpi, i32> {
    if start.is_beyond(library) {
        return Err(refuse_alone(&start.split(Some(library)), 3));
    }
    let transport =
        Mpi::start(start.rank, args.start_timeout).map_err(|error| refuse_alone(&error.to_string(), 3))?;
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shown(panic);
        abort_everywhere(70);
    }));
    crate::memory::when_exhausted(transport.rank().0, abort_everywhere);
    if transport.ranks() == 1 && start.is_of_several() {
        drop(transport);
        return Err(refuse_alone(&start.split(Some(library)), 3));
    }
    Ok(transport)
}

/// Says why this process ends before it knows of others. Returns the exit code.
fn refuse_alone(why: &str, code: i32) -> i32 {
    complain(&format!("error: {why}"));
    code
}

/// Serves on a rank other than 0. Returns the exit code.
fn serve(transport: &mut Mpi, identity: &IdentityArgs) -> i32 {
    let host = transport.host();
    let served = match identity.of_rank() {
        Ok(credentials) => serve::run(transport, &host, &credentials),
        Err(error) => Err(serve::decline(transport, error)),
    };
    ended(transport, served)
}

/// Ends a rank other than 0 that has `served`. It says why it fails, unless another rank does. Returns the exit code.
pub(super) fn ended(transport: &mut Mpi, served: Result<(), RunError>) -> i32 {
    match served {
        Ok(()) => 0,
        Err(error) if error.is_told_elsewhere() => leave(transport, &error),
        Err(error) => {
            let rank = transport.rank();
            end(transport, &error, &format!("{rank}: "))
        }
    }
}

/// Carries `errand` out on rank 0. `library` is the name of the MPI library.
///
/// # Errors
/// [`RunError`]. The caller prints it and ends the run.
fn lead<E: Errand>(transport: &mut Mpi, errand: &E, identity: &IdentityArgs, library: &str) -> Result<(), RunError> {
    let ranks = transport.ranks();
    let ready = while_others_wait(transport, || {
        let (prepared, found) = prepare(errand)?;
        owner::can_run(&prepared, ranks)?;
        is_here(prepared.job.compute)?;
        let credentials = identity.of_owner(&prepared.job)?;
        let out = errand.open(&prepared, found)?;
        Ok((prepared, credentials, out))
    });
    let (prepared, credentials, out) = ready?;
    note(&prepared, &credentials);
    let host = transport.host();
    let strict = errand.how().strict;
    let surroundings = owner::Surroundings { host: &host, carrier: library, strict, credentials: &credentials };
    errand.carry_out(&prepared, out, &mut |watcher| owner::run(transport, &prepared, &surroundings, watcher))
}

/// Prints why this rank ends, beginning with `who` and with the hosts of the ranks that it names. Ends the run on all
/// ranks where they do not know yet. Returns the exit code.
pub(super) fn end(transport: &mut Mpi, error: &RunError, who: &str) -> i32 {
    complain(&format!("{who}{}{}", kind(error), transport.hosts().named(&explained(error))));
    leave(transport, error)
}

/// Aborts the run on all ranks where they do not know yet that it has ended. Returns the exit code.
fn leave(transport: &mut Mpi, error: &RunError) -> i32 {
    if !error.is_orderly() {
        transport.letters().abort(error.exit_code());
    }
    error.exit_code()
}

/// Tells all ranks that there is no run and that they are to exit with `code`. Returns the exit code.
fn refuse(transport: &mut Mpi, code: i32) -> i32 {
    if let Err(error) = crate::run::refuse(transport, code) {
        complain(&format!("error: {error}"));
        transport.letters().abort(code);
    }
    code
}
