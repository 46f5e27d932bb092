//! Norms on the device, by launches of `kernels/norm.cu`: which kernel fits a tensor's shape, and into how many parts a set is
//! cut.

use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::{Grid, Norm};

/// Number of sets that a block of the `columns` kernels takes side by side.
const TILE: usize = 32;
/// Number of blocks that keep a device busy. Sets are cut into parts until there are so many blocks.
const WANTED: usize = 1056;
/// Least number of values in a part of a set.
const SHARE: usize = 4096;
/// Least number of rows that a block of the `columns` kernels sums up.
const LINES: usize = 64;
/// Most values of a set that one warp takes.
const SHORT: usize = 1024;
/// Most values of a set that a block of `THREADS` threads takes. Longer sets get 1024 threads.
const LONG: usize = 8192;

/// What is summed over each set. The kernels take the kind as a number.
enum Term<'a, M> {
    /// The sum of x.
    X,
    /// The sum of x times this tensor of the same shape.
    Dot(&'a Tensor<M>),
    /// The sum of the squares of x minus this value of its set, (sets).
    Squares(&'a Tensor<M>),
    /// Two sums: of x, and of x times this tensor of the same shape.
    Slopes(&'a Tensor<M>),
}

/// Where the sums of sets go, and what they are divided by.
struct To<'a, M> {
    /// The buffer that they are written to.
    sums: &'a Tensor<M>,
    /// Offset of the first sum, in values.
    at: usize,
    /// What each sum is divided by.
    members: f32,
    /// Whether they are added to what the buffer holds.
    accumulate: bool,
}

/// How the sets of a tensor are summed on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// Whether sets are columns of a matrix: one value a run, several sets side by side.
    columns: bool,
    /// Number of parts into which each set is cut.
    parts: usize,
    /// Number of members of a set, or rows of a matrix of columns, in a part.
    share: usize,
}

/// The grid, or the simplest one of the same memory: a single set is one long run.
fn plain(grid: Grid) -> Grid {
    match grid.sets {
        1 => Grid { outer: 1, sets: 1, inner: grid.members() },
        _ => grid,
    }
}

impl Way {
    fn of(grid: Grid) -> Self {
        let columns = grid.inner == 1 && grid.sets > 1;
        let (length, blocks, least) = match columns {
            true => (grid.outer, grid.sets.div_ceil(TILE), LINES),
            false => (grid.members(), grid.sets, SHARE),
        };
        let parts = WANTED.div_ceil(blocks.max(1)).min(length.div_ceil(least)).max(1);
        let share = length.div_ceil(parts).max(1);
        // Shares are rounded up, so fewer parts may do.
        Self { columns, parts: length.div_ceil(share).max(1), share }
    }
}

/// Number of threads for each set whose values lie side by side: a warp of 32 or a whole block. `None` if there are too few
/// sets to keep the device busy with one each, or if they do not lie side by side.
fn row_threads(grid: Grid) -> Option<u32> {
    let threads = match grid.inner {
        inner if inner <= SHORT => 32,
        inner if inner <= LONG => THREADS,
        _ => 1024,
    };
    let busy = grid.sets * threads as usize >= WANTED * 128 || Way::of(grid).parts == 1;
    (grid.outer == 1 && busy && u32::try_from(grid.inner).is_ok()).then_some(threads)
}

