//! What goes into an embedding: whole numbers that it has a row for, whatever their type, or an error that names the first
//! that is not.
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;

use std::fs;
use std::path::Path;

use binary::{Ran, json, mixnn};
use tempfile::TempDir;

/// Samples of two tokens below 20, of which all but one are whole.
const SAMPLES: usize = 20;

/// The tokens of all samples, the last of which is `last`.
fn tokens(last: f32) -> Vec<f32> {
    let mut tokens: Vec<f32> = (0..2 * SAMPLES).map(|at| (at * 7 % 20) as f32).collect();
    tokens[2 * SAMPLES - 1] = last;
    tokens
}

fn floats(last: f32) -> Vec<u8> {
    tokens(last).iter().flat_map(|token| token.to_le_bytes()).collect()
}

fn words(last: f32) -> Vec<u8> {
    tokens(last).iter().flat_map(|token| (*token as u16).to_le_bytes()).collect()
}

fn bytes(last: f32) -> Vec<u8> {
    tokens(last).iter().map(|token| *token as u8).collect()
}

/// A folder with labels, a job, and the file `good.npy` to test on.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let labels: Vec<u8> = (0..SAMPLES).map(|sample| (sample % 3) as u8).collect();
    npy::write(&folder.path().join("labels.npy"), "|u1", &[SAMPLES], &labels);
    write(folder.path(), "good", "<f4", &floats(19.0));
    let job = "name = \"tokens\"\nseed = 7\n[data]\nsource = \"npy\"\npath = \"x.npy\"\nlabels = \"labels.npy\"\n[train]\nepochs = \
               2\nbatch = 4\n[[stage]]\nops = [{ op = \"embedding\", vocabulary = 20, width = 3 }, { op = \"flatten\" \
               }]\n[[stage]]\nops = [{ op = \"linear\", out = 3 }]\n";
    fs::write(folder.path().join("job.toml"), job).unwrap();
    folder
}

fn write(folder: &Path, name: &str, descr: &str, values: &[u8]) {
    npy::write(&folder.join(format!("{name}.npy")), descr, &[SAMPLES, 2], values);
}

/// Asserts that `check` and `run` refuse the job with `sets`, and say `words`.
#[track_caller]
fn refused(folder: &Path, sets: &[&str], words: &str) {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    for args in [&["check", "job.toml"][..], &["run", "job.toml", "--single"], &["run", "job.toml", "--local", "6"]] {
        mixnn(folder, &[args, &sets].concat()).refused(2, &[words]);
    }
    assert!(!folder.join("runs").exists());
}

const EXPECTED: &str = "expected a whole number from 0 to 19, for which the embedding has a row: count tokens from 0, and let \
                        `vocabulary` be above the largest";

#[test]
fn what_is_no_token_is_named_by_sample_and_place() {
    let folder = folder();
    for (last, shown) in [(3.5, "3.5"), (-1.0, "-1"), (25.0, "25"), (20.0, "20"), (1e9, "1000000000")] {
        write(folder.path(), "x", "<f4", &floats(last));
        refused(folder.path(), &[], &format!("x.npy, value 1 of sample 19: {shown}, {EXPECTED}"));
        // Into whichever part it is drawn.
        refused(folder.path(), &["data.validation=0.9"], &format!("x.npy, value 1 of sample 19: {shown}"));
        // What is tested on, too.
        let sets = ["data.path=good.npy", "data.test=x.npy", "data.test_labels=labels.npy"];
        refused(folder.path(), &sets, &format!("x.npy, value 1 of sample 19: {shown}, {EXPECTED}"));
    }
    write(folder.path(), "x", "<u2", &words(25.0));
    refused(folder.path(), &[], &format!("x.npy, value 1 of sample 19: 25, {EXPECTED}"));
    write(folder.path(), "x", "|u1", &bytes(25.0));
    refused(folder.path(), &["data.scale=1"], &format!("x.npy, value 1 of sample 19: 25, {EXPECTED}"));
    refused(
        folder.path(),
        &[],
        "`embedding` takes tokens, the data are bytes that are scaled; write data.scale = 1, or save",
    );
}

