//! The owner's role. It feeds micro-batches into the pipeline, takes the output of the last stage, and either keeps it or
//! computes the loss and sends the gradient back. It alone knows the schedule, and, unless the last stage is told of them to compute the
//! gradient itself, the labels and the loss. It may host the first stages, the last ones, or both, so that data and outputs never
//! leave it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::judge::{Judge, pass_of};
use super::planned::{Planned, Purpose};
use super::score::Tally;
use super::{PassProgress, Role, RoleError, address, check_due, loss, received};
use crate::compute::{Backend, ComputeError, LossSum};
use crate::float::Float;
use crate::ids::{Epoch, Slot};
use crate::memory;
use crate::mix::beat::{Order, StageData};
use crate::mix::courier::Post;
use crate::mix::{BACKWARD, FORWARD};
use crate::nn::{Criterion, Network, Rates};
use crate::pipeline::{DataPass, Feed, Timetable, Turns};
use crate::wire::{Dtype, HEADER, Header, Kind};

/// The stages that the owner hosts itself. They last as long as the run.
pub struct OwnerStages<B: Backend> {
    /// The stages before those of the ranks, if any. The data go into them.
    pub head: Option<Network<B>>,
    /// The stages behind those of the ranks, if any. Their output is compared with the targets.
    pub tail: Option<Network<B>>,
}

/// How a term may be ended before its passes are through.
#[derive(Clone)]
pub struct EarlyEnd {
    /// Whether that is asked for. Any thread may ask, at any time.
    pub asked: Asks,
    /// What ranks return then.
    pub returns: StageData,
}

/// Asks for the early end of a term. All clones are the same.
#[derive(Clone, Default)]
pub struct Asks(Arc<AtomicU8>);

/// How a term is to be ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ending {
    /// The term goes on.
    None = 0,
    /// Training ends with the batch that has begun. An evaluation that has begun is brought to its end: it would begin anew.
    Training = 1,
    /// An evaluation ends, too, with the micro-batch that has left last.
    Anything = 2,
}

impl Asks {
    /// Asks for this ending, in the place of what was asked for.
    pub fn ask(&self, ending: Ending) {
        self.0.store(ending as u8, Ordering::Relaxed);
    }

    /// What is asked for.
    pub fn asked(&self) -> Ending {
        match self.0.load(Ordering::Relaxed) {
            0 => Ending::None,
            1 => Ending::Training,
            _ => Ending::Anything,
        }
    }

    /// Whether a pass is to end that trains, or one that does not.
    pub fn end(&self, trains: bool) -> bool {
        self.asked() >= if trains { Ending::Training } else { Ending::Anything }
    }
}

/// What the owner needs for a term.
pub struct TermSetup<'a, B: Backend> {
    /// The epoch that the term is part of.
    pub epoch: Epoch,
    /// Whether the run ends with this term.
    pub last: bool,
    /// The passes of the term, in order.
    pub passes: Vec<Planned<'a>>,
    /// What the first pass has come to in earlier terms of the epoch.
    pub so_far: Tally,
    /// What ranks return at the end of the term.
    pub returns: StageData,
    /// How the term may be ended early.
    pub early: EarlyEnd,
    /// Number of slots that the owner's word takes to reach all ranks.
    pub spread: u64,
    /// Number of empty slots before the first micro-batch.
    pub lead: u64,
    /// Whether slots wait for no one. If so, the owner goes by what comes back, not by the numbers of slots.
    pub paced: bool,
    /// The learning rate of each step.
    pub rates: Rates,
    /// The loss of the job.
    pub criterion: Criterion,
    /// Whether the last stage computes the gradient of the loss, of targets that the owner sends it. Else the owner does.
    pub loss_at_last: bool,
    /// Number of values a sample that come out of the last stage on a rank.
    pub features: usize,
    /// The stages that the owner hosts itself.
    pub hosted: &'a mut OwnerStages<B>,
    /// Most samples of a micro-batch.
    pub micro_batch: u32,
    /// The format in which values other than the data's travel.
    pub wire: Float,
}

