//! The command `mixnn audit`: it plays the adversary against a job and prints what it finds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{complain, max_time, progress, signals};
use crate::audit::{AuditError, Options, RUNS, SLOTS, audit};
use crate::run::RunError;
use crate::run::kept::folder::Pending;
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
    /// Play no more runs after this time, and print what those until then show, as in --max-time 30m; SIGTERM and Ctrl-C do the same
    #[arg(long, value_name = "TIME", value_parser = max_time)]
    max_time: Option<Duration>,
    /// Write a page with the table; a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// Plays the audit and prints it. Returns the exit code.
pub(super) fn run(args: &AuditArgs) -> i32 {
    match played(args) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

/// Plays the audit, prints the table, and writes the page if one is asked for. Returns the exit code.
fn played(args: &AuditArgs) -> Result<i32, AuditError> {
    let bar = ProgressBar::with_draw_target(None, progress::target(args.json));
    if let Ok(style) = ProgressStyle::with_template("audit {bar:32} {pos}/{len} runs, {eta} left") {
        bar.set_style(style);
    }
    // Whether the page can be written is better known before the runs than after them.
    let page = args
        .html
        .as_deref()
        .map(|path| Pending::fresh_for_all(path, "--html"))
        .transpose()
        .map_err(RunError::from)?;
    signals::take_interrupts();
    let deadline = args.max_time.map(|time| Instant::now() + time);
    let options = Options { ranks: args.ranks, runs: args.runs, slots: args.slots, colluders: args.colluders };
    let sets = super::model::settled(&args.job, &args.sets)?;
    let audited = audit(&args.job, &sets, &options, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        signals::came().is_none() && deadline.is_none_or(|deadline| Instant::now() < deadline)
    });
    bar.finish_and_clear();
    let audited = audited?;
    let code = match signals::came() {
        Some(name) => {
            terminal::remark(&format!("stopped by {name}: the table has the runs until then"));
            128 + signals::number(name)
        }
        None => 0,
    };
    let written = page.map_or(Ok(()), |page| {
        let words = format!("the page is in {}", page.path().display());
        page.write(audited.html().as_bytes()).map_err(RunError::from)?;
        if !args.json {
            terminal::remark(&words);
        }
        Ok(())
    });
    // The table is printed whatever has become of the page: the runs took long.
    terminal::print(&match args.json {
        true => format!("{:#}", audited.json()),
        false => audited.to_string(),
    })
    .map_err(RunError::from)?;
    written.map(|()| code)
}
