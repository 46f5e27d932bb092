//! The four phases of a run: initialization, forward and backward propagation in slots, testing.
//!
//! [`prepare`] opens the job and the data, on the owner alone; or, to infer, the model that a run has left. [`owner`] and [`serve`] run a
//! job together, one on rank 0, the other on all others; [`single`] runs the same job in one process without messages, [`local`] with one
//! thread a rank. [`epochs`] is the loop that owner and single process share, [`seat`] what the owner and all other ranks do in a
//! term.
//!
//! [`letters`] is what ranks say to each other outside slots, [`refusal`] how they say that there is no run, [`trust`] who is who, [`pace`]
//! what is measured where slots begin at fixed times. [`kept`] is what remains of a run.

mod cores;
mod epochs;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod kept;
mod letters;
pub mod local;
pub mod owner;
mod pace;
mod platform;
pub mod prepare;
mod refusal;
mod seat;
pub mod serve;
mod setting;
pub mod single;
mod sources;
mod statistics;
pub mod trust;

use thiserror::Error;

use crate::compute::ComputeError;
use crate::crypto::Unauthentic;
use crate::data::DataError;
use crate::job::JobError;
use crate::memory::OutOfMemory;
use crate::mix::MixError;
use crate::mix::beat::{Fault, Reason};
use crate::mix::courier::Noticed;
use crate::role::RoleError;
use crate::terminal::PrintError;
use crate::threads::Starved;
use crate::transport::TransportError;

pub use kept::KeptError;
pub use kept::model::Model;
pub use kept::weights::{Assigned, How, WeightsError};
pub use platform::is_here;
pub use refusal::{refuse, while_others_wait};
pub use setting::{Host, Setting, hostname};
pub use trust::TrustError;

/// Why a run ended.
#[derive(Debug, Error)]
pub enum RunError {
    /// The job is wrong.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network does not start from the file that is named.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The mix failed, or finds no plan.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// Messages did not travel.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A rank is not accepted, or a file that says who is who cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A role cannot go on.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// Arithmetic failed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Threads cannot be started.
    #[error(transparent)]
    Threads(#[from] Starved),
    /// Something cannot be kept.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A result cannot be printed.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// The trained model makes nothing of the test set.
    #[error(
        "the loss on the test set is {loss}: the model is kept, in {}; look at the data, and at values that it was given", .folder.display()
    )]
    TestLoss {
        /// The loss.
        loss: f64,
        /// The run's folder.
        folder: std::path::PathBuf,
    },
    /// Too few ranks for the job.
    #[error("the job needs {needed} ranks (1 owner, {stages} stages and {relays} relays), there are {found}")]
    TooFewRanks {
        /// Ranks that there are.
        found: u16,
        /// Ranks that it needs.
        needed: u16,
        /// Stages among them.
        stages: u16,
        /// Relays among them.
        relays: u16,
    },
    /// Two numbers of ranks.
    #[error("--hosts has {hosts} ranks, --ranks {ranks}; leave --ranks out, or give --hosts as many")]
    Hosts {
        /// Ranks of all hosts.
        hosts: u16,
        /// Ranks to reckon with.
        ranks: u16,
    },
    /// Too many ranks.
    #[error("a job has at most {most} ranks, there are {found}")]
    TooManyRanks {
        /// Ranks that there are.
        found: u16,
        /// The most.
        most: u16,
    },
    /// Nothing is left to train on.
    #[error("no sample is left to train on, {held_out} are held out; take a smaller data.validation")]
    NoSamples {
        /// Samples that are held out.
        held_out: usize,
    },
    /// No batch is whole, and one that is not is left out.
    #[error(
        "no batch is left to train on: train.drop_last leaves out what is no whole batch, and there are {samples} samples for a \
         train.batch of {batch}; take a train.batch of {samples} or less, or train.drop_last = false"
    )]
    NoBatch {
        /// Samples to train on.
        samples: usize,
        /// Samples of a batch.
        batch: u32,
    },
    /// A message that no transport takes.
    #[error("{what} would have {bytes} bytes, the most is {most}; {fix}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// The most.
        most: u64,
        /// What to do.
        fix: &'static str,
    },
    /// A sealed message outside slots is not what its sender sealed for here and now.
    #[error("{what} from {from} failed authentication")]
    Sealed {
        /// What it was.
        what: &'static str,
        /// Whose it was said to be.
        from: crate::ids::Rank,
    },
    /// A message outside slots that is not understood.
    #[error("{what} from {from} is not understood; do all ranks run the same version of mixnn?")]
    Unreadable {
        /// What it was.
        what: &'static str,
        /// Whose.
        from: crate::ids::Rank,
    },
    /// The owner has stopped the run; all ranks know, and it says why.
    #[error("the owner has stopped the run")]
    Stopped {
        /// The exit code that the reason has.
        code: i32,
    },
    /// A fault has ended the run; all ranks know.
    #[error("{}", describe(noticed, own.as_ref()))]
    Fault {
        /// The first that was noticed.
        noticed: Noticed,
        /// The owner's own error, if that is it.
        own: Option<RoleError>,
    },
    /// A fault to which the owner did not answer, or that it could not tell all.
    #[error("{}; not all ranks have heard of it", describe(.0, None))]
    Unanswered(Noticed),
    /// The owner has refused the job; it says why.
    #[error("the owner has refused the job")]
    Refused {
        /// The exit code that it named.
        code: i32,
    },
    /// Ranks have told the owner that they cannot take part.
    #[error("{}", declined(.ranks))]
    Declined {
        /// The ranks that cannot take part.
        ranks: Vec<crate::ids::Rank>,
        /// The exit code that the first of them named.
        code: i32,
    },
    /// All ranks have heard that there is no run.
    #[error("{why}")]
    Told {
        /// Why, as far as this rank is concerned.
        why: Box<RunError>,
        /// The exit code that the owner named.
        code: i32,
    },
    /// The ranks do not compute alike.
    #[error("ranks differ in what their results' bits depend on: {0}; leave --strict out to run all the same")]
    Fingerprints(String),
    /// The operating system has no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// Something that cannot be.
    #[error("a bug: {0}")]
    Bug(String),
}

