//! The role of a rank with a stage. It reacts to what reaches it, and holds no schedule.
//!
//! In a slot it first takes the backward message. If that says `last`, it makes its optimizer step, at the rate that the
//! message carries. Then it takes the forward message, unless that is of the next batch and the step is still to come: then it leaves it.
//! If it is the last stage and has the loss, its backward message brings the targets of a micro-batch, which it keeps until that comes
//! forward. Then it goes backward, too, in the same slot.
//! Where slots wait for no role, the gradients of the parameters, and the step, are put off until the slot's messages have left.

use super::loss::StageLoss;
use super::{Role, RoleError, address, check_due, received};
use crate::compute::Backend;
use crate::ids::{Batch, Epoch, MicroBatch, Slot};
use crate::mix::beat::{Order, StageData};
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::snapshot::{self, Snapshot};
use crate::nn::{Pass, Stage, StageSpec};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// What a rank is told of the stage that it hosts.
pub struct Hosting {
    /// The stage, with the values that it starts from where they are not drawn.
    pub spec: StageSpec,
    /// The state of a checkpoint from which the stage goes on. `None` at a run's first start.
    pub state: Option<Snapshot>,
}

/// What a stage returns at a term's end.
pub struct Returned {
    snapshot: Snapshot,
    /// How many of the snapshot's bytes are asked for.
    length: usize,
}

impl Returned {
    /// The bytes that are asked for.
    pub fn bytes(&self) -> &[u8] {
        &self.snapshot.bytes()[..self.length]
    }
}

/// Reads what a package tells of a stage. `None` if it is none that a rank can host.
type Decode = dyn FnOnce() -> Option<Hosting> + Send;

/// The role of the host of one stage.
pub struct StageRole<B: Backend> {
    /// Reads what the package says of the stage. It is called in the first slot, not before, so that a stage's host takes no
    /// longer to be ready than a relay.
    decode: Option<Box<Decode>>,
    /// The stage, once it is built. It is taken out during a call.
    hosted: Option<Hosted<B>>,
    /// Length of a message in bytes, header included.
    capacity: usize,
    /// The epoch and batch of training that the rank is in. `None` before the first message of a term, which says it.
    at: Option<(Epoch, Batch)>,
    /// Number of micro-batches of this batch that have gone forward, and backward.
    passed: [u32; 2],
    /// Whether the last step has left a forward message, which is of the next batch.
    left: bool,
    /// Whether what nobody waits for is put off until the messages have left.
    defers: bool,
}

/// The stage that this rank hosts.
struct Hosted<B: Backend> {
    /// What the rank was told of the stage, without its initial values.
    spec: StageSpec,
    /// The stage itself, with its parameters.
    stage: Stage<B>,
    /// Computes the loss, if the stage is told to.
    loss: Option<StageLoss<B>>,
    /// What is to be done behind the last answer to a gradient.
    rest: Option<Deferred>,
}

/// What is still to be done for a gradient that is answered: the gradients of the parameters are added to their sums.
struct Deferred {
    /// The learning rate of the optimizer step that follows, where the batch ends.
    step: Option<f32>,
}

impl<B: Backend + 'static> Hosted<B> {
    /// Does what is to be done behind the last answer.
    fn settle(&mut self, backend: &B) {
        if let Some(rest) = self.rest.take() {
            self.stage.backward_params(backend);
            if let Some(rate) = rest.step {
                self.stage.step(backend, rate);
            }
        }
    }
}

