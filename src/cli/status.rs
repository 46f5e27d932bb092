//! The command `mixnn status`: how far a run is, out of its files alone. It opens nothing for writing, and asks nobody.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use crate::job::Job;
use crate::run::RunError;
use crate::run::kept::checkpoint;
use crate::run::kept::folder::{JOB, METRICS, RESULT};
use crate::run::kept::lock::{self, Holder};
use crate::run::kept::results::{EpochReport, Outcome};
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The folder of a run, at work or not
    run: PathBuf,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// How far a run is.
struct Status {
    name: String,
    /// How many epochs the run is to have.
    epochs: u32,
    /// The reports of the epochs that are through.
    reports: Vec<EpochReport>,
    /// The newest checkpoint: its path, how far it is, and how many seconds ago it was written.
    checkpoint: Option<(PathBuf, checkpoint::Reached, u64)>,
    /// Who works in the folder.
    holder: Option<Holder>,
    /// What the run came to. `None` where it is not done.
    outcome: Option<Outcome>,
}

/// Prints how far a run is.
///
/// # Errors
/// [`RunError`] where there is no run in the folder, or nothing can be printed.
pub(super) fn status(args: &StatusArgs) -> Result<(), RunError> {
    let status = Status::of(&args.run)?;
    Ok(terminal::print(&match args.json {
        true => format!("{:#}", status.json()),
        false => status.text(),
    })?)
}

impl Status {
    /// Reads the folder `run`.
    fn of(run: &Path) -> Result<Self, RunError> {
        let job = Job::load(&run.join(JOB), &[])?;
        let lines = fs::read_to_string(run.join(METRICS)).unwrap_or_default();
        let checkpoint = checkpoint::newest(&run.join(checkpoint::FOLDER)).and_then(|newest| {
            let written = fs::metadata(&newest.path).and_then(|metadata| metadata.modified()).ok()?;
            let age = SystemTime::now().duration_since(written).unwrap_or_default().as_secs();
            Some((newest.path.clone(), newest.reached, age))
        });
        let outcome = fs::read_to_string(run.join(RESULT)).ok();
        Ok(Self {
            name: job.name,
            epochs: job.train.epochs,
            // A line that is being written is none yet.
            reports: lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            checkpoint,
            holder: lock::holder(run),
            outcome: outcome.and_then(|json| serde_json::from_str(&json).ok()),
        })
    }

    /// How many seconds the epochs that are left will take, as the last ones did.
    fn seconds_left(&self) -> Option<f64> {
        let last: Vec<f64> = self.reports.iter().rev().take(5).map(|report| report.seconds).collect();
        let left = self.epochs.saturating_sub(self.reports.len() as u32);
        let known = !last.is_empty() && self.outcome.is_none();
        known.then(|| f64::from(left) * last.iter().sum::<f64>() / last.len() as f64)
    }

    fn json(&self) -> Value {
        let checkpoint = self.checkpoint.as_ref().map(|(path, reached, age)| {
            json!({ "path": path, "epochs": reached.epochs, "batches": reached.batches, "seconds_ago": age })
        });
        json!({
            "name": self.name,
            "done": self.outcome.is_some(),
            "epochs": self.epochs,
            "epochs_through": self.reports.len(),
            "last_epoch": self.reports.last(),
            "seconds_left": self.seconds_left(),
            "checkpoint": checkpoint,
            "at_work": self.holder,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<14} {value}\n"));
        row("run", self.name.clone());
        row("epochs", format!("{} of {} are through", self.reports.len(), self.epochs));
        if let Some(last) = self.reports.last() {
            let loss = last.train_loss.map_or_else(|| "none".to_owned(), |loss| format!("{loss:.4}"));
            row("the last", format!("loss {loss}, {:.2} s, {:.0} samples/s", last.seconds, last.samples_per_second));
        }
        if let Some(seconds) = self.seconds_left() {
            row("time left", time(seconds));
        }
        row(
            "checkpoint",
            match &self.checkpoint {
                Some((path, reached, age)) => format!("{}: {reached}, {} ago", path.display(), time(*age as f64)),
                None => "none".to_owned(),
            },
        );
        row(
            "at work",
            match (&self.holder, &self.outcome) {
                (_, Some(_)) => "nobody: it is done".to_owned(),
                (Some(holder), None) => holder.to_string(),
                (None, None) => "nobody; --resume auto goes on with it".to_owned(),
            },
        );
        text.pop();
        text
    }
}

/// A time in words: `95 s`, `12 min`, `3 h 20 min`.
fn time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        assert_eq!(
            [0.4, 119.0, 121.0, 7199.0, 12_000.0].map(time),
            ["0 s", "119 s", "2 min", "120 min", "3 h 20 min"]
        );
    }
}
