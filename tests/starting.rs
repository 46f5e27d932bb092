//! Processes that were started together and do not find each other, or that are alone and need not be; and too few threads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use binary::{DIGITS, MIXNN, Ran, alone};

/// `mixnn ARGS` in `folder`, at most a minute, with `variables` as a launcher leaves them.
fn started(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = alone(Command::new("timeout"));
    command.args(["-k", "5", "60", MIXNN]).args(args).envs(variables.iter().copied()).current_dir(folder);
    Ran::of(&command.output().unwrap())
}

/// The variables of a task of `srun -n 7`, which brings nobody together.
const TASK: [(&str, &str); 5] = [
    ("SLURM_JOB_ID", "3"),
    ("SLURM_NTASKS", "7"),
    ("SLURM_STEP_ID", "0"),
    ("SLURM_STEP_NUM_TASKS", "7"),
    ("SLURM_PROCID", "4"),
];

#[test]
fn tasks_that_do_not_find_each_other_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let infer = ["infer", "run", "--input", "x.npy", "--output", "y.npy"];
    for args in [["run", DIGITS].as_slice(), &infer, &["join"]] {
        let ran = started(folder.path(), &TASK, args);
        let due = match cfg!(feature = "mpi") {
            true => ["srun has started 7 processes", "type srun --mpi=pm", "srun --mpi=list"],
            false => ["srun has started 7 processes", "built without MPI", "--local"],
        };
        ran.refused(3, &due);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    for alone in [["--local", "7"].as_slice(), &["--single"]] {
        let args = [&["run", DIGITS], alone].concat();
        started(folder.path(), &TASK, &args).refused(2, &["srun has started 7", "leave srun out"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a run was begun");
}

#[test]
fn one_process_is_told_what_more_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", DIGITS, "--set", "train.epochs=1"];
    let allocation = started(folder.path(), &TASK[..2], &run).well();
    let hint = "one process in a Slurm allocation of 7 tasks: running 7 ranks as threads of this process";
    assert_eq!(allocation.stderr.contains(hint), cfg!(feature = "mpi"), "{}", allocation.stderr);
    let task = [("SLURM_NTASKS", "1"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0")];
    let task = started(folder.path(), &task, &run).well();
    assert!(task.stderr.contains("srun has started one process: running 7 ranks"), "{}", task.stderr);
    let nobody = started(folder.path(), &[], &run).well();
    assert!(nobody.stderr.contains("not started by mpirun or srun: running 7 ranks"), "{}", nobody.stderr);
}

/// A user who may have few threads (ulimit -u, or the limit of a container): one line, and no rank waits for one that is not there.
#[test]
fn too_few_threads_are_told() {
    // The limit counts what a user has, and does not bind root: this is a user whom nobody is.
    let user = ["--reuid=424207", "--regid=424207", "--clear-groups"];
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let limited = |threads: u32, args: &str| {
        let script = format!("ulimit -u {threads} && HOME=/ exec timeout -k 5 60 '{MIXNN}' {args}");
        let mut command = alone(Command::new("setpriv"));
        Ran::of(&command.args(user).args(["bash", "-c", &script]).current_dir(folder.path()).output().unwrap())
    };
    if !Command::new("setpriv").args(user).args([MIXNN, "--version"]).output().is_ok_and(|ran| ran.status.success()) {
        eprintln!("no right to be another user, or none of that user to the program: too few threads are not tried");
        return;
    }
    let run = |out: &str, how: &str| {
        format!("run '{DIGITS}' --set train.epochs=1 --set transport.timeout=600s --out {out} {how}")
    };
    // Of seven ranks some have a thread; and all have one, but no pool.
    limited(2, &format!("check '{DIGITS}'")).refused(3, &["cannot start a thread", "ulimit -u"]);
    for (threads, how) in
        [(5, "--local 7"), (10, "--local 7 --set compute.threads=4"), (2, "--single --set compute.threads=4")]
    {
        let ran = limited(threads, &run(&format!("out-{threads}"), how));
        ran.refused(3, &["cannot start a thread", "ulimit -u", "compute.threads"]);
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    }
    // The control: with enough of them the same user's run goes well.
    limited(200, &run("out-200", "--local 7")).well();
}
