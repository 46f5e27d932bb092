//! Starts real ranks: finds the launcher of the MPI library that the program is linked to, and speaks its dialect.
//!
//! `MIXNN_MPIRUN` names the launcher where it is not `mpirun`. Launches take turns: each has more ranks than there are cores.
// Each test's binary uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::binary::{HANGS, Ran, alone};

/// A rank's number, in a shell that a launcher has started.
pub(crate) const RANK: &str = "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}";

/// Whose launcher it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenMpi,
    Mpich,
}

fn mpirun() -> String {
    std::env::var("MIXNN_MPIRUN").unwrap_or_else(|_| "mpirun".to_owned())
}

/// The kind of the launcher, from its own words.
pub(crate) fn kind() -> Kind {
    let output =
        Command::new(mpirun()).arg("--version").output().expect("mpirun, or what MIXNN_MPIRUN names, is installed");
    let version = String::from_utf8_lossy(&output.stdout);
    match version.as_ref() {
        version if version.contains("Open MPI") || version.contains("OpenRTE") => Kind::OpenMpi,
        version if version.contains("HYDRA") || version.contains("MPICH") => Kind::Mpich,
        version => panic!("neither Open MPI nor MPICH: {version}"),
    }
}

/// One launch at a time.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The launcher with `args`, in `folder`, ended where it hangs.
pub(crate) fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = alone(Command::new("timeout"));
    command.args(["-k", "5", HANGS, &mpirun()]);
    if kind() == Kind::OpenMpi {
        command.arg("--oversubscribe");
        command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    }
    command.args(args).current_dir(folder);
    command
}

/// Runs the launcher to its end.
pub(crate) fn launch(folder: &Path, args: &[&str]) -> Ran {
    let _turn = turn();
    Ran::of(&command(folder, args).output().unwrap())
}

/// Compiles tests/trace/NAME.c into `folder`: a library to stand between the program and MPI.
pub(crate) fn preloadable(name: &str, folder: &Path) -> PathBuf {
    let library = folder.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/trace/{name}.c"));
    let mpicc = std::env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned());
    let output = Command::new(&mpicc).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let output = output.expect("mpicc, or what MPICC names, is installed");
    assert!(output.status.success(), "{mpicc}: {}", String::from_utf8_lossy(&output.stderr));
    library
}
