//! The ranks that measure. Rank 0 tells all others what to do next, until there is nothing more to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cells::CryptoCase;
use super::machine::Machine;
use super::products::GemmCase;
use super::reading::Reading;
use super::slots::{SlotCase, meet};
use crate::ids::Rank;
use crate::run::owner::{self, Surroundings};
use crate::run::prepare::Prepared;
use crate::run::trust::Credentials;
use crate::run::{Led, RunError, hostname, local, serve};
use crate::transport::local::{Local, connect};
use crate::transport::{Cores, Membership, Transport, Whole};

/// What the ranks of a crew do next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Duty {
    /// They seal or open cells, all at once.
    Crypto(CryptoCase),
    /// They multiply matrices, all at once.
    Gemm(GemmCase),
    /// They run slots with each other.
    Slots(SlotCase),
    /// They serve a run of a job.
    Serve,
    /// They leave: there is no more to do.
    Leave,
}

/// A duty, and the ranks that do it. All others wait for the next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Assignment {
    ranks: u16,
    duty: Duty,
}

/// How many bytes an order has on its way.
const ASSIGNMENT: usize = 128;
/// How long a rank waits for its next order: as long as a bench may take.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a rank waits for others that do the same duty. A run of a job has a time-out of its own.
const TOGETHER: Duration = Duration::from_secs(120);

/// The ranks that measure, as rank 0 sees them.
pub enum Crew<'a> {
    /// Threads of this process, so many.
    Threads(u16),
    /// Processes, of which this one is rank 0.
    Processes(Processes<'a>),
}

/// Processes that wait for orders of this one.
pub struct Processes<'a> {
    /// This one's end of what joins them.
    all: &'a mut dyn Whole,
    /// What carries their messages, in words.
    carrier: &'a str,
    /// Whether some of them do a duty.
    busy: bool,
    /// Where the first ranks stood that did a duty last without the others. They share the host's cores among themselves.
    part: Option<Membership>,
}

impl<'a> Crew<'a> {
    /// The processes at the other ends of `all`, whose messages `carrier` carries.
    pub fn of(all: &'a mut dyn Whole, carrier: &'a str) -> Self {
        Self::Processes(Processes { all, carrier, busy: false, part: None })
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> u16 {
        match self {
            Crew::Threads(ranks) => *ranks,
            Crew::Processes(processes) => processes.all.ranks(),
        }
    }

    /// What is known of where the first `ranks` ranks stand. Of a part of all ranks that is how all stand, until it has done a duty.
    pub(super) fn standing(&self, ranks: u16) -> Membership {
        match self {
            Crew::Threads(_) => {
                let cores = Cores::of_threads(ranks);
                Membership { rank: Rank::OWNER, ranks, cores, rank_on_host: 0, one_host: true }
            }
            Crew::Processes(processes) => {
                let part = processes.part.filter(|part| part.ranks == ranks);
                part.unwrap_or_else(|| Membership { ranks, ..processes.all.membership() })
            }
        }
    }

    /// What carries the messages of these ranks, in words.
    pub(super) fn carrier(&self) -> &str {
        match self {
            Crew::Threads(_) => "threads of one process",
            Crew::Processes(processes) => processes.carrier,
        }
    }

    /// In which ways blocks can travel, of those in `asked`: whether ranks share memory. Threads always do.
    pub(super) fn carriers(&self, asked: &[bool]) -> Vec<bool> {
        match self {
            Crew::Threads(_) => vec![true],
            Crew::Processes(_) => asked.to_vec(),
        }
    }

    /// What a table says of how blocks travel. `windows` says whether ranks of one host share memory.
    pub(super) fn blocks(&self, windows: bool) -> &'static str {
        match (self, windows) {
            (Crew::Threads(_), _) => "handed",
            (Crew::Processes(_), true) => "shared",
            (Crew::Processes(_), false) => "messages",
        }
    }

    /// The program, the machine, and where `ranks` ranks stand.
    ///
    /// # Errors
    /// [`RunError::Compute`].
    pub(super) fn machine(&self, ranks: u16) -> Result<Machine, RunError> {
        Machine::here(&self.standing(ranks), self.carrier())
    }

