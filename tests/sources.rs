//! Every source of data, from its file to a trained model, and what a user is told of files that are none.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::path::Path;

use binary::{Ran, json, mixnn};
use tempfile::TempDir;

/// What NumPy and the Python library of safetensors wrote: tests/reference/arrays.py.
const ARRAYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/arrays");

/// A job on two stages, of which the first begins with `ops` and the second gives `out` values.
fn job(data: &str, loss: &str, ops: &str, out: u32) -> String {
    format!(
        "name = \"sources\"\nseed = 7\n[data]\n{data}\nvalidation = 0\n[train]\nepochs = 1\nbatch = 2\nloss = \"{loss}\"\n\
         [[stage]]\nops = [{ops}]\n[[stage]]\nops = [{{ op = \"linear\", out = {out} }}]\n"
    )
}

/// Runs the job in one process and on ranks that mix, and asserts that both learn the same; how many samples there are to
/// train and to test, and the shape of one.
#[track_caller]
fn learned(folder: &Path, job: &str) -> (u64, u64) {
    fs::write(folder.join("job.toml"), job).unwrap();
    let digest = |way: &[&str], out: &str| {
        mixnn(folder, &[&["run", "job.toml", "--out", out], way].concat()).well();
        json(&folder.join(out).join("result.json"))["weights_sha256"].clone()
    };
    assert_eq!(digest(&["--single"], "single"), digest(&["--local", "6"], "local"));
    // The job that a run writes names the same data.
    let written = mixnn(folder, &["check", "--json", "single/job.toml"]).well().stdout;
    let checked: serde_json::Value = serde_json::from_str(&written).unwrap();
    let samples = |part: &str| checked["samples"][part].as_u64().unwrap();
    (samples("train"), samples("test"))
}

/// What must not depend on how a job runs: the weights' digest, and the losses.
#[track_caller]
fn bits(folder: &Path, job: &str, way: &[&str]) -> String {
    fs::write(folder.join("job.toml"), job).unwrap();
    mixnn(folder, &[&["run", "job.toml", "--out", "bits"], way].concat()).well();
    let result = json(&folder.join("bits/result.json"));
    fs::remove_dir_all(folder.join("bits")).unwrap();
    let losses = [&result["epochs"][0]["train_loss"], &result["test_loss"]];
    assert!(losses.iter().all(|loss| loss.is_f64()), "{result}");
    format!("{} {losses:?}", result["weights_sha256"].as_str().unwrap())
}

