//! Signals that ask a run to stop: SIGUSR1 and SIGTERM, and SIGINT where one process is all of the run.
//!
//! Launchers deliver them once, twice, or not at all, and to ranks that know nothing of the job. So a signal sets a flag, from the first
//! moment on, and only the owner looks at it. Commands that are no run end by a signal, as any process does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// What has come so far.
static CAME: LazyLock<Came> = LazyLock::new(Came::default);

#[derive(Default)]
struct Came {
    /// The number of the signal that came last; 0: none.
    last: Arc<AtomicUsize>,
    /// Whether this process is to end by signals, as it is no rank of a run.
    ends: Arc<AtomicBool>,
    /// Whether SIGINT ends this process at once.
    interrupts: Arc<AtomicBool>,
    /// When SIGINT was first seen to have come.
    interrupted: OnceLock<Instant>,
}

/// How long after a first Ctrl-C a second one ends the run at once. Before that it may be the same one, delivered twice.
const AGAIN: Duration = Duration::from_secs(1);

/// Has SIGUSR1 and SIGTERM set a flag. The first thing that a process does.
pub(super) fn hold() {
    for signal in [SIGUSR1, SIGTERM] {
        // What cannot be registered ends the process, as it would without this.
        let _ = flag::register_conditional_default(signal, Arc::clone(&CAME.ends))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&CAME.last), signal as usize));
    }
}

/// Says that this process is no rank of a run: signals end it, one that has come already, too.
pub(super) fn release() {
    CAME.ends.store(true, Ordering::SeqCst);
    if let Ok(signal @ 1..) = i32::try_from(CAME.last.load(Ordering::SeqCst)) {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}

/// Has SIGINT ask the run to stop as well. A second one, a second later or more, ends it at once.
pub(super) fn take_interrupts() {
    let _ = flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&CAME.interrupts))
        .and_then(|_| flag::register_usize(SIGINT, Arc::clone(&CAME.last), SIGINT as usize));
}

/// The number of the signal `name`, of those that this module knows.
pub(super) fn number(name: &str) -> i32 {
    match name {
        "SIGUSR1" => SIGUSR1,
        "SIGTERM" => SIGTERM,
        _ => SIGINT,
    }
}

/// The name of the signal that has come, if one has.
pub(super) fn came() -> Option<&'static str> {
    let name = match i32::try_from(CAME.last.load(Ordering::Relaxed)) {
        Ok(SIGUSR1) => "SIGUSR1",
        Ok(SIGTERM) => "SIGTERM",
        Ok(SIGINT) => "SIGINT",
        _ => return None,
    };
    if name == "SIGINT" && CAME.interrupted.get_or_init(Instant::now).elapsed() >= AGAIN {
        CAME.interrupts.store(true, Ordering::Relaxed);
    }
    Some(name)
}
