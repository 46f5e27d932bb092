//! What a user sees, word for word, in tests/snapshots/: help, what commands print, and the errors that are met most. CONTRIBUTING.md says
//! how to accept a change.
//!
//! A snapshot holds what the program says, and nothing of where it was taken. So it runs without the environment of the test, in a
//! terminal of 100 columns, and with the instructions that every processor has, which give the same values everywhere; times, speeds,
//! digests and names of machines are replaced by `#`.
#![cfg(all(feature = "mpi", feature = "cuda"))]
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use binary::{DIGITS, HANGS, MIXNN, Ran};
use tempfile::TempDir;

/// What the program needs to be found and to start.
const KEPT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// What is asked of a run, so that it goes the same way everywhere.
const STEADY: [&str; 8] = [
    "--set",
    "train.epochs=1",
    "--set",
    "compute.backend=cpu",
    "--set",
    "compute.threads=1",
    "--set",
    "compute.aead=aws-lc",
];

/// A job on a table, sealed.
const TABLE: &str = r#"name = "prices"
seed = "a seed that nobody guesses"

[data]
source = "csv"
path = "prices.csv"
labels = "price"
drop = "id"

[train]
epochs = 2
batch = 8
loss = "mean_squared_error"

[mix]
profile = "sealed"

[[stage]]
ops = [{ op = "linear", out = 4 }, { op = "tanh" }]

[[stage]]
ops = [{ op = "linear", out = 1 }]
"#;

/// What a user types in a folder of their own, one line after the other, and what comes of it.
struct Session {
    folder: TempDir,
    text: String,
}

impl Session {
    /// In a folder with `digits.toml`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(DIGITS, folder.path().join("digits.toml")).unwrap();
        Self { folder, text: String::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `mixnn ARGS`.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("COLUMNS", "100").env("MIXNN_SIMD", "scalar").env("XDG_CONFIG_HOME", "/no/configuration");
        Ran::of(&command.args(["-k", "5", HANGS, MIXNN]).args(args).current_dir(self.path()).output().unwrap())
    }

    /// Runs `mixnn ARGS` and writes down what it says, as `seen` shows it.
    fn show(&mut self, args: &[&str], seen: impl Fn(&str) -> String) {
        let ran = self.run(args);
        let quoted = |arg: &&str| if arg.contains([' ', '"']) { format!("'{arg}'") } else { (*arg).to_owned() };
        let args: Vec<String> = args.iter().map(quoted).collect();
        write!(self.text, "$ mixnn {}\n{}", args.join(" "), seen(&ran.stdout)).unwrap();
        // Whether a checkpoint is written before the epoch behind it ends is a matter of the disk.
        for line in ran.stderr.lines().filter(|line| !line.starts_with("a checkpoint took")) {
            writeln!(self.text, "{}", format!("stderr: {}", seen(line).trim_end()).trim_end()).unwrap();
        }
        if ran.code != 0 {
            writeln!(self.text, "exit code {}", ran.code).unwrap();
        }
        self.text.push('\n');
    }

    /// The same of a command whose words depend on the machine by times and digests alone.
    fn say(&mut self, args: &[&str]) {
        self.show(args, steady);
    }

    /// Compares all of it with the snapshot `name`.
    fn compare(self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }

    /// Writes `digits.toml` with `from` replaced by `to` as `job.toml`.
    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(DIGITS).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} is not once in the job");
        fs::write(self.path().join("job.toml"), text.replace(from, to)).unwrap();
    }

    /// Writes the job on a table, and the table.
    fn write_table(&self) {
        let row = |i: u32| format!("{i},{}.5,{},{}\n", i % 7, i % 5, i % 7 * 2 + i % 5);
        let rows: String = (0..40).map(row).collect();
        fs::write(self.path().join("prices.csv"), format!("id,width,height,price\n{rows}")).unwrap();
        fs::write(self.path().join("prices.toml"), TABLE).unwrap();
    }
}

/// `text` line by line, as `seen` shows a line.
fn lines(text: &str, seen: impl Fn(&str) -> String) -> String {
    text.lines().fold(String::new(), |shown, line| shown + &seen(line) + "\n")
}

/// `text` with `#` for times, speeds and digests: a number before `s` or `samples/s`, a word behind `sha256`.
fn steady(text: &str) -> String {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let varies = |at: usize| {
            let of_time = words.get(at + 1).is_some_and(|unit| ["s", "s,", "samples/s"].contains(unit));
            of_time && words[at].parse::<f64>().is_ok() || at > 0 && words[at - 1] == "sha256"
        };
        (0..words.len()).map(|at| if varies(at) { "#" } else { words[at] }).collect::<Vec<_>>().join(" ")
    };
    if text.contains('\n') { lines(text, of_line) } else { of_line(text) }
}

