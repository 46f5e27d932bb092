//! Wakes a thread that waits for other threads of its process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// One thread's bell. It counts the things for which the thread waits, so that the thread is woken once, when all of
/// them are there.
#[derive(Default)]
pub(super) struct Bell {
    /// How many things are awaited and not there yet.
    awaited: AtomicU32,
    /// The thread that has last begun to sleep here.
    sleeper: Mutex<Option<Thread>>,
}

impl Bell {
    /// Counts one more thing for which the thread waits. Whoever brings it must see that it is awaited: both hold the
    /// same lock when they say so and when they look.
    pub(super) fn await_one(&self) {
        self.awaited.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one thing as brought. The last one of those that are awaited wakes the thread.
    pub(super) fn brought(&self) {
        if self.awaited.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ring();
        }
    }

    /// Wakes the thread, whatever it still waits for.
    pub(super) fn ring(&self) {
        // A thread that panicked here has left a whole value behind.
        if let Some(sleeper) = &*self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) {
            sleeper.unpark();
        }
    }

    /// Sleeps until all that is awaited is there or [`ring`](Bell::ring) is called, at most for `limit`. It may wake up
    /// early. `over` says whether there is nothing to wait for any more, whatever has been brought: then it does not
    /// sleep.
    pub(super) fn sleep(&self, limit: Duration, over: impl Fn() -> bool) {
        // Whoever rings after this line finds the thread here. What was brought before it shows in the count below.
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        if self.awaited.load(Ordering::SeqCst) > 0 && !over() {
            thread::park_timeout(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_last_of_what_is_awaited_wakes_the_thread() {
        let (bell, awaited) = (Bell::default(), 3);
        for round in 0..2000_u32 {
            (0..awaited).for_each(|_| bell.await_one());
            std::thread::scope(|scope| {
                let others = scope.spawn(|| (0..awaited).for_each(|_| bell.brought()));
                let began = Instant::now();
                while bell.awaited.load(Ordering::SeqCst) > 0 {
                    bell.sleep(LONG, || false);
                    assert!(began.elapsed() < LONG, "nobody woke it in round {round}");
                }
                others.join().unwrap();
            });
        }
    }

    #[test]
    fn nobody_sleeps_for_what_is_there_or_over() {
        let bell = Bell::default();
        let began = Instant::now();
        bell.sleep(LONG, || false);
        bell.await_one();
        bell.sleep(LONG, || true);
        assert!(began.elapsed() < LONG);
        // Woken early, it looks again.
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                over.store(true, Ordering::SeqCst);
                bell.ring();
            });
            while !over.load(Ordering::SeqCst) {
                bell.sleep(LONG, || over.load(Ordering::SeqCst));
            }
        });
        assert!(began.elapsed() < LONG);
        bell.sleep(Duration::from_millis(5), || false);
    }
}
