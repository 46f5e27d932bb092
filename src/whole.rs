//! New files that appear whole or not at all, and never in the place of another.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use tempfile::{NamedTempFile, PersistError};

/// Gives `file` the name `path`. Nothing may stand there: what a command found free at its start may be taken at its
/// end.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] where something stands there, and whatever else the operating system says. The error
/// holds the file. If that is dropped, the file is gone.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), PersistError> {
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Err(refused),
        // Some file systems can neither rename a file without replacing another, nor link it.
        Err(refused) => claim(refused.file, path),
    }
}

/// Gives `file` the name `path` by what every file system can do. It first takes the name with an empty file, which
/// only one process can make.
fn claim(file: NamedTempFile, path: &Path) -> Result<(), PersistError> {
    match File::create_new(path) {
        Err(error) => Err(PersistError { error, file }),
        Ok(_) => file.persist(path).map(drop).inspect_err(|_| {
            // The empty file is ours. If it cannot be removed, the error has said enough.
            let _ = std::fs::remove_file(path);
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn of_many_at_once_one_is_first_and_stays() {
        for way in [persist, claim] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            let write = |content: u8| {
                let mut file = NamedTempFile::new_in(folder.path()).unwrap();
                file.write_all(&[content; 1000]).unwrap();
                way(file, &path).map_err(|refused| refused.error.kind())
            };
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|content| scope.spawn(move || write(content))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let winner = results.iter().position(Result::is_ok).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [winner as u8; 1000]);
            let others = results.iter().filter(|result| **result == Err(ErrorKind::AlreadyExists)).count();
            assert_eq!((others, fs::read_dir(folder.path()).unwrap().count()), (7, 1));
        }
    }
}
