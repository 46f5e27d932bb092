//! `mixnn bench crypto`: what a cell costs, by its length, library, and how many layers it has. All ranks measure at once, as they
//! seal at once in a slot.

use super::ceilings::Ceiling;
use super::cells::{CellWork, CryptoCase};
use super::crew::Duty;
use super::reading::{OverRanks, Reading};
use super::rounds::Spread;
use super::table::{Column, Entry, Sheet};
use super::{BenchError, BenchRun};
use crate::crypto::aead::Library;

/// The lengths of the cells that are tried, in bytes, unless the user names others.
pub const CELLS: [u32; 4] = [1024, 5808, 16_384, 65_536];
/// The longest cell that may be asked for, in bytes.
pub const LONGEST: u32 = 1 << 26;

/// The columns of the table.
pub(super) const COLUMNS: [Column; 10] = [
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
