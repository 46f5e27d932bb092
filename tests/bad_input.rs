//! What a user may get wrong: each has its exit code and a message with what was found, what was expected and where.
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;
mod small_mnist;

use std::fs;
use std::io::Write;
use std::path::Path;

use binary::{DIGITS, Ran, json, mixnn};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use small_mnist::{TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx};
use tempfile::TempDir;

/// A folder with the digits job, one text in it replaced, as `job.toml`; and where the replacement begins.
fn changed(from: &str, to: &str) -> (TempDir, String) {
    let text = fs::read_to_string(DIGITS).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?} is not once in the job");
    let before = &text[..text.find(from).unwrap()];
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    let at = format!("job.toml:{}:{column}", before.matches('\n').count() + 1);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("job.toml"), text.replace(from, to)).unwrap();
    (folder, at)
}

/// Asserts that `check` and `run` both refuse the digits job with `from` replaced by `to`, and name the place `offset`
/// characters behind where it begins.
#[track_caller]
fn change_refused(from: &str, to: &str, offset: usize, words: &[&str]) {
    let (folder, at) = changed(from, to);
    let (place, column) = at.rsplit_once(':').unwrap();
    let at = format!("{place}:{}: ", column.parse::<usize>().unwrap() + offset);
    let words = [&[at.as_str()], words].concat();
    for args in [["check", "job.toml"].as_slice(), &["run", "job.toml", "--single"]] {
        one_error(mixnn(folder.path(), args).refused(2, &words));
    }
    assert!(!folder.path().join("runs").exists(), "a refused job leaves nothing");
}

/// Asserts that the digits job is refused with `sets` on top.
#[track_caller]
fn set_refused(sets: &[&str], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    one_error(mixnn(folder.path(), &[&["check", DIGITS], sets.as_slice()].concat()).refused(code, words));
}

#[track_caller]
fn one_error(ran: &Ran) {
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known() {
    change_refused("epochs = 15", "epoch = 15", 0, &["unknown key `epoch` in [train]", "did you mean `epochs`?"]);
    change_refused("relays = 3", "relay = 3", 0, &["unknown key `relay` in [mix]", "did you mean `relays`?"]);
    change_refused("lr = 0.1", "lrr = 0.1", 0, &["unknown key `lrr`", "did you mean `lr`?"]);
    change_refused("seed = 7", "zzz = 7", 0, &["unknown key `zzz` in the job", "it knows name, seed, data"]);
    change_refused("name = ", "nme = ", 0, &["unknown key `nme`", "did you mean `name`?"]);
}

#[test]
fn a_wrong_type_or_value_is_shown_beside_what_was_expected() {
    change_refused(
        "epochs = 15",
        "epochs = \"many\"",
        9,
        &["`train.epochs`", "the string \"many\"", "a whole number from 0"],
    );
    change_refused("epochs = 15", "epochs = -1", 9, &["the integer -1", "from 0"]);
    change_refused(
        "validation = 0.1",
        "validation = 1.0",
        13,
        &["`data.validation`", "the number 1", "a part from 0"],
    );
    change_refused(
        "\"digits\"\nvalidation",
        "\"digit\"\nvalidation",
        0,
        &["the string \"digit\"", "\"digits\" or \"mnist\""],
    );
    change_refused("\"mixed\"", "\"onion\"", 0, &["the string \"onion\"", "\"mixed\" or \"sealed\" or \"bare\""]);
    change_refused(
        "op = \"linear\", out = 32",
        "op = \"linaer\", out = 32",
        5,
        &["linaer", "\"linear\" or \"relu\""],
    );
    change_refused("name = \"digits\"", "name = \"../digits\"", 0, &["`name`", "../digits"]);
}

#[test]
fn a_missing_key_and_bad_toml_are_named() {
    let (folder, _) = changed("epochs = 15\n", "");
    mixnn(folder.path(), &["check", "job.toml"]).refused(2, &["job.toml:", "[train] lacks the key `epochs`"]);
    change_refused("epochs = 15", "epochs = = 15", 9, &[]);
}

#[test]
fn a_job_that_is_not_there_is_a_matter_of_the_surroundings() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["check", "none.toml"].as_slice(), &["run", "none.toml"], &["run", "none.toml", "--single"]] {
        one_error(mixnn(folder.path(), args).refused(3, &["cannot read the job none.toml", "No such file"]));
    }
}

