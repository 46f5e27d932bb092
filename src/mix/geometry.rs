//! All lengths of a job, from a few public numbers (docs/PROTOCOL.md, 3).

use serde::{Deserialize, Serialize};

use super::MixError;
use super::topology::Topology;
use crate::crypto::aead::TAG;
use crate::ids::Phase;

/// How many bytes a beat has before it is sealed.
pub const BEAT_RECORD: usize = 16;
/// How many bytes a sealed beat has. It stands at the head of each first-phase block.
pub const BEAT: usize = BEAT_RECORD + TAG;

/// The lengths of a job's messages, cells and blocks. They are public: every rank and every observer knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// How many ranks the job has: N.
    pub ranks: u16,
    /// How many hops each circuit has. A slot has as many phases.
    pub hops: u8,
    /// How many cells a block has: c.
    pub cells: u32,
    /// How many bytes of a message are in one cell: P, a multiple of 16.
    pub payload: u32,
}

impl Geometry {
    /// The lengths for messages of at least `message` bytes, in cells of at most `largest_cell` bytes
    /// (docs/PROTOCOL.md, 3.2 to 3.5).
    ///
    /// # Errors
    /// [`MixError::CellTooSmall`] if a cell would have no room for a payload.
    pub fn new(ranks: u16, hops: u8, message: u32, largest_cell: u32) -> Result<Self, MixError> {
        let tags = TAG as u32 * u32::from(hops);
        let circuits = Topology::all(ranks).circuits() as u64;
        // 3.3: what a cell may hold beside the tags of all its layers, down to a multiple of 16.
        let room = largest_cell.saturating_sub(tags) / 16 * 16;
        if room == 0 || circuits == 0 {
            return Err(MixError::CellTooSmall { found: largest_cell, least: tags + 16 });
        }
        // 3.2: L is the longest message, rounded up.
        let message = u64::from(rounded_up(u64::from(message)) as u32);
        // 3.4: c = ceil(L / (k room)), at least 1. 3.5: P = ceil(L / (k c)), up to a multiple of 16.
        let cells = message.div_ceil(circuits * u64::from(room)).max(1);
        let payload = message.div_ceil(circuits * cells).next_multiple_of(16);
        Ok(Self { ranks, hops, cells: cells as u32, payload: payload as u32 })
    }

    /// Which ranks exchange blocks.
    pub fn topology(&self) -> Topology {
        Topology::all(self.ranks)
    }

    /// How many circuits carry a rank's forward message, and as many its backward message: k.
    pub fn circuits(&self) -> usize {
        self.topology().circuits()
    }

    /// How many lanes leave a rank. As many arrive.
    pub fn lanes(&self) -> usize {
        self.topology().lanes()
    }

    /// How many bytes a message has in memory: k c P, the payloads of all its cells (docs/PROTOCOL.md, 3.6).
    pub fn message(&self) -> usize {
        self.circuits() * self.cells as usize * self.payload as usize
    }

    /// How many bytes a cell has in `phase`: its payload, and a tag for each layer that is still on (docs/PROTOCOL.md,
    /// 3.7).
    pub fn cell(&self, phase: Phase) -> usize {
        self.payload as usize + TAG * (usize::from(self.hops) + 1 - phase.index())
    }

    /// How many bytes a block has in `phase`: c cells, and in the first phase a beat before them (docs/PROTOCOL.md,
    /// 3.8).
    pub fn block(&self, phase: Phase) -> usize {
        self.cells_at(phase) + self.cells as usize * self.cell(phase)
    }

    /// Where the cells of a block begin in `phase`, in bytes.
    pub fn cells_at(&self, phase: Phase) -> usize {
        if phase.0 == 1 { BEAT } else { 0 }
    }

    /// How many bytes a rank sends in a slot.
    pub fn slot_bytes(&self) -> u64 {
        let block: usize = Phase::all(self.hops).map(|phase| self.block(phase)).sum();
        (self.lanes() * block) as u64
    }
}

/// `length`, rounded up to five significant binary digits, so that it tells little of what it holds (docs/PROTOCOL.md,
/// 3.1). The result is at most 6.25 % longer.
pub fn rounded_up(length: u64) -> u64 {
    let digits = u64::BITS - length.leading_zeros();
    length.checked_next_multiple_of(1 << digits.saturating_sub(5)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_protocol() {
        // The example of docs/PROTOCOL.md, 3: mnist-mlp with micro-batches of 16, so 64 + 16 * 256 * 4 bytes.
        let g = Geometry::new(7, 3, 16_448, 1 << 16).unwrap();
        assert_eq!((g.cells, g.payload, g.circuits()), (1, 5808, 3));
        let blocks: Vec<usize> = Phase::all(3).map(|phase| g.block(phase)).collect();
        assert_eq!(blocks, [5888, 5840, 5824]);
        assert_eq!(g.slot_bytes(), 6 * (5888 + 5840 + 5824));
    }

    #[test]
    fn rounds_up_by_at_most_a_sixteenth() {
        assert_eq!(rounded_up(16_448), 17_408);
        for length in (0..5000).chain([65_600, 1 << 40, (1 << 40) + 1]) {
            let up = rounded_up(length);
            assert!(up >= length && up as f64 <= length as f64 * 1.0625, "{length} {up}");
            assert!(up == 0 || up >> up.trailing_zeros() < 32, "{up} has more than five digits");
        }
    }

    #[test]
    fn cells_stay_below_their_largest_and_hold_the_message() {
        for ranks in 6..=16 {
            for hops in 3..=4 {
                for message in [64, 1000, 16_448, 65_600, 1_000_000, 9_000_001] {
                    for largest in [128, 1024, 65_536] {
                        let g = Geometry::new(ranks, hops, message, largest).unwrap();
                        assert!(g.cell(Phase(1)) <= largest as usize && g.payload.is_multiple_of(16));
                        assert!(g.message() >= message as usize, "{g:?}");
                    }
                }
            }
        }
        assert!(matches!(Geometry::new(7, 3, 100, 63), Err(MixError::CellTooSmall { found: 63, least: 64 })));
    }
}
