//! Sealing and opening cells, packages and results; and signing. This module knows no ranks and no network.
//!
//! [`aead`] is AES-256-GCM under one key, [`keystream`] its keystream alone. [`sealer`] applies both to all cells of a slot at
//! once. [`key`] derives keys, which are told apart by their [`labels`]. [`hpke`] seals packages to a rank and results
//! to the owner, on a [`stack`] that is wiped. [`identity`] signs what owner and ranks announce.
//!
//! Secrets are wiped when they are dropped, and have neither `Debug` nor `Clone`.

pub mod aead;
pub mod hpke;
pub mod identity;
pub mod key;
pub mod keystream;
pub mod labels;
#[cfg(feature = "hostile")]
pub mod overheard;
pub mod sealer;
pub mod stack;

use thiserror::Error;

/// Authentication has failed. The error does not say why: someone who could tell one cause from another could use it to
/// find out secrets.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("authentication failed")]
pub struct Unauthentic;
