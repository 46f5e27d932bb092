//! How runs end: with which code, and with what is kept.

use std::time::Duration;

use super::*;
use crate::ids::{Batch, Epoch, Phase, Slot};
use crate::mix::MixError;
use crate::mix::beat::{Fault, Reason};
use crate::mix::courier::Noticed;
use crate::role::RoleError;
use crate::run::kept::KeptError;
use crate::run::kept::checkpoint::Reached;
use crate::run::kept::folder::Folder;
use crate::run::kept::lock::Holder;
use crate::run::kept::model::Model;
use crate::run::{Keeper, single};

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
