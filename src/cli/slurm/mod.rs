//! The command `mixnn slurm`: it fills in a batch script for a job and submits it ([`script`], [`queue`]). What the script does then
//! stands in docs/HPC.md.

mod queue;
mod script;

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use clap::Args;

use super::shell;
use crate::check::Footprint;
use crate::job::{Backend, JobError, Profile};
use crate::run::RunError;
use crate::run::owner::can_run;
use crate::run::prepare::Prepared;
use crate::terminal::{self, PrintError};
use script::Script;

/// What a rank takes beside its stage: the program, MPI with its buffers, and what the owner keeps of all others, in bytes.
const PROGRAM: u64 = 256 << 20;
/// What a rank on a GPU takes on top of that: NVIDIA's libraries, and the device's context.
const CUDA: u64 = 2 << 30;

/// How options of `sbatch` begin that say over how many nodes ranks go.
const SPREADING: [&str; 5] = ["-N", "--nodes", "--ntasks-per-node", "--spread-job", "--distribution"];

#[derive(Debug, Args)]
pub(super) struct SlurmArgs {
    /// The job, a TOML file
    job: PathBuf,
    /// Ranks to ask for; by default the fewest that the job needs
    #[arg(long)]
    ranks: Option<u16>,
    /// How much is protected: mixed, sealed or bare (mix.profile)
    #[arg(long)]
    profile: Option<String>,
    /// Set one of the job's keys, as in --set train.epochs=1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// The folder of the run; by default runs/NAME-ID, by the names that Slurm gives
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// GPUs of a node, where compute.backend = "cuda": so many ranks go on each; by default as many as sinfo says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    gpus_per_node: Option<u16>,
    /// Print the script instead of submitting it
    #[arg(long)]
    dry_run: bool,
    /// Options for sbatch, as in: -- --time=04:00:00 --partition=long --nodes=7
    #[arg(last = true, value_name = "OPTIONS OF SBATCH")]
    sbatch: Vec<String>,
}

/// Why a job is not submitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlurmError {
    /// The job is wrong, or cannot run on so many ranks.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The result cannot be printed.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// A command of Slurm's cannot be started.
    #[error(
        "{command} cannot be started: {source}; is this a login node of a cluster with Slurm? --dry-run prints the script without it"
    )]
    NoCommand {
        /// The name of the command.
        command: &'static str,
        /// Why it cannot be started.
        source: io::Error,
    },
    /// A command of Slurm's has failed.
    #[error("{command} refuses: {words}")]
    Refused {
        /// The name of the command.
        command: &'static str,
        /// What the command says.
        words: String,
    },
    /// Slurm does not bring the ranks of this program's MPI library together.
    #[error(
        "this program's MPI library needs srun --mpi={mpi}, and this Slurm has {found}; MIXNN_SRUN_MPI names another way, or build mixnn \
         with an MPI library that fits"
    )]
    NoPlugin {
        /// The way that the library needs.
        mpi: String,
        /// The ways that this Slurm offers.
        found: String,
    },
    /// The job wants GPUs, and no node has any.
    #[error(
        "compute.backend is \"cuda\", and sinfo shows no node with GPUs; --gpus-per-node N says how many a node has"
    )]
    NoGpus,
    /// The program has no MPI.
    #[cfg(not(feature = "mpi"))]
    #[error(
        "this mixnn is built without MPI (the feature `mpi`): its ranks cannot be tasks of Slurm; build it with MPI"
    )]
    NoMpi,
    /// Words that no line of a script can hold.
    #[error(
        "{word:?} cannot stand in a batch script: it has a line break, or is no UTF-8; leave it out, or rename it"
    )]
    Unwritable {
        /// The words that no line can hold.
        word: String,
    },
    /// Something that the script needs to name cannot be found.
    #[error("{what} cannot be found: {source}")]
    NoPath {
        /// What is looked for, in words.
        what: String,
        /// Why it cannot be found.
        source: io::Error,
    },
}

impl SlurmError {
    /// The program's exit code.
    fn exit_code(&self) -> i32 {
        match self {
            SlurmError::Run(error) => error.exit_code(),
            SlurmError::Unwritable { .. } => 2,
            _ => 3,
        }
    }
}

impl From<JobError> for SlurmError {
    fn from(error: JobError) -> Self {
        SlurmError::Run(error.into())
    }
}

