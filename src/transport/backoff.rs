//! How to wait for a peer that may need this very core: poll, yield, sleep.

use std::time::{Duration, Instant};

/// Yields before the first sleep: a few milliseconds. A sleep takes the kernel far longer than it is asked for.
const YIELDS: u32 = 2000;
/// Yields before a sleep that someone ends: many keep the cores from those who have work, none lets a core fall idle that
/// is wanted again at once (7 ranks on 2 cores, a third slower).
const YIELDS_IF_WOKEN: u32 = 20;
/// How long a sleep lasts, as far as the kernel's timers are that fine.
const SLEEP: Duration = Duration::from_micros(20);
/// How long a sleep lasts that someone ends, at most.
const LONG: Duration = Duration::from_secs(1);

/// One wait. With a core for every rank it spins; else it yields, then sleeps.
pub struct Backoff {
    spins: bool,
    /// Yields so far.
    rounds: u32,
    deadline: Option<Instant>,
}

impl Backoff {
    /// A wait that ends after `timeout`.
    pub fn new(spins: bool, timeout: Duration) -> Self {
        Self { spins, rounds: 0, deadline: Instant::now().checked_add(timeout) }
    }

    /// Waits a little, for what no one wakes it up for: for how long, or `None` where the time is over.
    pub fn pause(&mut self) -> Option<Duration> {
        self.wait(YIELDS, |_| std::thread::sleep(SLEEP))
    }

    /// As [`pause`](Backoff::pause), where `sleep` ends as soon as what is waited for is there, or after the time that it
    /// is told.
    pub fn pause_until_woken(&mut self, sleep: impl FnOnce(Duration)) -> Option<Duration> {
        self.wait(YIELDS_IF_WOKEN, sleep)
    }

    fn wait(&mut self, yields: u32, sleep: impl FnOnce(Duration)) -> Option<Duration> {
        let before = Instant::now();
        if self.spins {
            std::hint::spin_loop();
        } else if self.rounds < yields {
            self.rounds += 1;
            std::thread::yield_now();
        } else {
            sleep(self.deadline.map_or(LONG, |deadline| deadline.saturating_duration_since(before)).min(LONG));
        }
        let after = Instant::now();
        match self.deadline {
            Some(deadline) if after > deadline => None,
            _ => Some(after - before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_after_its_time_and_not_before() {
        let woken: fn(&mut Backoff) -> Option<Duration> = |backoff| backoff.pause_until_woken(std::thread::sleep);
        for (spins, pause) in [(false, Backoff::pause as fn(&mut _) -> _), (true, Backoff::pause), (false, woken)] {
            let started = Instant::now();
            let mut backoff = Backoff::new(spins, Duration::from_millis(30));
            while pause(&mut backoff).is_some() {}
            let waited = started.elapsed();
            assert!(waited >= Duration::from_millis(30) && waited < Duration::from_secs(5), "{waited:?}");
        }
    }
}
