//! Products as they are asked for, by rows, against a plain sum.

use mixnn::compute::cuda::driver::{Driver, GpuMemory};
use mixnn::compute::cuda::{Device, OperandLayout, Product};
use mixnn::compute::{ComputeError, Gemm};
use mixnn::random::{Philox, Seed};

use crate::{driver, with_stand_ins};

/// Both are added up in f64 and rounded once: at most 14 terms, of a size of a half or less.
const ROUNDED: f32 = 7.0 * f32::EPSILON;

/// Values on both sides.
struct Values {
    here: GpuMemory,
    there: Vec<f32>,
}

impl Values {
    fn new(driver: &Driver, random: &mut Philox, len: usize) -> Self {
        let there: Vec<f32> = (0..len).map(|_| random.unit_f32() - 0.5).collect();
        let here = driver.allocate(4 * len).unwrap();
        let bytes: Vec<u8> = there.iter().flat_map(|value| value.to_le_bytes()).collect();
        driver.write(&bytes, &here, 0);
        Self { here, there }
    }

    fn now(&self, driver: &Driver) -> Vec<f32> {
        let mut bytes = vec![0; 4 * self.there.len()];
        driver.read(&self.here, 0, &mut bytes);
        driver.finish().unwrap();
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}

/// Where the values of `count` matrices stand that are stored as (rows, columns): with room between rows, between matrices and before.
fn side(random: &mut Philox, [rows, columns]: [usize; 2], shared: bool) -> OperandLayout {
    let row = columns + random.below(3) as usize;
    let step = if shared { 0 } else { rows * row + random.below(5) as usize };
    OperandLayout { row, step, at: random.below(9) as usize }
}

fn len(side: OperandLayout, rows: usize, count: usize) -> usize {
    side.at + count * side.step + rows * side.row
}

/// C after the product.
fn sums(product: Product, a: &[f32], b: &[f32], c: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let Product { shape: Gemm { m, n, k, a_transposed, b_transposed, accumulate }, count, relu, .. } = product;
    let place = |side: OperandLayout, i: usize, transposed: bool, row: usize, column: usize| {
        let [row, column] = if transposed { [column, row] } else { [row, column] };
        side.at + i * side.step + row * side.row + column
    };
    let mut out = c.to_vec();
    for i in 0..count {
        for row in 0..m {
            for column in 0..n {
                let term = |p: usize| {
                    let a = a[place(product.a, i, a_transposed, row, p)];
                    f64::from(a) * f64::from(b[place(product.b, i, b_transposed, p, column)])
                };
                let at = place(product.c, i, false, row, column);
                let before = if accumulate { f64::from(c[at]) } else { 0.0 };
                let bias = bias.map_or(0.0, |bias| f64::from(bias[column]));
                let sum = ((0..k).map(term).sum::<f64>() + before + bias) as f32;
                out[at] = if relu { sum.max(0.0) } else { sum };
            }
        }
    }
    out
}

#[test]
fn every_kind() {
    with_stand_ins(&[], || {
        let (driver, mut random) = (driver(), Seed::from_text("products").stream());
        for kind in 0..128_u32 {
            let flag = |bit: u32| kind >> bit & 1 == 1;
            let [m, n, k] = [(); 3].map(|()| 1 + random.below(12) as usize);
            let (a_transposed, b_transposed, accumulate) = (flag(0), flag(1), flag(2));
            let shape = Gemm { m, n, k, a_transposed, b_transposed, accumulate };
            let count = if flag(3) { 3 } else { 1 };
            let [a_stored, b_stored] = [(a_transposed, [m, k]), (b_transposed, [k, n])]
                .map(|(transposed, [rows, columns])| if transposed { [columns, rows] } else { [rows, columns] });
            let product = Product {
                shape,
                count,
                a: side(&mut random, a_stored, false),
                b: side(&mut random, b_stored, flag(5)),
                c: side(&mut random, [m, n], false),
                // Only behind a bias.
                relu: flag(4) && flag(6),
            };
            let a = Values::new(&driver, &mut random, len(product.a, a_stored[0], count));
            let b = Values::new(&driver, &mut random, len(product.b, b_stored[0], count));
            let c = Values::new(&driver, &mut random, len(product.c, m, count));
            let bias = flag(4).then(|| Values::new(&driver, &mut random, n));
            driver.multiply(product, &a.here, &b.here, &c.here, bias.as_ref().map(|bias| &bias.here));
            let there = sums(product, &a.there, &b.there, &c.there, bias.as_ref().map(|bias| &bias.there[..]));
            for (at, (here, there)) in c.now(&driver).iter().zip(&there).enumerate() {
                assert!((here - there).abs() <= ROUNDED, "{product:?}, value {at}: {here}, not {there}");
            }
        }
    });
}

/// The pointer of a bias is kept with the description of a product: the next product of that shape has another.
#[test]
fn a_bias_is_its_own_products() {
    with_stand_ins(&[], || {
        let (driver, mut random) = (driver(), Seed::from_text("bias").stream());
        let [m, n, k] = [4, 6, 5];
        let shape = Gemm { m, n, k, a_transposed: false, b_transposed: false, accumulate: false };
        let product = Product {
            shape,
            count: 1,
            a: OperandLayout::whole(k),
            b: OperandLayout::whole(n),
            c: OperandLayout::whole(n),
            relu: false,
        };
        let mut new = |len| Values::new(&driver, &mut random, len);
        let (a, b, biases, results) = (new(m * k), new(k * n), [new(n), new(n)], [new(m * n), new(m * n)]);
        // Both are queued before either is done.
        for (bias, c) in biases.iter().zip(&results) {
            driver.multiply(product, &a.here, &b.here, &c.here, Some(&bias.here));
        }
        for (bias, c) in biases.iter().zip(&results) {
            let there = sums(product, &a.there, &b.there, &c.there, Some(&bias.there));
            for (here, there) in c.now(&driver).iter().zip(&there) {
                assert!((here - there).abs() <= ROUNDED, "{here}, not {there}");
            }
        }
    });
}

#[test]
fn nothing_is_multiplied_where_there_is_nothing() {
    with_stand_ins(&[], || {
        let (driver, mut random) = (driver(), Seed::from_text("nothing").stream());
        let values = Values::new(&driver, &mut random, 64);
        for (count, m, n) in [(0, 2, 2), (1, 0, 2), (1, 2, 0)] {
            let shape = Gemm { m, n, k: 3, a_transposed: false, b_transposed: false, accumulate: false };
            let product = Product {
                shape,
                count,
                a: OperandLayout::whole(3),
                b: OperandLayout::whole(n),
                c: OperandLayout::whole(n),
                relu: false,
            };
            driver.multiply(product, &values.here, &values.here, &values.here, None);
        }
        assert_eq!(values.now(&driver), values.there);
    });
}

#[test]
fn a_product_does_not_leave_its_memory() {
    with_stand_ins(&[], || {
        let driver = driver();
        let memory = driver.allocate(4 * 16).unwrap();
        let shape = Gemm { m: 4, n: 4, k: 4, a_transposed: false, b_transposed: false, accumulate: false };
        let whole = OperandLayout::whole(4);
        let product =
            Product { shape, count: 1, a: whole, b: OperandLayout { at: 1, ..whole }, c: whole, relu: false };
        let multiply = || driver.multiply(product, &memory, &memory, &memory, None);
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply)).unwrap_err();
        let said = said.downcast_ref::<String>().unwrap();
        assert!(said.contains("a product takes 17 values of 16"), "{said}");
    });
}

#[test]
fn a_workspace_for_which_there_is_no_room_is_an_error() {
    with_stand_ins(&[("MIXNN_FAKE_MEMORY", "1048576")], || {
        let (driver, mut random) = (driver(), Seed::from_text("room").stream());
        let values = Values::new(&driver, &mut random, 16);
        let shape = Gemm { m: 4, n: 4, k: 4, a_transposed: false, b_transposed: false, accumulate: false };
        let whole = OperandLayout::whole(4);
        let product = Product { shape, count: 1, a: whole, b: whole, c: whole, relu: false };
        driver.multiply(product, &values.here, &values.here, &values.here, None);
        let error = driver.finish().unwrap_err();
        assert!(matches!(error, ComputeError::OutOfMemory { bytes } if bytes == 32 << 20), "{error}");
        // It has been said, and the GPU is well.
        assert_eq!(values.now(&driver), values.there);
    });
}
