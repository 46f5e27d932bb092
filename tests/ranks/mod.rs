//! Starts real ranks: the program under the mpirun of the library that it was built with.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The program.
pub const MIXNN: &str = env!("CARGO_BIN_EXE_mixnn");

/// A job of three stages on the embedded digits, one epoch long.
pub fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/digits.toml")
}

/// `mpirun` with what it needs to start more ranks than there are cores, under a time limit.
/// `MIXNN_MPIRUN` names another than `mpirun`.
pub fn mpirun() -> Command {
    let mpirun = std::env::var("MIXNN_MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    let version = Command::new(&mpirun).arg("--version").output().unwrap();
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "100"]).arg(&mpirun);
    if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
        command.arg("--oversubscribe");
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    command
}

/// What came of a command.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> Ended {
    let started = Instant::now();
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        took: started.elapsed(),
    }
}

/// `result.json` of a run that must have gone well.
pub fn result(ended: &Ended, out: &Path) -> serde_json::Value {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap()
}

/// The weights of one epoch of the digits in one process: what all others must give.
pub fn reference(folder: &Path) -> String {
    let out = folder.join("single");
    let mut command = Command::new(MIXNN);
    command.arg("run").arg(digits()).args(["--single", "--set", "train.epochs=1", "--out"]).arg(&out);
    result(&run(&mut command), &out)["weights_sha256"].as_str().unwrap().to_owned()
}
