//! Pools on the processor, one plane (a channel of an image) after the other.

use pulp::Arch;

use super::vector::vectorised;

use crate::compute::{ImageWindow, Pool};

/// See [`Images::pool`](crate::compute::Images::pool). `x` is (planes, height, width), `y` (planes, places).
pub(super) fn forward(simd: Arch, pool: Pool, window: ImageWindow, x: &[f32], y: &mut [f32]) {
    let size = (window.kernel[0] * window.kernel[1]) as f32;
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact(window.pixels()).zip(y.chunks_exact_mut(window.outputs())) {
                match pool {
                    Pool::Max if halves(window) => {
                        for (x, y) in x.chunks(2 * window.image[1]).zip(y.chunks_exact_mut(window.places()[1])) {
                            let (above, below) = x.split_at(window.image[1]);
                            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
                            for (y, (a, b)) in y.iter_mut().zip(pairs) {
                                *y = first_largest([a[0], a[1], b[0], b[1]]).1;
                            }
                        }
                    }
                    Pool::Max => spots(
                        window,
                        #[inline(always)]
                        |place, spot| {
                            y[place] = x[largest(window, spot, x)];
                        },
                    ),
                    Pool::Mean => spots(
                        window,
                        #[inline(always)]
                        |place, spot| {
                            let mut sum = 0.0;
                            spot.lines(window).for_each(|line| x[line].iter().for_each(|x| sum += x));
                            y[place] = sum / size;
                        },
                    ),
                }
            }
        },
    );
}

/// See [`Images::pool_backward`](crate::compute::Images::pool_backward). `x` and `dx` are (planes, height, width), `dy` is
/// (planes, places).
pub(super) fn backward(simd: Arch, pool: Pool, window: ImageWindow, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let size = (window.kernel[0] * window.kernel[1]) as f32;
    vectorised(
        simd,
        #[inline(always)]
        || {
            let planes = x.chunks_exact(window.pixels()).zip(dx.chunks_exact_mut(window.pixels()));
            for ((x, dx), dy) in planes.zip(dy.chunks_exact(window.outputs())) {
                dx.fill(0.0);
                match pool {
                    Pool::Max if halves(window) => {
                        let rows = x.chunks(2 * window.image[1]).zip(dx.chunks_mut(2 * window.image[1]));
                        for ((x, dx), dy) in rows.zip(dy.chunks_exact(window.places()[1])) {
                            let (above, below) = x.split_at(window.image[1]);
                            let (dx_above, dx_below) = dx.split_at_mut(window.image[1]);
                            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
                            let dx_above = dx_above.as_chunks_mut::<2>().0.iter_mut();
                            let dx_pairs = dx_above.zip(dx_below.as_chunks_mut::<2>().0);
                            for (((a, b), (dx_a, dx_b)), dy) in pairs.zip(dx_pairs).zip(dy) {
                                let at = first_largest([a[0], a[1], b[0], b[1]]).0;
                                let here = |place| if at == place { *dy } else { 0.0 };
                                (*dx_a, *dx_b) = ([here(0), here(1)], [here(2), here(3)]);
                            }
                        }
                    }
                    Pool::Max => spots(
                        window,
                        #[inline(always)]
                        |place, spot| dx[largest(window, spot, x)] += dy[place],
                    ),
                    Pool::Mean => spots(
                        window,
                        #[inline(always)]
                        |place, spot| {
                            let share = dy[place] / size;
                            spot.lines(window).for_each(|line| dx[line].iter_mut().for_each(|dx| *dx += share));
                        },
                    ),
                }
            }
        },
    );
}

/// Whether 2x2 windows lie side by side without padding: the one case worth vector code of its own.
fn halves(window: ImageWindow) -> bool {
    window.kernel == [2, 2] && window.stride == [2, 2] && window.padding == [0, 0]
}

/// Whether `value` is larger than `than`. NaN is larger than any number, but not than NaN.
#[inline(always)]
fn is_larger(value: f32, than: f32) -> bool {
    value > than || (value.is_nan() && !than.is_nan())
}

/// Index and value of the first of the largest. There is no branch, so that loops over it become vector code.
#[inline(always)]
fn first_largest(values: [f32; 4]) -> (u32, f32) {
    let (mut at, mut most) = (0, values[0]);
    for place in 1..4 {
        let larger = is_larger(values[place as usize], most);
        at = if larger { place } else { at };
        most = if larger { values[place as usize] } else { most };
    }
    (at, most)
}

/// The part of a plane that lies under the window at one place, without padding.
#[derive(Clone, Copy)]
struct Spot {
    /// First row, and end of the rows, exclusive.
    rows: [usize; 2],
    /// First column, and end of the columns, exclusive.
    columns: [usize; 2],
}

