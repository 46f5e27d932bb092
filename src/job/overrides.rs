//! `--set train.epochs=1`: one value laid on top of a job.

use std::sync::Arc;

use super::tree::{self, At, Node, Value};
use super::{JobError, Table};

/// Short forms of keys that users know by a shorter name.
const ALIASES: [(&str, &str); 2] =
    [("train.lr", "train.optimizer.lr"), ("train.momentum", "train.optimizer.momentum")];

/// Lays `set`, a `key=value`, on `job`.
///
/// # Errors
/// [`JobError::Conflict`] where it is no `key=value` or goes through what is no table. Whether the key is known and
/// the value fits is found when the job is read.
pub(super) fn apply(job: &mut Node, set: &str) -> Result<(), JobError> {
    let text: Arc<str> = set.into();
    let at = At::Set(text.clone());
    let conflict = |problem: String| JobError::Conflict {
        at: at.clone(),
        problem,
        fix: "write --set table.key=value, as in --set train.epochs=1".to_owned(),
    };
    let (path, value) = set.split_once('=').ok_or_else(|| conflict("there is no `=`".to_owned()))?;
    let path = path.trim();
    let path = ALIASES.iter().find(|(short, _)| *short == path).map_or(path, |(_, long)| long);
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(conflict("a part of the key is empty".to_owned()));
    }
    let last = keys.pop().unwrap_or_default();
    let mut table = as_table(job).ok_or_else(|| conflict("the job is no table".to_owned()))?;
    for key in keys {
        let entry = table
            .entry(key.to_owned())
            .or_insert_with(|| (at.clone(), Node { at: at.clone(), value: Value::Table(Table::new()) }));
        table = as_table(&mut entry.1).ok_or_else(|| conflict(format!("`{key}` is no table")))?;
    }
    table.insert(last.to_owned(), (at.clone(), tree::parse_value(&text, value.trim())));
    Ok(())
}

fn as_table(node: &mut Node) -> Option<&mut Table> {
    match &mut node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}
