//! Sealing and opening: cells, packages, results; and signing. Knows no ranks and no network.
//!
//! [`aead`] is AES-256-GCM, one key, and its keystream alone; [`sealer`] applies both to all cells of a slot at once; [`key`] derives
//! hop keys, told apart by their [`labels`];
//! [`hpke`] seals packages to a rank and results to the owner, on a [`stack`] that is wiped; [`identity`] signs what owner and
//! ranks announce.
//!
//! Secrets are wiped when they are dropped, and have neither `Debug` nor `Clone`.

pub mod aead;
pub mod hpke;
pub mod identity;
pub mod key;
pub mod labels;
#[cfg(feature = "hostile")]
pub mod overheard;
pub mod sealer;
pub mod stack;

use thiserror::Error;

/// Authentication failed. Why is not said: whoever could tell one cause from another could be asked.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("authentication failed")]
pub struct Unauthentic;