impl<D: Device> Cuda<D> {
    /// Launches one of the `rows` kernels, with a warp or a block for each set. The kernel's last argument says which.
    fn rows<'a>(
        &self,
        kernel: &'static str,
        grid: Grid,
        threads: u32,
        args: impl IntoIterator<Item = Arg<'a, D::Memory>>,
    ) where
        D::Memory: 'a,
    {
        let warps = threads == 32;
        let args: Vec<_> = args.into_iter().chain([Arg::U32(warps.into())]).collect();
        let sets = if warps { THREADS as usize / 32 } else { 1 };
        self.grid([grid.sets.div_ceil(sets) as u32, 1, 1], if warps { THREADS } else { threads }, kernel, &args);
    }

    /// Sums `term` over each set: in one launch, or in parts if there is scratch memory for them. `spare` is that memory and
    /// the offset in it, in values.
    fn sums(
        &self,
        grid: Grid,
        x: &Tensor<D::Memory>,
        term: Term<'_, D::Memory>,
        spare: Option<(&Tensor<D::Memory>, usize)>,
        to: &To<'_, D::Memory>,
    ) {
        let (way, len) = (Way::of(grid), grid.len());
        let null = || Arg::Null;
        let (mode, y, centre, count) = match term {
            Term::X => (0, null(), null(), grid.sets),
            Term::Dot(y) => (1, y.arg(len), null(), grid.sets),
            Term::Squares(centre) => (2, null(), centre.arg(grid.sets), grid.sets),
            Term::Slopes(y) => (3, y.arg(len), null(), 2 * grid.sets),
        };
        to.sums.check(to.at + count);
        if len == 0 {
            if !to.accumulate {
                self.device.clear(&to.sums.memory, 4 * to.at, 4 * (to.at + count));
            }
            return;
        }
        let result = || Arg::Memory(&to.sums.memory, 4 * to.at);
        let (accumulate, members) = (Arg::U32(to.accumulate.into()), Arg::F32(to.members));
        let parts = spare.filter(|_| way.parts > 1).map(|(spare, at)| {
            spare.check(at + count * way.parts);
            move || Arg::Memory(&spare.memory, 4 * at)
        });
        let sums = parts.as_ref().map_or_else(result, |parts| parts());
        let sizes = [Arg::U64(grid.outer as u64), Arg::U32(grid.sets as u32)];
        let inner = (!way.columns).then_some(Arg::U64(grid.inner as u64));
        let rest = [Arg::U64(way.share as u64), Arg::U32(mode), members, accumulate];
        let args: Vec<_> = [x.arg(len), y, centre, sums].into_iter().chain(sizes).chain(inner).chain(rest).collect();
        let (kernel, blocks, threads) = match way.columns {
            true => ("sums_of_columns_f32", grid.sets.div_ceil(TILE), THREADS),
            false => ("sums_f32", grid.sets, grid.members().next_multiple_of(32).min(THREADS as usize) as u32),
        };
        self.grid([blocks as u32, way.parts as u32, 1], threads, kernel, &args);
        if let Some(parts) = parts {
            let (members, accumulate) = (Arg::F32(to.members), Arg::U32(to.accumulate.into()));
            let args = [parts(), result(), Arg::U32(count as u32), Arg::U32(way.parts as u32), members, accumulate];
            self.grid([(32 * count).div_ceil(THREADS as usize) as u32, 1, 1], THREADS, "fold_sums_f32", &args);
        }
    }
}

impl<D: Device> Norm for Cuda<D> {
    fn moments(&self, grid: Grid, centred: bool, x: &Self::Buf, mean: &mut Self::Buf, variance: &mut Self::Buf) {
        let grid = plain(grid);
        let (sets, members) = (grid.sets, grid.members() as f32);
        if let Some(threads) = row_threads(grid) {
            let values = [x.arg(grid.len()), mean.arg(sets), variance.arg(sets)];
            let sizes = [Arg::U64(sets as u64), Arg::U32(grid.inner as u32), Arg::U32(centred.into())];
            return self.rows("moments_rows_f32", grid, threads, values.into_iter().chain(sizes));
        }
        self.with_scratch(sets * Way::of(grid).parts, |scratch| {
            mean.check(sets);
            match centred {
                true => {
                    let to = To { sums: &*mean, at: 0, members, accumulate: false };
                    self.sums(grid, x, Term::X, Some((scratch, 0)), &to);
                }
                false => self.device.clear(&mean.memory, 0, 4 * sets),
            }
            let to = To { sums: &*variance, at: 0, members, accumulate: false };
            self.sums(grid, x, Term::Squares(mean), Some((scratch, 0)), &to);
        });
    }

    fn normalize(
        &self,
        grid: Grid,
        eps: f32,
        x: &Self::Buf,
        mean: &Self::Buf,
        variance: &Self::Buf,
        y: &mut Self::Buf,
    ) {
        let grid = plain(grid);
        let (sets, len) = (grid.sets, grid.len());
        let values = [x.arg(len), mean.arg(sets), variance.arg(sets), y.arg(len)].into_iter();
        if let Some(threads) = row_threads(grid) {
            let sizes = [Arg::U64(sets as u64), Arg::U32(grid.inner as u32), Arg::F32(eps)];
            return self.rows("normalize_rows_f32", grid, threads, values.chain(sizes));
        }
        let args: Vec<_> = values.chain(sizes(grid)).chain([Arg::F32(eps)]).collect();
        self.over_rows([grid.outer, grid.sets * grid.inner], "normalize_f32", &args);
    }

