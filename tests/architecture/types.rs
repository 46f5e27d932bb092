//! A name stands for one type, but for those that docs/ARCHITECTURE.md lists.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, is_name};
use super::tables::names;
use super::{crate_sources, house};

/// The heading of the list in docs/ARCHITECTURE.md.
const LIST: &str = "Names that stand for two types";

/// The structures, enumerations, traits and aliases that the code of `source`, tests left out, defines. Aliases within a trait or an
/// implementation are the trait's.
fn types(source: &Source) -> Vec<String> {
    let words = source.words();
    let mut depth = 0;
    let mut found = Vec::new();
    for pair in words.windows(2) {
        match pair[0].as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "struct" | "enum" | "trait" if is_name(&pair[1]) => found.push(pair[1].clone()),
            "type" if depth == 0 && is_name(&pair[1]) => found.push(pair[1].clone()),
            _ => {}
        }
    }
    found
}

/// The names that stand for more than one type: the file of each type.
fn shared(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        for name in types(source) {
            files.entry(name).or_default().push(source.file.clone());
        }
    }
    files.retain(|_, files| files.len() > 1);
    files
}

/// The modules, one a type, that the rows (names, modules, reason) of the list say of each name.
fn listed(rows: &[Vec<String>]) -> BTreeMap<String, Vec<String>> {
    let mut modules = BTreeMap::new();
    for row in rows {
        let of_row: BTreeSet<String> =
            names(&row[1]).iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
        assert!(row.get(2).is_some_and(|reason| !reason.is_empty()), "no reason for {}", row[0]);
        for name in names(&row[0]) {
            let of_row = of_row.iter().cloned().collect();
            assert!(modules.insert(name.clone(), of_row).is_none(), "{name} is listed twice");
        }
    }
    modules
}

/// What is wrong with names that stand for several types, by a list of those that may.
fn faults(shared: &BTreeMap<String, Vec<String>>, listed: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, files) in shared {
        let mut modules: Vec<String> = files.iter().map(|file| file.split('/').next().unwrap().to_owned()).collect();
        modules.sort();
        if listed.get(name) != Some(&modules) {
            faults.push(format!("{name} stands for a type each in {}", files.join(", ")));
        }
    }
    faults.extend(
        listed.keys().filter(|name| !shared.contains_key(*name)).map(|name| format!("{name} need not be listed")),
    );
    faults
}

#[test]
fn a_name_stands_for_one_type() {
    let found = faults(&shared(&crate_sources()), &listed(&house().table(LIST, 0)));
    assert_eq!(found, Vec::<String>::new(), "find another name, or a reason: docs/ARCHITECTURE.md, {LIST:?}");
}

#[test]
fn types_of_one_name_are_found() {
    let tree = [
        ("nn/a.rs", "pub struct Plan<T>(T); impl T for X { type Kind = u8; } type Kind = u8; /* enum Other */"),
        ("nn/b.rs", "fn f() { enum Plan { A } } trait Kind { type Other; }"),
        (
            "job/a.rs",
            "pub(super) struct Plan; macro_rules! m { () => { struct $name; } } const S: &str = \"struct Kind\";",
        ),
        ("job/tests.rs", "struct Only;"),
        ("wire.rs", "struct Only; #[cfg(test)] mod tests { struct Plan; }"),
    ];
    let tree: Vec<Source> = tree.iter().map(|(file, text)| Source::new(file, text)).collect();
    let shared = shared(&tree);
    let of = |name: &str| shared[name].iter().map(String::as_str).collect::<Vec<&str>>();
    assert_eq!((of("Kind"), of("Plan")), (vec!["nn/a.rs", "nn/b.rs"], vec!["nn/a.rs", "nn/b.rs", "job/a.rs"]));
    assert_eq!(shared.len(), 2);
    // A name may stand for one type in each module that the list names, and a name of one type need not stand there.
    let list = |rows: [[&str; 3]; 2]| listed(&rows.map(|row| row.map(str::to_owned).to_vec()));
    let rows = [["`Plan`", "`job/`, `nn/`", "why"], ["`Only`, `Kind`", "`nn/`", "why"]];
    assert_eq!(
        faults(&shared, &list(rows)),
        [
            "Kind stands for a type each in nn/a.rs, nn/b.rs",
            "Plan stands for a type each in nn/a.rs, nn/b.rs, job/a.rs",
            "Only need not be listed"
        ]
    );
}
