use std::path::Path;
use std::process::Command;

use gemm_common::cache::{CACHE_INFO, kernel_params};

use super::super::simd::{name, there};
use super::*;
use crate::compute::rounding::Sum;

fn values(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.73 + seed).sin()).collect()
}

/// The pairs of values of A and B whose products add up to the value of C in row `i` and column `j`.
fn pairs(shape: Gemm, a: &[f32], b: &[f32], i: usize, j: usize) -> Vec<(f32, f32)> {
    let Gemm { m, n, k, a_transposed, b_transposed, .. } = shape;
    let x = |l| if a_transposed { a[l * m + i] } else { a[i * k + l] };
    let y = |l| if b_transposed { b[j * k + l] } else { b[l * n + j] };
    (0..k).map(|l| (x(l), y(l))).collect()
}

/// C in f64, added to `c` if the shape accumulates.
fn sums(shape: Gemm, a: &[f32], b: &[f32], c: &[f32]) -> Vec<Sum> {
    let places = (0..shape.m).flat_map(|i| (0..shape.n).map(move |j| (i, j)));
    let sum = |(i, j)| {
        let mut sum = Sum::default();
        if shape.accumulate {
            sum.add(f64::from(c[i * shape.n + j]));
        }
        pairs(shape, a, b, i, j).iter().for_each(|(x, y)| sum.add(f64::from(*x) * f64::from(*y)));
        sum
    };
    places.map(sum).collect()
}

#[test]
fn agrees_with_f64_in_every_layout_with_all_instructions() {
    for simd in there() {
        for ([m, n, k], bits) in [[17, 33, 50], [7, 5, 40], [1, 70, 90], [30, 20, 1100], [70, 9, 1500]]
            .into_iter()
            .flat_map(|size| (0..8).map(move |bits| (size, bits)))
        {
            let (a_transposed, b_transposed, accumulate) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let shape = Gemm { m, n, k, a_transposed, b_transposed, accumulate };
            let (a, b) = (values(m * k, 1.0), values(k * n, 2.0));
            let mut c = values(m * n, 3.0);
            let due = sums(shape, &a, &b, &c);
            gemm(simd, shape, Parallelism::None, &a, &b, &mut c);
            due.iter().zip(&c).for_each(|(due, found)| due.is_nearly(*found, 0));
        }
    }
}

/// Shows that the tolerance of the test above can fail: one missing term is more than rounding makes.
#[test]
#[should_panic(expected = "is off by")]
fn a_term_too_few_is_noticed() {
    let (a, b) = (values(17 * 50, 1.0), values(50 * 33, 2.0));
    let shape = Gemm { m: 17, n: 33, k: 50, a_transposed: false, b_transposed: false, accumulate: false };
    let due = sums(shape, &a, &b, &[]);
    let mut c = vec![0.0; 17 * 33];
    let short = (&a[..], 50);
    within(Arch::new(), Gemm { k: 49, ..shape }, Parallelism::None, 1.0, short, (&b, 33), (&mut c, 33));
    due.iter().zip(&c).for_each(|(due, found)| due.is_nearly(*found, 0));
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for simd in there() {
        for (m, n, k) in [(64, 256, 784), (16, 128, 256), (512, 256, 784), (256, 784, 64), (7, 10, 128)] {
            let (a, b) = (values(m * k, 1.0), values(k * n, 2.0));
            let shape = Gemm { m, n, k, a_transposed: false, b_transposed: true, accumulate: false };
            let mut one = vec![0.0; m * n];
            gemm(simd, shape, Parallelism::None, &a, &b, &mut one);
            for threads in 2..5 {
                let mut many = vec![0.0; m * n];
                gemm(simd, shape, Parallelism::Rayon(threads), &a, &b, &mut many);
                assert!(one.iter().zip(&many).all(|(x, y)| x.to_bits() == y.to_bits()), "{m} {n} {k} {threads}");
            }
        }
    }
}

/// Environment variable by which the test of forced caches tells its child process which first-level cache to find, in bytes.
const FORCED: &str = "MIXNN_TEST_FIRST_CACHE";

/// Computes products without a special path term by term: the order of a sum, and so its bits, follow from its length and from
/// whether a side of the product is longer than 64.
#[test]
fn long_sums_are_cut_at_these_places() {
    if let Some(forced) = std::env::var_os(FORCED) {
        assert_eq!(CACHE_INFO[0].cache_bytes.to_string().as_str(), forced);
    }
    let equal = |parts: usize, of: usize| vec![of; parts];
    for ([m, n, k], parts) in [
        ([20, 30, 512], vec![512]),
        ([20, 30, 513], vec![512, 1]),
        ([64, 64, 514], vec![512, 2]),
        ([20, 30, 1300], vec![512, 512, 276]),
        ([65, 20, 513], vec![257, 256]),
        ([20, 70, 784], equal(2, 392)),
        ([130, 7, 1025], vec![342, 342, 341]),
        ([70, 9, 2048], equal(4, 512)),
    ] {
        assert_eq!(parts.iter().sum::<usize>(), k);
        let (a, b) = (values(m * k, 1.0), values(k * n, 2.0));
        for (simd, accumulate, scale) in there().into_iter().flat_map(|simd| [(simd, false, 1.0), (simd, true, 0.3)])
        {
            // The scalar set has no fused multiply-add.
            let add = |x: f32, y: f32, to: f32| if name(simd) == "scalar" { x * y + to } else { x.mul_add(y, to) };
            let shape = Gemm { m, n, k, a_transposed: false, b_transposed: false, accumulate };
            let before = values(m * n, 3.0);
            let mut c = before.clone();
            within(simd, shape, Parallelism::None, scale, (&a, k), (&b, n), (&mut c, n));
            for (at, found) in c.iter().enumerate() {
                let pairs = pairs(shape, &a, &b, at / n, at % n);
                let mut due = accumulate.then_some(before[at]);
                let mut from = 0;
                for terms in &parts {
                    let part = pairs[from..][..*terms].iter().fold(0.0, |sum, (x, y)| add(*x, *y, sum));
                    due = Some(due.map_or(scale * part, |due| add(scale, part, due)));
                    from += terms;
                }
                assert_eq!(found.to_bits(), due.unwrap().to_bits(), "{shape:?}, value {at}, {}", name(simd));
            }
        }
    }
}

