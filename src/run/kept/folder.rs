//! The folder of a run, and files that appear whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::lock::{Holder, Lock};
use super::{KeptError, checkpoint};
use crate::whole;

/// The name of the file with a run's resolved job.
pub const JOB: &str = "job.toml";
/// The name of the file with a run's model.
pub const MODEL: &str = "model.safetensors";
/// The name of the file with a run's epochs, one in each line.
pub const METRICS: &str = "metrics.jsonl";
/// The name of the file with what a run came to.
pub const RESULT: &str = "result.json";
/// The permissions of files that their owner alone may read and write.
const PRIVATE: u32 = 0o600;

/// How the names of files begin that are not whole yet.
const UNFINISHED: &str = ".unfinished-";

/// The folder of a run: `runs/NAME/`, or what `--out` names. No other process works in it.
pub struct Folder {
    path: PathBuf,
    _lock: Lock,
}

/// The folder of a run of the name `name`, unless `--out` names another.
pub fn usual(name: &str) -> PathBuf {
    Path::new("runs").join(name)
}

impl Folder {
    /// Makes the folder `out` for `holder`, which must not exist. Without it, makes the first of `runs/NAME`, `runs/NAME-2`, ...
    /// that does not exist.
    ///
    /// # Errors
    /// [`KeptError::FolderExists`], [`KeptError::Unfinished`], [`KeptError::NoFolder`].
    pub fn create(out: Option<&Path>, name: &str, holder: &Holder) -> Result<Self, KeptError> {
        let Some(out) = out else { return Self::numbered(&usual(name), holder) };
        match made(out) {
            Ok(()) => Self::locked(out, holder, Duration::ZERO),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(in_the_way(out)),
            Err(source) => Err(KeptError::NoFolder { path: out.to_owned(), source }),
        }
    }

    /// Makes the first folder of `first`, `first-2`, ... for `holder` that does not exist.
    ///
    /// # Errors
    /// [`KeptError::NoFolder`].
    fn numbered(first: &Path, holder: &Holder) -> Result<Self, KeptError> {
        let mut count = 1;
        loop {
            let mut path = first.to_owned().into_os_string();
            if count > 1 {
                path.push(format!("-{count}"));
            }
            let path = PathBuf::from(path);
            match made(&path) {
                Ok(()) => return Self::locked(&path, holder, Duration::ZERO),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => count += 1,
                Err(source) => return Err(KeptError::NoFolder { path, source }),
            }
        }
    }

    /// Opens the folder `path` for `holder`, with whatever an earlier start of the run has left there, or makes it. Waits up to
    /// `patience` for another process that works in it.
    ///
    /// # Errors
    /// [`KeptError::NoFolder`], [`KeptError::Foreign`], [`KeptError::Busy`], [`KeptError::Write`].
    pub fn open(path: &Path, holder: &Holder, patience: Duration) -> Result<Self, KeptError> {
        fs::create_dir_all(path).map_err(|source| KeptError::NoFolder { path: path.to_owned(), source })?;
        let names = names(path);
        let is_free = names.iter().all(|name| name.starts_with('.'));
        if !is_free && !names.iter().any(|name| name == JOB) {
            return Err(KeptError::Foreign { folder: path.to_owned(), holds: names.join(", ") });
        }
        let folder = Self::locked(path, holder, patience)?;
        // What an earlier process did not bring to its end is of no use to anyone.
        for within in [path.to_owned(), path.join(checkpoint::FOLDER)] {
            let unfinished = self::names(&within).into_iter().filter(|name| name.starts_with(UNFINISHED));
            unfinished.for_each(|name| drop(fs::remove_file(within.join(name))));
        }
        Ok(folder)
    }

    /// Takes the lock on the folder `path`, which is there.
    fn locked(path: &Path, holder: &Holder, patience: Duration) -> Result<Self, KeptError> {
        Ok(Self { path: path.to_owned(), _lock: Lock::take(path, holder, patience)? })
    }

    /// Whether a run has come to its end in the folder.
    pub fn is_done(&self) -> bool {
        [MODEL, RESULT].iter().all(|name| self.path.join(name).is_file())
    }

