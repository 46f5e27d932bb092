//! Launches of `kernels/norm.cu`: which way through a tensor its shape calls for, and into how many parts a set falls.

use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::{Grid, Norm};

/// Sets that a block of `columns` has side by side, of `kernels/norm.cu`.
const TILE: usize = 32;
/// Blocks that keep a device busy. Sets are cut into parts until there are so many, or parts have as few values as this.
const WANTED: usize = 1056;
const SHARE: usize = 4096;
/// Rows that a block of `columns` sums up at least.
const LINES: usize = 64;
/// Most values of a set that one warp has; blocks of `THREADS` have up to `LONG`.
const SHORT: usize = 1024;
const LONG: usize = 8192;

/// What `kernels/norm.cu` sums up, by its numbers.
enum Term<'a, M> {
    X,
    Dot(&'a Tensor<M>),
    Squares(&'a Tensor<M>),
    Slopes(&'a Tensor<M>),
}

/// Where sums go, from so many values on, and what they are divided by.
struct To<'a, M> {
    sums: &'a Tensor<M>,
    at: usize,
    members: f32,
    accumulate: bool,
}

/// How sets are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    columns: bool,
    parts: usize,
    /// Members, or rows of columns, of a part.
    share: usize,
}

/// A single set has all its values side by side.
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
        // Shares are rounded up: the last parts may be left without any.
        Self { columns, parts: length.div_ceil(share).max(1), share }
    }
}

/// Threads for a set whose values lie side by side, 32 or a block; `None` where there are too few sets to go to one each.
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
    /// Launches a kernel of `rows`, whose last argument says whether sets have a warp each.
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

    /// The sum of `term` over each set, in one launch, or in parts, which are summed up in scratch memory from `spare` on.
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

/// (outer, sets, inner)
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
