//! GPUs: NVIDIA's driver, NVRTC, cuBLASLt, and each device at work.

use std::time::Instant;

use super::Finding;
use crate::compute::cpu::Cpu;
use crate::compute::cuda::Cuda;
use crate::compute::cuda::driver::{About, Driver, compile, found, products_version};
use crate::compute::{ComputeError, Elementwise, Function, Gemm, Matrix};
use crate::float::Precision;

/// How many rows and columns the matrices have that are multiplied.
const SIDE: usize = 128;
/// By how much two sums of [`SIDE`] products may differ, each of them at most 1, if they are added in different orders.
const TOLERANCE: f32 = 1e-4;

/// The lines on GPUs and on the libraries that they need. `cpu` says what results are right.
pub(super) fn examined(cpu: &Cpu) -> Vec<Finding> {
    let found = found();
    // Where there is no GPU, nothing that it would need is missed.
    let missing = |of, error: &ComputeError| match &found {
        Err(ComputeError::NoDevice { .. }) => Finding::absent(of, error.to_string()),
        _ => Finding::broken(of, error.to_string()),
    };
    let mut lines = vec![match &found {
        Ok((_, [major, minor])) => Finding::there("driver", format!("of CUDA {major}.{minor}")),
        Err(error) => missing("driver", error),
    }];
    lines.push(match compile::version() {
        Ok([major, minor]) => Finding::there("NVRTC", format!("{major}.{minor}")),
        Err(error) => missing("NVRTC", &error),
    });
    lines.push(match products_version() {
        Ok(version) => Finding::there("cuBLASLt", version.to_string()),
        Err(error) => missing("cuBLASLt", &error),
    });
    for gpu in found.map(|(gpus, _)| gpus).into_iter().flatten() {
        let About { ordinal, name, capability: [major, minor], units, memory } = &gpu;
        let says = format!(
            "{ordinal}: {name}, compute capability {major}.{minor}, {units} multiprocessors, {:.1} GiB",
            *memory as f64 / f64::from(1 << 30)
        );
        lines.push(match at_work(*ordinal, cpu) {
            Ok(seconds) => {
                Finding::there("GPU", format!("{says}; kernels ready in {seconds:.1} s, results are right"))
            }
            Err(error) => Finding::broken("GPU", format!("{says}; {error}")),
        });
    }
    lines
}

/// Opens the GPU number `ordinal`, runs a kernel and a product on it, and compares the results with the processor's.
/// Returns how many seconds it took to open.
///
/// # Errors
/// [`ComputeError`] where a call fails or a result is wrong.
fn at_work(ordinal: usize, cpu: &Cpu) -> Result<f64, ComputeError> {
    let started = Instant::now();
    let gpu = Cuda::new(Driver::open(ordinal, Precision::Fp32)?);
    let seconds = started.elapsed().as_secs_f64();
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| ((i * 37 % 201) as f32 - 100.0) / 100.0).collect();
    let ([y, c], [due_y, due_c]) = (results(&gpu, &values)?, results(cpu, &values)?);
    let same = y.iter().zip(&due_y).all(|(y, due)| y.to_bits() == due.to_bits());
    let near = c.iter().zip(&due_c).all(|(c, due)| (c - due).abs() < TOLERANCE);
    match same && near {
        true => Ok(seconds),
        false => Err(ComputeError::Device {
            device: format!("GPU {ordinal}"),
            call: if same { "multiply matrices" } else { "work out tanh" }.to_owned(),
            what: "other numbers than the processor's".to_owned(),
        }),
    }
}

/// The hyperbolic tangent of each of `values`, and the product of the matrix that they form with its transpose.
fn results<B: Elementwise + Matrix>(backend: &B, values: &[f32]) -> Result<[Vec<f32>; 2], ComputeError> {
    let len = values.len();
    let mut x = backend.zeros(len)?;
    let [mut y, mut c] = [backend.zeros(len)?, backend.zeros(len)?];
    backend.upload(values, &mut x);
    backend.map(Function::Tanh, len, &x, &mut y);
    let shape = Gemm { m: SIDE, n: SIDE, k: SIDE, a_transposed: false, b_transposed: true, accumulate: false };
    backend.gemm(shape, &x, &x, &mut c);
    let mut found = [vec![0.0; len], vec![0.0; len]];
    backend.download(&y, &mut found[0]);
    backend.download(&c, &mut found[1]);
    backend.finish()?;
    Ok(found)
}