    /// Makes the folder `name` within this one, where it is not there yet, for its owner alone. Returns its path.
    ///
    /// # Errors
    /// [`KeptError::NoFolder`].
    pub fn make(&self, name: &str) -> Result<PathBuf, KeptError> {
        let path = self.path.join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(KeptError::NoFolder { path, source }),
            _ => Ok(path),
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `content` to the file `name` of the folder, whole or not at all.
    ///
    /// # Errors
    /// [`KeptError::Write`], [`KeptError::Overtaken`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), KeptError> {
        write_atomically(&self.path.join(name), content)
    }

    /// Writes `content` to the file `name` of the folder, whole or not at all, in the place of what stands there.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn rewrite(&self, name: &str, content: &[u8]) -> Result<(), KeptError> {
        let mut file = nameless(&self.path)?;
        let path = self.path.join(name);
        let written = file.write_all(content).and_then(|()| file.as_file().sync_all());
        written.map_err(|source| KeptError::Write { path: path.clone(), source })?;
        replace(file, &path)
    }

    /// Adds `line` and an end of line to the file `name` of the folder, which is made where it is not there.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn append(&self, name: &str, line: &str) -> Result<(), KeptError> {
        let path = self.path.join(name);
        let appended = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(PRIVATE)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        appended.map_err(|source| KeptError::Write { path, source })
    }
}

/// Makes the folder `path`, and all that it stands in. Fails with [`ErrorKind::AlreadyExists`] where something stands at `path` itself.
fn made(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        // Where a file is in the way of the parent, no other name for the folder helps.
        fs::create_dir_all(parent).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
    }
    fs::create_dir(path)
}

/// The names of all that is in `folder`, in order. Empty where it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The error for a folder `out` that is there already. Where it holds a run that was begun and not finished, the error
/// says so: it is in the way whenever the user tries again.
fn in_the_way(out: &Path) -> KeptError {
    let names = names(out);
    let begun = names.iter().any(|name| name == JOB);
    let finished = names.iter().any(|name| name == MODEL || name == RESULT);
    match begun && !finished {
        true => {
            let shown: Vec<String> = names.into_iter().filter(|name| !name.starts_with('.')).collect();
            KeptError::Unfinished { folder: out.to_owned(), holds: shown.join(", ") }
        }
        false => KeptError::FolderExists(out.to_owned()),
    }
}

/// Writes `content` to `path`, whole or not at all, readable by its owner alone. A file that stands there already stays
/// as it is.
///
/// # Errors
/// [`KeptError::Write`], [`KeptError::Overtaken`].
pub(in crate::run) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), KeptError> {
    Pending::new(path, PRIVATE)?.write(content)
}

