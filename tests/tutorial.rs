//! docs/TUTORIAL.md, done as a newcomer does it: each command of it, in order, in a folder of its own.
//!
//! What a block is for, its first line says:
//!
//! | block | what is done with it |
//! |---|---|
//! | `sh` | a script, run by `sh` |
//! | `console` | each line that begins with `$ ` is run by `sh`; the lines below it must appear |
//! | `python` | run where what it imports is installed, else passed over |
//! | `text output` | what the `python` block above it must print |
//! | `sh setup` | not run: it builds, or sets what this test sets itself |
//! | all others | not run: something to look at |
//!
//! `...` in an expected line stands for any text, alone in a line for any lines.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod binary;
mod npy;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use binary::{HANGS, MIXNN, Ran, alone};

/// A fenced block of the tutorial.
#[derive(Debug, PartialEq)]
struct Block<'a> {
    /// Where it begins: the number of its first line.
    line: usize,
    /// The words behind the fence.
    kind: &'a str,
    /// What stands in it.
    text: String,
}

/// The fenced blocks of a document, in order.
fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let within: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let text = within.iter().map(|line| format!("{line}\n")).collect();
        blocks.push(Block { line: number + 2, kind, text });
    }
    blocks
}

/// The commands of a `console` block, each with the lines that must appear.
fn commands(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("no command above {line:?}"),
        }
    }
    commands
}

/// Whether `line` is what `expected` says, where `...` stands for any text. Spaces at the ends do not count.
fn is_like(line: &str, expected: &str) -> bool {
    let parts: Vec<&str> = expected.trim().split("...").collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let Some(mut rest) = line.trim().strip_prefix(first) else { return false };
    if parts.len() == 1 {
        return rest.is_empty();
    }
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The expected lines that `printed` lacks. Ranks print at once, so the order does not count.
fn lacking<'a>(printed: &str, expected: &[&'a str]) -> Vec<&'a str> {
    let due = expected.iter().filter(|line| !["", "..."].contains(&line.trim()));
    due.copied().filter(|expected| !printed.lines().any(|line| is_like(line, expected))).collect()
}

