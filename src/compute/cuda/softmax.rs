//! Launches of `kernels/softmax.cu`.

use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::Softmax;

/// Values of a row that a thread has in registers, as the kernels say.
const HELD: usize = 8;
/// Threads of a warp, and most of a block.
const WARP: usize = 32;
const MOST: usize = 1024;

/// Threads that share a row of `n` values, and those of a block: a part of a warp, or else a whole block.
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

/// Blocks for so many rows, of which a block has one a team at a time.
pub(super) fn blocks(rows: usize, (team, block): (u32, u32), most: u32) -> u32 {
    rows.div_ceil((block / team) as usize).min(most as usize) as u32
}

impl<D: Device> Cuda<D> {
    /// Launches a kernel that takes `tensors`, all (rows, n), in teams.
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
