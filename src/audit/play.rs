//! One run of a job in which all ranks are threads of this process, with a recorder at every rank.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::record::{Recorder, Recording, Shelf};
use super::truth::{Listener, roles};
use crate::ids::Rank;
use crate::job::Profile;
use crate::run::prepare::Prepared;
use crate::run::trust::Credentials;
use crate::run::{RunError, local, serve};
use crate::transport::Member;
use crate::transport::local::connect;

/// For how many slots of a run there is room before memory must grow.
const ROOM: usize = 512;

/// A run that is over, as it was recorded.
pub(super) struct Played {
    /// How many phases a slot has.
    pub(super) phases: usize,
    /// What each rank sent and received and what it was, by rank.
    pub(super) ranks: Vec<Recording>,
    /// In how many slots a phase began later than the pace says. `None` where the run kept no pace.
    pub(super) overran: Option<u64>,
}

impl Played {
    /// Runs `prepared` on `ranks` ranks.
    ///
    /// # Errors
    /// [`RunError`]: that of the rank that ended the run.
    pub(super) fn run(prepared: &Prepared, ranks: u16) -> Result<Self, RunError> {
        let roles = roles(&prepared.remote_specs())?;
        let shelf: Shelf = Arc::new(Mutex::new(vec![Recording::default(); ranks.into()]));
        let origin = Instant::now();
        let ends = connect(ranks).into_iter().map(|end| Recorder::new(end, origin, &shelf)).collect();
        // Each rank gets a host of its own: ranks of one host would share what they know.
        let serve = |end: &mut Recorder<_>, host: &str| {
            let (host, mut listener) = (format!("{host}-{}", end.rank().0), Listener::new(&roles, ROOM));
            let served = serve::run_watched(end, &host, &Credentials::default(), &mut listener);
            end.keep(listener.truth);
            served
        };
        let (led, served) = local::run_served_by(ends, prepared, "audit", &mut (), serve);
        let (outcome, _) = local::with_its_cause(led, served)?;
        let overran = outcome.slot_seconds.or(outcome.work_seconds).map(|_| outcome.overran);
        let mixed = prepared.job.mix.profile == Profile::Mixed;
        let phases = if mixed { prepared.job.mix.hops.into() } else { 1 };
        let recordings = std::mem::take(&mut *shelf.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self { phases, ranks: recordings, overran })
    }

    /// How many slots all ranks have gone through.
    pub(super) fn slots(&self) -> usize {
        self.ranks.iter().map(|recording| recording.begun.len()).min().unwrap_or(0) / self.phases
    }

    /// The ranks that host the stages, in the order of the stages.
    pub(super) fn hosts(&self) -> Vec<Rank> {
        let mut hosts: Vec<_> = self.others().filter_map(|rank| Some((self.of(rank).truth.stage?, rank))).collect();
        hosts.sort_unstable();
        hosts.into_iter().map(|(_, rank)| rank).collect()
    }

    /// All ranks but the owner.
    pub(super) fn others(&self) -> impl Iterator<Item = Rank> + Clone {
        Rank::all(self.ranks.len() as u16).skip(1)
    }

    /// What `rank` sent and received, and what it was.
    pub(super) fn of(&self, rank: Rank) -> &Recording {
        &self.ranks[rank.index()]
    }

    /// Whether any of the messages that `rank` sent in `slot` was more than cover.
    pub(super) fn real(&self, rank: Rank, slot: usize) -> bool {
        self.of(rank).truth.real.get(slot).is_some_and(|real| real.contains(&true))
    }
}
