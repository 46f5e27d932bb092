//! Who computes: the backend that a job asks for, or the best that a rank's machine has, with the sealer that reads its messages
//! where they are.

use std::sync::Arc;

use super::letters::opening::{Pacing, Public};
use super::{RunError, cores};
use crate::compute::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::compute::cuda::{
    Cuda, CudaSealer, Device,
    driver::{About, Driver, compile, found, products_version},
};
use crate::compute::{Backend, ComputeError};
use crate::crypto::aead::Library;
use crate::crypto::sealer::{CpuSealer, Sealer};
use crate::job::{self, AesGcm, Compute, Profile};
use crate::transport::{Cores, Membership, Transport};

/// NVIDIA's GPUs.
#[cfg(feature = "cuda")]
pub(super) type Gpu = Cuda<Driver>;

/// A backend, and what seals its messages.
pub(super) trait Platform: Backend<Bytes: Sync, Buf: Sync> + Send + Sync + Sized + 'static {
    /// What seals and opens.
    type Sealer: Sealer<Bytes = Self::Bytes> + 'static;

    /// What a job calls it.
    const NAME: &'static str;

    /// Threads of the processor with which it computes; none where a device does.
    fn threads(&self) -> u16;

    /// The same for the thread that mixes, whose calls wait for none of the arithmetic's.
    ///
    /// # Errors
    /// [`ComputeError`].
    fn beside(self: &Arc<Self>) -> Result<Arc<Self>, ComputeError>;

    /// A sealer without keys, whose cells are bound to `data`. What the processor seals and opens, `library` does. Under a fixed
    /// pace relaying has a core of its own; it would wait for a device's arithmetic.
    ///
    /// # Errors
    /// [`ComputeError`].
    fn sealer(&self, library: Library, data: Vec<u8>, pacing: Pacing) -> Result<Self::Sealer, ComputeError>;
}

impl Platform for Cpu {
    type Sealer = CpuSealer<Self::Bytes>;

    const NAME: &'static str = "cpu";

    fn threads(&self) -> u16 {
        self.threads() as u16
    }

    fn beside(self: &Arc<Self>) -> Result<Arc<Self>, ComputeError> {
        Ok(Arc::clone(self))
    }

    fn sealer(&self, library: Library, data: Vec<u8>, _: Pacing) -> Result<Self::Sealer, ComputeError> {
        Ok(CpuSealer::new(library, data))
    }
}

#[cfg(feature = "cuda")]
impl Platform for Gpu {
    type Sealer = CudaSealer<Driver>;

    const NAME: &'static str = "cuda";

    fn threads(&self) -> u16 {
        0
    }

    fn beside(self: &Arc<Self>) -> Result<Arc<Self>, ComputeError> {
        Ok(Arc::new(Self::new(self.device().beside()?)))
    }

    fn sealer(&self, library: Library, data: Vec<u8>, pacing: Pacing) -> Result<Self::Sealer, ComputeError> {
        let sealer = CudaSealer::new(&**self.device(), library, data)?;
        Ok(if pacing == Pacing::Lockstep { sealer } else { sealer.without_lanes() })
    }
}

/// Where a rank stands.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// What it has of its host's cores.
    pub(super) cores: Cores,
    /// Which of its host's ranks it is, from 0 on.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "deals out GPUs"))]
    pub(super) rank_on_host: u16,
    /// When slots begin.
    pub(super) pacing: Pacing,
}

impl Standing {
    /// That of `transport`'s rank.
    pub(super) fn of(transport: &dyn Transport, pacing: Pacing) -> Self {
        let Membership { cores, rank_on_host, .. } = transport.membership();
        Self { cores, rank_on_host, pacing }
    }

    /// Alone in its process and on its host.
    pub(super) fn alone() -> Self {
        Self { cores: Cores::of_threads(1), rank_on_host: 0, pacing: Pacing::Lockstep }
    }
}

