//! Element-wise operations on the device, by launches of `kernels/elementwise.cu`.

use super::{Arg, Cuda, Device};
use crate::compute::{Elementwise, Function, PhiloxStream};

impl<D: Device> Elementwise for Cuda<D> {
    fn map(&self, f: Function, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let kernel = match f {
            Function::Relu => "relu_f32",
            Function::LeakyRelu(_) => "leaky_relu_f32",
            Function::Tanh => "tanh_f32",
            Function::Sigmoid => "sigmoid_f32",
            Function::Gelu => "gelu_f32",
            Function::GeluTanh => "gelu_tanh_f32",
            Function::Silu => "silu_f32",
        };
        let (x, y, len_) = (x.arg(len), y.arg(len), Arg::U64(len as u64));
        match f {
            Function::LeakyRelu(slope) => self.over(len, kernel, &[x, y, len_, Arg::F32(slope)]),
            _ => self.over(len, kernel, &[x, y, len_]),
        }
    }

    fn map_backward(
        &self,
        f: Function,
        len: usize,
        x: &Self::Buf,
        y: &Self::Buf,
        dy: &Self::Buf,
        dx: &mut Self::Buf,
    ) {
        let kernel = match f {
            Function::Relu => "relu_backward_f32",
            Function::LeakyRelu(_) => "leaky_relu_backward_f32",
            Function::Tanh => "tanh_backward_f32",
            Function::Sigmoid => "sigmoid_backward_f32",
            Function::Gelu => "gelu_backward_f32",
            Function::GeluTanh => "gelu_tanh_backward_f32",
            Function::Silu => "silu_backward_f32",
        };
        let (x, y, dy, dx, len_) = (x.arg(len), y.arg(len), dy.arg(len), dx.arg(len), Arg::U64(len as u64));
        match f {
            Function::LeakyRelu(slope) => self.over(len, kernel, &[x, dy, dx, len_, Arg::F32(slope)]),
            _ => self.over(len, kernel, &[x, y, dy, dx, len_]),
        }
    }

    fn add(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        self.over(len, "add_f32", &[x.arg(len), y.arg(len), Arg::U64(len as u64)]);
    }

    fn blend(&self, len: usize, part: f32, factor: f32, from: &Self::Buf, to: &mut Self::Buf) {
        let args = [from.arg(len), to.arg(len), Arg::U64(len as u64), Arg::F32(part), Arg::F32(factor)];
        self.over(len, "blend_f32", &args);
    }

    fn drop_out(&self, stream: PhiloxStream, p: f32, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        let PhiloxStream { key: [k0, k1], counter: [a, b, c] } = stream;
        let values = [x.arg(len), y.arg(len), Arg::U64(len as u64), Arg::F32(p)];
        let numbers = [k0, k1, a, b, c].map(Arg::U32);
        let args: Vec<_> = values.into_iter().chain(numbers).collect();
        self.over(len.div_ceil(4), "drop_out_f32", &args);
    }
}
