//! The owner: feeds micro-batches into the pipeline, takes the last stage's output, computes the loss, sends its gradient
//! back; or keeps what comes out. It alone knows the schedule, the labels and the loss. It may host the first stages, the last
//! ones, or both, so that data and outputs never leave it.

use std::collections::VecDeque;

use super::judge::{Judge, through};
use super::planned::{Planned, Purpose};
use super::score::Tally;
use super::{Role, RoleError, address, received};
use crate::compute::{Backend, ComputeError, LossSum};
use crate::float::Float;
use crate::ids::{Epoch, Slot};
use crate::memory;
use crate::mix::beat::Order;
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::{Criterion, Network, Rates};
use crate::pipeline::{Feed, Pass, Timetable, Turns};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// The stages that stand on the owner. They last as long as the run.
pub struct Hosted<B: Backend> {
    /// Those before the ranks' stages: data go in.
    pub head: Option<Network<B>>,
    /// Those behind them: what is compared with the targets comes out.
    pub tail: Option<Network<B>>,
}

/// All that a term brings.
pub struct Course<'a, B: Backend> {
    /// The epoch that it is of.
    pub epoch: Epoch,
    /// Whether the run ends with it.
    pub last: bool,
    /// Its passes, in order.
    pub passes: Vec<Planned<'a>>,
    /// What the first pass has come to in earlier terms.
    pub so_far: Tally,
    /// Empty slots before the first.
    pub lead: u64,
    /// Whether slots wait for no one, so that the owner goes by what comes back instead of by their numbers.
    pub paced: bool,
    /// The learning rate of each step.
    pub rates: Rates,
    /// The loss.
    pub criterion: Criterion,
    /// Values a sample that the last stage on a rank gives.
    pub features: usize,
    /// The owner's own stages.
    pub hosted: &'a mut Hosted<B>,
    /// Samples of a micro-batch, at most.
    pub micro_batch: u32,
    /// How numbers travel.
    pub wire: Float,
}

/// The owner's part in a term.
pub struct Owner<'a, B: Backend> {
    epoch: Epoch,
    passes: Vec<Planned<'a>>,
    tallies: Vec<Tally>,
    timetable: Timetable,
    /// Whether the run ends with the term.
    last: bool,
    rates: Rates,
    hosted: &'a mut Hosted<B>,
    wire: Float,
    capacity: usize,
    /// Values a sample that come back, and that the loss takes.
    features: usize,
    outputs: usize,
    judge: Judge<B>,
    /// Steps so far.
    steps: u64,
    /// Gradients that have not left yet, the oldest first; and memory for more.
    held: VecDeque<Held<B>>,
    spare: Vec<B::Buf>,
    /// Micro-batches to learn from that stage 1 has not answered, the oldest first.
    unanswered: VecDeque<Feed>,
    /// Samples, as they are, on the host and where the first stages of its own take them.
    inputs: Vec<u8>,
    taken: B::Bytes,
    /// (samples, outputs): those of passes that ask for them, so far.
    inferred: Vec<f32>,
}

/// A gradient on its way back.
struct Held<B: Backend> {
    /// The step in which it leaves.
    due: u64,
    header: Header,
    /// (rows, features)
    gradient: B::Buf,
}