/// `line` with `#` for the digits of numbers with a point, or of every number.
fn without_figures(line: &str, every: bool) -> String {
    let has_point =
        |word: &str| word.split('.').skip(1).any(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
    let hide = |word: &str| {
        let mut shown = String::new();
        for c in word.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
            if c != '#' || !shown.ends_with('#') {
                shown.push(c);
            }
        }
        shown
    };
    let words = line.split(' ').map(|word| if every || has_point(word) { hide(word) } else { word.to_owned() });
    words.collect::<Vec<String>>().join(" ")
}

/// What `check` prints, without what it finds by drawing plans anew each time.
fn without_draws(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\ntrust domains ") else { return text.to_owned() };
    let (drawn, after) = rest.split_once("\nwhat else may be read").unwrap();
    // How large the error is depends on how many plans a machine can draw in time.
    let drawn: Vec<&str> = drawn.lines().filter(|line| !line.contains("more cores draw more plans")).collect();
    let drawn = lines(&drawn.join("\n"), |line| without_figures(line, line.contains("plans drawn;")));
    format!("{before}\ntrust domains {}\nwhat else may be read{after}", drawn.trim_end())
}

#[test]
fn help() {
    let mut session = Session::new();
    let all = session.run(&["--help"]).stdout;
    let (_, listed) = all.split_once("\nCommands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 8 && commands.contains(&"run"), "{commands:?}");
    session.say(&["--help"]);
    for command in commands.iter().filter(|command| **command != "help") {
        session.say(&[command, "--help"]);
    }
    session.say(&["data", "fetch", "--help"]);
    session.compare("help");
}

#[test]
fn check() {
    let mut session = Session::new();
    session.write_table();
    session.show(&["check", "digits.toml"], without_draws);
    session.say(&["check", "prices.toml"]);
    session.compare("check");
}

#[test]
fn check_as_json() {
    let mut session = Session::new();
    session.write_table();
    session.say(&["check", "prices.toml", "--json"]);
    session.compare("check_json");
}

/// The batch script of a job. Paths, and the way that the MPI library needs, are those of the machine.
#[test]
fn slurm() {
    let mut session = Session::new();
    let here = fs::canonicalize(session.path()).unwrap();
    let program = fs::canonicalize(MIXNN).unwrap();
    let seen = |text: &str| {
        let shown = text.replace(here.to_str().unwrap(), "#").replace(program.to_str().unwrap(), "#/mixnn");
        lines(&shown, |line| if line.starts_with("MPI=") { "MPI=#".to_owned() } else { line.to_owned() })
    };
    session.show(
        &["slurm", "digits.toml", "--dry-run", "--ranks", "9", "--set", "compute.threads=2", "--", "--time=04:00:00"],
        seen,
    );
    let gpus = ["--set", "compute.backend=cuda", "--gpus-per-node", "4", "--out", "night", "--", "-N2"];
    session.show(&[&["slurm", "digits.toml", "--dry-run"][..], &gpus].concat(), seen);
    session.compare("slurm");
}

/// A run and what a user does next with it.
#[test]
fn run_and_infer() {
    let mut session = Session::new();
    npy::write(&session.path().join("x.npy"), "|u1", &[2, 64], &[1; 128]);
    session.say(&[&["run", "digits.toml", "--single", "--out", "out"], &STEADY[..]].concat());
    session.say(&[&["run", "digits.toml", "--local", "7"], &STEADY[..]].concat());
    session.say(&["infer", "out", "--single", "--input", "x.npy", "--output", "y.npy"]);
    session.say(&["infer", "out", "--single", "--input", "x.npy", "--output", "y.npy"]);
    session.say(&["infer", "out", "--single", "--input", "none.npy", "--output", "z.npy"]);
    npy::write(&session.path().join("x.npy"), "|u1", &[2, 8, 8], &[1; 128]);
    session.say(&["infer", "out", "--single", "--input", "x.npy", "--output", "z.npy"]);
    session.compare("run");
}

/// The frame of the table; what is found is a matter of luck, and of the machine.
#[test]
fn audit() {
    let mut session = Session::new();
    session.write_table();
    session.show(&["audit", "prices.toml", "--runs", "40", "--slots", "1"], |text| {
        lines(text, |line| match line.split_once(' ') {
            Some(("", _)) => format!("{} ...", line.chars().take(27).collect::<String>()),
            Some(("runs", _)) => without_figures(line, true),
            Some(("threads", _)) => "threads   ...".to_owned(),
            _ => line.to_owned(),
        })
    });
    session.say(&["audit", "prices.toml", "--runs", "4"]);
    session.compare("audit");
}

/// What is there on every machine: the processor, how fast it seals.
#[test]
fn doctor() {
    let mut session = Session::new();
    let ran = session.run(&["doctor"]);
    for line in ran.stdout.lines() {
        let shown = match line.split_whitespace().nth(1).unwrap() {
            "processor" => format!("{} #, #,{}", &line[..20], &line[line.rfind(' ').unwrap()..]),
            "AES-256-GCM" => {
                let (before, speeds) = line.split_once(": ").unwrap();
                let (speeds, cells) = speeds.split_once(" GB/s").unwrap();
                let speeds: Vec<&str> =
                    speeds.split(", ").map(|speed| speed.parse::<f64>().map_or("?", |_| "#")).collect();
                format!("{before}: {} GB/s{cells}", speeds.join(", "))
            }
            _ => continue,
        };
        writeln!(session.text, "{shown}").unwrap();
    }
    session.compare("doctor");
}

#[test]
fn errors_in_a_job() {
    let mut session = Session::new();
    for (from, to) in [
        ("epochs = 15", "epoch = 15"),
        ("seed = 7", "zzz = 7"),
        ("epochs = 15", "epochs = \"many\""),
        ("epochs = 15", "epochs = -1"),
        ("\"mixed\"", "\"onion\""),
        ("epochs = 15\n", ""),
        ("epochs = 15", "epochs = = 15"),
        ("micro_batch = 16", "micro_batch = 12"),
        ("[[stage]]\nops = [{ op = \"linear\", out = 32", "[[stage]]\nops = [{ op = \"linear\", in = 99, out = 32"),
        ("[[stage]]\nops = [{ op = \"linear\", out = 10 }]", "[[stage]]\nops = [{ op = \"linear\", out = 11 }]"),
        ("op = \"linear\", out = 32", "op = \"linaer\", out = 32"),
    ] {
        session.change(from, to);
        writeln!(session.text, "# job.toml: digits.toml with {to:?} for {from:?}").unwrap();
        session.say(&["check", "job.toml"]);
    }
    session.compare("errors_in_a_job");
}

#[test]
fn errors_around_a_job() {
    let mut session = Session::new();
    session.say(&["check", "none.toml"]);
    for set in [
        "train.epochs",
        "train.epoch=1",
        "trian.epochs=1",
        "train.epochs=soon",
        "name.first=1",
        "transport.timeout=12",
    ] {
        session.say(&["check", "digits.toml", "--set", set]);
    }
    for set in
        ["data={ source = \"mnist\", path = \"data/mnist\" }", "init.from=net.safetensors", "trust.ranks=ranks.trust"]
    {
        session.say(&["check", "digits.toml", "--set", set]);
    }
    session.say(&["check", "digits.toml", "--ranks", "3"]);
    session.say(&["slurm", "digits.toml", "--dry-run", "--ranks", "3"]);
    session.say(&["run", "digits.toml", "--local", "6"]);
    session.say(&["check", "digits.toml", "--set", "mix.hops=4", "--set", "mix.relays=2"]);
    fs::create_dir(session.path().join("out")).unwrap();
    session.say(&["run", "digits.toml", "--single", "--out", "out"]);
    let sets = ["--set", "train.optimizer.lr=1e30"];
    session.say(&[&["run", "digits.toml", "--single", "--out", "nan"], &STEADY[..], &sets].concat());
    session.say(&["run", "digits.toml", "--single", "--out", "nan"]);
    session.compare("errors_around_a_job");
}

#[test]
fn errors_in_a_call() {
    let mut session = Session::new();
    fs::write(session.path().join("identity"), "").unwrap();
    for args in [
        &["rnu", "digits.toml"][..],
        &["run"],
        &["run", "digits.toml", "--single", "--local", "7"],
        &["run", "digits.toml", "--local", "seven"],
        &["run", "digits.toml", "--profile", "onion"],
        &["join"],
        &["keygen", "--out", "identity"],
        &["infer", "none", "--single", "--input", "x.npy", "--output", "y.npy"],
        &["data", "fetch", "nosuch"],
        &["data", "fetch", "mnist", "--from", "nowhere"],
    ] {
        session.say(args);
    }
    session.compare("errors_in_a_call");
}

/// What is replaced is what varies, and nothing else.
#[test]
fn filters_hide_what_varies_alone() {
    let due = "epoch  1/1   loss 1.8605   validation 69.44 %   # s   # samples/s";
    assert_eq!(steady("epoch  1/1   loss 1.8605   validation 69.44 %   0.02 s   61261 samples/s"), due);
    assert_eq!(
        steady("time   12.3 s, 1 epochs\nsha256 692ef5\n15 seeds\n"),
        "time   # s, 1 epochs\nsha256 #\n15 seeds\n"
    );
    assert_eq!(without_figures("2, (0.25 to 1.00) a.b 95 % mix.hops", false), "2, (#.# to #.#) a.b 95 % mix.hops");
    assert_eq!(without_figures("69 plans, 95 %", true), "# plans, # %");
    let text = "1.5\ntrust domains 0.5\n  69 plans drawn; 7\n up to 0.07: more cores draw more plans in the same time;\n\nwhat else may be read\n 2.5\n";
    let due = "1.5\ntrust domains #.#\n  # plans drawn; #\nwhat else may be read\n 2.5\n";
    assert_eq!(without_draws(text), due);
}
