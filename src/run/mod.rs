//! A whole run: initialization, then forward and backward passes in slots, then testing and what is kept.
//!
//! [`prepare`] opens the job and the data on the owner, and nowhere else. To infer, it opens the model that a run has
//! left. [`owner`] and [`serve`] run a job together: the first on rank 0, the second on every other rank; `collect` is what the owner collects
//! at a term's end. [`single`]
//! runs the same job in one process without messages. [`local`] runs it with one thread for each rank. [`epochs`] is
//! the loop over epochs that the owner and the single process share. [`keeper`] says when it keeps the states of all stages,
//! [`requests`] who may ask it to stop, and `resume` whether a job may go on from what was kept. [`seat`] is the loop over the slots of a
//! term, which the owner and all other ranks share; [`slots`] keeps what they were like.
//!
//! [`letters`] is what ranks tell each other outside slots. [`refusal`] is how they say that there is no run. [`trust`]
//! says who is accepted. [`pace`] chooses how long ranks have for their work. [`kept`] is what remains of a run.

mod collect;
mod cores;
mod epochs;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod keeper;
pub mod kept;
mod letters;
pub mod local;
pub mod owner;
mod pace;
mod platform;
pub mod prepare;
mod refusal;
pub mod requests;
mod resume;
mod seat;
pub mod serve;
mod setting;
pub mod single;
pub mod slots;
mod sources;
mod spent;
mod statistics;
pub mod trust;
mod workload;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::compute::ComputeError;
use crate::crypto::Unauthentic;
use crate::data::DataError;
use crate::job::JobError;
use crate::memory::OutOfMemory;
use crate::mix::MixError;
use crate::mix::beat::{Fault, Reason};
use crate::mix::courier::Noticed;
use crate::model::ModelError;
use crate::role::RoleError;
use crate::terminal::PrintError;
use crate::threads::Starved;
use crate::transport::TransportError;

use keeper::Keeper;
use kept::checkpoint::Reached;
use requests::Why;
use slots::SlotKeeper;

pub use kept::KeptError;
pub use kept::model::Model;
pub use kept::weights::{Assigned, How, WeightsError};
pub use platform::is_here;
pub use refusal::{refuse, while_others_wait};
pub use resume::checkpoint_at;
pub use setting::{HostRanks, Setting, batch_job, hostname};
pub use trust::TrustError;
pub(crate) use workload::load_of;

/// The code with which all ranks exit where the run was asked to stop, and has left a checkpoint.
pub const PAUSED: i32 = 75;
/// The code with which all ranks exit where the run was asked to stop before it had come any further.
const STOOD_STILL: i32 = 3;

