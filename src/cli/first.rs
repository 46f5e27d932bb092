//! The program as the first process of a container.

use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// The signals that end any other process, but for those that a run stops on.
const ENDING: [Signal; 2] = [Signal::SIGHUP, Signal::SIGQUIT];
/// The signals that a run stops on, and that end other commands.
const STOPPING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Has these signals end this process where it is the first of its container; those that a run stops on only where it is none
/// (`runs`). It then exits with 128 and the number of the signal, as any other process would. The kernel spares a first process from
/// signals that it does not wait for: `docker stop` would take ten seconds, and kill it then.
pub(super) fn heed_signals(runs: bool) {
    if std::process::id() == 1 {
        let stopping = STOPPING.iter().filter(|_| !runs);
        // Where the signals cannot be waited for, all is as it would be without this.
        let _ = wait_for(SigSet::from_iter(ENDING.iter().chain(stopping).copied()));
    }
}

/// Ends the process when one of `signals` comes. All threads that start from now on leave these signals to the thread
/// that waits for them.
fn wait_for(signals: SigSet) -> std::io::Result<()> {
    signals.thread_block()?;
    let waiting = move || {
        if let Ok(signal) = signals.wait() {
            std::process::exit(128 + signal as i32);
        }
    };
    let started = thread::Builder::new().name("signals".to_owned()).spawn(waiting);
    if started.is_err() {
        signals.thread_unblock()?;
    }
    started.map(drop)
}
