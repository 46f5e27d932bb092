//! Words that nobody can read: a full disk behind stdout, a reader that is gone, a full disk behind stderr. A result that is
//! lost is told, everything else goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
#[cfg(feature = "mpi")]
mod launcher;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use binary::{DIGITS, MIXNN, Ran, alone, mixnn};

const FULL: &str = "/dev/full";

/// Every command that prints, with its arguments; it runs in a folder that `prepared` has made.
const COMMANDS: [&[&str]; 14] = [
    &["--help"],
    &["--version"],
    &["run", "--help"],
    &["check", DIGITS],
    &["check", DIGITS, "--json"],
    &["doctor"],
    &["run", DIGITS, "--single", "--set", "train.epochs=1", "--out", "out"],
    &["run", DIGITS, "--single", "--set", "train.epochs=1", "--out", "out", "--json"],
    &["run", DIGITS, "--local", "7", "--set", "train.epochs=1", "--out", "out"],
    &["infer", "trained", "--single", "--input", "x.npy", "--output", "y.npy"],
    &["keygen", "--out", "identity"],
    &["data", "fetch", "cifar10", "--from", "cifar", "--to", "cifar"],
    &["completions", "bash"],
    &["man"],
];

/// It takes so long that it is tried once.
const AUDIT: &[&str] = &["audit", DIGITS, "--runs", "40", "--slots", "2", "--json"];

/// A folder with what the commands read: a trained model and inputs for it, the files of a data set.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let train = ["run", DIGITS, "--single", "--set", "train.epochs=1", "--out", "trained"];
    mixnn(folder.path(), &train).well();
    // A sample of zeros, in the format of numpy.save.
    let header = format!("{:118}", "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 64), }");
    let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    array.extend(header[..117].bytes().chain([b'\n']).chain([0; 64]));
    fs::write(folder.path().join("x.npy"), array).unwrap();
    fs::create_dir(folder.path().join("cifar")).unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        fs::write(folder.path().join("cifar").join(format!("{name}.bin")), [0; 3073]).unwrap();
    }
    folder
}

/// `mixnn ARGS` with these for stdout and stderr; what either gave where it was piped.
fn with(folder: &Path, args: &[&str], out: Stdio, err: Stdio) -> Ran {
    let _ = fs::remove_dir_all(folder.join("out"));
    for file in ["y.npy", "identity"] {
        let _ = fs::remove_file(folder.join(file));
    }
    let mut command = alone(Command::new("timeout"));
    command.args(["-k", "5", "300", MIXNN]).args(args).current_dir(folder).stdout(out).stderr(err);
    Ran::of(&command.spawn().unwrap().wait_with_output().unwrap())
}

/// A disk that is full.
fn full() -> Stdio {
    File::options().write(true).open(FULL).unwrap().into()
}

/// A pipe whose reader is gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_full_disk_behind_stdout_is_one_line_and_3() {
    let folder = prepared();
    for args in COMMANDS.into_iter().chain([AUDIT]) {
        let ran = with(folder.path(), args, full(), Stdio::piped());
        ran.refused(3, &["mixnn: error: cannot write the result to stdout: No space left on device"]);
        assert_eq!(ran.stderr.matches("mixnn: ").count(), 1, "{args:?}: {}", ran.stderr);
        let model = folder.path().join("out/model.safetensors");
        assert!(!args.contains(&"out") || model.exists(), "{args:?}");
    }
}

#[test]
fn a_reader_of_stdout_that_is_gone_is_a_quiet_end() {
    let folder = prepared();
    for args in COMMANDS {
        let ran = with(folder.path(), args, gone(), Stdio::piped());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("error") && !ran.stderr.contains("panicked"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn nobody_behind_stderr_costs_nothing() {
    let folder = prepared();
    for args in COMMANDS {
        for err in [full, gone] {
            let ran = with(folder.path(), args, Stdio::piped(), err());
            assert_eq!(ran.code, 0, "{args:?}: {}", ran.stdout);
            assert!(!ran.stdout.is_empty(), "{args:?}");
        }
    }
    // Nor where both are gone, as behind `2>&1 | head`, and a bar is drawn.
    for how in [&["--single"][..], &["--local", "7"]] {
        let args = [&["run", DIGITS, "--set", "train.epochs=3", "--out", "out"], how].concat();
        assert_eq!(with(folder.path(), &args, gone(), gone()).code, 0, "{how:?}");
        assert!(folder.path().join("out/model.safetensors").exists(), "{how:?}");
    }
}

/// An exit code says what it always says, whoever hears the words.
#[test]
fn errors_that_nobody_hears_keep_their_code() {
    let folder = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["run"][..], 2),
        (&["run", "none.toml"], 3),
        (&["check", DIGITS, "--set", "train.epoch=1"], 2),
        (&["data", "fetch", "cifar10"], 2),
        (&["join"], 2),
        (&["run", DIGITS, "--single", "--set", "train.optimizer.lr=1e30", "--out", "out"], 1),
    ] {
        for err in [full, gone] {
            assert_eq!(with(folder.path(), args, full(), err()).code, code, "{args:?}");
        }
    }
}

/// `--quiet` leaves out what is no result and no error; so it goes before and behind the command.
#[test]
fn quiet_leaves_results_and_errors() {
    let folder = prepared();
    for args in COMMANDS {
        for args in [[&["--quiet"][..], args].concat(), [args, &["-q"]].concat()] {
            let loud = with(folder.path(), &args[..], Stdio::piped(), Stdio::piped());
            assert_eq!((loud.code, loud.stderr.as_str()), (0, ""), "{args:?}");
            assert!(!loud.stdout.is_empty(), "{args:?}");
        }
    }
    // The control: without it there are notes.
    for args in [COMMANDS[6], COMMANDS[8], COMMANDS[10]] {
        assert!(!with(folder.path(), args, Stdio::piped(), Stdio::piped()).stderr.is_empty(), "{args:?}");
    }
    mixnn(folder.path(), &["check", "-q", "none.toml"]).refused(3, &["error: cannot read the job none.toml"]);
}

#[test]
fn a_bar_is_drawn_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let bars = |wanted: &str, more: &[&str]| {
        let run = ["run", DIGITS, "--single", "--set", "train.epochs=2", "--out", "out"];
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let mut command = alone(Command::new(MIXNN));
        command.env("MIXNN_PROGRESS", wanted).args(run).args(more).current_dir(folder.path());
        Ran::of(&command.output().unwrap()).well().stderr.matches("\x1b[").count()
    };
    assert!(bars("1", &[]) > 0);
    for (wanted, more) in [("0", &[][..]), ("", &[]), ("1", &["--quiet"]), ("1", &["--json"])] {
        assert_eq!(bars(wanted, more), 0, "{wanted:?} {more:?}");
    }
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_train_on_without_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    // A rank of its own tells what it finds on its stdout and stderr; a launcher's pipes would hide both.
    let run = |to: &str| format!("exec '{MIXNN}' run '{DIGITS}' --set train.epochs=2 --out out {to}");
    let ranks = |to: &str| {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        launcher::launch(folder.path(), &["-n", "7", "sh", "-c", &run(to)])
    };
    assert_eq!(ranks("2>/dev/full").well().stdout.matches("test accuracy").count(), 1);
    assert!(folder.path().join("out/model.safetensors").exists());
    let lost = ranks(">/dev/full");
    lost.refused(3, &["cannot write the result to stdout", "the run is whole, in out"]);
    assert!(folder.path().join("out/result.json").exists());
}
