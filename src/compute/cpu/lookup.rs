//! Lookup of table rows on the processor: in order and on one thread, since copying a row costs less than reading it from
//! memory.

use super::{Cpu, elementwise};
use crate::compute::Lookup;

/// The row that `x` names, if `x` is a whole number below `rows`. The cast rounds down and limits to the range of usize, and
/// makes 0 of NaN. So `x` was a whole number if the cast result, as an f32, equals `x`.
fn row(x: f32, rows: usize) -> Option<usize> {
    let row = x as usize;
    (row < rows && row as f32 == x).then_some(row)
}

impl Lookup for Cpu {
    fn look_up(&self, count: usize, rows: usize, n: usize, x: &Self::Buf, table: &Self::Buf, y: &mut Self::Buf) {
        let table = &table[..rows * n];
        for (x, y) in x[..count].iter().zip(y[..count * n].chunks_exact_mut(n)) {
            match row(*x, rows) {
                Some(row) => y.copy_from_slice(&table[row * n..][..n]),
                None => y.fill(f32::NAN),
            }
        }
    }

    fn add_up(
        &self,
        count: usize,
        rows: usize,
        n: usize,
        x: &Self::Buf,
        y: &Self::Buf,
        accumulate: bool,
        table: &mut Self::Buf,
    ) {
        let table = &mut table[..rows * n];
        if !accumulate {
            table.fill(0.0);
        }
        for (x, y) in x[..count].iter().zip(y[..count * n].chunks_exact(n)) {
            if let Some(row) = row(*x, rows) {
                elementwise::add(self.simd, y, &mut table[row * n..][..n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Memory;

    #[test]
    fn what_names_no_row_gives_no_number_and_adds_nothing() {
        const NONE: f32 = f32::NAN;
        let numbers = [0.0, -0.0, 2.0, 1.9, 3.0, 1e30, f32::INFINITY, -1.0, f32::NEG_INFINITY, f32::NAN];
        let due = [0.0, 0.0, 2.0, NONE, NONE, NONE, NONE, NONE, NONE, NONE];
        let backend = Cpu::new(1).unwrap();
        let buffer = |values: &[f32]| {
            let mut buffer = backend.zeros(values.len()).unwrap();
            backend.upload(values, &mut buffer);
            buffer
        };
        let (x, mut table) = (buffer(&numbers), buffer(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]));
        let mut y = buffer(&[7.0; 20]);
        backend.look_up(10, 3, 2, &x, &table, &mut y);
        for (y, due) in y.iter().zip(due.iter().flat_map(|row| [*row, row + 0.5])) {
            assert!(*y == due || (y.is_nan() && due.is_nan()), "{y} for {due}");
        }
        let ones = buffer(&[1.0; 20]);
        backend.add_up(10, 3, 2, &x, &ones, true, &mut table);
        assert_eq!(table.to_vec(), [2.0, 2.5, 1.0, 1.5, 3.0, 3.5]);
        backend.add_up(10, 3, 2, &x, &ones, false, &mut table);
        assert_eq!(table.to_vec(), [2.0, 2.0, 0.0, 0.0, 1.0, 1.0]);
    }
}
