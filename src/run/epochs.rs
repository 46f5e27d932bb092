//! The loop over epochs: the same for the owner of several ranks and for one process.

use std::time::Instant;

use super::kept::model::Model;
use super::kept::results::EpochReport;
use super::prepare::{Part, Prepared};
use super::{RunError, Watcher};
use crate::ids::Epoch;
use crate::nn::Criterion;
use crate::role::score::{Score, Tally};

/// Who takes the data through the stages.
pub(super) trait Trains {
    /// Runs all [passes](Prepared::passes) of a term. `so_far` is what its epoch's training has come to before.
    fn run(&mut self, part: &Part, so_far: Tally, watcher: &mut dyn Watcher) -> Result<Ran, RunError>;
}

/// A term that has run.
pub(super) struct Ran {
    /// What each pass came to, training in the whole epoch so far.
    pub(super) tallies: Vec<Tally>,
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
    let mut epochs = Vec::new();
    let mut kept: Option<Model> = None;
    for epoch in (0..prepared.job.train.epochs).map(Epoch) {
        let began = Instant::now();
        let mut so_far = Tally::new(Criterion::new(prepared.job.train.loss));
        let mut slots = 0;
        for part in prepared.parts(epoch) {
            let ran = trains.run(&part, so_far, watcher);
            if let (Err(error), Some(model)) = (&ran, &kept)
                && error.is_divergence()
            {
                watcher.keep(epoch.0, model)?;
            }
            let Ran { tallies, slots: of_term, model, inferred } = ran?;
            slots += of_term;
            if prepared.infers() {
                watcher.outputs(inferred)?;
                return Ok(Finished { epochs, test: Score::default(), model });
            }
            so_far = tallies[0];
            if !part.ends_epoch {
                continue;
            }
            let validation = (prepared.validation.samples() > 0).then(|| tallies[1].score());
            let seconds = began.elapsed().as_secs_f64();
            let report = EpochReport::new(epoch.0, so_far.score(), validation, prepared.trained(), seconds, slots);
            watcher.epoch(&report)?;
            epochs.push(report);
            if part.ends_run {
                return Ok(Finished { epochs, test: tallies[tallies.len() - 1].score(), model });
            }
            kept = Some(model);
        }
    }
    Err(RunError::Bug("a run without epochs".to_owned()))
}