/// What `check` says of the job, where it refuses it.
fn refused(folder: &Path, job: &str) -> Ran {
    fs::write(folder.join("job.toml"), job).unwrap();
    mixnn(folder, &["check", "job.toml"])
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Ten lines: two numbers, a class of three, a number.
fn table() -> String {
    let lines = (0..10).map(|line| format!("{}, {}, {}, {}\n", line as f32 / 4.0, line * line, line % 3, 10 - line));
    "a,b,kind,size\n".to_owned() + &lines.collect::<String>()
}

#[test]
fn a_table_has_classes_or_numbers() {
    let folder = folder(&[("train.csv", table().as_bytes()), ("test.csv", table().as_bytes())]);
    let classes = "source = \"csv\"\npath = \"train.csv\"\nlabels = \"kind\"";
    assert_eq!(learned(folder.path(), &job(classes, "cross_entropy", "{ op = \"linear\", out = 4 }", 3)), (8, 2));
    fs::remove_dir_all(folder.path().join("single")).unwrap();
    fs::remove_dir_all(folder.path().join("local")).unwrap();
    let values =
        "source = \"csv\"\npath = \"train.csv\"\ntest = \"test.csv\"\nlabels = [\"size\", \"b\"]\nmean = 1\nstd = 2";
    assert_eq!(learned(folder.path(), &job(values, "mean_squared_error", "{ op = \"tanh\" }", 2)), (10, 10));
}

/// The same columns, in whatever order a file has them, and whatever else it has.
#[test]
fn columns_are_chosen_by_name() {
    let plain = table();
    let indexed = plain.lines().enumerate().map(|(line, text)| match line {
        0 => format!(",{text}\n"),
        _ => format!("{line}, {text}\n"),
    });
    let indexed: String = indexed.collect();
    let turned: String =
        table().lines().map(|line| line.split(',').rev().collect::<Vec<&str>>().join(",") + "\n").collect();
    let folder = folder(&[
        ("plain.csv", table().as_bytes()),
        ("indexed.csv", indexed.as_bytes()),
        ("turned.csv", turned.as_bytes()),
    ]);
    let of = |path: &str, keys: &str| {
        let data = format!("source = \"csv\"\npath = \"{path}\"\ntest = \"plain.csv\"\nlabels = \"kind\"\n{keys}");
        bits(folder.path(), &job(&data, "cross_entropy", "{ op = \"linear\", out = 4 }", 3), &["--single"])
    };
    let reference = of("plain.csv", "");
    for (path, keys) in [
        ("indexed.csv", "drop = \"\""),
        ("indexed.csv", "columns = [\"a\", \"b\", \"size\"]"),
        ("turned.csv", "columns = [\"a\", \"b\", \"size\"]"),
        ("plain.csv", "columns = [\"a\", \"b\", \"size\"]"),
    ] {
        assert_eq!(of(path, keys), reference, "{path} {keys}");
    }
    // The control: the order of the inputs counts, and so does a column.
    assert_ne!(of("plain.csv", "columns = [\"b\", \"a\", \"size\"]"), reference);
    assert_ne!(of("plain.csv", "drop = \"size\""), reference);
    let data = "source = \"csv\"\npath = \"indexed.csv\"\nlabels = \"kind\"";
    let nameless = refused(folder.path(), &job(data, "cross_entropy", "{ op = \"linear\", out = 4 }", 3));
    nameless.refused(2, &["indexed.csv, line 1: column 1, \"\", has no name", "index=False", "data.drop = \"\""]);
}

#[test]
fn check_lists_the_data() {
    let folder = folder(&[("t.csv", table().as_bytes())]);
    let data = "source = \"csv\"\npath = \"t.csv\"\nlabels = \"kind\"\nmean = 1\nstd = 2";
    let ran = refused(folder.path(), &job(data, "cross_entropy", "{ op = \"linear\", out = 4 }", 3)).well();
    for line in [
        "inputs                 (3) of float32, from 0 to 81; scaled from -0.5 to 40",
        "  \"a\"                  from 0 to 2.25",
        "  \"b\"                  from 0 to 81",
        "  \"size\"               from 1 to 10",
        "labels                 a class of 3",
        "warning: the column \"size\" holds consecutive numbers, each once",
    ] {
        assert!(ran.stdout.contains(line), "no {line:?} in {}", ran.stdout);
    }
    let json: serde_json::Value =
        serde_json::from_str(&mixnn(folder.path(), &["check", "--json", "job.toml"]).well().stdout).unwrap();
    let inputs = &json["data"]["inputs"];
    assert_eq!((&inputs["shape"], &inputs["type"]), (&serde_json::json!([3]), &serde_json::json!("float32")));
    assert_eq!(inputs["columns"][1], serde_json::json!({ "name": "b", "least": 0.0, "largest": 81.0 }));
    let labels = &json["data"]["labels"];
    assert_eq!((&labels["classes"], &labels["places"]), (&3.into(), &1.into()));
    let of = |class: usize| {
        let of = |part: &str| labels["labels"][part]["of_each_class"][class].as_u64().unwrap();
        of("train") + of("validation") + of("test")
    };
    // Ten lines, of the classes 0, 1, 2, 0, ...
    assert_eq!([0, 1, 2].map(of), [4, 3, 3]);
    assert_eq!(labels["labels"]["train"]["fewest"]["labels"].as_u64().map(|count| count < 4), Some(true));
}

#[test]
fn arrays_come_in_three_formats() {
    for data in [
        format!("source = \"npz\"\npath = \"{ARRAYS}/stored.npz\"\ntest = \"{ARRAYS}/stored.npz\"\nscale = 0.1"),
        format!("source = \"npz\"\npath = \"{ARRAYS}/packed.npz\"\ntest = \"{ARRAYS}/packed.npz\"\nclasses = 3"),
        format!(
            "source = \"safetensors\"\npath = \"{ARRAYS}/doubles.safetensors\"\ntest = \"{ARRAYS}/doubles.safetensors\""
        ),
    ] {
        let augment = "shape = [1, 3, 2]\naugment = { crop = 1, flip = true }";
        let folder = folder(&[]);
        let with = |augment: &str| job(&format!("{data}\n{augment}"), "cross_entropy", "{ op = \"flatten\" }", 3);
        assert_eq!(learned(folder.path(), &with(augment)), (4, 4));
        let digest = |augment: &str| {
            let bits = bits(folder.path(), &with(augment), &["--single"]);
            bits.split(' ').next().unwrap().to_owned()
        };
        let plain = digest("shape = [1, 3, 2]");
        for part in ["crop = 1, flip = true", "crop = 1", "flip = true"] {
            assert_ne!(digest(&format!("shape = [1, 3, 2]\naugment = {{ {part} }}")), plain, "{data} {part}");
        }
    }
    let folder = folder(&[]);
    let path = format!("{ARRAYS}/big-endian.npy");
    let data = format!(
        "source = \"npy\"\npath = \"{path}\"\nlabels = \"{path}\"\ntest = \"{path}\"\ntest_labels = \"{path}\""
    );
    let job = job(&data, "mean_squared_error", "{ op = \"flatten\" }", 6);
    assert_eq!(learned(folder.path(), &job), (4, 4));
}

/// A table of 24 lines whose labels are `label` of the line.
fn labelled(label: impl Fn(usize) -> String) -> TempDir {
    let lines = (0..24).map(|line| format!("{},{},{}\n", line as f32 / 8.0, line * 5 % 7, label(line)));
    let table = "a,b,y\n".to_owned() + &lines.collect::<String>();
    folder(&[("train.csv", table.as_bytes())])
}

/// A job of that table, whose batches are of two micro-batches.
fn comparing(loss: &str, out: u32) -> String {
    let data = "source = \"csv\"\npath = \"train.csv\"\ntest = \"train.csv\"\nlabels = \"y\"";
    job(data, "LOSS", "{ op = \"linear\", out = 4 }, { op = \"tanh\" }", out)
        .replace("\"LOSS\"", loss)
        .replace("batch = 2\n", "batch = 8\nmicro_batch = 4\n")
}

/// Where the mean over a batch is one over what counts in it, a micro-batch's part depends on the others' labels.
#[test]
fn labels_that_count_for_nothing_give_the_same_bits() {
    // Lines 0 to 5: all but one of a micro-batch, wherever it begins.
    let ignored =
        |label: &'static str| labelled(move |line| if line < 6 { label.to_owned() } else { (line % 3).to_string() });
    let loss = |ignored: &str| comparing(&format!("{{ kind = \"cross_entropy\"{ignored} }}"), 3);
    let folder = ignored("-100");
    let job = loss(", ignore_index = -100");
    let reference = bits(folder.path(), &job, &["--single"]);
    for way in [&["--local", "7"][..], &["--local", "3", "--profile", "bare"]] {
        assert_eq!(bits(folder.path(), &job, way), reference, "{way:?}");
    }
    // The control: labels that do count, and others that do not.
    assert_ne!(bits(ignored("0").path(), &loss(""), &["--single"]), reference);
    assert_ne!(bits(ignored("0").path(), &loss(", ignore_index = 1"), &["--single"]), reference);
    refused(folder.path(), &loss("")).refused(2, &["column \"y\": \"-100\", expected a class"]);
}

#[test]
fn losses_of_numbers_give_the_same_bits() {
    let chances = |share: f32| labelled(move |line| ((line % 5) as f32 / 4.0 * share).to_string());
    let (folder, other) = (chances(1.0), chances(0.5));
    let losses = ["\"mean_squared_error\"", "\"binary_cross_entropy\""].map(|loss| comparing(loss, 1));
    let references = losses.each_ref().map(|job| bits(folder.path(), job, &["--single"]));
    for (job, reference) in losses.iter().zip(&references) {
        for way in [&["--local", "7"][..], &["--local", "3", "--profile", "bare"]] {
            assert_eq!(&bits(folder.path(), job, way), reference, "{job} {way:?}");
        }
        // The control: other numbers.
        assert_ne!(&bits(other.path(), job, &["--single"]), reference, "{job}");
    }
    assert_ne!(references[0], references[1]);
    let beyond = labelled(|line| if line == 3 { "1.5" } else { "1" }.to_owned());
    let words = ["train.csv, line 5, column \"y\": \"1.5\", expected a number from 0 to 1"];
    refused(beyond.path(), &losses[1]).refused(2, &words);
    bits(beyond.path(), &losses[0], &["--single"]);
}

/// Every part passes through the embedding.
#[test]
fn tokens_of_every_part_are_below_the_vocabulary() {
    let tokens = |largest: u16| {
        let (low, high) = ((0..40_u16).map(|token| token % 5), (0..41).map(|at| if at == 20 { largest } else { 0 }));
        [low.collect::<Vec<u16>>(), high.collect()]
            .map(|tokens| tokens.iter().flat_map(|token| token.to_le_bytes()).collect())
    };
    let [low, high]: [Vec<u8>; 2] = tokens(8);
    let folder = folder(&[("low", &low), ("high", &high)]);
    let job_of = |train: &str, keys: &str, vocabulary: u32| {
        let data = format!("source = \"tokens\"\npath = \"{train}\"\ncontext = 4\nvocabulary = 9\n{keys}");
        let ops = format!("{{ op = \"embedding\", vocabulary = {vocabulary}, width = 4 }}");
        job(&data, "cross_entropy", &ops, 9)
    };
    let ran = |train: &str, keys: &str, vocabulary: u32| refused(folder.path(), &job_of(train, keys, vocabulary));
    let words =
        ["high, value 0 of sample 5: 8, expected a whole number from 0 to 7, for which the embedding has a row"];
    ran("low", "test = \"high\"", 8).refused(2, &words);
    ran("low", "test = \"high\"", 9).well();
    ran("low", "test = \"low\"", 8).well();
    // Wherever the one sample that has it goes.
    for seed in 1..=6 {
        let seed = format!("seed = {seed}");
        let job = job_of("high", "", 8).replace("seed = 7", &seed).replace("validation = 0", "validation = 0.5");
        refused(folder.path(), &job).refused(2, &words);
    }
}

#[test]
fn texts_and_tokens_are_foretold() {
    let tokens: Vec<u8> = (0..41_u16).flat_map(|token| (token * 7 % 300).to_le_bytes()).collect();
    let folder = folder(&[("text", b"to be or not to be, that is the question"), ("tokens.bin", &tokens)]);
    let embedded = |data: &str, vocabulary| {
        let ops = format!("{{ op = \"embedding\", vocabulary = {vocabulary}, width = 4 }}");
        job(data, "cross_entropy", &ops, vocabulary)
    };
    // ",abehinoqrstu" and the blank.
    let text = embedded("source = \"text\"\npath = \"text\"\ncontext = 4", 14);
    assert_eq!(learned(folder.path(), &text), (7, 2));
    fs::remove_dir_all(folder.path().join("single")).unwrap();
    fs::remove_dir_all(folder.path().join("local")).unwrap();
    let data = "source = \"tokens\"\npath = \"tokens.bin\"\ntest = \"tokens.bin\"\ncontext = 8\nvocabulary = 300";
    assert_eq!(learned(folder.path(), &embedded(data, 300)), (5, 5));
}

#[test]
fn cifar10_is_fetched_and_learned() {
    let names = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];
    let record: Vec<u8> = (0..3073).map(|at| if at == 0 { 7 } else { (at % 251) as u8 }).collect();
    let files = names.map(|name| (format!("from/cifar-10-batches-bin/{name}.bin"), &record[..]));
    let folder = folder(&files.each_ref().map(|(name, bytes)| (name.as_str(), *bytes)));
    let fetch = |args: &[&str]| mixnn(folder.path(), &[&["data", "fetch", "cifar10"], args].concat());
    fetch(&[]).refused(2, &["not downloaded", "https://www.cs.toronto.edu/~kriz/cifar.html"]);
    let fetched = fetch(&["--from", "from"]).well();
    assert_eq!(fetched.stdout.lines().count(), 6, "{}", fetched.stdout);
    assert!(fetched.stdout.starts_with("data/cifar10/data_batch_1.bin"), "{}", fetched.stdout);
    let data = "source = \"cifar10\"\npath = \"data/cifar10\"\nmean = [0.4914, 0.4822, 0.4465]\nstd = [0.2470, 0.2435, 0.2616]\n\
                augment = { crop = 4, flip = true }";
    let ops = "{ op = \"avg_pool\", kernel = 8 }, { op = \"flatten\" }";
    assert_eq!(learned(folder.path(), &job(data, "cross_entropy", ops, 10)), (5, 1));
    fs::remove_file(folder.path().join("data/cifar10/test_batch.bin")).unwrap();
    let missing = refused(folder.path(), &job(data, "cross_entropy", ops, 10));
    missing.refused(3, &["test_batch.bin lies neither in data/cifar10 nor", "mixnn data fetch cifar10 --from FILE"]);
}

