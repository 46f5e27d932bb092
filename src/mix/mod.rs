//! How a message goes from one rank to another so that no one can tell from whom to whom.
//!
//! [`topology`] says which ranks exchange blocks, and [`geometry`] how long everything is. [`plan`] draws who hosts
//! what, and over which relays each circuit runs. [`package`] is one rank's part of that plan. [`onion`] turns it into
//! the jobs of a slot, and [`slot`] runs them: seal, exchange, peel, exchange, peel, exchange, open. [`clock`] says
//! when phases begin, and [`beat`] what ranks tell each other beside their messages. [`direct`] is what the profiles
//! `bare` and `sealed` do instead. [`courier`] is what all three profiles look like from outside.
//!
//! Architecture invariant: this module moves messages of one length, and knows nothing of what they mean.

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

/// The number of the forward message, in [`Post`](courier::Post), in packages and in a sealer's jobs.
pub const FORWARD: usize = 0;
/// The number of the backward message, in [`Post`](courier::Post), in packages and in a sealer's jobs.
pub const BACKWARD: usize = 1;
/// The number of the message that spare circuits carry, which is always empty. There are spare circuits if the number
/// of ranks is even.
pub const SPARE: usize = 2;

/// Why a slot, or a plan, has failed.
#[derive(Debug, Error)]
pub enum MixError {
    /// No payload fits into a cell of the length that the job allows.
    #[error("cells of at most {found} bytes hold nothing; the least is {least} (mix.cell)")]
    CellTooSmall {
        /// How many bytes a cell may have.
        found: u32,
        /// How many bytes it must be allowed to have.
        least: u32,
    },
    /// The search has found no circuits.
    #[error(
        "no circuits of {hops} hops among {ranks} ranks with {stages} stages; {}",
        match works.as_slice() {
            [] => "take fewer hops".to_owned(),
            works => format!("these rank counts work: {}", works.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    )]
    NoPlan {
        /// How many ranks the job has.
        ranks: u16,
        /// How many stages it has on ranks.
        stages: u16,
        /// How many hops its circuits have.
        hops: u8,
        /// The numbers of ranks, up to 16, for which circuits were found.
        works: Vec<u16>,
    },
    /// A cell or beat is not what an honest rank has sent.
    #[error("{slot}, {phase}: a block from {from} failed authentication")]
    Unauthentic {
        /// The slot in which the block came.
        slot: Slot,
        /// The phase in which the block came.
        phase: Phase,
        /// The rank from which the block came. It need not be the one to blame.
        from: Rank,
    },
    /// A beat is authentic, but says what no beat says.
    #[error("{slot}: the beat from {from} is not understood")]
    Beat {
        /// The slot in which the beat came.
        slot: Slot,
        /// The rank from which the beat came.
        from: Rank,
    },
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// The device that seals has failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The blocks did not travel.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
