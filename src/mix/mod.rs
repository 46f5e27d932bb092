//! How a message goes from one rank to another so that no one can tell from whom to whom.
//!
//! [`topology`] says who exchanges blocks with whom, [`geometry`] how long everything is; [`plan`] draws who is what and over which relays each circuit runs;
//! [`package`] is one rank's part of the plan; [`onion`] turns it into the jobs of a slot; [`slot`] runs them:
//! seal, exchange, peel, exchange, peel, exchange, open. [`direct`] is what the profiles `bare` and `sealed` do instead.
//! [`courier`] is what all three look like from outside. [`clock`] says when phases begin.
//!
//! Architecture invariant: moves messages of one length, and knows nothing of what they mean.

pub mod beat;
pub mod clock;
pub mod courier;
pub mod direct;
pub mod geometry;
pub mod onion;
pub mod package;
pub mod plan;
pub mod slot;
pub mod topology;

use thiserror::Error;

use crate::crypto::sealer::DeviceError;
use crate::ids::{Phase, Rank, Slot};
use crate::transport::TransportError;

/// The three messages that a rank has at hand in a slot, by their number in a sealer's jobs.
pub const FORWARD: usize = 0;
/// The number of the backward message.
pub const BACKWARD: usize = 1;
/// The number of what spare circuits carry (even N): nothing.
pub const SPARE: usize = 2;

/// Why a slot, or a plan, failed.
#[derive(Debug, Error)]
pub enum MixError {
    /// No payload fits.
    #[error("cells of at most {found} bytes hold nothing; the least is {least} (mix.cell)")]
    CellTooSmall {
        /// Bytes that a cell may have.
        found: u32,
        /// Bytes that it must be allowed to have.
        least: u32,
    },
    /// No circuits were found.
    #[error(
        "no circuits of {hops} hops among {ranks} ranks with {stages} stages; {}",
        match works.as_slice() {
            [] => "take fewer hops".to_owned(),
            works => format!("these rank counts work: {}", works.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    )]
    NoPlan {
        /// Ranks.
        ranks: u16,
        /// Stages.
        stages: u16,
        /// Hops.
        hops: u8,
        /// Rank counts for which circuits were found.
        works: Vec<u16>,
    },
    /// A cell or beat is not what an honest rank sent.
    #[error("{slot}, {phase}: a block from {from} failed authentication")]
    Unauthentic {
        /// When.
        slot: Slot,
        /// In which phase.
        phase: Phase,
        /// From which rank the block came; not who is to blame.
        from: Rank,
    },
    /// A beat says what no beat says.
    #[error("{slot}: the beat from {from} is not understood")]
    Beat {
        /// When.
        slot: Slot,
        /// Whose.
        from: Rank,
    },
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// The device that seals has failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Blocks did not travel.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
