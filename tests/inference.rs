//! PyTorch in and out: a run that starts from its weights, `mixnn infer` on what a run has left, and both in every mode with
//! the same bits.
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;
mod rounding;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use binary::{DIGITS, Run, json, mixnn};
use rounding::gamma;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

/// A folder with the digits job's run after an epoch, `run`, its test inputs, `x.npy`, and their labels.
fn trained(sets: &[&str]) -> (TempDir, Vec<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<&str> = sets.iter().chain(&["train.epochs=1"]).flat_map(|set| ["--set", set]).collect();
    mixnn(folder.path(), &[&["run", DIGITS, "--single", "--out", "run"], sets.as_slice()].concat()).well();
    let labels = npy::write_test_inputs(&folder.path().join("run/job.toml"), &folder.path().join("x.npy"));
    (folder, labels)
}

/// What `mixnn infer run --input x.npy ARGS` writes, `args` separated by spaces.
fn inferred(folder: &Path, args: &str) -> Vec<u8> {
    let args: Vec<&str> = args.split(' ').collect();
    let ran =
        mixnn(folder, &[&["infer", "run", "--input", "x.npy", "--output", "y.npy"], args.as_slice()].concat()).well();
    assert!(ran.stdout.starts_with("y.npy: float32 ("), "{}", ran.stdout);
    let path = folder.join("y.npy");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what comes out is readable by its owner alone");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

const WAYS: [&str; 8] = [
    "--single --set compute.threads=2",
    "--local 7",
    "--local 9 --set mix.cell=256",
    "--local 7 --set mix.pace=1ms",
    "--local 7 --set mix.depth=5",
    "--local 7 --profile sealed",
    "--local 7 --profile bare",
    "--local 4 --profile bare",
];

#[test]
fn a_trained_model_infers_the_same_bits_in_every_mode() {
    let (folder, labels) = trained(&[]);
    // Nothing but these two is needed.
    for name in ["metrics.jsonl", "result.json"] {
        fs::rename(folder.path().join("run").join(name), folder.path().join(name)).unwrap();
    }
    let reference = inferred(folder.path(), "--single");
    fs::write(folder.path().join("single.npy"), &reference).unwrap();
    let (shape, outputs) = npy::read(&folder.path().join("single.npy"));
    assert_eq!(shape, format!("({}, 10)", labels.len()));
    // The accuracy is that of the run's own test.
    let best = |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
    let correct = outputs.chunks(10).zip(&labels).filter(|(row, label)| best(row) == **label).count();
    let accuracy = json(&folder.path().join("result.json"))["test_accuracy"].as_f64().unwrap();
    assert_eq!(correct as f64 / labels.len() as f64, accuracy);
    assert!(accuracy > 0.5);
    for way in WAYS {
        assert!(inferred(folder.path(), way) == reference, "{way}");
    }
    // The control: other values, other bits.
    mixnn(folder.path(), &["run", "run/job.toml", "--single", "--set", "seed=8", "--out", "other"]).well();
    fs::copy(folder.path().join("other/model.safetensors"), folder.path().join("run/model.safetensors")).unwrap();
    assert!(inferred(folder.path(), "--single") != reference);
}

/// Where the first and the last stage stand on the owner and the wire rounds; also one sample alone.
#[test]
fn stages_on_the_owner_infer_too() {
    let stages = "stage=[{ at = \"owner\", ops = [{ op = \"linear\", out = 24 }, { op = \"relu\" }] }, { ops = [{ op = \
                  \"linear\", out = 16 }, { op = \"tanh\" }] }, { ops = [{ op = \"linear\", out = 16 }, { op = \"relu\" }] }, \
                  { at = \"owner\", ops = [{ op = \"linear\", out = 10 }] }]";
    let (folder, _) = trained(&[stages, "mix.wire=bf16"]);
    let reference = inferred(folder.path(), "--single");
    for way in ["--local 6", "--local 6 --set mix.pace=1ms", "--local 3 --profile bare"] {
        assert!(inferred(folder.path(), way) == reference, "{way}");
    }
    let test = fs::read(folder.path().join("x.npy")).unwrap();
    npy::write(&folder.path().join("x.npy"), "|u1", &[1, 1, 8, 8], &test[128..192]);
    assert_eq!(inferred(folder.path(), "--local 6"), inferred(folder.path(), "--single"));
}

/// What PyTorch has saved, and what it makes of some images (tests/reference/pytorch.py).
fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pytorch").join(name)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// A job for the network of the reference that starts from `from` and learns nothing.
fn lenet(from: &Path, order: &str) -> String {
    let conv = |out: u32| {
        format!(
            "{{ op = \"conv2d\", out = {out}, kernel = 3, padding = 1 }}, {{ op = \"relu\" }}, {{ op = \"max_pool\", kernel = 2 }}"
        )
    };
    format!(
        "name = \"lenet\"\nseed = 7\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\nbatch = 32\nmicro_batch = 16\n\
         optimizer = {{ kind = \"sgd\", lr = 1e-30 }}\n[init]\nfrom = {from:?}\n{order}\n[mix]\nrelays = 2\n\
         [[stage]]\nops = [{}]\n[[stage]]\nops = [{}]\n[[stage]]\nops = [{{ op = \"flatten\" }}, {{ op = \"linear\", out = 16 }}, \
         {{ op = \"relu\" }}]\n[[stage]]\nops = [{{ op = \"linear\", out = 10 }}]\n",
        conv(4),
        conv(8)
    )
}

#[test]
fn a_run_starts_from_pytorch_and_gives_its_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let from = reference("lenet.safetensors");
    fs::write(folder.path().join("job.toml"), lenet(&from, "")).unwrap();
    let checked = mixnn(folder.path(), &["check", "job.toml"]).well().stdout;
    assert!(checked.contains(&format!("initial values         {}, by the shapes", from.display())), "{checked}");
    assert!(checked.contains("  conv2.bias    3.bias (8)             conv2d, stage 2\n"), "{checked}");
    assert!(checked.contains("the order of samples"), "a short seed still tells something: {checked}");
    let mut bits = Vec::new();
    for (way, out) in [("--single", "run"), ("--local 7", "a"), ("--local 5 --profile bare", "b"), ("--local 8", "c")]
    {
        let way: Vec<&str> = way.split(' ').collect();
        mixnn(folder.path(), &[&["run", "job.toml", "--out", out], way.as_slice()].concat()).well();
        bits.push(Run::read(folder.path().join(out)).bits());
    }
    assert!(bits.iter().all(|other| *other == bits[0]), "{bits:#?}");
    // At a rate of nothing the values are those of the file.
    let [saved, left] = [from, folder.path().join("run/model.safetensors")].map(|path| fs::read(path).unwrap());
    let [saved, left] = [&saved, &left].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    for (module, op) in [("conv1", 0), ("conv2", 3), ("fc1", 7), ("fc2", 9)] {
        for name in ["weight", "bias"] {
            let [saved, left] = [(&saved, module.to_owned()), (&left, op.to_string())]
                .map(|(file, op)| file.tensor(&format!("{op}.{name}")).unwrap());
            assert!(saved.data() == left.data() && saved.shape() == left.shape(), "{module}.{name}");
        }
    }
    // And so are the outputs.
    let outputs = fs::read(reference("outputs.safetensors")).unwrap();
    let outputs = SafeTensors::deserialize(&outputs).unwrap();
    let images = outputs.tensor("x").unwrap();
    npy::write(&folder.path().join("x.npy"), "|u1", images.shape(), images.data());
    fs::write(folder.path().join("y.npy"), inferred(folder.path(), "--local 7")).unwrap();
    let (shape, found) = npy::read(&folder.path().join("y.npy"));
    assert_eq!(shape, "(7, 10)");
    for (found, due) in found.iter().zip(floats(outputs.tensor("y").unwrap().data())) {
        // The sums of four layers, of terms whose sizes are below 1 together or below twice the result.
        let most = 2.0 * gamma(9 + 36 + 32 + 16) as f32 * due.abs().max(1.0);
        assert!((found - due).abs() <= most, "{found}, PyTorch gives {due}");
    }
}

