//! Asks the scheduler for short or long slices: how long it lets a thread run at a time (sched_setattr(2)). Where threads share a core, one
//! with short slices goes before one with long ones as soon as it is woken. Neither gets more of the core in all.
//!
//! Linux takes such requests since version 6.12, from any process. Earlier versions and other systems ignore them.
#![allow(unsafe_code)]

/// The shortest slice that Linux grants, in nanoseconds. Usual slices are some milliseconds long.
#[cfg(target_os = "linux")]
const SHORTEST: u64 = 100_000;
/// The longest slice that Linux grants, in nanoseconds.
#[cfg(target_os = "linux")]
const LONGEST: u64 = 100_000_000;

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

/// Asks for short slices for this thread and those that it starts later, as for one that moves messages. Does so only where the thread is
/// scheduled as most are. Returns whether they are granted.
pub fn shorten() -> bool {
    #[cfg(target_os = "linux")]
    return ask(SHORTEST);
    #[cfg(not(target_os = "linux"))]
    false
}

/// Asks for long slices, as [`shorten`] does for short ones: for a thread that computes, so that those that move messages go before it.
pub fn lengthen() -> bool {
    #[cfg(target_os = "linux")]
    return ask(LONGEST);
    #[cfg(not(target_os = "linux"))]
    false
}

/// Asks for slices of `nanoseconds` for this thread.
#[cfg(target_os = "linux")]
fn ask(nanoseconds: u64) -> bool {
    use nix::libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, syscall};
    let size = size_of::<Attributes>() as u32;
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes up to `size` bytes to `attributes`, which has as many. The thread 0 is this one.
    let found = unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
    if !found || attributes.policy != SCHED_OTHER as u32 {
        return false;
    }
    // All else, such as the thread's niceness, stays as it is.
    (attributes.size, attributes.runtime) = (size, nanoseconds);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which has as many.
    unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread may always ask for slices, and keeps its niceness.
    #[test]
    fn whoever_asks_stays_as_nice_as_it_was() {
        use nix::libc::{PRIO_PROCESS, getpriority, setpriority};
        std::thread::spawn(|| {
            // SAFETY: they take any numbers; 0 is this thread.
            let nice = unsafe {
                setpriority(PRIO_PROCESS, 0, 5);
                getpriority(PRIO_PROCESS, 0)
            };
            assert_eq!(shorten(), lengthen());
            // SAFETY: as above.
            assert_eq!((nice, unsafe { getpriority(PRIO_PROCESS, 0) }), (5, 5));
        })
        .join()
        .unwrap();
    }
}
