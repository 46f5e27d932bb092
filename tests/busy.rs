//! Runs beside processes that keep the cores busy.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;

use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use binary::{DIGITS, MIXNN, Ran, json, mixnn};

/// How many times as long as alone a run may take beside two busy processes a core. Its fair share of the cores gives 1.3 to 3 times as
/// long; where each wait gives a core away for a whole slice of the scheduler's, it is 40 to 200 times.
const WIDE: f64 = 20.0;
/// A machine's other work may slow one of two runs that are compared.
const TRIES: usize = 5;

/// What a launcher is to start.
const RANKS: &[&str] = &["-n", "7", MIXNN];
/// One comparison at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Processes that do nothing but keep a core busy, two a core.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let start = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..2 * cores).map(|_| start()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Seconds of four epochs on seven ranks, and the weights that come of them.
fn run(ranks: impl Fn(&Path, &[&str]) -> Ran) -> (f64, String) {
    let folder = tempfile::tempdir().unwrap();
    ranks(folder.path(), &["run", DIGITS, "--out", "run", "--set", "train.epochs=4"]).well();
    let result = json(&folder.path().join("run/result.json"));
    let epochs = result["epochs"].as_array().unwrap().iter().map(|epoch| epoch["seconds"].as_f64().unwrap());
    (epochs.sum(), result["weights_sha256"].as_str().unwrap().to_owned())
}

/// In one of some tries, `ranks` are not slowed by much more than their share of the cores.
fn goes_on_beside_others(ranks: impl Fn(&Path, &[&str]) -> Ran) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut slowed = Vec::new();
    for _ in 0..TRIES {
        let (alone, weights) = run(&ranks);
        let busy = Busy::start();
        let (beside, same) = run(&ranks);
        drop(busy);
        assert_eq!(weights, same);
        slowed.push(beside / alone);
        if beside < WIDE * alone {
            return;
        }
    }
    panic!("times as long as alone: {slowed:.1?}");
}

#[test]
fn processes_that_share_memory() {
    goes_on_beside_others(|folder, args| launcher::launch(folder, &[RANKS, args].concat()));
}

#[test]
fn processes_that_send_messages() {
    goes_on_beside_others(|folder, args| {
        launcher::launch(folder, &[RANKS, args, &["--set", "transport.windows=false"]].concat())
    });
}

#[test]
fn threads_of_one_process() {
    goes_on_beside_others(|folder, args| mixnn(folder, &[args, &["--local", "7"]].concat()));
}
