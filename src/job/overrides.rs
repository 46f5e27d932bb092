//! `--set train.epochs=1`: one value laid on top of a job.

use std::sync::Arc;

use super::tree::{self, At, Node, Value};
use super::{JobError, Table};

/// Short forms of keys that users know by a shorter name.
const ALIASES: [(&str, &str); 2] =
    [("train.lr", "train.optimizer.lr"), ("train.momentum", "train.optimizer.momentum")];

/// Keys whose value may be a word, short for a table with that `kind`.
pub(super) const KINDS: [&str; 3] = ["train.loss", "train.optimizer", "train.schedule"];

/// Lays `set`, a `key=value`, on `job`. Below a table's short form it opens the table.
///
/// # Errors
/// [`JobError::Conflict`] where it is no `key=value` or goes through what is no table. Whether the key is known and
/// the value fits is found when the job is read.
pub(super) fn apply(job: &mut Node, set: &str) -> Result<(), JobError> {
    let text: Arc<str> = set.into();
    let at = At::Set(text.clone());
    let conflict = |problem: String, fix: &str| JobError::Conflict { at: at.clone(), problem, fix: fix.to_owned() };
    let example = "write --set table.key=value, as in --set train.epochs=1";
    let (path, value) = set.split_once('=').ok_or_else(|| conflict("there is no `=`".to_owned(), example))?;
    let path = path.trim();
    let path = ALIASES.iter().find(|(short, _)| *short == path).map_or(path, |(_, long)| long);
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(conflict("a part of the key is empty".to_owned(), example));
    }
    let last = keys.pop().unwrap_or_default();
    let not_table = |path: &str, node: &Node| {
        let found = node.value.shown();
        conflict(format!("`{path}` is {found}, not a table"), &format!("set all of it, with --set {path}=value"))
    };
    let mut node = job;
    let mut path = String::new();
    for key in keys {
        let table = as_table(&path, node).map_err(|node| not_table(&path, node))?;
        let entry = table
            .entry(key.to_owned())
            .or_insert_with(|| (at.clone(), Node { at: at.clone(), value: Value::Table(Table::new()) }));
        node = &mut entry.1;
        path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    }
    let table = as_table(&path, node).map_err(|node| not_table(&path, node))?;
    table.insert(last.to_owned(), (at.clone(), tree::parse_value(&text, value.trim())));
    Ok(())
}

/// The table that stands under `path`, its short form opened; else what stands there.
fn as_table<'a>(path: &str, node: &'a mut Node) -> Result<&'a mut Table, &'a Node> {
    if let Value::Text(_) = node.value
        && KINDS.contains(&path)
    {
        let word =
            Node { at: node.at.clone(), value: std::mem::replace(&mut node.value, Value::Table(Table::new())) };
        if let Value::Table(table) = &mut node.value {
            table.insert("kind".to_owned(), (word.at.clone(), word));
        }
    }
    match node {
        Node { value: Value::Table(table), .. } => Ok(table),
        other => Err(other),
    }
}
