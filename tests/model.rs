//! The model of what jobs cost, as a user sees it: `mixnn bench model` leaves a file, `mixnn check` predicts with it, and
//! `micro_batch = "auto"` takes it, alike in every mode. No test looks at how long anything takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;

use std::fs;
use std::path::Path;

use binary::{DIGITS, json, mixnn};
use mixnn::model::{HeldRun, MeasuredOn, ModelFile, Speeds};
use serde_json::Value;

/// Writes a model of a machine of these `speeds` to `path`.
fn write(path: &Path, speeds: Speeds) {
    let on = MeasuredOn {
        version: "0.1.0".to_owned(),
        commit: "unknown".to_owned(),
        date: "2026-11-30".to_owned(),
        processor: "a pocket calculator".to_owned(),
        fingerprint: "cpu".to_owned(),
        messages: "pigeons".to_owned(),
        ranks: 7,
        one_host: true,
    };
    let run = HeldRun { job: "a job".to_owned(), way: "mixed".to_owned(), ranks: 7, predicted: 1.2, measured: 1.0 };
    ModelFile::new(on, speeds, vec![run]).write(path).unwrap();
}

/// Models of two machines: on one a slot costs much, so that there should be few, and on one much that is to be done at once.
fn models(folder: &Path) {
    let speeds = Speeds::unmeasured();
    write(&folder.join("slots.json"), Speeds { latency: 1.0, ..speeds });
    let slow = mixnn::model::Arithmetic { operation: 1e-6, product: 0.0, ..speeds.one_thread };
    write(
        &folder.join("work.json"),
        Speeds { cores: 8.0, latency: 0.0, turn: 0.0, block: 0.0, one_thread: slow, ..speeds },
    );
}

/// What `check` says of the digits with these words more.
fn checked(folder: &Path, words: &[&str]) -> Value {
    let ran = mixnn(folder, &[&["check", DIGITS, "--json"], words].concat()).well();
    serde_json::from_str(&ran.stdout).unwrap()
}

const AUTO: [&str; 2] = ["--set", "train.micro_batch=auto"];

/// It measures, fits, holds against runs and writes, and what it wrote predicts; here with as little as can be.
#[test]
fn a_model_is_measured_and_predicts() {
    let temp = tempfile::tempdir().unwrap();
    let words = "bench model --local 6 --rounds 1 --slots 2 --out made/model.json --json";
    let ran = mixnn(temp.path(), &words.split_whitespace().collect::<Vec<_>>()).well();
    let mut lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!((&head["bench"], &head["settings"]["file"]), (&"model".into(), &"made/model.json".into()));
    let rows: Vec<Value> = lines.collect();
    let of = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
    assert!(of("parameter").iter().all(|row| row["value"].is_null() || row["value"].as_f64() >= Some(0.0)));
    assert_eq!(of("parameter").len() + of("fit").len() + of("run").len(), rows.len());
    assert!(of("fit").len() > 40 && of("run").len() == 12, "{} and {}", of("fit").len(), of("run").len());
    for row in of("run") {
        assert!(row["predicted_us"].as_f64() > Some(0.0) && row["measured_us"].as_f64() > Some(0.0), "{row}");
        let off = 100.0 * (row["predicted_us"].as_f64().unwrap() / row["measured_us"].as_f64().unwrap() - 1.0);
        assert!((row["off_percent"].as_f64().unwrap() - off).abs() < 1e-6);
    }
    let file = json(&temp.path().join("made/model.json"));
    assert_eq!((&file["kind"], file["held"].as_array().unwrap().len()), (&"mixnn model".into(), 12));

    let model = ["--model", "made/model.json"];
    let predicted = &checked(temp.path(), &model)["predicted"];
    assert!(predicted["seconds_per_epoch"].as_f64() > Some(0.0), "{predicted}");
    assert_eq!((&predicted["held_against"]["runs"], &predicted["another_processor"]), (&8.into(), &false.into()));

    let words = [&["bench", "model", "--predict", "--ranks", "8,4096", "--json"], &model[..]].concat();
    let ran = mixnn(temp.path(), &words).well();
    let rows: Vec<Value> = ran.stdout.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["kind"] == "prediction" && row["to_bare"].as_f64() >= Some(1.0)), "{rows:?}");
}

