//! A run that is stopped and goes on comes to the same bits, in whatever mode it goes on. What is no checkpoint of the run is refused.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use binary::{DIGITS, HANGS, MIXNN, Ran, Run, alone, mixnn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A job with all that has a state of its own or depends on where in the run it is: convolution, batch norm and dropout, Adam, clipping,
/// warm-up and cosine, augmentation, labels that are ignored; the first stage and the last on the owner, and a batch that is not whole.
const RICH: &str = r#"
name = "rich"
seed = 3
[data]
source = "digits"
validation = 0.1
augment = { crop = 1, flip = true }
[train]
epochs = 2
batch = 400
micro_batch = 80
loss = { kind = "cross_entropy", ignore_index = 3 }
optimizer = { kind = "adam", lr = 0.01 }
clip = { norm = 1.0 }
schedule = { kind = "cosine", warmup = 2 }
[[stage]]
at = "owner"
ops = [{ op = "conv2d", out = 4, kernel = 3, padding = 1 }, { op = "batch_norm" }, { op = "relu" }, { op = "flatten" }]
[[stage]]
ops = [{ op = "linear", out = 24 }, { op = "relu" }, { op = "dropout", p = 0.3 }]
[[stage]]
ops = [{ op = "linear", out = 16 }, { op = "tanh" }]
[[stage]]
at = "owner"
ops = [{ op = "linear", out = 10 }]
"#;

/// A folder with [`RICH`] in it.
fn rich() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("job.toml"), RICH).unwrap();
    folder
}

/// The checkpoints of the run in `run`, the oldest first.
fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(run.join("checkpoint")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// What must be the same however often a run was stopped: the bits, and the lines of its metrics but for times and slots.
fn bits(folder: &Path) -> String {
    let run = Run::read(folder.to_owned());
    let lines = run.metrics.iter().map(|line| {
        let keys = ["epoch", "train_loss", "validation_accuracy", "validation_loss"];
        keys.map(|key| line[key].to_string()).join(" ")
    });
    format!("{}\n{}", run.bits(), lines.collect::<Vec<_>>().join("\n"))
}

/// The modes in which a run goes on here.
const MODES: [&[&str]; 4] = [
    &["--single"],
    &["--local", "7"],
    &["--local", "6", "--profile", "sealed"],
    &["--local", "8", "--set", "mix.pace=2ms"],
];

/// From every checkpoint of a run that writes one behind each batch, another mode comes to the same end.
#[test]
fn a_run_goes_on_from_any_batch_in_any_mode() {
    let folder = rich();
    let here = folder.path();
    mixnn(here, &["run", "job.toml", "--single", "--out", "whole"]).well();
    let due = bits(&here.join("whole"));
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 100 }"];
    for (number, mode) in MODES.iter().enumerate() {
        let out = format!("each-{number}");
        mixnn(here, &[&["run", "job.toml", "--out", &out], *mode, &each].concat()).well();
        assert_eq!(bits(&here.join(&out)), due, "{mode:?}");
        // Four batches an epoch, in two epochs.
        assert_eq!(checkpoints(&here.join(&out)).len(), 8, "{mode:?}");
    }
    for (number, file) in checkpoints(&here.join("each-1")).iter().enumerate() {
        let mode = MODES[number % MODES.len()];
        let out = format!("on-{number}");
        let resume = ["--resume", file.to_str().unwrap()];
        let ran = mixnn(here, &[&["run", "job.toml", "--out", &out], mode, &resume].concat()).well();
        assert!(ran.stderr.contains("goes on from"), "{}", ran.stderr);
        assert_eq!(bits(&here.join(&out)), due, "from {} with {mode:?}", file.display());
        // What is learned is in the model, and not only in its digest.
        let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
        assert!(model(&out) == model("whole"));
    }
}

