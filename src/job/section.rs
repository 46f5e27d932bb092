//! One table of a job, read key by key. A key that no one asked for is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::JobError;
use super::at::At;
use super::tree::{Node, Table, Value};

/// A key that is less similar (Jaro-Winkler) to a known one is no misspelling of it: errors about unknown keys do not propose it.
const ALIKE: f64 = 0.75;
/// A key that is more similar (Jaro-Winkler) to an absent one is taken for it: the error says so, not that the other one is missing.
const SAME: f64 = 0.85;

/// A table of the job that is being read. It remembers which keys it was asked for.
pub(super) struct Section<'a> {
    /// The table's name in errors, such as `[train]`.
    name: String,
    /// Where the table stands; an absent one, where the table around it stands.
    at: At,
    /// What stands in the table. `None` where the job leaves it out.
    table: Option<&'a Table>,
    /// The keys that it was asked for, each once, in the order of asking: the keys that the table knows.
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table that stands in `node`, which errors call `name`.
    ///
    /// # Errors
    /// [`JobError::Value`] where something other than a table stands there.
    pub(super) fn new(name: &str, node: &'a Node) -> Result<Self, JobError> {
        match &node.value {
            Value::Table(table) => {
                Ok(Self { name: name.to_owned(), at: node.at.clone(), table: Some(table), asked: RefCell::default() })
            }
            other => Err(JobError::Value {
                at: node.at.clone(),
                key: name.to_owned(),
                found: other.shown(),
                expected: "a table".to_owned(),
            }),
        }
    }

    /// The table under `key` that a job leaves out. Errors about what it lacks point `at` this place.
    fn empty(key: &str, at: &At) -> Self {
        Self { name: format!("[{key}]"), at: at.clone(), table: None, asked: RefCell::default() }
    }

    /// The table that stands under `key`. It is empty where the key is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something other than a table stands there.
    pub(super) fn section(&self, key: &'static str) -> Result<Section<'a>, JobError> {
        match self.get(key) {
            Some(node) => Section::new(&format!("[{key}]"), node),
            None => Ok(Section::empty(key, &self.at)),
        }
    }

    /// The value under `key`, `None` where it is absent. From now on the table knows the key.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table?.get(key).map(|(_, node)| node)
    }

    /// Where `key` stands. Where it is absent: where the table stands.
    pub(super) fn at(&self, key: &str) -> At {
        self.table.and_then(|table| table.get(key)).map_or_else(|| self.at.clone(), |(at, _)| at.clone())
    }

    /// The value that was read of `key`.
    ///
    /// # Errors
    /// [`JobError::Missing`] where it is `None`. Where another key looks like a misspelling of `key`, the error is about that one.
    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>, expected: &str) -> Result<T, JobError> {
        value.ok_or_else(|| {
            let misspelt =
                self.table.into_iter().flatten().find(|(found, _)| strsim::jaro_winkler(found, key) > SAME);
            match misspelt {
                Some((found, (at, _))) => self.unknown(found, at),
                None => JobError::Missing {
                    at: self.at.clone(),
                    section: self.name.clone(),
                    key,
                    expected: expected.to_owned(),
                },
            }
        })
    }

    /// The whole number under `key`, `None` where it is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, or a number out of `range`.
    pub(super) fn integer<T: TryFrom<i64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<T>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let number = match node.value {
            Value::Integer(number) if range.contains(&number) => T::try_from(number).ok(),
            _ => None,
        };
        let expected = || match *range.end() {
            i64::MAX => format!("a whole number from {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        number.map(Some).ok_or_else(|| self.wrong(key, node, &expected()))
    }

    /// The list of whole numbers under `key`, `None` where it is absent. One number alone stands for the shortest list of it.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, a list of more or fewer numbers than `count`, or a number out of `range`.
    pub(super) fn integers(
        &self,
        key: &'static str,
        count: RangeInclusive<usize>,
        range: RangeInclusive<i64>,
        expected: &str,
    ) -> Result<Option<Vec<u32>>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let number = |node: &Node| match node.value {
            Value::Integer(number) if range.contains(&number) => u32::try_from(number).ok(),
            _ => None,
        };
        let numbers = match &node.value {
            Value::Array(items) if count.contains(&items.len()) => items.iter().map(number).collect(),
            _ => number(node).map(|number| vec![number; *count.start()]),
        };
        numbers.map(Some).ok_or_else(|| self.wrong(key, node, expected))
    }

    /// The list of `count` numbers under `key`, `None` where it is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, a list of more or fewer numbers, or a number for which `fits` is false.
    pub(super) fn numbers(
        &self,
        key: &'static str,
        count: usize,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<Option<Vec<f64>>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let numbers: Option<Vec<f64>> = match &node.value {
            Value::Array(items) if items.len() == count => {
                items.iter().map(|item| as_number(item).filter(|number| fits(*number))).collect()
            }
            _ => None,
        };
        numbers.map(Some).ok_or_else(|| self.wrong(key, node, expected))
    }

    /// The list of numbers under `key`, `None` where it is absent. One number alone stands for the shortest list of it.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, a list of more or fewer numbers than `count`, or a number for which `fits`
    /// is false.
    pub(super) fn one_or_more(
        &self,
        key: &'static str,
        count: RangeInclusive<usize>,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<Option<Vec<f64>>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let number = |node: &Node| as_number(node).filter(|number| fits(*number));
        let numbers = match &node.value {
            Value::Array(items) if count.contains(&items.len()) => items.iter().map(number).collect(),
            _ => number(node).map(|number| vec![number; *count.start()]),
        };
        numbers.map(Some).ok_or_else(|| self.wrong(key, node, expected))
    }

    /// The number under `key`, `None` where it is absent. Whole numbers are numbers, too.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, or a number for which `fits` is false.
    pub(super) fn number(
        &self,
        key: &'static str,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let number = as_number(node).filter(|number| fits(*number));
        number.map(Some).ok_or_else(|| self.wrong(key, node, expected))
    }

    /// The string under `key`, `None` where it is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there.
    pub(super) fn text(&self, key: &'static str, expected: &str) -> Result<Option<&'a str>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(node) => Err(self.wrong(key, node, expected)),
        }
    }

    /// The list of strings under `key`, `None` where it is absent. One string alone stands for a list of it.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there, an empty list, or a list that has a string twice.
    pub(super) fn texts(&self, key: &'static str, expected: &str) -> Result<Option<Vec<String>>, JobError> {
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let text = |node: &Node| match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let texts: Option<Vec<String>> = match &node.value {
            Value::Array(items) => items.iter().map(text).collect(),
            _ => text(node).map(|text| vec![text]),
        };
        let differ = |texts: &Vec<String>| texts.iter().collect::<BTreeSet<_>>().len() == texts.len();
        let texts = texts.filter(|texts| !texts.is_empty() && differ(texts));
        texts.map(Some).ok_or_else(|| self.wrong(key, node, expected))
    }

    /// The boolean under `key`, `None` where it is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there.
    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Boolean(boolean), .. }) => Ok(Some(*boolean)),
            Some(node) => Err(self.wrong(key, node, "true or false")),
        }
    }

    /// The items of the list under `key`, `None` where it is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something else stands there.
    pub(super) fn list(&self, key: &'static str, expected: &str) -> Result<Option<&'a [Node]>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Array(items), .. }) => Ok(Some(items)),
            Some(node) => Err(self.wrong(key, node, expected)),
        }
    }

    /// What the word under `key` stands for among `choices`, `None` where the key is absent.
    ///
    /// # Errors
    /// [`JobError::Value`] where something other than one of these words stands there. It lists them in their order.
    pub(super) fn choice<T: Clone>(&self, key: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, JobError> {
        let expected = || {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            words.join(" or ")
        };
        let Some(node) = self.get(key) else {
            return Ok(None);
        };
        let found = match &node.value {
            Value::Text(text) => choices.iter().find(|(word, _)| word == text),
            _ => None,
        };
        found.map(|(_, choice)| Some(choice.clone())).ok_or_else(|| self.wrong(key, node, &expected()))
    }

    /// The table under `key`, and what the word under its key `kind` stands for among `choices`, `None` where that key is absent. The
    /// word alone, in place of the table, is the short form of a table that holds nothing else.
    ///
    /// # Errors
    /// [`JobError::Value`] where neither stands there, or a word that is not one of these.
    pub(super) fn kind<T: Clone>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<(Option<T>, Section<'a>), JobError> {
        match self.get(key) {
            None | Some(Node { value: Value::Table(_), .. }) => {
                let section = self.section(key)?;
                Ok((section.choice("kind", choices)?, section))
            }
            Some(Node { at, .. }) => Ok((self.choice(key, choices)?, Section::empty(key, at))),
        }
    }

    /// The error that the value in `node`, which stands under `key`, is not what was `expected`. It points at the value.
    pub(super) fn wrong(&self, key: &str, node: &Node, expected: &str) -> JobError {
        JobError::Value {
            at: node.at.clone(),
            key: self.path(key),
            found: node.value.shown(),
            expected: expected.to_owned(),
        }
    }

    /// The error that `found` stands under `key`, not what was `expected`. It points at the key.
    pub(super) fn unfit(&self, key: &str, found: impl Into<String>, expected: &str) -> JobError {
        JobError::Value { at: self.at(key), key: self.path(key), found: found.into(), expected: expected.to_owned() }
    }

    /// The error that `key` does not go together with another one: what the problem is, and what to do. It points at the key.
    pub(super) fn conflict(&self, key: &str, problem: impl Into<String>, fix: impl Into<String>) -> JobError {
        JobError::Conflict { at: self.at(key), problem: problem.into(), fix: fix.into() }
    }

    /// The name of `key` in errors: with the table in which it stands, unless that is the job itself or an operation.
    fn path(&self, key: &str) -> String {
        let table = match self.name.strip_prefix("[[") {
            Some(_) => &self.name,
            None => self.name.trim_matches(['[', ']']),
        };
        match table {
            "the job" | "the operation" => key.to_owned(),
            table => format!("{table}.{key}"),
        }
    }

    /// Ends the reading of the table. Call it once all keys have been asked for.
    ///
    /// # Errors
    /// [`JobError::UnknownKey`] where a key stands in the table that was not asked for.
    pub(super) fn finish(&self) -> Result<(), JobError> {
        for (key, (at, _)) in self.table.into_iter().flatten() {
            if !self.asked.borrow().contains(&key.as_str()) {
                return Err(self.unknown(key, at));
            }
        }
        Ok(())
    }

    /// The error that the table does not know `key`, which stands at `at`. It proposes the most similar key that it knows.
    fn unknown(&self, key: &str, at: &At) -> JobError {
        let known = self.asked.borrow().clone();
        // In a file, a key that is there already would be there twice.
        let there = |known: &str| self.table.is_some_and(|table| table.contains_key(known));
        let is_free = |known: &&&str| matches!(at, At::Set(_)) || !there(known);
        let nearest = known
            .iter()
            .filter(is_free)
            .map(|known| (strsim::jaro_winkler(known, key), *known))
            .filter(|(alike, _)| *alike > ALIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.to_owned());
        JobError::UnknownKey { at: at.clone(), key: key.to_owned(), section: self.name.clone(), nearest, known }
    }
}

/// The number in `node`, whole or not. `None` where something else stands there.
fn as_number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}