#[test]
fn what_is_no_data_is_told() {
    let folder =
        folder(&[("train.csv", table().as_bytes()), ("bad.csv", b"a,b,kind,size\n1,2,x,4\n"), ("bad", b"no array")]);
    let told = |data: &str, loss: &str, code: i32, words: &[&str]| {
        refused(folder.path(), &job(data, loss, "{ op = \"linear\", out = 4 }", 3)).refused(code, words);
    };
    let csv = |keys: &str| format!("source = \"csv\"\npath = \"train.csv\"\nlabels = \"kind\"\n{keys}");
    told(&csv("test = \"none.csv\""), "cross_entropy", 3, &["cannot read none.csv"]);
    let words = ["bad.csv, line 2, column \"kind\": \"x\", expected a class, a whole number from 0 to 999999"];
    told(&csv("test = \"bad.csv\""), "cross_entropy", 2, &words);
    told(
        &csv("classes = 2"),
        "cross_entropy",
        2,
        &["column \"kind\": \"2\", expected a class, a whole number from 0 to 1"],
    );
    told(
        &csv("classes = 3"),
        "mean_squared_error",
        2,
        &["data.classes: 3, expected none: loss = \"mean_squared_error\""],
    );
    told(&csv("augment = { flip = true }"), "cross_entropy", 2, &["data.augment: samples (3), expected images"]);
    told(&csv("mean = [1, 2, 3]"), "cross_entropy", 2, &["data.mean: 3 numbers, expected one"]);
    told(&csv("scale = 1"), "cross_entropy", 2, &["job.toml:7:", "the source \"csv\" has no `scale`"]);
    told("source = \"digits\"", "mean_squared_error", 2, &["the loss wants numbers", "\"digits\" are classes"]);
    for source in ["npz", "safetensors"] {
        told(&format!("source = \"{source}\"\npath = \"bad\""), "cross_entropy", 2, &["bad, the ", "expected a"]);
    }
    let npy = "source = \"npy\"\npath = \"bad\"\nlabels = \"bad\"";
    told(npy, "cross_entropy", 2, &["bad, inputs: the first bytes", "expected those of a .npy file"]);
    let text = "source = \"text\"\npath = \"bad\"\ncontext = 8";
    told(text, "cross_entropy", 2, &["bad, the whole: 8 tokens, expected more than 8"]);
    let tokens = "source = \"tokens\"\npath = \"bad\"\ncontext = 2\nvocabulary = 9";
    told(tokens, "cross_entropy", 2, &["bad, token 0: 28526, expected a token below data.vocabulary, 9"]);
}
