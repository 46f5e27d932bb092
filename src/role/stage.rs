//! A rank with layers: reacts to what reaches it and holds no schedule.
//!
//! In a slot it does the backward message first, then, where that says `last`, its optimizer's step at the rate that it
//! carries, then the forward message.

use super::{Role, RoleError, address, received};
use crate::compute::Backend;
use crate::ids::{Batch, Epoch, MicroBatch, Slot};
use crate::mix::beat::Order;
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::{Pass, Stage, StageSpec};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// The host of one stage.
pub struct StageRole<B: Backend> {
    /// Reads what the package tells of the stage, in the first slot: who hosts a stage takes no longer to be ready for it than
    /// who does not.
    told: Option<Box<dyn FnOnce() -> Option<StageSpec> + Send>>,
    hosted: Option<Hosted<B>>,
    /// Bytes of a message.
    capacity: usize,
    /// Where in the data it is; `None` before the first message of a term, which says so.
    at: Option<(Epoch, Batch)>,
    /// Micro-batches of this batch that have gone forward, and backward.
    passed: [u32; 2],
}

/// The stage, built.
struct Hosted<B: Backend> {
    spec: StageSpec,
    stage: Stage<B>,
}

impl<B: Backend + 'static> StageRole<B> {
    /// Hosts the stage that `told` gives, if it is one that a rank can host; messages have `capacity` bytes.
    pub fn new(told: impl FnOnce() -> Option<StageSpec> + Send + 'static, capacity: usize) -> Self {
        let told: Box<dyn FnOnce() -> Option<StageSpec> + Send> = Box::new(told);
        Self { told: Some(told), hosted: None, capacity, at: None, passed: [0; 2] }
    }

    /// The stage, built where it has not been yet, for the time of a call.
    fn hosted(&mut self, backend: &B) -> Result<Hosted<B>, RoleError> {
        match self.hosted.take() {
            Some(hosted) => Ok(hosted),
            None => {
                let mut spec = self.told.take().and_then(|told| told()).ok_or(RoleError::Untold)?;
                let stage = Stage::new(backend, &spec)?;
                // They have served.
                spec.values = None;
                Ok(Hosted { spec, stage })
            }
        }
    }

    /// Begins a term.
    pub fn begin(&mut self) {
        self.at = None;
        self.passed = [0; 2];
    }

    /// The parameters' values, in the order of [`StageSpec::parameters`].
    ///
    /// # Errors
    /// [`RoleError::Untold`], [`RoleError::Compute`].
    pub fn values(&mut self, backend: &B) -> Result<Vec<f32>, RoleError> {
        let hosted = self.hosted(backend)?;
        let values = hosted.stage.values(backend);
        self.hosted = Some(hosted);
        Ok(values?)
    }

    fn backward(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        let Some(rows) = hosted.stage.expects() else {
            let expected = "no gradient, with nothing in flight".to_owned();
            return Err(RoleError::Unexpected { slot, found: format!("{header:?}"), expected });
        };
        let rows = rows as u32;
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
        self.check(slot, header, due)?;
        let values = rows as usize * hosted.spec.output_features() as usize;
        backend.decode(hosted.spec.wire, &post.inbox[BACKWARD], HEADER, values, hosted.stage.output_gradient());
        let answer = match hosted.stage.backward_input(backend) {
            Some(gradient) => {
                let answer = Header { features: hosted.spec.input_features(), ..header };
                let values = rows as usize * hosted.spec.input_features() as usize;
                backend.encode(hosted.spec.wire, gradient, values, &mut post.outbox[BACKWARD], HEADER);
                answer
            }
            None => Header { kind: Kind::Done, rows: 0, features: 0, ..header },
        };
        address(backend, post, BACKWARD, Some(answer));
        hosted.stage.backward_params(backend);
        self.passed[1] += 1;
        if header.last {
            hosted.stage.step(backend, header.rate);
            self.at = Some((epoch, Batch(batch.0 + 1)));
            self.passed = [0; 2];
        }
        Ok(())
    }

    fn forward(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        header: Header,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
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
        self.check(slot, header, due)?;
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
        match training {
            true => self.passed[0] += 1,
            false => hosted.stage.forget(),
        }
        let answer =
            Header { dtype: Dtype::Float(hosted.spec.wire), features: hosted.spec.output_features(), ..header };
        address(backend, post, FORWARD, Some(answer));
        Ok(())
    }

    fn react(
        &mut self,
        backend: &B,
        hosted: &mut Hosted<B>,
        slot: Slot,
        post: &mut Post<B::Bytes>,
    ) -> Result<(), RoleError> {
        match received(backend, slot, post, BACKWARD, self.capacity)? {
            Some(header) => self.backward(backend, hosted, slot, header, post)?,
            None => address(backend, post, BACKWARD, None),
        }
        match received(backend, slot, post, FORWARD, self.capacity)? {
            Some(header) => self.forward(backend, hosted, slot, header, post)?,
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
        let mut hosted = self.hosted(backend)?;
        let reacted = self.react(backend, &mut hosted, slot, post);
        self.hosted = Some(hosted);
        reacted.map(|()| Order::GoOn)
    }
}
