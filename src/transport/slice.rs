//! How long the scheduler is to let a thread run at a time (sched_setattr(2)). Where slices are short, a thread that is woken gets its core
//! soon, and no more of it in all. Linux takes requests since version 6.12, from anybody; earlier ones and other systems ignore them.
#![allow(unsafe_code)]

/// Nanoseconds: the shortest that Linux grants. The usual slices are some milliseconds.
#[cfg(target_os = "linux")]
const SLICE: u64 = 100_000;

/// The kernel's `struct sched_attr`, in its first version.
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

/// Asks for short slices for this thread and those that it starts, where it is scheduled as most are. Whether they are granted.
#[cfg(target_os = "linux")]
pub(super) fn shorten() -> bool {
    use nix::libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, syscall};
    let size = size_of::<Attributes>() as u32;
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes up to `size` bytes, as many as there are; 0 is this thread.
    let found = unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
    if !found || attributes.policy != SCHED_OTHER as u32 {
        return false;
    }
    // All else, such as the thread's niceness, stays as it is.
    (attributes.size, attributes.runtime) = (size, SLICE);
    // SAFETY: the kernel reads `size` bytes.
    unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0) == 0 }
}

/// There is nobody to ask.
#[cfg(not(target_os = "linux"))]
pub(super) fn shorten() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread may always ask, and keeps its niceness.
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
