//! When what the slots of a run were like is written down, and where. It stands beside the loop over epochs, on the owner.
//!
//! No run ends because this cannot be written: it is not what the run is for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::RunError;
use super::kept::folder::Folder;
use super::kept::results::RankTiming;
use super::kept::slots::{FILE, SlotEntry, SlotLog, SlotSetup};
use super::kept::{KeptError, owner_key};
use super::seat::Over;
use crate::crypto::key::Key;
use crate::ids::{Epoch, Term};
use crate::job::Job;
use crate::mix::{BACKWARD, FORWARD};

/// How often the file is written while the run goes on. Writing waits for the disk, which an epoch may be shorter than.
const SELDOM: Duration = Duration::from_secs(60);

/// Keeps what the slots of a run were like.
pub struct SlotKeeper {
    /// The path of the file.
    path: PathBuf,
    /// The key that the file is sealed under.
    key: Key,
    log: SlotLog,
    /// When the file was written last, or the run began.
    written: Instant,
}

impl SlotKeeper {
    /// Keeps the slots of a run of `job` in `folder`. The file of an earlier start stays until this one has slots.
    ///
    /// # Errors
    /// [`RunError::Kept`] where the owner's key cannot be made or read.
    pub fn new(folder: &Folder, job: &Job) -> Result<Self, RunError> {
        let key = owner_key::read_or_make(&owner_key::path(&job.checkpoint, folder.path()))?;
        Ok(Self { path: folder.path().join(FILE), key, log: SlotLog::new(), written: Instant::now() })
    }

    /// Takes who takes part in the slots. Call before the first slot of each term.
    pub(super) fn begin(&mut self, setup: SlotSetup) {
        self.log.setup = setup;
    }

    /// Takes a slot of `term` that is over on the owner.
    pub(super) fn add(&mut self, term: Term, epoch: Epoch, over: &Over) {
        let place = SlotEntry {
            term: term.0,
            slot: u32::try_from(over.slot.0).unwrap_or(u32::MAX),
            epoch: epoch.0,
            forward: over.real[FORWARD],
            backward: over.real[BACKWARD],
            trains: over.progress.is_some_and(|pass| pass.trains),
            ..SlotEntry::default()
        };
        self.log.add(place, &over.timing);
    }

    /// Takes what the ranks have told at a term's end: by rank, where its time has gone so far, and how many bytes all of them have sent.
    /// Writes the file where it was not written for a while.
    ///
    /// # Errors
    /// [`KeptError`]. The next term tries again.
    pub(super) fn settle(&mut self, ranks: &[RankTiming], bytes: u64) -> Result<(), KeptError> {
        self.log.settle(ranks, bytes);
        if self.written.elapsed() < SELDOM { Ok(()) } else { self.close() }
    }

    /// Writes the file, unless there were no slots. Call at the run's end, however it ends.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn close(&mut self) -> Result<(), KeptError> {
        self.written = Instant::now();
        if self.log.slots == 0 { Ok(()) } else { self.log.write(&self.path, &self.key) }
    }
}

/// What the slots of the run of `job` in `folder` were like. `None` where the run has left no such file.
///
/// # Errors
/// [`RunError::Kept`]: the file or the owner's key cannot be read, or is not what it should be.
pub fn slots_of(folder: &Path, job: &Job) -> Result<Option<SlotLog>, RunError> {
    let path = folder.join(FILE);
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let key_path = owner_key::path(&job.checkpoint, folder);
    Ok(Some(SlotLog::read(&path, &owner_key::read(&key_path)?, &key_path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Slot;
    use crate::mix::courier::Timing;
    use crate::role::PassProgress;
    use crate::run::kept::lock::Holder;

    fn over(slot: u64) -> Over {
        let progress = Some(PassProgress { done: 1, of: 2, trains: true });
        Over { slot: Slot(slot), real: [true, false], progress, timing: Timing::default() }
    }

    /// Without slots, as with `--single`, what an earlier start has left stays; else it is replaced.
    #[test]
    fn the_file_is_that_of_the_last_start_with_slots() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run");
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &[]).unwrap();
        let start = |slots: u64| {
            let folder = Folder::open(&path, &Holder::here("here", None), Duration::ZERO).unwrap();
            folder.rewrite("job.toml", b"").unwrap();
            let mut keeper = SlotKeeper::new(&folder, &job).unwrap();
            keeper.begin(SlotSetup { ranks: 3, hosts: vec![2], latency: 1, paced: false });
            (0..slots).for_each(|slot| keeper.add(Term(4), Epoch(2), &over(slot)));
            // A term's end is no reason to wait for the disk each time.
            keeper.settle(&[], 0).unwrap();
            let early = path.join(FILE).exists();
            keeper.close().unwrap();
            (early, slots_of(&path, &job).unwrap())
        };
        assert_eq!(start(0), (false, None));
        let (early, log) = start(2);
        let log = log.unwrap();
        assert!(!early && log.slots == 2 && log.real == [2, 0]);
        let SlotEntry { term, slot, epoch, trains, .. } = log.first[1];
        assert_eq!((term, slot, epoch, trains), (4, 1, 2, true));
        assert_eq!(start(0), (true, Some(log)));
        assert_eq!(start(5).1.unwrap().slots, 5);
    }

    #[test]
    fn a_file_that_cannot_be_written_or_read_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path(), &Holder::here("here", None), Duration::ZERO).unwrap();
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &[]).unwrap();
        let mut keeper = SlotKeeper::new(&folder, &job).unwrap();
        keeper.add(Term(0), Epoch(0), &over(0));
        std::fs::create_dir(temp.path().join(FILE)).unwrap();
        assert!(matches!(keeper.close(), Err(KeptError::Write { .. })));
        let read = slots_of(temp.path(), &job);
        assert!(matches!(read, Err(RunError::Kept(KeptError::Read { .. }))), "{read:?}");
    }
}
