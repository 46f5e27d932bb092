//! Memory that may not be there.
//!
//! Whatever has a size that follows from a job, a file or a message is asked for with [`room`] and its like. These can
//! fail, and the caller reports that like any other error. Libraries also ask for memory that they cannot do without:
//! the matrix product for what it copies, serde and HPKE for what they write. Where that fails, Rust aborts the
//! process. With the program's [`Allocator`] the process ends with words and an exit code instead.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The operating system gave no memory for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {bytes} bytes asked for")]
pub struct OutOfMemory {
    /// How many bytes were asked for.
    pub bytes: usize,
}

/// An empty vector with room for `len` values.
///
/// # Errors
/// [`OutOfMemory`].
pub(crate) fn room<T>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    fallibly(|| values.try_reserve_exact(len))
        .map_err(|_| OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })?;
    Ok(values)
}

/// A vector of `len` zeros.
///
/// # Errors
/// [`OutOfMemory`].
pub(crate) fn zeroed<T: Copy + Default>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut values = room(len)?;
    values.resize(len, T::default());
    Ok(values)
}

/// A copy of `values`.
///
/// # Errors
/// [`OutOfMemory`].
pub(crate) fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut copy = room(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// How many bytes of memory the system can give, as far as it tells: of the machine, or of this process's container where that has less.
pub(crate) fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = in_kilobytes(&read("/proc/meminfo")?, "MemAvailable:")?;
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let container =
        || Some(number("/sys/fs/cgroup/memory.max")?.saturating_sub(number("/sys/fs/cgroup/memory.current")?));
    Some(container().map_or(machine, |container| machine.min(container)))
}

/// The number behind `key`, which is in units of 1024 bytes, in bytes. `text` is a table such as `/proc/meminfo`.
fn in_kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

thread_local! {
    /// Whether this thread is asking for memory that it can do without.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Does what asks for memory and can do without it, such as `try_reserve`. Inside `ask` a lack of memory does not end
/// the process.
pub(crate) fn fallibly<R>(ask: impl FnOnce() -> R) -> R {
    let before = MAY_FAIL.replace(true);
    let answer = ask();
    MAY_FAIL.set(before);
    answer
}

/// The number of this process's rank, and what ends the run that the process is part of.
static RUN: OnceLock<(u16, fn(i32))> = OnceLock::new();

/// From now on, where there is no memory for what cannot do without, `end` is called with an exit code, to end the run in
/// which this process is `rank`. Memory that it asks for is not there. The process ends when it returns.
#[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "a process is a run"))]
pub(crate) fn when_exhausted(rank: u16, end: fn(i32)) {
    // The first call counts: a process is one rank of one run.
    let _ = RUN.set((rank, end));
}

/// The system's allocator. Where it has no memory for someone who cannot do without, the process ends.
pub struct Allocator;

// SAFETY: every call goes to the system's allocator with the arguments that it came with, and its answer goes back. So
// this allocator keeps all promises that the system's does.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what `System.alloc` asks for: a layout that is not empty.
        answered(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what `System.alloc_zeroed` asks for: a layout that is not empty.
        answered(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises what `System.realloc` asks for: `at` came from this allocator, so from the
        // system's, with this layout, and `size` is not 0. Where new memory is returned, nobody uses the old any more.
        answered(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller promises what `System.dealloc` asks for: `at` came from this allocator, so from the
        // system's, with this layout, and nobody uses it from now on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Passes the system's answer `at` on. Where there is no memory for `bytes` bytes that someone cannot do without, the
/// process ends.
fn answered(at: *mut u8, bytes: usize) -> *mut u8 {
    // At a thread's very end its `MAY_FAIL` is gone. Then nobody knows whether it can do without, and null is
    // returned.
    if at.is_null() && !MAY_FAIL.try_with(Cell::get).unwrap_or(true) {
        exhausted(bytes);
    }
    at
}

/// The exit code where the surroundings are wrong.
const SURROUNDINGS: i32 = 3;
/// How long another thread that finds no memory gives the first one to end the process.
const ENDING: Duration = Duration::from_secs(5);

/// Says how much was asked for, and ends the process. It asks for no memory itself.
#[cold]
fn exhausted(bytes: usize) -> ! {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    let run = RUN.get();
    if BEGUN.swap(true, Ordering::Relaxed) {
        std::thread::sleep(ENDING);
    } else {
        let mut line = [0; 160];
        let mut rest = line.as_mut_slice();
        let _ = match run {
            Some((rank, _)) => writeln!(rest, "mixnn: rank {rank}: error: {}", OutOfMemory { bytes }),
            None => writeln!(rest, "mixnn: error: {}", OutOfMemory { bytes }),
        };
        let unused = rest.len();
        let said = &line[..line.len() - unused];
        // SAFETY: `said` is a slice of this function's own, so that as many bytes may be read there as it has. Rust's
        // own stderr is not used, as it could be locked by a thread that waits for this one.
        unsafe { nix::libc::write(nix::libc::STDERR_FILENO, said.as_ptr().cast(), said.len()) };
        if let Some((_, end)) = run {
            end(SURROUNDINGS);
        }
    }
    // SAFETY: `_exit` has no conditions. It runs nothing more of this process (POSIX, _exit) that would ask for memory
    // again.
    unsafe { nix::libc::_exit(SURROUNDINGS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_told() {
        const MUCH: usize = 1 << 60;
        assert_eq!(room::<f32>(MUCH / 4).unwrap_err(), OutOfMemory { bytes: MUCH });
        assert_eq!(zeroed::<u64>(usize::MAX).unwrap_err(), OutOfMemory { bytes: usize::MAX });
        assert_eq!(OutOfMemory { bytes: 7 }.to_string(), "out of memory: 7 bytes asked for");
        assert_eq!(zeroed::<u8>(3).unwrap(), [0; 3]);
        assert_eq!(copied(&[1.5, 2.5]).unwrap(), [1.5, 2.5]);
        assert!(!MAY_FAIL.get());
    }

    #[test]
    fn the_system_says_how_much_it_has() {
        let table = "MemTotal:       24583016 kB\nMemAvailable:   1000 kB\nSwapFree: x kB\n";
        assert_eq!(in_kilobytes(table, "MemAvailable:"), Some(1_024_000));
        assert_eq!([in_kilobytes(table, "SwapFree:"), in_kilobytes(table, "Other:")], [None; 2]);
        assert!(available().is_none_or(|bytes| bytes > 1 << 20));
    }
}