/// What a Python program imports.
fn imports(program: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in program.lines() {
        if let Some(list) = line.strip_prefix("import ") {
            names.extend(list.split(',').map(str::trim));
        } else if let Some((name, _)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The folder in which the tutorial is done.
struct Folder(tempfile::TempDir);

impl Folder {
    /// With what the sources have, and the program and the launcher under the names that the tutorial gives them.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(sources.join("jobs"), folder.path().join("jobs")).unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(MIXNN, bin.join("mixnn")).unwrap();
        let script = format!("#!/bin/sh\nexec timeout -k 10 {HANGS} '{}' \"$@\"\n", launcher().display());
        fs::write(bin.join("mpirun"), script).unwrap();
        fs::set_permissions(bin.join("mpirun"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `program ARGS` to its end, with stderr among what it prints.
    fn run(&self, program: &str, args: &[&str]) -> Ran {
        let path = std::env::var("PATH").unwrap();
        let mut command = alone(Command::new("timeout"));
        // One pipe for both, as a terminal is.
        command.args(["-k", "10", HANGS, "sh", "-c", "exec 2>&1; exec \"$0\" \"$@\"", program]).args(args);
        command.env("PATH", format!("{}:{path}", self.path().join("bin").display()));
        command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
        Ran::of(&command.current_dir(self.path()).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a command or a script of the tutorial, and holds what it prints against what is `expected`.
    fn shell(&self, script: &str, expected: &[&str]) -> Result<(), String> {
        held(script, &self.run("sh", &["-ec", script]), expected)
    }

    /// Runs a Python program, if what it imports is installed. Else says what is not.
    fn python(&self, program: &str, expected: &[&str]) -> Result<(), String> {
        let needed = imports(program);
        if self.run("python3", &["-c", &format!("import {}", needed.join(", "))]).code == 0 {
            return held(program, &self.run("python3", &["-c", program]), expected);
        }
        eprintln!("not run, as python3 lacks one of {needed:?}:\n{program}");
        // What follows asks the model about these points, NumPy or not.
        if program.contains("numpy.save(\"new.npy\", numpy.array([[0, 0], [0.4, 0.3], [0.9, 0.9]], \"float32\"))") {
            let points = [0.0, 0.0, 0.4, 0.3, 0.9, 0.9_f32].map(f32::to_le_bytes).concat();
            npy::write(&self.path().join("new.npy"), "<f4", &[3, 2], &points);
        }
        Ok(())
    }
}

/// Whether a command ended well and printed what is expected.
fn held(command: &str, ran: &Ran, expected: &[&str]) -> Result<(), String> {
    let Ran { code, stdout, .. } = ran;
    if *code != 0 {
        return Err(format!("`{command}` ends with {code} and prints:\n{stdout}"));
    }
    let lacking = lacking(stdout, expected);
    if lacking.is_empty() { Ok(()) } else { Err(format!("`{command}` does not print {lacking:#?} but:\n{stdout}")) }
}

/// The launcher, as `tests/launcher` finds it.
fn launcher() -> PathBuf {
    let name = std::env::var("MIXNN_MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.expect("mpirun, or what MIXNN_MPIRUN names, is installed")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let text = read("docs/TUTORIAL.md");
    let blocks = blocks(&text);
    let folder = Folder::new();
    let mut run = 0;
    for (index, block) in blocks.iter().enumerate() {
        let held = match block.kind {
            "sh" => folder.shell(&block.text, &[]),
            "console" => {
                commands(&block.text).iter().try_for_each(|(command, expected)| folder.shell(command, expected))
            }
            "python" => {
                let output = blocks.get(index + 1).filter(|next| next.kind == "text output");
                let expected: Vec<&str> = output.map_or(Vec::new(), |output| output.text.lines().collect());
                folder.python(&block.text, &expected)
            }
            "sh setup" => {
                eprintln!("not run, as it builds, or sets what this test sets itself:\n{}", block.text);
                continue;
            }
            "text" | "text output" | "toml" => continue,
            kind => Err(format!("a block of the kind {kind:?}, which no one runs")),
        };
        held.unwrap_or_else(|error| panic!("docs/TUTORIAL.md:{}: {error}", block.line));
        run += 1;
    }
    assert!(run > 15, "{run} blocks were run");
}

/// The job in README is that of the file.
#[test]
fn the_job_that_readme_explains_is_the_digits() {
    let readme = read("README.md");
    let shown = blocks(&readme).into_iter().find(|block| block.kind == "toml").unwrap();
    let shown: toml::Table = shown.text.parse().unwrap();
    assert_eq!(shown, read("jobs/digits.toml").parse().unwrap());
}

/// What a job may have been told, and what it has by default, stands in the reference.
#[test]
fn the_reference_names_every_key_of_the_jobs_that_come_along() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(table) => table.iter().for_each(|(key, value)| {
                found.push(key.clone());
                keys(value, found);
            }),
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let reference = read("docs/JOB.md");
    for job in ["digits", "mnist-mlp", "lenet-mnist", "gpt-text", "resnet-cifar10"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("jobs/{job}.toml"));
        let mut found = Vec::new();
        keys(&mixnn::job::Job::load(&path, &[]).unwrap().to_json(), &mut found);
        assert!(found.len() > 30, "{job}: {found:?}");
        // A table stands in a heading, a key as code, alone or behind its table.
        let named = |key: &String| {
            [format!("`{key}`"), format!("[{key}]"), format!(".{key}`")].iter().any(|it| reference.contains(it))
        };
        let lacking: Vec<&String> = found.iter().filter(|key| !named(key)).collect();
        assert!(lacking.is_empty(), "docs/JOB.md does not name {lacking:?}, which {job} has");
    }
}

/// What GitHub calls a heading in links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

/// The targets of the links in a document: `FILE`, `FILE#SECTION`, `#SECTION`.
fn links(document: &str) -> Vec<&str> {
    document.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// A document's anchors: its headings, outside of code.
fn anchors(document: &str) -> Vec<String> {
    let mut is_code = false;
    let mut anchors = Vec::new();
    for line in document.lines() {
        is_code ^= line.starts_with("```");
        if !is_code && line.starts_with('#') {
            anchors.push(anchor(line.trim_start_matches('#')));
        }
    }
    anchors
}

/// Files and sections that README and docs lead to are there.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = 0;
    for path in docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|kind| kind == "md"))
    {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, section) = link.split_once('#').map_or((link, None), |(file, section)| (file, Some(section)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if let Some(section) = section {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                assert!(anchors.iter().any(|it| it == section), "{}: {link} is not in {anchors:?}", path.display());
            }
            found += 1;
        }
    }
    assert!(found > 80, "{found} links");
}

#[test]
fn links_and_anchors_are_found() {
    assert_eq!(links("[a](b.md#c) [`d`](#e) (f) [g](h"), ["b.md#c", "#e"]);
    assert_eq!(anchors("# A b, \"c\"\n```sh\n# no\n```\n## [[x]] `y-z`\n"), ["a-b-c", "x-y-z"]);
}

#[test]
fn blocks_and_what_they_expect_are_found() {
    let text = "a\n```sh\necho\n```\n$ no command\n```console\n$ echo 1\n1\n$ true\n```\n```toml\n```\n";
    let found = blocks(text);
    assert_eq!(
        found.iter().map(|block| (block.line, block.kind)).collect::<Vec<_>>(),
        [(3, "sh"), (7, "console"), (12, "toml")]
    );
    assert_eq!((found[0].text.as_str(), found[2].text.as_str()), ("echo\n", ""));
    assert_eq!(commands(&found[1].text), [("echo 1", vec!["1"]), ("true", vec![])]);
    assert_eq!(imports("import a, b.c\nfrom d import e\nprint(1)\nx = 'import y'\nimport a"), ["a", "b.c", "d"]);
}

#[test]
fn lines_are_held_against_what_is_expected() {
    for (line, expected) in
        [("a b", "a b"), ("  a b ", "a b"), ("a 1 b 2 c", "a ... b ... c"), ("a", "..."), ("ab", "a...")]
    {
        assert!(is_like(line, expected), "{line:?} {expected:?}");
    }
    for (line, expected) in [("a b", "a"), ("a b", "b"), ("a 1 c", "a ... b"), ("a 1 c b 2", "a ... b"), ("", "a...")]
    {
        assert!(!is_like(line, expected), "{line:?} {expected:?}");
    }
    assert_eq!(lacking("one 1\n", &["one ...", "", "...", "two"]), ["two"]);
}

/// The control: a command that fails, and one that prints something else.
#[test]
fn what_is_wrong_is_noticed() {
    let folder = Folder::new();
    assert!(folder.shell("mixnn --version", &["mixnn ..."]).is_ok());
    for (script, expected, due) in [
        ("mixnn check jobs/nowhere.toml", "", "ends with 3"),
        ("false\ntrue", "", "ends with 1"),
        ("echo 1", "2", "does not print"),
    ] {
        let error = folder.shell(script, &[expected]).unwrap_err();
        assert!(error.contains(due), "{error}");
    }
}