impl<B: Backend + 'static> StageRole<B> {
    /// Hosts the stage that `decode` returns, if it is one that a rank can host. Messages have `capacity` bytes, header included. `defers`
    /// says whether what nobody waits for is put off until the messages have left: then one micro-batch more is in flight.
    pub fn new(decode: impl FnOnce() -> Option<Hosting> + Send + 'static, capacity: usize, defers: bool) -> Self {
        Self { decode: Some(Box::new(decode)), hosted: None, capacity, at: None, passed: [0; 2], left: false, defers }
    }

    /// Takes the stage out for the time of a call. In the first call it is built.
    fn take_hosted(&mut self, backend: &B) -> Result<Hosted<B>, RoleError> {
        match self.hosted.take() {
            Some(hosted) => Ok(hosted),
            None => {
                let told = self.decode.take().and_then(|decode| decode()).ok_or(RoleError::Untold)?;
                let Hosting { mut spec, state } = told;
                let mut stage = Stage::new(backend, &spec)?;
                let loss = spec.loss.map(|loss| StageLoss::new(backend, loss, &spec)).transpose()?;
                if let Some(state) = &state {
                    stage.restore(backend, state)?;
                }
                // The initial values have served.
                spec.values = None;
                Ok(Hosted { spec, stage, loss, rest: None })
            }
        }
    }

    /// Begins a term: the next message says which epoch and batch come.
    pub fn begin(&mut self) {
        self.at = None;
        self.passed = [0; 2];
    }

    /// All that the stage goes on from, or its first bytes: the values of its parameters. `None` where nothing of it is asked for.
    ///
    /// # Errors
    /// [`RoleError::Untold`] if the rank was told of no stage; [`RoleError::Unsettled`] in the middle of a batch;
    /// [`RoleError::Compute`] if the backend fails.
    pub fn returned(&mut self, backend: &B, data: StageData) -> Result<Option<Returned>, RoleError> {
        if data == StageData::Nothing {
            return Ok(None);
        }
        let mut hosted = self.take_hosted(backend)?;
        hosted.settle(backend);
        let taken = match hosted.stage.is_at_rest() {
            true => hosted.stage.snapshot(backend).map_err(RoleError::from),
            false => Err(RoleError::Unsettled),
        };
        let length = snapshot::values_length(&hosted.spec) as usize;
        self.hosted = Some(hosted);
        let snapshot = taken?;
        let length = if data == StageData::Values { length } else { snapshot.bytes().len() };
        Ok(Some(Returned { snapshot, length }))
    }

    /// Takes a gradient that has come, and answers it with the gradient of the stage's input, or with `Done` if the data go
    /// into the stage. Behind the batch's last it makes the optimizer step.
    fn backward(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        // Gradients return in the order in which activations left: this one must be of the oldest micro-batch in flight.
        let Some(rows) = hosted.stage.expects() else {
            let expected = "no gradient, with nothing in flight".to_owned();
            return Err(RoleError::Unexpected { slot, found: format!("{header:?}"), expected });
        };
        let rows = rows as u32;
        // The first message of a term says where in the data it is. Every later one must fit.
        let (epoch, batch) = *self.at.get_or_insert((header.epoch, header.batch));
        let due = Header {
            kind: Kind::Gradient,
            dtype: Dtype::Float(hosted.spec.wire),
            epoch,
            batch,
            micro_batch: MicroBatch(self.passed[1]),
            rows,
            features: hosted.spec.output_features(),
            ..header
        };
        check_due(slot, header, due)?;
        // The gradient of the output, (rows, output features), becomes that of the input, (rows, input features).
        let values = rows as usize * hosted.spec.output_features() as usize;
        backend.decode(hosted.spec.wire, &post.inbox[BACKWARD], HEADER, values, hosted.stage.output_gradient());
        self.go_back(backend, hosted, header, post);
        Ok(())
    }

    /// Goes backward with the gradient that stands in the stage, whose message has, or would have, this `header`. Answers it, and makes the
    /// optimizer step behind the batch's last.
    fn go_back(&mut self, backend: &B, hosted: &mut Hosted<B>, header: Header, post: &mut Post<B::Bytes>) {
        let answer = match hosted.stage.backward_input(backend) {
            Some(gradient) => {
                let answer = Header { features: hosted.spec.input_features(), ..header };
                let values = header.rows as usize * hosted.spec.input_features() as usize;
                backend.encode(hosted.spec.wire, gradient, values, &mut post.outbox[BACKWARD], HEADER);
                answer
            }
            None => Header { kind: Kind::Done, rows: 0, features: 0, ..header },
        };
        // The answer is ready, and the rest may wait until it has left.
        address(backend, post, BACKWARD, Some(answer));
        hosted.rest = Some(Deferred { step: header.last.then_some(header.rate) });
        if !self.defers {
            hosted.settle(backend);
        }
        self.passed[1] += 1;
        // The batch ends here, and so does its count of micro-batches.
        if header.last {
            self.at = Some((header.epoch, Batch(header.batch.0 + 1)));
            self.passed = [0; 2];
        }
    }

    /// Takes an activation that has come, runs the stage, and sends its output on.
    fn forward(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        // Training must fit the running batch; an evaluation may come with any batch and micro-batch. Both must have the
        // shape of the stage's input.
        let training = header.kind == Kind::Train;
        let (epoch, batch) = *self.at.get_or_insert((header.epoch, header.batch));
        let due = Header {
            kind: if training { Kind::Train } else { Kind::Evaluate },
            dtype: match &hosted.spec.data {
                Some(encoding) => encoding.element.into(),
                None => Dtype::Float(hosted.spec.wire),
            },
            epoch,
            batch: if training { batch } else { header.batch },
            micro_batch: if training { MicroBatch(self.passed[0]) } else { header.micro_batch },
            rows: header.rows.clamp(1, hosted.spec.micro_batch),
            features: hosted.spec.input_features(),
            ..header
        };
        check_due(slot, header, due)?;
        // The input (rows, input features), as the data or the stage before have it, becomes the output (rows, output
        // features).
        let rows = header.rows as usize;
        let features = hosted.spec.input_features() as usize;
        let pass = match training {
            true => Pass::training(rows, header.epoch, header.batch, header.micro_batch),
            false => Pass::evaluation(rows),
        };
        let input = hosted.stage.input(backend, pass)?;
        match &hosted.spec.data {
            Some(encoding) => backend.decode_data(encoding, &post.inbox[FORWARD], HEADER, rows, features, input),
            None => backend.decode(hosted.spec.wire, &post.inbox[FORWARD], HEADER, rows * features, input),
        };
        let output = hosted.stage.forward(backend);
        let values = rows * hosted.spec.output_features() as usize;
        backend.encode(hosted.spec.wire, output, values, &mut post.outbox[FORWARD], HEADER);
        let turns = hosted.loss.as_mut().filter(|_| training);
        let gradient = turns.map(|loss| {
            let form = (hosted.spec.wire, hosted.spec.output_features());
            loss.gradient(backend, slot, header, hosted.stage.output_and_gradient(), form)
        });
        // An evaluation leaves nothing behind.
        match training {
            true => self.passed[0] += 1,
            false => hosted.stage.forget(),
        }
        let answer =
            Header { dtype: Dtype::Float(hosted.spec.wire), features: hosted.spec.output_features(), ..header };
        address(backend, post, FORWARD, Some(answer));
        // A stage that has the loss begins the way back at once.
        if let Some(gradient) = gradient.transpose()? {
            self.go_back(backend, hosted, gradient, post);
        }
        Ok(())
    }

    /// Whether `header` is of the batch behind the one that has still to make its step.
    fn is_early(&self, hosted: &Hosted<B>, header: &Header) -> bool {
        let next = self.at.map(|(epoch, batch)| (epoch, Batch(batch.0 + 1)));
        header.kind == Kind::Train && next == Some((header.epoch, header.batch)) && hosted.stage.expects().is_some()
    }

    /// Takes what has come in both directions, backward first. Where nothing has come, the message that leaves is empty.
    fn react(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        match received(backend, slot, post, BACKWARD, self.capacity)? {
            Some(header) if header.kind == Kind::Targets && hosted.loss.is_some() => {
                let Hosted { loss, spec, .. } = hosted;
                let taken = loss.as_mut().map(|loss| loss.take(backend, slot, header, &post.inbox[BACKWARD], spec));
                taken.transpose()?;
                address(backend, post, BACKWARD, None);
            }
            Some(header) => self.backward(backend, hosted, slot, header, post)?,
            None => address(backend, post, BACKWARD, None),
        }
        let forward = received(backend, slot, post, FORWARD, self.capacity)?;
        // What comes behind the batch's last gradient is to meet the values that the optimizer step makes.
        let steps = hosted.rest.as_ref().is_some_and(|rest| rest.step.is_some());
        self.left = forward.is_some_and(|header| steps || self.is_early(hosted, &header));
        match forward.filter(|_| !self.left) {
            Some(header) => self.forward(backend, hosted, slot, header, post)?,
            None => address(backend, post, FORWARD, None),
        }
        Ok(())
    }
}

impl<B: Backend + 'static> Role<B> for StageRole<B>
where
    Stage<B>: Send,
{
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        let mut hosted = self.take_hosted(backend)?;
        let reacted = self.react(backend, &mut hosted, slot, post);
        self.hosted = Some(hosted);
        reacted.map(|()| Order::GoOn)
    }

    fn settle(&mut self, backend: &B) {
        if let Some(hosted) = &mut self.hosted {
            hosted.settle(backend);
        }
    }

    fn has_left(&self) -> bool {
        self.left
    }
}
