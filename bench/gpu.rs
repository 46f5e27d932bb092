//! What a GPU does, beside its own ceilings measured in the same run: correctness first, then sealing, products, and what the
//! memory's speed bounds. `bench/gpu.py` runs this, and jobs; `--json FILE` keeps the figures.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../tests/parity/mod.rs"]
mod parity;
mod say;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use mixnn::compute::cuda::driver::Driver;
use mixnn::compute::cuda::{Cuda, CudaSealer};
use mixnn::compute::{
    Adam, Backend, Elementwise, Function, Gemm, Grid, Matrix, Memory, Norm, Optimize, PhiloxStream, Softmax,
};
use mixnn::crypto::aead::Library;
use mixnn::crypto::key::Key;
use mixnn::crypto::sealer::{OpenJob, Place as At, SealJob, Sealer};
use mixnn::float::{Float, Precision};
use mixnn::ids::Slot;
use mixnn::job::op::{Activation, Linear};
use mixnn::job::{Op, Optimizer, Shape};
use mixnn::nn::{Pass, Stage, StageSpec};
use mixnn::random::Seed;
use say::say;
use serde_json::{Value, json};

type Gpu = Cuda<Driver>;

/// How large all is.
struct Size {
    /// Values that are copied.
    copied: usize,
    /// KiB of a cell, and how many there are.
    kib: &'static [usize],
    cells: &'static [usize],
    /// Launches of a batch at least.
    least: usize,
    /// Bytes that the processor seals.
    processor: usize,
    /// Side of a tensor, and of a stage.
    side: usize,
    stage: usize,
}

const FULL: Size = Size {
    copied: 1 << 28,
    kib: &[4, 16, 64],
    cells: &[1, 16, 256, 1024, 4096],
    least: 4,
    processor: 256 << 20,
    side: 8192,
    stage: 4096,
};

/// To see that it runs: the figures mean nothing.
const SMALL: Size =
    Size { copied: 1 << 12, kib: &[1], cells: &[1, 3], least: 1, processor: 1 << 20, side: 32, stage: 32 };

/// Repetitions whose median counts.
const ROUNDS: usize = 7;
/// Bytes of a tag.
const TAG: usize = 16;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let file = args.iter().position(|arg| arg == "--json").and_then(|at| args.get(at + 1));
    let size = if args.iter().any(|arg| arg == "--small") { SMALL } else { FULL };
    let gpu = Cuda::new(Driver::open(0, Precision::Fp32).unwrap_or_else(|error| panic!("{error}")));
    let about = gpu.device().about().clone();
    say(format!("{}, compute capability {}.{}", about.name, about.capability[0], about.capability[1]));
    say(format!("{}\n\n", gpu.fingerprint()));
    let wrong = correctness(&gpu);
    let copy = copy_rate(&gpu, &size);
    say(format!("copy within the device: {copy} GB/s, read and written\n\n"));
    let sealing = sealing(&gpu, &size);
    let kernels = kernels(&gpu, copy.median, size.side);
    let stages = [Precision::Fp32, Precision::Tf32, Precision::Bf16].map(|precision| stage(precision, size.stage));
    let found = json!({
        "device": about.name, "fingerprint": gpu.fingerprint(), "wrong": wrong, "copy_gb_s": copy.json(), "sealing": sealing,
        "kernels": kernels, "stages": stages,
    });
    if let Some(file) = file {
        std::fs::write(file, format!("{found:#}\n")).unwrap();
    }
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
}

/// The checks that fail, on inputs that no run before had.
fn correctness(gpu: &Gpu) -> Vec<String> {
    let seed: u64 = rand::random();
    let mut wrong = Vec::new();
    let checks = [parity::all::<Gpu>(), parity::cells::checks::<Driver>()].concat();
    for (name, check) in &checks {
        let ran = catch_unwind(AssertUnwindSafe(|| check(&mut parity::Bench::new(gpu, &format!("{name} {seed}")))));
        if ran.is_err() {
            wrong.push((*name).to_owned());
        }
    }
    say(format!("correctness: {} of {} checks pass (seed {seed})", checks.len() - wrong.len(), checks.len()));
    wrong
}

