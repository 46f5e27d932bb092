//! Numbers: tensors and the arithmetic on them, on the processor here, on other devices behind the same traits.
//!
//! A [`Backend`] owns two kinds of memory: a [`Buf`](Memory::Buf) holds a tensor's f32 values, [`Bytes`](Memory::Bytes)
//! a message. Messages are sealed from and opened into `Bytes`, so a tensor stays where it is from the opening of one
//! message to the sealing of the next.
//!
//! The arithmetic stands in families, one file each here, in `cpu/`, and for other devices: [`Matrix`], [`Elementwise`],
//! [`Softmax`], [`Loss`], [`Images`], [`Norm`], [`Attention`], [`Lookup`], [`Optimize`].
//!
//! Calls may be asynchronous: each runs after all earlier calls of the same backend, and [`Memory::finish`] waits for them and
//! says what went wrong in one.
//!
//! Architecture invariant: knows numbers, not layers, messages or ranks. Every result is the same bits from run to run
//! and for any number of threads.

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
pub use elementwise::{Elementwise, Function, Place};
pub use images::{Conv, Images, Pool, Window};
pub use lookup::Lookup;
pub use loss::{Loss, LossSum};
pub use matrix::{Gemm, Matrix};
pub use memory::Memory;
pub use norm::{Grid, Norm};
pub use optimize::{Adam, Optimize};
pub use softmax::Softmax;

/// What can go wrong with numbers.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// The device has no memory left.
    #[error("out of memory: {bytes} bytes asked for")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The environment asks for vector instructions that the processor lacks.
    #[error("{variable} is {said:?}; this processor has {there}: set it to one of these, or unset it for the first")]
    Simd {
        /// The environment variable that asks.
        variable: &'static str,
        /// The instruction set that it asks for.
        said: String,
        /// The instruction sets that the processor has, the best first.
        there: String,
    },
    /// Threads cannot be started.
    #[error(transparent)]
    Threads(#[from] Starved),
    /// There is no such device, or something that it needs.
    #[error("no GPU can be used: {missing}")]
    NoDevice {
        /// What.
        missing: String,
    },
    /// The devices' driver is there, and does not start: there may be a GPU.
    #[error("NVIDIA's driver does not start: {said}")]
    Driver {
        /// What it says.
        said: String,
    },
    /// A kernel that does not compile.
    #[error("the kernels of {file} do not compile for {architecture}: {log}")]
    Compile {
        /// The file of `kernels/`.
        file: String,
        /// The GPU's.
        architecture: String,
        /// What the compiler says.
        log: String,
    },
    /// The device is lost, or refuses a call.
    #[error("{device}: {call}: {what}")]
    Device {
        /// Which.
        device: String,
        /// What it was to do.
        call: String,
        /// What it says.
        what: String,
    },
}

impl From<OutOfMemory> for ComputeError {
    fn from(OutOfMemory { bytes }: OutOfMemory) -> Self {
        Self::OutOfMemory { bytes }
    }
}

/// Tensors and the arithmetic on them.
///
/// Sizes are in values. A buffer may be longer than what a call uses of it; the rest is left alone.
///
/// # Panics
/// Every call panics where a buffer is shorter than its sizes say.
pub trait Backend:
    Memory + Matrix + Elementwise + Softmax + Images + Norm + Attention + Lookup + Loss + Optimize
{
    /// Runs `work` where the backend's threads are at hand.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// What the bits of a result depend on, besides the program: instruction set, device.
    fn fingerprint(&self) -> String;
}