/// A file that is to be written later. That it can be written is known now. Until then it has a temporary name in the
/// same folder. Dropped before, it leaves nothing.
pub struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Makes ready to write `path`, readable by its owner alone. Nothing may stand there yet. Errors name `option`, the
    /// option of the command line that names the path.
    ///
    /// # Errors
    /// [`KeptError::FileExists`], also where a folder or a link stands there; [`KeptError::Write`].
    pub fn fresh(path: &Path, option: &'static str) -> Result<Self, KeptError> {
        Self::absent(path, option)?;
        Self::new(path, PRIVATE)
    }

    /// Does what [`fresh`](Self::fresh) does, but the file will be readable by all whom the umask lets read it.
    ///
    /// # Errors
    /// As [`fresh`](Self::fresh).
    pub fn fresh_for_all(path: &Path, option: &'static str) -> Result<Self, KeptError> {
        Self::absent(path, option)?;
        Self::new(path, 0o666)
    }

    /// Checks that nothing stands at `path`.
    fn absent(path: &Path, option: &'static str) -> Result<(), KeptError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Err(KeptError::FileExists { path: path.to_owned(), option }),
            Err(_) => Ok(()),
        }
    }

    /// Makes a temporary file with the permissions `mode` in the folder of `path`.
    fn new(path: &Path, mode: u32) -> Result<Self, KeptError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder);
        let file = file.map_err(|source| KeptError::Write { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The path at which the file will appear.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `content` and gives the file its name, whole or not at all.
    ///
    /// # Errors
    /// [`KeptError::Write`]; [`KeptError::Overtaken`] where something stands there by now. Then `content` is in a file
    /// beside it.
    pub fn write(mut self, content: &[u8]) -> Result<(), KeptError> {
        let Self { file, path } = &mut self;
        let written = file.write_all(content).and_then(|()| file.as_file().sync_all());
        written.map_err(|source| KeptError::Write { path: path.clone(), source })?;
        name(self.file, &self.path)
    }
}

/// A file without a name yet in `folder`, readable by its owner alone. Dropped, it leaves nothing.
///
/// # Errors
/// [`KeptError::Write`].
pub(super) fn nameless(folder: &Path) -> Result<NamedTempFile, KeptError> {
    let mut builder = tempfile::Builder::new();
    let file = builder.prefix(UNFINISHED).permissions(fs::Permissions::from_mode(PRIVATE)).tempfile_in(folder);
    file.map_err(|source| KeptError::Write { path: folder.to_owned(), source })
}

/// Gives `file` the name `path`, where nothing may stand.
///
/// # Errors
/// [`KeptError::Write`]; [`KeptError::Overtaken`] where something stands there. Then the file has a name beside it.
pub(super) fn name(file: NamedTempFile, path: &Path) -> Result<(), KeptError> {
    let Err(refused) = whole::persist(file, path) else {
        return Ok(());
    };
    let path = path.to_owned();
    let kept = match refused.error.kind() {
        ErrorKind::AlreadyExists => refused.file.keep(),
        _ => return Err(KeptError::Write { path, source: refused.error }),
    };
    Err(match kept {
        Ok((_, kept)) => KeptError::Overtaken { path, kept },
        Err(lost) => KeptError::Write { path, source: lost.error },
    })
}

/// Gives `file`, whose bytes are on the disk, the name `path`, in the place of what stands there. When this returns, the name is on
/// the disk, too.
///
/// # Errors
/// [`KeptError::Write`].
pub(super) fn replace(file: NamedTempFile, path: &Path) -> Result<(), KeptError> {
    let named = file.persist(path).map_err(|refused| refused.error).and_then(|_| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    });
    named.map_err(|source| KeptError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder::here("here", None)
    }

    /// What an earlier start has left stays, but for what it did not finish. A folder with something else is nobody's run.
    #[test]
    fn a_folder_is_opened_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/run");
        let open = || Folder::open(&path, &holder(), Duration::ZERO);
        let made = open().unwrap();
        made.write(JOB, b"1").unwrap();
        let checkpoints = made.make(checkpoint::FOLDER).unwrap();
        assert_eq!(fs::metadata(&checkpoints).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(made.make(checkpoint::FOLDER).is_ok() && !made.is_done());
        for within in [&path, &checkpoints] {
            fs::write(within.join(format!("{UNFINISHED}1")), "").unwrap();
            fs::write(within.join("notes"), "").unwrap();
        }
        assert!(matches!(open(), Err(KeptError::Busy { .. })));
        drop(made);
        let again = open().unwrap();
        assert_eq!(
            (names(&path), names(&checkpoints)),
            ([".lock", "checkpoint", "job.toml", "notes"].map(str::to_owned).to_vec(), vec!["notes".to_owned()],)
        );
        again.write(MODEL, b"").unwrap();
        again.rewrite(RESULT, b"1").unwrap();
        again.rewrite(RESULT, b"2").unwrap();
        assert!(again.is_done() && fs::read(path.join(RESULT)).unwrap() == b"2");
        let foreign = temp.path().join("b");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.tex"), "").unwrap();
        let refused = Folder::open(&foreign, &holder(), Duration::ZERO);
        assert!(matches!(refused, Err(KeptError::Foreign { holds, .. }) if holds == "thesis.tex"));
    }

    #[test]
    fn an_existing_folder_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("a/b");
        let made = Folder::create(Some(&out), "x", &holder()).unwrap();
        made.write("file", b"1").unwrap();
        assert!(
            matches!(Folder::create(Some(&out), "x", &holder()), Err(KeptError::FolderExists(path)) if path == out)
        );
        assert_eq!(fs::read(out.join("file")).unwrap(), b"1");
    }

    /// Only the folder of a run that has begun and not finished is called unfinished.
    #[test]
    fn the_rest_of_a_run_is_told_from_a_run() {
        for (names, rest) in [
            (&[][..], None),
            (&["notes.txt"], None),
            (&["job.toml"], Some("job.toml")),
            (&["metrics.jsonl", "job.toml"], Some("job.toml, metrics.jsonl")),
            (&["job.toml", "model.safetensors"], None),
            (&["job.toml", "metrics.jsonl", "result.json"], None),
        ] {
            let temp = tempfile::tempdir().unwrap();
            names.iter().for_each(|name| fs::write(temp.path().join(name), "").unwrap());
            match (Folder::create(Some(temp.path()), "x", &holder()).map(drop).unwrap_err(), rest) {
                (KeptError::Unfinished { holds, .. }, Some(rest)) => assert_eq!(holds, rest),
                (KeptError::FolderExists(_), None) => {}
                (error, _) => panic!("{names:?}: {error}"),
            }
        }
    }

    #[test]
    fn all_files_of_a_run_are_its_owners_alone() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create(Some(&temp.path().join("run")), "x", &holder()).unwrap();
        folder.write(JOB, b"1").unwrap();
        folder.append(METRICS, "1").unwrap();
        folder.append(METRICS, "2").unwrap();
        assert!(names(folder.path()).len() >= 3);
        for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, PRIVATE, "{:?}", entry.file_name());
        }
        assert_eq!(fs::read(folder.path().join(METRICS)).unwrap(), b"1\n2\n");
    }

    /// Two processes found the name free. The later one replaces nothing, and loses nothing.
    #[test]
    fn what_came_first_stays_and_what_came_later_is_kept_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("y.npy");
        let (one, other) = (Pending::fresh(&path, "--output").unwrap(), Pending::fresh(&path, "--output").unwrap());
        other.write(b"other").unwrap();
        let Err(KeptError::Overtaken { kept, .. }) = one.write(b"one") else { panic!("not overtaken") };
        assert_eq!((fs::read(&path).unwrap(), fs::read(kept).unwrap()), (b"other".to_vec(), b"one".to_vec()));
        assert!(matches!(Pending::fresh(&path, "--output"), Err(KeptError::FileExists { .. })));
        // A folder in that place is no less in the way.
        let folder = temp.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(matches!(write_atomically(&folder, b"1"), Err(KeptError::Overtaken { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(write_atomically(&temp.path().join("file/below"), b"1"), Err(KeptError::Write { .. })));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    /// Runs of one name have folders of their own.
    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        assert_eq!(usual("x"), Path::new("runs/x"));
        let temp = tempfile::tempdir().unwrap();
        let first = temp.path().join("runs/x");
        for name in ["x", "x-2", "x-3"] {
            let folder = Folder::numbered(&first, &holder()).unwrap();
            assert_eq!(folder.path(), temp.path().join("runs").join(name));
        }
    }

    /// Where the system makes no folder, that is what is told: it is not said to be there.
    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let below = temp.path().join("file/below");
        let created = Folder::create(Some(&below), "x", &holder()).err().unwrap();
        assert!(matches!(created, KeptError::NoFolder { .. }), "{created}");
        // A file called `runs` would be in the way of every number.
        let numbered = Folder::numbered(&below, &holder()).err().unwrap();
        assert!(matches!(numbered, KeptError::NoFolder { .. }), "{numbered}");
        let opened = Folder::open(&below, &holder(), Duration::ZERO).err().unwrap();
        assert!(matches!(opened, KeptError::NoFolder { .. }), "{opened}");
        let path = temp.path().join("run");
        let folder = Folder::create(Some(&path), "x", &holder()).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(matches!(folder.make(checkpoint::FOLDER), Err(KeptError::NoFolder { .. })));
    }

    /// Who may read a file that is for all is left to the umask. Any other file is its owner's alone.
    #[test]
    fn a_file_for_all_is_one_that_others_may_read() {
        let temp = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // What the umask leaves of the permissions of a file that is for all.
        let all = temp.path().join("all");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(temp.path().join("plain"));
        drop(file.unwrap());
        Pending::fresh_for_all(&all, "--output").unwrap().write(b"1").unwrap();
        assert_eq!(mode(&all), mode(&temp.path().join("plain")));
        let own = temp.path().join("own");
        Pending::fresh(&own, "--output").unwrap().write(b"1").unwrap();
        assert_eq!(mode(&own), PRIVATE);
        assert!(matches!(Pending::fresh_for_all(&own, "--output"), Err(KeptError::FileExists { .. })));
    }
}