/// Why a run ended, or did not begin.
#[derive(Debug, Error)]
pub enum RunError {
    /// The job is wrong, or its file cannot be read.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file that `init.from` names, or a run's model, does not give the network its values.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The mix failed: a cell or a message was bad, blocks did not travel, or no plan of circuits was found.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// The transport has failed: blocks or letters did not arrive.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A rank is not accepted, or a file that says who is who cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A model of a machine's speed cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A rank's role cannot go on: what it was sent does not fit, or its own work failed.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// Arithmetic failed, or there is no such device to compute on.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The operating system gave no memory for what was asked.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The operating system started no thread.
    #[error(transparent)]
    Threads(#[from] Starved),
    /// A file of the run cannot be written, or a folder cannot be made.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A result cannot be printed to stdout.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// The loss on the test set is not a finite number. The model is kept all the same.
    #[error(
        "the loss on the test set is {loss}: the model is kept, in {}; look at the data, and at values that it was given", .folder.display()
    )]
    TestLoss {
        /// The loss on the test set, as it came out.
        loss: f64,
        /// The folder that holds the run's files.
        folder: std::path::PathBuf,
    },
    /// Too few ranks for the job.
    #[error("the job needs {needed} ranks (1 owner, {stages} stages and {relays} relays), there are {found}")]
    TooFewRanks {
        /// How many ranks there are.
        found: u16,
        /// How many ranks the job needs: the owner, its stages and its relays.
        needed: u16,
        /// How many ranks of those that are needed host stages.
        stages: u16,
        /// How many ranks of those that are needed are relays.
        relays: u16,
    },
    /// `--hosts` and `--ranks` disagree about the number of ranks.
    #[error("--hosts has {hosts} ranks, --ranks {ranks}; leave --ranks out, or give --hosts as many")]
    Hosts {
        /// How many ranks `--hosts` names in all.
        hosts: u16,
        /// How many ranks `--ranks` names.
        ranks: u16,
    },
    /// There are more ranks than a job may have.
    #[error("a job has at most {most} ranks, there are {found}")]
    TooManyRanks {
        /// How many ranks there are.
        found: u16,
        /// How many ranks a job may have at most.
        most: u16,
    },
    /// The validation set has taken all samples, so that none is left to train on.
    #[error("no sample is left to train on, {held_out} are held out; take a smaller data.validation")]
    NoSamples {
        /// How many samples are held out for validation.
        held_out: usize,
    },
    /// `train.drop_last` leaves out the only batch, which is not a whole one.
    #[error(
        "no batch is left to train on: train.drop_last leaves out what is no whole batch, and there are {samples} samples for a \
         train.batch of {batch}; take a train.batch of {samples} or less, or train.drop_last = false"
    )]
    NoBatch {
        /// How many samples there are to train on.
        samples: usize,
        /// How many samples a batch has (`train.batch`).
        batch: u32,
    },
    /// A message, package or result would be longer than anything that travels.
    #[error("{what} would have {bytes} bytes, the most is {most}; {fix}")]
    TooLong {
        /// What it is, in words for the user: `"a message"`.
        what: &'static str,
        /// How many bytes it would have.
        bytes: u64,
        /// How many bytes it may have at most.
        most: u64,
        /// What the user can do about it.
        fix: &'static str,
    },
    /// A sealed letter does not open: its sender did not seal it for this run, term and rank.
    #[error("{what} from {from} failed authentication")]
    Sealed {
        /// Which letter it was, in words for the user.
        what: &'static str,
        /// The rank that was said to have sent it.
        from: crate::ids::Rank,
    },
    /// A letter decodes to nothing that a rank of this version says.
    #[error("{what} from {from} is not understood; do all ranks run the same version of mixnn?")]
    Unreadable {
        /// Which letter it was, in words for the user.
        what: &'static str,
        /// The rank that sent it.
        from: crate::ids::Rank,
    },
    /// The owner has told all ranks to stop. The owner alone says why.
    #[error("the owner has stopped the run")]
    Stopped {
        /// The exit code that the owner's reason has.
        code: i32,
    },
    /// A fault has ended the run, and all ranks have heard of it. Only the owner has this error.
    #[error("{}", describe(noticed, own.as_ref()))]
    Fault {
        /// The first fault that any rank has noticed, and which rank did.
        noticed: Noticed,
        /// The owner's own error, where its own work was the first fault.
        own: Option<RoleError>,
    },
    /// The owner knows of a fault, but could not tell all ranks. Other ranks end with another error then, as if they
    /// had noticed nothing.
    #[error("{}; not all ranks have heard of it", describe(.0, None))]
    Unanswered(Noticed),
    /// The owner has refused the run before it began. The owner says why.
    #[error("the owner has refused the job")]
    Refused {
        /// The exit code that the owner named.
        code: i32,
    },
    /// Some ranks have told the owner that they cannot take part. Each of them says why itself.
    #[error("{}", declined(.ranks))]
    Declined {
        /// The ranks that cannot take part.
        ranks: Vec<crate::ids::Rank>,
        /// The exit code that the first of these ranks named.
        code: i32,
    },
    /// The job is not the one with which a checkpoint was written.
    #[error(
        "the job is not that of the checkpoint {}: {differences}; set it back, or start anew in another folder", .path.display()
    )]
    OtherJob {
        /// The path of the checkpoint.
        path: PathBuf,
        /// What differs, in words.
        differences: String,
    },
    /// The run was asked to stop, and has left a checkpoint.
    #[error("stopped {why} behind {reached}; the checkpoint {} was written in {seconds:.1} s", .path.display())]
    Paused {
        /// What asked the run to stop.
        why: Why,
        /// How far training has come.
        reached: Reached,
        /// The path of the checkpoint.
        path: PathBuf,
        /// How many seconds it took to write.
        seconds: f64,
    },
    /// The run is done already.
    #[error("the run in {} is done: there is nothing left to do", .folder.display())]
    Done {
        /// The folder that holds the run's files.
        folder: PathBuf,
    },
    /// The run was asked to stop before it had come any further than the checkpoint that it went on from.
    #[error(
        "stopped {why} behind {reached}, where it went on from: no batch was done since. It would go on like this for ever: give it \
         more time, or smaller batches"
    )]
    NoProgress {
        /// What asked the run to stop.
        why: Why,
        /// How far training has come.
        reached: Reached,
    },
    /// Another error, of which all ranks have heard: they all end with the same code.
    #[error("{why}")]
    Told {
        /// What went wrong on this rank.
        why: Box<RunError>,
        /// The exit code with which all ranks end. The owner has named it.
        code: i32,
    },
    /// Ranks compute with different fingerprints, and `--strict` was given. The text names the fingerprints.
    #[error("ranks differ in what their results' bits depend on: {0}; leave --strict out to run all the same")]
    Fingerprints(String),
    /// The operating system has no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// Something that no run should come to. The text says what.
    #[error("a bug: {0}")]
    Bug(String),
}

