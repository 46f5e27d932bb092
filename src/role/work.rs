//! When a role works: at the head of each slot, which waits for it, or on a thread of its own, so that slots go on whatever it
//! has to do. Under a pace a rank that is not ready sends empty messages, and what reaches it meanwhile waits.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::{PassProgress, Role, RoleError, empty};
use crate::compute::{Backend, ComputeError};
use crate::ids::Slot;
use crate::mix::beat::Order;
use crate::mix::courier::{Post, Timing};
use crate::mix::{BACKWARD, FORWARD};
use crate::slice;
use crate::wire::HEADER;

/// Most messages of one direction that may wait at a rank. The owner never has nearly as many under way.
const MOST_WAITING: usize = 512;

/// Where a rank's messages come from before a slot, and where they go after it.
pub trait Work<B: Backend> {
    /// Fills the outbox for `slot` with what is ready. Returns the role's order. Adds to `timing` how long the role worked, and a slot for
    /// which it was not ready.
    ///
    /// # Errors
    /// [`RoleError`] if the role cannot go on. The outbox then means nothing.
    fn take(
        &mut self,
        backend: &B,
        slot: Slot,
        post: &mut Post<B::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, RoleError>;

    /// Takes what `slot` has brought to the inbox.
    fn give(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>);

    /// How long messages that have become ready since this was last asked were in the role's hands. Nothing is told where slots wait for it.
    fn take_worked(&mut self) -> Duration {
        Duration::ZERO
    }

    /// What the role says of [its progress](Role::progress).
    fn progress(&self) -> Option<PassProgress>;
}

/// The result of a role's step, after all backend calls of the step are done. Its messages can then be sealed.
fn done<B: Backend>(backend: &B, order: Result<Order, RoleError>) -> Result<Order, RoleError> {
    // A device that has failed is reported first, because it explains whatever the messages then say.
    backend.finish()?;
    order
}

/// Work at the head of each slot, on the thread that exchanges messages. Slots wait for it.
pub struct Prompt<'a, R>(pub &'a mut R);

impl<B: Backend, R: Role<B>> Work<B> for Prompt<'_, R> {
    fn take(
        &mut self,
        backend: &B,
        slot: Slot,
        post: &mut Post<B::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, RoleError> {
        let started = Instant::now();
        let order = done(backend, self.0.step(backend, slot, post));
        self.0.settle(backend);
        timing.compute += started.elapsed();
        order.and_then(|order| not_left(self.0.has_left(), slot).map(|()| order))
    }

    /// Does nothing: what a slot has brought is still in the inbox at the head of the next.
    fn give(&mut self, _: &B, _: Slot, _: &mut Post<B::Bytes>) {}

    fn progress(&self) -> Option<PassProgress> {
        self.0.progress()
    }
}

/// Refuses a message that the role has left for later, where messages do not wait: in lockstep none comes before its turn.
pub(super) fn not_left(has_left: bool, slot: Slot) -> Result<(), RoleError> {
    let refused = || RoleError::Unexpected {
        slot,
        found: "the next batch".to_owned(),
        expected: "the rest of this one".to_owned(),
    };
    if has_left { Err(refused()) } else { Ok(()) }
}

/// A task for a role's thread: one step. It goes there with messages to read and comes back with messages to send.
pub(super) struct Task<Bytes> {
    /// The messages that the role reads and writes.
    pub(super) post: Post<Bytes>,
    /// The slot for which the role makes its step.
    pub(super) slot: Slot,
    /// The result of the role's step.
    pub(super) done: Result<Order, RoleError>,
    /// When the task was handed over.
    pub(super) given: Instant,
    /// How long it took from there until the messages were ready.
    pub(super) ready: Duration,
    /// How long the role has worked since the task before was done.
    pub(super) took: Duration,
    /// The role's progress after the step.
    pub(super) progress: Option<PassProgress>,
    /// Whether the role has left the forward message in the inbox.
    pub(super) left: bool,
}

impl<Bytes> Task<Bytes> {
    /// A task with empty messages of `length` bytes.
    pub(super) fn new<B: Backend<Bytes = Bytes>>(backend: &B, length: usize) -> Result<Box<Self>, ComputeError> {
        let post = Post::new(|| backend.bytes(length))?;
        Ok(Box::new(Self {
            post,
            slot: Slot(0),
            done: Ok(Order::GoOn),
            given: Instant::now(),
            ready: Duration::ZERO,
            took: Duration::ZERO,
            progress: None,
            left: false,
        }))
    }
}

