//! What goes wrong with a GPU, and what is said of it.

use mixnn::compute::cuda::Device;
use mixnn::compute::cuda::driver::{Driver, found};
use mixnn::compute::{ComputeError, Elementwise, Gemm, Matrix, Memory};
use mixnn::float::Precision;

use crate::{backend, with_stand_ins};

fn refused(ordinal: usize) -> String {
    match Driver::open(ordinal, Precision::Fp32) {
        Err(error @ ComputeError::NoDevice { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(driver) => panic!("{:?} is opened", driver.about()),
    }
}

#[test]
fn gpus_are_found() {
    with_stand_ins(&[("MIXNN_FAKE_DEVICES", "3"), ("MIXNN_FAKE_MEMORY", "12345")], || {
        let (gpus, version) = found().unwrap();
        assert_eq!((gpus.len(), version), (3, [13, 0]));
        let gpu = &gpus[2];
        assert_eq!((gpu.ordinal, &gpu.name[..], gpu.capability), (2, "Stand-in 2", [9, 0]));
        assert_eq!((gpu.units, gpu.memory), (4, 12345));
        assert_eq!(*Driver::open(2, Precision::Fp32).unwrap().about(), *gpu);
    });
}

#[test]
fn no_gpu() {
    with_stand_ins(&[("MIXNN_FAKE_DEVICES", "0")], || {
        let said = refused(0);
        assert!(said.contains("no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)"), "{said}");
        assert!(found().is_err());
    });
}

#[test]
fn a_gpu_beyond_the_last() {
    with_stand_ins(&[], || {
        let said = refused(2);
        assert!(said.contains("there is no GPU 2: this process may use 2, from 0 on"), "{said}");
    });
}

#[test]
fn out_of_memory() {
    with_stand_ins(&[("MIXNN_FAKE_MEMORY", "1048576")], || {
        let backend = backend();
        let mut held = backend.zeros(200_000).unwrap();
        match backend.zeros(100_000) {
            Err(ComputeError::OutOfMemory { bytes }) => assert_eq!(bytes, 400_000),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("more than there is"),
        }
        assert!(matches!(backend.zeros(usize::MAX), Err(ComputeError::OutOfMemory { .. })));
        // The GPU is well, and what is given back can be had again.
        backend.upload(&[1.0; 10], &mut held);
        backend.finish().unwrap();
        drop(held);
        backend.zeros(262_144).unwrap();
    });
}

#[test]
fn scratch_for_which_there_is_no_room() {
    with_stand_ins(&[("MIXNN_FAKE_MEMORY", "1048576")], || {
        let backend = backend();
        let [x, mut sum] = [250_000, 10_000].map(|len| backend.zeros(len).unwrap());
        backend.sum_rows(25, 10_000, &x, false, &mut sum);
        let error = backend.finish().unwrap_err();
        assert!(matches!(error, ComputeError::OutOfMemory { bytes: 40_000 }), "{error}");
        backend.sum_rows(250, 100, &x, false, &mut sum);
        backend.finish().unwrap();
    });
}

#[test]
fn a_gpu_that_is_lost() {
    with_stand_ins(&[("MIXNN_FAKE_LOST", "5")], || {
        let backend = backend();
        let [mut x, mut y] = [(); 2].map(|()| backend.zeros(100).unwrap());
        backend.upload(&[1.0; 100], &mut x);
        for _ in 0..5 {
            backend.add(100, &x, &mut y);
            backend.finish().unwrap();
        }
        backend.add(100, &x, &mut y);
        let mut seen = [7.0; 100];
        backend.download(&y, &mut seen);
        let error = backend.finish().unwrap_err().to_string();
        let ecc = "uncorrectable ECC error encountered (CUDA_ERROR_ECC_UNCORRECTABLE)";
        assert_eq!(error, format!("GPU 0 (Stand-in 0): copy from it: {ecc}"));
        // Nothing is done any more, and each time that one asks, it is said.
        let shape = Gemm { m: 10, n: 10, k: 10, a_transposed: false, b_transposed: false, accumulate: false };
        for call in 0..5 {
            match call {
                0 => backend.upload(&seen, &mut x),
                1 => backend.download(&x, &mut seen),
                2 => backend.gemm(shape, &x, &x, &mut y),
                3 => backend.add(100, &x, &mut y),
                _ => {}
            }
            let error = backend.finish().unwrap_err().to_string();
            assert!(error.contains("GPU 0 (Stand-in 0)") && error.contains(ecc), "{error}");
        }
        assert!(backend.zeros(1).is_err() && backend.device().beside().is_err());
        drop((x, y, backend));
        // Another GPU is none the worse.
        let other = Driver::open(1, Precision::Fp32).unwrap();
        other.allocate(100).unwrap();
        other.finish().unwrap();
    });
}

#[test]
fn a_gpu_that_is_lost_takes_its_queues_with_it() {
    with_stand_ins(&[("MIXNN_FAKE_LOST", "0")], || {
        let one = backend();
        let other = one.device().beside().unwrap();
        let [x, mut y] = [(); 2].map(|()| one.zeros(100).unwrap());
        other.finish().unwrap();
        one.add(100, &x, &mut y);
        assert!(one.finish().is_err());
        assert!(other.finish().is_err());
        assert!(Driver::open(0, Precision::Fp32).is_err());
    });
}