#[test]
fn check_says_what_it_knows_of_the_time() {
    let temp = tempfile::tempdir().unwrap();
    models(temp.path());
    let without = mixnn(temp.path(), &["check", DIGITS]).well().stdout;
    assert!(
        without.contains("predicted") && without.contains("mixnn bench model measures this machine"),
        "{without}"
    );
    let with = mixnn(temp.path(), &["check", DIGITS, "--model", "slots.json"]).well().stdout;
    for words in
        ["s an epoch on one host of 2 cores with 7 ranks: 20 % off in the run", "a pocket calculator", "pigeons"]
    {
        assert!(with.contains(words), "no {words:?} in {with}");
    }
    // A file that is none is told of where the user has named it, and in the default place it keeps nobody from a check.
    fs::create_dir(temp.path().join("mixnn")).unwrap();
    fs::write(temp.path().join("mixnn/model.json"), "{}").unwrap();
    let broken = ["check", DIGITS, "--model", "mixnn/model.json"];
    let words = ["found no kind, expected kind \"mixnn model\"", "mixnn bench model --out mixnn/model.json"];
    mixnn(temp.path(), &broken).refused(2, &words);
    mixnn(temp.path(), &["check", DIGITS, "--model", "no/such"]).refused(3, &["cannot read the model no/such"]);
    mixnn(temp.path(), &["bench", "model", "--predict"]).refused(3, &["there is no model of this machine"]);
}

/// The number depends on the model and the job alone, it is kept, and a run that goes on keeps it.
#[test]
fn auto_is_the_same_in_every_mode_and_stays() {
    let temp = tempfile::tempdir().unwrap();
    models(temp.path());
    let run = |out: &str, model: &str, words: &[&str]| {
        let fixed = ["run", DIGITS, "--out", out, "--model", model, "--set", "train.epochs=1"];
        mixnn(temp.path(), &[&fixed[..], &AUTO, words].concat()).well()
    };
    let kept = |out: &str| {
        let result = json(&temp.path().join(out).join("result.json"));
        let job = fs::read_to_string(temp.path().join(out).join("job.toml")).unwrap();
        let number = result["micro_batch"].as_u64().unwrap();
        assert!(job.contains(&format!("micro_batch = {number}\n")), "{job}");
        (number, result["weights_sha256"].as_str().unwrap().to_owned())
    };
    let said = run("single", "slots.json", &["--single"]).stderr;
    assert!(
        said.contains("train.micro_batch = 32: of 6 that the job allows") && said.contains("2026-11-30"),
        "{said}"
    );
    run("mixed", "slots.json", &["--local", "7"]);
    run("bare", "slots.json", &["--local", "4", "--profile", "bare"]);
    assert_eq!((kept("mixed"), kept("bare")), (kept("single"), kept("single")));
    assert_eq!(kept("single").0, 32);
    let chosen = |model: &str| {
        let checked = checked(temp.path(), &[&["--model", model], &AUTO[..]].concat());
        assert_eq!(checked["job"]["train"]["micro_batch"], checked["micro_batch_chosen"]["micro_batch"]);
        checked["micro_batch_chosen"]["micro_batch"].as_u64().unwrap()
    };
    assert_eq!(chosen("slots.json"), 32);
    let other = chosen("work.json");
    assert!(other < 32, "{other}");
    // By another model the run would be another one. It goes on as it began.
    let go_on = ["--single", "--resume", "auto", "--set", "train.epochs=2"];
    run("single", "work.json", &go_on);
    run("whole", "slots.json", &["--single", "--set", "train.epochs=2"]);
    assert_eq!(kept("single"), kept("whole"));
    run("other", "work.json", &["--single"]);
    assert_eq!(kept("other").0, other);
    // A job that names its number asks for no model, however broken.
    let named = ["run", DIGITS, "--single", "--out", "named", "--model", "no/such", "--set", "train.epochs=1"];
    assert!(!mixnn(temp.path(), &named).well().stderr.contains("micro_batch"));
    let open = [&named[..4], &["open", "--model", "no/such"], &AUTO[..]].concat();
    mixnn(temp.path(), &open).refused(3, &["cannot read the model no/such"]);
}