fn declined(ranks: &[crate::ids::Rank]) -> String {
    let names: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("{} cannot take part, and say{} why", names.join(", "), if ranks.len() == 1 { "s" } else { "" })
}

/// What has ended a run.
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

/// The exit code of a run that ended for `reason`.
fn code_of(reason: Reason) -> i32 {
    match reason {
        Reason::Authentication | Reason::Message => 4,
        Reason::NotANumber => 1,
        Reason::Failure | Reason::Device => 3,
    }
}

impl RunError {
    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Role(error) => code_of(error.reason()),
            RunError::TestLoss { .. } => 1,
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

    /// The error itself, whoever else has heard of it.
    pub fn cause(&self) -> &Self {
        match self {
            RunError::Told { why, .. } => why.cause(),
            error => error,
        }
    }

    /// Whether training has diverged: what it had come to before is sound.
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

    /// Whether all ranks know that the run has ended, so that none has to be torn out of it.
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            RunError::Refused { .. }
                | RunError::Told { .. }
                | RunError::Stopped { .. }
                | RunError::Fault { .. }
                | RunError::TestLoss { .. }
                | RunError::Print(_)
                | RunError::Kept(KeptError::Overtaken { .. })
        )
    }

    /// Whether another rank says what happened.
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

fn sealed(what: &'static str, from: crate::ids::Rank) -> impl FnOnce(Unauthentic) -> RunError {
    move |Unauthentic| RunError::Sealed { what, from }
}

/// Who follows a run.
pub trait Watcher {
    /// What will happen, once it is known: one line of text.
    fn note(&mut self, line: &str);

    /// What bears on the result: the same, for those too who want no notes.
    fn warn(&mut self, line: &str) {
        self.note(line);
    }

    /// Samples that are through a pass, and samples of it.
    fn progress(&mut self, epoch: u32, done: usize, of: usize);

    /// Training has failed; `model` is what it had come to after so many good `epochs`.
    ///
    /// # Errors
    /// Those of writing it down.
    fn keep(&mut self, epochs: u32, model: &Model) -> Result<(), RunError>;

    /// An epoch is over.
    ///
    /// # Errors
    /// Those of writing it down.
    fn epoch(&mut self, report: &kept::results::EpochReport) -> Result<(), RunError>;

    /// What comes out for all samples, (samples, outputs), where a run [infers](prepare::Prepared::infers) and does nothing
    /// else.
    ///
    /// # Errors
    /// Those of writing it down.
    fn outputs(&mut self, _outputs: Vec<f32>) -> Result<(), RunError> {
        Ok(())
    }
}

/// Who follows nothing.
impl Watcher for () {
    fn note(&mut self, _: &str) {}

    fn progress(&mut self, _: u32, _: usize, _: usize) {}

    fn keep(&mut self, _: u32, _: &Model) -> Result<(), RunError> {
        Ok(())
    }

    fn epoch(&mut self, _: &kept::results::EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
