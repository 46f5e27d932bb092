//! Ten steps of every optimizer against PyTorch in f64 (tests/reference/optimizers.py).
#![allow(clippy::unwrap_used)]

mod rounding;

use std::path::Path;

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::float::Float;
use mixnn::ids::{Batch, Epoch, MicroBatch};
use mixnn::job::{Job, Shape};
use mixnn::nn::{Pass, Stage, StageSpec};
use mixnn::random::Seed;
use rounding::gamma;
use safetensors::SafeTensors;

const ROWS: usize = 4;
const STEPS: usize = 10;

/// Ten steps in f32 against f64: each rounds a value once, and adds to it what is a tenth of it at most and has passed less than 20
/// roundings: in a sum of four products, in means and their roots.
fn tolerance() -> f32 {
    gamma(3 * STEPS) as f32
}

fn job(train: &str) -> Job {
    let text = format!(
        "name = \"x\"\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\n{train}\n[mix]\nprofile = \"bare\"\n[[stage]]\nops = [{{ op = \"linear\", out = 3 }}]"
    );
    let job = Job::parse("job.toml", &text, &[]).unwrap();
    assert_eq!(Job::parse("again.toml", &job.to_toml(), &[]).unwrap().train, job.train, "{train}");
    job
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let found = tensors.tensor(name).unwrap();
    found.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The largest difference from PyTorch in ten steps of the optimizer in `train`, or of the one of the file.
fn difference(path: &Path, train: Option<&str>) -> f32 {
    let bytes = std::fs::read(path).unwrap();
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let job = job(train.unwrap_or(&metadata["train"]));
    assert!(job.train.optimizer.fits());
    let rate = floats(&tensors, "rate")[0];
    assert!(train.is_some() || job.train.rate.peak == rate);
    let spec = StageSpec {
        ops: job.stages[0].ops.clone(),
        input: Shape::new([5]),
        output: Shape::new([3]),
        data: None,
        wire: Float::F32,
        micro_batch: ROWS as u32,
        optimizer: job.train.optimizer,
        seed: Seed::from_text("optimizers"),
        loss: None,
        values: None,
    };
    let backend = Cpu::new(1).unwrap();
    let mut stage = Stage::new(&backend, &spec).unwrap();
    stage.set_values(&backend, &floats(&tensors, "before")).unwrap();
    let [x, dy, after] = ["x", "dy", "after"].map(|name| floats(&tensors, name));
    let mut most = 0.0_f32;
    for step in 0..STEPS {
        let pass = Pass::training(ROWS, Epoch(0), Batch(step as u32), MicroBatch(0));
        backend.upload(&x[step * ROWS * 5..][..ROWS * 5], stage.input(&backend, pass).unwrap());
        stage.forward(&backend);
        backend.upload(&dy[step * ROWS * 3..][..ROWS * 3], stage.output_gradient());
        stage.backward_input(&backend);
        stage.backward_params(&backend);
        stage.step(&backend, rate);
        let found = stage.values(&backend).unwrap();
        let expected = &after[step * found.len()..][..found.len()];
        most = found.iter().zip(expected).map(|(f, e)| (f - e).abs() / (1.0 + e.abs())).fold(most, f32::max);
    }
    most
}

fn reference(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/optimizers").join(format!("{name}.safetensors"))
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    let names = [
        "sgd",
        "sgd-momentum",
        "sgd-nesterov",
        "sgd-decay",
        "adam",
        "adam-decay",
        "adamw",
        "adamw-decay",
        "clip-norm",
        "clip-value",
    ];
    for name in names {
        let found = difference(&reference(name), None);
        assert!(found <= tolerance(), "{name}: off by {found}");
    }
}

/// The comparison tells optimizers that differ in one key from each other.
#[test]
fn another_key_is_another_optimizer() {
    let changed = [
        ("sgd-nesterov", "optimizer = { lr = 0.05, momentum = 0.9, weight_decay = 0.02 }"),
        ("sgd-decay", "optimizer = { lr = 0.1 }"),
        ("adam", "optimizer = { kind = \"adam\", lr = 0.01, betas = [0.9, 0.99] }"),
        ("adam-decay", "optimizer = { kind = \"adamw\", betas = [0.8, 0.99], eps = 1e-4, weight_decay = 0.1 }"),
        ("adamw", "optimizer = { kind = \"adam\" }"),
        ("clip-norm", "optimizer = { lr = 0.1, momentum = 0.5 }"),
        ("clip-norm", "optimizer = { lr = 0.1, momentum = 0.5 }\nclip = { value = 8.0 }"),
        ("clip-value", "optimizer = { kind = \"adam\", lr = 0.01 }"),
    ];
    for (name, train) in changed {
        let found = difference(&reference(name), Some(train));
        assert!(found > 10.0 * tolerance(), "{name} with {train}: off by {found} only");
    }
}
