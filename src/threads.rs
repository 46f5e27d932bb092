//! Threads that cannot be started: a user may have only so many, and a container too.

use std::thread::{Builder, Scope, ScopedJoinHandle};

/// No thread more can be had.
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

/// Starts a thread of this `name` in `scope`. The standard library's own way panics where there is none to be had.
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