    fn normalize_backward(
        &self,
        grid: Grid,
        centred: bool,
        eps: f32,
        n: &Self::Buf,
        variance: &Self::Buf,
        dn: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let grid = plain(grid);
        let (sets, len) = (grid.sets, grid.len());
        let values = [n.arg(len), variance.arg(sets), dn.arg(len)].into_iter();
        let numbers = [Arg::F32(eps), Arg::U32(centred.into())];
        if let Some(threads) = row_threads(grid) {
            let sizes = [dx.arg(len), Arg::U64(sets as u64), Arg::U32(grid.inner as u32)];
            return self.rows("normalize_backward_rows_f32", grid, threads, values.chain(sizes).chain(numbers));
        }
        self.with_scratch(2 * sets * (1 + Way::of(grid).parts), |scratch| {
            let to = To { sums: scratch, at: 0, members: grid.members() as f32, accumulate: false };
            self.sums(grid, dn, Term::Slopes(n), Some((scratch, 2 * sets)), &to);
            let means = [scratch.arg(2 * sets), dx.arg(len)];
            let args: Vec<_> = values.chain(means).chain(sizes(grid)).chain(numbers).collect();
            self.over_rows([grid.outer, grid.sets * grid.inner], "normalize_backward_f32", &args);
        });
    }

    fn scale(&self, grid: Grid, x: &Self::Buf, weight: &Self::Buf, bias: Option<&Self::Buf>, y: &mut Self::Buf) {
        let grid = plain(grid);
        let (sets, len) = (grid.sets, grid.len());
        let bias = bias.map_or(Arg::Null, |bias| bias.arg(sets));
        let args: Vec<_> = [x.arg(len), weight.arg(sets), bias, y.arg(len)].into_iter().chain(sizes(grid)).collect();
        self.over_rows([grid.outer, grid.sets * grid.inner], "scale_f32", &args);
    }

    fn set_sums(&self, grid: Grid, x: &Self::Buf, y: Option<&Self::Buf>, accumulate: bool, sums: &mut Self::Buf) {
        let grid = plain(grid);
        let term = y.map_or(Term::X, Term::Dot);
        let to = To { sums: &*sums, at: 0, members: 1.0, accumulate };
        match Way::of(grid).parts {
            1 => self.sums(grid, x, term, None, &to),
            parts => self.with_scratch(grid.sets * parts, |scratch| {
                self.sums(grid, x, term, Some((scratch, 0)), &to);
            }),
        }
    }
}

/// The sizes of a grid as kernel arguments: outer, sets, inner.
fn sizes<'a, M>(grid: Grid) -> [Arg<'a, M>; 3] {
    [Arg::U64(grid.outer as u64), Arg::U32(grid.sets as u32), Arg::U64(grid.inner as u64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_a_device_busy_and_none_is_empty() {
        for [outer, sets, inner] in
            [[32, 64, 12_544], [32, 2048, 49], [16_384, 768, 1], [4_000_000, 3, 1], [1, 1, 1 << 24], [65, 33, 1]]
        {
            let grid = Grid { outer, sets, inner };
            let Way { columns, parts, share } = Way::of(grid);
            let (length, blocks) = if columns { (outer, sets.div_ceil(TILE)) } else { (grid.members(), sets) };
            assert!(parts * share >= length && (parts - 1) * share < length, "{grid:?}");
            assert!(parts * blocks >= WANTED || share <= SHARE, "{grid:?}");
        }
    }

    #[test]
    fn sets_side_by_side_have_a_warp_a_block_or_several() {
        let grid = |sets, inner| Grid { outer: 1, sets, inner };
        assert_eq!(row_threads(grid(100_000, 768)), Some(32));
        assert_eq!(row_threads(grid(4096, 4096)), Some(THREADS));
        assert_eq!(row_threads(grid(256, 50_176)), Some(1024));
        assert_eq!(row_threads(grid(8, 200_704)), None);
        assert_eq!(row_threads(Grid { outer: 8, sets: 100, inner: 1000 }), None);
    }
}
