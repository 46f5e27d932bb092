//! Who may import whom (docs/ARCHITECTURE.md), and where `unsafe` may stand, read off the sources.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What any module may import.
const LEAVES: [&str; 10] =
    ["bulk", "device_memory", "element", "float", "ids", "memory", "random", "terminal", "threads", "whole"];
/// What a module may import besides the leaves. `None`: all others.
const RULES: [(&str, Option<&[&str]>); 26] = [
    ("bulk", Some(&[])),
    ("device_memory", Some(&[])),
    ("element", Some(&[])),
    ("float", Some(&[])),
    ("ids", Some(&[])),
    ("memory", Some(&[])),
    ("random", Some(&[])),
    ("terminal", Some(&[])),
    ("threads", Some(&[])),
    ("whole", Some(&[])),
    ("job", Some(&[])),
    ("wire", Some(&[])),
    ("pipeline", Some(&[])),
    ("crypto", Some(&[])),
    ("transport", Some(&[])),
    ("data", Some(&[])),
    ("compute", Some(&["crypto"])),
    ("nn", Some(&["compute", "job"])),
    ("mix", Some(&["crypto", "transport"])),
    ("role", Some(&["nn", "pipeline", "wire", "mix", "data", "compute"])),
    ("run", Some(&["job", "wire", "pipeline", "crypto", "transport", "data", "compute", "nn", "mix", "role"])),
    ("check", None),
    ("audit", None),
    ("doctor", None),
    ("report", None),
    ("cli", None),
];
/// The files that call the matrix product, MPI, CUDA and the scheduler, the one in which these two meet, and the program's allocator.
const UNSAFE: [&str; 16] = [
    "compute/cpu/exact.rs",
    "compute/cpu/kernel.rs",
    "compute/cuda/driver/compile.rs",
    "compute/cuda/driver/gpu.rs",
    "compute/cuda/driver/lt.rs",
    "compute/cuda/driver/mod.rs",
    "compute/cuda/driver/pinned.rs",
    "crypto/aead/ring.rs",
    "device_memory.rs",
    "memory.rs",
    "transport/aware.rs",
    "transport/block.rs",
    "transport/mpi.rs",
    "transport/shared.rs",
    "transport/slice.rs",
    "transport/window.rs",
];

/// A source file's code: (path of its module from the crate's root, code without comments and literals).
struct Source {
    module: Vec<String>,
    file: String,
    text: String,
    code: String,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        module.pop_if(|last| last == "mod");
        Self { module, file: file.to_owned(), text: text.to_owned(), code: code(text) }
    }

    /// Top-level modules that its code, tests left out, names.
    fn imports(&self) -> BTreeSet<String> {
        let words = words(&without_tests(&self.code));
        let mut found = BTreeSet::new();
        let mut i = 0;
        while i < words.len() {
            let climbed = match words[i].as_str() {
                "crate" => self.module.len(),
                "super" => 1,
                _ => 0,
            };
            let mut at = i + 1;
            let mut climbed = climbed;
            while climbed > 0 && words[at..].starts_with(&["::".to_owned(), "super".to_owned()]) {
                climbed += 1;
                at += 2;
            }
            if climbed > 0 && climbed >= self.module.len() && words.get(at).is_some_and(|word| word == "::") {
                found.extend(heads(&words[at + 1..]));
            }
            i = at;
        }
        // A module naming itself by its full path imports nothing.
        found.remove(&self.module[0]);
        found
    }

    /// Lines, 1-based, where `unsafe` stands as a word of the code.
    fn unsafe_lines(&self) -> Vec<usize> {
        let lines = self.code.lines().enumerate();
        lines
            .filter(|(_, line)| words(line).iter().any(|word| word == "unsafe"))
            .map(|(number, _)| number + 1)
            .collect()
    }
}

/// The first names of a path or of a group of paths: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn heads(words: &[String]) -> Vec<String> {
    if words.first().is_none_or(|word| word != "{") {
        return words.first().into_iter().cloned().collect();
    }
    let mut heads = Vec::new();
    let (mut depth, mut fresh) = (1, true);
    for word in &words[1..] {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => fresh = true,
            name if depth == 1 && fresh => {
                heads.push(name.to_owned());
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Identifiers, `::`, and single other characters.
fn words(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = match name {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            name => name,
        };
        words.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    words
}

/// `text` with comments and the insides of literals blanked; lines stay.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, '"'),
            // A character, not a lifetime: 'x' or '\...'.
            '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => quoted(rest, '\''),
            'r' if !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string(rest),
            _ => 0,
        };
        if skipped > 0 {
            code.extend(rest[..skipped].matches('\n'));
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// Bytes of the literal in quotes at the start of `text`.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the raw string at the start of `text`, 0 where there is none.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[2 + hashes..].find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len())
}

