//! A rank with layers: reacts to what reaches it and holds no schedule.
//!
//! In a slot it does the backward message first, then, where that says `last`, its optimizer's step at the rate that it
//! carries, then the forward message.

use super::{Role, RoleError, address, received};
use crate::compute::{Backend, ComputeError};
use crate::ids::{Batch, Epoch, MicroBatch, Slot};
use crate::mix::beat::Order;
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::{Pass, Stage, StageSpec};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// The host of one stage.
pub struct StageRole<B: Backend> {
    spec: StageSpec,
    /// Built in the first slot: who hosts a stage takes no longer to be ready for it than who does not.
    stage: Option<Stage<B>>,
    /// Bytes of a message.
    capacity: usize,
    epoch: Epoch,
    /// Optimizer steps of this epoch: the batch that it works on.
    steps: u32,
    /// Micro-batches of this batch that have gone forward, and backward.
    passed: [u32; 2],
}

impl<B: Backend + 'static> StageRole<B> {
    /// Hosts the stage of `spec`; messages have `capacity` bytes.
    pub fn new(spec: StageSpec, capacity: usize) -> Self {
        Self { spec, stage: None, capacity, epoch: Epoch(0), steps: 0, passed: [0; 2] }
    }

    /// Begins an epoch of training.
    pub fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.steps = 0;
        self.passed = [0; 2];
    }

    /// The parameters' values, in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn values(&self, backend: &B) -> Result<Vec<f32>, ComputeError> {
        match &self.stage {
            Some(stage) => stage.values(backend),
            None => Stage::new(backend, &self.spec)?.values(backend),
        }
    }

    fn backward(
        &mut self,
        backend: &B,
        stage: &mut Stage<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        let Some(rows) = stage.expects() else {
            let expected = "no gradient, with nothing in flight".to_owned();
            return Err(RoleError::Unexpected { slot, found: format!("{header:?}"), expected });
        };
        let rows = rows as u32;
        let due = Header {
            kind: Kind::Gradient,
            dtype: Dtype::Float(self.spec.wire),
            epoch: self.epoch,
            batch: Batch(self.steps),
            micro_batch: MicroBatch(self.passed[1]),
            rows,
            features: self.spec.output_features(),
            ..header
        };
        self.check(slot, header, due)?;
        let values = rows as usize * self.spec.output_features() as usize;
        backend.decode(self.spec.wire, &post.inbox[BACKWARD], HEADER, values, stage.output_gradient());
        let answer = match stage.backward_input(backend) {
            Some(gradient) => {
                let answer = Header { features: self.spec.input_features(), ..header };
                let values = rows as usize * self.spec.input_features() as usize;
                backend.encode(self.spec.wire, gradient, values, &mut post.outbox[BACKWARD], HEADER);
                answer
            }
            None => Header { kind: Kind::Done, rows: 0, features: 0, ..header },
        };
        address(backend, post, BACKWARD, Some(answer));
        stage.backward_params(backend);
        self.passed[1] += 1;
        if header.last {
            stage.step(backend, header.rate);
            self.steps += 1;
            self.passed = [0; 2];
        }
        Ok(())
    }

    fn forward(
        &mut self,
        backend: &B,
        stage: &mut Stage<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        let training = header.kind == Kind::Train;
        let due = Header {
            kind: if training { Kind::Train } else { Kind::Evaluate },
            dtype: match &self.spec.data {
                Some(encoding) => encoding.element.into(),
                None => Dtype::Float(self.spec.wire),
            },
            epoch: self.epoch,
            batch: if training { Batch(self.steps) } else { header.batch },
            micro_batch: if training { MicroBatch(self.passed[0]) } else { header.micro_batch },
            rows: header.rows.clamp(1, self.spec.micro_batch),
            features: self.spec.input_features(),
            ..header
        };
        self.check(slot, header, due)?;
        let rows = header.rows as usize;
        let features = self.spec.input_features() as usize;
        let pass = match training {
            true => Pass::training(rows, header.epoch, header.batch, header.micro_batch),
            false => Pass::evaluation(rows),
        };
        let input = stage.input(backend, pass)?;
        match &self.spec.data {
            Some(encoding) => backend.decode_data(encoding, &post.inbox[FORWARD], HEADER, rows, features, input),
            None => backend.decode(self.spec.wire, &post.inbox[FORWARD], HEADER, rows * features, input),
        };
        let output = stage.forward(backend);
        let values = rows * self.spec.output_features() as usize;
        backend.encode(self.spec.wire, output, values, &mut post.outbox[FORWARD], HEADER);
        match training {
            true => self.passed[0] += 1,
            false => stage.forget(),
        }
        let answer = Header { dtype: Dtype::Float(self.spec.wire), features: self.spec.output_features(), ..header };
        address(backend, post, FORWARD, Some(answer));
        Ok(())
    }

    fn react(
        &mut self,
        backend: &B,
        stage: &mut Stage<B>,
        slot: Slot,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        match received(backend, slot, post, BACKWARD, self.capacity)? {
            Some(header) => self.backward(backend, stage, slot, header, post)?,
            None => address(backend, post, BACKWARD, None),
        }
        match received(backend, slot, post, FORWARD, self.capacity)? {
            Some(header) => self.forward(backend, stage, slot, header, post)?,
            None => address(backend, post, FORWARD, None),
        }
        Ok(())
    }

    fn check(&self, slot: Slot, found: Header, due: Header) -> Result<(), RoleError> {
        match found == due {
            true => Ok(()),
            false => Err(RoleError::Unexpected { slot, found: format!("{found:?}"), expected: format!("{due:?}") }),
        }
    }
}

impl<B: Backend + 'static> Role<B> for StageRole<B>
where
    Stage<B>: Send,
{
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => {
                let stage = Stage::new(backend, &self.spec)?;
                // They have served.
                self.spec.values = None;
                stage
            }
        };
        let reacted = self.react(backend, &mut stage, slot, post);
        self.stage = Some(stage);
        reacted.map(|()| Order::GoOn)
    }
}
