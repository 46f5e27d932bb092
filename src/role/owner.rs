//! The owner: feeds micro-batches into the pipeline, takes the last stage's output, computes the loss, sends its gradient
//! back. It alone knows the schedule, the labels and the loss.

use std::collections::VecDeque;

use super::{Role, RoleError, address, received};
use crate::compute::{Backend, ComputeError, LossSum};
use crate::data::{Batches, Dataset};
use crate::float::Float;
use crate::ids::{Epoch, Slot};
use crate::mix::beat::Order;
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::Rates;
use crate::pipeline::{Answered, Depth, Feed, Pass};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// A pass over samples that the owner is to run.
pub struct Planned<'a> {
    /// Whether stages learn from it.
    pub training: bool,
    /// The samples.
    pub data: &'a Dataset,
    /// Which are in which micro-batch.
    pub batches: Batches,
    /// Which micro-batch goes when.
    pub pass: Pass,
}

impl<'a> Planned<'a> {
    /// A training pass through `depth` stages.
    pub fn training(data: &'a Dataset, batches: Batches, depth: Depth) -> Self {
        let pass = Pass::training(depth, LATENCY, batches.full(), batches.micro_batches());
        Self { training: true, data, batches, pass }
    }

    /// A pass that only looks, in the order of the samples, `micro_batch` at a time.
    pub fn evaluation(data: &'a Dataset, micro_batch: u32, depth: Depth) -> Self {
        let samples = data.samples() as u32;
        // One batch of all samples, so that the loss is the mean over them.
        let batches = Batches::new((0..samples).collect(), samples, micro_batch);
        let pass = Pass::evaluation(depth, LATENCY, batches.micro_batches());
        Self { training: false, data, batches, pass }
    }
}

/// Slots that a stage takes.
const LATENCY: u8 = 1;

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean loss of a sample.
    pub loss: f64,
    /// Part of the samples whose largest output is that of their class.
    pub accuracy: f64,
}

/// All that an epoch brings.
pub struct Course<'a> {
    /// Which epoch.
    pub epoch: Epoch,
    /// Whether the run ends with it.
    pub last: bool,
    /// Its passes, in order.
    pub passes: Vec<Planned<'a>>,
    /// Empty slots before the first.
    pub lead: u64,
    /// Whether slots wait for no one, so that the owner goes by what comes back instead of by their numbers.
    pub paced: bool,
    /// The learning rate of each step.
    pub rates: Rates,
    /// Samples of a micro-batch, at most.
    pub micro_batch: u32,
    /// How numbers travel.
    pub wire: Float,
}

/// Sums micro-batches up to a [`Score`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    sum: LossSum,
    samples: usize,
}

impl Tally {
    /// Adds a micro-batch of `samples`.
    pub fn add(&mut self, sum: LossSum, samples: usize) {
        self.sum.loss += sum.loss;
        self.sum.correct += sum.correct;
        self.samples += samples;
    }

    /// The mean over what was added.
    pub fn score(&self) -> Score {
        let samples = self.samples.max(1) as f64;
        Score { loss: self.sum.loss / samples, accuracy: f64::from(self.sum.correct) / samples }
    }
}

/// The owner's part in an epoch.
pub struct Owner<'a, B: Backend> {
    epoch: Epoch,
    passes: Vec<Planned<'a>>,
    tallies: Vec<Tally>,
    /// The pass that runs.
    running: usize,
    schedule: Schedule,
    /// How the epoch ends.
    order: Order,
    rates: Rates,
    wire: Float,
    classes: usize,
    capacity: usize,
    logits: B::Buf,
    /// Steps so far.
    steps: u64,
    /// Gradients that have not left yet, the oldest first; and memory for more.
    held: VecDeque<Held<B>>,
    spare: Vec<B::Buf>,
    inputs: Vec<u8>,
    labels: Vec<u32>,
}

/// A gradient on its way back.
struct Held<B: Backend> {
    /// The step in which it leaves.
    due: u64,
    header: Header,
    /// (rows, classes)
    gradient: B::Buf,
}

/// What tells the owner whose turn it is.
enum Schedule {
    /// The number of the slot; the running pass began in this one.
    Slots { began: u64 },
    /// What has come back, after so many more empty slots.
    Answers { lead: u64, answered: Option<Answered> },
}

/// Whose turn it is in a slot.
#[derive(Default)]
struct Turns {
    /// The micro-batch whose output has come.
    returned: Option<Feed>,
    /// The micro-batch that leaves.
    fed: Option<Feed>,
}