/// The end of the one who gives tasks to a role's thread and takes them back.
pub(super) type Bench<Bytes> = (SyncSender<Box<Task<Bytes>>>, Receiver<Box<Task<Bytes>>>);

/// Connects the one who gives tasks with the thread that does them. One task is under way at a time.
pub(super) fn workshop<Bytes>() -> (Bench<Bytes>, Workshop<Bytes>) {
    let (tasks, to_do) = sync_channel(1);
    let (answer, done) = sync_channel(1);
    ((tasks, done), Workshop { tasks: to_do, done: answer })
}

/// What a role's thread runs: it takes tasks and returns them done.
pub struct Workshop<Bytes> {
    /// Receives tasks from the one who gives them.
    tasks: Receiver<Box<Task<Bytes>>>,
    /// Returns tasks when they are done.
    done: SyncSender<Box<Task<Bytes>>>,
}

impl<Bytes> Workshop<Bytes> {
    /// Lets `role` do tasks until the one who gives them is gone.
    pub fn run<B: Backend<Bytes = Bytes>, R: Role<B>>(self, backend: &B, role: &mut R) {
        // Who moves messages on the same core goes first.
        slice::lengthen();
        let mut behind = Duration::ZERO;
        for mut task in self.tasks {
            let started = Instant::now();
            task.done = done(backend, role.step(backend, task.slot, &mut task.post));
            task.took = behind + started.elapsed();
            task.ready = task.given.elapsed();
            task.progress = role.progress();
            task.left = role.has_left();
            let returned = self.done.send(task);
            let started = Instant::now();
            role.settle(backend);
            behind = started.elapsed();
            if returned.is_err() {
                return;
            }
        }
    }
}

/// A role's work on a thread of its own, for which slots do not wait.
pub struct Worker<Bytes> {
    /// Length of a message in bytes, header included.
    length: usize,
    /// Sends a task to the role's thread.
    tasks: SyncSender<Box<Task<Bytes>>>,
    /// Returns the task when the role has done it.
    done: Receiver<Box<Task<Bytes>>>,
    /// The task while no one works on it. `None` while the role does.
    idle: Option<Box<Task<Bytes>>>,
    /// Messages that have arrived and wait for the role, by direction, the oldest first.
    waiting: [VecDeque<Bytes>; 2],
    /// Memory for messages that holds none at the moment.
    spare: Vec<Bytes>,
    /// The order that the role's last step gave.
    order: Order,
    /// The role's progress after its last step.
    progress: Option<PassProgress>,
    /// How long messages that are ready were in the role's hands, since that was last asked.
    worked: Duration,
    /// An error in taking what a slot brought. The next [`take`](Work::take) returns it.
    refused: Option<RoleError>,
}

impl<Bytes> Worker<Bytes> {
    /// A worker for messages of `length` bytes, and the workshop that its thread is to run. The role makes its first step when the first
    /// slot is over: a stage takes its memory then, which would hold up a rank in its first slot.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for the messages.
    pub fn new<B: Backend<Bytes = Bytes>>(
        backend: &B,
        length: usize,
    ) -> Result<(Self, Workshop<Bytes>), ComputeError> {
        let ((tasks, done), workshop) = workshop();
        let worker = Self {
            length,
            tasks,
            done,
            idle: Some(Task::new(backend, length)?),
            waiting: [VecDeque::new(), VecDeque::new()],
            spare: Vec::new(),
            order: Order::GoOn,
            progress: None,
            worked: Duration::ZERO,
            refused: None,
        };
        Ok((worker, workshop))
    }

    /// Gives the role, if it is idle, the oldest waiting message of each direction, or an empty one.
    fn hand_over<B: Backend<Bytes = Bytes>>(&mut self, backend: &B, slot: Slot) {
        let Some(mut task) = self.idle.take() else { return };
        for (which, waiting) in [FORWARD, BACKWARD].into_iter().zip(&mut self.waiting) {
            match waiting.pop_front() {
                Some(message) => self.spare.push(std::mem::replace(&mut task.post.inbox[which], message)),
                None => {
                    backend.clear(&mut task.post.inbox[which], 0, HEADER);
                }
            }
        }
        (task.slot, task.given) = (slot, Instant::now());
        // The role must find cleared what was cleared. If the device fails here, the role's step fails, too.
        let _ = backend.finish();
        // If the thread is gone, that is noticed where its answer is awaited.
        let _ = self.tasks.send(task);
    }