/// A figure of several rounds.
#[derive(Clone, Copy)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    /// Of the seconds that [`ROUNDS`] repetitions of `each` calls took, after one that does not count.
    fn seconds(each: usize, mut round: impl FnMut()) -> Self {
        let took = (0..=ROUNDS).map(|_| {
            let started = Instant::now();
            round();
            started.elapsed().as_secs_f64() / each as f64
        });
        Self::of(took.skip(1).collect())
    }

    fn of(mut found: Vec<f64>) -> Self {
        found.sort_unstable_by(f64::total_cmp);
        Self { median: found[found.len() / 2], least: found[0], most: found[found.len() - 1] }
    }

    /// So much done in these seconds: how much a second.
    fn rate(self, done: f64) -> Self {
        Self { median: done / self.median, least: done / self.most, most: done / self.least }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        write!(f, "{median:.1} ({least:.1} to {most:.1})")
    }
}

/// Seconds of `work`, of which `each` are queued at a time.
fn seconds(gpu: &Gpu, each: usize, mut work: impl FnMut()) -> Figure {
    Figure::seconds(each, || {
        (0..each).for_each(|_| work());
        gpu.finish().unwrap();
    })
}

fn random(gpu: &Gpu, len: usize) -> <Gpu as Memory>::Buf {
    let mut stream = Seed::from_text("bench").stream();
    let values: Vec<f32> = (0..len).map(|_| 2.0 * stream.unit_f32() - 1.0).collect();
    let mut buffer = gpu.zeros(len).unwrap();
    gpu.upload(&values, &mut buffer);
    buffer
}

/// GB/s, read and written.
fn copy_rate(gpu: &Gpu, size: &Size) -> Figure {
    let len = size.copied;
    let (from, mut to) = (random(gpu, len), gpu.zeros(len).unwrap());
    seconds(gpu, 10, || gpu.copy(len, &from, &mut to)).rate(8e-9 * len as f64)
}

