//! `mixnn audit` on a small job: lengths and ends of messages tell nothing under `mixed` and everything where the defence is
//! off; times tell who hosts stages under lockstep.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use binary::{HANGS, MIXNN, Ran, alone, mixnn};
use serde_json::Value;

const WIDE: &str = r#"
name = "wide"
seed = "a seed that is long enough"
[data]
source = "digits"
[train]
epochs = 40
batch = 64
micro_batch = 32
optimizer = { kind = "sgd", lr = 0.1 }
[[stage]]
ops = [{ op = "linear", out = 128 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 96 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10 }]
[mix]
relays = 3
"#;

/// Audits run one after the other: two at once have twice the threads for the same cores, and take many times as long.
static TURN: Mutex<()> = Mutex::new(());

/// An audit, one at a time.
fn audit(folder: &Path, args: &[&str]) -> Ran {
    fs::write(folder.join("job.toml"), WIDE).unwrap();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = alone(Command::new("timeout"));
    let command = command.args(["-k", "5", HANGS, MIXNN, "audit", "job.toml"]).args(args).current_dir(folder);
    Ran::of(&command.output().unwrap())
}

/// The row of a table.
fn row<'a>(table: &'a Value, channel: &str, question: &str, who: &str) -> &'a Value {
    let of = |row: &&Value| row["channel"] == channel && row["question"] == question && row["who"] == who;
    let found: Vec<&Value> = table["rows"].as_array().unwrap().iter().filter(of).collect();
    assert_eq!(found.len(), 1, "{channel}, {question}, {who}");
    found[0]
}

/// A figure of both attacks.
fn figures(row: &Value, key: &str) -> [f64; 2] {
    ["statistics", "classifier"].map(|attack| row["found"][attack][key].as_f64().unwrap())
}

#[test]
fn messages_tell_nothing_and_times_tell_stages_under_lockstep() {
    let folder = tempfile::tempdir().unwrap();
    let ran =
        audit(folder.path(), &["--set", "mix.pace=lockstep", "--runs", "120", "--json", "--html", "audit.html"])
            .well();
    let table: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&table["profile"], &table["pace"], &table["ranks"]),
        (&"mixed".into(), &"lockstep".into(), &7.into())
    );
    assert_eq!(table["runs"], 240);
    assert!(table["slots_per_run"].as_f64().unwrap() > 30.0 && table["overran"].is_null());
    for who in ["observer", "colluders"] {
        for question in ["stage or relay", "order of stages", "real or cover", "model A or B"] {
            let row = row(&table, "volume, order", question, who);
            // All but certain that there is nothing, and no more than chance leaves open.
            for (surely, high) in figures(row, "surely").into_iter().zip(figures(row, "high")) {
                assert!(surely < 0.0 && high < 0.6, "{row}");
            }
            assert_ne!(row["outcome"], "wins", "{row}");
            assert!(row["control"]["wins"].as_bool().unwrap(), "the control sees nothing: {row}");
        }
    }
    // A stage that sees all blocks does not know its own cells again, and knows every one where links are off.
    let contents = row(&table, "contents", "neighbours", "insider");
    assert_eq!((figures(contents, "advantage"), &contents["outcome"]), ([0.0; 2], &"none".into()), "{contents}");
    assert_eq!(contents["control"]["found"]["statistics"]["advantage"], 1.0, "{contents}");
    let row = row(&table, "time", "stage or relay", "observer");
    assert!(figures(row, "surely").into_iter().any(|surely| surely > 0.0), "{row}");
    assert_eq!(row["outcome"], "expected");
    assert!(row["verdict"].as_str().unwrap().contains("mix.pace = \"auto\""), "{row}");
    let page = fs::read_to_string(folder.path().join("audit.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<tr>").count() == 21 && !page.contains("<script"));
    // One table has one grid of columns; a phone shows it in its own width.
    assert_eq!((page.matches("<table>").count(), page.matches("<tbody>").count()), (1, 3));
    assert!(page.contains("name=\"viewport\"") && page.contains("@media (max-width"));
    assert!(!folder.path().join("runs").exists(), "an audit leaves no run");
}

