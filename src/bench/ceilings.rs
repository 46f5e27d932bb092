//! What this machine can do at best, with one core and nothing else to do: what all rows are held against.

use std::hint::black_box;

use super::products::{MatrixProduct, ProductKind};
use super::rounds::seconds;
use crate::compute::cpu::Cpu;
use crate::crypto::aead::{Library, TAG};
use crate::crypto::key::Key;
use crate::run::RunError;

/// How many bytes the cells are that are sealed: the longest that there are.
const CELL: usize = 1 << 16;
/// How many bytes are copied, over and over: more than a core's own caches hold.
const COPIED: usize = 1 << 24;
/// The rows and columns of the matrices that are multiplied.
const SQUARE: usize = 1024;

/// What one core can do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ceiling {
    /// Copying memory, in bytes a second.
    Copy,
    /// Sealing with AES-256-GCM by the fastest library, in bytes a second.
    Aes,
    /// Multiplying matrices, in additions and multiplications a second.
    Gemm,
}

impl Ceiling {
    /// Measures it once, on the core that calls.
    ///
    /// # Errors
    /// [`RunError::Compute`].
    pub(super) fn measured(self) -> Result<f64, RunError> {
        Ok(match self {
            Ceiling::Copy => {
                let (from, mut to) = (vec![1_u8; COPIED], vec![0_u8; COPIED]);
                COPIED as f64 / seconds(|| black_box(&mut to).copy_from_slice(black_box(&from)))
            }
            Ceiling::Aes => {
                let (plain, mut sealed) = (vec![0; CELL], vec![0; CELL + TAG]);
                let rates = Library::ALL.map(|library| {
                    let key = library.key(&Key::from_bytes([0; 32]));
                    CELL as f64 / seconds(|| key.seal(&[0; 12], &[], black_box(&plain), &mut sealed))
                });
                rates.into_iter().fold(0.0, f64::max)
            }
            Ceiling::Gemm => {
                let square = MatrixProduct { m: SQUARE, n: SQUARE, k: SQUARE, kind: ProductKind::Forward };
                square.operations() / square.seconds(&Cpu::new(1)?)?
            }
        })
    }
}
