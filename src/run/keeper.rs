//! The keeper: when the states of a run's stages are kept, and where. It stands beside the loop over epochs, on the owner.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::RunError;
use super::kept::checkpoint::{self, Checkpoint, CheckpointWriter, FileHeader, Reached, Remainder, Written};
use super::kept::folder::Folder;
use super::kept::model::{Model, ModelWriter};
use super::kept::results::VERSION;
use super::kept::{hex, owner_key, size};
use super::prepare::{Part, Prepared};
use super::requests::{Sources, StopRequests, Why};
use crate::crypto::key::Key;
use crate::job::Every;
use crate::nn::StageSpec;
use crate::nn::snapshot;
use crate::role::owner::{Asks, Ending};

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
    requests: StopRequests,
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
        let key_path = owner_key::path(&prepared.job.checkpoint, folder.path());
        let key = owner_key::read_or_make(&key_path)?;
        let path = folder.make(checkpoint::FOLDER)?;
        let requests =
            StopRequests::new(Sources { folder: folder.path().to_owned(), signal, deadline }, LEAST_MARGIN)?;
        let mut keeper = Self {
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
        keeper.settle()?;
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

    /// What asks for the early end of the running term.
    pub(super) fn asks(&self) -> Asks {
        self.requests.asks()
    }

    /// Why the run is to stop, if it is.
    pub(super) fn why(&self) -> Option<Why> {
        self.requests.why()
    }

    /// Begins the checkpoint at `reached` of stages of these `specs`.
    pub(super) fn begin(&mut self, reached: Reached, specs: &[StageSpec]) -> Result<CheckpointWriter, RunError> {
        self.last = Instant::now();
        let header = FileHeader::new(VERSION, self.job.clone(), self.data.clone(), reached);
        let lengths = specs.iter().map(snapshot::length).collect();
        // One that cannot be written ends the run, and not only when the next is due.
        let asks = self.asks();
        let failed = move || asks.ask(asks.asked().max(Ending::Training));
        Ok(CheckpointWriter::new(&self.folder, &self.key, header, lengths, self.keep, failed)?)
    }

    /// Takes over a checkpoint that is whole, with its `rest`, and waits for the one before. Where `at_once` says so, it waits for this
    /// one, too. Each second that it waits it calls `stay`.
    pub(super) fn take_over(
        &mut self,
        writer: CheckpointWriter,
        rest: &Remainder,
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
    ///
    /// # Errors
    /// [`RunError::Kept`] where a checkpoint could not be written meanwhile.
    pub(super) fn settle(&mut self) -> Result<(), RunError> {
        let longest = Duration::from_secs_f64(self.longest);
        self.requests.settled(self.every.time().map(|time| self.last + time), LEAST_MARGIN.max(longest * 3));
        // One that fails from here on ends the next term.
        match self.writing.as_ref().is_some_and(Written::is_through) {
            true => self.close().map(drop),
            false => Ok(()),
        }
    }

    /// Waits until all is on the disk. Returns the path of the newest checkpoint, if there is one.
    ///
    /// # Errors
    /// [`RunError::Kept`].
    pub fn close(&mut self) -> Result<Option<&Path>, RunError> {
        self.wait(&mut || Ok(()))?;
        Ok(self.newest.as_deref())
    }

    /// Says in words when checkpoints of a run of `prepared` are written, and how large they are.
    pub fn announces(&self, prepared: &Prepared) -> String {
        let bytes: u64 = prepared.specs().iter().map(snapshot::length).fold(0, u64::saturating_add);
        let every = |number: u32, what: &str, plural: &str| match number {
            1 => format!("every {what}"),
            number => format!("every {number} {what}{plural}"),
        };
        let every = match self.every {
            Every::Epochs(epochs) => every(epochs, "epoch", "s"),
            Every::Batches(batches) => every(batches, "batch", "es"),
            Every::Minutes(minutes) => every(minutes, "minute", "s"),
            Every::Never => "where the run is asked to stop".to_owned(),
        };
        format!("a checkpoint has {}: one {every}, in {}", size(bytes), self.folder.display())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ids::Epoch;
    use crate::job::{Job, Loss};
    use crate::nn::Criterion;
    use crate::role::score::Tally;
    use crate::run::kept::KeptError;
    use crate::run::kept::lock::Holder;

    fn prepared(every: &str) -> Prepared {
        let every = format!("checkpoint.every={every}");
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &[every]).unwrap();
        Prepared::of(job).unwrap()
    }

    fn keeper(path: &Path, prepared: &Prepared) -> Keeper {
        let folder = Folder::open(path, &Holder::here("here", None), Duration::ZERO).unwrap();
        Keeper::new(&folder, prepared, || None, None).unwrap()
    }

    #[test]
    fn a_checkpoint_is_due_when_the_job_says() {
        let part = |epoch, ends_epoch, ends_run| Part { epoch: Epoch(epoch), batches: 0..1, ends_epoch, ends_run };
        let within = [part(0, false, false), part(1, false, false)];
        let [first, second, last] = [part(0, true, false), part(1, true, false), part(2, true, true)];
        for (every, of_first, of_second, of_last, of_others) in [
            ("{batches=3}", true, true, true, true),
            ("{epochs=1}", true, true, true, false),
            ("{epochs=2}", false, true, true, false),
            ("{minutes=1}", false, false, true, false),
            ("never", false, false, false, false),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let keeper = keeper(temp.path(), &prepared(every));
            let found = [&first, &second, &last].map(|part| keeper.is_due(part));
            assert_eq!(found, [of_first, of_second, of_last], "{every}");
            within.iter().for_each(|part| assert_eq!(keeper.is_due(part), of_others, "{every}"));
        }
    }

    fn rest(prepared: &Prepared) -> Remainder {
        Remainder {
            job: prepared.job.to_toml(),
            init: None,
            so_far: Tally::new(Criterion::new(Loss::MeanSquaredError)),
            epochs: Vec::new(),
            plan: None,
            fingerprint: String::new(),
            seconds: 0.0,
            starts: 1,
        }
    }

    /// A checkpoint that cannot be written ends the running term, and then the run.
    #[test]
    fn a_checkpoint_that_fails_meanwhile_is_told_at_the_terms_end() {
        let temp = tempfile::tempdir().unwrap();
        let prepared = prepared("{epochs=1}");
        let mut keeper = keeper(temp.path(), &prepared);
        let reached = Reached { epochs: 1, batches: 0 };
        let rest = rest(&prepared);
        // The control: one that can be written is the newest from then on, and nobody is to stop.
        let writer = keeper.begin(reached, &[]).unwrap();
        keeper.take_over(writer, &rest, true, &mut || Ok(())).unwrap();
        keeper.settle().unwrap();
        assert!(keeper.close().unwrap().is_some_and(Path::is_file) && keeper.asks().asked() == Ending::None);
        fs::remove_dir_all(temp.path().join(checkpoint::FOLDER)).unwrap();
        let writer = keeper.begin(reached, &[]).unwrap();
        keeper.take_over(writer, &rest, false, &mut || Ok(())).unwrap();
        while !keeper.writing.as_ref().is_some_and(Written::is_through) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(keeper.asks().asked() == Ending::Training);
        let told = keeper.settle();
        assert!(matches!(told, Err(RunError::Kept(KeptError::Write { .. }))), "{told:?}");
    }

    /// While the owner waits for a disk, ranks hear so each second. Who is told nothing would take the owner for lost.
    #[test]
    fn ranks_hear_each_second_that_the_owner_waits_for_the_disk() {
        let temp = tempfile::tempdir().unwrap();
        let mut keeper = keeper(temp.path(), &prepared("{epochs=1}"));
        let (heard, waits) = std::sync::mpsc::channel();
        keeper.writing = Some(Written::late(waits));
        let began = Instant::now();
        let mut told = 0;
        let waited = keeper.wait(&mut || {
            told += 1;
            let _ = heard.send(());
            Ok(())
        });
        waited.unwrap();
        assert!(told > 0 && began.elapsed() >= Duration::from_secs(told), "told {told} times");
        assert_eq!((keeper.newest.as_deref(), keeper.longest), (Some(Path::new("late")), 1.0));
    }

    /// A run stops so long before its deadline that a checkpoint is written three times meanwhile.
    #[test]
    fn a_run_stops_in_time_for_its_checkpoint() {
        for (longest, stops) in [(1250.0, true), (0.0, false)] {
            let temp = tempfile::tempdir().unwrap();
            let prepared = prepared("never");
            let folder = Folder::open(temp.path(), &Holder::here("here", None), Duration::ZERO).unwrap();
            let deadline = Instant::now() + Duration::from_secs(3600);
            let mut keeper = Keeper::new(&folder, &prepared, || None, Some(deadline)).unwrap();
            assert_eq!(keeper.why(), None);
            keeper.longest = longest;
            keeper.settle().unwrap();
            for _ in 0..1200 {
                if keeper.why().is_some() == stops {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(keeper.why(), stops.then_some(Why::Time));
        }
    }

    /// By the clock, a checkpoint is due so many minutes behind the last one. Until then nothing ends a term.
    #[test]
    fn the_clock_runs_from_the_last_checkpoint() {
        let temp = tempfile::tempdir().unwrap();
        let mut keeper = keeper(temp.path(), &prepared("{minutes=1000}"));
        keeper.settle().unwrap();
        // The thread that looks at the clock does so many times meanwhile.
        std::thread::sleep(Duration::from_millis(300));
        assert!(keeper.asks().asked() == Ending::None);
        let begun = keeper.last.checked_sub(Duration::from_secs(60_000)).unwrap();
        keeper.last = begun;
        keeper.settle().unwrap();
        while keeper.asks().asked() == Ending::None {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(keeper.asks().asked() == Ending::Training && keeper.why().is_none());
        // A checkpoint that begins is the last one from then on.
        drop(keeper.begin(Reached { epochs: 0, batches: 1 }, &[]).unwrap());
        assert!(keeper.last > begun);
    }
}
