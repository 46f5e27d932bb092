//! Real ranks: the same bits under mpirun as in one process, errors that end on all ranks at once, and who opens which file.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, missing_docs)]

mod ranks;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ranks::{MIXNN, digits, mpirun, reference, result, run};

fn one_epoch(ranks: u16, out: &Path, more: &[&str]) -> Command {
    let mut command = mpirun();
    command.args(["-n", &ranks.to_string(), MIXNN, "run"]).arg(digits());
    command.args(["--set", "train.epochs=1"]).args(more).arg("--out").arg(out);
    command
}

#[test]
fn the_same_bits_at_any_number_of_ranks_and_in_every_profile() {
    let folder = tempfile::tempdir().unwrap();
    let expected = reference(folder.path());
    let runs: [(u16, &[&str]); 6] = [
        (7, &[]),
        (9, &[]),
        (6, &["--set", "mix.relays=2"]),
        (7, &["--profile", "sealed"]),
        (4, &["--profile", "bare"]),
        // A rank too many is one that only hears when the epoch ends.
        (6, &["--profile", "bare", "--set", "compute.threads=2"]),
    ];
    for (index, (ranks, more)) in runs.into_iter().enumerate() {
        let out = folder.path().join(index.to_string());
        let found = result(&run(&mut one_epoch(ranks, &out, more)), &out);
        assert_eq!(found["weights_sha256"], expected.as_str(), "{ranks} ranks, {more:?}");
        assert_eq!(found["ranks"], ranks);
        assert!(found["wire_bytes_per_rank"].as_u64().unwrap() > 0);
    }
}

#[test]
fn ranks_that_join_know_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let expected = reference(folder.path());
    let out = folder.path().join("joined");
    let mut command = one_epoch(1, &out, &[]);
    command.args([":", "-n", "6", MIXNN, "join"]);
    assert_eq!(result(&run(&mut command), &out)["weights_sha256"], expected.as_str());
}

#[test]
fn too_few_ranks_end_at_once_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut one_epoch(4, &folder.path().join("out"), &[]));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    let said = "the job needs 7 ranks (1 owner, 3 stages and 3 relays), there are 4";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{}", ended.stderr);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_bad_job_ends_at_once_with_2_on_all_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut one_epoch(7, &folder.path().join("out"), &["--set", "train.epoch=1"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    assert_eq!(ended.stderr.matches("did you mean `epochs`?").count(), 1, "{}", ended.stderr);
}

#[test]
fn rank_0_must_run_a_job() {
    let mut command = mpirun();
    let ended = run(command.args(["-n", "3", MIXNN, "join"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("rank 0 is the owner").count(), 1, "{}", ended.stderr);
}

/// Which of `names` a process has opened, by strace's log.
fn opened<'a>(log: &Path, names: &[&'a str]) -> Vec<&'a str> {
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("open"), "strace has recorded nothing");
    names.iter().copied().filter(|name| log.contains(name)).collect()
}

#[test]
fn only_rank_0_opens_the_job_and_the_output() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("strace is not installed: left out");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, job) = (folder.path().join("the-output"), folder.path().join("the-job.toml"));
    std::fs::copy(digits(), &job).unwrap();
    let log = |rank: &str| folder.path().join(format!("log-{rank}"));
    let mut command = mpirun();
    for rank in 0..7 {
        if rank > 0 {
            command.arg(":");
        }
        let log = log(&rank.to_string());
        command.args(["-n", "1", "strace", "-f", "-qq", "-e", "trace=open,openat,creat,mkdir", "-o"]).arg(log);
        command.arg(MIXNN).arg("run").arg(&job).args(["--set", "train.epochs=1", "--out"]).arg(&out);
    }
    result(&run(&mut command), &out);
    let names = ["the-job.toml", "the-output"];
    assert_eq!(opened(&log("0"), &names), names, "the owner opens both");
    for rank in 1..7 {
        let none: [&str; 0] = [];
        assert_eq!(opened(&log(&rank.to_string()), &names), none, "rank {rank}");
    }
}

#[test]
fn a_rank_that_dies_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = mpirun();
    command.args(["-n", "1", MIXNN, "run"]).arg(digits());
    command.args(["--set", "train.epochs=100000", "--set", "transport.timeout=\"3s\"", "--out"]).arg(&out);
    command.args([":", "-n", "6", MIXNN, "join"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut launcher = command.spawn().unwrap();
    let metrics = out.join("metrics.jsonl");
    let started = Instant::now();
    while !metrics.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the first epoch takes too long");
        std::thread::sleep(Duration::from_millis(50));
    }
    let joined = descendants(launcher.id(), "join");
    assert_eq!(joined.len(), 6);
    Command::new("kill").args(["-9", &joined[2].to_string()]).status().unwrap();
    let killed = Instant::now();
    while !descendants(launcher.id(), MIXNN).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(13), "ranks are left behind");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(launcher.wait().unwrap().code(), Some(0));
    assert!(!out.join("model.safetensors").exists());
}

/// The processes below `ancestor` of this program whose command line holds `word`.
fn descendants(ancestor: u32, word: &str) -> Vec<u32> {
    let mut family = vec![ancestor];
    let mut found = Vec::new();
    let mut all: Vec<(u32, u32, String)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
        let words = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
        if !field("State:").starts_with('Z') {
            all.push((id, field("PPid:").parse().unwrap_or(0), words));
        }
    }
    let mut grown = true;
    while grown {
        grown = false;
        for (id, parent, words) in &all {
            if family.contains(parent) && !family.contains(id) {
                family.push(*id);
                grown = true;
                if words.starts_with(MIXNN) && words.contains(word) {
                    found.push(*id);
                }
            }
        }
    }
    found
}
