//! With what a rank computes and seals: the backend that the job asks for, or the best that the rank's machine has, and
//! the sealer that reads that backend's messages where they are.

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

/// The backend on one of NVIDIA's GPUs.
#[cfg(feature = "cuda")]
pub(super) type GpuBackend = Cuda<Driver>;

/// A backend, together with the sealer for its messages.
pub(super) trait Platform: Backend<Bytes: Sync, Buf: Sync> + Send + Sync + Sized + 'static {
    /// Seals and opens messages in this backend's memory.
    type Sealer: Sealer<Bytes = Self::Bytes> + 'static;

    /// The word for this backend in a job's `compute.backend`.
    const NAME: &'static str;

    /// With how many threads of the processor it computes; 0 where a device computes.
    fn threads(&self) -> u16;

    /// A backend for the thread that mixes, on the same device. Its calls do not wait for arithmetic that runs on this
    /// one.
    ///
    /// # Errors
    /// [`ComputeError`].
    fn beside(self: &Arc<Self>) -> Result<Arc<Self>, ComputeError>;

    /// A sealer without keys, whose cells are bound to the associated data `data`. `library` seals and opens what the
    /// processor does. Under a pace blocks stay in the processor's memory: on a device, relaying would wait for the
    /// arithmetic of a role that is late.
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
impl Platform for GpuBackend {
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

/// What a rank must know of its surroundings to choose what it computes with.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// The rank's part of its host's cores.
    pub(super) cores: Cores,
    /// Which of its host's ranks it is, counted from 0. GPUs are dealt out by it.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "deals out GPUs"))]
    pub(super) rank_on_host: u16,
    /// What decides when slots begin.
    pub(super) pacing: Pacing,
}

impl Standing {
    /// The standing of the rank at this end of `transport`.
    pub(super) fn of(transport: &dyn Transport, pacing: Pacing) -> Self {
        let Membership { cores, rank_on_host, .. } = transport.membership();
        Self { cores, rank_on_host, pacing }
    }

    /// The standing of a process that runs alone on its host.
    pub(super) fn alone() -> Self {
        Self { cores: Cores::of_threads(1), rank_on_host: 0, pacing: Pacing::Lockstep }
    }
}

/// The backend that a rank has chosen.
pub(super) enum Chosen {
    /// The rank computes on its processor.
    Cpu(Arc<Cpu>),
    /// The rank computes on a GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<GpuBackend>),
}

impl Chosen {
    /// Whether the blocks of slots stand in the device's memory: a device computes, MPI takes its memory, something is
    /// sealed, and slots are in lockstep.
    pub(super) fn lanes_on_device(&self, transport: &mut dyn Transport, public: &Public) -> bool {
        let seals_there = public.profile != Profile::Bare && public.pacing == Pacing::Lockstep;
        !matches!(self, Chosen::Cpu(_)) && transport.lanes().takes_device_memory() && seals_there
    }
}

/// Chooses the backend that `asked` comes to on this machine. `auto` is a GPU where there is one and it opens, else the
/// processor. Also returns a line of text for the user, where the choice is worth one.
///
/// # Errors
/// [`RunError::Compute`]: what was asked for is not there.
pub(super) fn choose(asked: Compute, standing: Standing) -> Result<(Chosen, Option<String>), RunError> {
    let cpu = |note| -> Result<_, RunError> {
        let threads = cores::threads(asked.threads, standing.cores, standing.pacing != Pacing::Lockstep);
        Ok((Chosen::Cpu(Arc::new(Cpu::new(threads)?)), note))
    };
    match asked.backend {
        job::Backend::Cpu => cpu(None),
        job::Backend::Cuda => Ok(open_gpu(asked, standing)?),
        job::Backend::Auto => match (open_gpu(asked, standing), there_is_none()) {
            (Ok(gpu), _) => Ok(gpu),
            (Err(_), true) => cpu(None),
            (Err(error), false) => cpu(Some(format!("the processor computes, not the GPU: {error}"))),
        },
    }
}

/// Which library seals and opens cells on this rank's processor: the one that the job names, or the fastest here.
pub(super) fn library(public: &Public) -> Library {
    match public.compute.aead {
        AesGcm::Auto if public.profile == Profile::Bare => Library::AwsLc,
        AesGcm::Auto => Library::fastest(public.geometry.payload as usize),
        AesGcm::AwsLc => Library::AwsLc,
        AesGcm::Ring => Library::Ring,
        AesGcm::Rust => Library::Rust,
    }
}

/// Whether this machine plainly has no GPU, so that `auto` takes the processor without a word.
#[cfg(feature = "cuda")]
fn there_is_none() -> bool {
    matches!(found(), Err(ComputeError::NoDevice { .. }))
}

/// Checks that this machine has what `asked` says must be there. It is called before a run leaves any trace.
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

/// Opens the GPU of this rank. A host's GPUs are dealt out to its ranks in turn.
#[cfg(feature = "cuda")]
fn open_gpu(asked: Compute, standing: Standing) -> Result<(Chosen, Option<String>), ComputeError> {
    let (gpus, _) = found()?;
    let driver = Driver::open(usize::from(standing.rank_on_host) % gpus.len(), asked.precision)?;
    let About { ordinal, name, .. } = driver.about();
    let note = format!("computing on GPU {ordinal}, {name}");
    Ok((Chosen::Cuda(Arc::new(GpuBackend::new(driver))), Some(note)))
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
fn open_gpu(_: Compute, _: Standing) -> Result<(Chosen, Option<String>), ComputeError> {
    Err(no_feature())
}

#[cfg(not(feature = "cuda"))]
fn no_feature() -> ComputeError {
    ComputeError::NoDevice { missing: "this program is built without the feature cuda".to_owned() }
}