    /// Has the first `ranks` ranks measure `duty` at once. `letters` has one for each of them, all of one length, where the duty
    /// takes letters. Returns what each has measured.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn measure(&mut self, ranks: u16, duty: Duty, letters: &[Vec<u8>]) -> Result<Vec<Reading>, RunError> {
        self.lead(ranks, duty, |transport| measured(transport, duty, letters))
    }

    /// Runs `prepared` on `ranks` ranks, which must be enough for it.
    pub(super) fn train(&mut self, ranks: u16, prepared: &Prepared) -> Led {
        let carrier = self.carrier().to_owned();
        self.lead(ranks, Duty::Serve, |transport| {
            let (host, credentials) = (hostname(), Credentials::default());
            let surroundings =
                Surroundings { host: &host, carrier: &carrier, strict: false, credentials: &credentials };
            owner::run(transport, prepared, &surroundings, &mut ())
        })
    }

    /// Whether all other ranks wait for an order, so that they can be [dismissed](Self::dismiss).
    pub fn waits(&self) -> bool {
        !matches!(self, Crew::Processes(Processes { busy: true, .. }))
    }

    /// Tells all other ranks that there is no more to do.
    ///
    /// # Errors
    /// [`RunError::Transport`].
    pub fn dismiss(&mut self) -> Result<(), RunError> {
        match self {
            Crew::Threads(_) => Ok(()),
            Crew::Processes(processes) => processes.order(Assignment { ranks: 0, duty: Duty::Leave }),
        }
    }

    /// Has the first `ranks` ranks do `duty`, where this one is the owner and does `lead`.
    fn lead<R>(
        &mut self,
        ranks: u16,
        duty: Duty,
        lead: impl FnOnce(&mut dyn Transport) -> Result<R, RunError>,
    ) -> Result<R, RunError> {
        match self {
            Crew::Threads(_) => {
                let (led, served) =
                    local::together(connect(ranks), |end| lead(end), |end: &mut Local| take_part(end, duty));
                local::with_its_cause(led, served)
            }
            Crew::Processes(processes) => {
                processes.order(Assignment { ranks, duty })?;
                processes.busy = true;
                processes.all.set_timeout(TOGETHER);
                let led = match ranks == processes.all.ranks() {
                    true => lead(processes.all),
                    false => match processes.all.first(ranks)? {
                        Some(mut part) => {
                            processes.part = Some(part.membership());
                            lead(&mut *part)
                        }
                        None => Err(RunError::Bug("the owner is among the first ranks".to_owned())),
                    },
                };
                // All that have done the duty know of an orderly end, and wait for the next order with the others.
                processes.busy = led.as_ref().is_err_and(|error| !error.is_orderly());
                led
            }
        }
    }
}

impl Processes<'_> {
    /// Sends `order` to all other ranks.
    fn order(&mut self, order: Assignment) -> Result<(), RunError> {
        self.all.set_timeout(PATIENCE);
        let mut bytes = postcard::to_allocvec(&order).map_err(|error| RunError::Bug(error.to_string()))?;
        bytes.resize(ASSIGNMENT, 0);
        let all = vec![bytes; usize::from(self.all.ranks())];
        self.all.letters().scatter(&all, ASSIGNMENT)?;
        Ok(())
    }
}

/// Does what rank 0 says on another rank, until there is no more to do. A run of a job that ends by an error of which all its ranks have
/// heard leaves this rank waiting for what comes next: ranks that took no part in it do so, too.
///
/// # Errors
/// [`RunError`]: the last such error, or one of which others do not know.
pub fn serve(all: &mut dyn Whole) -> Result<(), RunError> {
    let mut ended = Ok(());
    loop {
        all.set_timeout(PATIENCE);
        let bytes = all.letters().scatter(&[], ASSIGNMENT)?;
        let Ok((Assignment { ranks, duty }, _)) = postcard::take_from_bytes(&bytes) else {
            return Err(RunError::Unreadable { what: "an order", from: Rank::OWNER });
        };
        all.set_timeout(TOGETHER);
        let done = match duty {
            Duty::Leave => return ended,
            duty if ranks == all.ranks() => take_part(all, duty),
            duty => all.first(ranks)?.map_or(Ok(()), |mut part| take_part(&mut *part, duty)),
        };
        match done {
            Err(error) if !error.is_orderly() => return Err(error),
            Err(error) => ended = Err(error),
            Ok(()) => {}
        }
    }
}

/// Does a duty on a rank other than 0.
fn take_part(transport: &mut dyn Transport, duty: Duty) -> Result<(), RunError> {
    match duty {
        Duty::Serve => serve::run(transport, &hostname(), &Credentials::default()),
        duty => measured(transport, duty, &[]).map(|_| ()),
    }
}

/// Measures `duty` on this rank, when all are there. Returns what all ranks have measured, on the owner; nothing elsewhere.
fn measured(transport: &mut dyn Transport, duty: Duty, letters: &[Vec<u8>]) -> Result<Vec<Reading>, RunError> {
    let reading = match duty {
        Duty::Crypto(case) => {
            meet(transport)?;
            Reading::of(case.seconds())
        }
        Duty::Gemm(case) => {
            meet(transport)?;
            Reading::of(case.seconds(transport.membership().cores.whole())?)
        }
        Duty::Slots(case) => case.reading(transport, letters)?,
        Duty::Serve | Duty::Leave => Reading::default(),
    };
    let told = transport.letters().gather(&reading.to_bytes())?;
    Ok(told.iter().map(|bytes| Reading::from_bytes(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_fit_their_letters() {
        let longest = SlotCase::longest();
        for duty in [Duty::Slots(longest), Duty::Serve, Duty::Leave] {
            assert!(postcard::to_allocvec(&Assignment { ranks: u16::MAX, duty }).unwrap().len() <= ASSIGNMENT);
        }
    }
}
