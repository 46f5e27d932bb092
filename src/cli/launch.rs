//! Finds out which rank of what this process is, and plays it: an errand on rank 0, whoever serves it elsewhere.

use super::identity::IdentityArgs;
use super::{HowArgs, complain, fail, hostname};
use crate::job::Profile;
use crate::run::local::Led;
use crate::run::prepare::Prepared;
use crate::run::trust::Credentials;
use crate::run::{RunError, Watcher, is_here, local, owner, single};
use crate::terminal;

/// Where launchers of MPI processes say how many there are.
const LAUNCHED_RANKS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// What launchers of MPI processes leave in the environment.
#[cfg(feature = "mpi")]
const LAUNCHERS: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "PMI_RANK"];

/// What runs a job that is ready, for someone who watches.
pub(super) type Lead<'a> = dyn FnMut(&mut (dyn Watcher + Send)) -> Led + 'a;

/// What rank 0 is asked for. All other ranks serve, whatever it is.
pub(super) trait Errand {
    /// What it writes to.
    type Out;

    /// How it is to run.
    fn how(&self) -> &HowArgs;

    /// Opens what it needs, with `sets` on top of the job.
    fn prepare(&self, sets: &[String]) -> Result<Prepared, RunError>;

    /// Makes what it will write to, before any other rank hears of a run.
    fn open(&self, prepared: &Prepared) -> Result<Self::Out, RunError>;

