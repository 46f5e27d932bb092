//! What is reported: runs, out of their folders, and benches, out of what they have printed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::job::Job;
use crate::run::checkpoint_at;
use crate::run::kept::checkpoint;
use crate::run::kept::folder::{JOB, METRICS, RESULT};
use crate::run::kept::lock::{self, Holder};
use crate::run::kept::results::{EpochReport, Outcome};
use crate::run::kept::slots::{FILE, SlotLog};
use crate::run::slots::slots_of;
use crate::run::{KeptError, RunError};

/// Why there is no page.
#[derive(Debug, Error)]
pub enum ReportError {
    /// There is no such file or folder, or it cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A folder is not that of a run.
    #[error("{folder} holds no run: found {holds}, expected {JOB}, as `mixnn run` writes it")]
    NoRun {
        /// The path of the folder.
        folder: PathBuf,
        /// What is in the folder, in words.
        holds: String,
    },
    /// A file is not what a bench has printed.
    #[error(
        "{path}, line {line}: found {found}, expected a line of what `mixnn bench ... --json` prints; the report of a run takes its \
         folder"
    )]
    NoBench {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What was found, in words.
        found: String,
    },
    /// A run's result cannot be understood.
    #[error("{path} is no result that this version of mixnn reads: {source}")]
    Result {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A run's job cannot be read, or the page not be written.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<KeptError> for ReportError {
    fn from(error: KeptError) -> Self {
        Self::Run(error.into())
    }
}

impl ReportError {
    /// The code with which the process exits because of this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            ReportError::Unreadable { .. } => 3,
            ReportError::NoRun { .. } | ReportError::NoBench { .. } | ReportError::Result { .. } => 2,
            ReportError::Run(error) => error.exit_code(),
        }
    }
}

/// What is told of on the page.
#[derive(Default)]
pub struct Given {
    /// The runs, in the order in which they were named.
    pub(super) runs: Vec<ReportedRun>,
    /// The benches, in the order in which they were named.
    pub(super) benches: Vec<ReportedBench>,
}

/// A run, as far as its folder tells.
pub(super) struct ReportedRun {
    /// What the run is called on the page: no other run there is called so.
    pub(super) label: String,
    pub(super) job: Job,
    /// The reports of the epochs that are through, in order.
    pub(super) epochs: Vec<EpochReport>,
    /// What the run came to. `None` where it is not done.
    pub(super) outcome: Option<Outcome>,
    /// Who works in the folder.
    pub(super) holder: Option<Holder>,
    /// What slots were like, or in words why that is not known.
    pub(super) slots: Result<SlotLog, String>,
    /// By stage on a rank, which rank hosts it, or in words why that is not known.
    pub(super) hosts: Result<Vec<u16>, String>,
}

/// What a bench has printed.
pub(super) struct ReportedBench {
    /// What the bench is called, as in `mixnn bench train`.
    pub(super) name: String,
    /// Where it was measured, and what the columns mean: names and values.
    pub(super) facts: Vec<(String, String)>,
    /// The rows: a value for each key of the bench's columns.
    pub(super) rows: Vec<Map<String, Value>>,
}

impl Given {
    /// Reads what `paths` name: folders of runs, and files of benches.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn read(paths: &[PathBuf]) -> Result<Self, ReportError> {
        let mut given = Self::default();
        let mut folders: Vec<&Path> = Vec::new();
        for path in paths {
            let about =
                fs::metadata(path).map_err(|source| ReportError::Unreadable { path: path.clone(), source })?;
            if about.is_dir() {
                given.runs.push(ReportedRun::read(path)?);
                folders.push(path);
            } else {
                given.benches.extend(benches(path)?);
            }
        }
        // The last part of its path is what a user calls a run, as long as no other ends alike.
        let name = |path: &Path| {
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
        };
        let names: Vec<String> = folders.iter().map(|path| name(path)).collect();
        for (at, run) in given.runs.iter_mut().enumerate() {
            let unique = names.iter().filter(|other| **other == names[at]).count() == 1;
            run.label = if unique { names[at].clone() } else { folders[at].display().to_string() };
        }
        Ok(given)
    }
}

