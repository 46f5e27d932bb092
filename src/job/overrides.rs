//! `--set train.epochs=1`: one value laid on top of a job.

use std::sync::Arc;

use super::JobError;
use super::at::At;
use super::tree::{self, Node, Table, Value};

/// Shorter names that `--set` takes for some keys, each with the key that it stands for.
const ALIASES: [(&str, &str); 2] =
    [("train.lr", "train.optimizer.lr"), ("train.momentum", "train.optimizer.momentum")];

/// Keys whose value may be a word alone. The word is short for a table with that `kind`.
const KINDS: [&str; 3] = ["train.loss", "train.optimizer", "train.schedule"];

/// Lays `set`, a `key=value`, on `job`. Where the key goes on below a word that is short for a table, the word becomes that table.
///
/// # Errors
/// [`JobError::Conflict`] where `set` is no `key=value`, or its key goes on below something other than a table. Whether the key is
/// known and the value fits shows when the job is read.
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

/// The table in `node`, which stands under `path`. A word that is short for a table becomes that table. Where something else stands
/// there, it comes back as the error.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};
    use crate::job::{Loss, Optimizer};

    #[test]
    fn sets_go_on_top() {
        let job =
            parse(JOB, &["train.epochs=9", "train.lr=0.05", "mix.relays=5", "name=other", "data.validation=0.25"])
                .unwrap();
        assert_eq!(job.train.epochs, 9);
        assert_eq!((job.train.optimizer, job.train.rate.peak), (Optimizer::sgd(0.9), 0.05));
        assert_eq!((job.mix.relays, job.name.as_str(), job.data.validation), (5, "other", 0.25));
        assert!(refused(JOB, &["train.epochs"]).contains("there is no `=`"));
        let found = refused(JOB, &["name.first=1"]);
        let due = "`name` is the string \"test\", not a table; set all of it, with --set name=value";
        assert!(found.ends_with(due), "{found}");
        assert!(
            refused(JOB, &["train.epochs=many"])
                .contains("--set train.epochs=many: `train.epochs` is the string \"many\"")
        );
    }

    /// A word that is short for a table means that table, also where a `--set` goes on below it.
    #[test]
    fn a_short_form_opens_into_its_table() {
        let with = |line: &str| JOB.replace("optimizer = { kind = \"sgd\", lr = 0.1, momentum = 0.9 }", line);
        let words = with("optimizer = \"adamw\"\nloss = \"cross_entropy\"\nschedule = \"cosine\"");
        let tables = with(
            "optimizer = { kind = \"adamw\" }\nloss = { kind = \"cross_entropy\" }\nschedule = { kind = \"cosine\" }",
        );
        assert_eq!(parse(&words, &[]).unwrap(), parse(&tables, &[]).unwrap());
        assert_eq!(parse(&with("optimizer = \"sgd\""), &[]).unwrap(), parse(&with(""), &[]).unwrap());
        let sets = ["train.loss.label_smoothing=0.1", "train.lr=0.01", "train.schedule.warmup=5"];
        let job = parse(&words, &sets).unwrap();
        assert_eq!(job, parse(&tables, &sets).unwrap());
        assert_eq!(job.train.loss, Loss::CrossEntropy { smoothing: 0.1, ignored: None });
        assert_eq!((job.train.optimizer.weight_decay, job.train.rate.peak, job.train.rate.warmup), (0.01, 0.01, 5));
        // A word on top takes the whole table's place, and a later one goes on below it.
        let job = parse(JOB, &["train.optimizer=adam", "train.optimizer.eps=1e-6"]).unwrap();
        assert_eq!(job, parse(JOB, &["train.optimizer={ kind = \"adam\", eps = 1e-6 }"]).unwrap());
        assert!(KINDS.iter().all(|key| parse(&words, &[&format!("{key}.warp=1")]).is_err()));
        // Errors point at the word, or at what went on below it.
        for (line, sets, words) in [
            (
                "optimizer = \"adamx\"",
                &[][..],
                "job.toml:12:13: `train.optimizer` is the string \"adamx\"; expected \"sgd\"",
            ),
            (
                "optimizer = 3",
                &[],
                "job.toml:12:13: `train.optimizer` is the integer 3; expected \"sgd\" or \"adam\"",
            ),
            ("optimizer = \"adamx\"", &["train.lr=1"], "job.toml:12:13: `optimizer.kind` is the string \"adamx\""),
            (
                "loss = \"mean_squared_error\"",
                &["train.loss.ignore_index=1"],
                "--set train.loss.ignore_index=1: unknown key",
            ),
            ("schedule = \"step\"", &[], "job.toml:12:12: [schedule] lacks the key `every`"),
            ("optimizer = 3", &["train.lr=1"], "--set train.lr=1: `train.optimizer` is the integer 3, not a table"),
        ] {
            let found = refused(&with(line), sets);
            assert!(found.starts_with(words), "{line} {sets:?}: {found}");
        }
    }
}
