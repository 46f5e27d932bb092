//! Sleeps on a word of shared memory, and wakes those who do (futex(2)). Other systems than Linux have no such call:
//! there a thread sleeps for some microseconds, and the caller looks again.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps for as long as `word` is `value`, at most for `limit`. It may wake up early, so the caller has to look again.
#[cfg(target_os = "linux")]
pub(super) fn wait(word: &AtomicU32, value: u32, limit: Duration) {
    use rustix::thread::futex::{Flags, Timespec, wait};
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    // The result does not matter: however the call ends, the caller looks again.
    let _ = wait(word, Flags::empty(), value, Some(&limit));
}

/// Wakes all threads, of whatever process, that sleep on `word`.
#[cfg(target_os = "linux")]
pub(super) fn wake_all(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), i32::MAX as u32);
}

/// Sleeps for at most 20 microseconds, since nobody can end the sleep.
#[cfg(not(target_os = "linux"))]
pub(super) fn wait(_: &AtomicU32, _: u32, limit: Duration) {
    std::thread::sleep(limit.min(Duration::from_micros(20)));
}

/// Does nothing: sleepers wake up by themselves.
#[cfg(not(target_os = "linux"))]
pub(super) fn wake_all(_: &AtomicU32) {}
