//! docs/ARCHITECTURE.md and the sources say the same: which modules there are, who may import whom, which features there are. And
//! where `unsafe` may stand, who writes to the terminal, that no document is cited that is not there, that a name stands for one type,
//! and that doc comments stand alone.
#![allow(clippy::unwrap_used)]

mod comments;
mod sources;
mod tables;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sources::{Source, file_imports, sources};
use tables::{Document, May, names, rules};

/// The files that call the matrix product, vector AES, MPI, CUDA and the scheduler, the one in which these two meet, and the program's
/// allocator.
const UNSAFE: [&str; 20] = [
    "compute/cpu/exact.rs",
    "compute/cpu/kernel.rs",
    "compute/cuda/driver/compile.rs",
    "compute/cuda/driver/gpu.rs",
    "compute/cuda/driver/lt.rs",
    "compute/cuda/driver/mod.rs",
    "compute/cuda/driver/pinned.rs",
    "crypto/aead/ring.rs",
    "crypto/keystream/vaes.rs",
    "device_memory.rs",
    "memory.rs",
    "slice.rs",
    "transport/aware.rs",
    "transport/block.rs",
    "transport/mpi/lanes.rs",
    "transport/mpi/mod.rs",
    "transport/mpi/requests.rs",
    "transport/mpi/window.rs",
    "transport/mpi/world.rs",
    "transport/shared.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn house() -> Document {
    Document::new(&read("docs/ARCHITECTURE.md"))
}

fn crate_sources() -> Vec<Source> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// What breaks the rules: "file: module may not import module".
fn violations(sources: &[Source], rules: &BTreeMap<String, May>) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let (file, module) = (&source.file, source.module[0].as_str());
        let Some(may) = rules.get(module) else {
            violations.push(format!("{file}: no rule for {module}"));
            continue;
        };
        let refused =
            source.imports().into_iter().filter(|import| !rules.contains_key(import) || !may.import(import));
        violations.extend(refused.map(|import| format!("{file}: {module} may not import {import}")));
    }
    violations
}

/// Which top-level module names which.
fn edges(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        edges.entry(source.module[0].clone()).or_default().extend(source.imports());
    }
    edges
}

