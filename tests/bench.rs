//! bench/compare.py finds a row that has become slower. It times nothing here: it reads measurements that are in the repository.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const MEASURED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/results/2-core-epyc.json");

/// Holds the measurement `now` against `before`.
fn compare(now: &Path, before: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/compare.py");
    Command::new("python3").arg(script).arg("--from").arg(now).arg("--against").arg(before).output().unwrap()
}

#[test]
fn a_ratio_that_has_fallen_by_more_than_a_quarter_is_an_error() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("no python3: bench/compare.py is not tried");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("now.json");
    let measured = fs::read_to_string(MEASURED).unwrap();
    for (factor, falls) in [(1.0, false), (0.76, false), (0.74, true)] {
        let mut found: Value = serde_json::from_str(&measured).unwrap();
        let ratio = &mut found["rows"][1]["times_faster"]["median"];
        *ratio = (ratio.as_f64().unwrap() * factor).into();
        fs::write(&file, found.to_string()).unwrap();
        let output = compare(&file, Path::new(MEASURED));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(falls)), "{factor}: {said}{:?}", output.stderr);
        let named = said.contains(&format!("FALLEN  {}", found["rows"][1]["what"].as_str().unwrap()));
        assert!(named == falls && said.contains(&format!("{} of ", u8::from(falls))), "{factor}: {said}");
    }
}
