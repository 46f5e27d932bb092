//! TOML with the place of every key and value, so that an error can point at its line.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::JobError;
use super::at::At;

/// A value of TOML, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where the value stands, not its key.
    pub(super) at: At,
    /// The value itself, without its place.
    pub(super) value: Value,
}

/// A value of TOML, whatever stands within it with its place.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string, without its quotes.
    Text(String),
    /// A whole number of 64 bits.
    Integer(i64),
    /// A number with a point or an exponent, infinite, or not a number.
    Float(f64),
    /// The words `true` and `false`.
    Boolean(bool),
    /// A value that no key takes, such as a date: the words for it in an error.
    Other(String),
    /// The items of a list, in order.
    Array(Vec<Node>),
    /// The keys of a table with their values.
    Table(Table),
}

/// The entries of a table by their keys: where each key stands, and its value.
pub(super) type Table = BTreeMap<String, (At, Node)>;

impl Value {
    /// The words for the value in an error, such as "the integer 3".
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

/// Parses `text`, the content of a file that errors call `file`.
///
/// # Errors
/// [`JobError::Syntax`] where it is no TOML.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, JobError> {
    let places = Locator { file: file.into(), text };
    let table = DeTable::parse(text).map_err(|error| JobError::Syntax {
        at: places.at(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    Ok(Node { at: places.at(0), value: Value::Table(places.table(table.into_inner())?) })
}

/// Parses the value `text` of `set`, what stands behind `--set`. What is no TOML is a string without its quotes.
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

/// The value of `node`, all of it said to stand `at` this place.
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

/// Turns what the parser gives into nodes with their places.
struct Locator<'a> {
    /// The file's name in errors.
    file: Arc<str>,
    /// All of the file, in which the parser counts bytes.
    text: &'a str,
}

impl Locator<'_> {
    /// The line and column of the byte `offset` of the file.
    fn at(&self, offset: usize) -> At {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        At::File {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A table with the places of its keys and values.
    fn table(&self, table: DeTable<'_>) -> Result<Table, JobError> {
        table
            .into_iter()
            .map(|(key, value)| {
                let at = self.at(key.span().start);
                Ok((key.into_inner().into_owned(), (at, self.node(value)?)))
            })
            .collect()
    }

    /// A value with its place. A number that does not fit into 64 bits is kept as the words that an error needs.
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
