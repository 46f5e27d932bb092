//! Loops that treat each value on its own, compiled for the vector instructions that the processor has.
//!
//! `mul_add` rounds once wherever it runs. So the widest vectors and the plainest loop give the same bits.

use std::f32::consts::FRAC_1_SQRT_2;

use pulp::Arch;

use super::vector::vectorised;

use super::Cpu;
use super::functions::{erf, exp, sigmoid, tanh};
use crate::compute::{Elementwise, Function, PhiloxStream};
use crate::random::{philox4x32_10, unit};

/// `sum` (n) = the sum of the rows of `x` (rows, n), added first to last. If `accumulate`, they are added to what `sum` holds.
pub(super) fn sum_rows(simd: Arch, x: &[f32], accumulate: bool, sum: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            if !accumulate {
                sum.fill(0.0);
            }
            for row in x.chunks_exact(sum.len()) {
                for (sum, x) in sum.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        },
    );
}

/// `y = f(x)`, for each value.
#[inline(always)]
fn each(simd: Arch, x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = f(*x);
            }
        },
    );
}

/// Replaces values below 0 by 0, in place.
pub(super) fn relu(simd: Arch, y: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for y in y.iter_mut() {
                *y = if *y < 0.0 { 0.0 } else { *y };
            }
        },
    );
}

/// `dx = f(of) dy`, for each value. `of` is the function's input or output, whichever `f` takes.
#[inline(always)]
fn each_backward(simd: Arch, of: &[f32], dy: &[f32], dx: &mut [f32], f: impl Fn(f32) -> f32) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for ((dx, dy), of) in dx.iter_mut().zip(dy).zip(of) {
                *dx = f(*of) * *dy;
            }
        },
    );
}

// Closures, not the functions' names: a function that is passed by name is called through a shim without vector instructions.
/// `y = function(x)`, for each value.
#[allow(clippy::redundant_closure)]
fn map(simd: Arch, function: Function, x: &[f32], y: &mut [f32]) {
    match function {
        Function::Relu => {
            each(
                simd,
                x,
                y,
                #[inline(always)]
                |x| if x < 0.0 { 0.0 } else { x },
            );
        }
        Function::LeakyRelu(slope) => {
            each(
                simd,
                x,
                y,
                #[inline(always)]
                |x| if x > 0.0 { x } else { slope * x },
            );
        }
        Function::Tanh => each(
            simd,
            x,
            y,
            #[inline(always)]
            |x| tanh(x),
        ),
        Function::Sigmoid => each(
            simd,
            x,
            y,
            #[inline(always)]
            |x| sigmoid(x),
        ),
        Function::Gelu => {
            each(
                simd,
                x,
                y,
                #[inline(always)]
                |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
            );
        }
        Function::GeluTanh => {
            each(
                simd,
                x,
                y,
                #[inline(always)]
                |x| 0.5 * x * (1.0 + tanh(ROOT * (CUBE * x * x).mul_add(x, x))),
            );
        }
        Function::Silu => each(
            simd,
            x,
            y,
            #[inline(always)]
            |x| x * sigmoid(x),
        ),
    }
}

/// sqrt(2 / pi), a constant of the approximate GELU.
const ROOT: f32 = 0.797_884_6;
/// The factor of x^3 in the approximate GELU.
const CUBE: f32 = 0.044_715;
/// 1 / sqrt(2 pi), the peak of the normal density: a constant of the GELU's slope.
const DENSITY: f32 = 0.398_942_3;

/// `dx = function'(x) dy`, for each value, with `y = function(x)`.
#[allow(clippy::redundant_closure)]
fn map_backward(simd: Arch, function: Function, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    match function {
        Function::Relu => {
            vectorised(
                simd,
                #[inline(always)]
                || {
                    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                        *dx = if *y > 0.0 { *dy } else { 0.0 };
                    }
                },
            );
        }
        Function::LeakyRelu(slope) => {
            each_backward(
                simd,
                x,
                dy,
                dx,
                #[inline(always)]
                |x| if x > 0.0 { 1.0 } else { slope },
            );
        }
        Function::Tanh => each_backward(
            simd,
            y,
            dy,
            dx,
            #[inline(always)]
            |y| (-y).mul_add(y, 1.0),
        ),
        Function::Sigmoid => each_backward(
            simd,
            y,
            dy,
            dx,
            #[inline(always)]
            |y| y * (1.0 - y),
        ),
        Function::Gelu => each_backward(
            simd,
            x,
            dy,
            dx,
            #[inline(always)]
            |x| gelu_slope(x),
        ),
        Function::GeluTanh => each_backward(
            simd,
            x,
            dy,
            dx,
            #[inline(always)]
            |x| gelu_tanh_slope(x),
        ),
        Function::Silu => each_backward(
            simd,
            x,
            dy,
            dx,
            #[inline(always)]
            |x| silu_slope(x),
        ),
    }
}

