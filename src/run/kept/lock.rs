//! The lock on a run's folder: one process writes there at a time.
//!
//! Two things show that a folder is taken. Its file `.lock` is locked (`flock`), which ends with the process, but which some file
//! systems do not have, or have for each machine alone. And whoever holds it writes into the file who it is, and every few seconds
//! that it is still there. A holder that has not done so for a while is gone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::KeptError;
use crate::threads;

/// The name of the file in the run's folder.
const FILE: &str = ".lock";
/// How often a holder says that it is still there.
const BEAT: Duration = Duration::from_secs(5);
/// A holder that has said nothing for so long is gone.
const GONE: Duration = Duration::from_secs(20);
/// How often a waiting process looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long a process waits for its predecessor to go.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The name of its host.
    pub host: String,
    /// The id of its batch job, if it has one.
    pub job: Option<String>,
    /// The number of its process.
    pub process: u32,
    /// When it took the lock, in seconds since 1970.
    pub since: u64,
    /// How often it has said that it is there.
    beats: u64,
}

impl Holder {
    /// This process, in the batch job `job`.
    pub fn here(host: &str, job: Option<String>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { host: host.to_owned(), job, process: std::process::id(), since, beats: 0 }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, ", job {job}"))
    }
}

/// A folder that is this process's alone, until this is dropped.
pub struct Lock {
    /// Whether it has been let go. Who says that it is there holds this meanwhile.
    over: Arc<Mutex<bool>>,
    file: Arc<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock on `folder` for `holder`. Waits up to `patience` for another process to let it go.
    ///
    /// # Errors
    /// [`KeptError::Busy`] where another process still holds it; [`KeptError::Write`]; [`KeptError::Threads`].
    pub fn take(folder: &Path, holder: &Holder, patience: Duration) -> Result<Self, KeptError> {
        Self::take_with(folder, holder, patience, GONE, |file| flock(file, FlockOperation::NonBlockingLockExclusive))
    }

    /// Takes the lock where `lock` locks a file, and where a holder is gone that has said nothing for as long as `gone`.
    fn take_with(
        folder: &Path,
        holder: &Holder,
        patience: Duration,
        gone: Duration,
        lock: impl Fn(&File) -> Result<(), Errno>,
    ) -> Result<Self, KeptError> {
        let path = path(folder);
        let failed = |source| KeptError::Write { path: path.clone(), source };
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let mut file = open().map_err(failed)?;
        let began = Instant::now();
        // What its holder said last, and since when it has said the same.
        let mut said: Option<(Option<String>, Instant)> = None;
        loop {
            let locked = lock(&file);
            let now = read(&file);
            let since = match &said {
                Some((before, since)) if *before == now => *since,
                _ => Instant::now(),
            };
            let is_here = now.as_deref().and_then(parsed).is_some_and(|other| other.host == holder.host);
            let free = match (&now, locked) {
                (_, Err(Errno::WOULDBLOCK)) => false,
                (None, _) => true,
                // On this machine a lock is one, so that who wrote this has ended.
                (Some(_), Ok(())) if is_here => true,
                (Some(_), _) => since.elapsed() >= gone,
            };
            if free && !is_at(&file, &path) {
                // Its holder has removed it meanwhile.
                file = open().map_err(failed)?;
                continue;
            }
            if free {
                write(&file, holder).map_err(failed)?;
                // Where there are no locks, another process may have written at the same time. The later one has it.
                if locked.is_err() {
                    std::thread::sleep(LOOK);
                }
                if read(&file).as_deref().and_then(parsed).as_ref() == Some(holder) {
                    break;
                }
            }
            if began.elapsed() >= patience {
                let by = now.as_deref().and_then(parsed).map(|other| other.to_string());
                let by = by.unwrap_or_else(|| "another process".to_owned());
                return Err(KeptError::Busy { folder: folder.to_owned(), by });
            }
            said = Some((now, since));
            std::thread::sleep(LOOK);
        }
        let (over, file) = (Arc::new(Mutex::new(false)), Arc::new(file));
        let (is_over, beaten, mut holder) = (Arc::clone(&over), Arc::clone(&file), holder.clone());
        threads::spawn_free("lock", move || {
            let mut said = Instant::now();
            loop {
                std::thread::sleep(LOOK);
                let over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
                if *over {
                    break;
                }
                if said.elapsed() >= BEAT.min(gone / 4) {
                    said = Instant::now();
                    holder.beats += 1;
                    // Where it cannot be said once, it is said the next time.
                    let _ = write(&beaten, &holder);
                }
            }
        })?;
        Ok(Self { over, file, path })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // An empty file says that nobody holds it, to those that have it open. Where this fails, the lock ends with the process.
        let _ = self.file.set_len(0);
        let _ = std::fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Who works in `folder`, or has died there, as far as its file says. `None` where nobody does.
pub fn holder(folder: &Path) -> Option<Holder> {
    read(&File::open(path(folder)).ok()?).as_deref().and_then(parsed)
}

/// What stands in `file`. `None` where nothing does.
fn read(file: &File) -> Option<String> {
    let mut text = [0; 1024];
    let length = file.read_at(&mut text, 0).unwrap_or_default();
    (length > 0).then(|| String::from_utf8_lossy(&text[..length]).into_owned())
}

/// Who has written `text`. `None` where it is not whole, as while it is being written.
fn parsed(text: &str) -> Option<Holder> {
    serde_json::from_str(text.trim_end()).ok()
}

/// Whether `file` is what stands at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(there)) => place(file) == place(there),
        (_, _) => false,
    }
}

