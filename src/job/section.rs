//! One table of a job, taken apart key by key. What no one asked for is an unknown key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::JobError;
use super::tree::{At, Node, Table, Value};

/// Below this similarity (Jaro-Winkler) a key is no misspelling of another.
const ALIKE: f64 = 0.75;

/// A table being read.
pub(super) struct Section<'a> {
    /// `[train]`, as errors name it.
    name: String,
    at: At,
    table: Option<&'a Table>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table in `node`, named `name` in errors.
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

    /// The table under `key`; an absent one reads as empty.
    pub(super) fn section(&self, key: &'static str) -> Result<Section<'a>, JobError> {
        match self.get(key) {
            Some(node) => Section::new(&format!("[{key}]"), node),
            None => {
                Ok(Section { name: format!("[{key}]"), at: self.at.clone(), table: None, asked: RefCell::default() })
            }
        }
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table?.get(key).map(|(_, node)| node)
    }

    /// Where `key` stands, or else its table.
    pub(super) fn at(&self, key: &str) -> At {
        self.table.and_then(|table| table.get(key)).map_or_else(|| self.at.clone(), |(at, _)| at.clone())
    }

    /// `value`, or the error that `key` is missing; a key that looks like it is taken for it.
    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>, expected: &str) -> Result<T, JobError> {
        value.ok_or_else(|| {
            let misspelt =
                self.table.into_iter().flatten().find(|(found, _)| strsim::jaro_winkler(found, key) > 0.85);
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

    /// A whole number in `range`.
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

    /// As many whole numbers as `count` says, each in `range`; one alone stands for the fewest.
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

    /// A list of `count` numbers for each of which `fits` holds.
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

    /// As many numbers as `count` says, for each of which `fits` holds; one alone stands for the fewest.
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

    /// A number for which `fits` holds.
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

    /// A string.
    pub(super) fn text(&self, key: &'static str, expected: &str) -> Result<Option<&'a str>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(node) => Err(self.wrong(key, node, expected)),
        }
    }

    /// A string, or a list of different ones.
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

    /// true or false.
    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Boolean(boolean), .. }) => Ok(Some(*boolean)),
            Some(node) => Err(self.wrong(key, node, "true or false")),
        }
    }

    /// A list.
    pub(super) fn list(&self, key: &'static str, expected: &str) -> Result<Option<&'a [Node]>, JobError> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { value: Value::Array(items), .. }) => Ok(Some(items)),
            Some(node) => Err(self.wrong(key, node, expected)),
        }
    }

    /// One word of `choices`.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, JobError> {
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
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| self.wrong(key, node, &expected()))
    }

    /// The table under `key` and its `kind`, one word of `choices`. The word alone, in place of the table, is the short form of a
    /// table that holds nothing else.
    pub(super) fn kind<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<(Option<T>, Section<'a>), JobError> {
        match self.get(key) {
            None | Some(Node { value: Value::Table(_), .. }) => {
                let section = self.section(key)?;
                Ok((section.choice("kind", choices)?, section))
            }
            Some(Node { at, .. }) => {
                let short =
                    Section { name: format!("[{key}]"), at: at.clone(), table: None, asked: RefCell::default() };
                Ok((self.choice(key, choices)?, short))
            }
        }
    }

    /// The error that `key`'s value is not what was `expected`.
    pub(super) fn wrong(&self, key: &str, node: &Node, expected: &str) -> JobError {
        let table = match self.name.strip_prefix("[[") {
            Some(_) => &self.name,
            None => self.name.trim_matches(['[', ']']),
        };
        let key = match table {
            "the job" | "the operation" => key.to_owned(),
            table => format!("{table}.{key}"),
        };
        JobError::Value { at: node.at.clone(), key, found: node.value.shown(), expected: expected.to_owned() }
    }

    /// Ends the reading: a key that was not asked for is an error.
    pub(super) fn finish(self) -> Result<(), JobError> {
        for (key, (at, _)) in self.table.into_iter().flatten() {
            if !self.asked.borrow().contains(&key.as_str()) {
                return Err(self.unknown(key, at));
            }
        }
        Ok(())
    }

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

fn as_number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}
