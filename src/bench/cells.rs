//! What ranks do for `mixnn bench crypto`: they seal and open a cell, over and over.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use super::rounds::seconds;
use crate::crypto::aead::{Library, TAG};
use crate::crypto::key::Key;

/// How many layers an onion has.
const LAYERS: usize = 3;

/// What is done with a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CellWork {
    /// One layer is laid: what a stage of `sealed` does.
    Seal,
    /// One layer is taken off: what a relay does in a phase.
    Open,
    /// Three layers are laid, one over the other: what a source does.
    Onion,
}

impl CellWork {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 3] = [Self::Seal, Self::Open, Self::Onion];

    /// The name of the part in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            CellWork::Seal => "seal",
            CellWork::Open => "open",
            CellWork::Onion => "onion of 3",
        }
    }

    /// How many layers it lays or takes off.
    pub(super) fn layers(self) -> usize {
        if self == CellWork::Onion { LAYERS } else { 1 }
    }
}

/// A row of the table: what is measured on each rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CryptoCase {
    /// How many bytes the cell has.
    pub cell: u32,
    /// The library that seals it.
    pub library: Library,
    /// What is done with it.
    pub part: CellWork,
}

impl CryptoCase {
    /// How many seconds it takes on this rank.
    pub(super) fn seconds(self) -> f64 {
        let key = self.library.key(&Key::from_bytes([0; 32]));
        let length = self.cell as usize;
        // Nothing here is secret, so that one nonce does for all.
        let (nonce, plain) = ([0; 12], vec![0_u8; length]);
        let mut sealed = vec![0_u8; length + LAYERS * TAG];
        match self.part {
            CellWork::Seal => seconds(|| key.seal(&nonce, &[], black_box(&plain), &mut sealed[..length + TAG])),
            CellWork::Open => {
                key.seal(&nonce, &[], &plain, &mut sealed[..length + TAG]);
                let mut opened = vec![0_u8; length];
                seconds(|| {
                    let authentic = key.open(&nonce, &[], black_box(&sealed[..length + TAG]), &mut opened);
                    assert!(authentic.is_ok(), "it was sealed a moment ago");
                })
            }
            CellWork::Onion => seconds(|| {
                key.seal(&nonce, &[], black_box(&plain), &mut sealed[..length + TAG]);
                for layer in 2..=LAYERS {
                    key.seal_in_place(&nonce, &[], &mut sealed[..length + layer * TAG]);
                }
            }),
        }
    }
}
