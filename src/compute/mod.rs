//! Numbers: tensors and the arithmetic on them. All backends share the traits of this module: `cpu/` computes on the processor,
//! `cuda/` on a GPU.
//!
//! A [`Backend`] owns two kinds of memory: a [`Buf`](Memory::Buf) holds the f32 values of a tensor, a [`Bytes`](Memory::Bytes)
//! holds a message. Messages are sealed from and opened into `Bytes`. So a tensor stays in the backend's memory from the
//! opening of one message to the sealing of the next.
//!
//! The arithmetic is divided into families, with one file each here, in `cpu/` and in `cuda/`: [`Matrix`], [`Elementwise`],
//! [`Softmax`], [`Loss`], [`Images`], [`Norm`], [`Attention`], [`Lookup`], [`Optimize`].
//!
//! Calls may be asynchronous: each runs after all earlier calls of the same backend. [`Memory::finish`] waits for them and
//! returns the error of one that failed.
//!
//! Architecture invariant: this module knows numbers, not layers, messages or ranks. Every result has the same bits from run to
//! run and for any number of threads.

mod attention;
pub mod cpu;
pub mod cuda;
mod elementwise;
mod images;
mod lookup;
mod loss;
mod matrix;
mod memory;
mod norm;
mod optimize;
pub(crate) mod precise;
pub mod processor;
#[cfg(test)]
#[path = "../../tests/rounding/mod.rs"]
pub(crate) mod rounding;
mod softmax;

use thiserror::Error;

use crate::memory::OutOfMemory;
use crate::threads::Starved;

pub use attention::{Attention, Heads};
pub use elementwise::{Elementwise, Function, PhiloxStream};
pub use images::{Conv, ImageWindow, Images, Pool};
pub use lookup::Lookup;
pub use loss::{Loss, LossSum};
pub use matrix::{Gemm, Matrix};
pub use memory::Memory;
pub use norm::{Grid, Norm};
pub use optimize::{Adam, Optimize};
pub use softmax::Softmax;

/// What can go wrong in a backend.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// The memory that was asked for is not there, on the device or on the host.
    #[error("out of memory: {bytes} bytes asked for")]
    OutOfMemory {
        /// Size of the memory that was asked for, in bytes.
        bytes: usize,
    },
    /// The environment asks for vector instructions that this processor does not have.
    #[error("{variable} is {said:?}; this processor has {there}: set it to one of these, or unset it for the first")]
    Simd {
        /// Name of the environment variable that asks for them.
        variable: &'static str,
        /// The instruction set that the variable asks for.
        said: String,
        /// The instruction sets that this processor has, the best first, separated by commas.
        there: String,
    },
    /// The backend's worker threads could not be started.
    #[error(transparent)]
    Threads(#[from] Starved),
    /// There is no GPU that can be used, or something is missing that it needs.
    #[error("no GPU can be used: {missing}")]
    NoDevice {
        /// What is missing, in words for the user.
        missing: String,
    },
    /// The GPU's driver is installed but does not start, so that nobody can say whether there is a GPU.
    #[error("NVIDIA's driver does not start: {said}")]
    Driver {
        /// The driver's own message.
        said: String,
    },
    /// A kernel did not compile.
    #[error("the kernels of {file} do not compile for {architecture}: {log}")]
    Compile {
        /// Name of the file in `kernels/`.
        file: String,
        /// The GPU architecture that it was compiled for.
        architecture: String,
        /// What the compiler says of the kernel.
        log: String,
    },
    /// A call to the device failed, or the device is lost.
    #[error("{device}: {call}: {what}")]
    Device {
        /// Name of the device whose call failed.
        device: String,
        /// The call that failed, in words.
        call: String,
        /// What the device or its library says of the failure.
        what: String,
    },
}

impl From<OutOfMemory> for ComputeError {
    fn from(OutOfMemory { bytes }: OutOfMemory) -> Self {
        Self::OutOfMemory { bytes }
    }
}

/// A device that computes: its memory and all families of arithmetic on it.
///
/// All sizes count values, not bytes, unless a call says so. A buffer may be longer than a call's sizes; the call leaves the
/// rest alone.
///
/// # Panics
/// Every call panics if a buffer is shorter than the call's sizes say.
pub trait Backend:
    Memory + Matrix + Elementwise + Softmax + Images + Norm + Attention + Lookup + Loss + Optimize
{
    /// Runs `work` on the backend's threads, so that parallel loops in it find them, and returns its result.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// What, besides the program, the bits of a result depend on: the instruction set, the device. Two ranks whose fingerprints
    /// are equal compute the same bits.
    fn fingerprint(&self) -> String;
}
