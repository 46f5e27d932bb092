//! The folder of a run, and files that appear whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::RunError;

/// `runs/NAME/`, or what `--out` names.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder: `out`, which must not exist, or else `runs/NAME`, `runs/NAME-2`, ...: the first that does not.
    ///
    /// # Errors
    /// [`RunError::FolderExists`], [`RunError::NoFolder`].
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self, RunError> {
        let make = |path: &Path| {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::create_dir(path)
        };
        if let Some(out) = out {
            return match make(out) {
                Ok(()) => Ok(Self { path: out.to_owned() }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    Err(RunError::FolderExists(out.to_owned()))
                }
                Err(source) => Err(RunError::NoFolder { path: out.to_owned(), source }),
            };
        }
        let mut count = 1;
        loop {
            let path = match count {
                1 => Path::new("runs").join(name),
                _ => Path::new("runs").join(format!("{name}-{count}")),
            };
            match make(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => count += 1,
                Err(source) => return Err(RunError::NoFolder { path, source }),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file `name`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), RunError> {
        write_atomically(&self.path.join(name), content)
    }

    /// Adds a line to the file `name`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn append(&self, name: &str, line: &str) -> Result<(), RunError> {
        let path = self.path.join(name);
        let appended = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        appended.map_err(|source| RunError::Write { path, source })
    }
}

/// Writes `content` to `path`, whole or not at all, readable by its owner alone.
///
/// # Errors
/// [`RunError::Write`].
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), RunError> {
    Pending::new(path)?.write(content)
}

/// A file that is to be written later, where it is known now that it can be. Until then it has another name; dropped, it
/// leaves nothing.
pub struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Makes ready to write `path`, where nothing stands yet, readable by its owner alone.
    ///
    /// # Errors
    /// [`RunError::FileExists`], also of what is no file; [`RunError::Write`].
    pub fn fresh(path: &Path) -> Result<Self, RunError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Err(RunError::FileExists(path.to_owned())),
            Err(_) => Self::new(path),
        }
    }

    /// Makes ready to write `path`, readable by its owner alone. What stands there is replaced when it is written.
    ///
    /// # Errors
    /// [`RunError::Write`].
    fn new(path: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::Write { path: path.to_owned(), source };
        if path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(failed)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `content`, whole or not at all.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write(mut self, content: &[u8]) -> Result<(), RunError> {
        let Self { file, path } = &mut self;
        let written = file.write_all(content).and_then(|()| file.as_file().sync_all());
        written.map_err(|source| RunError::Write { path: path.clone(), source })?;
        let Self { file, path } = self;
        file.persist(&path).map(drop).map_err(|error| RunError::Write { path, source: error.error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("a/b");
        let made = Folder::create(Some(&out), "x").unwrap();
        made.write("file", b"1").unwrap();
        assert!(matches!(Folder::create(Some(&out), "x"), Err(RunError::FolderExists(path)) if path == out));
        assert_eq!(fs::read(out.join("file")).unwrap(), b"1");
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("folder");
        fs::create_dir(&path).unwrap();
        // A folder stands where the file should.
        assert!(matches!(write_atomically(&path, b"1"), Err(RunError::Write { .. })));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
