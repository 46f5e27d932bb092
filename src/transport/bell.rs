//! What wakes a thread that waits for others of its process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// One thread's bell. It counts what the thread waits for, so that it is woken once, when all of that is there.
#[derive(Default)]
pub(super) struct Bell {
    /// Things that are awaited and not there yet.
    awaited: AtomicU32,
    /// Who has last begun to sleep here.
    sleeper: Mutex<Option<Thread>>,
}

impl Bell {
    /// The thread waits for one thing more. Whoever brings it must see that it is awaited, by a lock that both hold.
    pub(super) fn await_one(&self) {
        self.awaited.fetch_add(1, Ordering::SeqCst);
    }

    /// One thing that was awaited is there.
    pub(super) fn brought(&self) {
        if self.awaited.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ring();
        }
    }

    /// Wakes the thread, whatever it waits for.
    pub(super) fn ring(&self) {
        // A thread that panicked here has left a whole value.
        if let Some(sleeper) = &*self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) {
            sleeper.unpark();
        }
    }

    /// Sleeps until all that is awaited is there, or [`ring`](Bell::ring) is called, at most `limit`; may wake early. `over`: whether
    /// there is nothing to wait for any more, whatever has been brought.
    pub(super) fn sleep(&self, limit: Duration, over: impl Fn() -> bool) {
        // Who rings after this finds the thread. What was brought before shows in the count.
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
