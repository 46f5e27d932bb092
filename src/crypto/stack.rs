//! A stack apart, for work that leaves secrets wherever it has been.
//!
//! Generating, expanding and moving a key leaves copies in the frames of many functions, most of them in other crates.
//! The [`WipedStack`] has such work done on memory of its own. It wipes all of that before anything else runs there.

use corosensei::on_stack;
use corosensei::stack::DefaultStack;
use zeroize::zeroize_stack;

use crate::memory::OutOfMemory;

/// How many bytes the stack has. X-Wing and HPKE take under a third of it. Work that took more would meet the guard
/// page below.
const STACK: usize = 256 << 10;
/// How many bytes at the head of the stack are for what calls the work. They are not wiped, as they see references
/// alone.
const HEAD: usize = 4 << 10;

/// A stack that holds no secrets between two pieces of work.
pub struct WipedStack(DefaultStack);

impl WipedStack {
    /// Takes the memory of the stack.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        // The only errors are those of mapping memory.
        DefaultStack::new(STACK).map(Self).map_err(|_| OutOfMemory { bytes: STACK })
    }

    /// Does `work` on this stack, then wipes it. What the work takes and returns by value passes through the caller's
    /// stack. So secrets must stand behind references and boxes there.
    pub fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        on_stack(&mut self.0, || {
            // This wipes the stack where the work ends, even if it ends by a panic.
            let _wiped = Wipe;
            below(work)
        })
    }
}

/// Wipes the stack below its own frame when it is dropped.
struct Wipe;

impl Drop for Wipe {
    fn drop(&mut self) {
        zeroize_stack::<{ STACK - HEAD }>();
    }
}

/// Calls `work` in a frame below the caller's, so that the wipe reaches all frames of the work.
#[inline(never)]
fn below<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::hint::black_box;
    use std::os::unix::fs::FileExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use corosensei::stack::Stack;

    use super::*;

    /// What the calls that wipe leave on the stack themselves: the addresses to which they return.
    const CALLS: usize = 4 * size_of::<usize>();

    /// How many bytes of the stack from `lowest` on are not zero, leaving out its head.
    fn left(lowest: usize) -> usize {
        let mut bytes = vec![0; STACK - HEAD];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, lowest as u64).unwrap();
        bytes.iter().filter(|byte| **byte != 0).count()
    }

    #[inline(never)]
    fn fill<const N: usize>() {
        let mut bytes = [0xa5_u8; N];
        black_box(&mut bytes);
    }

    #[test]
    fn nothing_is_left_of_work_however_it_ends() {
        const WORK: usize = STACK - 3 * HEAD;
        let mut stack = WipedStack::new().unwrap();
        let lowest = stack.0.base().get() - STACK;
        // The control: before the work has ended, what it leaves is found.
        let during = stack.run(|| {
            fill::<WORK>();
            left(lowest)
        });
        assert!(during > WORK / 2, "{during} bytes");
        assert!(left(lowest) <= CALLS, "{} bytes", left(lowest));
        let panics = || {
            fill::<WORK>();
            panic!("on purpose")
        };
        let ended = catch_unwind(AssertUnwindSafe(|| stack.run(panics)));
        assert!(ended.is_err());
        assert!(left(lowest) <= CALLS, "{} bytes", left(lowest));
    }
}
