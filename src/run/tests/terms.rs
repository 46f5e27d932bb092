//! The loop over terms, with stages that compute nothing: what it asks of them, what it keeps, and when it stops.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::*;
use crate::compute::LossSum;
use crate::mix::beat::StageData;
use crate::nn::snapshot;
use crate::role::owner::Ending;
use crate::role::score::Tally;
use crate::run::epochs::{self, Finished, Ran, Sink, TermWish, Trains, data_lengths};
use crate::run::kept::checkpoint::{FOLDER, KeptPlan, Reached, newest};
use crate::run::kept::folder::Folder;
use crate::run::kept::lock::Holder;
use crate::run::requests::Why;
use crate::run::{Keeper, PAUSED, STOOD_STILL, checkpoint_at};

/// How many slots a term of [`Idle`] says that it has taken.
const SLOTS: u64 = 7;

/// Stages that compute nothing. All their values are zeros.
struct Idle<'a> {
    prepared: &'a Prepared,
    /// How many terms go by before it is heard that they are to end.
    deaf: usize,
    /// How many batches a term still does that is asked to end.
    last: u32,
    /// What goes wrong where the stages return what is due.
    failure: Option<RunError>,
    fingerprint: &'static str,
    remark: Option<String>,
    returns: StageData,
    /// By term: its epoch, its batches, what is to be returned, and how many batches the epoch's training has counted before.
    terms: Vec<(u32, Range<u32>, StageData, usize)>,
    /// By term: the code that all ranks have heard. `Err`: that of an error.
    concluded: Vec<Result<i32, i32>>,
}

impl<'a> Idle<'a> {
    fn new(prepared: &'a Prepared) -> Self {
        Self {
            prepared,
            deaf: 0,
            last: 0,
            failure: None,
            fingerprint: "idle",
            remark: None,
            returns: StageData::Nothing,
            terms: Vec::new(),
            concluded: Vec::new(),
        }
    }
}

impl Trains for Idle<'_> {
    fn run(&mut self, term: &TermWish<'_>, _: &mut dyn Watcher) -> Result<Ran, RunError> {
        let TermWish { part, so_far, returns, early } = term;
        let ends = self.terms.len() >= self.deaf && early.asked.asked() != Ending::None;
        self.terms.push((part.epoch.0, part.batches.clone(), *returns, so_far.samples()));
        self.returns = if ends { early.returns } else { *returns };
        let Range { start, end } = part.batches;
        let until = if ends { end.min(start + self.last) } else { end };
        let mut trained = *so_far;
        (start..until).for_each(|_| trained.add(LossSum { loss: 1.0, terms: 1, correct: 1 }, 1));
        let others = (1..self.prepared.passes(part).len()).map(|pass| {
            let mut tally = Tally::new(crate::nn::Criterion::new(self.prepared.job.train.loss));
            tally.add(LossSum { loss: 1.0 + pass as f64, terms: 1, correct: 0 }, 1);
            tally
        });
        Ok(Ran {
            tallies: std::iter::once(trained).chain(others).collect(),
            slots: SLOTS,
            until,
            whole: !ends,
            returns: self.returns,
            inferred: Vec::new(),
        })
    }

    fn collect(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        let lengths = data_lengths(self.returns, &self.prepared.specs());
        snapshot::rounds(&lengths).try_for_each(|(_, stage, place)| sink.take(stage, &vec![0; place.len()]))?;
        self.failure.take().map_or(Ok(()), Err)
    }

    fn conclude(&mut self, how: Result<i32, RunError>) -> Result<(), RunError> {
        self.concluded.push(how.as_ref().copied().map_err(RunError::exit_code));
        how.map(drop)
    }

    fn stay(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    fn remark(&mut self) -> Option<String> {
        self.remark.take()
    }

    fn plan(&self) -> Option<KeptPlan> {
        None
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.to_owned()
    }
}

/// A watcher with a keeper. It notes the epochs that it hears of, and what it is warned of.
struct Follows {
    folder: Folder,
    keeper: Keeper,
    epochs: Vec<EpochReport>,
    warned: Vec<String>,
}

impl Follows {
    fn new(
        path: &Path,
        prepared: &Prepared,
        signal: fn() -> Option<&'static str>,
        deadline: Option<Instant>,
    ) -> Self {
        let folder = Folder::open(path, &Holder::here("here", None), Duration::ZERO).unwrap();
        let keeper = Keeper::new(&folder, prepared, signal, deadline).unwrap();
        Self { folder, keeper, epochs: Vec::new(), warned: Vec::new() }
    }
}