impl ReportedRun {
    /// Reads the folder `run`.
    fn read(run: &Path) -> Result<Self, ReportError> {
        let job = run.join(JOB);
        if let Err(source) = fs::metadata(&job) {
            return Err(match source.kind() {
                ErrorKind::NotFound => ReportError::NoRun { folder: run.to_owned(), holds: contents(run) },
                _ => ReportError::Unreadable { path: job, source },
            });
        }
        let job = Job::load(&job, &[]).map_err(RunError::from)?;
        let path = run.join(RESULT);
        let outcome: Option<Outcome> = match fs::read(&path) {
            Ok(json) => Some(serde_json::from_slice(&json).map_err(|source| ReportError::Result { path, source })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(ReportError::Unreadable { path, source }),
        };
        let lines = fs::read_to_string(run.join(METRICS)).unwrap_or_default();
        let epochs = match &outcome {
            Some(outcome) => outcome.epochs.clone(),
            // A line that is being written is none yet.
            None => lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        };
        let slots = match slots_of(run, &job) {
            Ok(Some(slots)) => Ok(slots),
            Ok(None) => Err(format!("the folder has no {FILE}")),
            Err(error) => Err(error.to_string()),
        };
        let hosts = match &slots {
            Ok(slots) => Ok(slots.setup.hosts.clone()),
            Err(why) => planned(run, &job).map_err(|error| format!("{why}, and {error}")),
        };
        Ok(Self { label: String::new(), job, epochs, outcome, holder: lock::holder(run), slots, hosts })
    }

    /// Whether the run had no messages: one process did all.
    pub(super) fn is_single(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.profile == "single")
    }

    /// How much was protected, in a word.
    pub(super) fn profile(&self) -> &str {
        self.outcome.as_ref().map_or(self.job.mix.profile.name(), |outcome| &outcome.profile)
    }

    /// How many ranks there were, as far as that is known.
    pub(super) fn ranks(&self) -> Option<u16> {
        let known = self.slots.as_ref().ok().map(|slots| slots.setup.ranks).filter(|ranks| *ranks > 0);
        self.outcome.as_ref().map(|outcome| outcome.ranks).or(known)
    }

    /// What `rank` was, in words.
    pub(super) fn role(&self, rank: u16) -> String {
        let stage = self.hosts.iter().flatten().position(|host| *host == rank);
        let stage = stage.map(|stage| stage + self.job.remote().start + 1);
        match (rank, stage) {
            (0, _) => "owner".to_owned(),
            (rank, Some(stage)) => format!("{rank} · stage {stage}"),
            (rank, None) if self.hosts.is_ok() => format!("{rank} · relay"),
            (rank, None) => format!("rank {rank}"),
        }
    }
}

/// What is in the folder, in words.
fn contents(folder: &Path) -> String {
    const MOST: usize = 8;
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    match names.len() {
        0 => "nothing".to_owned(),
        1..=MOST => names.join(", "),
        all => format!("{} and {} more", names[..MOST].join(", "), all - MOST),
    }
}

/// By stage on a rank, which rank hosts it, as the newest checkpoint of the run of `job` in `run` says. An error says in words why that
/// is not known.
fn planned(run: &Path, job: &Job) -> Result<Vec<u16>, String> {
    let newest = checkpoint::newest(&run.join(checkpoint::FOLDER)).ok_or("there is no checkpoint")?;
    let checkpoint = checkpoint_at(&newest.path, run, job).map_err(|error| error.to_string())?;
    let plan = checkpoint.rest.plan.ok_or("the newest checkpoint is of a run without ranks")?;
    Ok(plan.drawn.roles().hosts.iter().map(|host| host.0).collect())
}

/// The benches in the file `path`: for each a line that says what was measured and where, then its rows.
fn benches(path: &Path) -> Result<Vec<ReportedBench>, ReportError> {
    let bytes = fs::read(path).map_err(|source| ReportError::Unreadable { path: path.to_owned(), source })?;
    let wrong =
        |line: usize, found: &str| ReportError::NoBench { path: path.to_owned(), line, found: found.to_owned() };
    let text = String::from_utf8(bytes).map_err(|_| wrong(1, "bytes that are no text"))?;
    let mut benches: Vec<ReportedBench> = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else {
            return Err(wrong(number, "no JSON object"));
        };
        match (object.get("bench").and_then(Value::as_str), benches.last_mut()) {
            (Some(name), _) => {
                let pairs = |key: &str| object.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
                let facts = pairs("machine").into_iter().chain(pairs("settings"));
                let facts = facts.map(|(name, value)| (name, words(&value))).collect();
                benches.push(ReportedBench { name: name.to_owned(), facts, rows: Vec::new() });
            }
            (None, Some(bench)) => bench.rows.push(object),
            (None, None) => return Err(wrong(number, "an object without \"bench\"")),
        }
    }
    if benches.is_empty() { Err(wrong(1, "nothing")) } else { Ok(benches) }
}