/// Bytes of the comment, which may hold others, at the start of `text`.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// `code` without the items behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        // Up to the item's `;`, or the end of its braces.
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(c, ';' | '}')
        });
        rest = end.map_or("", |(at, _)| &rest[at + 1..]);
    }
    kept + rest
}

/// All sources below `folder` but for tests in files of their own, and the two roots.
fn sources(folder: &Path) -> Vec<Source> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut sources = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let file = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if file.ends_with(".rs") && !["lib.rs", "main.rs"].contains(&file.as_str()) {
                sources.push(Source::new(&file, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

fn crate_sources() -> Vec<Source> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn is_test_file(source: &Source) -> bool {
    source.module.last().is_some_and(|name| name == "tests")
}

/// What breaks the rules: "file: module may not import module".
fn violations(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !is_test_file(source)) {
        let (file, module) = (&source.file, source.module[0].as_str());
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == module) else {
            violations.push(format!("{file}: no rule for {module}"));
            continue;
        };
        for import in source.imports() {
            let known = RULES.iter().any(|(name, _)| *name == import);
            let leaf = LEAVES.contains(&import.as_str()) && !LEAVES.contains(&module);
            if !known || !(leaf || allowed.is_none_or(|allowed| allowed.contains(&import.as_str()))) {
                violations.push(format!("{file}: {module} may not import {import}"));
            }
        }
    }
    violations
}

/// Which top-level module names which.
fn edges(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !is_test_file(source)) {
        edges.entry(source.module[0].clone()).or_default().extend(source.imports());
    }
    edges
}

/// The modules that are part of a circle, or lead to one.
fn circular(mut edges: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    // Whoever imports nobody is done; whoever imports only the done is next.
    while let Some(done) = edges.iter().find(|(_, to)| to.is_empty()).map(|(name, _)| name.clone()) {
        edges.remove(&done);
        edges.values_mut().for_each(|to| {
            to.remove(&done);
        });
    }
    edges.into_keys().collect()
}

#[test]
fn modules_import_only_whom_they_may() {
    let sources = crate_sources();
    assert_eq!(violations(&sources), Vec::<String>::new());
    // Every rule is for a module that is there.
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module[0].as_str()).collect();
    assert_eq!(modules, RULES.iter().map(|(name, _)| *name).collect());
    // The scanner sees the imports that make the crate.
    let edges = edges(&sources);
    for (from, to) in
        [("nn", "compute"), ("mix", "transport"), ("role", "nn"), ("run", "role"), ("cli", "run"), ("job", "random")]
    {
        assert!(edges[from].contains(to), "{from} imports {:?}", edges[from]);
    }
}

#[test]
fn there_are_no_circles() {
    assert_eq!(circular(edges(&crate_sources())), Vec::<String>::new());
}

/// `super::` is resolved by files: a module written within a file would stand one deeper.
#[test]
fn modules_stand_in_files_of_their_own() {
    for source in crate_sources() {
        let words = words(&without_tests(&source.code));
        let inline = words.windows(3).any(|three| three[0] == "mod" && three[2] == "{");
        assert!(!inline, "{} holds a module that is no test", source.file);
    }
}

#[test]
fn unsafe_stands_where_c_is_called_and_says_why() {
    let mut found = Vec::new();
    for source in crate_sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for number in source.unsafe_lines() {
            let above = &lines[number.saturating_sub(6)..number - 1];
            let says_why = above.iter().any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety"));
            assert!(says_why || lines[number - 1].contains("unsafe fn"), "{}:{number}: no // SAFETY:", source.file);
        }
        if !source.unsafe_lines().is_empty() {
            found.push(source.file);
        }
    }
    assert_eq!(found, UNSAFE);
}

