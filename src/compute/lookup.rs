//! Tables whose rows are looked up by number: embeddings.

use super::Memory;

/// Calls on a table of shape (rows, n).
///
/// Row numbers come as f32 values. A whole number from 0 up to `rows` - 1 names a row. Any other value is not allowed in the
/// data; it looks up NaN, so that every result built on it shows the mistake.
pub trait Lookup: Memory {
    /// `y[i] = table[x[i]]` for the `count` numbers of `x`, or NaN where `x[i]` names no row. `y` is (count, n).
    fn look_up(&self, count: usize, rows: usize, n: usize, x: &Self::Buf, table: &Self::Buf, y: &mut Self::Buf);

    /// `table[x[i]] += y[i]` for the `count` numbers of `x`, in order. `y` is (count, n). If `accumulate`, it is added to what
    /// `table` holds, else `table` starts from zeros. An `x[i]` that names no row adds nothing.
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