impl Watcher for Follows {
    fn note(&mut self, _: &str) {}
    fn warn(&mut self, line: &str) {
        self.warned.push(line.to_owned());
    }
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        self.epochs.push(report.clone());
        Ok(())
    }
    fn keeper(&mut self) -> Option<&mut Keeper> {
        Some(&mut self.keeper)
    }
    fn folder(&self) -> Option<&Path> {
        Some(self.folder.path())
    }
}

fn job(sets: &[&str]) -> Job {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets).unwrap()
}

fn prepared(sets: &[&str]) -> Prepared {
    Prepared::of(job(sets)).unwrap()
}

/// What the job of `sets` goes on from, which has stopped in `folder` with the checkpoint `path`.
fn resumed(sets: &[&str], folder: &Path, path: &Path) -> Prepared {
    let checkpoint = checkpoint_at(path, folder, &job(sets)).unwrap();
    Prepared::resumed(job(sets), checkpoint).unwrap()
}

/// States are returned where a checkpoint is due, values at the run's end, and else nothing. A term goes on with what the epoch has come
/// to before it.
#[test]
fn each_term_returns_what_is_due() {
    let (nothing, values, state) = (StageData::Nothing, StageData::Values, StageData::State);
    for (every, first, second, last) in [
        ("{epochs=2}", nothing, state, state),
        ("{epochs=1}", state, state, state),
        ("never", nothing, nothing, values),
    ] {
        let every = format!("checkpoint.every={every}");
        let prepared = prepared(&["train.epochs=3", &every]).in_terms_of(NonZeroU32::new(30).unwrap(), Term(0));
        let all = prepared.batches(0).batches();
        assert!((31..60).contains(&all));
        let temp = tempfile::tempdir().unwrap();
        let mut follows = Follows::new(temp.path(), &prepared, || None, None);
        let mut idle = Idle::new(&prepared);
        let Finished { epochs, test, model } = epochs::run(&mut idle, &prepared, &mut follows).unwrap();
        let due = [first, second, last].into_iter().zip(0..);
        let due = due.flat_map(|(due, epoch)| [(epoch, 0..30, nothing, 0), (epoch, 30..all, due, 30)]);
        assert_eq!(idle.terms, due.collect::<Vec<_>>(), "{every}");
        assert_eq!(idle.concluded, [Ok(0); 6]);
        // Slots and batches of an epoch are those of all its terms. Validation comes behind training, and the test behind both.
        let told = |report: &EpochReport| {
            (report.epoch, report.slots, report.train_loss, report.validation_loss, report.validation_accuracy)
        };
        let due: Vec<_> = (1..=3).map(|epoch| (epoch, 2 * SLOTS, Some(1.0), Some(2.0), Some(0.0))).collect();
        assert_eq!(epochs.iter().map(told).collect::<Vec<_>>(), due);
        assert_eq!(follows.epochs.iter().map(told).collect::<Vec<_>>(), due);
        assert_eq!((test.loss, model.is_some()), (Some(3.0), true));
        follows.keeper.close().unwrap();
        let kept = newest(&temp.path().join(FOLDER)).map(|newest| newest.reached);
        assert_eq!(kept, (last == state).then_some(Reached { epochs: 3, batches: 0 }));
    }
}

/// Who has nothing to keep states in is asked for values alone, and for these at the run's end.
#[test]
fn without_a_keeper_nothing_but_the_model_is_returned() {
    let prepared = prepared(&["train.epochs=2"]);
    let mut idle = Idle::new(&prepared);
    assert!(epochs::run(&mut idle, &prepared, &mut ()).unwrap().model.is_some());
    let asked: Vec<StageData> = idle.terms.iter().map(|(.., returns, _)| *returns).collect();
    assert_eq!(asked, [StageData::Nothing, StageData::Values]);
}