/// The derivative of the exact GELU: the normal distribution at x, plus x times its density.
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    (x * DENSITY).mul_add(exp(-0.5 * x * x), 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)))
}

/// The derivative of the GELU with tanh. With t the tanh, it is `(1 + t) / 2 + x (1 - t^2) inner / 2`, where `inner` is the
/// derivative of what the tanh is of.
#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let t = tanh(ROOT * (CUBE * x * x).mul_add(x, x));
    let inner = ROOT * (3.0 * CUBE * x).mul_add(x, 1.0);
    (0.5 * x * (-t).mul_add(t, 1.0)).mul_add(inner, 0.5 * (1.0 + t))
}

/// The derivative of SiLU: `s (1 + x (1 - s))`, where s is the sigmoid of x.
#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * x.mul_add(1.0 - s, 1.0)
}

/// `y += x`, for each value.
pub(super) fn add(simd: Arch, x: &[f32], y: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y += x;
            }
        },
    );
}

/// `to = (1 - part) to + part factor from`, for each value.
fn blend(simd: Arch, part: f32, factor: f32, from: &[f32], to: &mut [f32]) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (to, from) in to.iter_mut().zip(from) {
                *to = (1.0 - part).mul_add(*to, part * (factor * from));
            }
        },
    );
}

/// Dropout: `y = x / (1 - p)`, or 0 where the value's random number under `stream` is below `p`.
fn drop_out(simd: Arch, stream: PhiloxStream, p: f32, x: &[f32], y: &mut [f32]) {
    let scale = 1.0 / (1.0 - p);
    let [a, b, c] = stream.counter;
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (block, (x, y)) in x.chunks(4).zip(y.chunks_mut(4)).enumerate() {
                let numbers = philox4x32_10([block as u32, a, b, c], stream.key);
                for ((y, x), number) in y.iter_mut().zip(x).zip(numbers) {
                    *y = if unit(number) < p { 0.0 } else { scale * x };
                }
            }
        },
    );
}

/// Cost of a value that is read, changed a little and written, in multiplications of a matrix product.
pub(super) const COPIED: usize = 8;

/// Cost of one value of `function`, in multiplications of a matrix product.
fn work(function: Function) -> usize {
    match function {
        Function::Relu | Function::LeakyRelu(_) => COPIED,
        Function::Tanh | Function::Sigmoid | Function::Gelu | Function::GeluTanh | Function::Silu => 8 * COPIED,
    }
}

impl Elementwise for Cpu {
    fn map(&self, f: Function, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        self.side_by_side(work(f), [&x[..len]], &mut y[..len], |[x], y| map(self.simd, f, x, y));
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
        let from = [&x[..len], &y[..len], &dy[..len]];
        self.side_by_side(work(f), from, &mut dx[..len], |[x, y, dy], dx| map_backward(self.simd, f, x, y, dy, dx));
    }

    fn add(&self, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        self.side_by_side(COPIED, [&x[..len]], &mut y[..len], |[x], y| add(self.simd, x, y));
    }

    fn blend(&self, len: usize, part: f32, factor: f32, from: &Self::Buf, to: &mut Self::Buf) {
        blend(self.simd, part, factor, &from[..len], &mut to[..len]);
    }

    fn drop_out(&self, stream: PhiloxStream, p: f32, len: usize, x: &Self::Buf, y: &mut Self::Buf) {
        drop_out(self.simd, stream, p, &x[..len], &mut y[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::chosen;
    use super::*;

    #[test]
    fn relu_keeps_what_is_not_a_number() {
        let x = [-1.0, 0.0, 2.5, f32::NAN, f32::NEG_INFINITY];
        let mut y = [9.0; 5];
        map(chosen().unwrap(), Function::Relu, &x, &mut y);
        assert_eq!(&y[..3], &[0.0, 0.0, 2.5]);
        assert!(y[3].is_nan());
        assert_eq!(y[4], 0.0);
        let mut dx = [9.0; 3];
        map_backward(chosen().unwrap(), Function::Relu, &x[..3], &y[..3], &[1.0, 2.0, 3.0], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 3.0]);
    }

    #[test]
    fn sums_fold_rows_in_order() {
        // In this order the small values are lost one by one. Any other order would keep some of them.
        let x = [1e8, 1.0, 1.0, 1.0, 1.0, 1.0, -1e8, 7.0];
        let mut sum = [0.5, 0.5];
        sum_rows(chosen().unwrap(), &x, true, &mut sum);
        assert_eq!(sum, [((0.5_f32 + 1e8) + 1.0 + 1.0) - 1e8, 0.5 + 1.0 + 1.0 + 1.0 + 7.0]);
    }
}