/// Modules whose names do not tell the order, in 64 bits, with a count that is passed over.
#[test]
fn the_job_names_the_order_where_names_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let saved = fs::read(reference("lenet.safetensors")).unwrap();
    let saved = SafeTensors::deserialize(&saved).unwrap();
    let names =
        HashMap::from([("conv1", "first"), ("conv2", "second"), ("fc1", "net.hidden"), ("fc2", "net.answers")]);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in saved.tensors() {
        let (module, parameter) = name.split_once('.').unwrap();
        let values = floats(tensor.data()).into_iter().flat_map(|value| f64::from(value).to_le_bytes()).collect();
        tensors.push((format!("{}.{parameter}", names[module]), Dtype::F64, tensor.shape().to_vec(), values));
    }
    tensors.push(("second.num_batches_tracked".to_owned(), Dtype::I64, Vec::new(), vec![0; 8]));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, values)| (name.clone(), TensorView::new(*dtype, shape.clone(), values).unwrap()));
    fs::write(folder.path().join("renamed.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let run = |from: &Path, order: &str, out: &str| {
        fs::write(folder.path().join("job.toml"), lenet(from, order)).unwrap();
        mixnn(folder.path(), &["run", "job.toml", "--single", "--out", out])
    };
    let renamed = Path::new("renamed.safetensors");
    // Here the shapes tell, too.
    run(renamed, "", "shapes").well();
    run(renamed, "order = [\"first\", \"second\", \"net.hidden\", \"net\"]", "ordered").well();
    run(&reference("lenet.safetensors"), "", "plain").well();
    let digest = |out: &str| Run::read(folder.path().join(out)).result["weights_sha256"].clone();
    assert_eq!([digest("ordered"), digest("shapes")], [digest("plain"), digest("plain")]);
    let words = [
        "renamed.safetensors does not fit the job's network:",
        "wrong shape: second.weight (8, 4, 3, 3), expected 0.weight (4, 1, 3, 3)",
        "modules were taken in the order second, first, net.answers, net.hidden; in another order they fit: order = \
         [\"first\", \"second\", \"net.hidden\", \"net.answers\"]",
    ];
    run(renamed, "order = [\"second\", \"first\"]", "none").refused(2, &words);
    // The job that a run writes names it too.
    mixnn(folder.path(), &["run", "ordered/job.toml", "--single", "--out", "again"]).well();
    assert_eq!(digest("again"), digest("plain"));
}