#[test]
fn shapes_must_chain() {
    change_refused(
        "[[stage]]\nops = [{ op = \"linear\", out = 32",
        "[[stage]]\nops = [{ op = \"linear\", in = 99, out = 32",
        0,
        &["stage 2", "takes 99 values a sample, but gets 64", "write in = 64"],
    );
    change_refused(
        "[[stage]]\nops = [{ op = \"linear\", out = 10 }]",
        "[[stage]]\nops = [{ op = \"linear\", out = 11 }]",
        0,
        &["the last stage gives 11 values a sample", "10 classes", "out = 10"],
    );
    // The control: the right number is taken.
    let (folder, _) = changed("op = \"linear\", out = 32", "op = \"linear\", in = 64, out = 32");
    mixnn(folder.path(), &["check", "job.toml"]).well();
}

#[test]
fn a_micro_batch_must_divide_its_batch() {
    change_refused(
        "micro_batch = 16",
        "micro_batch = 64",
        0,
        &["micro_batch = 64 exceeds batch = 32", "1, 2, 4, 8, 16, 32"],
    );
    change_refused("micro_batch = 16", "micro_batch = 12", 0, &["micro_batch = 12 does not divide batch = 32"]);
}

#[test]
fn a_job_has_stages() {
    set_refused(&["stage=[]"], 2, &["`stage` is a list of 0", "1 to 511 stages"]);
    set_refused(&["stage=[{ ops = [] }]"], 2, &["[[stage]] 1.ops", "an empty list"]);
    let one = "stage=[{ ops = [{ op = \"linear\", out = 10 }] }]";
    set_refused(&[one], 2, &["needs at least 2 stages on ranks, the job has 1", "\"sealed\""]);
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &["check", DIGITS, "--set", one, "--set", "mix.profile=sealed"]).well();
}

#[test]
fn hops_are_three_or_four() {
    for hops in [0, 2, 5] {
        set_refused(
            &[&format!("mix.hops={hops}")],
            2,
            &["`mix.hops`", &format!("the integer {hops}"), "from 3 to 4"],
        );
    }
}

#[test]
fn too_few_ranks_for_four_hops_are_told_which_would_do() {
    let words = ["no circuits of 4 hops among 6 ranks with 3 stages", "these rank counts work: 7, 8, 9,"];
    set_refused(&["mix.relays=2", "mix.hops=4"], 2, &words);
    set_refused(
        &["mix.pace=3s", "transport.timeout=10s"],
        2,
        &["4 slots of 3s", "mix.pace", "transport.timeout, 10s"],
    );
    set_refused(&["mix.depth=2"], 2, &["3 stages cannot pass for 2", "mix.depth"]);
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &["check", DIGITS, "--set", "mix.hops=4", "--ranks", "8"]).well();
}

#[test]
fn a_cell_must_hold_something() {
    set_refused(&["mix.cell=64"], 2, &["`mix.cell`", "the integer 64", "from 128"]);
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &["check", DIGITS, "--set", "mix.cell=128"]).well();
}

#[test]
fn the_number_of_ranks_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let local = |ranks: &str| mixnn(folder.path(), &["run", DIGITS, "--local", ranks]);
    one_error(local("6").refused(3, &["needs 7 ranks (1 owner, 3 stages and 3 relays)", "there are 6", "-n 7"]));
    one_error(local("0").refused(3, &["there are 0"]));
    one_error(local("513").refused(2, &["at most 512 ranks, there are 513"]));
    mixnn(folder.path(), &["check", DIGITS, "--ranks", "3"]).refused(3, &["there are 3"]);
    set_refused(&["mix.relays=509"], 2, &["1 owner, 3 stages and 509 relays are 513 ranks", "512"]);
    assert!(!folder.path().join("runs").exists());
}

