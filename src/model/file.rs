//! The file of a model: the parameters of a machine, what they were measured on, and the runs that they were held against.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::NamedTempFile;
use thiserror::Error;

use super::speeds::Speeds;

/// What the file says that it is.
const KIND: &str = "mixnn model";
/// The version of the file's format.
const FORMAT: u64 = 1;
/// The longest such file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// What `mixnn bench model` leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// What the file is. Every such file says the same.
    kind: String,
    /// The version of the file's format.
    format: u64,
    /// Where and how it was measured.
    pub on: MeasuredOn,
    /// The parameters that were fitted.
    pub speeds: Speeds,
    /// The runs that the parameters were held against. None of them was used to find the parameters.
    pub held: Vec<HeldRun>,
}

/// Where, when and how a model was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredOn {
    /// The version of mixnn that measured.
    pub version: String,
    /// The commit from which the program was built.
    pub commit: String,
    /// The day, as in 2026-11-30 (UTC).
    pub date: String,
    /// The model of the processor.
    pub processor: String,
    /// What the bits of arithmetic depend on.
    pub fingerprint: String,
    /// What carried the messages of the ranks.
    pub messages: String,
    /// How many ranks have measured it.
    pub ranks: u16,
    /// On how many hosts they were: one, or several.
    pub one_host: bool,
}

/// A run that a model was held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRun {
    /// What was run, in words.
    pub job: String,
    /// How it was run: `single`, or a profile.
    pub way: String,
    /// How many ranks ran it.
    pub ranks: u16,
    /// How many seconds of an epoch the model has predicted.
    pub predicted: f64,
    /// How many seconds an epoch took.
    pub measured: f64,
}