/// A run that is asked to stop leaves a checkpoint where it stands, and goes on from there. It is an error where it was started again,
/// has done nothing since, and would be asked again. A SIGTERM is no such thing: somebody else takes the place.
#[test]
fn a_run_that_is_asked_to_stop_stands_still_or_goes_on() {
    let sets = ["train.epochs=2", "checkpoint.every=never"];
    let fresh = prepared(&sets);
    let all = fresh.batches(0).batches();
    let temp = tempfile::tempdir().unwrap();
    // A first start may have done nothing.
    for (name, done) in [("none", 0), ("five", 5)] {
        let mut follows = Follows::new(&temp.path().join(name), &fresh, || Some("SIGUSR1"), None);
        let mut idle = Idle { last: done, ..Idle::new(&fresh) };
        let error = epochs::run(&mut idle, &fresh, &mut follows).err().unwrap();
        let RunError::Paused { why, reached, path, .. } = &error else { panic!("{error}") };
        assert_eq!((*why, *reached), (Why::Signal("SIGUSR1"), Reached { epochs: 0, batches: done }));
        assert!(path.is_file() && follows.warned.is_empty());
        assert_eq!((idle.concluded, error.exit_code()), (vec![Ok(PAUSED)], 75));
    }
    let first = temp.path().join("five");
    let path = newest(&first.join(FOLDER)).unwrap().path;
    let again = resumed(&sets, &first, &path);
    let before = &again.resumed.as_ref().unwrap().rest;
    assert_eq!((before.starts, before.so_far.samples()), (1, 5));
    type Asks = (fn() -> Option<&'static str>, Option<Instant>);
    let cases: [(Asks, u32, &'static str, bool); 4] = [
        ((|| Some("SIGUSR1"), None), 0, "idle", true),
        ((|| None, Some(Instant::now())), 0, "idle", true),
        ((|| Some("SIGTERM"), None), 0, "idle", false),
        ((|| Some("SIGUSR1"), None), 1, "other", false),
    ];
    for (number, ((signal, deadline), done, fingerprint, stands_still)) in cases.into_iter().enumerate() {
        let folder = temp.path().join(number.to_string());
        let mut follows = Follows::new(&folder, &again, signal, deadline);
        let mut idle = Idle { last: done, fingerprint, ..Idle::new(&again) };
        let error = epochs::run(&mut idle, &again, &mut follows).err().unwrap();
        // It goes on behind the five batches, and counts them.
        assert_eq!(idle.terms, [(0, 5..all, StageData::Nothing, 5)]);
        let here = Reached { epochs: 0, batches: 5 + done };
        let code = if stands_still { STOOD_STILL } else { PAUSED };
        match &error {
            RunError::NoProgress { reached, .. } => assert!(stands_still && *reached == here, "{error}"),
            RunError::Paused { reached, .. } => assert!(!stands_still && *reached == here, "{error}"),
            _ => panic!("{error}"),
        }
        assert_eq!((idle.concluded, error.exit_code()), (vec![Ok(code)], code), "{error}");
        let warned =
            follows.warned.iter().filter(|line| line.contains("goes on with other, and was begun with idle"));
        assert_eq!(warned.count(), usize::from(fingerprint == "other"), "{:?}", follows.warned);
        let path = newest(&folder.join(FOLDER)).unwrap().path;
        let then = checkpoint_at(&path, &folder, &job(&sets)).unwrap().rest;
        assert_eq!((then.starts, then.so_far.samples()), (2, 5 + done as usize));
        assert!(then.seconds > before.seconds, "{} {}", then.seconds, before.seconds);
    }
}

/// Where stages return no state, there is nothing to stop on, and at its end a run is done. What ends here stops one term later, or
/// never.
#[test]
fn a_request_that_comes_too_late_stops_the_next_term() {
    let all = prepared(&["train.epochs=2"]).batches(0).batches();
    for (every, deaf, terms, concluded) in [
        ("never", 1, &[(0, 0..all), (1, 0..all)][..], &[Ok(0), Ok(PAUSED)][..]),
        ("never", 2, &[(0, 0..all), (1, 0..all)], &[Ok(0), Ok(0)]),
        ("{epochs=1}", 1, &[(0, 0..all)], &[Ok(PAUSED)]),
        ("{epochs=2}", 2, &[(0, 0..all), (1, 0..all)], &[Ok(0), Ok(0)]),
    ] {
        let prepared = prepared(&["train.epochs=2", &format!("checkpoint.every={every}")]);
        let temp = tempfile::tempdir().unwrap();
        let mut follows = Follows::new(temp.path(), &prepared, || Some("SIGTERM"), None);
        let mut idle = Idle { deaf, last: 3, ..Idle::new(&prepared) };
        let ran = epochs::run(&mut idle, &prepared, &mut follows);
        let ran_terms: Vec<_> = idle.terms.iter().map(|(epoch, batches, ..)| (*epoch, batches.clone())).collect();
        assert_eq!((ran_terms.as_slice(), idle.concluded.as_slice()), (terms, concluded), "{every}, {deaf}");
        match ran {
            Ok(finished) => assert!(concluded.ends_with(&[Ok(0)]) && finished.model.is_some()),
            Err(RunError::Paused { .. }) => assert!(concluded.ends_with(&[Ok(PAUSED)])),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A run that was ended when it had learned all, and had not written what it came to, runs the last epoch's end again, and no batch of
/// it. One with an epoch left runs all of that.
#[test]
fn what_is_left_of_a_run_is_run() {
    let sets = ["train.epochs=2", "train.schedule=constant", "checkpoint={every={epochs=1},keep=2}"];
    let whole = prepared(&sets);
    let all = whole.batches(0).batches();
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("whole");
    let mut follows = Follows::new(&path, &whole, || None, None);
    epochs::run(&mut Idle::new(&whole), &whole, &mut follows).unwrap();
    follows.keeper.close().unwrap();
    let newest = newest(&path.join(FOLDER)).unwrap();
    for (from, epochs, batches) in [(newest.path, 0, all..all), (newest.older.unwrap(), 1, 0..all)] {
        let again = resumed(&sets, &path, &from);
        let mut follows = Follows::new(&temp.path().join(epochs.to_string()), &again, || None, None);
        let mut idle = Idle::new(&again);
        let finished = epochs::run(&mut idle, &again, &mut follows).unwrap();
        assert_eq!(idle.terms, [(1, batches, StageData::State, 0)]);
        assert_eq!((finished.epochs.len(), follows.epochs.len()), (2, epochs));
        assert!(finished.model.is_some());
    }
}

/// A run that goes on says behind what, has the reports of the epochs before, and knows the file whose values its first start has taken.
#[test]
fn a_run_knows_what_it_goes_on_from() {
    let temp = tempfile::tempdir().unwrap();
    let values = temp.path().join("model.safetensors");
    let drawn = prepared(&["train.epochs=1"]);
    assert_eq!(drawn.init_digest(), None);
    epochs::run(&mut Idle::new(&drawn), &drawn, &mut ()).unwrap().model.unwrap().write(&values).unwrap();
    let from = format!("init.from={values:?}");
    let sets = ["train.epochs=2", "train.schedule=constant", "checkpoint={every={epochs=1},keep=2}", &from];
    let fresh = prepared(&sets);
    let digest: [u8; 32] = Sha256::digest(std::fs::read(&values).unwrap()).into();
    assert_eq!(fresh.init_digest(), Some(digest));
    assert!(fresh.resumes().is_none() && fresh.epochs_so_far().is_empty());
    let path = temp.path().join("run");
    let mut follows = Follows::new(&path, &fresh, || None, None);
    let finished = epochs::run(&mut Idle::new(&fresh), &fresh, &mut follows).unwrap();
    follows.keeper.close().unwrap();
    let older = newest(&path.join(FOLDER)).unwrap().older.unwrap();
    // The values are in the checkpoint. So their file need not be there.
    std::fs::remove_file(&values).unwrap();
    let again = resumed(&sets, &path, &older);
    assert_eq!(again.init_digest(), Some(digest));
    let epochs = |reports: &[EpochReport]| reports.iter().map(|report| report.epoch).collect::<Vec<_>>();
    assert_eq!((epochs(again.epochs_so_far()), epochs(&finished.epochs)), (vec![1], vec![1, 2]));
    let words = format!("goes on from {}, behind 1 epoch, to the end of epoch 2; start 2", older.display());
    assert_eq!(again.resumes(), Some(words));
}

/// All ranks hear the code of what has gone wrong when stages returned what was due. What is remarked on a term is told.
#[test]
fn what_goes_wrong_behind_a_term_concludes_it() {
    let prepared = prepared(&["train.epochs=2"]);
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("fails");
    let mut follows = Follows::new(&path, &prepared, || None, None);
    let failure = Some(RunError::Stopped { code: 4 });
    let mut idle = Idle { failure, ..Idle::new(&prepared) };
    let error = epochs::run(&mut idle, &prepared, &mut follows).err().unwrap();
    assert!(matches!(error, RunError::Stopped { code: 4 }), "{error}");
    assert_eq!(idle.concluded, [Err(4)]);
    assert_eq!((follows.epochs.len(), newest(&path.join(FOLDER)).is_some()), (0, false));
    let mut follows = Follows::new(&temp.path().join("slow"), &prepared, || None, None);
    let mut idle = Idle { remark: Some("slow".to_owned()), ..Idle::new(&prepared) };
    epochs::run(&mut idle, &prepared, &mut follows).unwrap();
    assert_eq!(follows.warned, ["slow"]);
}