/// AES-256-GCM on the GPU, for cells on the device, and on the processor.
fn sealing(gpu: &Gpu, size: &Size) -> Vec<Value> {
    say(format!("AES-256-GCM, GB/s         GPU seal   open   3 layers   one core   {} cores", cores()));
    let mut rows = Vec::new();
    for cell in size.kib.iter().map(|kib| kib << 10) {
        let [one, all] = [1, cores()].map(|threads| processor(size, cell, threads));
        for cells in size.cells.iter().copied() {
            let [seal, open] = device(gpu, size, cell, cells, 1);
            let [onion, _] = device(gpu, size, cell, cells, 3);
            let [s, o, l, c, a] = [seal, open, onion, one, all].map(|figure| figure.median);
            say(format!(
                "{cells:>5} cells of {:>2} KiB       {s:>8.1} {o:>6.1} {l:>10.1} {c:>10.1} {a:>10.1}",
                cell >> 10
            ));
            rows.push(json!({
                "cells": cells, "bytes": cell, "seal_gb_s": seal.json(), "open_gb_s": open.json(),
                "seal_3_layers_gb_s": onion.json(), "one_core_gb_s": one.json(), "cores": cores(),
                "all_cores_gb_s": all.json(),
            }));
        }
    }
    say("");
    rows
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// GB/s of sealing, and of opening where there is one layer, else of sealing again, `cells` cells whose payloads fill `cell` bytes.
fn device(gpu: &Gpu, size: &Size, cell: usize, cells: usize, layers: usize) -> [Figure; 2] {
    let payload = cell - layers * TAG;
    let mut sealer = CudaSealer::<Driver>::new(gpu.device(), Library::AwsLc, b"bench".to_vec()).unwrap();
    let messages: Vec<_> = (0..3).map(|_| gpu.bytes(cells * payload).unwrap()).collect();
    let mut opened: Vec<_> = (0..3).map(|_| gpu.bytes(cells * payload).unwrap()).collect();
    // A lane has a key of its own, and lanes have a few cells each.
    let keys: Vec<_> = (0..cells.div_ceil(4) * layers).map(|_| sealer.add(&Key::random().unwrap())).collect();
    let lane = |i: usize| i / 4 * layers;
    let place = |i: usize, bytes: usize| At { block: 0, offset: i * bytes };
    let seals = (0..cells).map(|i| SealJob {
        layers: keys[lane(i)..lane(i) + layers].to_vec(),
        cell: i as u32,
        from: place(i, payload),
        to: place(i, cell),
    });
    let seals = sealer.lay_seals(payload, seals.collect());
    let mut slot = 0;
    let rate = |took: Figure| took.rate(1e-9 * (cells * payload) as f64);
    let each = (1_usize << 30).div_ceil(cells * cell).clamp(size.least, size.least * 50);
    let mut timed = |sealer: &mut CudaSealer<Driver>, work: &mut dyn FnMut(&mut CudaSealer<Driver>, Slot)| {
        Figure::seconds(each, || {
            for _ in 0..each {
                slot += 1;
                work(sealer, Slot(slot));
            }
            sealer.finish().unwrap();
        })
    };
    let seal = timed(&mut sealer, &mut |sealer, slot| sealer.start_to_seal(slot, seals, &messages).unwrap());
    if layers > 1 {
        return [rate(seal); 2];
    }
    let opens = (0..cells).map(|i| OpenJob {
        key: keys[lane(i)],
        cell: i as u32,
        from: place(i, cell),
        to: place(i, payload),
        under: None,
        over: None,
    });
    let opens = sealer.lay_opens(cell, opens.collect());
    // What is opened is not authentic: all of it is hashed and deciphered before that shows.
    let open = timed(&mut sealer, &mut |sealer, slot| {
        sealer.start_to_open::<Vec<u8>>(slot, opens, None, &mut opened).unwrap();
    });
    [rate(seal), rate(open)]
}

/// GB/s of sealing cells of `cell` bytes on so many cores.
fn processor(size: &Size, cell: usize, threads: usize) -> Figure {
    let each = (size.processor / ROUNDS).div_ceil(cell);
    let took = Figure::seconds(1, || sealed(each, cell, threads));
    took.rate(1e-9 * (threads * each * cell) as f64)
}

/// Seals `each` cells on each of so many cores.
fn sealed(each: usize, cell: usize, threads: usize) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let aead = Library::AwsLc.key(&Key::random().unwrap());
                let (plain, mut sealed) = (vec![1; cell - TAG], vec![0; cell]);
                for i in 0..each {
                    let mut nonce = [0; 12];
                    nonce[..8].copy_from_slice(&(i as u64).to_le_bytes());
                    aead.seal(&nonce, b"bench", &plain, &mut sealed);
                }
            });
        }
    });
}

