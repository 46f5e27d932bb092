//! The loss of a micro-batch: computed here for the owner of several ranks and for one process alike.

use super::RoleError;
use super::planned::Planned;
use super::score::{Tally, weight};
use crate::compute::{Backend, ComputeError};
use crate::data::Targets;
use crate::ids::Epoch;
use crate::nn::{Criterion, Pass};
use crate::pipeline::Feed;

/// Compares what comes out of the network with what should.
pub struct Judge<B: Backend> {
    criterion: Criterion,
    /// What should come out for the samples of a micro-batch.
    targets: Option<Targets>,
    /// What comes out for them, (rows, outputs), to be written by who asks.
    pub logits: B::Buf,
    /// The loss's gradient by these, (rows, outputs), of the micro-batch that was judged last.
    pub gradient: B::Buf,
}

impl<B: Backend> Judge<B> {
    /// Judges by `criterion` micro-batches of at most `rows` samples, with `outputs` values each, of which `targets` are some.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
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

    /// A tally of what it finds.
    pub fn tally(&self) -> Tally {
        Tally::new(self.criterion)
    }

    /// Adds the loss of `feed`, a micro-batch of `planned` whose outputs are the `logits`, to `tally`; its gradient, as part of a mean
    /// over its batch, becomes the `gradient`.
    ///
    /// # Errors
    /// [`RoleError::Compute`] where the device is lost; [`RoleError::NotANumber`] where something is to be learned from a loss that is
    /// none.
    pub fn judge(
        &mut self,
        backend: &B,
        planned: &Planned<'_>,
        epoch: Epoch,
        feed: Feed,
        tally: &mut Tally,
    ) -> Result<(), RoleError> {
        let Some(targets) = &mut self.targets else { unreachable!("a pass that runs has data") };
        let indices = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0);
        targets.copy_from(&planned.data.targets, indices);
        let weight = weight(planned.data.targets.terms(planned.batches.batch(feed.batch.0)));
        let sum = self.criterion.of(backend, &self.logits, (&*targets).into(), weight, &mut self.gradient);
        // What a lost device gives is no loss.
        backend.finish()?;
        tally.add(sum, indices.len());
        match planned.trains() && !sum.loss.is_finite() {
            true => Err(RoleError::NotANumber { loss: sum.loss, epoch, batch: feed.batch }),
            false => Ok(()),
        }
    }
}

/// How the micro-batch `feed` of `planned` goes through the stages.
pub fn through(planned: &Planned<'_>, epoch: Epoch, feed: Feed) -> Pass {
    let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0).len();
    match planned.trains() {
        true => Pass::training(rows, epoch, feed.batch, feed.micro_batch),
        false => Pass::evaluation(rows),
    }
}
