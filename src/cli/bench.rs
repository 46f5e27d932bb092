//! The command `mixnn bench`: it measures and prints rows.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, value_parser};

use super::errand::StartArgs;
use super::launcher::Start;
use super::{complain, max_time, model, signals};
use crate::bench::crew::Crew;
use crate::bench::rounds::Rounds;
use crate::bench::table::Format;
use crate::bench::train::Mode;
use crate::bench::{BenchError, BenchRun, crypto, gemm, model as modelled, predict, scale, slot, train};
use crate::job::{Job, MOST_RANKS};
use crate::run::RunError;
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    /// Cells: how long it takes to seal and to open one, by length and library
    Crypto(CryptoArgs),
    /// Matrix products of a job's linear layers, or square ones, on the processor
    Gemm(GemmArgs),
    /// Slots of the mix, by hops, cells, and how blocks travel; and where their time goes
    Slot(SlotArgs),
    /// Slots over more and more ranks, with a message of one length (strong) and with cells of one length (weak)
    Scale(ScaleArgs),
    /// A whole job over profiles, hops, relays and paces, beside one process
    Train(TrainArgs),
    /// The model of what jobs cost here, with which mixnn check predicts times: measured, held against runs, and written to a file
    Model(FitArgs),
}

/// What all benches take.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Run N ranks as threads of this process
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=i64::from(MOST_RANKS)))]
    local: Option<u16>,
    /// How many rounds count; in each everything that is compared is measured once, turn about
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure no more after this time, and print what there is, as in --max-time 10m
    #[arg(long, value_name = "TIME", value_parser = max_time)]
    max_time: Option<Duration>,
    /// Print JSON objects, a line each: first what was measured where, then the rows
    #[arg(long)]
    json: bool,
    /// Print rows as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    start: StartArgs,
}

#[derive(Debug, Args)]
struct CryptoArgs {
    /// Lengths of cells in bytes
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = crypto::CELLS,
        value_parser = value_parser!(u32).range(1..=i64::from(crypto::LONGEST)))]
    cells: Vec<u32>,
    /// Ranks that measure at once; by default all that there are
    #[arg(long)]
    ranks: Option<u16>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct GemmArgs {
    /// The job, a TOML file; by default square products
    job: Option<PathBuf>,
    /// Set one of the job's keys, as in --set train.micro_batch=64
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "job")]
    sets: Vec<String>,
    /// Threads of each rank; 0: its part of the cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=i64::from(crate::job::MOST_THREADS)))]
    threads: u16,
    /// Ranks that measure at once; by default all that there are
    #[arg(long)]
    ranks: Option<u16>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct SlotArgs {
    /// Ranks that mix; by default all that there are
    #[arg(long)]
    ranks: Option<u16>,
    /// Numbers of hops
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [3], value_parser = value_parser!(u8).range(3..=4))]
    hops: Vec<u8>,
    /// Lengths of cells in the first phase, in bytes
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = slot::CELLS,
        value_parser = value_parser!(u32).range(1..=i64::from(slot::LONGEST)))]
    cells: Vec<u32>,
    /// How blocks travel between processes of one host: through memory that they share, or as messages of MPI
    #[arg(long, value_delimiter = ',', default_value = "shared,messages", value_parser = PossibleValuesParser::new(["shared", "messages"]))]
    blocks: Vec<String>,
    /// Whether there is a keystream over what relays pass on (mix.link)
    #[arg(long, value_delimiter = ',', default_value = "off,all", value_parser = PossibleValuesParser::new(["off", "all"]))]
    link: Vec<String>,
    /// Slots that are run at a time
    #[arg(long, default_value_t = slot::SLOTS, value_parser = value_parser!(u32).range(1..=1_000_000))]
    slots: u32,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct ScaleArgs {
    /// Numbers of ranks; by default those of a list, up to all that there are
    #[arg(long, value_name = "N", value_delimiter = ',')]
    ranks: Vec<u16>,
    /// Hops of each circuit
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(3..=4))]
    hops: u8,
    /// Length in bytes of the message that more and more ranks mix
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = value_parser!(u32).range(64..=i64::from(slot::LONGEST)))]
    message: u32,
    /// Length in bytes of the cells that stay as they are
    #[arg(long, value_name = "BYTES", default_value_t = 5888, value_parser = value_parser!(u32).range(1..=i64::from(slot::LONGEST)))]
    cell: u32,
    /// Slots that are run at a time
    #[arg(long, default_value_t = slot::SLOTS, value_parser = value_parser!(u32).range(1..=1_000_000))]
    slots: u32,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct TrainArgs {
    /// The job, a TOML file
    job: PathBuf,
    /// Set one of the job's keys, as in --set train.batch=512
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How the job is run: in one process, or on ranks in a profile
    #[arg(long, value_delimiter = ',', default_value = "single,bare,sealed,mixed",
        value_parser = PossibleValuesParser::new(Mode::ALL.map(Mode::name)))]
    profiles: Vec<String>,
    /// Numbers of hops, for mixed; by default the job's
    #[arg(long, value_name = "N", value_delimiter = ',')]
    hops: Vec<u8>,
    /// Numbers of relays, for mixed; by default the job's
    #[arg(long, value_name = "N", value_delimiter = ',')]
    relays: Vec<u16>,
    /// Paces, for mixed, as mix.pace has them; by default the job's
    #[arg(long = "pace", value_name = "PACE", value_delimiter = ',')]
    paces: Vec<String>,
    /// Epochs of a run, of which the last is timed
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
    epochs: u32,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct FitArgs {
    /// The file to write; by default mixnn/model.json in $XDG_CONFIG_HOME or ~/.config, in the place of what stands there
    #[arg(long, value_name = "FILE", conflicts_with = "predict")]
    out: Option<PathBuf>,
    /// Slots that are run at a time
    #[arg(long, default_value_t = slot::SLOTS, value_parser = value_parser!(u32).range(1..=1_000_000))]
    slots: u32,
    /// Measure nothing: predict what protection costs on more ranks than there are here, each with a core or a GPU
    #[arg(long)]
    predict: bool,
    /// Numbers of ranks to predict for
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = predict::RANKS, requires = "predict",
        value_parser = value_parser!(u16).range(8..=4096))]
    ranks: Vec<u16>,
    /// Microseconds from one rank to another, to predict with
    #[arg(long, value_name = "US", default_value_t = 2.0, requires = "predict", value_parser = positive)]
    latency: f64,
    /// Gigabytes a second that a rank sends, while it receives as many, to predict with: 12.5 are 100 Gb/s
    #[arg(long, value_name = "GB", default_value_t = 12.5, requires = "predict", value_parser = positive)]
    bandwidth: f64,
    /// Microseconds that a rank takes for a message, besides its bytes, to predict with
    #[arg(long, value_name = "US", default_value_t = 0.5, requires = "predict", value_parser = positive)]
    message: f64,
    /// What a GPU computes, in TFLOP/s, to predict with
    #[arg(long, value_name = "TFLOPS", default_value_t = 50.0, requires = "predict", value_parser = positive)]
    gpu: f64,
    /// What a GPU seals or opens, in gigabytes a second, to predict with
    #[arg(long, value_name = "GB", default_value_t = 50.0, requires = "predict", value_parser = positive)]
    gpu_aes: f64,
    #[command(flatten)]
    model: model::ModelArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// How long a launch of a GPU's kernel takes, in seconds, to predict with.
