//! Convolution and pools on the processor: how each call divides its images among threads.

use rayon::prelude::*;

use super::elementwise::COPIED;
use super::{Cpu, conv, pool};
use crate::compute::{Backend, Conv, ImageWindow, Images, Pool};

impl Images for Cpu {
    fn conv_scratch(&self, shape: Conv, _rows: usize) -> usize {
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

    fn pool(&self, pool: Pool, window: ImageWindow, planes: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        let (x, y) = (&x[..from], &mut y[..to]);
        let part = self.share(planes, COPIED * window.pixels());
        if part == planes {
            return pool::forward(self.simd, pool, window, x, y);
        }
        let parts = y.par_chunks_mut(part * window.outputs()).zip(x.par_chunks(part * window.pixels()));
        self.enter(|| parts.for_each(|(y, x)| pool::forward(self.simd, pool, window, x, y)));
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
        let (from, to) = (planes * window.pixels(), planes * window.outputs());
        let (x, dy, dx) = (&x[..from], &dy[..to], &mut dx[..from]);
        let part = self.share(planes, COPIED * window.pixels());
        if part == planes {
            return pool::backward(self.simd, pool, window, x, dy, dx);
        }
        let [image, outputs] = [part * window.pixels(), part * window.outputs()];
        let parts = dx.par_chunks_mut(image).zip(x.par_chunks(image)).zip(dy.par_chunks(outputs));
        self.enter(|| parts.for_each(|((dx, x), dy)| pool::backward(self.simd, pool, window, x, dy, dx)));
    }
}

/// Lengths of the input and the output of a convolution, in values.
fn conv_sizes(shape: Conv, rows: usize) -> [usize; 2] {
    [rows * shape.channels * shape.window.pixels(), rows * shape.out * shape.window.outputs()]
}
