//! A GPU behind NVIDIA's driver, over stand-ins for NVIDIA's libraries (tests/shim/fake.h): what goes to them, in which order, and what
//! is made of their errors.
//!
//! Libraries are looked for when a process starts: each test runs itself again, in a process that finds the stand-ins.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../binary/mod.rs"]
mod binary;
#[path = "../shim/build.rs"]
mod build;
mod copies;
mod failures;
mod kernels;
#[cfg(feature = "mpi")]
#[path = "../launcher/mod.rs"]
mod launcher;
#[path = "../parity/mod.rs"]
mod parity;
mod products;
mod queues;
#[cfg(feature = "mpi")]
mod ranks;
mod runs;
mod stand_in;

use std::path::PathBuf;
use std::process::{Command, Output};

use mixnn::compute::cuda::Cuda;
use mixnn::compute::cuda::driver::Driver;
use mixnn::float::Precision;

/// Says to a process that it is the second one, and where it may write.
const AGAIN: &str = "MIXNN_GPU_TEST";

/// The first GPU.
fn driver() -> Driver {
    Driver::open(0, Precision::Fp32).unwrap()
}

fn backend() -> Cuda<Driver> {
    Cuda::new(driver())
}

/// A folder of this test's own, in the second process.
fn own() -> PathBuf {
    PathBuf::from(std::env::var_os(AGAIN).unwrap())
}

/// Runs `body` with the stand-ins and `settings`, for which see `fake_*.cpp`.
fn with_stand_ins<F: FnOnce()>(settings: &[(&str, &str)], body: F) {
    if let Some(output) = again(settings, body) {
        let [out, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
        assert!(out.contains("1 passed"), "no such test:\n{out}");
    }
}

/// Runs `body`, which the stand-ins end with these words.
fn ended_by_stand_ins<F: FnOnce()>(words: &str, body: F) {
    if let Some(output) = again(&[], body) {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(words), "{}\n{errors}", output.status);
    }
}

/// Runs `body`, or in the first process the test that it stands in, once more.
fn again<F: FnOnce()>(settings: &[(&str, &str)], body: F) -> Option<Output> {
    if std::env::var_os(AGAIN).is_some() {
        body();
        return None;
    }
    // A closure's type has its function's path.
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let name = name.split_once("::").unwrap().1;
    let own = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("LD_LIBRARY_PATH", build::fakes()).env(AGAIN, own.path());
    command.env("XDG_CACHE_HOME", own.path()).env("MIXNN_FAKE_COMPILED", own.path().join("compiled"));
    Some(command.envs(settings.iter().copied()).output().unwrap())
}

/// Every call of a backend, as over the shim.
fn check(checks: Vec<parity::Check<Cuda<Driver>>>) {
    let backend = backend();
    for (name, check) in checks {
        check(&mut parity::Bench::new(&backend, name));
    }
}

#[test]
fn values_on_their_own_have_the_same_bits() {
    with_stand_ins(&[], || check(parity::each::checks()));
}

#[test]
fn matrices() {
    with_stand_ins(&[], || check(parity::rows::checks()));
}

#[test]
fn cells() {
    with_stand_ins(&[], || check([parity::cells::checks(), parity::lanes::checks()].concat()));
}

/// Those of all families pass what they take, and no more.
#[test]
fn every_call() {
    with_stand_ins(&[], || check(parity::all()));
}