/// A value as words.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) if number.is_f64() => super::scale::short(number.as_f64().unwrap_or(f64::NAN)),
        value => value.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What `bench train --json` prints, shortened.
    pub(in super::super) const BENCH: &str = r#"{"bench":"train","machine":{"host":"<node>","version":"0.1.0"},"settings":{"job":"digits"}}
{"way":"single","ranks":1,"hops":null,"median_s":0.5,"low_s":0.4,"high_s":0.7,"to_single":1.0,"weights":"abc"}
{"way":"mixed","ranks":7,"hops":3,"median_s":1.25,"low_s":1.0,"high_s":1.5,"to_single":2.5,"weights":"abc"}
"#;

    fn error(path: &Path) -> ReportError {
        Given::read(&[path.to_owned()]).err().unwrap()
    }

    #[test]
    fn what_is_no_run_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let none = error(&temp.path().join("none"));
        assert!(matches!(none, ReportError::Unreadable { .. }) && none.exit_code() == 3, "{none}");
        let empty = error(temp.path());
        assert!(matches!(&empty, ReportError::NoRun { holds, .. } if holds == "nothing"), "{empty}");
        (10..20).for_each(|name| fs::write(temp.path().join(name.to_string()), "").unwrap());
        let foreign = error(temp.path());
        assert!(
            foreign.to_string().contains("10, 11, 12, 13, 14, 15, 16, 17 and 2 more") && foreign.exit_code() == 2
        );
        fs::write(temp.path().join(JOB), "name = 7").unwrap();
        assert_eq!(error(temp.path()).exit_code(), 2);
        fs::write(temp.path().join(JOB), include_str!("../../jobs/digits.toml")).unwrap();
        fs::write(temp.path().join(RESULT), "{}").unwrap();
        assert!(matches!(error(temp.path()), ReportError::Result { .. }));
    }

    /// A run that has just begun has a job, and nothing else.
    #[test]
    fn a_run_that_has_just_begun_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("night");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(JOB), include_str!("../../jobs/digits.toml")).unwrap();
        fs::write(folder.join(METRICS), "{\"format\":1,\"epo").unwrap();
        let twice = Given::read(&[folder.clone(), folder.join(".")]).unwrap();
        let run = &twice.runs[0];
        assert!(run.epochs.is_empty() && run.outcome.is_none() && run.slots.is_err() && run.ranks().is_none());
        assert!(run.hosts.as_ref().unwrap_err().contains("no slots.bin, and there is no checkpoint"));
        assert_eq!((run.role(0), run.role(3), run.profile()), ("owner".into(), "rank 3".into(), "mixed"));
        // Runs of one name are told apart by their paths.
        assert_ne!(twice.runs[0].label, twice.runs[1].label);
        assert_eq!(Given::read(&[folder]).unwrap().runs[0].label, "night");
    }

    #[test]
    fn benches_are_read_line_by_line() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("bench.json");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            benches(&path)
        };
        let found = read(format!("{BENCH}\n{BENCH}").as_bytes()).unwrap();
        assert_eq!(found.iter().map(|bench| (&*bench.name, bench.rows.len())).collect::<Vec<_>>(), [("train", 2); 2]);
        assert!(found[0].facts.contains(&("host".to_owned(), "<node>".to_owned())));
        assert_eq!(words(&found[0].rows[0]["hops"]), "-");
        for (text, at, words) in [
            (&b""[..], 1, "nothing"),
            (b"# mixnn bench train", 1, "no JSON object"),
            (b"[1]", 1, "no JSON object"),
            (b"\n{\"way\":1}", 2, "without \"bench\""),
            (b"\xff\xfe", 1, "no text"),
        ] {
            let error = read(text).err().unwrap();
            let ReportError::NoBench { line, found, .. } = &error else { panic!("{error}") };
            assert!(*line == at && found.contains(words) && error.exit_code() == 2, "{error}");
        }
    }
}
