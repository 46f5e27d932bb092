//! Waiting on a word of shared memory (futex(2)). Systems without such a call sleep a little and look again.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` is `value`, at most `limit`; may wake early.
#[cfg(target_os = "linux")]
pub(super) fn wait(word: &AtomicU32, value: u32, limit: Duration) {
    use rustix::thread::futex::{Flags, Timespec, wait};
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    // However it ends, the caller looks again.
    let _ = wait(word, Flags::empty(), value, Some(&limit));
}

/// Wakes all who sleep on `word`.
#[cfg(target_os = "linux")]
pub(super) fn wake_all(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), i32::MAX as u32);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn wait(_: &AtomicU32, _: u32, limit: Duration) {
    std::thread::sleep(limit.min(Duration::from_micros(20)));
}

#[cfg(not(target_os = "linux"))]
pub(super) fn wake_all(_: &AtomicU32) {}
