//! The keeper: when the states of a run's stages are kept, and where. It stands beside the loop over epochs, on the owner.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::RunError;
use super::kept::checkpoint::{self, Checkpoint, CheckpointWriter, Header, Reached, Rest, Written};
use super::kept::folder::Folder;
use super::kept::model::{Model, ModelWriter};
use super::kept::owner_key;
use super::kept::results::VERSION;
use super::prepare::{Part, Prepared};
use super::requests::{Requests, Sources, Why};
use crate::crypto::key::Key;
use crate::job::Every;
use crate::nn::StageSpec;
use crate::nn::snapshot;

/// The name of the file in a run's folder with the key of its checkpoints, unless the job names another.
pub const OWNER_KEY: &str = "owner.key";
/// How long before the deadline a run stops at least.
const LEAST_MARGIN: Duration = Duration::from_secs(2);

/// Keeps the states of a run in its folder.
pub struct Keeper {
    /// The folder with the checkpoints.
    folder: PathBuf,
    /// The key that they are sealed under, and its file.
    key: Key,
    key_path: PathBuf,
    every: Every,
    keep: usize,
    /// The digests of job and data, in hexadecimal digits.
    job: String,
    data: String,
    requests: Requests,
    /// When the last checkpoint was begun, or the run.
    last: Instant,
    /// The checkpoint that is on its way to the disk, if one is.
    writing: Option<Written>,
    /// The checkpoint that this start of the run has written last.
    newest: Option<PathBuf>,
    /// How long the checkpoint took that took longest, in seconds.
    longest: f64,
}

impl Keeper {
    /// Keeps the states of the run of `prepared` in `folder`. `signal` says which signal has come, `deadline` when the run must be
    /// over.
    ///
    /// # Errors
    /// [`RunError::Kept`] where the folder or the key cannot be made or read; [`RunError::Threads`].
    pub fn new(
        folder: &Folder,
        prepared: &Prepared,
        signal: fn() -> Option<&'static str>,
        deadline: Option<Instant>,
    ) -> Result<Self, RunError> {
        let job = &prepared.job.checkpoint;
        let key_path = key_path(&prepared.job, folder.path());
        let key = owner_key::read_or_make(&key_path)?;
        let path = folder.make(checkpoint::FOLDER)?;
        let requests = Requests::new(Sources { folder: folder.path().to_owned(), signal, deadline }, LEAST_MARGIN)?;
        let keeper = Self {
            folder: path,
            key,
            key_path,
            every: job.every,
            keep: job.keep as usize,
            job: hex(&prepared.job_digest()),
            data: hex(&prepared.data_digest()),
            requests,
            last: Instant::now(),
            writing: None,
            newest: None,
            longest: 0.0,
        };
        keeper.settle();
        Ok(keeper)
    }

    /// Whether a checkpoint is due at the end of `part`, if that comes to its end.
    pub(super) fn is_due(&self, part: &Part) -> bool {
        match self.every {
            Every::Batches(_) => true,
            Every::Epochs(epochs) => part.ends_run || part.ends_epoch && (part.epoch.0 + 1).is_multiple_of(epochs),
            Every::Minutes(_) => part.ends_run,
            Every::Never => false,
        }
    }

    /// What is set where the running term is to end with the batch that has begun.
    pub(super) fn early(&self) -> Arc<AtomicBool> {
        self.requests.early()
    }

    /// Why the run is to stop, if it is.
    pub(super) fn why(&self) -> Option<Why> {
        self.requests.why()
    }

    /// Begins the checkpoint at `reached` of stages of these `specs`.
    pub(super) fn begin(&mut self, reached: Reached, specs: &[StageSpec]) -> Result<CheckpointWriter, RunError> {
        self.last = Instant::now();
        let header = Header::new(VERSION, self.job.clone(), self.data.clone(), reached);
        let lengths = specs.iter().map(snapshot::length).collect();
        Ok(CheckpointWriter::new(&self.folder, &self.key, header, lengths, self.keep)?)
    }

    /// Takes over a checkpoint that is whole, with its `rest`, and waits for the one before. Where `at_once` says so, it waits for this
    /// one, too. Each second that it waits it calls `stay`.
    pub(super) fn take_over(
        &mut self,
        writer: CheckpointWriter,
        rest: &Rest,
        at_once: bool,
        stay: &mut dyn FnMut() -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let written = writer.finish(rest)?;
        self.wait(stay)?;
        self.writing = Some(written);
        if at_once { self.wait(stay) } else { Ok(()) }
    }

    /// Waits until the checkpoint that is on its way is on the disk. Each second it calls `stay`.
    fn wait(&mut self, stay: &mut dyn FnMut() -> Result<(), RunError>) -> Result<(), RunError> {
        let Some(written) = self.writing.take() else { return Ok(()) };
        let mut told = Instant::now();
        while !written.is_through() {
            std::thread::sleep(Duration::from_millis(5));
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                stay()?;
            }
        }
        let (path, seconds) = written.wait()?;
        self.longest = self.longest.max(seconds);
        self.newest = Some(path);
        Ok(())
    }

    /// Says that a term has ended, and looks out for the next reason to end one.
    pub(super) fn settle(&self) {
        let longest = Duration::from_secs_f64(self.longest);
        self.requests.settled(self.every.time().map(|time| self.last + time), LEAST_MARGIN.max(longest * 3));
    }

    /// Waits until all is on the disk. Returns the path of the newest checkpoint, if there is one.
    ///
    /// # Errors
    /// [`RunError::Kept`].
    pub fn close(&mut self) -> Result<Option<&Path>, RunError> {
        self.wait(&mut || Ok(()))?;
        Ok(self.newest.as_deref())
    }

    /// How long the checkpoint took that took longest, in seconds.
    pub fn longest(&self) -> f64 {
        self.longest
    }

    /// The model of the newest checkpoint of the run of `prepared`, made in `within`, and how far training had come there. `None` where
    /// there is none.
    pub(super) fn last_good(
        &mut self,
        within: &Path,
        prepared: &Prepared,
        specs: &[StageSpec],
    ) -> Result<Option<(Reached, Model)>, RunError> {
        self.close()?;
        let written =
            self.newest.as_ref().map(|path| Checkpoint::read(path, &self.key, &self.key_path)).transpose()?;
        let Some(checkpoint) = written.as_ref().or(prepared.resumed.as_ref()) else { return Ok(None) };
        let mut model = ModelWriter::new(within, specs)?;
        checkpoint.states(|stage, piece| model.take(stage, piece))?;
        Ok(Some((checkpoint.header.reached, model.finish()?)))
    }
}

/// The path of the key with which checkpoints of `job` are sealed, for a run in `folder`.
pub(super) fn key_path(job: &crate::job::Job, folder: &Path) -> PathBuf {
    job.checkpoint.key.clone().unwrap_or_else(|| folder.join(OWNER_KEY))
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
