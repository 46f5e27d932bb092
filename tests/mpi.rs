//! Real ranks: the same bits as in one process, refusals that all ranks hear, what ranks open.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;
mod npy;
mod small_mnist;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use binary::{DIGITS, MIXNN, Ran, Run, mixnn};
use launcher::{Kind, RANK, launch};

/// Two epochs of a few slots, which have several micro-batches each: where others want the cores a slot of nine ranks takes a while.
const SHORT: [&str; 6] = ["--set", "train.epochs=2", "--set", "train.batch=256", "--set", "train.micro_batch=64"];
/// Below the time-out of those who wait for an answer. A refusal takes far less, but for a machine that has other things to do.
const QUICK: Duration = Duration::from_secs(110);

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
        ("7", &["--set", "mix.pace=2ms"]),
        ("7", &["--set", "mix.pace=auto", "--set", "transport.windows=false"]),
        ("6", &["--set", "mix.relays=2", "--set", "mix.cell=256"]),
        ("8", &["--set", "mix.hops=4", "--set", "compute.threads=2"]),
    ] {
        assert_eq!(run(ranks, args).bits(), reference, "{ranks} ranks, {args:?}");
    }
}

/// Of a machine with fewer cores this asks much: it starts twice as many processes as a node has cores. They have one slot for each
/// micro-batch and a few more.
#[test]
fn a_hundred_and_twenty_eight_processes_give_the_same_bits() {
    let few = ["--set", "train.epochs=1", "--set", "train.batch=1024", "--set", "train.micro_batch=512"];
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &[&["run", DIGITS, "--single", "--out", "out"], few.as_slice()].concat()).well();
    let reference = Run::read(folder.path().join("out")).bits();
    let many = run("128", &few);
    assert_eq!(many.bits(), reference);
    assert_eq!(many.result["ranks"], 128);
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

/// The cores that this test may run on, and so its launchers.
fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// The owner on the cores `own`, the host of the only stage on `other`, both of this machine.
fn two_on(own: &[usize], other: &[usize]) -> (Ran, Run) {
    let folder = tempfile::tempdir().unwrap().keep();
    let list = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let job = format!(
        "run '{DIGITS}' --profile sealed --set 'stage=[{{ops=[{{op=\"linear\",out=10}}]}}]' {}",
        SHORT.join(" ")
    );
    let script = format!(
        "cores={}; [ {RANK} = 0 ] && cores={}; exec taskset -c $cores '{MIXNN}' {job} --out out",
        list(other),
        list(own)
    );
    // What binds here is the script, not the launcher.
    let unbound =
        ["OMPI_MCA_hwloc_base_binding_policy", "PRTE_MCA_hwloc_default_binding_policy"].map(|name| (name, "none"));
    let _turn = launcher::turn();
    let ran = Ran::of(&launcher::command(&folder, &["-n", "2", "sh", "-c", &script]).envs(unbound).output().unwrap())
        .well();
    let run = Run::read(folder.join("out"));
    fs::remove_dir_all(folder).unwrap();
    (ran, run)
}

/// A rank's threads follow from the masks of all ranks of its host, not from its own alone.
#[test]
fn ranks_of_a_host_tell_each_other_their_cores() {
    let cores = cores();
    if cores.len() < 2 || Command::new("taskset").arg("--version").output().is_err() {
        eprintln!("one core, or no taskset: ranks cannot be bound to cores of their own");
        return;
    }
    const IDLE: &str = "the launcher has bound the ranks of this host";
    // Where there is a limit on processor time, less is given.
    let limited = std::thread::available_parallelism().unwrap().get() < cores.len();
    let (first, second) = cores.split_at(cores.len() / 2);
    for (own, other, due) in [
        (first, second, [first.len(), second.len()]),
        (&cores, &cores, [cores.len() / 2; 2]),
        (&cores, second, [first.len() + second.len() / 2, (second.len() / 2).max(1)]),
    ] {
        let (ran, run) = two_on(own, other);
        let threads: Vec<usize> = serde_json::from_value(run.result["threads"].clone()).unwrap();
        assert!(threads == due || limited, "{own:?}, {other:?}: {threads:?}");
        assert!(!ran.stderr.contains(IDLE), "{own:?}, {other:?}: {}", ran.stderr);
    }
    let (ran, run) = two_on(&first[..1], &first[..1]);
    assert_eq!(run.result["threads"], serde_json::json!([1, 1]));
    assert!(ran.stderr.contains(&format!("left {} to none", cores.len() - 1)), "{}", ran.stderr);
    assert!(ran.stderr.contains("threads: 1 on each rank"), "{}", ran.stderr);
}

