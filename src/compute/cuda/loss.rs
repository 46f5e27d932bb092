//! Losses on the device, by launches of `kernels/loss.cu`.

use super::memory::bytes_of;
use super::softmax::{blocks, team};
use super::{Arg, Cuda, Device, THREADS, Tensor};
use crate::compute::{Loss, LossSum};

/// Most blocks of a launch. Each leaves a partial sum.
const PARTS: u32 = 1024;
/// Size of a partial sum in bytes: an f64 for the loss, two u32 for terms and correct ones.
const PART: usize = 16;
/// Size of what stands before the targets in scratch memory, in bytes: the total, then the partial sums.
const BEFORE: usize = PART * (1 + PARTS as usize);
/// Size of what stands before the targets in scratch memory, in f32 values.
const VALUES: usize = BEFORE / 4;

impl<D: Device> Cuda<D> {
    /// Copies `targets`, 4 bytes each, to the device and calls `launch` with the device's pointers to them and to the partial
    /// sums. `launch` must fill `parts` partial sums. Returns their total.
    fn parts(
        &self,
        targets: &[u8],
        parts: u32,
        launch: impl FnOnce(Arg<'_, D::Memory>, Arg<'_, D::Memory>),
    ) -> LossSum {
        let mut total = [0; PART];
        if parts > 0 {
            self.with_scratch(VALUES + targets.len() / 4, |Tensor { memory, .. }| {
                self.device.write(targets, memory, BEFORE);
                launch(Arg::Memory(memory, BEFORE), Arg::Memory(memory, PART));
                let args = [Arg::Memory(memory, PART), Arg::Memory(memory, 0), Arg::U32(parts)];
                self.grid([1, 1, 1], THREADS, "fold_losses_f64", &args);
                self.device.read(memory, 0, &mut total);
            });
        }
        let [l0, l1, l2, l3, l4, l5, l6, l7, t0, t1, t2, t3, c0, c1, c2, c3] = total;
        LossSum {
            loss: f64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            terms: u32::from_le_bytes([t0, t1, t2, t3]),
            correct: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }

    /// Launches `kernel`, a loss that treats each value on its own, over `targets.len()` values.
    fn each(
        &self,
        kernel: &'static str,
        x: &Tensor<D::Memory>,
        targets: &[f32],
        weight: f32,
        dx: &Tensor<D::Memory>,
    ) -> LossSum {
        let len = targets.len();
        let parts = len.div_ceil(THREADS as usize).min(PARTS as usize) as u32;
        self.parts(&bytes_of(targets), parts, |targets, to| {
            let args = [x.arg(len), targets, dx.arg(len), to, Arg::U64(len as u64), Arg::F32(weight)];
            self.grid([parts, 1, 1], THREADS, kernel, &args);
        })
    }
}

impl<D: Device> Loss for Cuda<D> {
    fn cross_entropy(
        &self,
        classes: usize,
        x: &Self::Buf,
        labels: &[u32],
        smoothing: f32,
        weight: f32,
        dx: &mut Self::Buf,
    ) -> LossSum {
        let (rows, len) = (labels.len(), labels.len() * classes);
        let (team, block) = team(classes);
        let parts = blocks(rows, (team, block), PARTS);
        let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        self.parts(&bytes, parts, |labels, to| {
            let values = [x.arg(len), labels, dx.arg(len), to];
            let sizes = [Arg::U64(rows as u64), Arg::U32(classes as u32), Arg::U32(team)];
            let (at_label, everywhere) = (weight * (1.0 - smoothing), weight * (smoothing / classes as f32));
            let numbers = [smoothing, weight, at_label, everywhere].map(Arg::F32);
            let args: Vec<_> = values.into_iter().chain(sizes).chain(numbers).collect();
            self.grid([parts, 1, 1], block, "cross_entropy_f32", &args);
        })
    }

    fn squared_error(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum {
        self.each("squared_error_f32", x, targets, weight, dx)
    }

    fn binary_cross_entropy(&self, x: &Self::Buf, targets: &[f32], weight: f32, dx: &mut Self::Buf) -> LossSum {
        self.each("binary_cross_entropy_f32", x, targets, weight, dx)
    }
}
