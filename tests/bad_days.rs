//! Ranks that die, hang or are told to stop, a disk that is full, a loss that is not a number: all processes are gone soon, the
//! exit code says why, and nothing is left half written.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use binary::{DIGITS, MIXNN, Ran, mixnn};
use launcher::RANK;
use serde_json::Value;

/// A run that goes on until it is ended; the process numbers of its ranks.
struct Endless {
    launcher: Child,
    ranks: Vec<u32>,
    folder: tempfile::TempDir,
}

impl Endless {
    /// Starts it and waits until it is in the midst of its slots.
    fn start(windows: bool) -> Self {
        let sets = format!("--set train.epochs=1000000 --set transport.windows={windows}");
        let mut run = Self::launch(tempfile::tempdir().unwrap(), "", &sets);
        let epochs = run.folder.path().join("out/metrics.jsonl");
        let two = || fs::read_to_string(&epochs).is_ok_and(|lines| lines.lines().count() >= 2);
        assert!(within(START, two), "the run does not get going: {}", run.log());
        run.find_ranks();
        assert!(run.ranks.iter().all(|rank| lives(*rank)), "{}", run.log());
        run
    }

    /// Starts a run in `folder`, its ranks with `variables` in their environment.
    fn launch(folder: tempfile::TempDir, variables: &str, sets: &str) -> Self {
        let job = format!("run '{DIGITS}' --out out --set transport.timeout=3s {sets}");
        let script = format!("echo $$ > pid.{RANK}; exec env {variables} '{MIXNN}' {job}");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let launcher = launcher::command(folder.path(), &["-n", "7", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { launcher, ranks: Vec::new(), folder }
    }

    /// Waits for the process numbers of all ranks: one that stops early may do so before others have started.
    fn find_ranks(&mut self) {
        let folder = self.folder.path();
        let number = |rank| fs::read_to_string(folder.join(format!("pid.{rank}"))).ok()?.trim().parse().ok();
        let mut ranks: Option<Vec<u32>> = None;
        within(START, || {
            ranks = (0..7).map(number).collect();
            ranks.is_some()
        });
        self.ranks = ranks.unwrap_or_else(|| panic!("not all ranks have started: {}", self.log()));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits for the end of everything: the launcher's exit code.
    fn ends_within(&mut self, time: Duration) -> i32 {
        let started = Instant::now();
        let mut code = None;
        within(time, || {
            code = self.launcher.try_wait().unwrap();
            code.is_some()
        });
        let left: Vec<u32> = self.ranks.iter().copied().filter(|rank| lives(*rank)).collect();
        if code.is_none() && left.is_empty() && launcher::kind() == launcher::Kind::OpenMpi {
            // Open MPI's launcher sometimes stays behind when all ranks have called for an abort at once.
            return BY_SIGNAL;
        }
        let code = code.unwrap_or_else(|| panic!("{left:?} live after {:?}: {}", started.elapsed(), self.log()));
        let gone = || self.ranks.iter().all(|rank| !lives(*rank));
        assert!(
            within(time.saturating_sub(started.elapsed()), gone),
            "{left:?} outlive their launcher: {}",
            self.log()
        );
        code.code().unwrap_or(BY_SIGNAL)
    }
}

impl Endless {
    /// What is written is whole: lines of JSON, checkpoints, and nothing that belongs to a finished run.
    fn leaves_no_result(&self) {
        let out = self.folder.path().join("out");
        let mut names: Vec<String> =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        // A process that was killed leaves its lock behind, and an owner that was not says what slots were like.
        names.retain(|name| ![".lock", "slots.bin"].contains(&name.as_str()));
        assert_eq!(names, ["checkpoint", "job.toml", "metrics.jsonl", "owner.key"]);
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        assert!(metrics.ends_with('\n'));
        metrics.lines().for_each(|line| assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}"));
    }
}

/// Leaves nothing behind, whatever a test has found.
impl Drop for Endless {
    fn drop(&mut self) {
        for rank in self.ranks.iter().filter(|rank| lives(**rank)) {
            // The launcher may end it first, when another is gone.
            let _ = Command::new("kill").args(["-KILL", &rank.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// Whether `pid` is a process of ours that has not ended.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(mixnn)") && !stat.contains(") Z")
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

fn within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if done() {
            return true;
        }
        if started.elapsed() >= time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Open MPI's launcher sometimes crashes after it has ended all ranks (Open MPI 4.1, a null pointer in PMIx), where several have
/// called for it at once: it says so, if it still can, and its exit code is then of the signal.
fn launcher_crashed(code: i32, log: &str) -> bool {
    launcher::kind() == launcher::Kind::OpenMpi && (code == BY_SIGNAL || log.contains("PMIx_server_finalize"))
}

/// Before MPI has started nobody can call for an abort: a rank ends by itself, MPICH's launcher kills the others, and its code may be
/// that of one of these.
fn launcher_killed(code: i32) -> bool {
    const KILL: i32 = 9;
    launcher::kind() == launcher::Kind::Mpich && code == KILL
}

/// Not an exit code: the launcher was ended by a signal.
const BY_SIGNAL: i32 = -1;

/// How long a run may take to get going: where others want the cores, an epoch takes a while.
const START: Duration = Duration::from_secs(300);

/// The time-out, and what launchers take where others want the cores.
const END: Duration = Duration::from_secs(63);

/// Tries all `cases` at once: most of the time each of them waits.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, attempt: impl Fn(T) + Sync) {
    let (_turn, attempt) = (launcher::turn(), &attempt);
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || attempt(case));
        }
    });
}

#[test]
fn a_killed_rank_ends_the_run() {
    at_once([("KILL", 3), ("KILL", 0), ("FPE", 2), ("ABRT", 5)], |(name, rank)| {
        let mut run = Endless::start(true);
        signal(name, run.ranks[rank]);
        assert_ne!(run.ends_within(END), 0, "{name} to rank {rank}");
        run.leaves_no_result();
    });
}

/// A rank that hangs: the launcher sees nothing wrong, the others' time-out does.
#[test]
fn a_silent_rank_ends_the_run_and_is_named() {
    at_once([true, false], |windows| {
        let mut run = Endless::start(windows);
        signal("STOP", run.ranks[3]);
        let code = run.ends_within(END);
        let log = run.log();
        // Ranks that notice at once may talk into each other's lines.
        let told = log.split("no answer within 3 s from").skip(1).any(|names| names.contains("rank 3"));
        assert!(told, "windows {windows}: {log}");
        assert!(code == 5 || launcher_crashed(code, &log), "windows {windows}: {code}: {log}");
        run.leaves_no_result();
    });
}

/// A rank that hangs where the others' next step is a call of MPI that waits for it without a deadline, or is in such a call
/// itself (tests/trace/stop.c): between the meetings of an epoch, where lanes are laid; in the allocation of the shared
/// memory, which all ranks of a host begin together; at the end, where all free it, and where all leave MPI.
#[test]
fn a_rank_that_is_silent_where_mpi_waits_for_it_ends_the_run() {
    at_once(
        [("MPI_Isend", 3), ("MPI_Win_allocate_shared", 3), ("MPI_Win_free", 1), ("MPI_Finalize", 1)],
        |(place, epochs)| {
            let folder = tempfile::tempdir().unwrap();
            let library = launcher::preloadable("stop", folder.path());
            let variables =
                format!("LD_PRELOAD='{}' STOP_RANK=3 STOP_IN={place} STOP_TAG=1 STOP_CALL=15", library.display());
            let sets = format!("--set train.epochs={epochs} --set transport.windows=true");
            let mut run = Endless::launch(folder, &variables, &sets);
            let stopped = within(START, || run.log().contains("stopped in"));
            assert!(stopped, "{place}: {}", run.log());
            run.find_ranks();
            let code = run.ends_within(END);
            let log = run.log();
            // While MPI ends, a rank can no more name a code to the launcher, which then gives that of any rank, or of a signal.
            let fits = if place == "MPI_Finalize" { code != 0 } else { code == 5 };
            assert!(fits || launcher_crashed(code, &log), "{place}: {code}: {log}");
            assert!(log.contains("transport.timeout"), "{place}: {log}");
        },
    );
}

/// A rank that hangs before there is a run, whose time-out nobody knows yet: before MPI is initialized, where ranks learn of each
/// other, where the owner is about to open the run, and where a rank waits for that.
#[test]
fn a_rank_that_is_silent_before_the_run_ends_it() {
    at_once(
        [
            (3, "MPI_Init_thread", "MPI_Init has not come back for 7 s"),
            (3, "MPI_Allgather", "MPI has kept this rank waiting for 7 s, before any run"),
            (0, "MPI_Isend", "no answer within 5 s from rank 0; the run ends (--start-timeout)"),
            (3, "MPI_Irecv", "no answer within 3 s from rank 3; the run ends (transport.timeout)"),
        ],
        |(rank, place, words)| {
            let folder = tempfile::tempdir().unwrap();
            let library = launcher::preloadable("stop", folder.path());
            let stop = format!("STOP_RANK={rank} STOP_IN={place} STOP_TAG=0 STOP_CALL=1");
            let variables = format!("LD_PRELOAD='{}' MIXNN_START_TIMEOUT=5s {stop}", library.display());
            let mut run = Endless::launch(folder, &variables, "");
            assert!(within(START, || run.log().contains("stopped in")), "{place}: {}", run.log());
            run.find_ranks();
            let code = run.ends_within(END * 2);
            let log = run.log();
            let killed = place == "MPI_Init_thread" && launcher_killed(code);
            assert!(code == 5 || killed || launcher_crashed(code, &log), "{place}: {code}: {log}");
            assert!(log.contains(words), "{place}: no {words:?} in {log}");
        },
    );
}

/// A rank's process that is there and never becomes mixnn: a file system that hangs, a wrapper that waits.
#[test]
fn a_rank_that_never_starts_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("[ {RANK} = 2 ] && exec sleep 50; exec '{MIXNN}' run '{DIGITS}' --out out --start-timeout 5s");
    let ran = launcher::launch(folder.path(), &["-n", "7", "sh", "-c", &script]);
    let ended = ran.code == 5 || launcher_killed(ran.code) || launcher_crashed(ran.code, &ran.stderr);
    assert!(ended, "{}: {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("a rank that hangs or has not got to start mixnn"), "{}", ran.stderr);
}

/// What a user does with Ctrl-C, and a batch system at the end of the time: the launcher is told, and tells the ranks.
#[test]
fn a_launcher_that_is_told_to_stop_takes_all_ranks_with_it() {
    at_once(["INT", "TERM"], |name| {
        let mut run = Endless::start(true);
        signal(name, run.launcher.id());
        let code = run.ends_within(END);
        // MPICH's launcher gives what it has heard of its ranks before it ends them, which may be nothing.
        assert!(code != 0 || launcher::kind() == launcher::Kind::Mpich, "{name}: {}", run.log());
        run.leaves_no_result();
    });
}

/// The control for those above: a run that nobody disturbs goes on.
#[test]
fn an_endless_run_goes_on() {
    let _turn = launcher::turn();
    let mut run = Endless::start(true);
    std::thread::sleep(Duration::from_secs(4));
    assert!(run.launcher.try_wait().unwrap().is_none() && run.ranks.iter().all(|rank| lives(*rank)), "{}", run.log());
}

/// Without relu the loss grows without bound, after two good epochs at this rate.
const DIVERGING: [&str; 6] = [
    "--set",
    "train.lr=1",
    "--set",
    "train.momentum=0",
    "--set",
    "stage=[{ops=[{op=\"linear\",out=64}]},{ops=[{op=\"linear\",out=10}]}]",
];

#[test]
fn a_loss_that_is_not_a_number_leaves_the_model_of_the_last_good_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str| fs::read(folder.path().join(name).join("model.safetensors")).unwrap();
    let good = ["run", DIGITS, "--single", "--out", "good", "--set", "train.epochs=2"];
    mixnn(folder.path(), &[&good, DIVERGING.as_slice()].concat()).well();
    let words = ["the loss is inf in epoch 3, batch 3", "as it was after 2 epochs is kept"];
    let single = ["run", DIGITS, "--single", "--out", "single"];
    mixnn(folder.path(), &[&single, DIVERGING.as_slice()].concat()).refused(1, &words);
    let seven = ["-n", "7", MIXNN, "run", DIGITS, "--out", "seven"];
    let ran = launcher::launch(folder.path(), &[&seven, DIVERGING.as_slice()].concat());
    ran.refused(1, &words);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    for name in ["single", "seven"] {
        assert!(model(name) == model("good"), "{name}");
        assert!(!folder.path().join(name).join("result.json").exists());
    }
}

/// The loss is worked out before the step that makes parameters infinite: no loss of training shows it.
#[test]
fn a_parameter_that_is_not_finite_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let job =
        ["--set", "train.epochs=1", "--set", "train.batch=1600", "--set", "train.lr=3e38", "--set", "data.std=1e-4"];
    let words = ["has become", "training has diverged"];
    let single = ["run", DIGITS, "--single", "--out", "single"];
    mixnn(folder.path(), &[&single[..], &job].concat()).refused(1, &words);
    let seven = ["-n", "7", MIXNN, "run", DIGITS, "--out", "seven"];
    launcher::launch(folder.path(), &[&seven[..], &job].concat()).refused(1, &words);
    for name in ["single", "seven"] {
        assert!(!folder.path().join(name).join("model.safetensors").exists());
    }
}

/// A file system of a few kilobytes, gone with the test; none where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_ends_the_run_and_leaves_nothing_half_written() {
    // Room for job.toml and metrics.jsonl, not for the model.
    let Some(disk) = SmallDisk::mount("36k") else {
        eprintln!("no right to mount a file system: a full disk is not tried");
        return;
    };
    let out = disk.0.path().join("out");
    let args = ["-n", "7", MIXNN, "run", DIGITS, "--set", "train.epochs=2", "--out", out.to_str().unwrap()];
    let ran = launcher::launch(disk.0.path(), &[args.as_slice(), &["--set", "checkpoint.every=never"]].concat());
    ran.refused(3, &["cannot write", "model.safetensors"]);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("model")), "{left:?}");
    assert!(!out.join("result.json").exists());
}