#[test]
fn ranks_that_join_do_as_well_and_need_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let owner = ["-n", "1", MIXNN, "run", DIGITS, "--out", "out"];
    launch(folder.path(), &[&owner, SHORT.as_slice(), [":", "-n", "6", MIXNN, "join"].as_slice()].concat()).well();
    assert_eq!(Run::read(folder.path().join("out")).bits(), reference());
}

#[test]
fn a_trained_model_infers_among_ranks() {
    let folder = tempfile::tempdir().unwrap();
    mixnn(folder.path(), &["run", DIGITS, "--single", "--out", "run", "--set", "train.epochs=1"]).well();
    npy::write_test_inputs(Path::new(DIGITS), &folder.path().join("x.npy"));
    let infer = ["infer", "run", "--input", "x.npy", "--output"];
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    mixnn(folder.path(), &[&infer, ["single", "--single"].as_slice()].concat()).well();
    let all = [&["-n", "7", MIXNN], infer.as_slice(), &["all"]].concat();
    let joined = [&["-n", "1", MIXNN], infer.as_slice(), &["joined", ":", "-n", "6", MIXNN, "join"]].concat();
    for (args, name) in [(all, "all"), (joined, "joined")] {
        launch(folder.path(), &args).well();
        assert!(read(name) == read("single"), "{args:?}");
    }
    let refused = [&["-n", "7", MIXNN], infer.as_slice(), &["none/y"]].concat();
    launch(folder.path(), &refused).refused(3, &["cannot write none/y"]);
}

/// Ranks are given the values that the job names.
#[test]
fn ranks_start_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = ["run", DIGITS, "--out", "first", "--set", "train.epochs=1"];
    mixnn(folder.path(), &[&first, ["--single"].as_slice()].concat()).well();
    let bits = |name: &str| Run::read(folder.path().join(name)).bits();
    let again =
        |out| ["run", DIGITS, "--set", "init.from=first/model.safetensors", "--set", "train.epochs=1", "--out", out];
    mixnn(folder.path(), &[again("single").as_slice(), &["--single"]].concat()).well();
    assert_ne!(bits("single"), bits("first"));
    launch(folder.path(), &[&["-n", "7", MIXNN], again("mixed").as_slice()].concat()).well();
    launch(folder.path(), &[&["-n", "4", MIXNN], again("sealed").as_slice(), &["--profile", "sealed"]].concat())
        .well();
    assert_eq!((bits("mixed"), bits("sealed")), (bits("single"), bits("single")));
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
            "the job needs 7 ranks (1 owner, 3 stages and 3 relays), there are 5; start 7: mpirun -n 7",
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

/// Ranks that cannot take part tell the owner, and all end alike: the launcher has nothing to end by force.
#[test]
fn all_ranks_end_alike_where_some_cannot_take_part() {
    for (who, told) in
        [("1", "rank 1 cannot take part, and says why"), ("[2-5]", "rank 2, rank 3, rank 4, rank 5 cannot")]
    {
        let trust = format!("$(case {RANK} in {who}) echo --trust /none;; esac)");
        let (ran, codes) = codes(7, &format!("run '{DIGITS}' --out out {trust}"));
        assert_eq!(codes, ["3"; 7], "{}", ran.stderr);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        let each = ran.stderr.matches("error: cannot read the trust file /none").count();
        assert_eq!(each, if who == "1" { 1 } else { 4 }, "{}", ran.stderr);
    }
    // All of them, the owner before it has said anything.
    let (ran, codes) = codes(7, &format!("run '{DIGITS}' --out out --trust /none --identity /none"));
    assert_eq!((codes, ran.stderr.matches("/none").count()), (vec!["3".to_owned(); 7], 7), "{}", ran.stderr);
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

/// What `timeout` makes of a launcher that it has to end.
const TIMED_OUT: i32 = 124;

/// Seven ranks under strace, each with a trace of its own, in a folder where everything has a name of its own.
fn traced_run() -> (tempfile::TempDir, Ran) {
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
    let ran = launch(Path::new(&place("elsewhere")), &["-n", "7", "sh", "-c", &script]);
    (folder, ran)
}

#[test]
fn only_rank_0_opens_the_job_the_data_and_the_output() {
    let usable = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        let required = std::env::var("MIXNN_STRACE").is_ok_and(|word| word == "required");
        assert!(!required, "MIXNN_STRACE=required: there is no strace here, or no right to use it");
        eprintln!("no strace, or no right to use it: who opens which file is not looked at");
        return;
    }
    let mut traced = traced_run();
    // With each of its calls traced, one run in twenty or so is done and does not come out of MPI's end.
    for _ in 0..2 {
        if traced.1.code == TIMED_OUT {
            traced = traced_run();
        }
    }
    let (folder, ran) = traced;
    ran.well();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
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
