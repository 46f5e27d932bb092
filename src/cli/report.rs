//! The command `mixnn report`: one page of what runs and benches have left. It asks nobody, and writes nothing but the page.

use std::path::PathBuf;

use clap::Args;

use super::complain;
use crate::report::given::{Given, ReportError};
use crate::run::RunError;
use crate::run::kept::folder::Pending;
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folders of runs, done or not, and files with what `mixnn bench ... --json` has printed. Several runs are compared; name one with
    /// --single, or in profile bare, for what protection costs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to write the page, a file that does not exist yet, readable by you alone: it says who hosts what
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// `mixnn report`; the exit code.
pub(super) fn run(args: &ReportArgs) -> i32 {
    match written(args) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

/// Reads all that is named and writes the page.
fn written(args: &ReportArgs) -> Result<(), ReportError> {
    let page = Pending::fresh(&args.out, "--out")?;
    let given = Given::read(&args.runs)?;
    page.write(given.html().as_bytes())?;
    Ok(terminal::print(&args.out.display().to_string()).map_err(RunError::from)?)
}