    /// Moves the message in `inbox` to those that wait, unless it is empty.
    fn keep<B: Backend<Bytes = Bytes>>(
        &mut self,
        backend: &B,
        which: usize,
        inbox: &mut Bytes,
        slot: Slot,
    ) -> Result<(), RoleError> {
        let mut header = [0; HEADER];
        backend.get(inbox, 0, &mut header);
        if header == [0; HEADER] {
            return Ok(());
        }
        if self.waiting[which].len() >= MOST_WAITING {
            let found = "another, while no answer was due".to_owned();
            return Err(RoleError::Unexpected { slot, found, expected: format!("at most {MOST_WAITING} at once") });
        }
        let free = match self.spare.pop() {
            Some(free) => free,
            None => backend.bytes(self.length)?,
        };
        self.waiting[which].push_back(std::mem::replace(inbox, free));
        Ok(())
    }
}

impl<B: Backend> Work<B> for Worker<B::Bytes> {
    fn take(
        &mut self,
        backend: &B,
        _: Slot,
        post: &mut Post<B::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, RoleError> {
        // An error that `give` could not return is returned here.
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        // In the first slot the role has got nothing yet.
        if self.idle.is_some() {
            empty(backend, post);
            return Ok(self.order);
        }
        // If the role is done, its messages leave in this slot. Else empty ones do.
        match self.done.try_recv() {
            Ok(mut task) => {
                timing.compute += task.took;
                self.worked += task.ready;
                self.progress = task.progress;
                self.order = std::mem::replace(&mut task.done, Ok(Order::GoOn))?;
                for which in [FORWARD, BACKWARD] {
                    std::mem::swap(&mut post.outbox[which], &mut task.post.outbox[which]);
                    std::mem::swap(&mut post.used[which], &mut task.post.used[which]);
                }
                if task.left {
                    let free = match self.spare.pop() {
                        Some(free) => free,
                        None => backend.bytes(self.length)?,
                    };
                    self.waiting[FORWARD].push_front(std::mem::replace(&mut task.post.inbox[FORWARD], free));
                }
                self.idle = Some(task);
            }
            Err(TryRecvError::Empty) => {
                timing.overran += 1;
                empty(backend, post)
            }
            Err(TryRecvError::Disconnected) => return Err(RoleError::Gone),
        }
        Ok(self.order)
    }

    fn give(&mut self, backend: &B, slot: Slot, post: &mut Post<B::Bytes>) {
        for which in [FORWARD, BACKWARD] {
            if let Err(error) = self.keep(backend, which, &mut post.inbox[which], slot) {
                self.refused = Some(error);
            }
        }
        // Also where nothing has come, so that every rank does the same in every slot.
        self.hand_over(backend, slot);
    }

    fn take_worked(&mut self) -> Duration {
        std::mem::take(&mut self.worked)
    }

    fn progress(&self) -> Option<PassProgress> {
        self.progress
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::compute::Memory;
    use crate::compute::cpu::Cpu;
    use crate::mix::beat::StageData;

    const LENGTH: usize = 128;

    type Messages = Post<<Cpu as Memory>::Bytes>;

    /// A role that says in its forward message what it got in both, once it is let. It leaves a 50 until something comes back.
    struct Slow {
        let_go: Mutex<Receiver<()>>,
        left: bool,
    }

    impl Role<Cpu> for Slow {
        fn step(&mut self, backend: &Cpu, slot: Slot, post: &mut Messages) -> Result<Order, RoleError> {
            self.let_go.lock().unwrap().recv().unwrap();
            let got = [post.inbox[FORWARD][0], post.inbox[BACKWARD][0]];
            assert_ne!(got[0], 99, "a panic, on purpose");
            if got[0] == 98 {
                return Err(RoleError::Unexpected { slot, found: "98".into(), expected: "less".into() });
            }
            self.left = got == [50, 0];
            let got = if self.left { [0, 0] } else { got };
            backend.put(&got, &mut post.outbox[FORWARD], 0);
            post.used[FORWARD] = if got == [0, 0] { 0 } else { 2 };
            Ok(Order::TermEnds { after: Slot(u64::from(got[0])), returns: StageData::Nothing })
        }

        fn has_left(&self) -> bool {
            self.left
        }
    }

    struct Bench {
        backend: Cpu,
        post: Messages,
        timing: Timing,
    }

    impl Bench {
        /// Plays one slot that brings `brought` (0: an empty message). Returns what left in it before.
        fn slot(
            &mut self,
            worker: &mut Worker<<Cpu as Memory>::Bytes>,
            brought: [u8; 2],
        ) -> Result<[u8; 2], RoleError> {
            let Self { backend, post, timing } = self;
            let order = worker.take(backend, Slot(0), post, timing)?;
            let left = [post.outbox[FORWARD][0], post.outbox[FORWARD][1]];
            assert_eq!(post.used[FORWARD] > 0, left != [0, 0]);
            assert!(
                left == [0, 0]
                    || order == Order::TermEnds { after: Slot(u64::from(left[0])), returns: StageData::Nothing }
            );
            for which in [FORWARD, BACKWARD] {
                post.inbox[which][0] = brought[which];
            }
            worker.give(backend, Slot(0), post);
            Ok(left)
        }

        /// Plays slots that bring nothing, until the role is done with what it has.
        fn until_something_leaves(
            &mut self,
            worker: &mut Worker<<Cpu as Memory>::Bytes>,
        ) -> Result<[u8; 2], RoleError> {
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(20) {
                match self.slot(worker, [0, 0])? {
                    [0, 0] => std::thread::sleep(Duration::from_millis(1)),
                    left => return Ok(left),
                }
            }
            panic!("nothing leaves");
        }
    }

    /// Runs `play` with the worker, a sender that lets the role go on, and a bench that plays slots.
    fn with(play: impl FnOnce(&mut Worker<<Cpu as Memory>::Bytes>, &Sender<()>, &mut Bench)) {
        let backend = Cpu::new(1).unwrap();
        let post = Post::new(|| backend.bytes(LENGTH)).unwrap();
        let (go, let_go) = channel();
        let (mut worker, workshop) = Worker::new(&backend, LENGTH).unwrap();
        let mut bench = Bench { backend: Cpu::new(1).unwrap(), post, timing: Timing::default() };
        std::thread::scope(|scope| {
            let mut role = Slow { let_go: Mutex::new(let_go), left: false };
            let backend = &backend;
            let thread = scope.spawn(move || workshop.run(backend, &mut role));
            play(&mut worker, &go, &mut bench);
            drop(worker);
            go.send(()).ok();
            let _ = thread.join();
        });
    }

    /// While the role works, slots send empty messages. What arrives is worked on later, each direction in its order, and
    /// nothing is lost.
    #[test]
    fn slots_wait_for_no_one_and_lose_nothing() {
        with(|worker, go, bench| {
            for brought in [[1, 0], [2, 7], [0, 0], [3, 8]] {
                assert_eq!(bench.slot(worker, brought).unwrap(), [0, 0]);
            }
            // Each step takes the oldest message of each direction. The first is made behind the first slot, so it has but one.
            for due in [[1, 0], [2, 7], [3, 8]] {
                go.send(()).unwrap();
                assert_eq!(bench.until_something_leaves(worker).unwrap(), due);
                assert_eq!(bench.slot(worker, [0, 0]).unwrap(), [0, 0], "sent twice");
            }
            assert!(bench.timing.compute > Duration::ZERO && bench.timing.overran > 0);
            let mut worked = || Work::<Cpu>::take_worked(worker);
            assert!(worked() > Duration::ZERO && worked().is_zero());
        });
    }

    /// What the role leaves waits in front of what came behind it, until something comes back.
    #[test]
    fn what_is_left_is_given_again() {
        with(|worker, go, bench| {
            for brought in [[50, 0], [1, 0], [2, 0]] {
                assert_eq!(bench.slot(worker, brought).unwrap(), [0, 0]);
            }
            (0..200).for_each(|_| go.send(()).unwrap());
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(1));
                assert_eq!(bench.slot(worker, [0, 0]).unwrap(), [0, 0], "left, and taken all the same");
            }
            assert_eq!(bench.slot(worker, [0, 7]).unwrap(), [0, 0]);
            for due in [[50, 7], [1, 0], [2, 0]] {
                assert_eq!(bench.until_something_leaves(worker).unwrap(), due);
            }
        });
    }

