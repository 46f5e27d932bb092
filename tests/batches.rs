//! The last batch of an epoch: left out where the job says so, and refused where an operation cannot learn from it.
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;

use std::fs;
use std::path::Path;

use binary::{Ran, Run, json, mixnn};
use mixnn::random::Seed;
use serde_json::Value;
use tempfile::TempDir;

/// Values of a sample.
const WIDTH: usize = 4;
/// Samples to test on: not a whole number of batches, or of micro-batches.
const TEST: usize = 5;

/// The sample `number`: its values, and its class of two.
fn sample(number: usize) -> ([f32; WIDTH], u8) {
    let mut stream = Seed::from_text("samples").derive("sample", number as u64).stream();
    let values = std::array::from_fn(|_| stream.unit_f32());
    (values, u8::from(values[0] > values[1]))
}

/// Writes the samples `numbers` to `NAME.npy` and `NAME-labels.npy`.
fn write(folder: &Path, name: &str, numbers: &[usize]) {
    let samples: Vec<_> = numbers.iter().map(|number| sample(*number)).collect();
    let values: Vec<u8> = samples.iter().flat_map(|(values, _)| values.map(f32::to_le_bytes).concat()).collect();
    let labels: Vec<u8> = samples.iter().map(|(_, label)| *label).collect();
    npy::write(&folder.join(format!("{name}.npy")), "<f4", &[numbers.len(), WIDTH], &values);
    npy::write(&folder.join(format!("{name}-labels.npy")), "|u1", &[numbers.len()], &labels);
}

/// A folder with the samples `numbers` and others to test on, and a job on them: two stages, the first of `ops`.
fn folder(numbers: &[usize], ops: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", numbers);
    write(folder.path(), "test", &(1000..1000 + TEST).collect::<Vec<usize>>());
    let job = format!(
        "name = \"batches\"\nseed = 7\n[data]\nsource = \"npy\"\npath = \"train.npy\"\nlabels = \"train-labels.npy\"\ntest = \
         \"test.npy\"\ntest_labels = \"test-labels.npy\"\nvalidation = 0\n[train]\nepochs = 1\nbatch = 8\nmicro_batch = 4\nschedule \
         = {{ kind = \"cosine\" }}\n[[stage]]\nops = [{ops}]\n[[stage]]\nops = [{{ op = \"linear\", out = 2 }}]\n"
    );
    fs::write(folder.path().join("job.toml"), job).unwrap();
    folder
}

/// `mixnn COMMAND job.toml ARGS` with `sets` on top.
fn command(folder: &Path, command: &str, args: &[&str], sets: &[&str]) -> Ran {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    mixnn(folder, &[&[command, "job.toml"], args, &sets].concat())
}

/// A run, whose folder is gone.
fn ran(folder: &Path, args: &str, sets: &[&str]) -> Value {
    let args: Vec<&str> = args.split(' ').collect();
    command(folder, "run", &[&["--out", "out"], args.as_slice()].concat(), sets).well();
    let result = Run::read(folder.join("out")).result;
    fs::remove_dir_all(folder.join("out")).unwrap();
    result
}

/// What must not depend on how a job runs.
fn bits(result: &Value) -> [String; 4] {
    let epoch = &result["epochs"][0]["train_loss"];
    let bits =
        [&result["weights_sha256"], epoch, &result["test_loss"], &result["test_accuracy"]].map(Value::to_string);
    assert!(!bits.contains(&"null".to_owned()), "{result}");
    bits
}

fn checked(folder: &Path, sets: &[&str]) -> Value {
    serde_json::from_str(&command(folder, "check", &["--json"], sets).well().stdout).unwrap()
}

const LINEAR: &str = "{ op = \"linear\", out = 6 }, { op = \"tanh\" }";
const NORM: &str = "{ op = \"linear\", out = 6 }, { op = \"residual\", ops = [{ op = \"batch_norm\" }] }";
const DROP: &str = "train.drop_last=true";

/// The number of the sample that comes at each place of the first epoch, of as many: all are shuffled when none are held out,
/// and again in each epoch.
fn order(samples: usize) -> Vec<usize> {
    let seed = Seed::from_text("7");
    let drawn = |usage: &str| seed.derive(usage, 0).stream().permutation(samples as u32);
    let kept = drawn("validation");
    drawn("shuffle").iter().map(|place| kept[*place as usize] as usize).collect()
}

/// What an epoch leaves out is as if it were not there: losses, steps, the rate's course, slots. Testing takes all.
#[test]
fn what_is_left_out_is_as_if_it_were_not_there() {
    const KEPT: usize = 32;
    for samples in [33, 39] {
        let whole = folder(&(0..samples).collect::<Vec<usize>>(), LINEAR);
        // The same samples in the same order.
        let mut numbers = vec![0; KEPT];
        for (from, to) in order(samples).into_iter().zip(order(KEPT)) {
            numbers[to] = from;
        }
        let cut = folder(&numbers, LINEAR);
        let reference = ran(cut.path(), "--single", &[]);
        for args in ["--single", "--local 6", "--local 3 --profile bare"] {
            let dropping = ran(whole.path(), args, &[DROP]);
            assert_eq!(bits(&dropping), bits(&reference), "{samples} {args}");
            let epoch = &dropping["epochs"][0];
            let count = epoch["samples_per_second"].as_f64().unwrap() * epoch["seconds"].as_f64().unwrap();
            assert_eq!(count.round(), KEPT as f64);
        }
        // The control, and whole batches, of which nothing is left out.
        assert_ne!(bits(&ran(whole.path(), "--single", &[]))[0], bits(&reference)[0]);
        assert_eq!(bits(&ran(cut.path(), "--single", &[DROP])), bits(&reference));
        let [dropping, cut, all] =
            [(&whole, &[DROP][..]), (&cut, &[]), (&whole, &[])].map(|(folder, sets)| checked(folder.path(), sets));
        assert_eq!(dropping["samples_left_out"], samples - KEPT);
        assert_eq!(all["samples_left_out"], 0);
        assert_eq!(dropping["samples"]["train"], samples);
        assert_eq!(dropping["slots_per_epoch"], cut["slots_per_epoch"]);
        assert_ne!(dropping["slots_per_epoch"], all["slots_per_epoch"]);
        assert_eq!(dropping["slots_for_testing"], all["slots_for_testing"]);
        let shown = command(whole.path(), "check", &[], &[DROP]).well().stdout;
        let line = format!("{samples} to train ({} of them left out of each epoch), 0 to validate", samples - KEPT);
        assert!(shown.contains(&line) && shown.contains("drop_last = true"), "{shown}");
    }
}

