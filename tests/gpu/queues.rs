//! Queues beside each other, and threads with one GPU.

use mixnn::compute::cuda::{Arg, Device, Launch};
use mixnn::compute::{Elementwise, Gemm, Matrix, Memory};
use mixnn::float::Precision;

use crate::{backend, driver, with_stand_ins};

fn first(
    queue: &impl Device<Memory = mixnn::compute::cuda::driver::GpuMemory>,
    memory: &mixnn::compute::cuda::driver::GpuMemory,
) -> u8 {
    let mut byte = [0];
    queue.read(memory, 0, &mut byte);
    byte[0]
}

#[test]
fn none_waits_for_the_others_work() {
    with_stand_ins(&[], || {
        let one = driver();
        let other = one.beside().unwrap();
        let [mine, theirs] = [(); 2].map(|()| one.allocate(64).unwrap());
        one.write(&[1; 64], &mine, 0);
        other.write(&[2; 64], &theirs, 0);
        other.finish().unwrap();
        assert_eq!(first(&other, &theirs), 2);
        assert_eq!(first(&other, &mine), 0, "the other queue's work is done by this one's end");
        one.finish().unwrap();
        assert_eq!(first(&other, &mine), 1);
    });
}

#[test]
fn what_is_queued_before_an_error_is_done_when_it_is_told() {
    with_stand_ins(&[], || {
        let one = driver();
        let other = one.beside().unwrap();
        let memory = one.allocate(64).unwrap();
        one.write(&[1; 64], &memory, 0);
        one.launch(
            Launch { kernel: "no_such_kernel", grid: [1; 3], block: 32, shared: 0 },
            &[Arg::Memory(&memory, 0)],
        );
        // Nothing is done after an error.
        one.write(&[2; 64], &memory, 0);
        let error = one.finish().unwrap_err().to_string();
        assert_eq!(error, "GPU 0 (Stand-in 0): no_such_kernel: named symbol not found (CUDA_ERROR_NOT_FOUND)");
        assert_eq!(first(&other, &memory), 1);
        one.write(&[3; 64], &memory, 0);
        one.finish().unwrap();
        assert_eq!(first(&other, &memory), 3);
    });
}

#[test]
fn threads_share_a_gpu() {
    with_stand_ins(&[], || {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..5 {
                        let backend = backend();
                        let n = 30 + thread;
                        let values: Vec<f32> = (0..n * n).map(|i| ((i * 7 + round) % 11) as f32).collect();
                        let [mut a, mut b, mut c] = [(); 3].map(|()| backend.zeros(n * n).unwrap());
                        backend.upload(&values, &mut a);
                        backend.add(n * n, &a, &mut b);
                        backend.add(n * n, &a, &mut b);
                        let shape =
                            Gemm { m: n, n, k: n, a_transposed: false, b_transposed: true, accumulate: false };
                        backend.gemm(shape, &a, &b, &mut c);
                        let mut here = vec![0.0; n * n];
                        backend.download(&c, &mut here);
                        backend.finish().unwrap();
                        for (at, here) in here.iter().enumerate() {
                            let (row, column) = (at / n, at % n);
                            let sum: f32 = (0..n).map(|k| values[row * n + k] * values[column * n + k]).sum();
                            assert_eq!(*here, 2.0 * sum);
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn a_fingerprint_names_all_that_the_bits_depend_on() {
    with_stand_ins(&[], || {
        let driver = mixnn::compute::cuda::driver::Driver::open(1, Precision::Tf32).unwrap();
        let wanted = "cuda/Stand-in 1/4/tf32/driver 13.0/nvrtc 13.0/cublaslt 130000";
        assert_eq!(driver.fingerprint(), wanted);
    });
}