/// `--resume auto` starts, goes on, and at last does nothing, with one command line.
#[test]
fn one_command_line_is_for_all_starts() {
    let folder = rich();
    let here = folder.path();
    let run = ["run", "job.toml", "--single", "--out", "out", "--resume", "auto"];
    let started = mixnn(here, &run).well();
    assert!(!started.stderr.contains("goes on from"));
    let due = bits(&here.join("out"));
    let before = fs::read(here.join("out/result.json")).unwrap();
    let status = |words: &[&str]| {
        let said = mixnn(here, &["status", "out"]).well().stdout;
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
        let json: serde_json::Value =
            serde_json::from_str(&mixnn(here, &["status", "out", "--json"]).well().stdout).unwrap();
        json
    };
    let known = status(&["2 of 2 are through", "out/checkpoint/0002-000000.ckpt: 2 epochs", "it is done"]);
    assert!(known["done"] == true && known["checkpoint"]["epochs"] == 2 && known["at_work"].is_null());
    let done = mixnn(here, &run).well();
    assert!(done.stderr.contains("is done: there is nothing left to do") && done.stdout.contains("test accuracy"));
    assert!(!done.stderr.contains("error"), "{}", done.stderr);
    assert_eq!(fs::read(here.join("out/result.json")).unwrap(), before);
    // A run that was ended before it wrote what it came to.
    fs::rename(here.join("out/result.json"), here.join("result.json")).unwrap();
    let known = status(&["nobody; --resume auto goes on with it"]);
    assert!(known["done"] == false && known["seconds_left"] == 0.0);
    fs::rename(here.join("result.json"), here.join("out/result.json")).unwrap();
    mixnn(here, &["status", "none"]).refused(3, &["none/job.toml"]);
    for gone in [&["result.json", "model.safetensors"][..], &["result.json"]] {
        gone.iter().for_each(|gone| fs::remove_file(here.join("out").join(gone)).unwrap());
        mixnn(here, &run).well();
        assert_eq!(bits(&here.join("out")), due);
    }
    // Metrics behind the checkpoint are cut off, and what was not finished is taken away.
    let newest = checkpoints(&here.join("out")).pop().unwrap();
    fs::remove_file(newest).unwrap();
    fs::remove_file(here.join("out/result.json")).unwrap();
    fs::write(here.join("out/checkpoint/.unfinished-1"), "half").unwrap();
    mixnn(here, &run).well();
    assert_eq!(bits(&here.join("out")), due);
    assert!(!here.join("out/checkpoint/.unfinished-1").exists());
    // More epochs than there were, where the schedule does not depend on their number.
    let constant = |epochs: &str, out: &str| {
        let epochs = format!("train.epochs={epochs}");
        let sets = ["--set", "train.schedule=constant", "--set", &epochs];
        mixnn(here, &[&["run", "job.toml", "--single", "--out", out, "--resume", "auto"], sets.as_slice()].concat())
            .well();
        bits(&here.join(out))
    };
    let four = constant("4", "four");
    constant("2", "more");
    assert_eq!(constant("4", "more"), four);
}