/// Each epoch leaves others out, in every mode the same.
#[test]
fn all_modes_leave_out_the_same() {
    let folder = folder(&(0..39).collect::<Vec<usize>>(), NORM);
    let sets = [DROP, "train.epochs=3", "data.validation=0.1"];
    let reference = bits(&ran(folder.path(), "--single", &sets));
    for (args, more) in [
        ("--local 6", ""),
        ("--local 6", "mix.pace=1ms"),
        ("--local 6", "compute.overlap=true"),
        ("--local 3 --profile sealed", ""),
    ] {
        let sets: Vec<&str> = sets.into_iter().chain([more]).filter(|set| !set.is_empty()).collect();
        assert_eq!(bits(&ran(folder.path(), args, &sets)), reference, "{args} {more}");
    }
    // The job that a run leaves says so, too.
    command(folder.path(), "run", &["--single", "--out", "first"], &sets).well();
    mixnn(folder.path(), &["run", "first/job.toml", "--single", "--out", "second"]).well();
    let digest = |out: &str| json(&folder.path().join(out).join("result.json"))["weights_sha256"].clone();
    assert_eq!(digest("first"), digest("second"));
}

/// Asserts that `check` and `run` refuse the job with `sets`, and say `words`.
#[track_caller]
fn refused(folder: &Path, sets: &[&str], words: &[&str]) {
    for (name, args) in [("check", &[][..]), ("run", &["--single"]), ("run", &["--local", "6"])] {
        let ran = command(folder, name, args, sets);
        ran.refused(2, words);
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    }
    assert!(!folder.join("runs").exists());
}

#[test]
fn a_batch_must_be_left() {
    let folder = folder(&(0..33).collect::<Vec<usize>>(), LINEAR);
    let words = ["there are 33 samples for a train.batch of 64; take a train.batch of 33 or less"];
    refused(folder.path(), &["train.batch=64", DROP], &words);
    ran(folder.path(), "--single", &["train.batch=32", DROP]);
    // Those that are held out do not count.
    let words = ["there are 30 samples for a train.batch of 32"];
    refused(folder.path(), &["train.batch=32", "data.validation=0.1", DROP], &words);
}

/// PyTorch raises when it comes to such a batch.
#[test]
fn a_batch_norm_needs_two_values_a_channel() {
    let folder = folder(&(0..33).collect::<Vec<usize>>(), NORM);
    let problem = "stage 1: `batch_norm` would learn from one value a channel, which has no variance: ";
    let refused = |sets: &[&str], words: &str| refused(folder.path(), sets, &[&format!("{problem}{words}")]);
    refused(
        &[],
        "33 samples in batches of 8 and micro-batches of 4 leave 1 for the last; write train.drop_last = true, which leaves",
    );
    refused(&["train.micro_batch=1"], "train.micro_batch = 1; take train.micro_batch = 2 and train.drop_last = true");
    refused(&["train.micro_batch=1", DROP], "train.micro_batch = 1; take train.micro_batch = 2");
    ran(folder.path(), "--single", &["train.micro_batch=2", DROP]);
    ran(folder.path(), "--local 6", &[DROP]);
    // It is what is left to train on that counts: 30 of them, and 29.
    ran(folder.path(), "--single", &["data.validation=0.1"]);
    refused(&["data.validation=0.12"], "29 samples in batches of 8 and micro-batches of 4 leave 1 for the last");
    // What has been learned is looked at one by one, too.
    command(folder.path(), "run", &["--single", "--out", "trained"], &[DROP]).well();
    let infer = ["infer", "trained", "--input", "test.npy", "--output", "y.npy", "--single"];
    mixnn(folder.path(), &[&infer[..], &["--set", "train.micro_batch=1"]].concat()).well();
    assert_eq!(npy::read(&folder.path().join("y.npy")).0, format!("({TEST}, 2)"));
}

/// An image has more values of a channel than one.
#[test]
fn images_give_a_batch_norm_more_than_one_value() {
    let ops = |pooled: &str| format!("{{ op = \"reshape\", shape = [1, 2, 2] }}, {pooled}{{ op = \"batch_norm\" }}");
    let images = folder(&(0..9).collect::<Vec<usize>>(), &ops(""));
    ran(images.path(), "--single", &["train.micro_batch=1"]);
    let pooled = folder(&(0..9).collect::<Vec<usize>>(), &ops("{ op = \"global_avg_pool\" }, "));
    refused(pooled.path(), &[], &["stage 1: `batch_norm` would learn from one value a channel"]);
}
