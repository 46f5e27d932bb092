//! How to wait for a peer that may need this very core: poll, yield, sleep.

use std::time::{Duration, Instant};

/// Yields before the first sleep: a few milliseconds. A sleep takes the kernel far longer than it is asked for.
const YIELDS: u32 = 2000;
/// How long a sleep lasts, as far as the kernel's timers are that fine.
const SLEEP: Duration = Duration::from_micros(20);

/// One wait. With a core for every rank it spins; else it yields, then sleeps.
pub struct Backoff {
    spins: bool,
    rounds: u32,
    last: Instant,
    deadline: Option<Instant>,
}

impl Backoff {
    /// A wait that ends after `timeout`.
    pub fn new(spins: bool, timeout: Duration) -> Self {
        let now = Instant::now();
        Self { spins, rounds: 0, last: now, deadline: now.checked_add(timeout) }
    }

    /// Waits a little: for how long, or `None` where the time is over.
    pub fn pause(&mut self) -> Option<Duration> {
        self.rounds = self.rounds.saturating_add(1);
        let before = Instant::now();
        if self.spins {
            std::hint::spin_loop();
        } else if self.rounds <= YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(SLEEP);
        }
        self.last = Instant::now();
        match self.deadline {
            Some(deadline) if self.last > deadline => None,
            _ => Some(self.last - before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_after_its_time_and_not_before() {
        for spins in [false, true] {
            let started = Instant::now();
            let mut backoff = Backoff::new(spins, Duration::from_millis(30));
            while backoff.pause().is_some() {}
            let waited = started.elapsed();
            assert!(waited >= Duration::from_millis(30) && waited < Duration::from_secs(5), "{waited:?}");
        }
    }
}