    /// Has `lead` run it; writes and prints what it comes to.
    fn carry_out(&self, prepared: &Prepared, out: Self::Out, lead: &mut Lead<'_>) -> Result<(), RunError>;
}

/// Carries `errand` out; the exit code.
pub(super) fn start<E: Errand>(errand: &E) -> i32 {
    let how = errand.how();
    let one_process = how.single || how.local.is_some();
    if one_process && launched_ranks() > 1 {
        complain("error: --single and --local run in one process, and a launcher started several: leave mpirun out");
        return 2;
    }
    #[cfg(feature = "mpi")]
    if !one_process && launched() {
        return under_mpi(Some(errand), &how.identity);
    }
    alone(errand).unwrap_or_else(|error| fail(&error))
}

/// `mixnn join`; the exit code.
pub(super) fn join(identity: &IdentityArgs) -> i32 {
    #[cfg(feature = "mpi")]
    if launched() {
        return under_mpi::<super::RunArgs>(None, identity);
    }
    #[cfg(not(feature = "mpi"))]
    let _ = identity;
    complain(&format!(
        "error: `join` serves on ranks other than 0 of an MPI job, but this process was started alone{}; start it \
         with mpirun -n 1 mixnn run JOB : -n 6 mixnn join",
        if cfg!(feature = "mpi") { "" } else { " and built without the feature `mpi`" }
    ));
    2
}

/// Processes that a launcher has started, as it says; 1 without one.
fn launched_ranks() -> u32 {
    let said = |name: &&str| std::env::var(name).ok()?.parse().ok();
    LAUNCHED_RANKS.iter().find_map(said).unwrap_or(1)
}

/// The job with what the command line lays on top.
fn prepare<E: Errand>(errand: &E) -> Result<Prepared, RunError> {
    let how = errand.how();
    let mut sets = how.sets.clone();
    sets.extend(how.profile.iter().map(|profile| format!("mix.profile={profile:?}")));
    errand.prepare(&sets)
}

/// One process: `--single`, or all ranks as threads.
fn alone<E: Errand>(errand: &E) -> Result<i32, RunError> {
    let prepared = prepare(errand)?;
    let how = errand.how();
    let ranks = how.local.unwrap_or_else(|| prepared.job.ranks());
    if !how.single {
        owner::can_run(&prepared, ranks)?;
        if how.local.is_none() {
            terminal::note(&format!(
                "not started by mpirun or srun: running {ranks} ranks as threads of this process, as --local {ranks}"
            ));
        }
    }
    is_here(prepared.job.compute)?;
    let out = errand.open(&prepared)?;
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

/// What does not hold, said before the run.
fn note(prepared: &Prepared, credentials: &Credentials) {
    if prepared.job.mix.profile == Profile::Bare {
        return;
    }
    match (&credentials.trust, &credentials.identity) {
        (None, _) => terminal::note("ranks not authenticated: the MPI layer is trusted"),
        (Some(_), None) => terminal::note(
            "the owner has no identity: ranks cannot know it, and those with a trust file refuse it; mixnn keygen makes one",
        ),
        (Some(_), Some(_)) => {}
    }
}

#[cfg(feature = "mpi")]
fn launched() -> bool {
    LAUNCHERS.iter().any(|name| std::env::var_os(name).is_some())
}

/// One process a rank. Only rank 0 has use for `errand`; `join` has none.
#[cfg(feature = "mpi")]
fn under_mpi<E: Errand>(errand: Option<&E>, identity: &IdentityArgs) -> i32 {
    use crate::ids::Rank;
    use crate::run::serve;
    use crate::transport::Transport;
    use crate::transport::mpi::{Mpi, abort_everywhere};

    let mut transport = match Mpi::start() {
        Ok(transport) => transport,
        Err(error) => {
            complain(&format!("error: {error}"));
            return 3;
        }
    };
    let rank = transport.rank();
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shown(panic);
        abort_everywhere(70);
    }));
    if rank != Rank::OWNER {
        let host = transport.host();
        let served = identity.of_rank().and_then(|credentials| serve::run(&mut transport, &host, &credentials));
        return match served {
            Ok(()) => 0,
            Err(error) => {
                if !error.is_told_elsewhere() {
                    complain(&format!("{rank}: error: {error}"));
                }
                if !error.is_orderly() {
                    transport.abort(error.exit_code());
                }
                error.exit_code()
            }
        };
    }
    let Some(errand) = errand else {
        complain("error: rank 0 is the owner and runs the job: mpirun -n 1 mixnn run JOB : -n 6 mixnn join");
        return refuse(&mut transport, 2);
    };
    if transport.ranks() == 1 {
        drop(transport);
        if launched_ranks() > 1 {
            let library = crate::transport::mpi::library();
            complain(&format!(
                "error: a launcher has started {} processes, but MPI shows each of them one rank: this binary is built for \
                 {library}; start it with that library's mpirun, or build it for this one",
                launched_ranks()
            ));
            return 3;
        }
        return alone(errand).unwrap_or_else(|error| fail(&error));
    }
    let ready = prepare(errand).and_then(|prepared| {
        owner::can_run(&prepared, transport.ranks())?;
        is_here(prepared.job.compute)?;
        let credentials = identity.of_owner(&prepared.job)?;
        let out = errand.open(&prepared)?;
        Ok((prepared, credentials, out))
    });
    let (prepared, credentials, out) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let code = fail(&error);
            return refuse(&mut transport, code);
        }
    };
    note(&prepared, &credentials);
    let host = transport.host();
    let library = crate::transport::mpi::library();
    let strict = errand.how().strict;
    let place = owner::Place { host: &host, carrier: &library, strict, credentials: &credentials };
    let done =
        errand.carry_out(&prepared, out, &mut |watcher| owner::run(&mut transport, &prepared, &place, watcher));
    match done {
        Ok(()) => 0,
        Err(error) => {
            let code = fail(&error);
            if !error.is_orderly() {
                transport.abort(code);
            }
            code
        }
    }
}

/// Tells all ranks that there is no run; the exit code.
#[cfg(feature = "mpi")]
fn refuse(transport: &mut crate::transport::mpi::Mpi, code: i32) -> i32 {
    if let Err(error) = crate::run::refuse(transport, code) {
        complain(&format!("error: {error}"));
    }
    code
}