/// Starts a run of the digits that would take long, and returns it once its first epoch is over.
fn begun(folder: &Path, args: &[&str], out: &str) -> Child {
    let mut command = alone(Command::new("timeout"));
    command.args([
        "--foreground",
        "-k",
        "5",
        HANGS,
        MIXNN,
        "run",
        DIGITS,
        "--set",
        "train.epochs=100000",
        "--out",
        out,
    ]);
    // Nobody reads a pipe meanwhile, and it would fill.
    let words = fs::File::create(folder.join(format!("{out}.words"))).unwrap();
    let mut child = command.args(args).current_dir(folder).stderr(words).stdout(Stdio::null()).spawn().unwrap();
    let metrics = folder.join(out).join("metrics.jsonl");
    let began = Instant::now();
    while !fs::read_to_string(&metrics).is_ok_and(|lines| lines.lines().count() > 0) {
        assert!(began.elapsed() < Duration::from_secs(300), "no epoch has come to its end");
        assert!(
            child.try_wait().unwrap().is_none(),
            "{}",
            fs::read_to_string(folder.join(format!("{out}.words"))).unwrap()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// The process that `timeout` runs.
fn inner(child: &Child) -> Pid {
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    Pid::from_raw(list.split_whitespace().next().unwrap().parse().unwrap())
}

/// How the run ended that [`begun`] has begun with `out`.
fn ended(child: Child, folder: &Path, out: &str) -> Ran {
    let ran = Ran::of(&child.wait_with_output().unwrap());
    Ran { stderr: fs::read_to_string(folder.join(format!("{out}.words"))).unwrap(), ..ran }
}

/// How many epochs are through, as the name of the newest checkpoint says.
fn through(run: &Path) -> u32 {
    let newest = checkpoints(run).pop().unwrap();
    newest.file_name().unwrap().to_str().unwrap()[..4].parse().unwrap()
}

/// A run stops with a checkpoint at a signal, at a file, and before its time is over; it exits with 75 and says how to go on. Stopped in
/// the middle of an epoch, it goes on there, and comes to the bits of a run that was never stopped.
#[test]
fn a_run_stops_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    type Stop = fn(&Child, &Path);
    let stops: [(&str, &[&str], Stop); 6] = [
        ("SIGUSR1", &["--local", "7"], |child, _| kill(inner(child), Signal::SIGUSR1).unwrap()),
        ("SIGTERM", &["--single"], |child, _| {
            // Launchers deliver some signals twice.
            for _ in 0..2 {
                let _ = kill(inner(child), Signal::SIGTERM);
            }
        }),
        ("SIGINT", &["--local", "8"], |child, _| kill(inner(child), Signal::SIGINT).unwrap()),
        ("a file STOP", &["--local", "7", "--profile", "bare"], |_, run| fs::write(run.join("STOP"), "").unwrap()),
        ("--max-time", &["--single", "--max-time", "4s"], |_, _| {}),
        ("SIGUSR1", &["--local", "7", "--set", "mix.pace=1ms"], |child, _| {
            kill(inner(child), Signal::SIGUSR1).unwrap()
        }),
    ];
    for (number, (why, args, stop)) in stops.into_iter().enumerate() {
        let out = format!("out-{number}");
        let run = here.join(&out);
        // Without checkpoints of its own: the one that is there was asked for.
        let args = [args, &["--set", "checkpoint.every=never"]].concat();
        let child = begun(here, &args, &out);
        stop(&child, &run);
        let ran = ended(child, here, &out);
        ran.refused(75, &["stopped ", why, "the checkpoint ", "to go on: ", "--resume auto"]);
        assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
        assert!(!run.join("model.safetensors").exists() && !run.join("STOP").exists());
        assert_eq!(checkpoints(&run).len(), 1);
        // It goes on, for one epoch more than it has come to.
        let epochs = format!("train.epochs={}", through(&run) + 1);
        let single = ["--single", "--set", &epochs, "--set", "checkpoint.every=never"];
        mixnn(here, &[&["run", DIGITS, "--out", &out, "--resume", "auto"], single.as_slice()].concat()).well();
        let whole = format!("whole-{number}");
        mixnn(here, &[&["run", DIGITS, "--out", &whole], single.as_slice()].concat()).well();
        assert_eq!(bits(&run), bits(&here.join(&whole)), "{why}");
    }
}

/// A run that is asked to stop again and again before it has done anything would be started for ever.
#[test]
fn a_run_that_stands_still_is_an_error() {
    let folder = rich();
    let here = folder.path();
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 100 }"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "out"], each.as_slice()].concat()).well();
    let file = checkpoints(&here.join("out"))[3].clone();
    for mode in [&["--single"][..], &["--local", "6"]] {
        // Its time is over before it begins.
        let resume = ["--resume", file.to_str().unwrap(), "--max-time", "1s", "--out", "on"];
        mixnn(here, &[&["run", "job.toml"], mode, &resume].concat())
            .refused(3, &["error: stopped as --max-time is over", "no batch was done"]);
        fs::remove_dir_all(here.join("on")).unwrap();
    }
}

#[test]
fn what_is_no_checkpoint_of_the_run_is_refused() {
    let folder = rich();
    let here = folder.path();
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 3 }", "--set", "train.epochs=1"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "out"], each.as_slice()].concat()).well();
    let files = checkpoints(&here.join("out"));
    let [older, newest] = [&files[1], &files[2]];
    fs::remove_file(here.join("out/result.json")).unwrap();
    let resume = |args: &[&str]| {
        let command = ["run", "job.toml", "--single", "--out", "out", "--resume", "auto", "--set", "train.epochs=1"];
        mixnn(here, &[&command, args].concat())
    };
    resume(&["--set", "train.batch=240"]).refused(
        2,
        &[
            "the job is not that of the checkpoint",
            "train.batch is 400 there and 240 here",
            "start anew in another folder",
        ],
    );
    // Fewer epochs than there were.
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 9 }", "--set", "train.schedule=constant"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "two"], each.as_slice()].concat()).well();
    let later = checkpoints(&here.join("two"))[5].clone();
    let fewer = ["--resume", later.to_str().unwrap(), "--set", "train.schedule=constant", "--set", "train.epochs=1"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "fewer"], fewer.as_slice()].concat())
        .refused(2, &["train.epochs is 1 here, and 1 epoch and 2 batches are through there"]);
    // The key is another's, may be read by others, or is gone.
    let key = here.join("out/owner.key");
    let good = fs::read(&key).unwrap();
    fs::write(&key, "0".repeat(64)).unwrap();
    resume(&[]).refused(2, &["was not sealed under the key in out/owner.key"]);
    fs::write(&key, &good).unwrap();
    Command::new("chmod").arg("644").arg(&key).status().unwrap();
    resume(&[]).refused(2, &["out/owner.key", "has mode 644: others may read it; chmod 600"]);
    fs::remove_file(&key).unwrap();
    resume(&[]).refused(3, &["cannot read the key of the checkpoints, out/owner.key"]);
    fs::write(&key, &good).unwrap();
    Command::new("chmod").arg("600").arg(&key).status().unwrap();
    // The newest is torn: the one before is named, and goes on.
    let whole = fs::read(newest).unwrap();
    fs::write(newest, &whole[..whole.len() / 2]).unwrap();
    let words = format!("--resume {} goes on from the one before", older.strip_prefix(here).unwrap().display());
    resume(&[]).refused(3, &["is torn or altered", &words]);
    fs::write(newest, &whole).unwrap();
    // Somebody else works in the folder, or it is not one of a run.
    fs::create_dir(here.join("thesis")).unwrap();
    fs::write(here.join("thesis/notes.txt"), "").unwrap();
    mixnn(here, &["run", "job.toml", "--single", "--out", "thesis", "--resume", "auto"])
        .refused(2, &["thesis holds no run (notes.txt)"]);
    mixnn(here, &["run", "job.toml", "--single", "--resume", "none.ckpt"]).refused(3, &["none.ckpt"]);
    resume(&[]).well();
}

