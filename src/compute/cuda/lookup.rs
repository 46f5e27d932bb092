//! Table lookups on the device, by launches of `kernels/lookup.cu`.
//!
//! [`Lookup::add_up`] must add the values of a row in order. So it first sorts the numbers by row, with a radix sort that keeps
//! the order of equals.

use super::softmax::blocks;
use super::{Arg, Cuda, Device, THREADS};
use crate::compute::Lookup;

/// Number of values of a digit in the radix sort. It is also the number of threads of a block that sorts.
const DIGITS: usize = 256;
/// Number of bits of a digit.
const BITS: u32 = 8;
/// Number of numbers that a block sorts.
const TILE: usize = 4096;
/// Most blocks side by side along the values of a row.
const SIDE: usize = 65_535;

/// Number of threads of a block of [`THREADS`] that share a row of `n` values: no more than have something to do.
fn team(n: usize) -> u32 {
    n.next_power_of_two().min(THREADS as usize) as u32
}

impl<D: Device> Lookup for Cuda<D> {
    fn look_up(&self, count: usize, rows: usize, n: usize, x: &Self::Buf, table: &Self::Buf, y: &mut Self::Buf) {
        // A thread copies four values at a time where rows are a multiple of four.
        let team = team(if n.is_multiple_of(4) { n / 4 } else { n });
        let tensors = [x.arg(count), table.arg(rows * n), y.arg(count * n), Arg::U64(count as u64)];
        let sizes = [rows as u32, n as u32, team].map(Arg::U32);
        let args: Vec<_> = tensors.into_iter().chain(sizes).collect();
        self.grid([blocks(count, (team, THREADS), self.bounds.blocks), 1, 1], THREADS, "look_up_f32", &args);
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
        let most = u32::MAX as usize;
        assert!(count <= most && rows < most, "{count} numbers of {rows} rows");
        let (tiles, team) = (count.div_ceil(TILE), team(n));
        // Sizes in bytes: the sorted order of the numbers, which is kept twice; where each row's numbers begin and end in it;
        // the counts of digits.
        let (order, bounds, counts) = (4 * count, 8 * rows, 4 * DIGITS * tiles);
        self.with_scratch((2 * order + bounds + counts) / 4, |scratch| {
            let at = |bytes| Arg::Memory(&scratch.memory, bytes);
            let sizes = || [count, rows].map(|size| Arg::U32(size as u32));
            // A number that names no row is sorted as if it were row number `rows`, behind all others.
            let bits = usize::BITS - rows.leading_zeros();
            // Each pass sorts by the next digit, from the lowest, from one of the two orders to the other.
            let passes = bits.div_ceil(BITS);
            for pass in 0..passes {
                let (from, to) = (pass % 2, (pass + 1) % 2);
                let sorted = || if pass == 0 { Arg::Null } else { at(from as usize * order) };
                let digit = || [Arg::U32(pass * BITS), Arg::U32(TILE as u32)];
                let counted = || at(2 * order + bounds);
                let args = [x.arg(count), sorted(), counted()].into_iter().chain(sizes()).chain(digit());
                let grid = [tiles as u32, 1, 1];
                self.grid(grid, DIGITS as u32, "count_digits_u32", &args.collect::<Vec<_>>());
                let tensors = [x.arg(count), sorted(), counted(), at(to as usize * order)];
                let args = tensors.into_iter().chain(sizes()).chain(digit());
                self.grid(grid, DIGITS as u32, "place_digits_u32", &args.collect::<Vec<_>>());
            }
            let sorted = || at((passes % 2) as usize * order);
            let bounded = || at(2 * order);
            // Then the begin and end of each row's numbers are found, and a team of threads adds up each row.
            self.device.clear(&scratch.memory, 2 * order, 2 * order + bounds);
            if count > 0 {
                let args = [x.arg(count), sorted(), bounded()].into_iter().chain(sizes());
                self.over(count, "bound_rows_u32", &args.collect::<Vec<_>>());
            }
            let tensors = [y.arg(count * n), sorted(), bounded(), table.arg(rows * n)];
            let sizes = [rows as u32, n as u32, accumulate.into(), team].map(Arg::U32);
            let args: Vec<_> = tensors.into_iter().chain(sizes).collect();
            let grid =
                [blocks(rows, (team, THREADS), self.bounds.blocks), n.div_ceil(team as usize).min(SIDE) as u32, 1];
            self.grid(grid, THREADS, "add_up_f32", &args);
        });
    }
}
