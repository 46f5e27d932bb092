//! Convolutions, chunk by chunk, and launches of `kernels/pool.cu`.

use super::conv::{Plan, scalars};
use super::{Arg, Cuda, Device, Tensor};
use crate::compute::{Conv, Images, Pool, Window};

/// Threads go over as many planes at a time as have so many values for each block that there may be: enough of them, and where
/// on a plane a thread is need not be worked out again for each.
const STRIPE: usize = 8;

impl<D: Device> Cuda<D> {
    /// Launches a kernel of pools over planes of so many values each.
    fn over_planes<'a>(
        &self,
        kernel: &'static str,
        window: Window,
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

    /// The gradient of the largest, with a look at each window first where several hold a pixel, so that none looks again.
    fn max_backward(&self, window: Window, planes: usize, [x, dy, dx]: [&Tensor<D::Memory>; 3]) {
        let (pixels, outputs) = (window.pixels(), window.outputs());
        [x, dx].iter().for_each(|tensor| tensor.check(planes * pixels));
        dy.check(planes * outputs);
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
        Plan::of(shape, self.bounds.values).scratch(rows)
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
        let plan = Plan::of(shape, self.bounds.values);
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
        let plan = Plan::of(shape, self.bounds.values);
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
        let plan = Plan::of(shape, self.bounds.values);
        check(&plan, rows, [x, dy, dw, scratch]);
        if rows == 0 && !accumulate {
            self.device.clear(&dw.memory, 0, 4 * shape.out * shape.under());
        }
        for chunk in plan.chunks(rows) {
            self.weight_chunk(&plan, chunk, [x, dy, dw], accumulate || chunk.0 > 0, scratch);
        }
    }

    fn pool(&self, pool: Pool, window: Window, planes: usize, x: &Self::Buf, y: &mut Self::Buf) {
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
        window: Window,
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

/// What goes in, what comes out, the weight and the scratch memory are as long as a call needs.
fn check<M>(plan: &Plan, rows: usize, [input, output, weight, scratch]: [&Tensor<M>; 4]) {
    let [from, to] = plan.sizes(rows);
    input.check(from);
    output.check(to);
    weight.check(plan.weights());
    scratch.check(plan.scratch(rows));
}
