//! TOML with the place of every key and value, so that an error can point at its line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::JobError;

/// Where something of a job was said.
#[derive(Clone, Debug)]
pub enum At {
    /// In a file, 1-based.
    File {
        /// The file's name.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// On the command line: the text behind `--set`.
    Set(Arc<str>),
}

/// Where a job was said is no part of what it says.
impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            At::Set(text) => write!(f, "--set {text}"),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Other(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A key's place and its value, by key.
pub(super) type Table = BTreeMap<String, (At, Node)>;

impl Value {
    /// The value as an error shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Value::Text(text) => format!("the string {text:?}"),
            Value::Integer(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Boolean(boolean) => format!("{boolean}"),
            Value::Other(text) => text.clone(),
            Value::Array(items) => format!("a list of {}", items.len()),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// Parses `text`, the content of `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, JobError> {
    let places = Places { file: file.into(), text };
    let table = DeTable::parse(text).map_err(|error| JobError::Syntax {
        at: places.at(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    Ok(Node { at: places.at(0), value: Value::Table(places.table(table.into_inner())?) })
}

/// Parses the value in `--set key=value`: TOML, or else a bare word as a string.
pub(super) fn parse_value(set: &Arc<str>, text: &str) -> Node {
    let at = At::Set(set.clone());
    let found = match parse("--set", &format!("value = {text}")) {
        Ok(Node { value: Value::Table(mut table), .. }) if table.len() == 1 => table.remove("value"),
        _ => None,
    };
    match found {
        Some((_, node)) => moved(node, &at),
        None => Node { at, value: Value::Text(text.to_owned()) },
    }
}

fn moved(node: Node, at: &At) -> Node {
    let value = match node.value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| moved(item, at)).collect()),
        Value::Table(table) => {
            Value::Table(table.into_iter().map(|(key, (_, node))| (key, (at.clone(), moved(node, at)))).collect())
        }
        other => other,
    };
    Node { at: at.clone(), value }
}

struct Places<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Places<'_> {
    fn at(&self, offset: usize) -> At {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        At::File {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Result<Table, JobError> {
        table
            .into_iter()
            .map(|(key, value)| {
                let at = self.at(key.span().start);
                Ok((key.into_inner().into_owned(), (at, self.node(value)?)))
            })
            .collect()
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Result<Node, JobError> {
        let at = self.at(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other(format!("the integer {number}, beyond 64 bits")),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Other(format!("the number {number}")),
            },
            DeValue::Boolean(boolean) => Value::Boolean(boolean),
            DeValue::Datetime(time) => Value::Other(format!("the date {time}")),
            DeValue::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.node(item)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Table(self.table(table)?),
        };
        Ok(Node { at, value })
    }
}
