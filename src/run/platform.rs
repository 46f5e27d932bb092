//! Who computes: the backend that a job asks for, or the best that a rank's machine has, with the sealer that reads its messages
//! where they are.

use std::sync::Arc;

use super::RunError;
use super::opening::Pacing;
use super::seat::share_of_cores;
use crate::compute::cpu::Cpu;
use crate::compute::{Backend, ComputeError};
use crate::crypto::aead;
use crate::crypto::sealer::{CpuSealer, Sealer};
use crate::job::{self, Compute};
use crate::transport::Transport;

/// A backend, and what seals its messages.
pub(super) trait Platform:
    Backend<Bytes: Sync + AsRef<[u8]> + AsMut<[u8]>, Buf: Sync> + Send + Sync + Sized + 'static
{
    /// What seals and opens.
    type Sealer: Sealer<Bytes = Self::Bytes> + 'static;

    /// What a job calls it.
    const NAME: &'static str;

    /// A sealer without keys, whose cells are bound to `data`.
    ///
    /// # Errors
    /// [`ComputeError`].
    fn sealer(&self, data: Vec<u8>) -> Result<Self::Sealer, ComputeError>;
}

impl Platform for Cpu {
    type Sealer = CpuSealer<aead::Default, Self::Bytes>;

    const NAME: &'static str = "cpu";

    fn sealer(&self, data: Vec<u8>) -> Result<Self::Sealer, ComputeError> {
        Ok(CpuSealer::new(data))
    }
}

/// Where a rank stands.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// Ranks on its host.
    pub(super) ranks_on_host: u16,
    /// Which of them it is, from 0 on.
    pub(super) rank_on_host: u16,
    /// When slots begin.
    pub(super) pacing: Pacing,
}

impl Standing {
    /// That of `transport`'s rank.
    pub(super) fn of<T: Transport>(transport: &T, pacing: Pacing) -> Self {
        Self { ranks_on_host: transport.ranks_on_host(), rank_on_host: transport.rank_on_host(), pacing }
    }

    /// Alone in its process and on its host.
    pub(super) fn alone() -> Self {
        Self { ranks_on_host: 1, rank_on_host: 0, pacing: Pacing::Lockstep }
    }
}

/// What a rank computes with.
pub(super) enum Chosen {
    /// The processor.
    Cpu(Arc<Cpu>),
}

/// What `asked` comes to on this machine.
///
/// # Errors
/// [`RunError::Compute`], [`RunError::Threads`]: there is no such thing here.
pub(super) fn choose(asked: Compute, standing: Standing) -> Result<Chosen, RunError> {
    let Standing { ranks_on_host, pacing, .. } = standing;
    match asked.backend {
        job::Backend::Auto | job::Backend::Cpu => {
            Ok(Chosen::Cpu(Arc::new(Cpu::new(share_of_cores(asked.threads, ranks_on_host, pacing))?)))
        }
        job::Backend::Cuda => {
            let missing = "not yet".to_owned();
            Err(ComputeError::NoDevice { missing }.into())
        }
    }
}