/// What nothing else writes to cannot panic, or end a run, because nobody reads it. (Clippy sees to the macros.)
#[test]
fn one_file_writes_to_the_terminal() {
    let writes = |source: &Source| {
        let code = words(&without_tests(&source.code));
        let handle = |of: &[String]| of[0] == "io" && of[1] == "::" && (of[2] == "stdout" || of[2] == "stderr");
        code.windows(3).any(handle)
    };
    let found: Vec<String> = crate_sources().into_iter().filter(writes).map(|source| source.file).collect();
    assert_eq!(found, ["terminal.rs"]);
}

/// A made-up module `nn` that breaks every rule, each break where a careless scanner would not look.
const BROKEN: &str = r##"
//! Talks about crate::cli and 'unsafe' things.
use crate::compute::{self, Backend};
use crate::ids::Rank;
use crate::{
    mix::slot::{Mixer, courier},
    transport,
};
/* crate::check /* nested */ crate::report */
fn lifetimes<'a>(text: &'a str) -> char {
    let quotes = ('"', '\'', "crate::wire \" crate::data", r#"crate::pipeline " unsafe"#);
    super::super::role::relay();
    $crate::crypto::open(); crate :: job :: Job;
    super::stage::forward();
    'x'
}
#[cfg(test)]
mod tests {
    use crate::run::Run;
    fn more() { unsafe {} }
}
#[cfg(test)]
use crate::data::Dataset;
#[cfg(feature = "mpi")]
use crate::wire::Header;
"##;

/// Which dependencies a profile optimises less; what it says of the crate itself is its own.
fn less_optimised(manifest: &str, profile: &str) -> toml::Table {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut packages = manifest["profile"][profile]["package"].as_table().unwrap().clone();
    packages.remove("mixnn");
    packages
}

/// Else the fuzz targets would build anew what the tests have built, and tests would try another program than is shipped.
#[test]
fn release_tests_and_fuzz_targets_optimise_the_same_dependencies() {
    let released = less_optimised("Cargo.toml", "release");
    assert!(released.contains_key("aws-lc-sys"));
    assert_eq!(less_optimised("Cargo.toml", "dev"), released);
    // They are built without GPUs.
    let mut fuzzed = released;
    fuzzed.remove("cudarc");
    assert_eq!(less_optimised("tests/fuzz/Cargo.toml", "dev"), fuzzed);
}

#[test]
fn the_scanner_finds_what_is_broken_and_nothing_else() {
    let source = Source::new("nn/deep.rs", BROKEN);
    let due = ["compute", "crypto", "ids", "job", "mix", "role", "transport", "wire"];
    assert_eq!(source.imports(), due.map(str::to_owned).into());
    assert_eq!(source.unsafe_lines(), [BROKEN.lines().position(|line| line.contains("fn more")).unwrap() + 1]);
    let found = violations(&[source]);
    let due = ["crypto", "mix", "role", "transport", "wire"].map(|to| format!("nn/deep.rs: nn may not import {to}"));
    assert_eq!(found, due);
    // Of a file at the top, `super` is the crate; a leaf may not even import a leaf; new modules need a rule.
    let leaf = Source::new("ids.rs", "use super::random::Seed; use super::super_word;");
    assert_eq!(leaf.imports(), ["random".to_owned(), "super_word".to_owned()].into());
    assert_eq!(violations(&[leaf]).len(), 2);
    assert_eq!(violations(&[Source::new("utils.rs", "")]), ["utils.rs: no rule for utils"]);
    // The printing modules may import each other, but not in a circle; who leads to a circle is named with it.
    let circle = [
        ("check", "use crate::report::x;"),
        ("report", "use crate::check::x;"),
        ("cli", "use crate::check::x;"),
        ("ids", ""),
    ];
    let circle: Vec<Source> =
        circle.iter().map(|(name, text)| Source::new(&format!("{name}/mod.rs"), text)).collect();
    assert_eq!(violations(&circle), Vec::<String>::new());
    assert_eq!(circular(edges(&circle)), ["check", "cli", "report"]);
    let chain = [("check", "use crate::report::x;"), ("report", "use crate::ids::x;"), ("ids", "")];
    let chain: Vec<Source> = chain.iter().map(|(name, text)| Source::new(&format!("{name}/mod.rs"), text)).collect();
    assert_eq!(circular(edges(&chain)), Vec::<String>::new());
}