/// Who repeats a step that failed finds the rest of it in the way, and is told so.
#[test]
fn the_rest_of_a_run_that_failed_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |sets: &[&str]| mixnn(folder.path(), &[&["run", DIGITS, "--single", "--out", "out"], sets].concat());
    run(&["--set", "train.optimizer.lr=1e30"]).refused(1, &[]);
    let ran = run(&["--set", "train.epochs=1"]);
    one_error(ran.refused(
        2,
        &["out holds an unfinished run (checkpoint, job.toml, owner.key; no model)", "rm -r out", "--out"],
    ));
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    run(&["--set", "train.epochs=1"]).well();
    // What has a model is a run, however it ended.
    fs::remove_file(folder.path().join("out/result.json")).unwrap();
    one_error(run(&[]).refused(2, &["the folder out exists"]));
}

#[test]
fn an_existing_folder_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("result.json"), "precious").unwrap();
    for way in [["--single"].as_slice(), &["--local", "7"]] {
        let ran = mixnn(folder.path(), &[&["run", DIGITS, "--out", "out"], way].concat());
        one_error(ran.refused(2, &["the folder out exists", "--out"]));
        assert!(!ran.stderr.contains("unfinished"), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(out.join("result.json")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn sets_are_checked_like_the_file() {
    set_refused(&["train.epochs"], 2, &["--set train.epochs: there is no `=`", "--set train.epochs=1"]);
    set_refused(&["train.epoch=1"], 2, &["--set train.epoch=1: unknown key `epoch` in [train]", "`epochs`"]);
    set_refused(&["trian.epochs=1"], 2, &["--set trian.epochs=1", "unknown key `trian`", "`train`"]);
    set_refused(&["train..epochs=1"], 2, &["a part of the key is empty"]);
    set_refused(&["name.first=1"], 2, &["`name` is the string \"digits\", not a table; set all of it"]);
    set_refused(&["train.epochs=soon"], 2, &["--set train.epochs=soon", "the string \"soon\""]);
    set_refused(&["transport.timeout=12"], 2, &["`transport.timeout`", "\"120s\""]);
}

#[test]
fn calls_that_mean_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| mixnn(folder.path(), args);
    one_error(call(&["join"]).refused(2, &["ranks other than 0", "mpirun -n 1 mixnn run JOB : -n 6 mixnn join"]));
    call(&[]).refused(2, &["Usage: mixnn"]);
    call(&["run"]).refused(2, &["<JOB>"]);
    call(&["rnu", DIGITS]).refused(2, &["rnu"]);
    call(&["run", DIGITS, "--single", "--local", "7"]).refused(2, &["--single", "cannot be used with"]);
    call(&["run", DIGITS, "--local", "seven"]).refused(2, &["seven"]);
    call(&["run", DIGITS, "--profile", "onion"]).refused(2, &["onion", "\"mixed\" or \"sealed\" or \"bare\""]);
    let help = call(&["--help"]).well();
    assert!(help.stdout.contains("Exit codes: 0 done;") && help.stderr.is_empty());
    assert_eq!(call(&["--version"]).well().stdout, format!("mixnn {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    for way in [["--single"].as_slice(), &["--local", "7"]] {
        let sets = ["--set", "train.epochs=2", "--set", "train.lr=1e30"];
        let ran = mixnn(folder.path(), &[&["run", DIGITS], way, &sets].concat());
        one_error(ran.refused(1, &["the loss is NaN in epoch 1", "train.optimizer.lr"]));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A folder with a job on small images, and the images.
fn small_mnist() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_mnist::write(folder.path());
    fs::write(folder.path().join("job.toml"), small_mnist::job(".")).unwrap();
    folder
}

/// Changes one file of the small set and asserts that `run` refuses it.
#[track_caller]
fn data_refused(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>, code: i32, words: &[&str]) {
    let folder = small_mnist();
    let path = folder.path().join(name);
    fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    let ran = mixnn(folder.path(), &["run", "job.toml", "--single"]);
    one_error(ran.refused(code, &[&[name], words].concat()));
    mixnn(folder.path(), &["check", "job.toml"]).refused(code, words);
}

/// The control for all that follows: without damage the same files are taken, plain or packed.
#[test]
fn whole_data_files_are_taken() {
    let folder = small_mnist();
    mixnn(folder.path(), &["run", "job.toml", "--single", "--out", "plain"]).well();
    for name in [TRAIN_IMAGES, TEST_LABELS] {
        let path = folder.path().join(name);
        fs::write(folder.path().join(format!("{name}.gz")), gzip(&fs::read(&path).unwrap())).unwrap();
        fs::remove_file(path).unwrap();
    }
    mixnn(folder.path(), &["run", "job.toml", "--single", "--out", "packed"]).well();
    let digest = |run: &str| json(&folder.path().join(run).join("result.json"))["weights_sha256"].clone();
    assert_eq!(digest("plain"), digest("packed"));
}

#[test]
fn a_data_file_that_is_missing_is_named() {
    for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
        let folder = small_mnist();
        fs::remove_file(folder.path().join(name)).unwrap();
        let ran = mixnn(folder.path(), &["run", "job.toml", "--single"]);
        one_error(ran.refused(3, &[name, "missing", "mixnn data fetch mnist"]));
    }
}

#[test]
fn damaged_idx_files_are_told() {
    data_refused(
        TRAIN_IMAGES,
        |bytes| bytes[..bytes.len() - 1].to_vec(),
        2,
        &["cut off", "815 bytes found, 816 expected"],
    );
    data_refused(TRAIN_IMAGES, |bytes| bytes[..7].to_vec(), 2, &["7 bytes"]);
    data_refused(TRAIN_IMAGES, |_| Vec::new(), 2, &[]);
    data_refused(
        TEST_LABELS,
        |bytes| [bytes, vec![0]].concat(),
        2,
        &["trailing bytes", "19 bytes found, 18 expected"],
    );
    data_refused(TRAIN_LABELS, |bytes| [&[1], &bytes[1..]].concat(), 2, &[]);
    data_refused(
        TRAIN_IMAGES,
        |mut bytes| {
            bytes[2] = 13;
            bytes
        },
        2,
        &["0x0d", "0x08"],
    );
    data_refused(TRAIN_IMAGES, |_| idx(&[u32::MAX, u32::MAX, u32::MAX], &[1]), 2, &["4294967295"]);
    data_refused(TRAIN_IMAGES, |_| idx(&[0, 4, 5], &[]), 2, &["[0, 4, 5]", "at least one image"]);
}

#[test]
fn damaged_gzip_files_are_told() {
    data_refused(
        TRAIN_IMAGES,
        |bytes| {
            let packed = gzip(&bytes);
            packed[..packed.len() / 2].to_vec()
        },
        2,
        &["gzip"],
    );
    data_refused(
        TRAIN_IMAGES,
        |bytes| {
            let mut packed = gzip(&bytes);
            // In the checksum.
            let at = packed.len() - 6;
            packed[at] ^= 1;
            packed
        },
        2,
        &["gzip"],
    );
}

#[test]
fn labels_and_images_must_fit_each_other() {
    // One label more is a class more, unless the job says how many there are.
    let folder = small_mnist();
    let path = folder.path().join(TRAIN_LABELS);
    let mut labels = fs::read(&path).unwrap();
    labels[8 + 17] = 10;
    fs::write(path, labels).unwrap();
    let refused = |sets: &[&str], words: &[&str]| {
        one_error(mixnn(folder.path(), &[&["run", "job.toml", "--single"], sets].concat()).refused(2, words));
    };
    refused(&[], &["the data have 11 classes", "write out = 11"]);
    refused(&["--set", "data.classes=10"], &[TRAIN_LABELS, "label 17 is 10", "below 10"]);
    data_refused(TRAIN_LABELS, |_| idx(&[39], &[0; 39]), 2, &["39 labels", "40"]);
    data_refused(TEST_IMAGES, |_| idx(&[10, 5, 4], &[0; 200]), 2, &["[5, 4]", "[4, 5]"]);
    data_refused(TRAIN_LABELS, |_| idx(&[40, 1, 1], &[0; 40]), 2, &["3 dimensions", "expected 1"]);
}

#[test]
fn data_is_fetched_from_a_folder_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let fetch = |from: &str| mixnn(folder.path(), &["data", "fetch", "mnist", "--from", from, "--to", "to"]);
    one_error(fetch("empty").refused(3, &[TRAIN_IMAGES, ".gz", "in empty"]));
    one_error(fetch("nowhere").refused(3, &["nowhere"]));
    fs::write(folder.path().join("no.tgz"), "no archive").unwrap();
    one_error(fetch("no.tgz").refused(2, &["no.tgz", "archive"]));
    // Images, but not MNIST's: what is fetched is proven to be the original.
    let other = small_mnist();
    one_error(fetch(other.path().to_str().unwrap()).refused(2, &["is not the original", "SHA-256"]));
    let left = fs::read_dir(folder.path().join("to")).map_or(0, |files| files.count());
    assert_eq!(left, 0, "files that were not proven");
    mixnn(folder.path(), &["data", "fetch", "nosuch"]).refused(2, &["nosuch", "mnist"]);
}

/// What `check` says of a job, without what it simulates anew each time (tests/protection.rs).
fn check(folder: &Path, args: &[&str]) -> Value {
    let mut json: Value =
        serde_json::from_str(&mixnn(folder, &[&["check", "--json"], args].concat()).well().stdout).unwrap();
    json.as_object_mut().unwrap().remove("protection").unwrap();
    json
}

/// Figures that follow from the job by hand: 81 micro-batches in 41 batches, a period of 7, 8 slots behind the last; 9 and 23
/// micro-batches to validate and test, 4 slots behind. Messages of 64 + 16 * 64 * 4 bytes, in three circuits each way.
#[test]
fn check_prints_what_a_job_needs() {
    let folder = tempfile::tempdir().unwrap();
    let json = check(folder.path(), &[DIGITS]);
    let due = json!({
        "profile": "mixed", "ranks": 7, "stages": 3, "relays": 3,
        "parameters": [64 * 64 + 64, 64 * 32 + 32, 32 * 10 + 10],
        "samples": { "train": 1294, "validation": 144, "test": 359 },
        "cells_per_lane": 1, "message_bytes": 3 * 1456, "cell_payload_bytes": 1456,
        "block_bytes": [32 + 1456 + 48, 1456 + 32, 1456 + 16],
        "bytes_per_rank_and_slot": 6 * (1536 + 1488 + 1472),
        "slots_per_epoch": 40 * 7 + 8 + 9 + 4, "slots_for_testing": 23 + 4,
    });
    for (key, value) in due.as_object().unwrap() {
        assert_eq!(&json[key], value, "{key}");
    }
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    let job = &json["job"];
    assert_eq!((&job["train"]["batch"], &job["stage"][0]["ops"][0]["out"]), (&32.into(), &64.into()), "{job}");
    let text = mixnn(folder.path(), &["check", DIGITS]).well().stdout;
    for words in [
        "7: 1 owner, 3 stages, 3 relays",
        "stage 1              linear, relu: 4160 parameters",
        "1294 to train, 144 to validate, 359 to test",
        "4368 bytes",
        "1536, 1488, 1472 bytes, by phase",
        "26976 bytes a slot",
        "301 an epoch, 27 to test; 0 to 7 empty ones before",
        "on the largest rank, 119.3 KiB of data on the owner, beside program and MPI",
        "warning: the seed \"7\" is short",
        "warning: ranks not authenticated: the MPI layer is trusted",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    // Other ranks, other lengths; and no cells where there is no mix.
    let nine = check(folder.path(), &[DIGITS, "--ranks", "9"]);
    assert_eq!((&nine["ranks"], &nine["relays"]), (&9.into(), &5.into()));
    assert!(nine["cell_payload_bytes"].as_u64() < json["cell_payload_bytes"].as_u64());
    let bare = check(folder.path(), &[DIGITS, "--set", "mix.profile=bare"]);
    assert_eq!((&bare["ranks"], &bare["relays"]), (&4.into(), &0.into()));
    assert!(bare["bytes_per_rank_and_slot"].is_null());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "`check` writes nothing");
}

#[test]
fn the_job_that_a_run_writes_is_the_same_job() {
    let folder = tempfile::tempdir().unwrap();
    let sets = [
        "--set",
        "train.epochs=1",
        "--set",
        "train.lr=0.05",
        "--set",
        "mix.cell=256",
        "--set",
        "transport.timeout=7s",
    ];
    mixnn(folder.path(), &[&["run", DIGITS, "--local", "7", "--out", "a"], sets.as_slice()].concat()).well();
    let written = fs::read_to_string(folder.path().join("a/job.toml")).unwrap();
    let resolved = check(folder.path(), &[&[DIGITS], sets.as_slice()].concat());
    let written: toml::Table = toml::from_str(&written).unwrap();
    assert_eq!(resolved["job"], serde_json::to_value(written).unwrap());
    assert_eq!(resolved["job"]["train"]["optimizer"]["lr"], 0.05);
    assert_eq!(check(folder.path(), &["a/job.toml"]), resolved);
    mixnn(folder.path(), &["run", "a/job.toml", "--single", "--out", "b"]).well();
    let digest = |run: &str| json(&folder.path().join(run).join("result.json"))["weights_sha256"].clone();
    assert_eq!(digest("a"), digest("b"));
}

/// A job without a seed draws one; the job that its run writes names it.
#[test]
fn a_drawn_seed_is_written_down() {
    let (folder, _) = changed("seed = 7\n", "");
    let run = |job: &str, out: &str| {
        mixnn(folder.path(), &["run", job, "--single", "--set", "train.epochs=1", "--out", out]).well();
        json(&folder.path().join(out).join("result.json"))["weights_sha256"].clone()
    };
    let first = run("job.toml", "a");
    assert_eq!(run("a/job.toml", "b"), first);
    assert_ne!(run("job.toml", "c"), first);
    let warnings = check(folder.path(), &["job.toml"])["warnings"].to_string();
    assert!(!warnings.contains("seed"), "{warnings}");
}

/// A folder with a safetensors file of these tensors.
fn saved(tensors: &[(&str, Dtype, &[usize])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dtype, shape)| vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8])
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, dtype, shape), bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    fs::write(folder.path().join("saved.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

#[test]
fn initial_values_that_do_not_fit_are_all_named() {
    use Dtype::{F16, F32, I64};
    let good = [
        ("fc1.weight", F32, &[64, 64][..]),
        ("fc1.bias", F32, &[64]),
        ("fc2.weight", F32, &[32, 64]),
        ("fc2.bias", F16, &[32]),
        ("fc10.weight", F32, &[10, 32]),
        ("fc10.bias", F32, &[10]),
    ];
    let from = ["check", DIGITS, "--set", "init.from=saved.safetensors"];
    mixnn(saved(&good).path(), &from).well();
    let mut bad = good.to_vec();
    bad[0].2 = &[64, 63];
    bad[1].0 = "fc1.scale";
    bad[2].1 = I64;
    bad.extend([("norm.weight", F32, &[3][..]), ("norm.num_batches_tracked", I64, &[])]);
    let folder = saved(&bad);
    let words = [
        "saved.safetensors does not fit the job's network:",
        "\n  wrong shape: fc1.weight (64, 63), expected 0.weight (64, 64)",
        "\n  missing: 0.bias (64), looked for in fc1",
        "\n  left over: fc1.scale (64)",
        "\n  wrong type: fc2.weight (32, 64) is I64, expected F32, F64, F16 or BF16",
        "\n  left over: norm.weight (3)",
        "\nmodules were taken in the order fc1, fc2, fc10, norm; they fit in no order; init.order = [...] names another",
    ];
    for args in [from.as_slice(), &["run", DIGITS, "--single", "--set", from[3]]] {
        let ran = mixnn(folder.path(), args);
        one_error(ran.refused(2, &words));
        assert!(!ran.stderr.contains("num_batches_tracked"), "{}", ran.stderr);
    }
    let order = "init={ from = \"saved.safetensors\", order = [\"fc2\", \"fc3\"] }";
    let ran = mixnn(saved(&good).path(), &["check", DIGITS, "--set", order]);
    one_error(ran.refused(2, &["init.order: no module fc3 in the file", "order fc2, fc1, fc10;"]));
}

/// Two modules of one shape, whose names do not tell which runs first: both orders are shown, and each can be typed.
#[test]
fn an_order_of_initial_values_that_nothing_tells_is_asked_for() {
    use Dtype::F32;
    let tensors = [
        ("stem.weight", F32, &[64, 64][..]),
        ("stem.bias", F32, &[64]),
        ("body.weight", F32, &[64, 64]),
        ("body.bias", F32, &[64]),
        ("zhead.weight", F32, &[10, 64]),
        ("zhead.bias", F32, &[10]),
    ];
    let stages = "stage=[{ ops = [{ op = \"linear\", out = 64 }, { op = \"relu\" }, { op = \"linear\", out = 64 }] }, { ops = [{ op = \
                  \"linear\", out = 10 }] }]";
    let folder = saved(&tensors);
    let sets = [DIGITS, "--set", stages, "--set", "init.from=saved.safetensors"];
    let words = [
        "saved.safetensors: its modules fit the job's network in more than one order",
        "\n  parameter          operation        natural order of names  another order\n",
        "\n  0.weight (64, 64)  linear, stage 1  body.weight             stem.weight\n",
        "\n  2.bias (64)        linear, stage 1  stem.bias               body.bias\n",
        "\n  order = [\"body\", \"stem\", \"zhead\"]\n  order = [\"stem\", \"body\", \"zhead\"]\n",
    ];
    for command in [&["check"][..], &["run", "--single"]] {
        let ran = mixnn(folder.path(), &[command, &sets].concat());
        one_error(ran.refused(2, &words));
        assert!(!ran.stderr.contains("zhead.weight"), "what is the same in both: {}", ran.stderr);
    }
    for (order, first, second) in [
        ("init.order=[\"body\", \"stem\", \"zhead\"]", "body", "stem"),
        ("init.order=[\"stem\", \"body\", \"zhead\"]", "stem", "body"),
    ] {
        let args = [&sets[..], &["--set", order]].concat();
        let text = mixnn(folder.path(), &[&["check"], args.as_slice()].concat()).well().stdout;
        let lines = [
            "initial values         saved.safetensors, in the order of init.order\n  tensor        parameter"
                .to_owned(),
            format!("\n  {first}.weight   0.weight (64, 64)  linear, stage 1\n"),
            format!("\n  {second}.bias     2.bias (64)        linear, stage 1\n"),
            "\n  zhead.weight  3.weight (10, 64)  linear, stage 2\n".to_owned(),
        ];
        lines.iter().for_each(|line| assert!(text.contains(line), "no {line:?} in {text}"));
        let json = check(folder.path(), &args);
        let tensors = json["initial_tensors"]["tensors"].as_array().unwrap();
        let due = json!({
            "tensor": format!("{second}.weight"), "shape": [64, 64], "parameter": "2.weight", "operation": "linear", "stage": 1,
        });
        assert_eq!((tensors.len(), &tensors[2]), (6, &due));
    }
    // Where all names are the network's own, the whole mapping is printed too.
    let own = ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"];
    let own: Vec<(&str, Dtype, &[usize])> =
        own.iter().zip(&tensors).map(|(name, old)| (*name, old.1, old.2)).collect();
    let text = mixnn(saved(&own).path(), &[&["check"], &sets[..]].concat()).well().stdout;
    assert!(
        text.contains("saved.safetensors, by name\n") && text.contains("\n  2.weight  2.weight (64, 64)"),
        "{text}"
    );
}

#[test]
fn initial_values_that_are_not_there_or_no_numbers() {
    let from = ["check", DIGITS, "--set", "init.from=saved.safetensors"];
    let folder = tempfile::tempdir().unwrap();
    one_error(mixnn(folder.path(), &from).refused(3, &["cannot read the model saved.safetensors", "No such file"]));
    fs::write(folder.path().join("saved.safetensors"), "PK and so on").unwrap();
    one_error(
        mixnn(folder.path(), &from).refused(2, &["not a whole safetensors file", "safetensors.torch.save_file"]),
    );
    mixnn(folder.path(), &["run", DIGITS, "--single", "--set", "train.epochs=1", "--out", "run"]).well();
    let mut bytes = fs::read(folder.path().join("run/model.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(folder.path().join("saved.safetensors"), &bytes).unwrap();
    let words = ["value 319 of 4.weight is NaN, expected a finite number that an f32 holds"];
    one_error(mixnn(folder.path(), &from).refused(2, &words));
}

#[test]
fn what_cannot_be_inferred_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let infer = |run: &str, input: &str, output: &str| {
        mixnn(folder.path(), &["infer", run, "--input", input, "--output", output, "--single"])
    };
    mixnn(folder.path(), &["run", DIGITS, "--single", "--set", "train.epochs=1", "--out", "run"]).well();
    npy::write(&at("x.npy"), "|u1", &[2, 8, 8], &[1; 128]);
    one_error(
        infer("run", "x.npy", "y.npy")
            .refused(2, &["x.npy, inputs: the shape (2, 8, 8), expected samples of (1, 8, 8)"]),
    );
    npy::write(&at("x.npy"), "|u1", &[2, 64], &[1; 128]);
    one_error(infer("none", "x.npy", "y.npy").refused(3, &["cannot read the job none/job.toml", "No such file"]));
    one_error(infer("run", "none.npy", "y.npy").refused(3, &["cannot read none.npy", "No such file"]));
    one_error(infer("run", "x.npy", "none/y.npy").refused(3, &["cannot write none/y.npy", "No such file"]));
    // What is there is not written over: no folder, no input, nothing of the system's.
    std::os::unix::fs::symlink("x.npy", at("link.npy")).unwrap();
    for there in ["run", "x.npy", "link.npy", "/dev/null"] {
        one_error(infer("run", "x.npy", there).refused(2, &[there, "exists; name another file with --output"]));
    }
    fs::remove_file(at("link.npy")).unwrap();
    one_error(
        infer("run", "run/job.toml", "y.npy").refused(2, &["run/job.toml, inputs: the first bytes", "numpy.save"]),
    );
    npy::write(&at("f.npy"), "<f4", &[2, 64], &[0; 512]);
    one_error(
        infer("run", "f.npy", "y.npy").refused(2, &["f.npy, inputs: float32, expected uint8, which the model takes"]),
    );
    npy::write(&at("none.npy"), "|u1", &[0, 64], &[]);
    one_error(
        infer("run", "none.npy", "y.npy")
            .refused(2, &["the shape (0, 64), expected samples of (1, 8, 8)", "at least one"]),
    );
    let call = |args: &[&str]| mixnn(folder.path(), args);
    call(&["infer", "run", "--input", "x.npy"]).refused(2, &["--output <FILE>"]);
    // Another network than the model's, and a model that no run has written.
    let sets =
        ["--single", "--set", "stage=[{ ops = [{ op = \"linear\", out = 10 }] }, { ops = [{ op = \"relu\" }] }]"];
    let other = call(&[&["infer", "run", "--input", "x.npy", "--output", "y.npy"], sets.as_slice()].concat());
    one_error(other.refused(2, &["model.safetensors does not fit", "left over: 4.weight (10, 32)"]));
    let plain = saved(&[("0.weight", Dtype::F32, &[1])]);
    fs::rename(plain.path().join("saved.safetensors"), at("run/model.safetensors")).unwrap();
    one_error(infer("run", "x.npy", "y.npy").refused(2, &["does not say what goes into the model", "mixnn.input"]));
    fs::remove_file(at("run/model.safetensors")).unwrap();
    one_error(infer("run", "x.npy", "y.npy").refused(3, &["cannot read the model run/model.safetensors"]));
    assert!(!at("y.npy").exists());
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left.len(), 4, "{left:?}");
}

/// Training has gone well, and still the test comes to nothing: what was given cannot be normalised by.
#[test]
fn a_test_loss_that_is_no_number_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let stages = "stage=[{ ops = [{ op = \"linear\", out = 8 }, { op = \"batch_norm\", momentum = 0.0 }] }, { ops = [{ op = \
                  \"linear\", out = 10 }] }]";
    let run = |out: &str, more: &[&str]| {
        let sets = ["--set", "train.epochs=1", "--set", stages, "--out", out];
        mixnn(folder.path(), &[&["run", DIGITS, "--single"], &sets[..], more].concat())
    };
    run("run", &[]).well();
    let bytes = fs::read(folder.path().join("run/model.safetensors")).unwrap();
    let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let negative = (-1.0_f32).to_le_bytes().repeat(8);
    let tensors = model.tensors().into_iter().map(|(name, tensor)| match name.as_str() {
        "1.running_var" => (name, safetensors::tensor::TensorView::new(Dtype::F32, vec![8], &negative).unwrap()),
        _ => (name, tensor),
    });
    let init = safetensors::serialize(tensors.collect::<Vec<_>>(), None).unwrap();
    fs::write(folder.path().join("init.safetensors"), init).unwrap();
    let init = ["--set", "init.from=init.safetensors"];
    run("nan", &init).refused(1, &["the loss on the test set is NaN: the model is kept, in nan"]);
    assert!(folder.path().join("nan/model.safetensors").exists());
}