/// Writes `holder` into `file`, in the place of what stands there. What it writes is never shorter than before: the numbers in it grow.
fn write(file: &File, holder: &Holder) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.push(b'\n');
    if file.metadata()?.len() > text.len() as u64 {
        file.set_len(0)?;
    }
    file.write_all_at(&text, 0)
}

/// The path of the file that is locked, of a run in `folder`.
fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);

    fn holder(host: &str) -> Holder {
        Holder::here(host, Some("7".to_owned()))
    }

    /// A file system without locks.
    fn none(_: &File) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// A file system whose locks each machine has for itself.
    fn own(_: &File) -> Result<(), Errno> {
        Ok(())
    }

    #[test]
    fn a_folder_is_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path(), &holder("a"), SHORT).unwrap();
        let refused = Lock::take(folder.path(), &holder("a"), SHORT).err().unwrap();
        let words = format!("process {} on a, job 7", std::process::id());
        assert!(refused.to_string().contains(&words), "{refused}");
        // Who waits gets it when the other goes.
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Lock::take(folder.path(), &holder("b"), LONG));
            std::thread::sleep(SHORT);
            drop(lock);
            waiting.join().unwrap()
        });
        // Nothing stays behind.
        drop(waiting.unwrap());
        assert!(!path(folder.path()).exists());
    }

    /// Where the file system has no lock, or none that other machines see, what the holder writes is one.
    #[test]
    fn a_holder_that_beats_is_there_and_one_that_does_not_is_gone() {
        let gone = Duration::from_secs(2);
        for lock in [none, own] {
            let folder = tempfile::tempdir().unwrap();
            let take = |host, patience| Lock::take_with(folder.path(), &holder(host), patience, gone, lock);
            let held = take("a", SHORT).unwrap();
            // It beats four times in the time after which it would be gone.
            assert!(matches!(take("b", 2 * gone), Err(KeptError::Busy { .. })));
            drop(held);
            // What a holder leaves that was killed.
            std::thread::sleep(2 * LOOK);
            fs_write(folder.path(), &holder("a"));
            let began = Instant::now();
            drop(take("b", LONG).unwrap());
            assert!(began.elapsed() >= gone);
        }
        // On the same machine, a lock that is free proves it at once.
        let folder = tempfile::tempdir().unwrap();
        fs_write(folder.path(), &holder("a"));
        assert!(Lock::take(folder.path(), &holder("a"), Duration::ZERO).is_ok());
    }

    /// Who waits may get the lock on a file that its holder has just removed, while another process makes a new one and locks that.
    #[test]
    fn a_lock_on_a_file_that_is_gone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let tries = Mutex::new(0);
        let removed_once = |file: &File| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries == 1 {
                // The old file is still open, so that the new one cannot be taken for it.
                std::fs::remove_file(path(folder.path())).unwrap();
                File::create(path(folder.path())).unwrap();
            }
            flock(file, FlockOperation::NonBlockingLockExclusive)
        };
        let held = Lock::take_with(folder.path(), &holder("a"), SHORT, GONE, removed_once).unwrap();
        assert_eq!(*tries.lock().unwrap(), 2);
        assert!(matches!(Lock::take(folder.path(), &holder("a"), Duration::ZERO), Err(KeptError::Busy { .. })));
        drop(held);
    }

    fn fs_write(folder: &Path, holder: &Holder) {
        std::fs::write(path(folder), serde_json::to_vec(holder).unwrap()).unwrap();
    }
}
