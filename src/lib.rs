//! Trains neural networks on MPI ranks that do not trust each other.
//!
//! This is the journey of one activation. The modules come in the order in which it passes them:
//!
//! 1. [`job`] says what is trained, and [`data`] holds the samples. Both are on the owner, rank 0, alone.
//! 2. [`pipeline`] says which micro-batch leaves the owner in which slot. [`role`] puts it into a message behind a
//!    header of [`wire`].
//! 3. [`mix`] cuts the message into cells, [`crypto`] seals each cell under one layer a hop, and [`transport`] carries
//!    them from rank to rank. Every rank, whatever it hosts, takes one layer off the cells of others and passes them on.
//! 4. At the rank of the first stage the cells are opened into the message. Its tensor goes through the layers of
//!    [`nn`], whose arithmetic is [`compute`]'s. The result leaves for the next stage in the same way.
//! 5. What comes out of the last stage returns to the owner. The owner computes the loss and sends its gradient back
//!    through the stages.
//! 6. [`run`] puts these together to a whole run, from the first key to the finished model. [`mod@model`] says how long that takes. [`check`], [`report`] and
//!    [`cli`] are what a user sees of it. [`audit`] shows what others may see of it, [`mod@bench`] what it
//!    costs, and [`doctor`] what a host has to run it on.
//!
//! [`ids`], [`random`], [`float`], [`element`], [`memory`], [`secret_bytes`], [`device_memory`], [`terminal`],
//! [`threads`] and [`whole`] are leaves: all other modules may use them.
//!
//! # Example
//!
//! This trains the digits on seven ranks, each a thread of this process. Then one process trains them without messages, and comes to
//! the same weights, bit for bit.
//!
//! ```
//! use std::path::Path;
//!
//! use mixnn::job::Job;
//! use mixnn::run::prepare::Prepared;
//! use mixnn::run::{RunError, local, single};
//!
//! # fn main() -> Result<(), RunError> {
//! let job = Job::load(Path::new("jobs/digits.toml"), &["train.epochs=2".to_owned()])?;
//! let prepared = Prepared::of(job)?;
//! // The watcher `()` ignores what it is told of the run.
//! let (ranks, _) = local::run(&prepared, 7, "this host", &mut ())?;
//! assert_eq!(ranks.epochs.len(), 2);
//!
//! let (alone, _) = single::run(&prepared, &mut ())?;
//! assert_eq!(ranks.weights_sha256, alone.weights_sha256);
//! # Ok(())
//! # }
//! ```

pub mod audit;
pub mod bench;
pub mod check;
pub mod cli;
pub mod compute;
pub mod crypto;
pub mod data;
pub mod device_memory;
pub mod doctor;
pub mod element;
pub mod float;
pub mod ids;
pub mod job;
pub mod memory;
pub mod mix;
pub mod model;
pub mod nn;
pub mod pipeline;
pub mod random;
pub mod report;
pub mod role;
pub mod run;
pub(crate) mod secret_bytes;
pub mod slice;
pub mod terminal;
pub mod threads;
pub mod transport;
pub(crate) mod whole;
pub mod wire;