/// The data of a run and the values that it starts from are told by what is in their files, wherever these are.
#[test]
fn other_data_and_other_values_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let rows = |last: &str| {
        let rows = (0..30).map(|row| format!("{},{},{}\n", row % 3, row % 5, row % 2));
        format!("a,b,c\n{}{last}", rows.collect::<String>())
    };
    fs::write(here.join("a.csv"), rows("1,2,0\n")).unwrap();
    fs::write(here.join("b.csv"), rows("1,3,0\n")).unwrap();
    let job = r#"
        name = "told"
        seed = 3
        [data]
        source = "csv"
        path = "a.csv"
        labels = "c"
        validation = 0.1
        [train]
        epochs = 2
        batch = 10
        loss = "cross_entropy"
        optimizer = { kind = "sgd", lr = 0.1 }
        [[stage]]
        ops = [{ op = "linear", out = 2 }]
    "#;
    fs::write(here.join("job.toml"), job).unwrap();
    for (values, seed) in [("one", "seed=1"), ("two", "seed=2")] {
        mixnn(here, &["run", "job.toml", "--single", "--out", values, "--set", seed]).well();
    }
    let each = [
        "--set",
        "checkpoint={ every = { batches = 1 }, keep = 3 }",
        "--set",
        "init={ from = \"one/model.safetensors\" }",
    ];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "out"], each.as_slice()].concat()).well();
    let file = checkpoints(&here.join("out"))[0].clone();
    let resume = |out: &str, data: &str, values: &str| {
        let (data, values) = (format!("data.path={data}"), format!("init={{ from = \"{values}\" }}"));
        let on = ["run", "job.toml", "--single", "--out", out, "--resume", file.to_str().unwrap()];
        mixnn(here, &[on.as_slice(), &["--set", &data, "--set", &values]].concat())
    };
    let words = "the job is not that of the checkpoint";
    resume("a", "b.csv", "one/model.safetensors").refused(2, &[words, "the data have changed since"]);
    resume("b", "a.csv", "two/model.safetensors").refused(2, &[words, "the values of init.from have changed since"]);
    fs::rename(here.join("a.csv"), here.join("moved.csv")).unwrap();
    fs::rename(here.join("one/model.safetensors"), here.join("moved.safetensors")).unwrap();
    resume("c", "moved.csv", "moved.safetensors").well();
    // The checkpoint has what the values have become.
    resume("d", "moved.csv", "gone.safetensors").well();
}

/// Another set of vector instructions than the run was begun with computes other bits, and the run says so.
#[test]
fn another_fingerprint_is_told() {
    let folder = rich();
    let here = folder.path();
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 100 }"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "out"], each.as_slice()].concat()).well();
    let file = checkpoints(&here.join("out"))[3].clone();
    for (simd, told) in [("scalar", true), ("", false)] {
        let mut command = alone(Command::new(MIXNN));
        command.args(["run", "job.toml", "--single", "--out", &format!("on{simd}"), "--resume"]).arg(&file);
        if told {
            command.env("MIXNN_SIMD", simd);
        }
        let ran = Ran::of(&command.current_dir(here).output().unwrap()).well();
        assert_eq!(
            ran.stderr.contains("the run goes on with cpu/scalar, and was begun with"),
            told,
            "{}",
            ran.stderr
        );
    }
}

/// A job without a seed goes on with the one that its first start has drawn.
#[test]
fn a_drawn_seed_stays() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("job.toml"), RICH.replace("seed = 3\n", "")).unwrap();
    let each = ["--set", "checkpoint={ every = { batches = 1 }, keep = 100 }"];
    mixnn(here, &[&["run", "job.toml", "--single", "--out", "out"], each.as_slice()].concat()).well();
    let file = checkpoints(&here.join("out"))[4].clone();
    mixnn(here, &["run", "job.toml", "--local", "6", "--out", "on", "--resume", file.to_str().unwrap()]).well();
    assert_eq!(bits(&here.join("on")), bits(&here.join("out")));
}
