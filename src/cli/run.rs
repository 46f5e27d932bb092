//! `mixnn run` and `mixnn join`: finds out which rank of what this process is, and plays it.

use super::identity::IdentityArgs;
use super::progress::Progress;
use super::{RunArgs, complain, fail, hostname};
use crate::job::Profile;
use crate::report;
use crate::run::folder::Folder;
use crate::run::prepare::Prepared;
use crate::run::results::Outcome;
use crate::run::trust::Credentials;
use crate::run::{Model, RunError, local, owner, single};

/// Where launchers of MPI processes say how many there are.
const LAUNCHED_RANKS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// What launchers of MPI processes leave in the environment.
#[cfg(feature = "mpi")]
const LAUNCHERS: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "PMI_RANK"];

/// `mixnn run`; the exit code.
pub(super) fn run(args: &RunArgs) -> i32 {
    let one_process = args.single || args.local.is_some();
    if one_process && launched_ranks() > 1 {
        complain("error: --single and --local run in one process, and a launcher started several: leave mpirun out");
        return 2;
    }
    #[cfg(feature = "mpi")]
    if !one_process && launched() {
        return under_mpi(Some(args), &args.identity);
    }
    alone(args).unwrap_or_else(|error| fail(&error))
}

/// `mixnn join`; the exit code.
pub(super) fn join(identity: &IdentityArgs) -> i32 {
    #[cfg(feature = "mpi")]
    if launched() {
        return under_mpi(None, identity);
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
fn prepare(args: &RunArgs) -> Result<Prepared, RunError> {
    let mut sets = args.sets.clone();
    sets.extend(args.profile.iter().map(|profile| format!("mix.profile={profile:?}")));
    Prepared::load(&args.job, &sets)
}

/// Makes the run's folder and writes the resolved job.
fn folder(args: &RunArgs, prepared: &Prepared) -> Result<Folder, RunError> {
    let folder = Folder::create(args.out.as_deref(), &prepared.job.name)?;
    folder.write("job.toml", prepared.job.to_toml().as_bytes())?;
    Ok(folder)
}

/// Writes and prints what a run came to.
fn finish(
    args: &RunArgs,
    prepared: &Prepared,
    folder: &Folder,
    outcome: &Outcome,
    model: &Model,
) -> Result<(), RunError> {
    model.write(&folder.path().join("model.safetensors"))?;
    let json = serde_json::to_string_pretty(outcome).map_err(|error| RunError::Bug(error.to_string()))?;
    folder.write("result.json", format!("{json}\n").as_bytes())?;
    match args.json {
        true => println!("{json}"),
        false => print!("{}", report::summary(outcome, &prepared.job, folder.path())),
    }
    Ok(())
}

/// One process: `--single`, or all ranks as threads.
fn alone(args: &RunArgs) -> Result<i32, RunError> {
    let prepared = prepare(args)?;
    let ranks = args.local.unwrap_or_else(|| prepared.job.ranks());
    if !args.single {
        owner::can_run(&prepared, ranks)?;
        if args.local.is_none() {
            eprintln!(
                "not started by mpirun or srun: running {ranks} ranks as threads of this process, as --local {ranks}"
            );
        }
    }
    let folder = folder(args, &prepared)?;
    let mut progress = Progress::new(&folder, prepared.job.train.epochs, args.json);
    let host = hostname();
    let done = match args.single {
        true => single::run(&prepared, &mut progress),
        false => {
            progress_note(&prepared, &Credentials::default());
            local::run(&prepared, ranks, &host, &mut progress)
        }
    };
    progress.finish();
    let (outcome, model) = done?;
    finish(args, &prepared, &folder, &outcome, &model)?;
    Ok(0)
}

/// What does not hold, said before the run.
fn progress_note(prepared: &Prepared, credentials: &Credentials) {
    if prepared.job.mix.profile == Profile::Bare {
        return;
    }
    match (&credentials.trust, &credentials.identity) {
        (None, _) => eprintln!("ranks not authenticated: the MPI layer is trusted"),
        (Some(_), None) => eprintln!(
            "the owner has no identity: ranks cannot know it, and those with a trust file refuse it; mixnn keygen makes one"
        ),
        (Some(_), Some(_)) => {}
    }
}

#[cfg(feature = "mpi")]
fn launched() -> bool {
    LAUNCHERS.iter().any(|name| std::env::var_os(name).is_some())
}

/// One process a rank. Only rank 0 has use for `args`; `join` has none.
#[cfg(feature = "mpi")]
fn under_mpi(args: Option<&RunArgs>, identity: &IdentityArgs) -> i32 {
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
    let Some(args) = args else {
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
        return alone(args).unwrap_or_else(|error| fail(&error));
    }
    let ready = prepare(args).and_then(|prepared| {
        owner::can_run(&prepared, transport.ranks())?;
        let credentials = identity.of_owner(&prepared.job)?;
        let folder = folder(args, &prepared)?;
        Ok((prepared, credentials, folder))
    });
    let (prepared, credentials, folder) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let code = fail(&error);
            return refuse(&mut transport, code);
        }
    };
    progress_note(&prepared, &credentials);
    let mut progress = Progress::new(&folder, prepared.job.train.epochs, args.json);
    let host = transport.host();
    let library = crate::transport::mpi::library();
    let place = owner::Place { host: &host, carrier: &library, strict: args.strict, credentials: &credentials };
    let led = owner::run(&mut transport, &prepared, &place, &mut progress);
    progress.finish();
    match led.and_then(|(outcome, model)| finish(args, &prepared, &folder, &outcome, &model)) {
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