impl Spot {
    /// The spot's rows, as index ranges of the plane.
    #[inline(always)]
    fn lines(self, window: ImageWindow) -> impl Iterator<Item = std::ops::Range<usize>> {
        let [from, to] = self.columns;
        (self.rows[0]..self.rows[1]).map(move |row| row * window.image[1] + from..row * window.image[1] + to)
    }
}

/// Index in the plane of the first of the largest values under the window, or of the first NaN.
#[inline(always)]
fn largest(window: ImageWindow, spot: Spot, x: &[f32]) -> usize {
    let mut best = spot.rows[0] * window.image[1] + spot.columns[0];
    let mut most = x[best];
    for line in spot.lines(window) {
        for at in line {
            let value = x[at];
            if is_larger(value, most) {
                (best, most) = (at, value);
            }
        }
    }
    best
}

/// Calls `each` with the number and the spot of every place of the window, in order.
#[inline(always)]
fn spots(window: ImageWindow, mut each: impl FnMut(usize, Spot)) {
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
    use super::super::simd::chosen;
    use super::*;

    const OVERLAPPING: ImageWindow = ImageWindow { image: [3, 4], kernel: [2, 3], stride: [1, 2], padding: [1, 1] };

    #[test]
    fn the_largest_and_the_mean_of_each_window() {
        #[rustfmt::skip]
        let x = [
            1.0, 5.0, 2.0, 2.0,
            7.0, 0.0, -1.0, 2.0,
            3.0, 3.0, 9.0, -4.0,
        ];
        let (mut max, mut mean) = ([0.0; 8], [0.0; 8]);
        forward(chosen().unwrap(), Pool::Max, OVERLAPPING, &x, &mut max);
        forward(chosen().unwrap(), Pool::Mean, OVERLAPPING, &x, &mut mean);
        assert_eq!(max, [5.0, 5.0, 7.0, 5.0, 7.0, 9.0, 3.0, 9.0]);
        assert_eq!(mean.map(|mean| (mean * 6.0_f32).round()), [6.0, 9.0, 13.0, 10.0, 13.0, 9.0, 6.0, 8.0]);
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let (mut of_max, mut of_mean) = ([9.0; 12], [9.0; 12]);
        backward(chosen().unwrap(), Pool::Max, OVERLAPPING, &x, &dy, &mut of_max);
        backward(chosen().unwrap(), Pool::Mean, OVERLAPPING, &x, &dy, &mut of_mean);
        assert_eq!(of_max, [0.0, 7.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 7.0, 0.0, 14.0, 0.0]);
        assert_eq!((of_mean[0] * 6.0_f32).round(), 4.0);
        assert_eq!((of_mean[5] * 6.0_f32).round(), 18.0);
    }

    /// Compares the vector code for 2x2 windows with the general code.
    #[test]
    fn halving_is_the_general_way() {
        for image in [[6, 8], [7, 9], [2, 3]] {
            let window = ImageWindow { image, kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
            let mut x: Vec<f32> = (0..2 * window.pixels()).map(|i| ((i * i) % 7) as f32).collect();
            x[3] = f32::NAN;
            let dy: Vec<f32> = (0..2 * window.outputs()).map(|i| i as f32 + 1.0).collect();
            let (mut y, mut dx) = (vec![9.0; dy.len()], vec![9.0; x.len()]);
            forward(chosen().unwrap(), Pool::Max, window, &x, &mut y);
            backward(chosen().unwrap(), Pool::Max, window, &x, &dy, &mut dx);
            let (mut due_y, mut due_dx) = (vec![9.0; dy.len()], vec![0.0; x.len()]);
            for plane in 0..2 {
                spots(window, |place, spot| {
                    let x = &x[plane * window.pixels()..][..window.pixels()];
                    let (at, out) = (largest(window, spot, x), plane * window.outputs() + place);
                    due_y[out] = x[at];
                    due_dx[plane * window.pixels() + at] += dy[out];
                });
            }
            assert_eq!(dx, due_dx);
            assert!(y.iter().zip(&due_y).all(|(y, due)| y.to_bits() == due.to_bits()));
        }
    }

    #[test]
    fn what_is_not_a_number_is_the_largest() {
        let mut y = [0.0; 1];
        let window = ImageWindow { image: [1, 3], kernel: [1, 3], stride: [1, 1], padding: [0, 0] };
        forward(chosen().unwrap(), Pool::Max, window, &[1.0, f32::NAN, 2.0], &mut y);
        assert!(y[0].is_nan());
    }
}
