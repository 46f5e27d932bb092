//! The samples that a job learns from: where they come from, and the one form in which the owner holds them.
//!
//! Only rank 0, the owner, opens a data set. A source is read into a [`Loaded`]: a training part and, where the source has one,
//! a test part. Each part is a [`Dataset`]: the samples as one matrix of bytes, which travel as they are to the first stage,
//! and their [`Targets`].
//!
//! | module | source |
//! |---|---|
//! | [`digits`] | 1,797 digits of 8x8 pixels, part of the binary: a job that needs no file |
//! | [`mnist`] | four IDX files in a folder: MNIST, or others under the same names (Fashion-MNIST) |
//! | [`cifar10`] | the six files of CIFAR-10's binary version in a folder |
//! | [`text`] | a file of text, whose bytes are tokens |
//! | [`tokens`] | a file of tokens |
//! | [`csv`] | a table |
//! | [`npy`] | an array of inputs and one of labels, each in a NumPy file |
//! | [`npz`] | the same in one archive of such files |
//! | [`safetensors`] | the same as tensors of one file |
//!
//! Samples without targets, for a trained model, are read by [`inputs`].
//!
//! Below them, [`idx`] reads the IDX format, and `gzip` reads whole files, plain or gzipped. `samples` makes samples out of
//! arrays, and `sequence` out of tokens. `columns` says which columns of a table are what. [`Dataset::known`] checks that an
//! embedding has a row for each token. [`Wanted`] says what kind of labels a loss wants.
//!
//! Beside them, [`fetch`] brings the files of MNIST into a folder and proves by digest that they are the originals; it also
//! brings those of CIFAR-10, from a folder or an archive. Nothing else here uses the network.
//!
//! [`Loaded::normalized`] and [`Loaded::augmentable`] apply what a job says of mean, deviation and augmentation. [`Batches`]
//! cuts an order of samples into micro-batches. [`Augment`] moves and mirrors images.
//!
//! **Invariant.** This module knows files and samples, but nothing of stages or ranks. The caller gives the permutations that
//! split a data set and order a pass, and the seeds of random draws. The module trusts no file: every length is checked against
//! the bytes that are there before memory is taken for it.

mod array;
mod augment;
mod batches;
pub mod cifar10;
mod columns;
pub mod csv;
mod dataset;
pub mod digits;
mod error;
pub mod fetch;
mod gzip;
mod holds;
pub mod idx;
pub mod inputs;
mod labels;
mod layout;
mod loaded;
pub mod mnist;
pub mod npy;
pub mod npz;
pub mod safetensors;
mod samples;
mod sequence;
mod targets;
pub mod text;
pub mod tokens;
mod vocabulary;

pub use array::{Array, Takes};
pub use augment::{Augment, Augmented};
pub use batches::Batches;
pub use columns::Choice;
pub use dataset::Dataset;
pub use error::DataError;
pub use holds::Holds;
pub use labels::Wanted;
pub use loaded::Loaded;
pub use samples::SampleForm;
pub use targets::{IGNORED, Targets};

/// Unpacks the bytes of a file as [`idx::read`] does, for the fuzz targets.
///
/// # Errors
/// [`DataError::TooLarge`] if there are more than `limit` bytes; [`DataError::CorruptGzip`].
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn unpacked(bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, DataError> {
    gzip::unpack(std::path::Path::new("fuzzed"), bytes, limit)
}