/// The owner's role in one term.
pub struct Owner<'a, B: Backend> {
    /// The epoch that the term is part of.
    epoch: Epoch,
    /// The passes of the term, in order.
    passes: Vec<Planned<'a>>,
    /// What each pass has come to so far.
    tallies: Vec<Tally>,
    /// Which micro-batch leaves and which comes back in each slot.
    timetable: Timetable,
    /// Whether the run ends with this term, if its passes come to their ends.
    last: bool,
    /// What ranks return at the end of the term.
    returns: StageData,
    /// How the term may be ended early, until it has been.
    early: Option<EarlyEnd>,
    /// Whether passes were cut short.
    cut: bool,
    /// Number of slots that the owner's word takes to reach all ranks.
    spread: u64,
    /// The word that ends the term, once it has been said. It stays.
    end: Option<Order>,
    /// The learning rate of each step.
    rates: Rates,
    /// The stages that the owner hosts itself.
    hosted: &'a mut OwnerStages<B>,
    /// The format in which values other than the data's travel.
    wire: Float,
    /// Length of a message in bytes, header included.
    capacity: usize,
    /// Number of values a sample that come back from the last rank's stage.
    features: usize,
    /// Number of values a sample that the loss takes: the outputs of the network.
    outputs: usize,
    /// Computes losses and their gradients.
    judge: Judge<B>,
    /// Whether the last stage computes the gradients, too, and trains with its own.
    loss_at_last: bool,
    /// The tensor of a message of targets, on the host.
    targets: Vec<u8>,
    /// Number of slots in which this role has worked so far. Gradients that are held count by it.
    steps: u64,
    /// Gradients that have not left yet, the oldest first.
    held: VecDeque<Held<B>>,
    /// Memory for gradients that holds none at the moment.
    spare: Vec<B::Buf>,
    /// Micro-batches of training that stage 1 has not answered yet, the oldest first.
    unanswered: VecDeque<Feed>,
    /// The samples of a micro-batch on the host, as the data have them.
    inputs: Vec<u8>,
    /// The samples of a micro-batch in the backend's memory, for the owner's first stages. Empty if it hosts none.
    taken: B::Bytes,
    /// The outputs of passes that ask for them, (samples, outputs), as far as they have come.
    inferred: Vec<f32>,
}

/// A gradient that waits to be sent back.
struct Held<B: Backend> {
    /// The number of the owner's step in which it leaves.
    due: u64,
    /// The header of the message that carries the gradient.
    header: Header,
    /// The gradient, (rows, features).
    gradient: B::Buf,
}

