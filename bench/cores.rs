//! How far apart two cores are: what a cache line takes from one to the other and back, nanoseconds, the median of 5
//! tries. On virtual machines it depends on where the host has put them, and changes while a bench runs.
#![allow(missing_docs)]

mod say;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use say::say;

const TRIES: usize = 5;
const TRIPS: u64 = 200_000;

#[repr(align(128))]
struct Line(AtomicU64);

fn main() {
    let mut found: Vec<u128> = (0..TRIES).map(|_| round_trip()).collect();
    found.sort_unstable();
    say(found[TRIES / 2].to_string());
}

fn round_trip() -> u128 {
    let line = Line(AtomicU64::new(0));
    // Values only grow; the one thread writes odd ones, the other the even ones after them.
    let pass = |wait: u64, write: u64| {
        while line.0.load(Ordering::Acquire) != wait {}
        line.0.store(write, Ordering::Release);
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..TRIPS).for_each(|trip| pass(2 * trip + 1, 2 * trip + 2)));
        (0..TRIPS).for_each(|trip| pass(2 * trip, 2 * trip + 1));
    });
    started.elapsed().as_nanos() / u128::from(TRIPS)
}