/// Writes to `folder` what Linux says of a processor's caches: sizes of the first, second and third level.
fn write_caches(folder: &Path, sizes: [usize; 3], ways: usize) {
    for (index, bytes) in sizes.into_iter().enumerate() {
        let of = folder.join(format!("cpu0/cache/index{index}"));
        std::fs::create_dir_all(&of).unwrap();
        let says = [
            ("type", "Unified".to_owned()),
            ("level", (index + 1).to_string()),
            ("size", format!("{}K", bytes / 1024)),
            ("ways_of_associativity", ways.to_string()),
            ("coherency_line_size", "64".to_owned()),
            ("shared_cpu_list", "0".to_owned()),
        ];
        says.iter().for_each(|(name, text)| std::fs::write(of.join(name), text).unwrap());
    }
}

/// Repeats the test above on machines with other caches. `gemm` reads their sizes from the files of Linux, in whose place the
/// test puts its own.
#[test]
fn caches_of_any_size_leave_the_bits_as_they_are() {
    // Works for root, and for a user who may be root in a namespace of his own.
    let unshare = ["--mount", "-rm"]
        .into_iter()
        .find(|way| Command::new("unshare").args([way, "true"]).output().is_ok_and(|ran| ran.status.success()));
    let Some(unshare) = unshare else {
        eprintln!("no right to another view of /sys (unshare): caches of other sizes are not tried");
        return;
    };
    for (sizes, ways) in [([16 << 10, 512 << 10, 1 << 20], 8), ([1 << 20, 16 << 20, 64 << 20], 16)] {
        let folder = tempfile::tempdir().unwrap();
        write_caches(folder.path(), sizes, ways);
        let ran = Command::new("unshare")
            .args([unshare, "sh", "-c", "mount --bind \"$0\" /sys/devices/system/cpu && exec \"$@\""])
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .args(["long_sums_are_cut_at_these_places", "caches_have_a_say_in_gemm"].map(|test| {
                let module = module_path!().split_once("::").unwrap().1;
                format!("{module}::{test}")
            }))
            .env(FORCED, sizes[0].to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains("2 passed"),
            "{said}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

/// The control of the test above, run in its child process: with the forced cache, `gemm` itself would cut sums in other
/// places.
#[test]
fn caches_have_a_say_in_gemm() {
    let forced = std::env::var(FORCED).ok().and_then(|bytes| bytes.parse::<usize>().ok());
    if let Some(bytes) = forced {
        // The kernel of AVX-512 makes 64 by 6 values.
        assert_eq!(kernel_params(70, 70, 4096, 64, 6, 4).kc > TERMS, bytes > 1 << 19);
    }
}

#[test]
fn a_part_of_a_wider_matrix_is_as_one_of_its_own() {
    let (m, n, k) = (13, 21, 9);
    let (a, b) = (values(m * 40, 1.0), values(n * 50, 2.0));
    let part = |of: &[f32], stride: usize, rows: usize, columns: usize| -> Vec<f32> {
        (0..rows).flat_map(|row| of[row * stride..][..columns].to_vec()).collect()
    };
    let shape = Gemm { m, n, k, a_transposed: false, b_transposed: true, accumulate: true };
    for simd in there() {
        let mut wide = values(m * 30, 3.0);
        let before = wide.clone();
        within(simd, shape, Parallelism::None, 0.5, (&a[7..], 40), (&b[20..], 50), (&mut wide[4..], 30));
        let alone = Gemm { accumulate: false, ..shape };
        let due = sums(alone, &part(&a[7..], 40, m, k), &part(&b[20..], 50, n, k), &[]);
        for (at, found) in wide.iter().enumerate() {
            let place = at.checked_sub(4).map(|at| (at / 30, at % 30)).filter(|(_, column)| *column < n);
            let mut due = place.map_or_else(Sum::default, |(row, column)| due[row * n + column].times(0.5));
            due.add(f64::from(before[at]));
            due.is_nearly(*found, 1);
        }
    }
}

#[test]
#[should_panic(expected = "a buffer is shorter")]
fn a_part_that_leaves_its_slice_is_refused() {
    let shape = Gemm { m: 4, n: 4, k: 4, a_transposed: false, b_transposed: false, accumulate: false };
    within(Arch::new(), shape, Parallelism::None, 1.0, (&[0.0; 27], 8), (&[0.0; 16], 4), (&mut [0.0; 16], 4));
}
