//! AES-256-GCM: how fast each library seals and opens cells on one core.

use super::Finding;
use crate::crypto::aead::{Library, timed};

/// The lengths of the cells that are tried, in bytes.
const CELLS: [usize; 4] = [1024, 5808, 16_384, 65_536];

/// The lines on AES-256-GCM, one for each library.
pub(super) fn examined() -> Vec<Finding> {
    let times = CELLS.map(|cell| timed(Library::ALL, cell));
    let line = |(place, library): (usize, Library)| {
        let speeds: Vec<String> = CELLS
            .iter()
            .zip(&times)
            // The time is for sealing a cell and opening it, so that its bytes count twice.
            .map(|(cell, times)| format!("{:.1}", 2e-9 * *cell as f64 / times[place].as_secs_f64()))
            .collect();
        let speeds = speeds.join(", ");
        Finding::there(
            "AES-256-GCM",
            format!("{}: {speeds} GB/s a core, cells of 1, 5.7, 16, 64 KiB", library.name()),
        )
    };
    Library::ALL.into_iter().enumerate().map(line).collect()
}