/// The circles: those that lead to each other.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = edges[from].iter().collect();
        while let Some(at) = next.pop() {
            if reached.insert(at) {
                next.extend(edges.get(at).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> = edges.keys().map(|from| (from, reached(from))).collect();
    let circle = |from: &String| {
        let back = |to: &&&String| reached.get(*to).is_some_and(|reached| reached.contains(from));
        reached[from].iter().filter(back).map(|to| (*to).clone()).collect::<Vec<String>>()
    };
    edges.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// The house has a row for every module, and no other.
#[test]
fn every_module_stands_in_the_table_of_modules() {
    let listed = house().table("Modules", 0).iter().flat_map(|row| names(&row[0])).collect::<BTreeSet<String>>();
    let there = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() { format!("{name}/") } else { name }
    };
    let mut found: BTreeSet<String> =
        fs::read_dir(root().join("src")).unwrap().map(|entry| there(entry.unwrap())).collect();
    found.retain(|name| !["lib.rs", "main.rs"].contains(&name.as_str()));
    assert_eq!(listed, found);
}

/// Files and folders that the house says something of are there, and nothing of some length goes without a word.
#[test]
fn the_table_of_files_is_that_of_the_tree() {
    let src = root().join("src");
    let mut listed = BTreeSet::new();
    let files = house().table("Modules", 0).into_iter().filter(|row| row[0].contains(".rs"));
    for row in files.chain(house().table("Modules", 1)) {
        let mut folder = PathBuf::new();
        for name in names(&row[0]) {
            // A second file of a row may stand in the folder of the first.
            let path = [folder.join(&name), PathBuf::from(&name)].into_iter().find(|path| src.join(path).exists());
            let path = path.unwrap_or_else(|| panic!("src/{name} is not there, nor in src/{}", folder.display()));
            folder = path.parent().unwrap().to_owned();
            listed.insert(path.to_str().unwrap().trim_end_matches('/').to_owned());
        }
    }
    let known = |source: &Source| {
        let path = Path::new(&source.file);
        path.ancestors().any(|part| listed.contains(part.to_str().unwrap())) || source.file.ends_with("mod.rs")
    };
    let unknown = crate_sources().into_iter().filter(|source| !source.is_test() && !known(source));
    let unknown: Vec<String> = unknown.map(|source| source.file).collect();
    assert_eq!(unknown, Vec::<String>::new(), "docs/ARCHITECTURE.md says nothing of these files");
}

#[test]
fn the_table_of_features_is_that_of_the_manifest() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let listed: BTreeSet<String> = house().table("Cargo features", 0).iter().flat_map(|row| names(&row[0])).collect();
    assert_eq!(listed, features.keys().filter(|name| *name != "default").cloned().collect());
    let default: BTreeSet<&str> =
        features["default"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    let said = house().table("Cargo features", 0);
    let said: Vec<String> = said.iter().filter(|row| row[1] == "yes").flat_map(|row| names(&row[0])).collect();
    assert_eq!(said.iter().map(String::as_str).collect::<BTreeSet<&str>>(), default);
}

#[test]
fn modules_import_only_whom_they_may() {
    let (sources, rules) = (crate_sources(), rules(&house().table("Who may import whom", 0)));
    assert_eq!(violations(&sources, &rules), Vec::<String>::new());
    // Every rule is for a module that is there.
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module[0].as_str()).collect();
    assert_eq!(modules, rules.keys().map(String::as_str).collect());
    // Every import that the table allows is made by someone: what nobody needs is no rule.
    let edges = edges(&sources);
    for (module, may) in &rules {
        let May::Import(those) = may else { continue };
        let idle = those
            .iter()
            .filter(|name| !edges[module].contains(*name) && rules[*name] != May::Import(BTreeSet::new()));
        assert_eq!(idle.collect::<Vec<&String>>(), Vec::<&String>::new(), "{module} need not import these");
    }
}

#[test]
fn there_are_no_circles() {
    assert_eq!(circles(&edges(&crate_sources())), BTreeSet::new());
    assert_eq!(circles(&file_imports(&crate_sources())), BTreeSet::new());
}

/// `super::` is resolved by files: a module written within a file would stand one deeper.
#[test]
fn modules_stand_in_files_of_their_own() {
    for source in crate_sources() {
        let words = source.words();
        let inline = words.windows(3).any(|three| three[0] == "mod" && three[2] == "{");
        assert!(!inline, "{} holds a module that is no test", source.file);
    }
}

/// The files of `files` that stand beside a folder of their name in which there is more than their tests.
fn beside_their_folders(files: &[&str]) -> Vec<String> {
    let is_beside = |file: &str| {
        let folder = format!("{}/", file.trim_end_matches(".rs"));
        let mut children = files.iter().filter_map(|other| other.strip_prefix(folder.as_str()));
        children.any(|child| child != "tests.rs" && !child.starts_with("tests/"))
    };
    files.iter().filter(|file| is_beside(file)).map(|file| (*file).to_owned()).collect()
}

/// A module with others in it is `mod.rs` in their folder. A module with nothing in it but its tests keeps its file.
#[test]
fn modules_with_others_in_them_are_folders() {
    let sources = crate_sources();
    let files: Vec<&str> = sources.iter().map(|source| source.file.as_str()).collect();
    assert!(files.contains(&"mix/slot/tests.rs"), "the files are named otherwise than here: {files:?}");
    assert_eq!(beside_their_folders(&files), [""; 0]);
    let broken = ["a.rs", "a/tests.rs", "b.rs", "b/c.rs", "d/mod.rs", "d/e.rs"];
    assert_eq!(beside_their_folders(&broken), ["b.rs"]);
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
        let code = source.words();
        let handle = |of: &[String]| of[0] == "io" && of[1] == "::" && (of[2] == "stdout" || of[2] == "stderr");
        code.windows(3).any(handle)
    };
    let found: Vec<String> = crate_sources().into_iter().filter(writes).map(|source| source.file).collect();
    assert_eq!(found, ["terminal.rs"]);
}

/// What is sealed to a key pair is a letter, and nothing else. One more file says why a key is refused.
#[test]
fn letters_alone_are_sealed_to_key_pairs() {
    let names_it = |source: &Source| !source.is_test() && source.words().iter().any(|word| word == "hpke");
    let found = crate_sources().into_iter().filter(names_it).map(|source| source.file);
    let outside = found.filter(|file| !file.starts_with("crypto/") && !file.starts_with("run/letters/"));
    assert_eq!(outside.collect::<Vec<String>>(), ["run/trust/error.rs"]);
}

