//! Whole runs against PyTorch: the same weights, the same data, the losses of the first 20 steps
//! (tests/reference/agreement.py).
#![allow(clippy::unwrap_used)]

mod binary;
mod rounding;

use std::collections::HashMap;
use std::path::Path;

use binary::{Run, json, mixnn};
use rounding::likely;
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

const ROWS: usize = 64;
const TOKENS: usize = 32;
const WIDTH: usize = 64;
const VOCABULARY: usize = 40;

const RUN: &str = r#"
name = "agreement"
seed = 7
[data]
source = "safetensors"
path = "data.safetensors"
test = "data.safetensors"
validation = 0.0
[train]
epochs = 20
batch = 64
micro_batch = 16
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9 }
"#;

const MLP: &str = r#"
[[stage]]
ops = [{ op = "flatten" }, { op = "linear", out = 256 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 128 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10 }]
"#;

const LENET: &str = r#"
[[stage]]
ops = [{ op = "conv2d", out = 6, kernel = 5, padding = 2 }, { op = "relu" }, { op = "max_pool", kernel = 2 }]
[[stage]]
ops = [{ op = "conv2d", out = 16, kernel = 5 }, { op = "relu" }, { op = "max_pool", kernel = 2 }, { op = "flatten" }]
[[stage]]
ops = [{ op = "linear", out = 120 }, { op = "relu" }, { op = "linear", out = 84 }, { op = "relu" }, { op = "linear", out = 10 }]
"#;

const TRANSFORMER: &str = r#"
[[stage]]
ops = [
  { op = "embedding", vocabulary = 40, width = 64 }, { op = "position" },
  { op = "residual", ops = [{ op = "layer_norm" }, { op = "attention", heads = 4, causal = true }] },
  { op = "residual", ops = [{ op = "layer_norm" }, { op = "linear", out = 128 }, { op = "gelu" }, { op = "linear", out = 64 }] },
]
[[stage]]
ops = [
  { op = "residual", ops = [{ op = "layer_norm" }, { op = "attention", heads = 4, causal = true }] },
  { op = "residual", ops = [{ op = "layer_norm" }, { op = "linear", out = 128 }, { op = "gelu" }, { op = "linear", out = 64 }] },
  { op = "layer_norm" }, { op = "linear", out = 40 },
]
"#;

/// The words of the script, for the tensor `name`.
fn words(name: &str, count: usize) -> Vec<u32> {
    let hash = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mix = |i: u32| {
        let mut x = i.wrapping_mul(0x9E37_79B1).wrapping_add(hash);
        x ^= x >> 15;
        x = x.wrapping_mul(0x2C1B_3C6D);
        x ^= x >> 12;
        x = x.wrapping_mul(0x297A_2D39);
        x ^ (x >> 15)
    };
    (1..=count as u32).map(mix).collect()
}

fn write(path: &Path, tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn images(path: &Path) {
    let pixels = words("images", ROWS * 784).into_iter().map(|word| (word % 256) as u8).collect();
    let labels = words("labels", ROWS).into_iter().flat_map(|word| i64::from(word % 10).to_le_bytes()).collect();
    let inputs = ("inputs".to_owned(), Dtype::U8, vec![ROWS, 1, 28, 28], pixels);
    write(path, vec![inputs, ("labels".to_owned(), Dtype::I64, vec![ROWS], labels)]);
}

fn tokens(path: &Path) {
    let of = |name| words(name, ROWS * TOKENS).into_iter().map(|word| word % VOCABULARY as u32);
    let inputs = of("tokens").flat_map(|token| (token as u16).to_le_bytes()).collect();
    let labels = of("labels").flat_map(|label| i64::from(label).to_le_bytes()).collect();
    let inputs = ("inputs".to_owned(), Dtype::U16, vec![ROWS, TOKENS], inputs);
    write(path, vec![inputs, ("labels".to_owned(), Dtype::I64, vec![ROWS, TOKENS], labels)]);
}

/// Writes the script's weights for the tensors of the model in `model` to `init`.
fn weights(model: &Path, init: &Path) {
    let bytes = std::fs::read(model).unwrap();
    let model = SafeTensors::deserialize(&bytes).unwrap();
    let shapes: HashMap<String, Vec<usize>> =
        model.tensors().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let value = |name: &str, shape: &[usize]| -> Vec<f32> {
        let count = shape.iter().product();
        let (module, last) = name.rsplit_once('.').unwrap();
        // Only a norm's weight is a vector.
        if shapes.get(&format!("{module}.weight")).is_some_and(|shape| shape.len() == 1) {
            return vec![if last == "weight" { 1.0 } else { 0.0 }; count];
        }
        let fan_in = shape[1..].iter().product::<usize>().max(64);
        let bound = f64::from((1.0 / (fan_in as f64).sqrt()) as f32);
        let unit = |word: u32| f64::from(word >> 8) / f64::from(1 << 24);
        words(name, count).into_iter().map(|word| ((2.0 * unit(word) - 1.0) * bound) as f32).collect()
    };
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        let bytes = value(name, shape).into_iter().flat_map(f32::to_le_bytes).collect();
        (name.clone(), Dtype::F32, shape.clone(), bytes)
    };
    write(init, shapes.iter().map(tensor).collect());
}

/// The losses of 20 steps, but for what rounding to f32 makes of them: a value passes the sums of all layers, which have so many
/// `terms` together, forward and backward. What a step rounds is small beside the weights that it changes.
fn agrees(name: &str, stages: &str, data: fn(&Path), terms: usize) {
    let tolerance = likely(2 * terms);
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file);
    std::fs::write(path("job.toml"), format!("{RUN}{stages}")).unwrap();
    data(&path("data.safetensors"));
    let run = |out: &str, more: &[&str]| {
        mixnn(folder.path(), &[&["run", "job.toml", "--single", "--out", out], more].concat()).well();
        Run::read(path(out))
    };
    let losses = |run: &Run| -> Vec<f64> {
        run.result["epochs"].as_array().unwrap().iter().map(|epoch| epoch["train_loss"].as_f64().unwrap()).collect()
    };
    let drawn = run("drawn", &["--set", "train.epochs=1"]);
    weights(&path("drawn/model.safetensors"), &path("init.safetensors"));
    let found = losses(&run("run", &["--set", "init.from=init.safetensors"]));
    let reference = json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/agreement.json"));
    let due: Vec<f64> = reference[name].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    assert_eq!((found.len(), due.len()), (20, 20));
    for (step, (found, due)) in found.iter().zip(&due).enumerate() {
        assert!((found - due).abs() <= tolerance * due, "{name}, step {step}: {found}, PyTorch {due}");
    }
    // The controls: the losses move, and other weights give others.
    assert!(due[0] - due[19] > 1e-2 * due[0], "{due:?}");
    assert!((losses(&drawn)[0] - due[0]).abs() > tolerance * due[0]);
}

#[test]
fn a_perceptron_learns_as_in_pytorch() {
    agrees("mlp", MLP, images, 784 + 256 + 128);
}

#[test]
fn lenet_learns_as_in_pytorch() {
    agrees("lenet", LENET, images, 25 + 6 * 25 + 400 + 120 + 84);
}

#[test]
fn a_transformer_learns_as_in_pytorch() {
    // Each block: an attention's three products and its sums over tokens, a perceptron's two, two norms.
    let block = 3 * WIDTH + 2 * TOKENS + WIDTH + 2 * WIDTH + 2 * WIDTH;
    agrees("transformer", TRANSFORMER, tokens, 2 * block + 2 * WIDTH);
}
