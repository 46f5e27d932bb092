//! Pools, plane by plane.

use pulp::Arch;

use crate::compute::{Pool, Window};

/// See [`Images::pool`](crate::compute::Images::pool).
pub(super) fn forward(simd: Arch, pool: Pool, window: Window, x: &[f32], y: &mut [f32]) {
    let size = (window.kernel[0] * window.kernel[1]) as f32;
    simd.dispatch(
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact(window.pixels()).zip(y.chunks_exact_mut(window.outputs())) {
                match pool {
                    Pool::Max => spots(window, |place, spot| {
                        y[place] = x[largest(window, spot, x)];
                    }),
                    Pool::Mean => spots(window, |place, spot| {
                        let mut sum = 0.0;
                        spot.lines(window).for_each(|line| x[line].iter().for_each(|x| sum += x));
                        y[place] = sum / size;
                    }),
                }
            }
        },
    );
}

/// See [`Images::pool_backward`](crate::compute::Images::pool_backward).
pub(super) fn backward(simd: Arch, pool: Pool, window: Window, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let size = (window.kernel[0] * window.kernel[1]) as f32;
    simd.dispatch(
        #[inline(always)]
        || {
            let planes = x.chunks_exact(window.pixels()).zip(dx.chunks_exact_mut(window.pixels()));
            for ((x, dx), dy) in planes.zip(dy.chunks_exact(window.outputs())) {
                dx.fill(0.0);
                match pool {
                    Pool::Max => spots(window, |place, spot| dx[largest(window, spot, x)] += dy[place]),
                    Pool::Mean => spots(window, |place, spot| {
                        let share = dy[place] / size;
                        spot.lines(window).for_each(|line| dx[line].iter_mut().for_each(|dx| *dx += share));
                    }),
                }
            }
        },
    );
}

/// The part of the image under the window at one place: rows and columns.
#[derive(Clone, Copy)]
struct Spot {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Spot {
    /// Its rows, as ranges of the plane.
    #[inline(always)]
    fn lines(self, window: Window) -> impl Iterator<Item = std::ops::Range<usize>> {
        let [from, to] = self.columns;
        (self.rows[0]..self.rows[1]).map(move |row| row * window.image[1] + from..row * window.image[1] + to)
    }
}

/// Where on the plane the first of the largest values lies, or the first that is not a number.
#[inline(always)]
fn largest(window: Window, spot: Spot, x: &[f32]) -> usize {
    let mut best = spot.rows[0] * window.image[1] + spot.columns[0];
    let mut most = x[best];
    for line in spot.lines(window) {
        for at in line {
            let value = x[at];
            if value > most || (value.is_nan() && !most.is_nan()) {
                (best, most) = (at, value);
            }
        }
    }
    best
}

/// Calls `each` for all places in order.
#[inline(always)]
fn spots(window: Window, mut each: impl FnMut(usize, Spot)) {
    let [height, width] = window.places();
    let range = |axis: usize, place: usize| {
        let begin = place * window.stride[axis];
        let end = (begin + window.kernel[axis]).saturating_sub(window.padding[axis]).min(window.image[axis]);
        [begin.saturating_sub(window.padding[axis]), end]
    };
    let mut place = 0;
    for row in 0..height {
        let rows = range(0, row);
        for column in 0..width {
            each(place, Spot { rows, columns: range(1, column) });
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAPPING: Window = Window { image: [3, 4], kernel: [2, 3], stride: [1, 2], padding: [1, 1] };

    #[test]
    fn the_largest_and_the_mean_of_each_window() {
        #[rustfmt::skip]
        let x = [
            1.0, 5.0, 2.0, 2.0,
            7.0, 0.0, -1.0, 2.0,
            3.0, 3.0, 9.0, -4.0,
        ];
        let (mut max, mut mean) = ([0.0; 8], [0.0; 8]);
        forward(Arch::new(), Pool::Max, OVERLAPPING, &x, &mut max);
        forward(Arch::new(), Pool::Mean, OVERLAPPING, &x, &mut mean);
        assert_eq!(max, [5.0, 5.0, 7.0, 5.0, 7.0, 9.0, 3.0, 9.0]);
        assert_eq!(mean.map(|mean| (mean * 6.0_f32).round()), [6.0, 9.0, 13.0, 10.0, 13.0, 9.0, 6.0, 8.0]);
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let (mut of_max, mut of_mean) = ([9.0; 12], [9.0; 12]);
        backward(Arch::new(), Pool::Max, OVERLAPPING, &x, &dy, &mut of_max);
        backward(Arch::new(), Pool::Mean, OVERLAPPING, &x, &dy, &mut of_mean);
        assert_eq!(of_max, [0.0, 7.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 7.0, 0.0, 14.0, 0.0]);
        assert_eq!((of_mean[0] * 6.0_f32).round(), 4.0);
        assert_eq!((of_mean[5] * 6.0_f32).round(), 18.0);
    }

    #[test]
    fn what_is_not_a_number_is_the_largest() {
        let mut y = [0.0; 1];
        let window = Window { image: [1, 3], kernel: [1, 3], stride: [1, 1], padding: [0, 0] };
        forward(Arch::new(), Pool::Max, window, &[1.0, f32::NAN, 2.0], &mut y);
        assert!(y[0].is_nan());
    }
}