/// Submits a job, or prints the script. Returns the exit code.
pub(super) fn run(args: &SlurmArgs) -> i32 {
    match submitted(args) {
        Ok(()) => 0,
        Err(error) => {
            super::complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

/// Fills in the script; prints it, or submits it and prints the id.
fn submitted(args: &SlurmArgs) -> Result<(), SlurmError> {
    let mut sets = args.sets.clone();
    sets.extend(args.profile.iter().map(|profile| format!("mix.profile={profile:?}")));
    let sets = super::model::settled(&args.job, &sets)?;
    let prepared = Prepared::load(&args.job, &sets)?;
    let mpi = bring_together()?;
    let script = filled(args, &prepared, mpi)?;
    let spreads = |word: &String| SPREADING.iter().any(|option| word.starts_with(option));
    if prepared.job.mix.profile == Profile::Mixed && !args.sbatch.iter().any(spreads) {
        let nodes = script.ranks;
        terminal::remark(&format!(
            "Slurm may put all ranks on one node, whose operator then knows who hosts what: -- --nodes={nodes} \
             --ntasks-per-node=1 gives each a node of its own"
        ));
    }
    if args.dry_run {
        return Ok(terminal::print(script.to_string().trim_end())?);
    }
    queue::offers(&script.mpi)?;
    let id = queue::submit(&script.to_string())?;
    let job = id.split(';').next().unwrap_or(&id);
    let named = queue::named(job);
    let log = named.as_ref().map(|named| format!("its log is {}; ", named.log)).unwrap_or_default();
    let name = named.map_or(script.name, |named| named.name);
    let folder = script.out.unwrap_or_else(|| format!("runs/{name}-{job}"));
    let status = shell::line(["mixnn", "status", &folder]);
    terminal::remark(&format!("job {job} is submitted; {log}how far it is: {status}"));
    Ok(terminal::print(&id)?)
}

/// The script for `prepared`, whose ranks are brought together in the way `mpi`.
fn filled(args: &SlurmArgs, prepared: &Prepared, mpi: String) -> Result<Script, SlurmError> {
    let job = &prepared.job;
    let ranks = args.ranks.unwrap_or_else(|| job.ranks());
    can_run(prepared, ranks)?;
    let found = |what: String| move |source| SlurmError::NoPath { what, source };
    let path = args.job.canonicalize().map_err(found(args.job.display().to_string()))?;
    let program = std::env::current_exe().map_err(found("this program".to_owned()))?;
    let on_gpus = job.compute.backend == Backend::Cuda;
    let per_node = match (on_gpus, args.gpus_per_node) {
        (false, _) => None,
        (true, Some(count)) => Some(count),
        (true, None) => Some(queue::gpus()?.ok_or(SlurmError::NoGpus)?),
    };
    let needs = Footprint::of(prepared, &prepared.geometry(ranks)?);
    // A file is read whole before its values are made of it.
    let memory = PROGRAM + if on_gpus { CUDA } else { 0 } + needs.memory.saturating_add(needs.data.saturating_mul(2));
    let mut options: Vec<String> = args.sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]).collect();
    options.extend(args.profile.iter().flat_map(|profile| ["--profile".to_owned(), profile.clone()]));
    let words = std::iter::once("mixnn".into()).chain(std::env::args_os().skip(1));
    Ok(Script {
        by: words.map(writable).collect::<Result<_, _>>()?,
        name: job.name.clone(),
        ranks,
        cores: job.compute.threads.max(1),
        memory,
        per_node: per_node.map(|count| count.min(ranks)),
        more: args.sbatch.clone(),
        job: writable(path)?,
        program: writable(program)?,
        options,
        mpi,
        out: args.out.as_ref().map(writable).transpose()?,
    })
}

/// `word`, where a line of a script can hold it.
fn writable(word: impl AsRef<OsStr>) -> Result<String, SlurmError> {
    let word = word.as_ref();
    let written = word.to_str().filter(|word| !word.contains(['\n', '\r']));
    written.map(str::to_owned).ok_or_else(|| SlurmError::Unwritable { word: word.to_string_lossy().into_owned() })
}

/// How `srun` is to bring ranks together: as the user says, or as this program's MPI library needs it.
#[cfg(feature = "mpi")]
fn bring_together() -> Result<String, SlurmError> {
    let said = std::env::var("MIXNN_SRUN_MPI").ok().filter(|said| !said.is_empty());
    Ok(said.unwrap_or_else(|| super::launcher::pmi_of(&crate::transport::mpi::library()).to_owned()))
}

/// Nothing brings the ranks of a program without MPI together.
#[cfg(not(feature = "mpi"))]
fn bring_together() -> Result<String, SlurmError> {
    Err(SlurmError::NoMpi)
}
