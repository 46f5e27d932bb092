//! `mixnn audit`: plays the adversary against a job, and prints what it finds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{complain, progress};
use crate::audit::{AuditError, Options, RUNS, SLOTS, audit};
use crate::run::RunError;
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// The job, a TOML file
    job: PathBuf,
    /// Set one of the job's keys, as in --set mix.relays=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Ranks that play; by default the fewest that the job needs
    #[arg(long)]
    ranks: Option<u16>,
    /// Runs of the job, each with a plan and keys of its own; more narrow the errors down
    #[arg(long, default_value_t = RUNS)]
    runs: u32,
    /// Slots of training in a run, at most; more show more of the same ranks
    #[arg(long, default_value_t = SLOTS)]
    slots: u32,
    /// Ranks that collude, drawn anew in each run
    #[arg(long, value_name = "K", default_value_t = 1)]
    colluders: u16,
    /// Write a page with the table
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `mixnn audit`; the exit code.
pub(super) fn run(args: &AuditArgs) -> i32 {
    match played(args) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

fn played(args: &AuditArgs) -> Result<(), AuditError> {
    let bar = ProgressBar::with_draw_target(None, progress::target(args.json));
    if let Ok(style) = ProgressStyle::with_template("audit {bar:32} {pos}/{len} runs, {eta} left") {
        bar.set_style(style);
    }
    // A page that cannot be written is better known before the runs than after.
    let page = args.html.as_deref().map(place).transpose()?;
    let options = Options { ranks: args.ranks, runs: args.runs, slots: args.slots, colluders: args.colluders };
    let audited = audit(&args.job, &args.sets, &options, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let audited = audited?;
    if let Some(path) = page {
        std::fs::write(path, audited.html()).map_err(|source| AuditError::Write { path: path.to_owned(), source })?;
        if !args.json {
            terminal::note(&format!("the page is in {}", path.display()));
        }
    }
    let printed = terminal::print(&match args.json {
        true => format!("{:#}", audited.json()),
        false => audited.to_string(),
    });
    Ok(printed.map_err(RunError::from)?)
}

/// Whether a file can be at `path`, as far as can be told without touching it.
fn place(path: &Path) -> Result<&Path, AuditError> {
    let error = |source| AuditError::Write { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(error(ErrorKind::IsADirectory.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(folder).map_err(error)?.is_dir() {
        true => Ok(path),
        false => Err(error(ErrorKind::NotADirectory.into())),
    }
}
