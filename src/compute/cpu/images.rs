//! Images: what is convolved and pooled, and where that is worth more than one thread.

use super::{Cpu, conv, pool};
use crate::compute::{Conv, Images, Pool, Window};

impl Images for Cpu {
    fn conv_scratch(&self, shape: Conv) -> usize {
        conv::scratch(shape)
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
        let [from, to] = conv_sizes(shape, rows);
        let (x, y, bias) = (&x[..from], &mut y[..to], bias.map(|bias| &bias[..shape.out]));
        self.in_parts(to * shape.under(), |parallel| {
            conv::forward(self.simd, parallel, shape, x, weight, bias, scratch, y);
        });
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
        let [from, to] = conv_sizes(shape, rows);
        let (dx, dy) = (&mut dx[..from], &dy[..to]);
        self.in_parts(to * shape.under(), |parallel| {
            conv::backward_input(self.simd, parallel, shape, dy, weight, scratch, dx);
        });
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
        let [from, to] = conv_sizes(shape, rows);
        let (x, dy, dw) = (&x[..from], &dy[..to], &mut dw[..shape.out * shape.under()]);
        self.in_parts(to * shape.under(), |parallel| {
            conv::backward_weight(self.simd, parallel, shape, x, dy, accumulate, scratch, dw);
        });
    }

    fn pool(&self, pool: Pool, window: Window, planes: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        pool::forward(self.simd, pool, window, &x[..from], &mut y[..to]);
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
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        pool::backward(self.simd, pool, window, &x[..from], &dy[..to], &mut dx[..from]);
    }
}

/// Values of the images that go in and come out.
fn conv_sizes(shape: Conv, rows: usize) -> [usize; 2] {
    [rows * shape.channels * shape.window.pixels(), rows * shape.out * shape.window.outputs()]
}
