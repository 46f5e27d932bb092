//! Every kernel's arithmetic, on the processor: the calls of the CUDA backend over the shim, against the processor's backend.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod parity;
mod shim;

use mixnn::compute::Memory;
use mixnn::compute::cuda::{Bounds, Cuda, CudaSealer, SOURCES};
use mixnn::crypto::aead::Library;
use mixnn::crypto::key::Key;
use mixnn::crypto::sealer::{
    CpuSealer, KeyId, OpenBatch, OpenError, OpenJob, Place, SealBatch, SealJob, Sealer, StreamId,
};
use mixnn::ids::Slot;
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

#[test]
fn cells() {
    check(parity::cells::checks);
    check(parity::lanes::checks);
}

/// A sealer on a shim, and a batch of one cell.
fn one_cell(device: &Shim) -> (CudaSealer<Shim>, SealBatch, OpenBatch) {
    let mut sealer = CudaSealer::new(device, Library::AwsLc, b"run".to_vec()).unwrap();
    let key = sealer.add(&Key::from_bytes([3; 32]));
    let [from, to] = [Place { block: 0, offset: 0 }; 2];
    let seal = sealer.lay_seals(16, vec![SealJob { layers: vec![key], cell: 7, from, to }]);
    let open = sealer.lay_opens(32, vec![OpenJob { key, cell: 7, from, to, under: None, over: None }]);
    (sealer, seal, open)
}

/// Whoever gave the cells learns that the device is lost, and no cell is sealed twice.
#[test]
fn a_lost_device_is_reported() {
    let device = Shim::new(false);
    let (mut sealer, seal, open) = one_cell(&device);
    let mut messages = [Cuda::new(Shim::new(false)).bytes(16).unwrap()];
    let mut blocks = [[0; 32]];
    sealer.seal(Slot(0), seal, &messages, &mut blocks).unwrap();
    sealer.open(Slot(0), open, &blocks, &mut messages).unwrap();
    device.lost.store(true, std::sync::atomic::Ordering::Relaxed);
    sealer.seal(Slot(1), seal, &messages, &mut blocks).unwrap_err();
    sealer.fetch(&messages[0], &mut [0; 16]).unwrap_err();
    sealer.store(&[0; 16], &mut messages[0]).unwrap_err();
    // In the next slot the processor seals an empty message, and verifies what comes.
    sealer.seal(Slot(2), seal, &messages, &mut blocks).unwrap();
    let mut there = CpuSealer::new(Library::AwsLc, b"run".to_vec());
    let key = there.add(&Key::from_bytes([3; 32]));
    let [from, to] = [Place { block: 0, offset: 0 }; 2];
    let batch = there.lay_opens(32, vec![OpenJob { key, cell: 7, from, to, under: None, over: None }]);
    let mut opened = [vec![9; 16]];
    there.open(Slot(2), batch, &blocks, &mut opened).unwrap();
    assert_eq!(opened, [vec![0; 16]]);
    sealer.open(Slot(2), open, &blocks, &mut messages).unwrap();
    assert!(matches!(sealer.open(Slot(3), open, &blocks, &mut messages), Err(OpenError::BadCells(_))));
}

/// A key takes 12.5 KB there, expanded: those that only relay are not there, unless blocks are. Nor are the keys of their keystreams.
#[test]
fn the_device_expands_the_keys_of_its_own_jobs() {
    for (lanes, due) in [(false, 3 + 1), (true, 5 + 3)] {
        let device = Shim::new(false);
        let mut sealer = CudaSealer::<Shim>::new(&device, Library::AwsLc, Vec::new()).unwrap();
        assert!(!lanes || sealer.lay_lanes(&[32], &[32]).unwrap().is_some());
        let keys: Vec<KeyId> = (0..6).map(|i| sealer.add(&Key::from_bytes([i; 32]))).collect();
        let [from, to] = [Place { block: 0, offset: 0 }; 2];
        let streams: Vec<StreamId> = (0..5).map(|i| sealer.add_stream(&Key::from_bytes([i; 32]))).collect();
        let opens = |of: &[usize], [under, over]: [Option<usize>; 2]| {
            let [under, over] = [under, over].map(|stream| stream.map(|i| streams[i]));
            of.iter().map(|i| OpenJob { key: keys[*i], cell: 0, from, to, under, over }).collect::<Vec<_>>()
        };
        sealer.lay_peels(32, opens(&[5, 1], [None, Some(4)]));
        sealer.lay_peels(32, opens(&[3], [Some(2), None]));
        sealer.lay_opens(32, opens(&[2, 0], [Some(1), None]));
        let seal = sealer.lay_seals(16, vec![SealJob { layers: vec![keys[1]], cell: 0, from, to }]);
        let message = Cuda::new(Shim::new(false)).bytes(16).unwrap();
        for slot in 0..2 {
            sealer.seal(Slot(slot), seal, std::slice::from_ref(&message), &mut [[0; 32]]).unwrap();
        }
        let launched = device.launched.lock().unwrap();
        let expanded: Vec<u32> =
            launched.iter().filter(|launch| launch.kernel == "aes_gcm_expand").map(|launch| launch.grid[0]).collect();
        assert_eq!(expanded, [due], "lanes there: {lanes}");
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "would seal cell 7")]
fn a_nonce_that_comes_twice_is_noticed() {
    let (mut sealer, seal, _) = one_cell(&Shim::new(false));
    let messages = [Cuda::new(Shim::new(false)).bytes(16).unwrap()];
    for _ in 0..2 {
        sealer.seal(Slot(9), seal, &messages, &mut [[0; 32]]).unwrap();
    }
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
