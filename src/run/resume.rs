//! Whether a job may go on from a checkpoint: all that its bits depend on must be what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::{Table, Value};
use zeroize::Zeroizing;

use super::RunError;
use super::kept::checkpoint::{Checkpoint, Reached};
use super::kept::results::VERSION;
use super::kept::weights::Weights;
use super::kept::{KeptError, hex, owner_key};
use crate::job::Job;
use crate::memory;
use crate::nn::StageSpec;
use crate::nn::snapshot::{self, Snapshot};

/// The tables of which every key may change from one start to the next: the bits of the result do not depend on them. `mix.wire` is
/// the exception.
const FREE_TABLES: [&str; 5] = ["mix.", "transport.", "trust.", "output.", "checkpoint."];
/// Other keys that may change. That files say the same, their digests show, and what computes, the fingerprint.
const FREE: [&str; 9] = [
    "train.loss_at",
    "compute.threads",
    "compute.overlap",
    "compute.aead",
    "compute.backend",
    "data.path",
    "data.test",
    "data.labels",
    "data.test_labels",
];

/// Whether `key` may change.
fn may_change(key: &str, job: &Job) -> bool {
    let free_table = FREE_TABLES.iter().any(|table| key.starts_with(table)) && key != "mix.wire";
    // What falls over all epochs falls otherwise where there are more of them.
    let epochs = key == "train.epochs" && !job.train.rate.decay.spans_the_run();
    free_table || epochs || FREE.contains(&key) || key == "init.from"
}

/// Reads the checkpoint in `path`, of a run of `job` in `folder`.
///
/// # Errors
/// [`RunError::Kept`]: the file or the owner's key cannot be read, or is not what it should be.
pub fn checkpoint_at(path: &Path, folder: &Path, job: &Job) -> Result<Checkpoint, RunError> {
    // Where there is no such file, that is what is told, and not that it has no key.
    std::fs::metadata(path).map_err(|source| KeptError::Read { path: path.to_owned(), source })?;
    let key_path = owner_key::path(&job.checkpoint, folder);
    Ok(Checkpoint::read(path, &owner_key::read(&key_path)?, &key_path)?)
}

/// Checks that `job` is that of `checkpoint`, but for what may change. A seed that was drawn for lack of one is replaced by the
/// checkpoint's.
///
/// # Errors
/// [`RunError::OtherJob`], [`RunError::Kept`].
pub(super) fn fit_job(job: &mut Job, checkpoint: &Checkpoint) -> Result<(), RunError> {
    let path = checkpoint.path().to_owned();
    if checkpoint.header.version != VERSION {
        let found = format!("one of mixnn {}, this is {VERSION}", checkpoint.header.version);
        return Err(KeptError::Format { path, found }.into());
    }
    let then = Job::parse(&path.display().to_string(), &checkpoint.rest.job, &[])?;
    if job.seed_drawn {
        job.seed.clone_from(&then.seed);
    }
    // A number that the job leaves open was chosen when the run began: its bits depend on it.
    if job.train.micro_batch_open {
        job.train.micro_batch = then.train.micro_batch;
        job.train.micro_batch_open = false;
    }
    let mut differences = differences(&then, job);
    let reached = checkpoint.header.reached;
    if reached > (Reached { epochs: job.train.epochs, batches: 0 }) {
        differences.push(format!("train.epochs is {} here, and {reached} are through there", job.train.epochs));
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(RunError::OtherJob { path, differences: differences.join("; ") }),
    }
}

/// Checks that the data, whose digest is `data`, and the file `init` of `init.from` are those with which `checkpoint` was written, and
/// that its states are those of stages of these `specs`.
///
/// # Errors
/// [`RunError::OtherJob`], [`RunError::Kept`].
pub(super) fn fit_data(
    data: [u8; 32],
    init: Option<&Path>,
    specs: &[StageSpec],
    checkpoint: &Checkpoint,
) -> Result<(), RunError> {
    let other = |what: &str| {
        let differences = format!("{what} have changed since");
        Err(RunError::OtherJob { path: checkpoint.path().to_owned(), differences })
    };
    if hex(&data) != checkpoint.header.data {
        return other("the data");
    }
    if specs.iter().map(snapshot::length).collect::<Vec<_>>() != checkpoint.lengths {
        return Err(other_network(checkpoint));
    }
    // The values that the file gave are in the checkpoint, and much has been learned since. So the file need not be there any more.
    let now = init.and_then(|from| Weights::read(from).ok());
    match (now, checkpoint.rest.init) {
        (Some(now), Some(then)) if now.digest() != then => other("the values of init.from"),
        _ => Ok(()),
    }
}

