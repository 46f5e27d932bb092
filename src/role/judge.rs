//! The loss of a micro-batch. The owner of several ranks and a single process both compute it here.

use super::RoleError;
use super::planned::Planned;
use super::score::{Tally, weight};
use crate::compute::{Backend, ComputeError};
use crate::data::Targets;
use crate::ids::Epoch;
use crate::nn::{Criterion, Pass};
use crate::pipeline::Feed;

/// Compares the outputs of the network with the targets.
pub struct Judge<B: Backend> {
    /// Computes the job's loss and its gradient.
    criterion: Criterion,
    /// Memory for the targets of one micro-batch. `None` if there is no pass.
    targets: Option<Targets>,
    /// The outputs of the network for a micro-batch, (rows, outputs). The caller writes them before [`judge`](Self::judge).
    pub logits: B::Buf,
    /// The gradient of the loss by the logits, (rows, outputs), of the micro-batch that was judged last.
    pub gradient: B::Buf,
}

impl<B: Backend> Judge<B> {
    /// A judge by `criterion` of micro-batches of at most `rows` samples with `outputs` values each. `targets` are the data's,
    /// or some of that kind: they say what memory a micro-batch's targets need.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for a micro-batch.
    pub fn new(
        backend: &B,
        criterion: Criterion,
        rows: usize,
        outputs: usize,
        targets: Option<&Targets>,
    ) -> Result<Self, ComputeError> {
        Ok(Self {
            criterion,
            targets: targets.map(|targets| targets.room(rows)),
            logits: backend.zeros(rows * outputs)?,
            gradient: backend.zeros(rows * outputs)?,
        })
    }

    /// A new tally for this judge's loss.
    pub fn tally(&self) -> Tally {
        Tally::new(self.criterion)
    }

    /// The targets of the micro-batch `feed` of `planned`, and the factor of the gradient of each term, for whoever computes the gradient in
    /// this judge's place.
    pub fn targets(&mut self, planned: &Planned<'_>, feed: Feed) -> (&Targets, f32) {
        targets_of(&mut self.targets, planned, feed)
    }

    /// Adds the loss of the micro-batch `feed` of `planned`, whose outputs stand in `logits`, to `tally`. The gradient of the
    /// mean loss over its batch is written to `gradient`.
    ///
    /// # Errors
    /// [`RoleError::Compute`] if the device is lost; [`RoleError::NotANumber`] if a training loss is not finite.
    pub fn judge(
        &mut self,
        backend: &B,
        planned: &Planned<'_>,
        epoch: Epoch,
        feed: Feed,
        tally: &mut Tally,
    ) -> Result<(), RoleError> {
        let criterion = self.criterion;
        let (targets, weight) = targets_of(&mut self.targets, planned, feed);
        let sum = criterion.of(backend, &self.logits, targets.into(), weight, &mut self.gradient);
        // A lost device returns a loss that means nothing.
        backend.finish()?;
        tally.add(sum, targets.samples());
        match planned.trains() && !sum.loss.is_finite() {
            true => Err(RoleError::NotANumber { loss: sum.loss, epoch, batch: feed.batch }),
            false => Ok(()),
        }
    }
}

/// The targets of the micro-batch `feed` of `planned`, which are put into `memory`, and the factor of the gradient of each term.
fn targets_of<'a>(memory: &'a mut Option<Targets>, planned: &Planned<'_>, feed: Feed) -> (&'a Targets, f32) {
    let Some(targets) = memory else { unreachable!("a pass that runs has data") };
    targets.copy_from(&planned.data.targets, planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0));
    (targets, weight(planned.data.targets.terms(planned.batches.batch(feed.batch.0))))
}

/// The pass of the micro-batch `feed` of `planned` through the stages: its rows, and whether it is training.
pub fn pass_of(planned: &Planned<'_>, epoch: Epoch, feed: Feed) -> Pass {
    let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0).len();
    match planned.trains() {
        true => Pass::training(rows, epoch, feed.batch, feed.micro_batch),
        false => Pass::evaluation(rows),
    }
}