impl<'a, B: Backend> Owner<'a, B> {
    /// The owner of `course`. Messages have `capacity` bytes.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn new(backend: &B, course: Course<'a>, capacity: usize) -> Result<Self, ComputeError> {
        let Course { epoch, last, passes, lead, paced, rates, micro_batch, wire } = course;
        let classes = passes.first().map_or(1, |pass| pass.data.classes);
        let features = passes.first().map_or(1, |pass| pass.data.features());
        let rows = micro_batch as usize;
        let hold = passes.iter().map(|planned| planned.pass.hold()).max().unwrap_or(0) as usize;
        // In slots that wait for no one, the end is where nothing is under way any more.
        let after = match paced {
            true => Slot(0),
            false => Slot((lead + passes.iter().map(|planned| planned.pass.slots()).sum::<u64>()).saturating_sub(1)),
        };
        let answered = passes.first().map(|planned| Answered::new(&planned.pass));
        Ok(Self {
            epoch,
            tallies: vec![Tally::default(); passes.len()],
            passes,
            running: 0,
            schedule: match paced {
                true => Schedule::Answers { lead, answered },
                false => Schedule::Slots { began: lead },
            },
            order: if last { Order::RunEnds { after } } else { Order::EpochEnds { after } },
            rates,
            wire,
            classes,
            capacity,
            logits: backend.zeros(rows * classes)?,
            steps: 0,
            held: VecDeque::with_capacity(hold + 1),
            spare: (0..=hold).map(|_| backend.zeros(rows * classes)).collect::<Result<_, _>>()?,
            inputs: vec![0; rows * features],
            labels: vec![0; rows],
        })
    }

    /// What each pass came to.
    pub fn scores(&self) -> Vec<Score> {
        self.tallies.iter().map(Tally::score).collect()
    }

    /// Whose turn it is in `slot`, by its number.
    fn by_slot(&mut self, slot: Slot) -> Turns {
        let Schedule::Slots { began } = &mut self.schedule else { return Turns::default() };
        while self.passes.get(self.running).is_some_and(|planned| slot.0 >= *began + planned.pass.slots()) {
            *began += self.passes[self.running].pass.slots();
            self.running += 1;
        }
        match (slot.0.checked_sub(*began), self.passes.get(self.running)) {
            (Some(within), Some(planned)) => {
                Turns { returned: planned.pass.returned(within), fed: planned.pass.feed(within) }
            }
            _ => Turns::default(),
        }
    }

    /// Whose turn it is by what has come back.
    fn by_answers(&mut self, backend: &B, slot: Slot, post: &Post<B::Bytes>) -> Result<Turns, RoleError> {
        let Schedule::Answers { lead, answered } = &mut self.schedule else { return Ok(Turns::default()) };
        let none_due = |found: Header| {
            let expected = "none of it, with nothing under way".to_owned();
            RoleError::Unexpected { slot, found: format!("{found:?}"), expected }
        };
        if let Some(found) = received(backend, slot, post, BACKWARD, self.capacity)? {
            let feed = answered.as_mut().and_then(Answered::done).ok_or_else(|| none_due(found))?;
            let due = Header {
                kind: Kind::Done,
                last: feed.last,
                dtype: Dtype::Float(self.wire),
                epoch: self.epoch,
                batch: feed.batch,
                micro_batch: feed.micro_batch,
                rows: 0,
                features: 0,
                rate: self.rates.at(self.epoch, feed.batch),
            };
            if found != due {
                let (found, expected) = (format!("{found:?}"), format!("{due:?}"));
                return Err(RoleError::Unexpected { slot, found, expected });
            }
        }
        let returned = match received(backend, slot, post, FORWARD, self.capacity)? {
            Some(found) => Some(answered.as_mut().and_then(Answered::returned).ok_or_else(|| none_due(found))?),
            None => None,
        };
        // What has come back belongs to the running pass, and so does what leaves in the same slot.
        if returned.is_none() {
            while answered.as_ref().is_some_and(Answered::is_over) {
                self.running += 1;
                *answered = self.passes.get(self.running).map(|planned| Answered::new(&planned.pass));
            }
        }
        let fed = match lead.checked_sub(1) {
            Some(left) => {
                *lead = left;
                None
            }
            None => answered.as_mut().and_then(Answered::feed),
        };
        Ok(Turns { returned, fed })
    }

    /// The output of `feed` is here: its loss, and in training its gradient.
    fn take(&mut self, backend: &B, slot: Slot, feed: Feed, post: &Post<B::Bytes>) -> Result<(), RoleError> {
        let planned = &self.passes[self.running];
        let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0);
        let due = Header {
            kind: if planned.training { Kind::Train } else { Kind::Evaluate },
            last: false,
            dtype: Dtype::Float(self.wire),
            epoch: self.epoch,
            batch: feed.batch,
            micro_batch: feed.micro_batch,
            rows: rows.len() as u32,
            features: self.classes as u32,
            rate: 0.0,
        };
        let found = received(backend, slot, post, FORWARD, self.capacity)?;
        if found != Some(due) {
            return Err(RoleError::Unexpected { slot, found: format!("{found:?}"), expected: format!("{due:?}") });
        }
        backend.decode(self.wire, &post.inbox[FORWARD], HEADER, rows.len() * self.classes, &mut self.logits);
        for (label, row) in self.labels.iter_mut().zip(rows) {
            *label = planned.data.labels[*row as usize];
        }
        let weight = 1.0 / planned.batches.batch(feed.batch.0).len() as f32;
        let labels = &self.labels[..rows.len()];
        let Some(mut gradient) = self.spare.pop() else {
            unreachable!("one comes in a slot, and leaves after its time")
        };
        let sum = backend.cross_entropy(self.classes, &self.logits, labels, weight, &mut gradient);
        if planned.training && !sum.loss.is_finite() {
            return Err(RoleError::NotANumber { loss: sum.loss, epoch: self.epoch, batch: feed.batch });
        }
        self.tallies[self.running].add(sum, rows.len());
        match planned.training {
            true => {
                let rate = self.rates.at(self.epoch, feed.batch);
                let header = Header { kind: Kind::Gradient, last: feed.last, rate, ..due };
                self.held.push_back(Held { due: self.steps + planned.pass.hold(), header, gradient });
            }
            false => self.spare.push(gradient),
        }
        Ok(())
    }

    /// Sends the gradient whose time has come.
    fn answer(&mut self, backend: &B, post: &mut Post<B::Bytes>) {
        if self.held.front().is_some_and(|held| held.due <= self.steps)
            && let Some(Held { header, gradient, .. }) = self.held.pop_front()
        {
            backend.encode(
                self.wire,
                &gradient,
                header.rows as usize * self.classes,
                &mut post.outbox[BACKWARD],
                HEADER,
            );
            address(backend, post, BACKWARD, Some(header));
            self.spare.push(gradient);
        }
    }

    /// Sends the samples of `feed` to the first stage.
    fn feed(&mut self, backend: &B, feed: Feed, post: &mut Post<B::Bytes>) {
        let planned = &self.passes[self.running];
        let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0);
        let features = planned.data.features();
        let inputs = &mut self.inputs[..rows.len() * features];
        planned.data.gather(rows, inputs, &mut self.labels[..rows.len()]);
        backend.put(inputs, &mut post.outbox[FORWARD], HEADER);
        let header = Header {
            kind: if planned.training { Kind::Train } else { Kind::Evaluate },
            last: false,
            dtype: Dtype::U8,
            epoch: self.epoch,
            batch: feed.batch,
            micro_batch: feed.micro_batch,
            rows: rows.len() as u32,
            features: features as u32,
            rate: 0.0,
        };
        address(backend, post, FORWARD, Some(header));
    }
}

impl<B: Backend> Role<B> for Owner<'_, B> {
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        let Turns { returned, fed } = match self.schedule {
            Schedule::Slots { .. } => self.by_slot(slot),
            Schedule::Answers { .. } => self.by_answers(backend, slot, post)?,
        };
        address(backend, post, BACKWARD, None);
        if let Some(feed) = returned {
            self.take(backend, slot, feed, post)?;
        }
        self.answer(backend, post);
        self.steps += 1;
        match fed {
            Some(feed) => self.feed(backend, feed, post),
            None => address(backend, post, FORWARD, None),
        }
        Ok(match self.schedule {
            // Under way, the end is not known.
            Schedule::Answers { .. } if self.running < self.passes.len() => Order::GoOn,
            _ => self.order,
        })
    }

    fn progress(&self) -> Option<(usize, usize)> {
        let planned = self.passes.get(self.running)?;
        Some((self.tallies[self.running].samples, planned.batches.samples()))
    }
}
