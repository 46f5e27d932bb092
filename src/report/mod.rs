//! What a run prints: a line for each epoch, and a short table at the end. And what `mixnn report` shows of runs and benches that are
//! over, on one [page](mod@page): it reads what was [given], and draws it section by section. [`chance`] is how the other commands write
//! a figure with its error, and [`html`] how they write pages.

pub mod chance;
pub mod given;
pub mod html;
mod learned;
mod measured;
mod overhead;
mod page;
mod scale;
mod spent;
mod svg;
mod timeline;
mod traffic;

use std::fmt::Write;
use std::path::Path;

use crate::job::{Job, Profile};
use crate::nn::Criterion;
use crate::run::kept::results::{EpochReport, Outcome};

/// What is printed in place of a mean over nothing.
const NOTHING: &str = "-";

/// A mean with so many decimals, or [`NOTHING`].
fn shown(mean: Option<f64>, decimals: usize) -> String {
    mean.map_or(NOTHING.to_owned(), |mean| format!("{mean:.decimals$}"))
}

/// The line on one epoch of a run of `epochs` epochs.
pub fn epoch_line(report: &EpochReport, epochs: u32) -> String {
    let validation = match (report.validation_accuracy, report.validation_loss) {
        (Some(accuracy), _) => format!("{:.2} %", accuracy * 100.0),
        (None, Some(loss)) => format!("loss {loss:.4}"),
        (None, None) => NOTHING.to_owned(),
    };
    format!(
        "epoch {:>2}/{epochs}   loss {}   validation {validation}   {:.2} s   {:.0} samples/s",
        report.epoch,
        shown(report.train_loss, 4),
        report.seconds,
        report.samples_per_second
    )
}

/// The table at the end of a run, whose files are in `folder`.
pub fn summary(outcome: &Outcome, job: &Job, folder: &Path) -> String {
    let mut text = String::from("\n");
    let mut row = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    match outcome.test_accuracy {
        Some(accuracy) => row("test accuracy", &format!("{accuracy:.4}   (loss {})", shown(outcome.test_loss, 4))),
        None if Criterion::new(job.train.loss).classifies() => row("test accuracy", NOTHING),
        None => row("test loss", &shown(outcome.test_loss, 6)),
    }
    row("time", &format!("{:.2} s, {} epochs", outcome.seconds, outcome.epochs.len()));
    row("ranks", &format!("{} ({})", outcome.ranks, outcome.mpi));
    if job.seed_drawn {
        row("seed", &format!("{} (drawn; --set seed={0} repeats the run)", job.seed));
    }
    row("model", &format!("{}", folder.join("model.safetensors").display()));
    row("weights", &format!("sha256 {}", outcome.weights_sha256));
    for (name, value) in protection(outcome, job) {
        row(name, &value);
    }
    if !outcome.timing.is_empty() {
        let _ = writeln!(text, "\n  where the time of slots went, ms");
        let _ = writeln!(text, "  rank   compute      seal  exchange      peel      open      wait");
        for t in &outcome.timing {
            let _ = writeln!(
                text,
                "  {:>4} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                t.rank, t.compute, t.seal, t.exchange, t.peel, t.open, t.wait
            );
        }
    }
    text
}

/// The rows of the table that say what was protected, and what was not.
fn protection(outcome: &Outcome, job: &Job) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    if outcome.profile == "single" {
        rows.push(("protected", "nothing: one process, no messages".to_owned()));
        return rows;
    }
    // Threads of one process show each other no identities.
    let known = job.trust.ranks.is_some() && outcome.mpi != "local";
    let unknown = if known { "" } else { ", and ranks are not authenticated" };
    match job.mix.profile {
        Profile::Mixed => {
            rows.push((
                "protected",
                "what each rank hosts, who sends to whom, every activation and gradient".to_owned(),
            ));
            rows.push(("", format!("{} hops, cover on every circuit, fresh keys every epoch", outcome.hops)));
            let every = |slot: f64| format!("a slot every {:.0} us", slot * 1e6);
            let each = |work: f64| format!("{:.0} us for work in each slot", work * 1e6);
            match outcome.slot_seconds.map(every).or_else(|| outcome.work_seconds.map(each)) {
                Some(pace) => {
                    let slots: u64 = outcome.epochs.iter().map(|epoch| epoch.slots).sum();
                    let overran = outcome.overran;
                    let pace = format!("who computes when: {pace}; {overran} of {slots} slots overran");
                    rows.push(("", pace));
                    if !outcome.cores_suffice {
                        rows.push(("", "(as far as ranks that share cores do not delay each other)".to_owned()));
                    }
                    if known {
                        rows.push(("not protected", "what `mixnn check` lists".to_owned()));
                    } else {
                        rows.push(("not protected", "ranks are not authenticated".to_owned()));
                    }
                }
                None => rows.push(("not protected", format!("timing (who computes when){unknown}"))),
            }
        }
        Profile::Sealed => {
            rows.push(("protected", "the contents of messages".to_owned()));
            rows.push(("not protected", format!("who sends to whom, timing{unknown}")));
        }
        Profile::Bare => rows.push(("protected", "nothing: profile \"bare\"".to_owned())),
    }
    if outcome.mpi == "local" {
        rows.push(("", "all ranks are threads of one process, which could see everything".to_owned()));
    }
    rows
}

#[cfg(test)]
mod tests;
