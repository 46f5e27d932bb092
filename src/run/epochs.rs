//! The loop over epochs. It is the same for the owner of several ranks and for a single process.

use std::time::Instant;

use super::kept::model::Model;
use super::kept::results::EpochReport;
use super::prepare::{Part, Prepared};
use super::{RunError, Watcher};
use crate::ids::Epoch;
use crate::nn::Criterion;
use crate::role::score::{Score, Tally};

/// Takes the data through the stages, one term at a time.
pub(super) trait Trains {
    /// Runs all [passes](Prepared::passes) of a term. `so_far` is what its epoch's training came to in earlier terms.
    fn run(&mut self, part: &Part, so_far: Tally, watcher: &mut dyn Watcher) -> Result<Ran, RunError>;
}

/// What a term has come to.
pub(super) struct Ran {
    /// What each pass came to, in their order. That of training counts the whole epoch so far.
    pub(super) tallies: Vec<Tally>,
    /// How many slots the term took; 0 without messages.
    pub(super) slots: u64,
    /// The model with what has been learned up to the end of this term.
    pub(super) model: Model,
    /// The outputs of all samples, row-major (samples, outputs). Empty where no pass asks for them.
    pub(super) inferred: Vec<f32>,
}

/// What a run has come to at its end.
pub(super) struct Finished {
    /// The reports of all epochs, in order.
    pub(super) epochs: Vec<EpochReport>,
    /// What the test pass came to.
    pub(super) test: Score,
    /// The model after the last epoch.
    pub(super) model: Model,
}

/// Runs all epochs of `prepared`. Where training diverges, `watcher` gets the model of the last good epoch.
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
            let report =
                EpochReport::new(epoch.0, so_far.score(), validation, prepared.epoch_samples(), seconds, slots);
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