const LAUNCH: f64 = 5e-6;

/// Reads a number above 0.
fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}

/// How many threads are ranks where nobody says so and no launcher has started any: for `slot` and for `scale`.
const THREADS: [u16; 2] = [7, 16];

impl What {
    /// What all benches take.
    fn common(&self) -> &CommonArgs {
        match self {
            What::Crypto(CryptoArgs { common, .. })
            | What::Gemm(GemmArgs { common, .. })
            | What::Slot(SlotArgs { common, .. })
            | What::Scale(ScaleArgs { common, .. })
            | What::Train(TrainArgs { common, .. })
            | What::Model(FitArgs { common, .. }) => common,
        }
    }

    /// How many threads are ranks where no launcher has started any.
    fn threads(&self) -> u16 {
        let usual = match self {
            What::Crypto(CryptoArgs { ranks, .. }) | What::Gemm(GemmArgs { ranks, .. }) => ranks.unwrap_or(1),
            What::Slot(SlotArgs { ranks, .. }) => ranks.unwrap_or(THREADS[0]),
            What::Scale(ScaleArgs { ranks, .. }) => ranks.iter().copied().max().unwrap_or(THREADS[1]),
            // As many as each of its rows needs.
            What::Train(_) => MOST_RANKS,
            What::Model(args) => {
                if args.predict {
                    1
                } else {
                    modelled::THREADS
                }
            }
        };
        self.common().local.unwrap_or(usual)
    }
}

/// Measures what is asked for, as one process of several or as all ranks. Returns the exit code.
pub(super) fn run(args: &BenchArgs) -> i32 {
    let start = Start::here();
    let common = args.what.common();
    if common.local.is_some() && start.is_of_several() {
        complain(&format!("error: {}", start.not_the_only_one()));
        return 2;
    }
    #[cfg(feature = "mpi")]
    if common.local.is_none() && start.may_be_mpi() {
        return on_ranks(&args.what, &start);
    }
    #[cfg(not(feature = "mpi"))]
    if start.is_of_several() {
        complain(&format!("error: {}", start.split(None)));
        return 3;
    }
    alone(&args.what)
}

/// Measures with threads of this process as ranks. Returns the exit code.
fn alone(what: &What) -> i32 {
    signals::take_interrupts();
    let (_, ended) = measured(what, Crew::Threads(what.threads()));
    ended.unwrap_or_else(|error| failed(&error))
}

