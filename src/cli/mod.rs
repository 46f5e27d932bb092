//! The command line. What it prints of a job is made in [`check`](crate::check), [`audit`](crate::audit),
//! [`bench`](crate::bench) and [`report`](crate::report).

mod audit;
mod bench;
mod data;
mod errand;
mod first;
mod identity;
mod infer;
mod launch;
mod launcher;
mod manual;
mod model;
mod progress;
#[cfg(feature = "mpi")]
mod ranks;
mod report;
mod run;
mod shell;
mod signals;
mod slurm;
mod status;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};

use errand::StartArgs;
use identity::IdentityArgs;

use crate::check::{Checked, HostMapping};
use crate::job::Job;
use crate::run::RunError;
use crate::run::trust::Trust;
use crate::terminal;
use crate::threads::Starved;

/// Trains neural networks on MPI ranks that do not trust each other: every stage of layers on a rank of its own,
/// activations and gradients as onion-encrypted cells of one length through a mix of all ranks.
#[derive(Debug, Parser)]
#[command(name = "mixnn", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    /// Leave out progress and notes; results and errors stay
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 training failed (the loss is not a number); 2 the job or the call is \
wrong; 3 the surroundings are (too few ranks, no such file); 4 a message failed authentication, or a rank is not \
accepted; 5 a peer did not answer in time; 70 a bug; 75 stopped on request with a checkpoint, go on with --resume auto.

