//! The loop over epochs: the same for the owner of several ranks and for one process.

use std::time::Instant;

use super::model::Model;
use super::prepare::Prepared;
use super::results::EpochReport;
use super::{RunError, Watcher};
use crate::ids::Epoch;
use crate::role::score::Score;

/// Who takes the data through the stages.
pub(super) trait Trains {
    /// Runs all [passes](Prepared::passes) of `epoch`. `last`: the run ends with it.
    fn run(&mut self, epoch: Epoch, last: bool, watcher: &mut dyn Watcher) -> Result<Ran, RunError>;
}

/// An epoch that has run.
pub(super) struct Ran {
    /// What each pass came to.
    pub(super) scores: Vec<Score>,
    /// The slots that it took.
    pub(super) slots: u64,
    /// What has been learned so far.
    pub(super) model: Model,
    /// (samples, outputs), where a pass asked for them.
    pub(super) inferred: Vec<f32>,
}

/// A run that has come to its end.
pub(super) struct Finished {
    /// By epoch.
    pub(super) epochs: Vec<EpochReport>,
    /// What the test set came to.
    pub(super) test: Score,
    /// What was learned.
    pub(super) model: Model,
}

/// Runs all epochs of `prepared`. Where training diverges, `watcher` keeps the model of the epoch before.
///
/// # Errors
/// [`RunError`].
pub(super) fn run(
    trains: &mut dyn Trains,
    prepared: &Prepared,
    watcher: &mut dyn Watcher,
) -> Result<Finished, RunError> {
    let count = prepared.job.train.epochs;
    let mut epochs = Vec::new();
    let mut kept: Option<Model> = None;
    for epoch in 0..count {
        let (began, last) = (Instant::now(), epoch + 1 == count);
        let ran = trains.run(Epoch(epoch), last, watcher);
        if let (Err(error), Some(model)) = (&ran, &kept)
            && error.is_divergence()
        {
            watcher.keep(epoch, model)?;
        }
        let Ran { scores, slots, model, inferred } = ran?;
        if prepared.infers() {
            watcher.outputs(inferred)?;
            return Ok(Finished { epochs, test: Score::default(), model });
        }
        let validation = (prepared.validation.samples() > 0).then(|| scores[1]);
        let seconds = began.elapsed().as_secs_f64();
        let report = EpochReport::new(epoch, scores[0], validation, prepared.trained(), seconds, slots);
        watcher.epoch(&report)?;
        epochs.push(report);
        if last {
            return Ok(Finished { epochs, test: scores[scores.len() - 1], model });
        }
        kept = Some(model);
    }
    Err(RunError::Bug("a run without epochs".to_owned()))
}
