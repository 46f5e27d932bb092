//! Memory that is not there: a run ends in order, says what was asked for, and leaves no model.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
#[cfg(feature = "mpi")]
mod launcher;

use std::path::Path;
use std::process::Command;

use binary::{DIGITS, MIXNN, Ran, alone, mixnn};

/// A stage of 245 million parameters between small boundaries: its second weight has 720 MB.
const LARGE: &str = r#"stage=[{ops=[{op="linear",out=1000000},{op="linear",out=180},{op="linear",out=10}]},{ops=[{op="relu"}]},{ops=[{op="linear",out=10}]}]"#;
/// What a process may map, in KiB: enough for the program and a copy or two.
const LIMIT: &str = "1800000";

/// `mixnn run` of the digits job with `args`, in a process that may map [`LIMIT`].
fn limited(folder: &Path, args: &[&str]) -> Ran {
    let mut command = alone(Command::new("timeout"));
    let script = format!("ulimit -v {LIMIT}; exec \"$0\" \"$@\"");
    command.args(["-k", "5", "60", "sh", "-c", &script, MIXNN, "run", DIGITS, "--out", "out"]).args(args);
    Ran::of(&command.current_dir(folder).output().unwrap())
}

#[test]
fn whatever_asks_for_too_much_says_so() {
    for args in [
        // A stage, in one process and on a rank.
        &["--single", "--set", LARGE][..],
        &["--local", "7", "--set", LARGE],
        // Messages, lanes, what is told of a stage; libraries write to some of these.
        &["--local", "7", "--set", "mix.message=1000000000"],
        &["--local", "7", "--set", "mix.message=30000000"],
        &["--local", "7", "--set", "mix.package=300000000"],
        &["--local", "4", "--profile", "bare", "--set", "mix.message=100000000"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ran = limited(folder.path(), args);
        ran.refused(3, &["memory"]);
        assert!(
            ran.stderr.contains("bytes asked for") || ran.stderr.contains("could not do its work"),
            "{}",
            ran.stderr
        );
        assert!(!folder.path().join("out/model.safetensors").exists(), "{args:?}");
    }
    // The control: the limit leaves room for the job itself.
    let folder = tempfile::tempdir().unwrap();
    limited(folder.path(), &["--local", "7", "--set", "train.epochs=1"]).well();
}

/// Sizes that no machine has are told, too, and nothing is multiplied beyond what a number holds.
#[test]
fn sizes_beyond_any_memory_are_refused() {
    let linears = |first: u32, second: u32, at: &str| {
        let ops = format!(r#"{{op="linear",out={first}}},{{op="linear",out={second}}},{{op="linear",out=10}}"#);
        format!(r#"stage=[{{ops=[{ops}],at="{at}"}},{{ops=[{{op="relu"}}]}},{{ops=[{{op="linear",out=10}}]}}]"#)
    };
    let folder = tempfile::tempdir().unwrap();
    let micro = ["--set", "train.micro_batch=1", "--set", "train.batch=1"];
    let single = |stages: &str| limited(folder.path(), &[&["--single", "--set", stages], &micro[..]].concat());
    let check = |stages: &str| mixnn(folder.path(), &[&["check", DIGITS, "--set", stages], &micro[..]].concat());
    single(&linears(2_000_000_000, 10, "rank")).refused(2, &["expected a whole number from 1 to 1000000"]);
    let square = |at| linears(1_000_000, 1_000_000, at);
    single(&square("rank")).refused(3, &["out of memory: 4000000000000 bytes asked for"]);
    assert!(check(&square("owner")).well().stdout.contains("MiB on the largest rank"));
    check(&square("rank")).refused(2, &["bytes, the most is"]);
}

/// The rank that has too little says so; all end.
#[cfg(feature = "mpi")]
#[test]
fn one_rank_of_many_without_memory_ends_the_run() {
    use launcher::RANK;
    let folder = tempfile::tempdir().unwrap();
    let job = format!("run '{DIGITS}' --out out --set mix.package=150000000 --set train.epochs=1");
    let script = format!("[ {RANK} = 3 ] && ulimit -v 500000; exec '{MIXNN}' {job}");
    let ran = launcher::launch(folder.path(), &["-n", "7", "sh", "-c", &script]);
    ran.refused(3, &["rank 3: error: out of memory:", "bytes asked for"]);
    assert!(!folder.path().join("out/model.safetensors").exists());
}

/// In a slot of `mixed` the owner alone says which rank it was.
#[cfg(feature = "mpi")]
#[test]
fn a_stage_that_finds_no_memory_is_a_fault_like_any_other() {
    use launcher::RANK;
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("[ {RANK} = 0 ] || ulimit -v {LIMIT}; exec '{MIXNN}' run '{DIGITS}' --out out --set '{LARGE}'");
    let ran = launcher::launch(folder.path(), &["-n", "7", "sh", "-c", &script]);
    ran.refused(3, &["could not do its work, for want of memory"]);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
}