/// Says which ranks cannot take part.
fn declined(ranks: &[crate::ids::Rank]) -> String {
    let names: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("{} cannot take part, and say{} why", names.join(", "), if ranks.len() == 1 { "s" } else { "" })
}

/// Says in words what has ended a run: the owner's own error if there is one, else what was noticed, where and by whom.
fn describe(noticed: &Noticed, own: Option<&RoleError>) -> String {
    let Noticed { fault: Fault { slot, phase, peer, reason }, by } = noticed;
    let what = match (reason, own) {
        (_, Some(own)) => return own.to_string(),
        (Reason::Authentication, None) => format!(
            "{slot}, {phase}: a block from {peer} to {by} failed authentication, which is where it was noticed and no proof of \
             who did it"
        ),
        (Reason::Message, None) => format!("{slot}: {by} got a message that does not fit what went before"),
        (Reason::NotANumber, None) => format!("{slot}: {by} came upon what is not a number"),
        (Reason::Failure, None) => format!(
            "{slot}: {by} could not do its work, for want of memory; `mixnn check` says how much a rank needs"
        ),
        (Reason::Device, None) => {
            format!("{slot}: the GPU of {by} is lost, or refuses a call; `mixnn doctor` on its host says more")
        }
    };
    format!("{what}; the run ends on all ranks and leaves no model")
}

/// The exit code of a run that ended for `reason` (docs/PROTOCOL.md, 9.4).
fn code_of(reason: Reason) -> i32 {
    match reason {
        Reason::Authentication | Reason::Message => 4,
        Reason::NotANumber => 1,
        Reason::Failure | Reason::Device => 3,
    }
}