/// Under a pace an observer is left with far less than in lockstep, though here ranks share cores and so delay each other.
#[test]
fn a_pace_hides_times() {
    let folder = tempfile::tempdir().unwrap();
    let ran = audit(folder.path(), &["--set", "mix.pace=auto", "--runs", "60", "--json"]).well();
    let table: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(table["pace"], "auto");
    assert!(table["overran"].is_u64(), "{}", table["overran"]);
    for question in ["stage or relay", "order of stages", "real or cover"] {
        let row = row(&table, "time", question, "observer");
        assert!(row["expected"].is_null() && row["control"]["without"] == "lockstep", "{row}");
        let in_lockstep = ["statistics", "classifier"]
            .map(|attack| row["control"]["found"][attack]["advantage"].as_f64().unwrap())
            .into_iter()
            .fold(0.0, f64::max);
        assert!(in_lockstep > 0.5, "the control sees nothing: {row}");
        for left in figures(row, "advantage") {
            assert!(left < 0.6 * in_lockstep, "{row}");
        }
    }
}

#[test]
fn the_table_says_what_was_played() {
    let folder = tempfile::tempdir().unwrap();
    let shown = ["--runs", "40", "--ranks", "8", "--colluders", "2", "--set", "mix.profile=sealed"];
    let ran = audit(folder.path(), &shown).well();
    for words in [
        "wide, profile sealed, pace lockstep",
        "8, of which 2 collude",
        "80 of about",
        "cores",
        "overran",
        "volume, order",
        "time",
    ] {
        assert!(ran.stdout.contains(words), "no {words:?} in {}", ran.stdout);
    }
    assert_eq!(ran.stdout.lines().filter(|line| line.contains(" observer  ")).count(), 8, "{}", ran.stdout);
}

/// Where the profile hides nothing, that it is seen is no surprise.
#[test]
fn without_a_mix_the_attack_is_expected_to_win() {
    let folder = tempfile::tempdir().unwrap();
    let ran = audit(folder.path(), &["--set", "mix.profile=sealed", "--runs", "40", "--json"]).well();
    let table: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&table["profile"], &table["ranks"]), (&"sealed".into(), &7.into()));
    let row = row(&table, "volume, order", "stage or relay", "observer");
    assert!(row["outcome"] == "expected" && row["control"].is_null(), "{row}");
    assert!(figures(row, "surely").into_iter().all(|surely| surely > 0.4), "{row}");
}

/// One whose time is over shows what the runs until then do, or says that they are too few; so does one that is stopped.
#[test]
fn an_audit_that_ends_early_shows_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let many = ["--runs", "1000000", "--slots", "1", "--json", "--set", "mix.pace=lockstep"];
    let ran = audit(folder.path(), &[&many[..], &["--max-time", "8s"]].concat());
    match ran.code {
        0 => {
            let table: Value = serde_json::from_str(&ran.stdout).unwrap();
            let runs = table["runs"].as_u64().unwrap();
            assert!((2 * 40..1_000_000).contains(&runs) && table["rows"].as_array().unwrap().len() == 17, "{table}");
        }
        // The machine has other things to do.
        _ => drop(ran.refused(3, &["stopped behind", "at least 40"])),
    }
    let script = format!("{MIXNN} audit job.toml {} & sleep 1; kill -TERM $!; wait $!", many.join(" "));
    let mut command = alone(Command::new("timeout"));
    let output = command.args(["-k", "5", HANGS, "bash", "-c", &script]).current_dir(folder.path()).output();
    let stopped = Ran::of(&output.unwrap());
    assert!([3, 128 + 15].contains(&stopped.code), "{}: {}", stopped.code, stopped.stderr);
    assert!(stopped.stderr.contains("stopped b"), "{}", stopped.stderr);
}

#[test]
fn what_cannot_be_played_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], code, words: &[&str]| {
        let ran = audit(folder.path(), args);
        ran.refused(code, words);
        assert_eq!((ran.stdout.as_str(), ran.stderr.matches("error:").count()), ("", 1), "{}", ran.stderr);
    };
    refused(&["--runs", "39"], 2, &["39 runs", "at least 40"]);
    refused(&["--colluders", "0"], 2, &["0 of 7", "1 to 4"]);
    refused(&["--colluders", "5"], 2, &["5 of 7", "--ranks"]);
    refused(&["--ranks", "6"], 3, &["needs 7 ranks", "there are 6"]);
    refused(&["--set", "mix.rellays=4"], 2, &["unknown key `rellays`"]);
    refused(
        &["--runs", "40", "--html", "no/such/folder/page.html"],
        3,
        &["no/such/folder/page.html", "No such file"],
    );
    refused(&["--runs", "40", "--html", "."], 2, &[". exists", "--html"]);
    mixnn(folder.path(), &["audit", "nowhere.toml"]).refused(3, &["nowhere.toml"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what is refused leaves nothing");
}