impl<'a, B: Backend + 'static> Owner<'a, B> {
    /// The owner's role in the term that `setup` describes. Messages have `capacity` bytes, header included.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for what it keeps.
    pub fn new(backend: &B, setup: TermSetup<'a, B>, capacity: usize) -> Result<Self, ComputeError> {
        let TermSetup {
            epoch,
            last,
            passes,
            so_far,
            returns,
            early,
            spread,
            lead,
            paced,
            rates,
            criterion,
            loss_at_last,
            features,
            hosted,
            micro_batch,
            wire,
        } = setup;
        let outputs = hosted.tail.as_ref().map_or(features, Network::output_features);
        let bytes = passes.first().map_or(0, |pass| pass.data.bytes());
        let rows = micro_batch as usize;
        let asked = passes.iter().filter(|planned| planned.purpose == Purpose::Infer);
        let asked = asked.map(|planned| planned.batches.samples() * outputs).sum();
        let hold = passes.iter().map(|planned| planned.pass.hold()).max().unwrap_or(0) as usize;
        let table: Vec<DataPass> = passes.iter().map(|planned| planned.pass).collect();
        let targets = passes.first().map(|planned| &planned.data.targets);
        let judge = Judge::new(backend, criterion, rows, outputs, targets)?;
        Ok(Self {
            epoch,
            tallies: std::iter::once(so_far).chain(std::iter::repeat(judge.tally())).take(passes.len()).collect(),
            passes,
            timetable: if paced { Timetable::by_answers(table, lead) } else { Timetable::by_slots(table, lead) },
            last,
            returns,
            early: Some(early),
            cut: false,
            spread,
            end: None,
            rates,
            judge,
            loss_at_last,
            targets: Vec::new(),
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

    /// The outputs for all samples of the passes that ask for them, (samples, outputs), in the order of the samples.
    pub fn into_inferred(self) -> Vec<f32> {
        self.inferred
    }

    /// What each pass has come to.
    pub fn tallies(&self) -> Vec<Tally> {
        self.tallies.clone()
    }

    /// The batch of the epoch up to which the first pass has gone, and whether all passes have come to their ends.
    pub fn reached(&self) -> (u32, bool) {
        (self.timetable.passes().first().map_or(0, DataPass::until), !self.cut)
    }

    /// Cuts the passes short where that is asked for and the end has not been said yet. Call before the turns of `slot`.
    fn heed_early_end(&mut self, slot: Slot) {
        let Some(early) = self.early.as_ref().filter(|_| self.end.is_none()) else { return };
        if early.asked.asked() == Ending::None {
            return;
        }
        self.returns = early.returns;
        let trains = self.passes.get(self.timetable.running()).is_some_and(Planned::trains);
        if early.asked.end(trains) {
            self.early = None;
            self.cut = self.timetable.cut(slot.0);
        }
    }

    /// The owner's word in `slot`: when the term ends, as soon as nothing is to leave any more. From then on it stays the same,
    /// so that all ranks end in the same slot, however long the word takes to reach them.
    fn word(&mut self, slot: Slot) -> Order {
        if self.end.is_none()
            && let Some(end) = self.timetable.end(slot.0)
        {
            let after = Slot(if self.timetable.goes_by_answers() { end } else { end.max(slot.0 + self.spread) });
            let returns = self.returns;
            self.end = Some(match self.last && !self.cut {
                true => Order::RunEnds { after, returns },
                false => Order::TermEnds { after, returns },
            });
        }
        self.end.unwrap_or(Order::GoOn)
    }

    /// The pass that runs. Panics if all are over.
    fn running(&self) -> &Planned<'a> {
        &self.passes[self.timetable.running()]
    }

    /// Takes stage 1's answer to the gradient of a micro-batch, if one has come. If the owner hosts the first stages, the
    /// answer carries a gradient, and these go backward with it.
    fn take_answer(&mut self, backend: &B, slot: Slot, post: &Post<B::Bytes>) -> Result<(), RoleError> {
        let Some(found) = received(backend, slot, post, BACKWARD, self.capacity)? else { return Ok(()) };
        // Answers come in the order in which micro-batches were fed.
        let feed = self.unanswered.pop_front().ok_or_else(|| none_due(slot, Some(found)))?;
        self.timetable.done().map_err(|_| none_due(slot, Some(found)))?;
        let done = Header {
            last: feed.last,
            rate: self.rates.at(self.epoch, feed.batch),
            ..Header::new(Kind::Done, self.epoch, feed.batch, feed.micro_batch).with_tensor(
                Dtype::Float(self.wire),
                0,
                0,
            )
        };
        // Without a head the owner is due a `Done`, else the gradient (rows, features) of what its head sent.
        let rows = self.hosted.head.as_ref().and_then(Network::expects).unwrap_or(0);
        let due = match &self.hosted.head {
            Some(head) => {
                let features = head.output_features() as u32;
                Header { kind: Kind::Gradient, rows: rows as u32, features, ..done }
            }
            None => done,
        };
        check_due(slot, found, due)?;
        // The head goes backward in the same slot, and makes its step behind the batch's last micro-batch.
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

    /// Takes the output of the micro-batch `feed`, which has come in this slot. An inference keeps it. Otherwise its loss is
    /// computed, and in training its gradient.
    fn take_output(&mut self, backend: &B, slot: Slot, feed: Feed, post: &Post<B::Bytes>) -> Result<(), RoleError> {
        let running = self.timetable.running();
        let planned = &self.passes[running];
        let rows = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0).len();
        // The message must be exactly what the schedule says: (rows, features) of this micro-batch.
        let due = Header::new(planned.purpose.kind(), self.epoch, feed.batch, feed.micro_batch).with_tensor(
            Dtype::Float(self.wire),
            rows as u32,
            self.features as u32,
        );
        let found = received(backend, slot, post, FORWARD, self.capacity)?.unwrap_or(Header::EMPTY);
        check_due(slot, found, due)?;
        // The network's outputs (rows, outputs): what came, or what the tail makes of it, rounded as a message would round it.
        let values = rows * self.outputs;
        match &mut self.hosted.tail {
            Some(tail) => {
                let pass = pass_of(planned, self.epoch, feed);
                let outputs = tail.forward(backend, pass, &post.inbox[FORWARD], HEADER)?;
                backend.round(self.wire, values, outputs, &mut self.judge.logits)
            }
            None => backend.decode(self.wire, &post.inbox[FORWARD], HEADER, values, &mut self.judge.logits),
        };
        // An inference keeps the outputs, and asks for no loss.
        if planned.purpose == Purpose::Infer {
            let before = self.inferred.len();
            self.inferred.resize(before + values, 0.0);
            backend.download(&self.judge.logits, &mut self.inferred[before..]);
            self.tallies[running].add(LossSum::default(), rows);
            self.hosted.tail.iter_mut().for_each(Network::forget);
            return Ok(());
        }
        // Else the loss is computed, and in training its gradient starts its way back. An evaluation leaves nothing in the
        // tail.
        self.judge.judge(backend, planned, self.epoch, feed, &mut self.tallies[running])?;
        match planned.trains() {
            true if self.loss_at_last => {}
            true => self.hold_gradient(backend, feed, due),
            false => self.hosted.tail.iter_mut().for_each(Network::forget),
        }
        Ok(())
    }

    /// Takes the loss's gradient back through the owner's last stages, if it hosts any, and holds it until it is to leave.
    /// `due` is the header of the micro-batch's output.
    fn hold_gradient(&mut self, backend: &B, feed: Feed, due: Header) {
        let rate = self.rates.at(self.epoch, feed.batch);
        let rows = due.rows as usize;
        let Some(mut gradient) = self.spare.pop() else {
            unreachable!("one comes in a slot, and leaves after its time")
        };
        // The gradient (rows, features) of what came in: from the tail, which then makes its step behind the batch's last, or
        // the loss's own.
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

    /// Sends the oldest gradient that is held, if it is to leave in this step.
    fn send_gradient(&mut self, backend: &B, post: &mut Post<B::Bytes>) {
        if self.held.front().is_some_and(|held| held.due <= self.steps)
            && let Some(Held { header, gradient, .. }) = self.held.pop_front()
        {
            let values = header.rows as usize * self.features;
            backend.encode(self.wire, &gradient, values, &mut post.outbox[BACKWARD], HEADER);
            address(backend, post, BACKWARD, Some(header));
            self.spare.push(gradient);
        }
    }

    /// Sends the samples of the micro-batch `feed` to stage 1, or what the owner's first stages make of them.
    fn send_samples(&mut self, backend: &B, feed: Feed, post: &mut Post<B::Bytes>) -> Result<(), RoleError> {
        let planned = &self.passes[self.timetable.running()];
        let indices = planned.batches.micro_batch(feed.batch.0, feed.micro_batch.0);
        let rows = indices.len();
        // The samples (rows, features), as the data have them; in training moved and mirrored where the job says so.
        let inputs = &mut self.inputs[..rows * planned.data.bytes()];
        planned.data.gather(indices, planned.augmented.as_ref(), inputs);
        // They travel as they are, or go through the head first.
        let (dtype, features) = match &mut self.hosted.head {
            Some(head) => {
                backend.put(inputs, &mut self.taken, 0);
                let features = head.output_features();
                let pass = pass_of(planned, self.epoch, feed);
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
        let header = Header::new(planned.purpose.kind(), self.epoch, feed.batch, feed.micro_batch);
        // In training stage 1 will answer. A last stage that has the loss hears what should come out.
        if planned.trains() {
            self.unanswered.push_back(feed);
            if self.loss_at_last {
                let (targets, weight) = self.judge.targets(planned, feed);
                let of = Header { last: feed.last, rate: self.rates.at(self.epoch, feed.batch), ..header };
                let header = loss::write(targets, of, weight, &mut self.targets);
                backend.put(&self.targets, &mut post.outbox[BACKWARD], HEADER);
                address(backend, post, BACKWARD, Some(header));
            }
        }
        let header = header.with_tensor(dtype, rows as u32, features as u32);
        address(backend, post, FORWARD, Some(header));
        Ok(())
    }
}

/// The error that a message has come although none was due.
fn none_due(slot: Slot, found: Option<Header>) -> RoleError {
    let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
    RoleError::Unexpected { slot, found, expected: "none of it, with nothing under way".to_owned() }
}

impl<B: Backend + 'static> Role<B> for Owner<'_, B>
where
    Network<B>: Send,
{
    fn step(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) -> Result<Order, RoleError> {
        self.heed_early_end(slot);
        // First what stage 1 says, since the head must have made its step before it computes for the next batch.
        self.take_answer(backend, slot, post)?;
        let come = match self.timetable.goes_by_answers() {
            true => received(backend, slot, post, FORWARD, self.capacity)?,
            // By slots, it is read when it is due.
            false => None,
        };
        let turns = self.timetable.turns(slot.0, come.is_some());
        let Turns { returned, fed } = turns.map_err(|_| none_due(slot, come))?;
        address(backend, post, BACKWARD, None);
        // Then the output that came back, the gradient that leaves, and the micro-batch that leaves, in this order.
        if let Some(feed) = returned {
            self.take_output(backend, slot, feed, post)?;
        }
        self.send_gradient(backend, post);
        self.steps += 1;
        match fed {
            Some(feed) => self.send_samples(backend, feed, post)?,
            None => address(backend, post, FORWARD, None),
        }
        Ok(self.word(slot))
    }

    fn progress(&self) -> Option<PassProgress> {
        let running = self.timetable.running();
        let (planned, tally) = (self.passes.get(running)?, self.tallies.get(running)?);
        Some(PassProgress { done: tally.samples(), of: planned.batches.samples(), trains: planned.trains() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_ends_early_only_where_anything_does() {
        let asks = Asks::default();
        let ends = |ending| {
            asks.clone().ask(ending);
            (asks.asked(), asks.end(true), asks.end(false))
        };
        assert_eq!(ends(Ending::Training), (Ending::Training, true, false));
        assert_eq!(ends(Ending::Anything), (Ending::Anything, true, true));
        assert_eq!(ends(Ending::None), (Ending::None, false, false));
    }
}