impl RunError {
    /// The code with which the process exits because of this error (docs/PROTOCOL.md, 16.7).
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Role(error) => code_of(error.reason()),
            RunError::TestLoss { .. } => 1,
            RunError::Done { .. } => 0,
            RunError::Paused { .. } => PAUSED,
            RunError::NoProgress { .. } => STOOD_STILL,
            RunError::OtherJob { .. } => 2,
            RunError::Stopped { code } => *code,
            RunError::Fault { noticed, .. } | RunError::Unanswered(noticed) => code_of(noticed.fault.reason),
            RunError::Job(JobError::Read { .. }) => 3,
            RunError::NoSamples { .. } | RunError::NoBatch { .. } | RunError::TooLong { .. } => 2,
            RunError::Job(_) | RunError::Fingerprints(_) | RunError::Hosts { .. } | RunError::TooManyRanks { .. } => {
                2
            }
            RunError::Data(error) => error.exit_code(),
            RunError::Weights(error) => error.exit_code(),
            RunError::Trust(error) => error.exit_code(),
            RunError::Model(ModelError::Foreign { .. }) => 2,
            RunError::Model(_) => 3,
            RunError::Mix(MixError::CellTooSmall { .. } | MixError::NoPlan { .. }) => 2,
            RunError::Mix(MixError::Randomness(_) | MixError::Device(_)) | RunError::Randomness(_) => 3,
            RunError::Mix(MixError::Transport(error)) | RunError::Transport(error) => match error {
                TransportError::Timeout { .. } => 5,
                TransportError::Aborted { code } => *code,
                TransportError::Length { .. } | TransportError::TooLong => 4,
                TransportError::Mpi { .. } | TransportError::Window { .. } | TransportError::Memory(_) => 3,
            },
            RunError::Mix(_) | RunError::Sealed { .. } | RunError::Unreadable { .. } => 4,
            RunError::Compute(_) | RunError::Memory(_) | RunError::Threads(_) => 3,
            RunError::Print(_) | RunError::TooFewRanks { .. } => 3,
            RunError::Kept(error) => error.exit_code(),
            RunError::Refused { code } | RunError::Declined { code, .. } | RunError::Told { code, .. } => *code,
            RunError::Bug(_) => 70,
        }
    }

    /// The error itself, without the wrapping that says that all ranks have heard of it.
    pub fn cause(&self) -> &Self {
        match self {
            RunError::Told { why, .. } => why.cause(),
            error => error,
        }
    }

    /// Whether training has diverged. The model of the last good epoch is sound then, and is kept.
    pub fn is_divergence(&self) -> bool {
        match self.cause() {
            RunError::Kept(KeptError::NotFinite { .. }) => true,
            RunError::Role(error) => error.reason() == Reason::NotANumber,
            RunError::Fault { noticed, .. } | RunError::Unanswered(noticed) => {
                noticed.fault.reason == Reason::NotANumber
            }
            _ => false,
        }
    }

    /// Whether all ranks know that the run has ended, so that it need not be aborted on the others.
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            RunError::Refused { .. }
                | RunError::Told { .. }
                | RunError::Stopped { .. }
                | RunError::Fault { .. }
                | RunError::TestLoss { .. }
                | RunError::Paused { .. }
                | RunError::NoProgress { .. }
                | RunError::Print(_)
                | RunError::Kept(KeptError::Overtaken { .. })
        )
    }

    /// Whether another rank prints what happened, so that this one need not.
    pub fn is_told_elsewhere(&self) -> bool {
        matches!(
            self.cause(),
            RunError::Refused { .. }
                | RunError::Declined { .. }
                | RunError::Stopped { .. }
                | RunError::Transport(TransportError::Aborted { .. })
                | RunError::Mix(MixError::Transport(TransportError::Aborted { .. }))
        )
    }
}

/// What a run has come to on the owner: its outcome and the model, `None` where nothing was learned.
pub type Led = Result<(kept::results::Outcome, Option<Model>), RunError>;

/// Makes an error for `map_err`: the letter `what` from `from` has not opened.
fn sealed(what: &'static str, from: crate::ids::Rank) -> impl FnOnce(Unauthentic) -> RunError {
    move |Unauthentic| RunError::Sealed { what, from }
}

/// Follows a run on the owner: prints, or writes down, what it is told.
pub trait Watcher {
    /// Takes one line of text about what the run will do, as soon as that is known.
    fn note(&mut self, line: &str);

    /// Takes one line of text that bears on the result. Users who want no notes see these lines, too.
    fn warn(&mut self, line: &str) {
        self.note(line);
    }

    /// In epoch `epoch`, counted from 0, `done` of the `of` samples of the running pass are through.
    fn progress(&mut self, epoch: u32, done: usize, of: usize);

    /// What keeps the states of the run, if anything does. Without it, a run ends when it is through and not before.
    fn keeper(&mut self) -> Option<&mut Keeper> {
        None
    }

    /// What keeps what the run's slots were like, if anything does.
    fn slots(&mut self) -> Option<&mut SlotKeeper> {
        None
    }

    /// The folder in which the run's files are, if it has one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Training has diverged. `model` is what it had come to in the newest checkpoint, at `reached`. Only runs with a
    /// [keeper](Self::keeper) have any.
    ///
    /// # Errors
    /// Those of writing the model down.
    fn keep(&mut self, _reached: Reached, _model: Model) -> Result<(), RunError> {
        Ok(())
    }

    /// An epoch is over, and `report` says what it came to.
    ///
    /// # Errors
    /// Those of writing the report down.
    fn epoch(&mut self, report: &kept::results::EpochReport) -> Result<(), RunError>;

    /// Takes the outputs for all samples, row-major (samples, outputs). Only a run that
    /// [infers](prepare::Prepared::infers) calls it.
    ///
    /// # Errors
    /// Those of writing the outputs down.
    fn outputs(&mut self, _outputs: Vec<f32>) -> Result<(), RunError> {
        Ok(())
    }
}

/// A watcher that ignores everything.
impl Watcher for () {
    fn note(&mut self, _: &str) {}

    fn progress(&mut self, _: u32, _: usize, _: usize) {}

    fn epoch(&mut self, _: &kept::results::EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
