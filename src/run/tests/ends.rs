//! How runs end: with which code, and with what is kept.

use std::time::Duration;

use super::*;
use crate::ids::{Batch, Epoch, Phase, Slot};
use crate::mix::MixError;
use crate::mix::beat::{Fault, Reason};
use crate::mix::courier::Noticed;
use crate::role::RoleError;
use crate::run::kept::KeptError;
use crate::run::kept::checkpoint::{FOLDER, Reached};
use crate::run::kept::folder::Folder;
use crate::run::kept::lock::Holder;
use crate::run::kept::model::Model;
use crate::run::requests::Why;
use crate::run::{Keeper, checkpoint_at, single};

fn noticed(reason: Reason) -> Noticed {
    Noticed { fault: Fault { slot: Slot(3), phase: Phase(1), peer: Rank(2), reason }, by: Rank(4) }
}

fn told(why: RunError) -> RunError {
    RunError::Told { code: why.exit_code(), why: Box::new(why) }
}

/// The codes of docs/PROTOCOL.md, 9.4 and 16.7. Only what is not a number means that training has diverged, whoever has noticed it.
#[test]
fn a_fault_has_the_code_of_its_reason() {
    for (reason, code) in [
        (Reason::Authentication, 4),
        (Reason::Message, 4),
        (Reason::NotANumber, 1),
        (Reason::Failure, 3),
        (Reason::Device, 3),
    ] {
        let errors = || {
            let fault = RunError::Fault { noticed: noticed(reason), own: None };
            [fault, RunError::Unanswered(noticed(reason))]
        };
        for error in errors().into_iter().chain(errors().map(told)) {
            assert_eq!((error.exit_code(), error.is_divergence()), (code, reason == Reason::NotANumber), "{error}");
        }
    }
    let loss = || RoleError::NotANumber { loss: f64::NAN, epoch: Epoch(0), batch: Batch(0) };
    let value = || KeptError::NotFinite { parameter: "0.weight".to_owned(), value: f32::NAN };
    for error in [RunError::Role(loss()), RunError::Kept(value()), told(RunError::Kept(value()))] {
        assert!(error.exit_code() == 1 && error.is_divergence(), "{error}");
    }
    for error in [RunError::Role(RoleError::Untold), RunError::Kept(KeptError::Stuck)] {
        assert!(error.exit_code() != 1 && !error.is_divergence(), "{error}");
    }
}

/// The codes of docs/PROTOCOL.md, 16.7.
#[test]
fn a_run_exits_with_the_code_of_what_has_ended_it() {
    let io = || std::io::Error::other("on purpose");
    let path = || Path::new("file").to_owned();
    let at = Reached { epochs: 1, batches: 0 };
    let timeout = || TransportError::Timeout { waited: Duration::ZERO, missing: Vec::new(), setting: "" };
    let memory = crate::memory::OutOfMemory { bytes: 1 };
    let no_text = crate::job::JobError::Read { path: path(), source: io() };
    let no_job = Job::parse("x.toml", "name = 1", &[]).err().unwrap();
    let paused = RunError::Paused { why: Why::File, reached: at, path: path(), seconds: 0.0 };
    let too_long = RunError::TooLong { what: "a message", bytes: 2, most: 1, fix: "" };
    let unauthentic = MixError::Unauthentic { slot: Slot(1), phase: Phase(1), from: Rank(1) };
    for (error, code) in [
        (RunError::Done { folder: path() }, 0),
        (RunError::TestLoss { loss: f64::NAN, folder: path() }, 1),
        (RunError::OtherJob { path: path(), differences: String::new() }, 2),
        (RunError::NoSamples { held_out: 1 }, 2),
        (RunError::NoBatch { samples: 1, batch: 2 }, 2),
        (too_long, 2),
        (RunError::Job(no_job), 2),
        (RunError::Fingerprints(String::new()), 2),
        (RunError::Hosts { hosts: 1, ranks: 2 }, 2),
        (RunError::TooManyRanks { found: 2, most: 1 }, 2),
        (RunError::Mix(MixError::CellTooSmall { found: 1, least: 2 }), 2),
        (RunError::Mix(MixError::NoPlan { ranks: 1, stages: 1, hops: 3, works: Vec::new() }), 2),
        (RunError::Kept(KeptError::OpenKey { path: path(), mode: 0o666 }), 2),
        (RunError::Kept(KeptError::ForeignKey { path: path(), key: path() }), 2),
        (RunError::Job(no_text), 3),
        (RunError::NoProgress { why: Why::Time, reached: at }, 3),
        (RunError::TooFewRanks { found: 1, needed: 2, stages: 1, relays: 0 }, 3),
        (RunError::Memory(memory), 3),
        (RunError::Threads(io().into()), 3),
        (RunError::Transport(TransportError::Memory(memory)), 3),
        (RunError::Mix(MixError::Transport(TransportError::Window { bytes: 1, code: None })), 3),
        (RunError::Kept(KeptError::Torn { path: path(), older: None }), 3),
        (RunError::Mix(unauthentic), 4),
        (RunError::Mix(MixError::Beat { slot: Slot(1), from: Rank(1) }), 4),
        (RunError::Sealed { what: "a result", from: Rank(1) }, 4),
        (RunError::Unreadable { what: "a result", from: Rank(1) }, 4),
        (RunError::Transport(TransportError::TooLong), 4),
        (RunError::Mix(MixError::Transport(TransportError::TooLong)), 4),
        (RunError::Transport(timeout()), 5),
        (RunError::Mix(MixError::Transport(timeout())), 5),
        (RunError::Transport(TransportError::Aborted { code: 9 }), 9),
        (RunError::Refused { code: 9 }, 9),
        (RunError::Declined { ranks: Vec::new(), code: 9 }, 9),
        (RunError::Stopped { code: 9 }, 9),
        (RunError::Bug(String::new()), 70),
        (paused, 75),
    ] {
        assert_eq!(error.exit_code(), code, "{error:?}");
    }
}

