//! Real ranks: the same bits as in one process, refusals that all ranks hear, what ranks open, and ranks that die.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;
mod small_mnist;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use binary::{DIGITS, MIXNN, Ran, Run, mixnn};
use launcher::{Kind, RANK, launch};

const SHORT: [&str; 2] = ["--set", "train.epochs=2"];
/// A refusal takes far less, but for a machine that has other things to do.
const QUICK: Duration = Duration::from_secs(20);

/// The bits of the short digits job in one process.
fn reference() -> String {
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &[&["run", DIGITS, "--single", "--out", "out"], SHORT.as_slice()].concat()).well();
    Run::read(folder.path().join("out")).bits()
}

/// A run of the short digits job on `ranks` ranks.
fn run(ranks: &str, args: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let start = ["-n", ranks, MIXNN, "run", DIGITS, "--out", "out"];
    launch(folder.path(), &[&start, SHORT.as_slice(), args].concat()).well();
    Run::read(folder.path().join("out"))
}

#[test]
fn ranks_give_the_bits_of_one_process() {
    let reference = reference();
    let seven = run("7", &[]);
    assert_eq!(seven.bits(), reference);
    assert_eq!((&seven.result["ranks"], &seven.result["profile"]), (&7.into(), &"mixed".into()));
    let library = if launcher::kind() == Kind::OpenMpi { "Open MPI" } else { "MPICH" };
    let found = seven.result["mpi"].as_str().unwrap();
    assert!(found.contains(library), "the launcher is {library}'s, the program is linked to {found}");
    for (ranks, args) in [
        ("9", [].as_slice()),
        ("7", &["--set", "transport.windows=false"]),
        ("6", &["--set", "mix.relays=2", "--set", "mix.cell=256"]),
        ("8", &["--set", "mix.hops=4", "--set", "compute.threads=2"]),
    ] {
        assert_eq!(run(ranks, args).bits(), reference, "{ranks} ranks, {args:?}");
    }
}

