//! Asks the scheduler for short slices: how long it lets a thread run at a time (sched_setattr(2)). With short slices a
//! thread that is woken gets its core soon, but no more of it in all.
//!
//! Linux takes such requests since version 6.12, from any process. Earlier versions and other systems ignore them.
#![allow(unsafe_code)]

/// A slice in nanoseconds: the shortest that Linux grants. Usual slices are some milliseconds long.
#[cfg(target_os = "linux")]
const SLICE: u64 = 100_000;

/// The kernel's `struct sched_attr`, in its first version. For ordinary threads `runtime` is the length of a slice.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for short slices for this thread and those that it starts later. Does so only where the thread is scheduled as most
/// are. Returns whether they are granted.
#[cfg(target_os = "linux")]
pub(super) fn shorten() -> bool {
    use nix::libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, syscall};
    let size = size_of::<Attributes>() as u32;
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes up to `size` bytes to `attributes`, which has as many. The thread 0 is this one.
    let found = unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
    if !found || attributes.policy != SCHED_OTHER as u32 {
        return false;
    }
    // All else, such as the thread's niceness, stays as it is.
    (attributes.size, attributes.runtime) = (size, SLICE);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which has as many.
    unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0) == 0 }
}

/// Does nothing: there is no such request on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn shorten() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread may always ask for short slices, and keeps its niceness.
    #[test]
    fn whoever_asks_stays_as_nice_as_it_was() {
        use nix::libc::{PRIO_PROCESS, getpriority, setpriority};
        std::thread::spawn(|| {
            // SAFETY: they take any numbers; 0 is this thread.
            let nice = unsafe {
                setpriority(PRIO_PROCESS, 0, 5);
                getpriority(PRIO_PROCESS, 0)
            };
            shorten();
            // SAFETY: as above.
            assert_eq!((nice, unsafe { getpriority(PRIO_PROCESS, 0) }), (5, 5));
        })
        .join()
        .unwrap();
    }
}