impl<'a, B: Backend + 'static> Owner<'a, B> {
    /// The owner of `course`. Messages have `capacity` bytes.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub fn new(backend: &B, course: Course<'a, B>, capacity: usize) -> Result<Self, ComputeError> {
        let Course {
            epoch,
            last,
            passes,
            so_far,
            lead,
            paced,
            rates,
            criterion,
            features,
            hosted,
            micro_batch,
            wire,
        } = course;
        let outputs = hosted.tail.as_ref().map_or(features, Network::output_features);
        let bytes = passes.first().map_or(0, |pass| pass.data.bytes());
        let rows = micro_batch as usize;
        let asked = passes.iter().filter(|planned| planned.purpose == Purpose::Infer);
        let asked = asked.map(|planned| planned.batches.samples() * outputs).sum();
        let hold = passes.iter().map(|planned| planned.pass.hold()).max().unwrap_or(0) as usize;
        let table: Vec<Pass> = passes.iter().map(|planned| planned.pass).collect();
        let targets = passes.first().map(|planned| &planned.data.targets);
        let judge = Judge::new(backend, criterion, rows, outputs, targets)?;
        Ok(Self {
            epoch,
            tallies: std::iter::once(so_far).chain(std::iter::repeat(judge.tally())).take(passes.len()).collect(),
            passes,
            timetable: if paced { Timetable::by_answers(table, lead) } else { Timetable::by_slots(table, lead) },
            last,
            rates,
            judge,
            taken: backend.bytes(if hosted.head.is_some() { rows * bytes } else { 0 })?,
            hosted,
            wire,
            capacity,
            features,
            outputs,
            steps: 0,
            held: VecDeque::with_capacity(hold + 1),
            spare: (0..=hold).map(|_| backend.zeros(rows * features)).collect::<Result<_, _>>()?,
            unanswered: VecDeque::new(),
            inputs: memory::zeroed(rows * bytes)?,
            inferred: memory::room(asked)?,
        })
    }

    /// The outputs for all samples of passes that asked for them, (samples, outputs), in the order of the samples.
    pub fn into_inferred(self) -> Vec<f32> {
        self.inferred
    }

    /// What each pass came to.
    pub fn tallies(&self) -> Vec<Tally> {
        self.tallies.clone()
    }

    /// The pass that runs.
    fn running(&self) -> &Planned<'a> {
        &self.passes[self.timetable.running()]
    }

    /// Stage 1 has answered the gradient of a micro-batch: with its own, where the owner's first stages wait for it.
    fn answered(&mut self, backend: &B, slot: Slot, post: &Post<B::Bytes>) -> Result<(), RoleError> {
        let Some(found) = received(backend, slot, post, BACKWARD, self.capacity)? else { return Ok(()) };
        let feed = self.unanswered.pop_front().ok_or_else(|| none_due(slot, Some(found)))?;
        self.timetable.done().map_err(|_| none_due(slot, Some(found)))?;
        let done = Header {
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
        let rows = self.hosted.head.as_ref().and_then(Network::expects).unwrap_or(0);
        let due = match &self.hosted.head {
            Some(head) => {
                let features = head.output_features() as u32;
                Header { kind: Kind::Gradient, rows: rows as u32, features, ..done }
            }
            None => done,
        };
        expect(slot, Some(found), due)?;
        if let Some(head) = &mut self.hosted.head {
            let values = rows * head.output_features();
            backend.decode(self.wire, &post.inbox[BACKWARD], HEADER, values, head.output_gradient());
            head.backward(backend);
            if feed.last {
                head.step(backend, due.rate);
            }
        }
        Ok(())
    }

    /// The output of `feed` is here: keeps it, or makes its loss of it, and in training its gradient.
    fn take(&mut self, backend: &B, slot: Slot, feed: Feed, post: &Post<B::Bytes>) -> Result<(), RoleError> {
        let running = self.timetable.running();
        let planned = &self.passes[running];
        let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0).len();
        let due = Header {
            kind: planned.purpose.kind(),
            last: false,
            dtype: Dtype::Float(self.wire),
            epoch: self.epoch,
            batch: feed.batch,
            micro_batch: feed.micro_batch,
            rows: rows as u32,
            features: self.features as u32,
            rate: 0.0,
        };
        expect(slot, received(backend, slot, post, FORWARD, self.capacity)?, due)?;
        let values = rows * self.outputs;
        match &mut self.hosted.tail {
            Some(tail) => {
                let pass = through(planned, self.epoch, feed);
                let outputs = tail.forward(backend, pass, &post.inbox[FORWARD], HEADER)?;
                backend.round(self.wire, values, outputs, &mut self.judge.logits)
            }
            None => backend.decode(self.wire, &post.inbox[FORWARD], HEADER, values, &mut self.judge.logits),
        };
        if planned.purpose == Purpose::Infer {
            let before = self.inferred.len();
            self.inferred.resize(before + values, 0.0);
            backend.download(&self.judge.logits, &mut self.inferred[before..]);
            self.tallies[running].add(LossSum::default(), rows);
            self.hosted.tail.iter_mut().for_each(Network::forget);
            return Ok(());
        }
        self.judge.judge(backend, planned, self.epoch, feed, &mut self.tallies[running])?;
        match planned.trains() {
            true => self.hold(backend, feed, due),
            false => self.hosted.tail.iter_mut().for_each(Network::forget),
        }
        Ok(())
    }

    /// Takes the loss's gradient back through its own last stages, and keeps it until its time. `due` is the header of what
    /// came in.
    fn hold(&mut self, backend: &B, feed: Feed, due: Header) {
        let rate = self.rates.at(self.epoch, feed.batch);
        let rows = due.rows as usize;
        let Some(mut gradient) = self.spare.pop() else {
            unreachable!("one comes in a slot, and leaves after its time")
        };
        match &mut self.hosted.tail {
            Some(tail) => {
                backend.round(self.wire, rows * self.outputs, &self.judge.gradient, tail.output_gradient());
                if let Some(of_input) = tail.backward(backend) {
                    backend.copy(rows * self.features, of_input, &mut gradient);
                }
                if feed.last {
                    tail.step(backend, rate);
                }
            }
            None => std::mem::swap(&mut gradient, &mut self.judge.gradient),
        }
        let header = Header { kind: Kind::Gradient, last: feed.last, rate, ..due };
        let hold = self.running().pass.hold();
        self.held.push_back(Held { due: self.steps + hold, header, gradient });
    }

    /// Sends the gradient whose time has come.
    fn answer(&mut self, backend: &B, post: &mut Post<B::Bytes>) {
        if self.held.front().is_some_and(|held| held.due <= self.steps)
            && let Some(Held { header, gradient, .. }) = self.held.pop_front()
        {
            let values = header.rows as usize * self.features;
            backend.encode(self.wire, &gradient, values, &mut post.outbox[BACKWARD], HEADER);
            address(backend, post, BACKWARD, Some(header));
            self.spare.push(gradient);
        }
    }

    /// Sends the samples of `feed`, or what its own first stages make of them, to stage 1.
    fn feed(&mut self, backend: &B, feed: Feed, post: &mut Post<B::Bytes>) -> Result<(), RoleError> {
        let planned = &self.passes[self.timetable.running()];
        let indices = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0);
        let rows = indices.len();
        let inputs = &mut self.inputs[..rows * planned.data.bytes()];
        planned.data.gather(indices, planned.augmented.as_ref(), inputs);
        let (dtype, features) = match &mut self.hosted.head {
            Some(head) => {
                backend.put(inputs, &mut self.taken, 0);
                let features = head.output_features();
                let pass = through(planned, self.epoch, feed);
                let outputs = head.forward(backend, pass, &self.taken, 0)?;
                backend.encode(self.wire, outputs, rows * features, &mut post.outbox[FORWARD], HEADER);
                if !planned.trains() {
                    head.forget();
                }
                (Dtype::Float(self.wire), features)
            }
            None => {
                backend.put(inputs, &mut post.outbox[FORWARD], HEADER);
                (planned.data.encoding.element.into(), planned.data.features())
            }
        };
        if planned.trains() {
            self.unanswered.push_back(feed);
        }
        let header = Header {
            kind: planned.purpose.kind(),
            last: false,
            dtype,
            epoch: self.epoch,
            batch: feed.batch,
            micro_batch: feed.micro_batch,
            rows: rows as u32,
            features: features as u32,
            rate: 0.0,
        };
        address(backend, post, FORWARD, Some(header));
        Ok(())
    }
}

