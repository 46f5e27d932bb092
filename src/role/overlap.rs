//! Work beside the exchange. While a slot's messages travel, the role works on what the slot before has brought. Slots wait for
//! it. So what a slot brings is always answered in the slot after the next.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use super::work::{Task, Work, Workshop, not_left, workshop};
use super::{PassProgress, RoleError, empty};
use crate::compute::{Backend, ComputeError};
use crate::ids::Slot;
use crate::mix::beat::Order;
use crate::mix::courier::{Post, Timing};
use crate::mix::{BACKWARD, FORWARD};

/// A role's work on a thread of its own, for which slots wait.
pub struct Overlapped<Bytes> {
    /// Sends a task to the role's thread.
    tasks: SyncSender<Box<Task<Bytes>>>,
    /// Returns the task when the role has done it.
    done: Receiver<Box<Task<Bytes>>>,
    /// The task while no one works on it. `None` while the role does.
    idle: Option<Box<Task<Bytes>>>,
    /// The result of the step whose messages are in the outbox. `None` before the first.
    answer: Option<Result<Order, RoleError>>,
    /// How long the step took whose messages are in the outbox.
    took: Duration,
    /// The role's progress after the step whose messages are in the outbox.
    progress: Option<PassProgress>,
}

impl<Bytes> Overlapped<Bytes> {
    /// The work for messages of `length` bytes, and the workshop that the role's thread is to run.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`] if there is no memory for the messages.
    pub fn new<B: Backend<Bytes = Bytes>>(
        backend: &B,
        length: usize,
    ) -> Result<(Self, Workshop<Bytes>), ComputeError> {
        let ((tasks, done), workshop) = workshop();
        let idle = Some(Task::new(backend, length)?);
        Ok((Self { tasks, done, idle, answer: None, took: Duration::ZERO, progress: None }, workshop))
    }
}

impl<B: Backend> Work<B> for Overlapped<B::Bytes> {
    /// The outbox has held the messages since [`give`](Work::give) of the slot before. Before the first answer it is emptied.
    fn take(
        &mut self,
        backend: &B,
        _: Slot,
        post: &mut Post<B::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, RoleError> {
        timing.compute += std::mem::take(&mut self.took);
        self.answer.take().unwrap_or_else(|| {
            empty(backend, post);
            Ok(Order::GoOn)
        })
    }

    /// Waits until the role has done what it was given a slot ago, takes its messages to the outbox, and gives it the inbox of
    /// this slot.
    fn give(&mut self, _: &B, slot: Slot, post: &mut Post<B::Bytes>) {
        let Some(mut task) = self.idle.take().or_else(|| self.done.recv().ok()) else {
            self.answer = Some(Err(RoleError::Gone));
            return;
        };
        for which in [FORWARD, BACKWARD] {
            std::mem::swap(&mut post.outbox[which], &mut task.post.outbox[which]);
            std::mem::swap(&mut post.used[which], &mut task.post.used[which]);
            std::mem::swap(&mut post.inbox[which], &mut task.post.inbox[which]);
        }
        let done = std::mem::replace(&mut task.done, Ok(Order::GoOn));
        self.answer = Some(done.and_then(|order| not_left(task.left, task.slot).map(|()| order)));
        self.took = std::mem::take(&mut task.took);
        self.progress = task.progress;
        task.slot = slot;
        // If the thread is gone, that is noticed where its answer is awaited.
        let _ = self.tasks.send(task);
    }

    fn progress(&self) -> Option<PassProgress> {
        self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Memory;
    use crate::compute::cpu::Cpu;
    use crate::mix::beat::StageData;
    use crate::role::Role;

    const LENGTH: usize = 128;

    /// A role that says in its forward message what it got in both, and one time too many.
    struct Echo;

    impl Role<Cpu> for Echo {
        fn step(
            &mut self,
            backend: &Cpu,
            slot: Slot,
            post: &mut Post<<Cpu as Memory>::Bytes>,
        ) -> Result<Order, RoleError> {
            let got = [post.inbox[FORWARD][0], post.inbox[BACKWARD][0]];
            if got[0] == 99 {
                return Err(RoleError::Unexpected { slot, found: "99".into(), expected: "less".into() });
            }
            std::thread::sleep(Duration::from_millis(u64::from(got[1] % 3)));
            backend.put(&got, &mut post.outbox[FORWARD], 0);
            post.used[FORWARD] = 2;
            Ok(Order::TermEnds { after: Slot(u64::from(got[0])), returns: StageData::Nothing })
        }
    }

    #[test]
    fn what_a_slot_brings_is_answered_in_the_slot_after_the_next() {
        let backend = Cpu::new(1).unwrap();
        let mut post = Post::new(|| backend.bytes(LENGTH)).unwrap();
        // What an earlier term has left in the outbox.
        (post.outbox[FORWARD][0], post.used[FORWARD]) = (7, 1);
        let (mut work, workshop) = Overlapped::new(&backend, LENGTH).unwrap();
        let mut timing = Timing::default();
        std::thread::scope(|scope| {
            let there = &backend;
            scope.spawn(move || workshop.run(there, &mut Echo));
            for slot in 0..60_u8 {
                let order = work.take(&backend, Slot(slot.into()), &mut post, &mut timing).unwrap();
                let left = [post.outbox[FORWARD][0], post.outbox[FORWARD][1]];
                match slot {
                    0 | 1 => assert_eq!((left, order), ([0, 0], Order::GoOn)),
                    _ => {
                        assert_eq!(left, [slot - 1, 200 - slot]);
                        assert_eq!(
                            order,
                            Order::TermEnds { after: Slot(u64::from(slot) - 1), returns: StageData::Nothing }
                        );
                    }
                }
                (post.inbox[FORWARD][0], post.inbox[BACKWARD][0]) = (slot + 1, 198 - slot);
                work.give(&backend, Slot(slot.into()), &mut post);
            }
            post.inbox[FORWARD][0] = 99;
            for _ in 0..2 {
                work.take(&backend, Slot(60), &mut post, &mut timing).unwrap();
                work.give(&backend, Slot(60), &mut post);
            }
            let told = work.take(&backend, Slot(62), &mut post, &mut timing);
            assert!(matches!(told, Err(RoleError::Unexpected { .. })));
            assert!(timing.compute > Duration::ZERO);
            drop(work);
        });
    }
}