/// A made-up module `nn` that breaks every rule, each break where a careless scanner would not look.
const BROKEN: &str = r##"
//! Talks about crate::cli and 'unsafe' things.
use crate::compute::{self, Backend};
use crate::ids::Rank;
use crate::{
    check::slot::{Mixer, courier as other},
    random,
};
/* crate::transport /* nested */ crate::role */
fn lifetimes<'a>(text: &'a str) -> char {
    let quotes = ('"', '\'', "crate::wire \" crate::data", r#"crate::pipeline " unsafe"#);
    super::super::report::relay();
    $crate::cli::open(); crate :: job :: Job;
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
use crate::cli::Header;
"##;

/// Which dependencies a profile optimises less; what it says of the crate itself is its own.
fn less_optimised(manifest: &str, profile: &str) -> toml::Table {
    let manifest: toml::Table = read(manifest).parse().unwrap();
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

/// A made-up house.
const HOUSE: &str = "
## Who may import whom

Words before.

| module | may import |
|---|---|
| `ids`, `random` | nothing |
| `compute`, `job` | the leaves |
| `nn` | the leaves, `compute`, `job` |
| `check`, `report`, `cli` | everything |

| another | table |
|---|---|
| `a` | b |
| `c` | d |

## Next
";

fn made_up_rules() -> BTreeMap<String, May> {
    rules(&Document::new(HOUSE).table("Who may import whom", 0))
}

#[test]
fn tables_are_read_as_they_stand() {
    let (house, rules) = (Document::new(HOUSE), made_up_rules());
    assert_eq!(house.table("Who may import whom", 1), [["`a`", "b"], ["`c`", "d"]]);
    assert_eq!(rules.len(), 8);
    assert!(rules["nn"].import("ids") && rules["nn"].import("job") && !rules["nn"].import("cli"));
    assert!(!rules["ids"].import("random") && rules["job"].import("random") && rules["cli"].import("nn"));
}

#[test]
fn the_scanner_finds_what_is_broken_and_nothing_else() {
    let source = Source::new("nn/deep.rs", BROKEN);
    let due = ["check", "cli", "compute", "ids", "job", "random", "report"];
    assert_eq!(source.imports(), due.map(str::to_owned).into());
    assert_eq!(source.unsafe_lines(), [BROKEN.lines().position(|line| line.contains("fn more")).unwrap() + 1]);
    let rules = made_up_rules();
    let violations = |sources: &[Source]| violations(sources, &rules);
    let due = ["check", "cli", "report"].map(|to| format!("nn/deep.rs: nn may not import {to}"));
    assert_eq!(violations(&[source]), due);
    // Of a file at the top, `super` is the crate; a leaf may not even import a leaf; new modules need a rule.
    let leaf = Source::new("ids.rs", "use super::random::Seed; use super::super_word;");
    assert_eq!(leaf.imports(), ["random".to_owned(), "super_word".to_owned()].into());
    assert_eq!(violations(&[leaf]).len(), 2);
    assert_eq!(violations(&[Source::new("utils.rs", "")]), ["utils.rs: no rule for utils"]);
    // The printing modules may import each other, but not in a circle; who leads to a circle is in none.
    let circle = [
        ("check", "use crate::report::x;"),
        ("report", "use crate::check::x;"),
        ("cli", "use crate::check::x;"),
        ("ids", ""),
    ];
    let circle: Vec<Source> =
        circle.iter().map(|(name, text)| Source::new(&format!("{name}/mod.rs"), text)).collect();
    assert_eq!(violations(&circle), Vec::<String>::new());
    assert_eq!(circles(&edges(&circle)), [["check", "report"].map(str::to_owned).to_vec()].into());
    let chain = [("check", "use crate::report::x;"), ("report", "use crate::ids::x;"), ("ids", "")];
    let chain: Vec<Source> = chain.iter().map(|(name, text)| Source::new(&format!("{name}/mod.rs"), text)).collect();
    assert_eq!(circles(&edges(&chain)), BTreeSet::new());
}

/// A file stands in a circle with another, whoever passes their names on; a folder and what is in it are no circle.
#[test]
fn circles_of_files_are_found() {
    let tree = [
        ("run/mod.rs", "mod a; mod b; mod c; pub use a::{Long as Short, self}; pub struct Error; use self::c::last;"),
        ("run/a.rs", "use super::Error; use crate::run::b::Thing; pub struct Long;"),
        ("run/b.rs", "pub struct Thing; fn f() { crate::run::Short::new() }"),
        (
            "run/c.rs",
            "use super::{Error, b::{Thing as Other, more}}; #[cfg(test)] mod tests { use super::super::a::x; }",
        ),
    ];
    let tree: Vec<Source> = tree.iter().map(|(file, text)| Source::new(file, text)).collect();
    let imports = file_imports(&tree);
    let of = |file: &str| imports[file].iter().map(String::as_str).collect::<Vec<&str>>();
    assert_eq!((of("run/a.rs"), of("run/b.rs")), (vec!["run/b.rs"], vec!["run/a.rs"]));
    assert_eq!((of("run/c.rs"), of("run/mod.rs")), (vec!["run/b.rs"], vec![]));
    assert_eq!(circles(&imports), [["run/a.rs", "run/b.rs"].map(str::to_owned).to_vec()].into());
}

/// Files that git keeps, or would: what a reader of the repository has.
fn kept_files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match listed {
        Ok(listed) if listed.status.success() => {
            String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
        }
        // Sources without a history.
        _ => ["src", "tests", "docs"]
            .iter()
            .flat_map(|folder| {
                sources(&root().join(folder)).into_iter().map(move |source| format!("{folder}/{}", source.file))
            })
            .collect(),
    }
}

/// The documents that `text` names, and the section that it names of each, if it does: `PROTOCOL.md, 6.2`.
fn cited(text: &str) -> Vec<(String, Option<String>)> {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let mut cited = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(".md") {
        let (before, after) = (&rest[..at], &rest[at + 3..]);
        rest = after;
        let start =
            before.rfind(|c| !part(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let name = &before[start..];
        if name.is_empty() || after.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let section = after
            .strip_prefix(", ")
            .map(|after| after.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>());
        let section = section.map(|section| section.trim_end_matches('.').to_owned());
        cited.push((format!("{name}.md"), section.filter(|section| !section.is_empty())));
    }
    cited
}

/// Whether a document has the section `6`, or the point `6.2`: the second of its list.
fn has_section(text: &str, section: &str) -> bool {
    let (chapter, point) = section.split_once('.').map_or((section, None), |(chapter, point)| (chapter, Some(point)));
    let Some((_, rest)) = text.split_once(&format!("\n## {chapter} ")) else { return false };
    let chapter = rest.split("\n## ").next().unwrap_or(rest);
    point.is_none_or(|point| chapter.contains(&format!("\n{point}. ")))
}

#[test]
fn documents_that_are_cited_are_there() {
    let kinds = ["rs", "md", "toml", "py", "cu", "cuh", "yml"];
    let mut found = 0;
    for file in kept_files() {
        let path = Path::new(&file);
        let is_text = path.extension().is_none_or(|kind| kinds.iter().any(|known| kind == *known));
        // These files make some up.
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        if !is_text
            || ["tests/architecture/main.rs", "tests/tutorial.rs", "src/data/fetch/tests.rs"].contains(&file.as_str())
        {
            continue;
        }
        for (name, section) in cited(&text) {
            let beside = path.parent().unwrap().join(&name);
            let places = [PathBuf::from(&name), Path::new("docs").join(&name), Path::new("jobs").join(&name), beside];
            let place = places.iter().find(|place| root().join(place).is_file());
            let place = place.unwrap_or_else(|| panic!("{file} cites {name}, which is not there"));
            found += 1;
            if let Some(section) = section {
                let text = fs::read_to_string(root().join(place)).unwrap();
                assert!(has_section(&text, &section), "{file} cites {name}, {section}, which is not there");
            }
        }
    }
    assert!(found > 50, "{found} citations");
}

#[test]
fn citations_are_found() {
    let text = "(docs/PROTOCOL.md, 6.2) See ARCHITECTURE.md. `a.mdx`, [x](../b-c.md#d), (AUDIT.md, \"Attacks\"), PROTOCOL.md, 7";
    let due = [("docs/PROTOCOL.md", Some("6.2")), ("ARCHITECTURE.md", None), ("../b-c.md", None), ("AUDIT.md", None)];
    let due: Vec<_> = due.into_iter().chain([("PROTOCOL.md", Some("7"))]).collect();
    let due: Vec<_> = due.into_iter().map(|(name, section)| (name.to_owned(), section.map(str::to_owned))).collect();
    assert_eq!(cited(text), due);
    let text = "# It\n\n## 1 One\n\n1. a\n\n## 2 Two\n\n1. b\n2. c\n";
    assert!(["1", "1.1", "2.2"].iter().all(|section| has_section(text, section)));
    assert!(["3", "1.2", "2.3"].iter().all(|section| !has_section(text, section)));
}