/// What a rank computes with.
pub(super) enum Chosen {
    /// The processor.
    Cpu(Arc<Cpu>),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<Gpu>),
}

impl Chosen {
    /// Whether what is sent in slots stands on a device.
    pub(super) fn lanes_on_device(&self, transport: &mut dyn Transport, public: &Public) -> bool {
        let seals_there = public.profile != Profile::Bare && public.pacing == Pacing::Lockstep;
        !matches!(self, Chosen::Cpu(_)) && transport.lanes().takes_device_memory() && seals_there
    }
}

/// What `asked` comes to on this machine: for `auto` a GPU, where there is one and it opens. And a line on what that is, where it
/// is not what goes without saying.
///
/// # Errors
/// [`RunError::Compute`]: there is no such thing here.
pub(super) fn choose(asked: Compute, standing: Standing) -> Result<(Chosen, Option<String>), RunError> {
    let cpu = |note| -> Result<_, RunError> {
        let threads = cores::threads(asked.threads, standing.cores, standing.pacing != Pacing::Lockstep);
        Ok((Chosen::Cpu(Arc::new(Cpu::new(threads)?)), note))
    };
    match asked.backend {
        job::Backend::Cpu => cpu(None),
        job::Backend::Cuda => Ok(gpu(asked, standing)?),
        job::Backend::Auto => match (gpu(asked, standing), there_is_none()) {
            (Ok(gpu), _) => Ok(gpu),
            (Err(_), true) => cpu(None),
            (Err(error), false) => cpu(Some(format!("the processor computes, not the GPU: {error}"))),
        },
    }
}

/// Whose AES-256-GCM this rank's processor seals cells with: that of the job, or the fastest here.
pub(super) fn library(public: &Public) -> Library {
    match public.compute.aead {
        AesGcm::Auto if public.profile == Profile::Bare => Library::AwsLc,
        AesGcm::Auto => Library::fastest(public.geometry.payload as usize),
        AesGcm::AwsLc => Library::AwsLc,
        AesGcm::Ring => Library::Ring,
        AesGcm::Rust => Library::Rust,
    }
}

/// Whether it goes without saying that no GPU computes.
#[cfg(feature = "cuda")]
fn there_is_none() -> bool {
    matches!(found(), Err(ComputeError::NoDevice { .. }))
}

/// Whether there is on this machine what `asked` says must be: before a run leaves a trace.
///
/// # Errors
/// [`RunError::Compute`].
pub fn is_here(asked: Compute) -> Result<(), RunError> {
    Cpu::is_here()?;
    match asked.backend {
        job::Backend::Cuda => Ok(gpu_is_here()?),
        job::Backend::Auto | job::Backend::Cpu => Ok(()),
    }
}

#[cfg(feature = "cuda")]
fn gpu_is_here() -> Result<(), ComputeError> {
    found()?;
    compile::version()?;
    products_version().map(|_| ())
}

/// The GPU of this rank: those of a host are dealt out to its ranks in turn.
#[cfg(feature = "cuda")]
fn gpu(asked: Compute, standing: Standing) -> Result<(Chosen, Option<String>), ComputeError> {
    let (gpus, _) = found()?;
    let driver = Driver::open(usize::from(standing.rank_on_host) % gpus.len(), asked.precision)?;
    let About { ordinal, name, .. } = driver.about();
    let note = format!("computing on GPU {ordinal}, {name}");
    Ok((Chosen::Cuda(Arc::new(Gpu::new(driver))), Some(note)))
}

#[cfg(not(feature = "cuda"))]
fn there_is_none() -> bool {
    true
}

#[cfg(not(feature = "cuda"))]
fn gpu_is_here() -> Result<(), ComputeError> {
    Err(no_feature())
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: Compute, _: Standing) -> Result<(Chosen, Option<String>), ComputeError> {
    Err(no_feature())
}

#[cfg(not(feature = "cuda"))]
fn no_feature() -> ComputeError {
    ComputeError::NoDevice { missing: "this program is built without the feature cuda".to_owned() }
}