Start with: mixnn run jobs/digits.toml --local 7";

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate a job; print it resolved, with the ranks, lengths and memory that it needs
    Check(CheckArgs),
    /// Train and test. Under mpirun or srun one process a rank; alone all ranks as threads (--local)
    Run(RunArgs),
    /// Serve on a rank other than 0 without a job: mpirun -n 1 mixnn run JOB : -n 6 mixnn join
    Join(JoinArgs),
    /// The testing phase alone: what the model of a run makes of new inputs. Under mpirun or srun, with ranks that infer or
    /// join, alone, --local and --single as `run`, with the same bits
    Infer(infer::InferArgs),
    /// How far a run is, out of its files alone: epochs, time left, the newest checkpoint, who is at work
    Status(status::StatusArgs),
    /// Show runs, and what benches have measured, on one page: loss and accuracy, where time goes, the pipeline slot by slot, what protection
    /// costs, who sends to whom
    Report(report::ReportArgs),
    /// Submit a job to Slurm: fill in slurm/train.sbatch with the ranks, memory, cores and GPUs that it needs, and print its id
    Slurm(slurm::SlurmArgs),
    /// Make this host's identity, with which it signs; print its line for the trust files of others
    Keygen(identity::KeygenArgs),
    /// Play the adversary: run a job many times, shortened, record its messages, and try to tell stages from relays, their
    /// order, real messages from cover, and one model from another; each beside a control with the defence off
    Audit(audit::AuditArgs),
    /// Measure what protection costs here: cells, matrix products, slots, whole jobs. Alone, under mpirun or srun, and with ranks as
    /// threads (--local); rows with median and spread
    Bench(bench::BenchArgs),
    /// Look at this host: processor, how fast it seals, MPI library, GPUs and what they need; compile and run on each GPU, hold the
    /// results against the processor
    Doctor {
        /// Print what it finds as JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring data sets
    #[command(subcommand)]
    Data(DataCommand),
    /// Print what lets a shell complete mixnn's commands and options, as in: source <(mixnn completions bash)
    Completions(manual::CompletionsArgs),
    /// Print the manual page, as in: mixnn man | man -l -
    Man(manual::ManArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The job, a TOML file
    job: PathBuf,
    /// Set one of the job's keys, as in --set train.epochs=1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Ranks to reckon with; by default the fewest that the job needs
    #[arg(long)]
    ranks: Option<u16>,
    /// Hosts over which the ranks are dealt in blocks, the owner's first: how many (2), or how many ranks each has (6,1); by
    /// default a rank each
    #[arg(long, value_name = "HOSTS")]
    hosts: Option<HostMapping>,
    #[command(flatten)]
    model: model::ModelArgs,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The job, a TOML file; only rank 0 opens it
    job: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    /// The folder to write, which must not exist unless with --resume; by default runs/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from a checkpoint: with `auto` from the newest in the folder of the run, from its start where there is none, and not at
    /// all where it is done; or from this file
    #[arg(long, value_name = "auto|FILE")]
    resume: Option<String>,
    /// Stop with a checkpoint before the process has run so long, as in --max-time 55m
    #[arg(long, value_name = "TIME", value_parser = max_time)]
    max_time: Option<Duration>,
    #[command(flatten)]
    model: model::ModelArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct JoinArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    start: StartArgs,
}

/// How a job is to run, whatever is asked of it.
#[derive(Debug, Args)]
struct HowArgs {
    /// Run in this process without messages: the reference for accuracy and time
    #[arg(long, conflicts_with_all = ["local", "profile"])]
    single: bool,
    /// Run N ranks as threads of this process
    #[arg(long, value_name = "N")]
    local: Option<u16>,
    /// How much is protected: mixed, sealed or bare (mix.profile)
    #[arg(long)]
    profile: Option<String>,
    /// Set one of the job's keys, as in --set train.epochs=1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    start: StartArgs,
    /// End with an error where ranks compute differently, so that bits would depend on who hosts what
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Fetch a data set, check its files and unpack them
    Fetch {
        /// The data set: mnist, or cifar10 (with --from; it is not downloaded)
        #[arg(value_parser = ["mnist", "cifar10"])]
        name: String,
        /// The folder to write to; by default data/NAME
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Take it from a folder, or a .tgz that holds it, instead of the internet
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
    },
}

/// Reads how long a run may take.
fn max_time(text: &str) -> Result<Duration, String> {
    crate::job::duration(text, Duration::from_secs(1))
        .ok_or_else(|| "expected a time of at least \"1s\", such as \"55m\" or \"12h\"".to_owned())
}

/// Does what the command line asks for. Returns the process's exit code.
pub fn main() -> i32 {
    signals::hold();
    let began = Instant::now();
    protect_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    // A rank of a run is not to end by a signal before the owner says so, and a bench or an audit not before it has printed what it has.
    let runs = matches!(cli.command, Command::Run(_) | Command::Join(_) | Command::Bench(_) | Command::Audit(_));
    if !runs {
        signals::release();
    }
    first::heed_signals(runs);
    if cli.quiet {
        terminal::be_quiet();
    }
    match cli.command {
        Command::Check(args) => check(&args).map_or_else(|error| fail(&error), |()| 0),
        Command::Run(args) => launch::start(&run::TimedRun { args, began }),
        Command::Join(args) => launch::join(&args),
        Command::Infer(args) => launch::start(&args),
        Command::Status(args) => status::status(&args).map_or_else(|error| fail(&error), |()| 0),
        Command::Report(args) => report::run(&args),
        Command::Slurm(args) => slurm::run(&args),
        Command::Keygen(args) => identity::keygen(args),
        Command::Audit(args) => start_threads().map_or_else(|error| fail(&error), |()| audit::run(&args)),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor { json } => doctor(json).unwrap_or_else(|error| fail(&error)),
        Command::Data(DataCommand::Fetch { name, to, from }) => data::fetch(&name, to, from),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// Prints what clap has to say. Returns the exit code. Help and versions are results and no errors.
fn refused(error: &clap::Error) -> i32 {
    let styled = error.render();
    let text = |terminal: bool| match terminal && !progress::is_plain(|name| std::env::var_os(name)) {
        true => styled.ansi().to_string(),
        false => styled.to_string(),
    };
    if error.use_stderr() {
        terminal::note(&text(terminal::stderr_is_terminal()));
        return 2;
    }
    terminal::print(&text(terminal::stdout_is_terminal())).map_or_else(|error| fail(&error.into()), |()| 0)
}

/// Starts the threads on which `check` and `audit` compute, one for each core. Left to the first use of them, a lack of
/// threads would be a panic.
fn start_threads() -> Result<(), RunError> {
    Ok(rayon::ThreadPoolBuilder::new().build_global().map_err(Starved::from)?)
}

/// Prints what a job needs and how well it is protected.
fn check(args: &CheckArgs) -> Result<(), RunError> {
    start_threads()?;
    let prepared = model::prepared(Job::load(&args.job, &args.sets)?, &args.model)?;
    prepared.job.trust.ranks.as_deref().map(Trust::load).transpose()?;
    // What is wrong with a file that the user has not named is no reason to check nothing.
    let model = match args.model.load() {
        Err(error) if args.model.is_named() => return Err(error.into()),
        found => found,
    };
    let checked =
        Checked::of(&prepared, args.ranks, args.hosts.as_ref())?.foreseen(&prepared, args.hosts.as_ref(), model)?;
    Ok(terminal::print(&match args.json {
        true => format!("{:#}", checked.json()),
        false => checked.to_string(),
    })?)
}

/// Looks at this host and prints what it finds. Returns the exit code: 3 where something is there and does not work.
fn doctor(json: bool) -> Result<i32, RunError> {
    let examined = crate::doctor::Examined::here()?;
    terminal::print(&match json {
        true => format!("{:#}", examined.json()),
        false => examined.to_string(),
    })?;
    Ok(if examined.is_well() { 0 } else { 3 })
}

/// Prints why the program ends. Returns the exit code.
fn fail(error: &RunError) -> i32 {
    complain(&format!("{}{}", kind(error), errand::explained(error)));
    error.exit_code()
}

/// What `error` is called: `error: `, unless it is none, but what the user has asked for.
fn kind(error: &RunError) -> &'static str {
    match error.cause() {
        RunError::Paused { .. } | RunError::Done { .. } => "",
        _ => "error: ",
    }
}

/// Writes a line to stderr that begins with the program's name.
fn complain(text: &str) {
    terminal::note(&format!("mixnn: {text}"));
}

/// Switches core dumps off: they would hold keys and parameters.
fn protect_memory() {
    // Where this fails, core dumps stay as the system has them.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
}