impl HeldRun {
    /// By how much of what was measured the prediction is off: 0.1 where it is 10 % more.
    pub fn off(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// Why there is no model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {source}; mixnn bench model makes one", path.display())]
    Read {
        /// The file of the model.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is none that this version can use.
    #[error("{} is no model for this version of mixnn: found {found}, expected {expected}; make it anew with mixnn bench model --out {0}", path.display())]
    Foreign {
        /// The file of the model.
        path: PathBuf,
        /// What was found in the file.
        found: String,
        /// What should stand in it.
        expected: String,
    },
    /// The file cannot be written.
    #[error("cannot write the model {}: {source}; name another file with --out", path.display())]
    Write {
        /// The file of the model.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl ModelFile {
    /// A model of these `speeds`, measured `on` a machine, and `held` against runs.
    pub fn new(on: MeasuredOn, speeds: Speeds, held: Vec<HeldRun>) -> Self {
        Self { kind: KIND.to_owned(), format: FORMAT, on, speeds, held }
    }

    /// Reads the model in the file `path`.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Foreign`].
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let unread = |source| ModelError::Read { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(unread)?.len();
        if length > LONGEST {
            return Err(foreign(path, format!("{length} bytes"), format!("at most {LONGEST}")));
        }
        let bytes = fs::read(path).map_err(unread)?;
        Self::parse(path, &bytes)
    }

    /// Reads the model in `bytes`, which stand in the file `path`.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let shown = |error: serde_json::Error| error.to_string();
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| foreign(path, shown(error), "JSON".to_owned()))?;
        if value["kind"] != KIND {
            let found =
                if value["kind"].is_null() { "no kind".to_owned() } else { format!("kind {}", value["kind"]) };
            return Err(foreign(path, found, format!("kind {KIND:?}")));
        }
        if value["format"] != FORMAT {
            return Err(foreign(path, format!("format {}", value["format"]), format!("format {FORMAT}")));
        }
        let model: Self = serde_json::from_value(value)
            .map_err(|error| foreign(path, shown(error), "the keys of such a file".to_owned()))?;
        if !model.speeds.are_possible() {
            let expected = "numbers of at least 0, cores above 0, and an `uneven` up to 1".to_owned();
            return Err(foreign(path, "parameters that no machine has".to_owned(), expected));
        }
        if !model.held.iter().all(|held| held.measured > 0.0 && held.predicted.is_finite()) {
            return Err(foreign(path, "a run that took no time".to_owned(), "times above 0".to_owned()));
        }
        Ok(model)
    }

    /// Writes the model to the file `path`, in the place of what stands there. The folder is made where there is none.
    ///
    /// # Errors
    /// [`ModelError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        let folder = folder(path);
        let written = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(format!("{}\n", serde_json::to_string_pretty(self)?).as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        written().map_err(|source| ModelError::Write { path: path.to_owned(), source })
    }

    /// Checks that a model can be written to the file `path`, and makes its folder.
    ///
    /// # Errors
    /// [`ModelError::Write`].
    pub fn can_write(path: &Path) -> Result<(), ModelError> {
        let folder = folder(path);
        let tried = || fs::create_dir_all(folder).and_then(|()| NamedTempFile::new_in(folder).map(drop));
        tried().map_err(|source| ModelError::Write { path: path.to_owned(), source })
    }

    /// By how much the model was off at most in the runs that it was held against, and in how many: those in one process if `single`, else
    /// those on ranks. `None` where there were none.
    pub fn error(&self, single: bool) -> Option<(f64, usize)> {
        let runs: Vec<f64> =
            self.held.iter().filter(|held| (held.way == "single") == single).map(|held| held.off().abs()).collect();
        (!runs.is_empty()).then(|| (runs.iter().copied().fold(0.0, f64::max), runs.len()))
    }
}

impl MeasuredOn {
    /// Today's date, as in 2026-11-30 (UTC).
    pub fn today() -> String {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        date(since.as_secs() / 86_400)
    }
}

/// The date `days` days after the first of January 1970, in the Gregorian calendar.
fn date(days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

/// The folder of the file `path`.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for a file that is no model.
fn foreign(path: &Path, found: String, expected: String) -> ModelError {
    ModelError::Foreign { path: path.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelFile {
        let on = MeasuredOn {
            version: "0.1.0".to_owned(),
            commit: "unknown".to_owned(),
            date: "2026-11-30".to_owned(),
            processor: "a processor".to_owned(),
            fingerprint: "cpu".to_owned(),
            messages: "threads".to_owned(),
            ranks: 7,
            one_host: true,
        };
        let held = |way: &str, predicted| HeldRun {
            job: "mlp".to_owned(),
            way: way.to_owned(),
            ranks: 7,
            predicted,
            measured: 2.0,
        };
        ModelFile::new(on, Speeds::unmeasured(), vec![held("single", 1.0), held("mixed", 2.2), held("mixed", 1.9)])
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet/model.json");
        for _ in 0..2 {
            model().write(&path).unwrap();
        }
        assert_eq!(ModelFile::read(&path).unwrap(), model());
        let (off, runs) = model().error(false).unwrap();
        assert!((off - 0.1).abs() < 1e-12 && runs == 2);
        assert_eq!(model().error(true), Some((0.5, 1)));
        assert_eq!(ModelFile { held: Vec::new(), ..model() }.error(true), None);
    }

    /// Whoever has a file that does not serve is told what stands in it, what should, and what to do.
    #[test]
    fn files_of_others_are_refused() {
        let text = serde_json::to_string(&model()).unwrap();
        let path = Path::new("model.json");
        for (bytes, found, expected) in [
            (String::new(), "EOF", "expected JSON"),
            (text[..text.len() / 2].to_owned(), "EOF", "expected JSON"),
            ("{}".to_owned(), "found no kind", "expected kind \"mixnn model\""),
            ("[1]".to_owned(), "found no kind", "expected kind"),
            (text.replace(KIND, "another"), "found kind \"another\"", "expected kind"),
            (text.replace("\"format\":1", "\"format\":2"), "found format 2", "expected format 1"),
            (text.replace("\"latency\"", "\"latent\""), "latent", "expected the keys of such a file"),
            (text.replace("\"cores\":2.0", "\"cores\":0.0"), "that no machine has", "cores above 0"),
            (text.replace("\"latency\":5e-6", "\"latency\":-1"), "that no machine has", "at least 0"),
            (text.replace("\"uneven\":0.5", "\"uneven\":1.5"), "that no machine has", "up to 1"),
            (text.replace("\"measured\":2.0", "\"measured\":0.0"), "a run that took no time", "above 0"),
        ] {
            let told = ModelFile::parse(path, bytes.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(found) && told.contains(expected), "{bytes}: {told}");
            assert!(told.contains("mixnn bench model --out model.json"), "{told}");
        }
        let absent = ModelFile::read(Path::new("no/such/file")).unwrap_err().to_string();
        assert!(absent.contains("cannot read the model no/such/file") && absent.contains("mixnn bench model"));
    }

    #[test]
    fn days_have_dates() {
        for (days, date_of) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_787, "2026-11-30"),
        ] {
            assert_eq!(date(days), date_of);
        }
        assert_eq!(MeasuredOn::today().len(), 10);
    }
}
