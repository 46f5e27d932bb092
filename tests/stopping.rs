//! Real ranks that are stopped, killed and started again: all processes end in time, with a code that says why, and the run that goes on
//! comes to the bits of one that was never stopped.
//!
//! `MIXNN_SOAK` says how many random kills the last test deals out; `make soak` has 200.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use binary::{DIGITS, MIXNN, Ran, Run, mixnn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;

/// How long a rank waits for a silent peer here.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long all processes may take to end on top of that; ten seconds where the machine has nothing else to do.
const GRACE: Duration = Duration::from_secs(100);

/// The launcher at work in a folder, with a file that it writes its words to.
struct Launched {
    child: Child,
    words: std::path::PathBuf,
}

/// Starts `mixnn run DIGITS --resume auto ARGS` on seven ranks in `folder`, with `out` for its folder.
fn start(folder: &Path, args: &[&str]) -> Launched {
    let words = folder.join("words");
    let timeout = format!("transport.timeout={}s", TIMEOUT.as_secs());
    let command = ["-n", "7", MIXNN, "run", DIGITS, "--out", "out", "--resume", "auto", "--set", &timeout];
    let mut command = launcher::command(folder, &[&command, args].concat());
    let file = fs::File::create(&words).unwrap();
    let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    Launched { child, words }
}

impl Launched {
    /// The ranks that are at work, in no order.
    fn ranks(&self) -> Vec<Pid> {
        let program = fs::canonicalize(MIXNN).unwrap();
        let mut found = Vec::new();
        let mut all = vec![self.child.id()];
        while let Some(process) = all.pop() {
            for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                all.extend(list.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
            }
            if fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|exe| exe == program) {
                found.push(Pid::from_raw(process as i32));
            }
        }
        found
    }

    /// Waits until `folder` has the metrics of an epoch that this start has brought to its end.
    fn wait_for_an_epoch(&mut self, folder: &Path) {
        let lines = || fs::read_to_string(folder.join("out/metrics.jsonl")).map_or(0, |text| text.lines().count());
        let (began, before) = (Instant::now(), lines());
        while lines() <= before {
            assert!(began.elapsed() < Duration::from_secs(300), "no epoch has come to its end");
            assert!(self.child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(&self.words).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end of all processes, which must come in time.
    fn ended(mut self) -> Ran {
        let (began, ranks) = (Instant::now(), self.ranks());
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < TIMEOUT + GRACE, "the launcher is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
        let is_there =
            |rank: &Pid| fs::read_link(format!("/proc/{rank}/exe")).is_ok_and(|exe| exe.ends_with("mixnn"));
        while ranks.iter().any(is_there) {
            assert!(began.elapsed() < TIMEOUT + GRACE, "a rank is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = Ran::of(&self.child.wait_with_output().unwrap());
        Ran { stderr: fs::read_to_string(self.words).unwrap(), ..ran }
    }
}

/// The bits of a run, and its metrics but for times and slots.
fn bits(folder: &Path) -> String {
    let run = Run::read(folder.to_owned());
    let losses = run.metrics.iter().map(|line| line["train_loss"].to_string());
    format!("{} {}", run.bits(), losses.collect::<Vec<_>>().join(" "))
}

/// How many epochs are through, as the newest checkpoint says.
fn through(folder: &Path) -> u32 {
    let names = fs::read_dir(folder.join("out/checkpoint")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.get(..4)?.parse().ok()).max().unwrap()
}

/// A signal that reaches all ranks, twice even, stops the run on all of them with a checkpoint. One process goes on with it, then ranks in
/// another profile.
#[test]
fn a_signal_to_all_ranks_stops_the_run() {
    let _turn = launcher::turn();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let many = ["--set", "train.epochs=100000", "--set", "checkpoint.every=never"];
    for (signal, args) in [
        (Signal::SIGUSR1, &[][..]),
        (Signal::SIGTERM, &["--set", "transport.windows=false"]),
        (Signal::SIGUSR1, &["--profile", "sealed"]),
    ] {
        let mut launched = start(here, &[&many, args].concat());
        launched.wait_for_an_epoch(here);
        for _ in 0..2 {
            for rank in launched.ranks() {
                // One that has ended already needs none.
                let _ = kill(rank, signal);
            }
        }
        let ran = launched.ended();
        ran.refused(75, &[&format!("stopped on {signal}"), "to go on: "]);
        assert!(!ran.stderr.contains("error:"), "{}", ran.stderr);
    }
    let epochs = format!("train.epochs={}", through(here) + 1);
    let few = ["--set", epochs.as_str()];
    mixnn(here, &[&["run", DIGITS, "--single", "--out", "out", "--resume", "auto"], few.as_slice()].concat()).well();
    mixnn(here, &[&["run", DIGITS, "--single", "--out", "whole"], few.as_slice()].concat()).well();
    assert_eq!(bits(&here.join("out")), bits(&here.join("whole")));
    // Now it is done, and all ranks hear so.
    let done = start(here, &few).ended();
    done.refused(0, &["is done: there is nothing left to do"]);
}

/// A rank that no longer answers ends the run by its time-out; what is in the folder goes on.
#[test]
fn a_rank_that_is_stopped_ends_the_run_in_time() {
    let _turn = launcher::turn();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut launched = start(here, &["--set", "train.epochs=100000", "--set", "transport.timeout=5s"]);
    launched.wait_for_an_epoch(here);
    let ranks = launched.ranks();
    assert_eq!(ranks.len(), 7);
    kill(ranks[3], Signal::SIGSTOP).unwrap();
    let ran = launched.ended();
    assert!(ran.code != 0 && ran.code != 75, "{}", ran.stderr);
    assert!(ran.stderr.contains("no answer within 5 s from rank"), "{}", ran.stderr);
    let epochs = format!("train.epochs={}", through(here) + 1);
    mixnn(here, &["run", DIGITS, "--single", "--out", "out", "--resume", "auto", "--set", &epochs]).well();
    mixnn(here, &["run", DIGITS, "--single", "--out", "whole", "--set", &epochs]).well();
    assert_eq!(bits(&here.join("out")), bits(&here.join("whole")));
}

/// Ranks are killed at random, in any phase of a run: while it starts, in slots, while a checkpoint is written, at its end. The run is
/// started again each time, with the same command line.
#[test]
fn random_kills_change_no_bit() {
    let _turn = launcher::turn();
    let kills: u32 = std::env::var("MIXNN_SOAK").map_or(10, |kills| kills.parse().expect("MIXNN_SOAK is a number"));
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // So long that it is not done before the last kill: each start has a second or two.
    let epochs = format!("train.epochs={}", 20 + 8 * kills);
    let sets = ["--set", &epochs, "--set", "checkpoint={ every = { batches = 7 }, keep = 2 }"];
    let mut random = rand::rng();
    let mut ends = Vec::new();
    for number in 0..kills {
        let launched = start(here, &sets);
        std::thread::sleep(Duration::from_millis(random.random_range(50..2500)));
        let ranks = launched.ranks();
        if !ranks.is_empty() {
            let _ = kill(ranks[random.random_range(0..ranks.len())], Signal::SIGKILL);
        }
        let ran = launched.ended();
        ends.push(ran.code);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("a bug"), "kill {number}: {}", ran.stderr);
    }
    println!("codes after {kills} kills: {ends:?}");
    assert!(ends.iter().any(|code| *code != 0), "nobody was killed");
    start(here, &sets).ended().well();
    mixnn(here, &[&["run", DIGITS, "--single", "--out", "whole"], sets.as_slice()].concat()).well();
    assert_eq!(bits(&here.join("out")), bits(&here.join("whole")));
}