/// Measures with the processes of an MPI job as ranks. Returns the exit code.
#[cfg(feature = "mpi")]
fn on_ranks(what: &What, start: &Start) -> i32 {
    use super::ranks;
    use crate::bench::crew;
    use crate::ids::Rank;
    use crate::transport::Member;

    let library = crate::transport::mpi::library();
    let mut transport = match ranks::enter(start, &what.common().start, &library) {
        Ok(transport) => transport,
        Err(code) => return code,
    };
    if transport.ranks() == 1 {
        drop(transport);
        return alone(what);
    }
    if transport.rank() != Rank::OWNER {
        let served = crew::serve(&mut transport);
        return ranks::ended(&mut transport, served);
    }
    let (mut crew, ended) = measured(what, Crew::of(&mut transport, &library));
    // The others know of what goes wrong in a duty. Else they still wait to be told something.
    if crew.waits() {
        let dismissed = crew.dismiss();
        return match (ended, dismissed) {
            (Ok(code), Ok(())) => code,
            (Err(error), _) => failed(&error),
            (Ok(_), Err(error)) => ranks::end(&mut transport, &error, ""),
        };
    }
    match ended {
        Ok(code) => code,
        Err(BenchError::Run(error)) => ranks::end(&mut transport, &error, ""),
        Err(error) => ranks::end(&mut transport, &RunError::Bug(error.to_string()), ""),
    }
}

/// Says why nothing more is measured. Returns the exit code.
fn failed(error: &BenchError) -> i32 {
    complain(&format!("error: {}", explained(error)));
    error.exit_code()
}

/// Measures what is asked for with `crew`, and prints it. Returns the crew, and the exit code.
fn measured<'a>(what: &What, crew: Crew<'a>) -> (Crew<'a>, Result<i32, BenchError>) {
    let common = what.common();
    let rounds = Rounds {
        rounds: common.rounds,
        warms_up: true,
        deadline: common.max_time.map(|time| Instant::now() + time),
        stopped: &|| signals::came().is_some(),
    };
    let format = match (common.json, common.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Text,
    };
    let mut bench = BenchRun { crew, rounds, format };
    let ended = dispatched(&mut bench, what);
    let BenchRun { crew, rounds, .. } = bench;
    let code = match signals::came() {
        Some(name) => {
            terminal::remark(&format!("stopped by {name}: rows have what was measured until then"));
            128 + signals::number(name)
        }
        None if rounds.is_over() => {
            terminal::remark("the time is over (--max-time): rows have what was measured until then");
            0
        }
        None => 0,
    };
    (crew, ended.map(|()| code))
}

/// Has the bench measured that is asked for.
fn dispatched(bench: &mut BenchRun<'_>, what: &What) -> Result<(), BenchError> {
    match what {
        What::Crypto(args) => crypto::run(bench, &args.cells, args.ranks),
        What::Gemm(args) => {
            let job = args
                .job
                .as_deref()
                .map(|job| Ok::<_, RunError>(Job::load(job, &model::settled(job, &args.sets)?)?))
                .transpose()?;
            gemm::run(bench, job, args.threads, args.ranks)
        }
        What::Slot(args) => slot::run(
            bench,
            &slot::SlotsAsked {
                ranks: args.ranks,
                hops: args.hops.clone(),
                cells: args.cells.clone(),
                windows: args.blocks.iter().map(|word| word == "shared").collect(),
                links: args.link.iter().map(|word| word == "all").collect(),
                slots: args.slots,
            },
        ),
        What::Scale(args) => scale::run(
            bench,
            &scale::ScaleAsked {
                ranks: args.ranks.clone(),
                hops: args.hops,
                message: args.message,
                cell: args.cell,
                slots: args.slots,
            },
        ),
        What::Train(args) => train::run(
            bench,
            &args.job,
            &train::TrainAsked {
                sets: model::settled(&args.job, &args.sets)?,
                profiles: args
                    .profiles
                    .iter()
                    .flat_map(|word| Mode::ALL.into_iter().find(|way| way.name() == word))
                    .collect(),
                hops: args.hops.clone(),
                relays: args.relays.clone(),
                paces: args.paces.clone(),
                epochs: args.epochs,
            },
        ),
        What::Model(args) if args.predict => predict::run(
            bench,
            &predict::PredictAsked {
                model: args.model.load().map_err(RunError::from)?,
                latency: 1e-6 * args.latency,
                bandwidth: 1e9 * args.bandwidth,
                block: 1e-6 * args.message,
                gpu_operations: 1e12 * args.gpu,
                gpu_aes: 1e9 * args.gpu_aes,
                gpu_launch: LAUNCH,
                ranks: args.ranks.clone(),
            },
        ),
        What::Model(args) => {
            let out = args.out.clone().or_else(model::place).ok_or(BenchError::NoPlace)?;
            modelled::can_write(&out)?;
            modelled::run(bench, &modelled::ModelAsked { out, slots: args.slots })
        }
    }
}

/// The words of `error`, and where too few ranks were started, what to type.
fn explained(error: &BenchError) -> String {
    match error {
        BenchError::Ranks { needed, .. } => format!("{error}; start {needed}: {}", Start::here().more(*needed)),
        BenchError::Run(error) => super::errand::explained(error),
        BenchError::Memory { .. } | BenchError::NoLayers | BenchError::NoModel | BenchError::NoPlace => {
            error.to_string()
        }
    }
}
