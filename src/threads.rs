//! Threads that cannot be started: a user may have only so many, and so may a container.

use std::thread::{Builder, Scope, ScopedJoinHandle};

/// The operating system starts no more threads. The text says why.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start a thread ({0}): raise the limit on processes and threads (ulimit -u, or pids of the container), or take fewer \
     of them (compute.threads = 1, fewer ranks on this host)"
)]
pub struct Starved(String);

impl From<std::io::Error> for Starved {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rayon::ThreadPoolBuildError> for Starved {
    fn from(error: rayon::ThreadPoolBuildError) -> Self {
        Self(error.to_string())
    }
}

/// Starts a thread with this `name` that may outlive its caller. The standard library's own way panics where no thread can be
/// started.
///
/// # Errors
/// [`Starved`].
pub fn spawn_free<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<std::thread::JoinHandle<R>, Starved> {
    Ok(Builder::new().name(name.to_owned()).spawn(work)?)
}

/// Starts a thread with this `name` in `scope`. The standard library's own way panics where no thread can be started.
///
/// # Errors
/// [`Starved`].
pub fn spawn<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> R + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, R>, Starved> {
    Ok(Builder::new().name(name.to_owned()).spawn_scoped(scope, work)?)
}