/// The states of the stages `which` in `checkpoint`, for stages of these `specs`.
///
/// # Errors
/// [`RunError::Kept`]; [`RunError::Memory`].
pub(super) fn states(
    checkpoint: &Checkpoint,
    specs: &[StageSpec],
    which: Range<usize>,
) -> Result<Vec<Snapshot>, RunError> {
    let mut all = Vec::new();
    for spec in &specs[which.clone()] {
        all.push(Zeroizing::new(memory::room(usize::try_from(snapshot::length(spec)).unwrap_or(usize::MAX))?));
    }
    checkpoint.states(|stage, piece| {
        if which.contains(&stage) {
            all[stage - which.start].extend_from_slice(piece);
        }
        Ok::<(), RunError>(())
    })?;
    let read = |(bytes, spec)| Snapshot::from_bytes(spec, bytes).ok_or_else(|| other_network(checkpoint));
    all.into_iter().zip(&specs[which.clone()]).map(read).collect()
}

/// The error for states that are none of the job's stages. The job is the same, so that this takes another program.
fn other_network(checkpoint: &Checkpoint) -> RunError {
    let found = "states of other stages than the job's".to_owned();
    KeptError::Format { path: checkpoint.path().to_owned(), found }.into()
}

/// What differs between the job `then` and `now`, in words, but for what may change.
fn differences(then: &Job, now: &Job) -> Vec<String> {
    let [before, after] = [then, now].map(|job| flat(&job.to_toml()));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("absent".to_owned(), String::clone);
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key) && !may_change(key, now))
        .map(|key| format!("{key} is {} there and {} here", shown(before.get(key)), shown(after.get(key))))
        .collect()
}

/// Every key of a job with its value, by the way to it.
fn flat(toml: &str) -> BTreeMap<String, String> {
    fn walk(way: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Table(table) => {
                let dot = if way.is_empty() { "" } else { "." };
                table.iter().for_each(|(key, value)| walk(&format!("{way}{dot}{key}"), value, into));
            }
            Value::Array(items) if items.iter().any(Value::is_table) => {
                items.iter().zip(1..).for_each(|(item, number)| walk(&format!("{way}[{number}]"), item, into));
            }
            value => {
                into.insert(way.to_owned(), value.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk("", &Value::Table(toml.parse::<Table>().unwrap_or_default()), &mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(sets: &[&str]) -> Job {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap()
    }

    #[test]
    fn what_bits_depend_on_may_not_change() {
        for (set, words) in [
            ("train.batch=16", "train.batch is 32 there and 16 here"),
            ("seed=8", "seed is "),
            ("mix.wire=bf16", "mix.wire is \"f32\" there and \"bf16\" here"),
            ("data.validation=0.2", "data.validation is "),
            ("train.clip={ norm = 1.0 }", "train.clip.norm is absent there and 1.0 here"),
            ("compute.precision=bf16", "compute.precision is "),
            ("name=another", "name is \"digits\" there and \"another\" here"),
        ] {
            let found = differences(&job(&[]), &job(&[set]));
            assert!(found.len() == 1 && found[0].starts_with(words), "{set}: {found:?}");
        }
        let [mut two, one] = [job(&[]), job(&[])];
        two.stages.pop();
        assert!(differences(&one, &two).iter().all(|line| line.starts_with("stage[")));
    }

    #[test]
    fn what_they_do_not_depend_on_may_change() {
        let sets = [
            "train.epochs=99",
            "train.loss_at=last",
            "mix.profile=sealed",
            "mix.relays=5",
            "mix.pace=auto",
            "transport.timeout=5s",
            "transport.windows=false",
            "compute.threads=3",
            "output.timing=true",
            "checkpoint.keep=9",
        ];
        assert_eq!(differences(&job(&[]), &job(&sets)), Vec::<String>::new());
        let cosine = "train.schedule={ kind = \"cosine\" }";
        let found = differences(&job(&[cosine]), &job(&[cosine, "train.epochs=99"]));
        assert!(found.len() == 1 && found[0].starts_with("train.epochs is "), "{found:?}");
    }
}
