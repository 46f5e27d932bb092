//! The runs that `mixnn bench model` holds its model against: small perceptrons on the digits, alone and on ranks.

use super::crew::Crew;
use super::rounds::Spread;
use crate::job::{Job, Profile};
use crate::model::{HeldRun, OnHosts, Speeds};
use crate::run::kept::results::Outcome;
use crate::run::prepare::Prepared;
use crate::run::{RunError, single};

/// Widths of hidden layers, samples of a batch, of a micro-batch.
const JOBS: [([usize; 2], u32, u32); 4] =
    [([256, 128], 64, 16), ([256, 128], 256, 64), ([512, 256], 128, 16), ([1024, 512], 256, 128)];
/// Widths, batch and micro-batch of the runs that show how evenly work falls on cores.
const EVENNESS: ([usize; 2], u32, u32) = ([768, 384], 256, 64);
/// How many of the runs the model is fitted to.
pub(super) const FITTED: usize = 3;
/// How many epochs a run has. The first warms up, and the last has the test in it.
const EPOCHS: u32 = 4;
/// So many samples go through the run that shows what a term takes.
const SHORT: usize = 64;

/// A run of a job, of which an epoch is timed.
pub(super) struct TimedJob {
    /// What it is called in the table.
    name: String,
    /// Whether it runs in one process.
    alone: bool,
    prepared: Prepared,
}

/// The runs that `ranks` ranks can do. The first is short, and shows what a term takes; the next two show how evenly work falls on cores;
/// the model is held against all others.
///
/// # Errors
/// Those of [`Prepared::of`].
pub(super) fn runs(ranks: u16) -> Result<Vec<TimedJob>, RunError> {
    let short = Prepared::of(perceptron([32, 16], SHORT as u32, SHORT as u32, ranks)?)?.short(SHORT, SHORT);
    let mut runs = vec![TimedJob { name: "short".to_owned(), alone: false, prepared: short }];
    for profile in [Profile::Bare, Profile::Mixed] {
        let mut job = perceptron(EVENNESS.0, EVENNESS.1, EVENNESS.2, ranks)?;
        job.mix.profile = profile;
        runs.push(TimedJob { name: "evenness".to_owned(), alone: false, prepared: Prepared::of(job)? });
    }
    for (hidden, batch, micro_batch) in JOBS {
        let name = format!("64-{}-{}-10, batch {batch}/{micro_batch}", hidden[0], hidden[1]);
        for (alone, profile) in [(true, Profile::Mixed), (false, Profile::Bare), (false, Profile::Mixed)] {
            let mut job = perceptron(hidden, batch, micro_batch, ranks)?;
            job.mix.profile = profile;
            runs.push(TimedJob { name: name.clone(), alone, prepared: Prepared::of(job)? });
        }
    }
    Ok(runs)
}

/// The job of a perceptron with two `hidden` layers, which `ranks` ranks can run, in lockstep.
fn perceptron(hidden: [usize; 2], batch: u32, micro_batch: u32, ranks: u16) -> Result<Job, RunError> {
    let layer = |out: usize| format!("[[stage]]\nops=[{{op=\"linear\",out={out}}},{{op=\"relu\"}}]\n");
    let text = format!(
        "name=\"held\"\nseed=1\n[data]\nsource=\"digits\"\n[train]\nepochs={EPOCHS}\nbatch={batch}\nmicro_batch={micro_batch}\n\
         optimizer={{kind=\"sgd\",lr=0.01,momentum=0.9}}\n[mix]\nrelays={}\npace=\"lockstep\"\n[checkpoint]\nevery=\"never\"\n\
         {}{}[[stage]]\nops=[{{op=\"linear\",out=10}}]\n",
        ranks.saturating_sub(4).clamp(2, 3),
        layer(hidden[0]),
        layer(hidden[1])
    );
    Ok(Job::parse("a run of mixnn bench model", &text, &[])?)
}

/// The seconds of an epoch of a run, behind the first and before the last.
fn epoch(outcome: &Outcome) -> f64 {
    let between = outcome.epochs.iter().skip(1).take(outcome.epochs.len().saturating_sub(2));
    Spread::of(between.map(|epoch| epoch.seconds)).map_or(outcome.seconds, |spread| spread.median)
}

impl TimedJob {
    /// On how many ranks it runs.
    pub(super) fn ranks(&self) -> u16 {
        if self.alone { 1 } else { self.prepared.job.ranks() }
    }

    /// Runs it. Returns the seconds of an epoch.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn epoch(&self, crew: &mut Crew<'_>) -> Result<f64, RunError> {
        let (outcome, _) = match self.alone {
            true => single::run(&self.prepared, &mut ())?,
            false => crew.train(self.ranks(), &self.prepared)?,
        };
        Ok(epoch(&outcome))
    }

    /// How many seconds an epoch takes on a machine like `speeds`, as the model has it.
    ///
    /// # Errors
    /// Those of [`Prepared::workload`].
    pub(super) fn predicted(&self, speeds: &Speeds) -> Result<f64, RunError> {
        let workload = self.prepared.workload(self.prepared.job.ranks(), true)?;
        Ok(match self.alone {
            true => workload.alone(speeds).total(),
            false => workload.predicted(speeds, OnHosts(1)).total(),
        })
    }

    /// A model of these `speeds`, held against this run, of which an epoch took `measured` seconds.
    ///
    /// # Errors
    /// Those of [`Prepared::workload`].
    pub(super) fn held(&self, speeds: &Speeds, measured: f64) -> Result<HeldRun, RunError> {
        let way = if self.alone { "single" } else { self.prepared.job.mix.profile.name() };
        let (job, way) = (self.name.clone(), way.to_owned());
        Ok(HeldRun { job, way, ranks: self.ranks(), predicted: self.predicted(speeds)?, measured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On however few ranks, every run can be carried out, and the model predicts something for it.
    #[test]
    fn the_runs_suit_the_ranks() {
        for ranks in [6, 7, 40] {
            let runs = runs(ranks).unwrap();
            assert_eq!(runs.len(), FITTED + 3 * JOBS.len());
            assert!(runs.iter().all(|run| run.ranks() <= ranks));
            assert!(runs.iter().all(|run| run.predicted(&Speeds::unmeasured()).unwrap() > 0.0));
        }
    }
}