    /// What nobody waits for is done behind the messages, and never left out.
    #[test]
    fn messages_leave_before_the_role_settles() {
        struct Settles {
            let_go: Mutex<Receiver<()>>,
            steps: u32,
            settled: u32,
        }

        impl Role<Cpu> for Settles {
            fn step(&mut self, _: &Cpu, _: Slot, post: &mut Messages) -> Result<Order, RoleError> {
                assert_eq!(self.settled, self.steps, "a step before what is behind the last one");
                self.steps += 1;
                post.outbox[FORWARD][0] = self.steps as u8;
                post.used[FORWARD] = 1;
                Ok(Order::GoOn)
            }

            fn settle(&mut self, _: &Cpu) {
                self.let_go.lock().unwrap().recv().ok();
                self.settled += 1;
            }
        }

        let backend = Cpu::new(1).unwrap();
        let (go, let_go) = channel();
        let (mut worker, workshop) = Worker::new(&backend, LENGTH).unwrap();
        let post = Post::new(|| backend.bytes(LENGTH)).unwrap();
        let mut bench = Bench { backend: Cpu::new(1).unwrap(), post, timing: Timing::default() };
        let mut role = Settles { let_go: Mutex::new(let_go), steps: 0, settled: 0 };
        std::thread::scope(|scope| {
            let (role, backend) = (&mut role, &backend);
            let thread = scope.spawn(move || workshop.run(backend, role));
            for step in 1..=3 {
                worker.give(&bench.backend, Slot(0), &mut bench.post);
                let started = Instant::now();
                loop {
                    worker.take(&bench.backend, Slot(0), &mut bench.post, &mut bench.timing).unwrap();
                    if bench.post.outbox[FORWARD][0] == step {
                        break;
                    }
                    assert!(started.elapsed() < Duration::from_secs(20), "nothing leaves");
                    std::thread::sleep(Duration::from_millis(1));
                }
                go.send(()).unwrap();
            }
            drop((worker, go));
            thread.join().unwrap();
        });
        assert!(role.steps >= 3 && role.settled == role.steps);
        // In lockstep it settles at once.
        let (go, let_go) = channel();
        let mut role = Settles { let_go: Mutex::new(let_go), steps: 0, settled: 0 };
        go.send(()).unwrap();
        Prompt(&mut role).take(&backend, Slot(0), &mut bench.post, &mut Timing::default()).unwrap();
        assert_eq!((role.steps, role.settled), (1, 1));
    }

