//! Reads sources as far as it takes to see what they import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

/// A source file.
pub(crate) struct Source {
    /// The path of its module from the crate's root.
    pub(crate) module: Vec<String>,
    /// Its path below `src`.
    pub(crate) file: String,
    /// What stands in it.
    pub(crate) text: String,
    /// The same without comments, and with the insides of literals blanked; lines stay.
    pub(crate) code: String,
}

impl Source {
    /// The file `file` below `src`, with this text.
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        module.pop_if(|last| last == "mod");
        Self { module, file: file.to_owned(), text: text.to_owned(), code: code(text) }
    }

    /// Whether it holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }

    /// The words of its code, tests left out.
    pub(crate) fn words(&self) -> Vec<String> {
        words(&without_tests(&self.code))
    }

    /// The lines, counted from 1, on which its tests stand.
    pub(crate) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let line = |at: usize| self.code[..at].matches('\n').count() + 1;
        tests_within(&self.code).into_iter().map(|test| line(test.start)..=line(test.end)).collect()
    }

    /// The top-level modules that its code, tests left out, names.
    pub(crate) fn imports(&self) -> BTreeSet<String> {
        let mut found: BTreeSet<String> =
            self.paths().into_iter().filter_map(|path| path.into_iter().next()).collect();
        // A module naming itself by its full path imports nothing.
        found.remove(&self.module[0]);
        found
    }

    /// The paths that its code, tests left out, names from `crate` or `super` on, each from the crate's root. A group of paths is
    /// taken apart.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let words = self.words();
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() {
            match self.root(&words[at..]) {
                Some((root, used)) if words.get(at + used).is_some_and(|word| word == "::") => {
                    at += used + 1;
                    at += expand(&root, &words[at..], &mut found);
                }
                _ => at += 1,
            }
        }
        found.into_iter().map(|(path, _)| path).collect()
    }

    /// The names under which its `use`s, public or not, know something of this crate: the path of each from the crate's root.
    fn names(&self) -> BTreeMap<String, Vec<String>> {
        let words = self.words();
        let mut names = BTreeMap::new();
        for at in (0..words.len()).filter(|at| words[*at] == "use") {
            let (root, used) = match self.root(&words[at + 1..]) {
                Some((root, used)) => (root, used + 1),
                // A module that stands below this one, or another crate, which leads nowhere.
                None => (self.module.clone(), 0),
            };
            let mut found = Vec::new();
            expand(&root, &words[(at + 1 + used).min(words.len())..], &mut found);
            names.extend(found.into_iter().map(|(path, name)| (name, path)));
        }
        names
    }

    /// Where a path leads that begins with these words, and how many of them say so: `super::super` to the grandparent.
    fn root(&self, words: &[String]) -> Option<(Vec<String>, usize)> {
        let parent = |depth: usize| self.module[..self.module.len().saturating_sub(depth)].to_vec();
        match words.first()?.as_str() {
            "crate" => Some((Vec::new(), 1)),
            "self" => Some((self.module.clone(), 1)),
            "super" => {
                let mut depth = 1;
                while words.len() > 2 * depth && words[2 * depth - 1] == "::" && words[2 * depth] == "super" {
                    depth += 1;
                }
                Some((parent(depth), 2 * depth - 1))
            }
            _ => None,
        }
    }

    /// Lines, 1-based, where `unsafe` stands as a word of the code.
    pub(crate) fn unsafe_lines(&self) -> Vec<usize> {
        let lines = self.code.lines().enumerate();
        lines
            .filter(|(_, line)| words(line).iter().any(|word| word == "unsafe"))
            .map(|(number, _)| number + 1)
            .collect()
    }
}

/// Takes the tree of paths apart that `words` begin with and that stands below `root`: (path, name that it is known by) each.
/// Returns how many words it has.
fn expand(root: &[String], words: &[String], found: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = root.to_vec();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    at += expand(&path, &words[at..], found).max(1);
                    at += usize::from(words.get(at).is_some_and(|word| word == ","));
                }
                return at + 1;
            }
            "self" => {}
            name if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if words.get(at).is_none_or(|word| word != "::") {
            break;
        }
        at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if words.get(at).is_some_and(|word| word == "as") {
        name = words.get(at + 1).cloned().unwrap_or_default();
        at += 2;
    }
    found.push((path, name));
    at
}

/// Whether a word is a name or a keyword.
pub(crate) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Which files import which, those left out that stand above one another: a folder's `mod.rs` and what is below it are one
/// part of the house. Names that a file passes on (`pub use`) lead to where they come from.
pub(crate) fn file_imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeMap<&[String], &Source> =
        sources.iter().map(|source| (source.module.as_slice(), source)).collect();
    let names: BTreeMap<&str, BTreeMap<String, Vec<String>>> =
        sources.iter().map(|source| (source.file.as_str(), source.names())).collect();
    let target = |path: &[String]| {
        let mut path = path.to_vec();
        // As often as names are passed on, and a few times more.
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|depth| modules.contains_key(&path[..*depth]))?;
            let source = modules[&path[..depth]];
            let passed_on = path.get(depth).and_then(|name| names[source.file.as_str()].get(name));
            match passed_on.filter(|to| !to.starts_with(&path[..=depth])) {
                Some(to) => path = [to, &path[depth + 1..]].concat(),
                None => return Some(source),
            }
        }
        None
    };
    let apart = |a: &Source, b: &Source| !a.module.starts_with(&b.module) && !b.module.starts_with(&a.module);
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let targets = source.paths();
        let targets = targets.iter().filter_map(|path| target(path)).filter(|to| apart(source, to));
        imports.insert(source.file.clone(), targets.map(|to| to.file.clone()).collect());
    }
    imports
}

/// All sources below `folder`, but for the two roots.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
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

/// Identifiers, `::`, and single other characters.
pub(crate) fn words(code: &str) -> Vec<String> {
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
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut from = 0;
    for test in tests_within(code) {
        kept.push_str(&code[from..test.start]);
        from = test.end;
    }
    kept + &code[from..]
}

/// Where the items behind `#[cfg(test)]` stand in `code`, in bytes.
fn tests_within(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(MARK) {
        let start = from + at;
        let rest = &code[start + MARK.len()..];
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
        from = end.map_or(code.len(), |(at, _)| start + MARK.len() + at + 1);
        found.push(start..from);
    }
    found
}
