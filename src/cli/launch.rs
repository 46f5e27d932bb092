//! Finds out whether this process is one rank of several or all of them, and has it play that part.

use super::errand::{Errand, alone};
use super::launcher::Start;
use super::{JoinArgs, complain, fail};

/// Carries `errand` out, as one rank or as all of them. Returns the exit code.
pub(super) fn start<E: Errand>(errand: &E) -> i32 {
    let (start, how) = (Start::here(), errand.how());
    let one_process = how.single || how.local.is_some();
    if one_process && start.is_of_several() {
        complain(&format!("error: {}", start.not_the_only_one()));
        return 2;
    }
    #[cfg(feature = "mpi")]
    if !one_process && start.may_be_mpi() {
        return super::ranks::play(Some(errand), &start, &how.identity, &how.start);
    }
    #[cfg(not(feature = "mpi"))]
    if start.is_of_several() {
        complain(&format!("error: {}", start.split(None)));
        return 3;
    }
    alone(errand, &start).unwrap_or_else(|error| fail(&error))
}

/// Serves as one rank of an MPI job, without a job of its own. Returns the exit code.
pub(super) fn join(args: &JoinArgs) -> i32 {
    let start = Start::here();
    #[cfg(feature = "mpi")]
    if start.may_be_mpi() {
        return super::ranks::play::<super::run::TimedRun>(None, &start, &args.identity, &args.start);
    }
    #[cfg(not(feature = "mpi"))]
    if start.is_of_several() {
        let _ = args;
        complain(&format!("error: {}", start.split(None)));
        return 3;
    }
    complain(&format!(
        "error: `join` serves on ranks other than 0 of an MPI job, but this process was started alone{}; start it \
         with mpirun -n 1 mixnn run JOB : -n 6 mixnn join",
        if cfg!(feature = "mpi") { "" } else { " and built without the feature `mpi`" }
    ));
    2
}