/// A fault is told with the rank that has noticed it, whoever it was, and where.
#[test]
fn a_fault_is_told_with_who_has_noticed_it() {
    for (reason, words) in [
        (Reason::Authentication, "a block from rank 2 to rank 4 failed authentication"),
        (Reason::Message, "rank 4 got a message that does not fit"),
        (Reason::NotANumber, "rank 4 came upon what is not a number"),
        (Reason::Failure, "rank 4 could not do its work"),
        (Reason::Device, "the GPU of rank 4 is lost"),
    ] {
        let told = RunError::Fault { noticed: noticed(reason), own: None }.to_string();
        assert!(told.starts_with("slot 3") && told.contains(words), "{told}");
        assert!(told.ends_with("the run ends on all ranks and leaves no model"), "{told}");
        let unanswered = RunError::Unanswered(noticed(reason)).to_string();
        assert_eq!(unanswered, format!("{told}; not all ranks have heard of it"));
    }
    let own = RunError::Fault { noticed: noticed(Reason::Failure), own: Some(RoleError::Untold) }.to_string();
    assert_eq!(own, RoleError::Untold.to_string());
    let declined = |ranks: &[u16]| RunError::Declined { ranks: ranks.iter().copied().map(Rank).collect(), code: 3 };
    assert_eq!(declined(&[2]).to_string(), "rank 2 cannot take part, and says why");
    assert_eq!(declined(&[2, 5]).to_string(), "rank 2, rank 5 cannot take part, and say why");
}

/// Who ends with an error that not all ranks know of aborts the run on the others. Who has only heard of an error leaves it to another to
/// print it.
#[test]
fn it_is_known_who_knows_of_an_error() {
    let aborted = || RunError::Transport(TransportError::Aborted { code: 4 });
    let fault = || RunError::Fault { noticed: noticed(Reason::Message), own: None };
    for (error, orderly, elsewhere) in [
        (RunError::Refused { code: 2 }, true, true),
        (RunError::Stopped { code: 4 }, true, true),
        (told(RunError::Stopped { code: 4 }), true, true),
        (fault(), true, false),
        (told(RunError::Kept(KeptError::Stuck)), true, false),
        (aborted(), false, true),
        (RunError::Mix(MixError::Transport(TransportError::Aborted { code: 4 })), false, true),
        (RunError::Unanswered(noticed(Reason::Message)), false, false),
        (RunError::Transport(TransportError::TooLong), false, false),
        (RunError::Kept(KeptError::Stuck), false, false),
        (RunError::Bug(String::new()), false, false),
    ] {
        assert_eq!((error.is_orderly(), error.is_told_elsewhere()), (orderly, elsewhere), "{error:?}");
    }
}

/// A watcher with a keeper. It notes the model that is kept where training diverges, and how far training had come there.
struct Keeps {
    folder: Folder,
    keeper: Keeper,
    kept: Option<(Reached, String)>,
}

impl Keeps {
    fn new(path: &Path, prepared: &Prepared) -> Self {
        let folder = Folder::open(path, &Holder::here("here", None), Duration::ZERO).unwrap();
        let keeper = Keeper::new(&folder, prepared, || None, None).unwrap();
        Self { folder, keeper, kept: None }
    }
}

