//! Runs the program as a user does, each time in a folder of its own, and reads what it leaves.
// Each test's binary uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program.
pub(crate) const MIXNN: &str = env!("CARGO_BIN_EXE_mixnn");
/// The job of most tests: its data is embedded.
pub(crate) const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/digits.toml");

/// What launchers of MPI processes leave in the environment; a test must not take itself for a rank.
const LAUNCHERS: [&str; 9] = [
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK",
    "PMI_SIZE",
    "PMI_RANK",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "MPI_LOCALNRANKS",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",
];

/// A finished process.
pub(crate) struct Ran {
    /// Its exit code, 128 + the signal where it was killed.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

impl Ran {
    /// The code and the words that `output` holds.
    pub(crate) fn of(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it ended with `code` and that stderr holds all of `words`.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Asserts that it ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Where a user of this machine may have an identity; a test must not show it.
const IDENTITIES: [&str; 2] = ["MIXNN_IDENTITY", "MIXNN_TRUST"];

/// `command` without what a launcher or a user of mixnn may have left in the environment.
pub(crate) fn alone(mut command: Command) -> Command {
    LAUNCHERS.iter().chain(&IDENTITIES).for_each(|name| {
        command.env_remove(name);
    });
    command.env("XDG_CONFIG_HOME", "/no/configuration");
    command
}

/// Seconds after which a process that hangs is ended. One that does not is done in a few, or, where others want the cores, in
/// minutes: no test counts on its share of a machine.
pub(crate) const HANGS: &str = "600";

/// `mixnn ARGS` in `folder`.
pub(crate) fn mixnn(folder: &Path, args: &[&str]) -> Ran {
    let mut command = alone(Command::new("timeout"));
    Ran::of(&command.args(["-k", "5", HANGS, MIXNN]).args(args).current_dir(folder).output().unwrap())
}

/// The JSON in a file.
pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A finished run's folder.
pub(crate) struct Run {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// Its `result.json`.
    pub(crate) result: Value,
    /// The lines of its `metrics.jsonl`.
    pub(crate) metrics: Vec<Value>,
}

impl Run {
    /// Reads `folder`.
    pub(crate) fn read(folder: PathBuf) -> Self {
        let result = json(&folder.join("result.json"));
        let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let metrics = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { folder, result, metrics }
    }

    /// What must not depend on how the job was run: the weights' digest, and every figure that arithmetic gave.
    pub(crate) fn bits(&self) -> String {
        let mut bits = vec![self.result["weights_sha256"].as_str().unwrap().to_owned()];
        bits.extend(["test_accuracy", "test_loss"].map(|key| self.result[key].to_string()));
        for epoch in self.result["epochs"].as_array().unwrap() {
            bits.extend(["train_loss", "validation_accuracy", "validation_loss"].map(|key| epoch[key].to_string()));
        }
        assert!(!bits.contains(&"null".to_owned()), "{bits:?}");
        bits.join(" ")
    }
}
