//! Every kernel's arithmetic, on the processor: the calls of the CUDA backend over the shim, against the processor's backend.
#![allow(clippy::unwrap_used)]

mod parity;
mod shim;

use mixnn::compute::cuda::{Bounds, Cuda, SOURCES};
use shim::Shim;

/// Threads of a block run from the first and from the last: a missing barrier makes one of the two wrong.
fn check(checks: impl Fn() -> Vec<parity::Check<Cuda<Shim>>>) {
    check_on(Cuda::new, checks);
}

fn check_on(backend: impl Fn(Shim) -> Cuda<Shim>, checks: impl Fn() -> Vec<parity::Check<Cuda<Shim>>>) {
    for backwards in [false, true] {
        let backend = backend(Shim::new(backwards));
        for (name, check) in checks() {
            println!("{name}, backwards {backwards}");
            check(&mut parity::Bench::new(&backend, name));
        }
    }
}

#[test]
fn values_on_their_own_have_the_same_bits() {
    check(parity::each::checks);
}

#[test]
fn matrices() {
    check(parity::rows::checks);
}

#[test]
fn attention() {
    check(parity::attention::checks);
}

#[test]
fn softmax_and_losses() {
    check(parity::losses::checks);
}

#[test]
fn tables_and_optimizers() {
    check(parity::parameters::checks);
}

#[test]
fn images() {
    check(parity::images::checks);
}

/// With room for the columns of a few images, of one, of less than one, and with threads that take several values.
#[test]
fn images_chunk_by_chunk() {
    for (values, blocks) in [(6000, 2), (1, 1)] {
        check_on(|shim| Cuda::new(shim).bounded(Bounds { values, blocks }), parity::images::checks);
    }
}

#[test]
fn sets() {
    check(parity::norm::checks);
}

#[test]
fn sets_by_few_blocks() {
    let bounds = Bounds { blocks: 2, ..Bounds::default() };
    check_on(|shim| Cuda::new(shim).bounded(bounds), parity::norm::checks);
}

/// What no test launches is not tested.
#[test]
fn every_kernel_has_a_name_and_one_alone() {
    let mut names: Vec<String> = SOURCES.iter().flat_map(|(_, source)| shim::kernel_names(source)).collect();
    let count = names.len();
    assert!(count > 20, "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
