//! Copies between the processor and a GPU.

use mixnn::compute::cuda::Device;
use mixnn::compute::cuda::driver::Driver;
use mixnn::random::Seed;

use crate::{driver, with_stand_ins};

const SIZES: [usize; 9] = [0, 1, 3, 255, 4096, 65_536, 65_537, 1 << 20, (3 << 20) + 5];

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    let mut random = Seed::from_text(&seed.to_string()).stream();
    let words = (0..len.div_ceil(4)).flat_map(|_| random.next_u32().to_le_bytes());
    words.take(len).collect()
}

fn read(driver: &Driver, memory: &mixnn::compute::cuda::driver::GpuMemory, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    driver.read(memory, at, &mut bytes);
    driver.finish().unwrap();
    bytes
}

/// What is written leaves one buffer after the other, and may change once the call is back.
#[test]
fn of_every_size_back_to_back() {
    with_stand_ins(&[], || {
        let driver = driver();
        let memory = driver.allocate(SIZES.iter().sum::<usize>() + 64).unwrap();
        let order = [8, 1, 0, 7, 2, 6, 3, 5, 4];
        let mut places = Vec::new();
        let mut at = 7;
        for size in order.map(|i| SIZES[i]) {
            let mut host = bytes(size, size);
            driver.write(&host, &memory, at);
            host.fill(0);
            places.push((at, size));
            at += size;
        }
        for (at, size) in places {
            assert_eq!(read(&driver, &memory, at, size), bytes(size, size), "{size} bytes");
        }
        assert_eq!(read(&driver, &memory, 0, 7), [0; 7], "the rest is left alone");
    });
}

#[test]
fn memory_is_zero_and_on_a_boundary_of_its_own() {
    with_stand_ins(&[], || {
        let driver = driver();
        for size in SIZES {
            let memory = driver.allocate(size).unwrap();
            assert_eq!(read(&driver, &memory, 0, size), vec![0; size]);
            // The stand-ins end the process if this is still there when the memory is given back.
            driver.write(&bytes(1, size), &memory, 0);
        }
    });
}

#[test]
fn within_a_gpu() {
    with_stand_ins(&[], || {
        let driver = driver();
        let [from, to] = [5000, 4000].map(|size| driver.allocate(size).unwrap());
        let host = bytes(2, 5000);
        driver.write(&host, &from, 0);
        driver.write(&[9; 4000], &to, 0);
        driver.copy(&from, &to, 0);
        driver.copy(&from, &to, 3001);
        driver.clear(&to, 100, 100);
        driver.clear(&to, 101, 203);
        let mut wanted = [&host[..3001], &[9; 999]].concat();
        wanted[101..203].fill(0);
        assert_eq!(read(&driver, &to, 0, 4000), wanted);
    });
}

/// The last thing that goes may be a tensor, a queue, or a queue beside another.
#[test]
fn a_gpu_is_closed_by_the_last_that_uses_it() {
    with_stand_ins(&[], || {
        for last in 0..3 {
            let driver = driver();
            let beside = driver.beside().unwrap();
            let memory = driver.allocate(1000).unwrap();
            for queue in [&driver, &beside] {
                queue.write(&[1; 1000], &memory, 0);
                assert_eq!(read(queue, &memory, 0, 1000), [1; 1000]);
                // It goes with work that is not done.
                queue.write(&[2; 1000], &memory, 0);
            }
            match last {
                0 => drop((beside, driver, memory)),
                1 => drop((memory, beside, driver)),
                _ => drop((memory, driver, beside)),
            }
        }
    });
}