#[test]
fn tokens_are_not_moved_or_scaled() {
    let folder = folder();
    write(folder.path(), "x", "<f4", &floats(19.0));
    let words = "`embedding` takes tokens, the data are moved or scaled by data.mean and data.std; leave both out";
    refused(folder.path(), &["data.mean=10", "data.std=5"], words);
    refused(folder.path(), &["data.mean=1", "data.std=1"], words);
    write(folder.path(), "x", "|u1", &bytes(19.0));
    let words = "leave both out, and write data.scale = 1";
    refused(folder.path(), &["data.mean=1", "data.std=1"], words);
}

/// What is whole is the same token, whatever its type.
#[test]
fn tokens_of_every_type_are_the_same() {
    let folder = folder();
    let digest = |descr: &str, values: &[u8], sets: &[&str], way: &[&str]| {
        write(folder.path(), "x", descr, values);
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        mixnn(folder.path(), &[&["run", "job.toml", "--out", "out"], way, &sets].concat()).well();
        let digest = json(&folder.path().join("out/result.json"))["weights_sha256"].to_string();
        fs::remove_dir_all(folder.path().join("out")).unwrap();
        digest
    };
    let reference = digest("<u2", &words(19.0), &[], &["--single"]);
    assert_eq!(digest("<f4", &floats(19.0), &[], &["--single"]), reference);
    assert_eq!(digest("<f4", &floats(19.0), &[], &["--local", "6"]), reference);
    assert_eq!(digest("|u1", &bytes(19.0), &["data.scale=1"], &["--single"]), reference);
    let reshaped = "stage=[{ ops = [{ op = \"reshape\", shape = [1, 1, 2] }, { op = \"flatten\" }, { op = \"embedding\", \
                    vocabulary = 20, width = 3 }] }, { ops = [{ op = \"flatten\" }, { op = \"linear\", out = 3 }] }]";
    assert_eq!(
        digest("<f4", &floats(19.0), &[reshaped], &["--local", "6"]),
        digest("<u2", &words(19.0), &[reshaped], &["--single"])
    );
    // The control: other tokens.
    let others: Vec<u8> = tokens(19.0).iter().rev().flat_map(|token| token.to_le_bytes()).collect();
    assert_ne!(digest("<f4", &others, &[], &["--single"]), reference);
}

#[test]
fn a_model_takes_the_tokens_that_it_knows() {
    let folder = folder();
    write(folder.path(), "x", "<f4", &floats(19.0));
    mixnn(folder.path(), &["run", "job.toml", "--single", "--out", "run"]).well();
    let infer = |last: f32| -> Ran {
        write(folder.path(), "new", "<f4", &floats(last));
        mixnn(folder.path(), &["infer", "run", "--input", "new.npy", "--output", "y.npy", "--single"])
    };
    for (last, shown) in [(3.5, "3.5"), (-1.0, "-1"), (25.0, "25"), (1e9, "1000000000")] {
        let words = format!(
            "new.npy, value 1 of sample 19: {shown}, expected a whole number from 0 to 19, for which the embedding has a row: \
             save such tokens as the model was trained on"
        );
        infer(last).refused(2, &[&words]);
        assert!(!folder.path().join("y.npy").exists());
    }
    infer(0.0).well();
    assert!(npy::read(&folder.path().join("y.npy")).1.iter().all(|value| value.is_finite()));
}

#[test]
fn an_embedding_takes_the_data_alone() {
    let folder = folder();
    write(folder.path(), "x", "<f4", &floats(19.0));
    let stages = "stage=[{ ops = [{ op = \"linear\", out = 2 }] }, { ops = [{ op = \"embedding\", vocabulary = 20, width = 3 }, \
                  { op = \"flatten\" }, { op = \"linear\", out = 3 }] }]";
    refused(
        folder.path(),
        &[stages],
        "stage 2: `embedding` takes the data's tokens, not what other operations make of them",
    );
}
