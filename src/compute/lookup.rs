//! Tables whose rows are looked up by number.

use super::Memory;

/// Calls on a table (rows, n). A number is an f32; the whole numbers below `rows` name one. Another number is none that the data
/// may hold: what it looks up is not a number, which no result hides.
pub trait Lookup: Memory {
    /// `y[i] = table[x[i]]`, for each of `count` numbers, NaN where that names no row; `y` is (count, n).
    fn look_up(&self, count: usize, rows: usize, n: usize, x: &Self::Buf, table: &Self::Buf, y: &mut Self::Buf);

    /// `table[x[i]] += y[i]` for i in order, on top of what it holds if `accumulate`, else of zeros; nothing where
    /// that names no row.
    #[allow(clippy::too_many_arguments)]
    fn add_up(
        &self,
        count: usize,
        rows: usize,
        n: usize,
        x: &Self::Buf,
        y: &Self::Buf,
        accumulate: bool,
        table: &mut Self::Buf,
    );
}