/// Kernels that the memory's speed bounds, as a part of the copy's rate.
fn kernels(gpu: &Gpu, copy: f64, n: usize) -> Vec<Value> {
    let len = n * n;
    let [x, dy] = [random(gpu, len), random(gpu, len)];
    let [mut y, mut m, mut s] = [random(gpu, len), gpu.zeros(len).unwrap(), gpu.zeros(len).unwrap()];
    let [mut small, mut other] = [random(gpu, n), random(gpu, n)];
    let mut message = gpu.bytes(4 * len).unwrap();
    let grid = Grid { outer: 1, sets: n, inner: n };
    let columns = Grid { outer: n, sets: n, inner: 1 };
    let step = Adam { mean: [0.9, 0.1], square: [0.99, 0.01], rate: 0.1, root: 1.0, eps: 1e-8, keep: 1.0 };
    let stream = PhiloxStream { key: [1, 2], counter: [3, 4, 5] };
    let mut rows = Vec::new();
    // Bytes of a value that must be read and written, at least.
    let mut time = |name: &str, bytes: usize, work: &mut dyn FnMut()| {
        let rate = seconds(gpu, 10, work).rate(1e-9 * (bytes * len) as f64);
        say(format!("{name:<24} {:>8.0} GB/s {:>6.2} of the copy", rate.median, rate.median / copy));
        rows.push(json!({ "kernel": name, "gb_s": rate.json(), "of_copy": rate.median / copy }));
    };
    time("relu", 8, &mut || gpu.map(Function::Relu, len, &x, &mut y));
    time("gelu", 8, &mut || gpu.map(Function::Gelu, len, &x, &mut y));
    time("relu backward", 12, &mut || gpu.map_backward(Function::Relu, len, &x, &dy, &dy, &mut y));
    time("gelu backward", 12, &mut || gpu.map_backward(Function::Gelu, len, &x, &x, &dy, &mut y));
    time("add", 12, &mut || gpu.add(len, &x, &mut y));
    time("dropout", 8, &mut || gpu.drop_out(stream, 0.1, len, &x, &mut y));
    time("transpose", 8, &mut || gpu.transpose(n, n, &x, &mut y));
    time("sum of rows", 4, &mut || gpu.sum_rows(n, n, &x, false, &mut small));
    time("softmax", 8, &mut || gpu.softmax(n, n, &x, &mut y));
    time("softmax backward", 12, &mut || gpu.softmax_backward(n, n, &x, &dy, &mut y));
    time("moments of rows", 4, &mut || gpu.moments(grid, true, &x, &mut small, &mut other));
    time("normalize rows", 8, &mut || gpu.normalize(grid, 1e-5, &x, &small, &other, &mut y));
    time("scale columns", 8, &mut || gpu.scale(columns, &x, &small, Some(&other), &mut y));
    time("sgd, momentum", 20, &mut || gpu.sgd_momentum(len, 0.1, 0.9, false, &dy, &mut m, &mut y));
    time("adam", 28, &mut || gpu.adam(len, step, &dy, &mut m, &mut s, &mut y));
    time("encode f32", 8, &mut || gpu.encode(Float::F32, &x, len, &mut message, 0));
    time("encode bf16", 6, &mut || gpu.encode(Float::Bf16, &x, len, &mut message, 0));
    time("decode bf16", 6, &mut || gpu.decode(Float::Bf16, &message, 0, len, &mut y));
    say("");
    rows
}

/// A stage that products bound: 4096 wide, 4096 samples, forward and backward, against its products alone.
fn stage(precision: Precision, n: usize) -> Value {
    let gpu = Cuda::new(Driver::open(0, precision).unwrap());
    let spec = StageSpec {
        ops: vec![Op::Linear(Linear { input: None, out: n as u32, bias: true }), Op::Activation(Activation::Relu)],
        input: Shape::new([n as u32]),
        output: Shape::new([n as u32]),
        data: None,
        wire: Float::F32,
        micro_batch: n as u32,
        optimizer: Optimizer::sgd(0.0),
        seed: Seed::from_text("bench"),
        loss: None,
        values: None,
    };
    let mut stage = Stage::new(&gpu, &spec).unwrap();
    let [a, b] = [random(&gpu, n * n), random(&gpu, n * n)];
    let mut c = gpu.zeros(n * n).unwrap();
    let shape = Gemm { m: n, n, k: n, a_transposed: false, b_transposed: false, accumulate: false };
    let product = seconds(&gpu, 10, || gpu.gemm(shape, &a, &b, &mut c));
    let passed = seconds(&gpu, 5, || {
        gpu.copy(n * n, &a, stage.input(&gpu, Pass::evaluation(n)).unwrap());
        stage.forward(&gpu);
        gpu.copy(n * n, &b, stage.output_gradient());
        stage.backward_input(&gpu);
        stage.backward_params(&gpu);
    });
    // What is copied here lies there already in a run.
    let copied = 2.0 * seconds(&gpu, 10, || gpu.copy(n * n, &a, &mut c)).median;
    let Figure { median, least, most } = passed;
    let passed = Figure { median: median - copied, least: least - copied, most: most - copied };
    let tera = 2e-12 * (n as f64).powi(3);
    let (peak, rate) = (product.rate(tera), passed.rate(3.0 * tera));
    let name = precision.name();
    let part = rate.median / peak.median;
    say(format!("stage, {name:<5} {rate} TFLOP/s, cuBLASLt alone {peak}: {part:.2}"));
    json!({ "precision": name, "stage_tflop_s": rate.json(), "product_tflop_s": peak.json(), "part": part })
}