/// The error that a message has come where none was due.
fn none_due(slot: Slot, found: Option<Header>) -> RoleError {
    let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
    RoleError::Unexpected { slot, found, expected: "none of it, with nothing under way".to_owned() }
}

/// Whether what came is what was due.
fn expect(slot: Slot, found: Option<Header>, due: Header) -> Result<(), RoleError> {
    match found == Some(due) {
        true => Ok(()),
        false => Err(RoleError::Unexpected { slot, found: format!("{found:?}"), expected: format!("{due:?}") }),
    }
}

impl<B: Backend + 'static> Role<B> for Owner<'_, B>
where
    Network<B>: Send,
{
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        self.answered(backend, slot, post)?;
        let come = match self.timetable.goes_by_answers() {
            true => received(backend, slot, post, FORWARD, self.capacity)?,
            // When it is its turn, it is looked at.
            false => None,
        };
        let turns = self.timetable.turns(slot.0, come.is_some());
        let Turns { returned, fed } = turns.map_err(|_| none_due(slot, come))?;
        address(backend, post, BACKWARD, None);
        if let Some(feed) = returned {
            self.take(backend, slot, feed, post)?;
        }
        self.answer(backend, post);
        self.steps += 1;
        match fed {
            Some(feed) => self.feed(backend, feed, post)?,
            None => address(backend, post, FORWARD, None),
        }
        Ok(match self.timetable.end().map(Slot) {
            // Under way, the end is not known.
            None => Order::GoOn,
            Some(after) if self.last => Order::RunEnds { after },
            Some(after) => Order::TermEnds { after },
        })
    }

    fn progress(&self) -> Option<(usize, usize)> {
        let running = self.timetable.running();
        Some((self.tallies.get(running)?.samples(), self.passes[running].batches.samples()))
    }
}