/// A disk that is full when a checkpoint is due ends the run. Those before are whole, and elsewhere the run goes on from the newest.
#[test]
fn a_disk_that_is_full_at_a_checkpoint_leaves_those_before() {
    // Room for a checkpoint of 57 kB or two, and not for a third: the oldest of them goes when that is there.
    let Some(disk) = SmallDisk::mount("128k") else {
        eprintln!("no right to mount a file system: a full disk is not tried");
        return;
    };
    let (folder, out) = (tempfile::tempdir().unwrap(), disk.0.path().join("out"));
    let job = ["run", DIGITS, "--set", "train.epochs=9"];
    let ran = launcher::launch(
        folder.path(),
        &[&["-n", "7", MIXNN], job.as_slice(), &["--out", out.to_str().unwrap()]].concat(),
    );
    ran.refused(3, &["cannot write", ".ckpt: No space left on device"]);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    assert!(!out.join("model.safetensors").exists());
    let left = fs::read_dir(out.join("checkpoint")).unwrap().map(|entry| entry.unwrap().path());
    let newest = left.max().unwrap();
    let resume = ["--single", "--out", "on", "--resume", newest.to_str().unwrap()];
    mixnn(folder.path(), &[job.as_slice(), &resume].concat()).well();
    mixnn(folder.path(), &[job.as_slice(), &["--single", "--out", "whole"]].concat()).well();
    let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("on") == model("whole"));
}