#[test]
fn all_profiles_give_the_same_bits() {
    let reference = reference();
    for profile in ["sealed", "bare"] {
        for (ranks, windows) in [("4", "true"), ("7", "true"), ("7", "false")] {
            let run = run(ranks, &["--profile", profile, "--set", &format!("transport.windows={windows}")]);
            assert_eq!(run.bits(), reference, "{profile}, {ranks} ranks, windows {windows}");
            assert_eq!(run.result["profile"], profile);
            assert!(run.result["wire_bytes_per_rank"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn ranks_that_join_do_as_well_and_need_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let owner = ["-n", "1", MIXNN, "run", DIGITS, "--out", "out", SHORT[0], SHORT[1]];
    launch(folder.path(), &[&owner, [":", "-n", "6", MIXNN, "join"].as_slice()].concat()).well();
    assert_eq!(Run::read(folder.path().join("out")).bits(), reference());
}

/// `mixnn ARGS` on `ranks` ranks: what the launcher says, and the exit code of every rank.
fn codes(ranks: usize, args: &str) -> (Ran, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    // The shell ends well, so that no launcher takes a rank's code as a reason to kill the others before they have one.
    let script = format!("'{MIXNN}' {args}; echo $? > code.{RANK}");
    let started = Instant::now();
    let ran = launch(folder.path(), &["-n", &ranks.to_string(), "sh", "-c", &script]);
    assert!(started.elapsed() < QUICK, "{args}: {:?}", started.elapsed());
    let code = |rank| fs::read_to_string(folder.path().join(format!("code.{rank}"))).unwrap_or_default();
    (ran, (0..ranks).map(|rank| code(rank).trim().to_owned()).collect())
}

#[test]
fn all_ranks_hear_a_refusal_and_one_tells_why() {
    let job = format!("run '{DIGITS}'");
    for (ranks, args, due, words) in [
        (
            5,
            job.clone(),
            "3",
            "the job needs 7 ranks (1 owner, 3 stages and 3 relays), there are 5; start it with -n 7",
        ),
        (7, format!("{job} --set train.epoch=1"), "2", "unknown key `epoch` in [train]"),
        (7, "run none.toml".to_owned(), "3", "cannot read the job none.toml"),
        (7, format!("{job} --out ."), "2", "the folder . exists"),
        (7, "join".to_owned(), "2", "rank 0 is the owner and runs the job"),
    ] {
        let (ran, codes) = codes(ranks, &args);
        assert_eq!(codes, vec![due; ranks], "{args}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{args}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && !ran.stderr.contains("panicked"), "{args}: {}", ran.stderr);
    }
}

/// What a user gets from the launcher: the code of the ranks.
#[test]
fn the_launcher_passes_the_code_on() {
    let folder = tempfile::tempdir().unwrap();
    launch(folder.path(), &["-n", "5", MIXNN, "run", DIGITS]).refused(3, &["there are 5"]);
    launch(folder.path(), &["-n", "7", MIXNN, "run", DIGITS, "--set", "mix.hops=2"]).refused(2, &["`mix.hops`"]);
    let owner = ["-n", "1", MIXNN, "join", ":", "-n", "6", MIXNN, "run", DIGITS];
    launch(folder.path(), &owner).refused(2, &["rank 0 is the owner"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a refused job leaves nothing");
    // In the middle of a run.
    let diverging = ["-n", "7", MIXNN, "run", DIGITS, "--set", "train.lr=1e30"];
    launch(folder.path(), &diverging).refused(1, &["the loss is NaN", "train.optimizer.lr"]);
}

/// Lines of a trace that name `path`, but for the command line itself.
fn mentions<'a>(trace: &'a str, path: &str) -> Vec<&'a str> {
    trace.lines().filter(|line| line.contains(path) && !line.contains("execve(")).collect()
}

#[test]
fn only_rank_0_opens_the_job_the_data_and_the_output() {
    let usable = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        eprintln!("no strace, or no right to use it: who opens which file is not looked at");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["the-job", "the-data", "elsewhere"] {
        fs::create_dir(place(name)).unwrap();
    }
    small_mnist::write(Path::new(&place("the-data")));
    fs::write(place("the-job/job.toml"), small_mnist::job(&place("the-data"))).unwrap();
    let script = format!(
        "exec strace -f -e trace=%file -o {}.{RANK} '{MIXNN}' run {} --out {}",
        place("trace"),
        place("the-job/job.toml"),
        place("the-out")
    );
    launch(Path::new(&place("elsewhere")), &["-n", "7", "sh", "-c", &script]).well();
    let secret = [place("the-job"), place("the-data"), place("the-out")];
    for rank in 0..7 {
        let trace = fs::read_to_string(place(&format!("trace.{rank}"))).unwrap();
        // The control: the trace shows what a process opens, and rank 0 opens all three.
        assert!(trace.contains("openat(") && trace.contains("libmpi"), "rank {rank} was not traced");
        for path in &secret {
            let found = mentions(&trace, path);
            assert_eq!(
                rank == 0,
                found.iter().any(|line| line.contains("openat(")),
                "rank {rank}: {path}: {found:#?}"
            );
            assert!(rank == 0 || found.is_empty(), "rank {rank} asks for {path}: {found:#?}");
        }
        assert_eq!(rank == 0, trace.contains("job.toml\", O_RDONLY"), "rank {rank}");
    }
}

/// A run that goes on until it is ended; the process numbers of its ranks.
struct Endless {
    launcher: Child,
    ranks: Vec<u32>,
    folder: tempfile::TempDir,
}

impl Endless {
    /// Starts it and waits until it is in the midst of its slots.
    fn start(windows: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let job = format!(
            "run '{DIGITS}' --out out --set train.epochs=1000000 --set transport.timeout=3s --set transport.windows={windows}"
        );
        let script = format!("echo $$ > pid.{RANK}; exec '{MIXNN}' {job}");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let launcher = launcher::command(folder.path(), &["-n", "7", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut run = Self { launcher, ranks: Vec::new(), folder };
        let epochs = run.folder.path().join("out/metrics.jsonl");
        let two = || fs::read_to_string(&epochs).is_ok_and(|lines| lines.lines().count() >= 2);
        assert!(within(Duration::from_secs(30), two), "the run does not get going: {}", run.log());
        let pid =
            |rank| fs::read_to_string(run.folder.path().join(format!("pid.{rank}"))).unwrap().trim().parse().unwrap();
        run.ranks = (0..7).map(pid).collect();
        assert!(run.ranks.iter().all(|rank| lives(*rank)), "{}", run.log());
        run
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
        let code = code.unwrap_or_else(|| panic!("{left:?} live after {:?}: {}", started.elapsed(), self.log()));
        let gone = || self.ranks.iter().all(|rank| !lives(*rank));
        assert!(
            within(time.saturating_sub(started.elapsed()), gone),
            "{left:?} outlive their launcher: {}",
            self.log()
        );
        code.code().unwrap_or(-1)
    }
}

/// Leaves nothing behind, whatever a test has found.
impl Drop for Endless {
    fn drop(&mut self) {
        for rank in self.ranks.iter().filter(|rank| lives(**rank)) {
            signal("KILL", *rank);
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

/// The time-out and ten seconds.
const END: Duration = Duration::from_secs(13);

#[test]
fn a_killed_rank_ends_the_run() {
    let _turn = launcher::turn();
    let mut run = Endless::start(true);
    signal("KILL", run.ranks[3]);
    assert_ne!(run.ends_within(END), 0);
}

/// A rank that hangs: the launcher sees nothing wrong, the others' time-out does.
#[test]
fn a_silent_rank_ends_the_run_and_is_named() {
    let _turn = launcher::turn();
    for windows in [true, false] {
        let mut run = Endless::start(windows);
        signal("STOP", run.ranks[3]);
        let code = run.ends_within(END);
        let log = run.log();
        // Ranks that notice at once may talk into each other's lines.
        let told = log.split("no answer within 3 s from").skip(1).any(|names| names.contains("rank 3"));
        assert!(told, "windows {windows}: {log}");
        assert_eq!(code, 5, "windows {windows}: {log}");
    }
}

/// The control for the two above: a run that nobody disturbs goes on.
#[test]
fn an_endless_run_goes_on() {
    let _turn = launcher::turn();
    let mut run = Endless::start(true);
    std::thread::sleep(Duration::from_secs(4));
    assert!(run.launcher.try_wait().unwrap().is_none() && run.ranks.iter().all(|rank| lives(*rank)), "{}", run.log());
}
