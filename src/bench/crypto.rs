//! `mixnn bench crypto`: what a cell costs, by its length, library, and how many layers it has. All ranks measure at once, as they
//! seal at once in a slot.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use super::ceilings::{Ceiling, seconds};
use super::crew::{Duty, OverRanks, Reading};
use super::rounds::Spread;
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::crypto::aead::{Library, TAG};
use crate::crypto::key::Key;

/// The lengths of the cells that are tried, in bytes, unless the user names others.
pub const CELLS: [u32; 4] = [1024, 5808, 16_384, 65_536];
/// The longest cell that may be asked for, in bytes.
pub const LONGEST: u32 = 1 << 26;

/// How many layers an onion has.
const LAYERS: usize = 3;

/// What is done with a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CellWork {
    /// One layer is laid: what a stage of `sealed` does.
    Seal,
    /// One layer is taken off: what a relay does in a phase.
    Open,
    /// Three layers are laid, one over the other: what a source does.
    Onion,
}

impl CellWork {
    const ALL: [Self; 3] = [Self::Seal, Self::Open, Self::Onion];

    /// The name of the part in the table.
    fn name(self) -> &'static str {
        match self {
            CellWork::Seal => "seal",
            CellWork::Open => "open",
            CellWork::Onion => "onion of 3",
        }
    }

    /// How many layers it lays or takes off.
    fn layers(self) -> usize {
        if self == CellWork::Onion { LAYERS } else { 1 }
    }
}

/// A row of the table: what is measured on each rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CryptoCase {
    cell: u32,
    library: Library,
    part: CellWork,
}

/// The columns of the table.
const COLUMNS: [Column; 10] = [
    Column::of("cell_bytes", "cell", "B", 9),
    Column::of("library", "library", "", 8),
    Column::of("part", "part", "", 10),
    Column::measured("avg_us", "avg", "us", 3),
    Column::measured("min_us", "min", "us", 3),
    Column::measured("max_us", "max", "us", 3),
    Column::measured("low_us", "low", "us", 3),
    Column::measured("high_us", "high", "us", 3),
    Column::measured("gb_per_s", "GB/s", "", 2),
    Column::measured("of_aes_percent", "of AES", "%", 0),
];

/// Measures cells of the lengths `cells`, on `ranks` ranks or all that there are, and prints a row for each library and part.
///
/// # Errors
/// [`BenchError`].
pub fn run(bench: &mut BenchRun<'_>, cells: &[u32], ranks: Option<u16>) -> Result<(), BenchError> {
    let ranks = bench.ranks(ranks, 1)?;
    let settings = [
        ("avg min max", "over the ranks, medians of the rounds".to_owned()),
        ("low high", "the least and largest average of a round".to_owned()),
        ("of AES", "layers laid or taken off a second, of the fastest library's on one core".to_owned()),
    ];
    let machine = bench.crew.machine(ranks)?;
    let table = Sheet::begin(bench.format, "crypto", &machine, &settings, &COLUMNS)?;
    for cell in cells {
        let cases: Vec<Option<CryptoCase>> = Library::ALL
            .into_iter()
            .flat_map(|library| CellWork::ALL.map(|part| Some(CryptoCase { cell: *cell, library, part })))
            // What the machine can do is measured in turns with the rest.
            .chain([None])
            .collect();
        let crew = &mut bench.crew;
        let mut measured = bench.rounds.in_turns(&cases, |case| match case {
            Some(case) => crew.measure(ranks, Duty::Crypto(*case), &[]),
            None => Ok(vec![Reading::of(Ceiling::Aes.measured()?)]),
        })?;
        let aes = measured.pop().and_then(|rates| Spread::of(rates.iter().map(|rate| rate[0].total)));
        for (case, readings) in cases.iter().flatten().zip(&measured) {
            let Some(time) = OverRanks::of(readings, |reading| reading.total) else { continue };
            let bytes = f64::from(case.cell) * case.part.layers() as f64 / time.avg.median;
            let [avg, min, max, low, high] = time.in_micros();
            table.row(&[
                u64::from(case.cell).into(),
                case.library.name().into(),
                case.part.name().into(),
                avg,
                min,
                max,
                low,
                high,
                (bytes * 1e-9).into(),
                Entry::from(aes.map(|aes| 100.0 * bytes / aes.high)),
            ])?;
        }
        if bench.rounds.is_over() {
            break;
        }
    }
    Ok(())
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