/// A rank without memory for its buffers: it cannot begin, and no one waits for it.
#[test]
fn a_rank_without_memory_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // As much as this process may map: too little for messages of 4 GB.
    let limited = format!("ulimit -v 4000000; exec '{MIXNN}' run '{DIGITS}' --out out --set mix.message=1073741824");
    let ran = launcher::launch(folder.path(), &["-n", "7", "sh", "-c", &limited]);
    // Ended by itself, and not by `timeout`. Mostly that takes a second; now and then Open MPI's launcher takes its time.
    assert!(ran.code != 0 && ran.code != 124, "{}: {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("memory") && !folder.path().join("out/model.safetensors").exists(), "{}", ran.stderr);
}

/// Seven ranks that see a /dev/shm of `size`, with lanes of about 84 MB in it; `None` where this user may not mount one.
fn with_small_shm(size: &str, sets: &str) -> Option<(Ran, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount --make-rprivate / && mount -t tmpfs -o size={size} tmpfs /dev/shm || exit {NO_MOUNT}");
    fs::write(folder.path().join("go.sh"), format!("{mount}; exec \"$@\"")).unwrap();
    let job = format!(
        "run {DIGITS} --out out --set train.epochs=1 --set data.validation=0.95 --set mix.message=3000000 {sets}"
    );
    let ranks: Vec<&str> = ["-n", "7", MIXNN].into_iter().chain(job.split_whitespace()).collect();
    let launched = launcher::command(folder.path(), &ranks);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "go.sh"])
        .arg(launched.get_program())
        .args(launched.get_args())
        .current_dir(folder.path());
    for (name, value) in launched.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let _turn = launcher::turn();
    let ran = Ran::of(&command.output().ok()?);
    (ran.code != NO_MOUNT && !ran.stderr.contains("unshare failed")).then_some((ran, folder))
}

/// Not an exit code of ours.
const NO_MOUNT: i32 = 99;

/// Containers have a /dev/shm of 64 MB. MPI may map more there than there is; whoever touches it is killed.
#[test]
fn too_little_memory_to_share_is_told_before_it_is_used() {
    let Some((ran, folder)) = with_small_shm("64m", "") else {
        eprintln!("no right to mount a file system: a small /dev/shm is not tried");
        return;
    };
    ran.refused(3, &["is /dev/shm large enough?", "--shm-size", "transport.windows = false"]);
    assert!(!folder.path().join("out/model.safetensors").exists());
    // What the message proposes.
    for (size, sets) in [("64m", "--set transport.windows=false"), ("256m", "")] {
        with_small_shm(size, sets).unwrap().0.well();
    }
}
