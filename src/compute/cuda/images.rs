//! Images on the device: convolution chunk by chunk, and pools by launches of `kernels/pool.cu`.

use super::conv::{ConvPlan, scalars};
use super::{Arg, Cuda, Device, Tensor};
use crate::compute::{Conv, ImageWindow, Images, Pool};

/// A launch walks over a stripe of planes at a time: as many as have this number of values for each block that there may be. So
/// all blocks are busy, and a thread computes only once where on a plane it is.
const STRIPE: usize = 8;

impl<D: Device> Cuda<D> {
    /// Launches a pool kernel over `planes` planes, with a thread for each of the `values` values of a plane.
    fn over_planes<'a>(
        &self,
        kernel: &'static str,
        window: ImageWindow,
        [planes, values]: [usize; 2],
        tensors: impl IntoIterator<Item = Arg<'a, D::Memory>>,
    ) where
        D::Memory: 'a,
    {
        assert!(u32::try_from(window.pixels().max(window.outputs())).is_ok(), "{window:?} is too large");
        let stripe = (STRIPE * self.bounds.blocks as usize).div_ceil(values.max(1)).min(planes.max(1));
        let sizes = [Arg::U64(planes as u64), Arg::U32(stripe as u32)];
        let args: Vec<_> = tensors.into_iter().chain(sizes).chain(scalars(window)).collect();
        self.over_rows([planes.div_ceil(stripe), stripe * values], kernel, &args);
    }

    /// The gradient of a maximum pool. Where several windows may hold the same pixel, a kernel first finds the place of each
    /// window's largest value, so that no pixel needs to search its windows again.
    fn max_backward(&self, window: ImageWindow, planes: usize, [x, dy, dx]: [&Tensor<D::Memory>; 3]) {
        let (pixels, outputs) = (window.pixels(), window.outputs());
        [x, dx].iter().for_each(|tensor| tensor.check(planes * pixels));
        dy.check(planes * outputs);
        // Small windows that do not overlap are searched on the spot, without scratch memory.
        let apart = (0..2).all(|axis| window.stride[axis] >= window.kernel[axis]);
        if apart && window.kernel[0] * window.kernel[1] <= 4 {
            let tensors = [x, dy, dx].map(|tensor| Arg::Memory(&tensor.memory, 0));
            let [x, dy, dx] = tensors;
            return self.over_planes("max_pool_backward_f32", window, [planes, pixels], [x, Arg::Null, dy, dx]);
        }
        let most = (self.bounds.values / outputs.max(1)).clamp(1, planes.max(1));
        self.with_scratch(most * outputs, |largest| {
            for first in (0..planes).step_by(most) {
                let planes = most.min(planes - first);
                let from = |tensor| Arg::Memory(tensor, 4 * first * pixels);
                let look = [from(&x.memory), largest.arg(planes * outputs)];
                self.over_planes("places_of_largest_f32", window, [planes, outputs], look);
                let dy = Arg::Memory(&dy.memory, 4 * first * outputs);
                let take = [from(&x.memory), largest.arg(planes * outputs), dy, from(&dx.memory)];
                self.over_planes("max_pool_backward_f32", window, [planes, pixels], take);
            }
        });
    }
}

impl<D: Device> Images for Cuda<D> {
    fn conv_scratch(&self, shape: Conv, rows: usize) -> usize {
        ConvPlan::of(shape, self.bounds.values).scratch(rows)
    }

    fn conv(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        weight: &Self::Buf,
        bias: Option<&Self::Buf>,
        scratch: &mut Self::Buf,
        y: &mut Self::Buf,
    ) {
        let plan = ConvPlan::of(shape, self.bounds.values);
        check(&plan, rows, [x, y, weight, scratch]);
        if let Some(bias) = bias {
            self.fill_channels(&plan, rows, bias, y);
        }
        for chunk in plan.chunks(rows) {
            self.forward_chunk(&plan, chunk, [x, weight, y], bias.is_some(), scratch);
        }
    }

    fn conv_backward_input(
        &self,
        shape: Conv,
        rows: usize,
        dy: &Self::Buf,
        weight: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let plan = ConvPlan::of(shape, self.bounds.values);
        check(&plan, rows, [dx, dy, weight, scratch]);
        for chunk in plan.chunks(rows) {
            self.input_chunk(&plan, chunk, [dy, weight, dx], scratch);
        }
    }

    fn conv_backward_weight(
        &self,
        shape: Conv,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        accumulate: bool,
        scratch: &mut Self::Buf,
        dw: &mut Self::Buf,
    ) {
        let plan = ConvPlan::of(shape, self.bounds.values);
        check(&plan, rows, [x, dy, dw, scratch]);
        if rows == 0 && !accumulate {
            self.device.clear(&dw.memory, 0, 4 * shape.out * shape.under());
        }
        for chunk in plan.chunks(rows) {
            self.weight_chunk(&plan, chunk, [x, dy, dw], accumulate || chunk.0 > 0, scratch);
        }
    }

    fn pool(&self, pool: Pool, window: ImageWindow, planes: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let outputs = window.outputs();
        let kernel = match pool {
            Pool::Max => "max_pool_f32",
            Pool::Mean => "mean_pool_f32",
        };
        let tensors = [x.arg(planes * window.pixels()), y.arg(planes * outputs)];
        self.over_planes(kernel, window, [planes, outputs], tensors);
    }

    fn pool_backward(
        &self,
        pool: Pool,
        window: ImageWindow,
        planes: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let (pixels, outputs) = (window.pixels(), window.outputs());
        match pool {
            Pool::Max => self.max_backward(window, planes, [x, dy, dx]),
            Pool::Mean => {
                let tensors = [dy.arg(planes * outputs), dx.arg(planes * pixels)];
                self.over_planes("mean_pool_backward_f32", window, [planes, pixels], tensors);
            }
        }
    }
}

/// Panics unless input, output, weight and scratch buffer are as long as `plan` needs for `rows` images.
fn check<M>(plan: &ConvPlan, rows: usize, [input, output, weight, scratch]: [&Tensor<M>; 4]) {
    let [from, to] = plan.sizes(rows);
    input.check(from);
    output.check(to);
    weight.check(plan.weights());
    scratch.check(plan.scratch(rows));
}