impl Watcher for Keeps {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
    fn keeper(&mut self) -> Option<&mut Keeper> {
        Some(&mut self.keeper)
    }
    fn folder(&self) -> Option<&Path> {
        Some(self.folder.path())
    }
    fn keep(&mut self, reached: Reached, model: Model) -> Result<(), RunError> {
        self.kept = Some((reached, model.sha256().to_owned()));
        Ok(())
    }
}

/// A watcher whose run has a folder that is not there.
struct Nowhere;

impl Watcher for Nowhere {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
    fn folder(&self) -> Option<&Path> {
        Some(Path::new("/nowhere/at/all"))
    }
}

/// A process on its own that cannot keep its model has failed, whatever it has learned.
#[test]
fn a_model_that_cannot_be_kept_is_an_error() {
    let sets = ["train.epochs=1", "compute.threads=1"].map(str::to_owned);
    let job = Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets).unwrap();
    let prepared = Prepared::of(job).unwrap().short(64, 16);
    let error = single::run(&prepared, &mut Nowhere).err().unwrap();
    assert!(matches!(error, RunError::Kept(KeptError::Write { .. })), "{error}");
    // The control: with a folder, it has a model, and has taken as long as its epoch or longer.
    let (outcome, model) = single::run(&prepared, &mut ()).unwrap();
    assert!(model.is_some() && outcome.seconds >= outcome.epochs[0].seconds && outcome.epochs[0].seconds > 0.0);
}

/// One plan serves all starts of a run, in whatever mode it goes on: each draw would show who looks on another sample.
#[test]
fn the_plan_stays_through_all_starts_of_a_run() {
    let temp = tempfile::tempdir().unwrap();
    let job = |epochs: u32| {
        let sets =
            ["train.schedule=constant", "compute.threads=1", "mix.profile=bare", &format!("train.epochs={epochs}")];
        Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets.map(str::to_owned)).unwrap()
    };
    let mut plan = None;
    for (start, ranks) in (1..).zip([Some(7), None, Some(7)]) {
        let within = |start: u32| temp.path().join(start.to_string());
        let file = |start: u32| within(start).join(format!("{FOLDER}/{start:04}-000000.ckpt"));
        let read = |at: u32| checkpoint_at(&file(at), &within(at), &job(at)).unwrap();
        let prepared = match start {
            1 => Prepared::of(job(1)),
            _ => Prepared::resumed(job(start), read(start - 1)),
        };
        let prepared = prepared.unwrap();
        let mut watcher = Keeps::new(&within(start), &prepared);
        let led = match ranks {
            None => single::run(&prepared, &mut watcher),
            Some(ranks) => threads::run(&prepared, ranks, "host", &mut watcher),
        };
        led.unwrap();
        watcher.keeper.close().unwrap();
        let kept = read(start).rest.plan.unwrap();
        assert_eq!((kept.draws, kept.hosts.len()), (1, 7));
        let roles = kept.drawn.roles().clone();
        assert_eq!(*plan.get_or_insert_with(|| roles.clone()), roles, "start {start}");
    }
}

/// The digits with a network whose loss grows without bound, after two good epochs.
fn diverging(sets: &[&str]) -> Prepared {
    let network = "stage=[{ops=[{op=\"linear\",out=64}]},{ops=[{op=\"linear\",out=10}]}]";
    let common = ["train.lr=1", "train.momentum=0", "compute.threads=1", network];
    let sets: Vec<String> = common.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Prepared::of(Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets).unwrap()).unwrap()
}

/// Where training diverges, the model of the newest checkpoint is kept: that of the last good epoch.
#[test]
fn a_run_that_diverges_leaves_the_model_of_the_last_good_epoch() {
    let (good, _) = single::run(&diverging(&["train.epochs=2", "train.schedule=constant"]), &mut ()).unwrap();
    let prepared = diverging(&["train.epochs=9", "train.schedule=constant", "mix.profile=bare"]);
    for ranks in [None, Some(prepared.job.ranks())] {
        let temp = tempfile::tempdir().unwrap();
        let mut watcher = Keeps::new(&temp.path().join("run"), &prepared);
        let led = match ranks {
            None => single::run(&prepared, &mut watcher),
            Some(ranks) => threads::run(&prepared, ranks, "host", &mut watcher),
        };
        let error = led.err().unwrap();
        assert!(error.is_divergence() && error.exit_code() == 1, "{error}");
        assert_eq!(watcher.kept, Some((Reached { epochs: 2, batches: 0 }, good.weights_sha256.clone())));
    }
}