    /// In lockstep nothing waits, and nothing may be left.
    #[test]
    fn slots_that_wait_leave_nothing() {
        let backend = Cpu::new(1).unwrap();
        let mut post = Post::new(|| backend.bytes(LENGTH)).unwrap();
        let (go, let_go) = channel();
        let mut role = Slow { let_go: Mutex::new(let_go), left: false };
        for (brought, refused) in [(1, false), (50, true)] {
            go.send(()).unwrap();
            post.inbox[FORWARD][0] = brought;
            let taken = Prompt(&mut role).take(&backend, Slot(0), &mut post, &mut Timing::default());
            assert_eq!(matches!(taken, Err(RoleError::Unexpected { .. })), refused, "{taken:?}");
        }
    }

    #[test]
    fn an_error_and_a_panic_are_told() {
        for (brought, panics) in [(98, false), (99, true)] {
            with(|worker, go, bench| {
                bench.slot(worker, [brought, 0]).unwrap();
                go.send(()).unwrap();
                go.send(()).unwrap();
                let told = bench.until_something_leaves(worker).unwrap_err();
                assert_eq!(matches!(told, RoleError::Gone), panics, "{told}");
            });
        }
    }

    #[test]
    fn a_flood_is_refused() {
        with(|worker, _, bench| {
            // The role has the first.
            for _ in 0..=MOST_WAITING {
                bench.slot(worker, [1, 0]).unwrap();
            }
            bench.slot(worker, [1, 0]).unwrap();
            assert!(matches!(bench.slot(worker, [0, 0]), Err(RoleError::Unexpected { .. })));
        });
    }
}
