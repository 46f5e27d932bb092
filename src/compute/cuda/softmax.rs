//! The softmax on the device, by launches of `kernels/softmax.cu`.

use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::Softmax;

/// Number of values of a row that a thread keeps in registers. The kernels have the same constant.
const HELD: usize = 8;
/// Number of threads of a warp.
const WARP: usize = 32;
/// Most threads of a block that takes one row.
const MOST: usize = 1024;

/// Number of threads that share a row of `n` values (a team), and number of threads of a block. A team is a part of a warp, or
/// else a whole block.
pub(super) fn team(n: usize) -> (u32, u32) {
    let wanted = n.div_ceil(HELD).max(1);
    match wanted <= WARP {
        true => (wanted.next_power_of_two() as u32, THREADS),
        false => {
            let block = wanted.next_multiple_of(WARP).min(MOST) as u32;
            (block, block)
        }
    }
}

/// Number of blocks for `rows` rows, at most `most`. A block takes one row for each of its teams at a time.
pub(super) fn blocks(rows: usize, (team, block): (u32, u32), most: u32) -> u32 {
    rows.div_ceil((block / team) as usize).min(most as usize) as u32
}

impl<D: Device> Cuda<D> {
    /// Launches a kernel with a team of threads for each row. Its arguments are `tensors`, all (rows, n), then the sizes.
    fn in_teams(&self, rows: usize, n: usize, kernel: &'static str, tensors: &[&Tensor<D::Memory>]) {
        let (team, block) = team(n);
        let sizes = [Arg::U64(rows as u64), Arg::U32(n as u32), Arg::U32(team)];
        let args: Vec<_> = tensors.iter().map(|tensor| tensor.arg(rows * n)).chain(sizes).collect();
        self.grid([blocks(rows, (team, block), self.bounds.blocks), 1, 1], block, kernel, &args);
    }
}

impl<D: Device> Softmax for Cuda<D> {
    fn softmax(&self, rows: usize, n: usize, x: &Self::Buf, y: &mut Self::Buf) {
        self.in_teams(rows, n, "softmax_f32", &[x, y]);
    }

    fn softmax_backward(&self, rows: usize, n: usize, y: &Self::Buf, dy: &Self::Buf, dx: &mut Self::Buf) {
        self.in_teams(rows, n, "softmax_backward_f32", &[y, dy, dx]);
    }
}