/// A run's folder made by hand: tokens into an embedding, and of each sample the sum of its rows.
#[test]
fn tokens_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    let job = "name = \"tokens\"\nseed = 7\ndata = { source = \"digits\" }\ntrain = { epochs = 1, batch = 4 }\n\
               [[stage]]\nops = [{ op = \"embedding\", vocabulary = 3, width = 2 }]\n\
               [[stage]]\nops = [{ op = \"flatten\" }, { op = \"linear\", out = 1, bias = false }]\n";
    fs::write(folder.path().join("run/job.toml"), job).unwrap();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (rows, ones) = (bytes(&[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]), bytes(&[1.0; 4]));
    let tensors = [("0.weight", vec![3, 2], &rows), ("2.weight", vec![1, 4], &ones)]
        .map(|(name, shape, values)| (name, TensorView::new(Dtype::F32, shape, values).unwrap()));
    let input = "{\"shape\":[2],\"element\":\"uint16\",\"scale\":[1.0],\"shift\":[0.0]}".to_owned();
    let model = safetensors::serialize(tensors, Some(HashMap::from([("mixnn.input".to_owned(), input)]))).unwrap();
    fs::write(folder.path().join("run/model.safetensors"), model).unwrap();
    let tokens = |tokens: [u16; 4]| tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
    npy::write(&folder.path().join("x.npy"), "<u2", &[2, 2], &tokens([0, 1, 2, 2]));
    let single = inferred(folder.path(), "--single");
    assert_eq!(inferred(folder.path(), "--local 6"), single);
    fs::write(folder.path().join("y"), single).unwrap();
    assert_eq!(npy::read(&folder.path().join("y")), ("(2, 1)".to_owned(), vec![33.0, 600.0]));
    npy::write(&folder.path().join("x.npy"), "<u2", &[2, 2], &tokens([0, 1, 3, 2]));
    let ran = mixnn(folder.path(), &["infer", "run", "--input", "x.npy", "--output", "y.npy", "--single"]);
    ran.refused(2, &["x.npy, value 0 of sample 1: 3, expected a whole number from 0 to 2"]);
}

/// All find the name free at their start. One has it at the end; the others lose nothing and replace nothing.
#[test]
fn of_many_that_write_one_file_one_does() {
    let (folder, _) = trained(&[]);
    let reference = inferred(folder.path(), "--single");
    let args = ["infer", "run", "--single", "--input", "x.npy", "--output", "y.npy"];
    let one = || mixnn(folder.path(), &args);
    let ran: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..7).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(ran.iter().filter(|ran| ran.code == 0).count(), 1);
    assert_eq!(fs::read(folder.path().join("y.npy")).unwrap(), reference);
    for late in ran.iter().filter(|ran| ran.code != 0) {
        late.refused(2, &["y.npy"]);
        match late.stderr.split_once("what was to stand there is in ") {
            Some((_, kept)) => assert_eq!(fs::read(folder.path().join(kept.trim())).unwrap(), reference),
            None => assert!(late.stderr.contains("y.npy exists; name another file with --output"), "{}", late.stderr),
        }
    }
}
