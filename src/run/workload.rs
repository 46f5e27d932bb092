//! What a job asks of its ranks, as the model takes it: its lengths, its schedule, and the arithmetic of its stages.

use super::RunError;
use super::prepare::Prepared;
use crate::job::{FEWEST_MIXED_RANKS, MOST_RANKS, Pace, Profile};
use crate::mix::geometry::Geometry;
use crate::model::{SlotStart, StageLoad, Travel, Workload};
use crate::nn::StageSpec;

/// How many values the owner reads for each output that it compares: the loss takes an exponential of each.
const OF_AN_OUTPUT: f64 = 4.0;

impl Prepared {
    /// What an epoch of the job asks of `ranks` ranks, all on one host if `one_host`.
    ///
    /// # Errors
    /// [`RunError::TooLong`], [`RunError::Mix`].
    pub fn workload(&self, ranks: u16, one_host: bool) -> Result<Workload, RunError> {
        let mix = &self.job.mix;
        let travel = match mix.profile {
            Profile::Mixed => Travel::Mixed,
            Profile::Sealed => Travel::Sealed,
            Profile::Bare => Travel::Bare,
        };
        let pacing = match mix.pace.among(one_host) {
            Pace::Slots(slot) if travel == Travel::Mixed => SlotStart::Every(slot.as_secs_f64()),
            Pace::Auto | Pace::Work(_) if travel == Travel::Mixed => SlotStart::Work,
            _ => SlotStart::Lockstep,
        };
        Ok(Workload { travel, pacing, ..self.workload_in(self.geometry(ranks)?) })
    }

    /// What an epoch of the job asks of the fewest ranks that the profile `mixed` takes, in lockstep. `None` where messages would be too
    /// long for it.
    pub(super) fn mixed_workload(&self) -> Option<Workload> {
        let mix = &self.job.mix;
        let ranks = (1 + self.job.remote().len() as u16 + mix.relays).clamp(FEWEST_MIXED_RANKS, MOST_RANKS);
        let lengths = self.needed().ok()?.lengths(ranks, mix.hops).at_least(mix).ok()?;
        let geometry = Geometry::new(ranks, mix.hops, lengths.message as u32, mix.cell).ok()?;
        Some(self.workload_in(geometry))
    }

    /// What an epoch of the job asks of ranks whose messages have the lengths `geometry`, in the mix and in lockstep.
    fn workload_in(&self, geometry: Geometry) -> Workload {
        let train = &self.job.train;
        let micro_batch = train.micro_batch;
        let epoch = self.epoch_samples();
        let batches = epoch.div_ceil(train.batch as usize).max(1) as u32;
        let a_term = self.job.checkpoint.every.batches().unwrap_or(u32::MAX).min(batches);
        let inputs = self.boundaries.first().map_or(0, |boundary| boundary.features());
        let outputs = self.boundaries.last().map_or(0, |boundary| boundary.features());
        Workload {
            geometry,
            travel: Travel::Mixed,
            pacing: SlotStart::Lockstep,
            depth: self.depth(),
            stages: self.specs().iter().map(load_of).collect(),
            remote: self.job.remote(),
            rows: micro_batch,
            full: train.batch / micro_batch.max(1),
            training: micro_batches(epoch, train.batch as usize, micro_batch as usize),
            validation: self.validation.samples().div_ceil(micro_batch as usize) as u32,
            terms: batches.div_ceil(a_term),
            owned: f64::from(inputs) + OF_AN_OUTPUT * f64::from(outputs),
        }
    }
}

/// How many micro-batches `samples` samples are cut into, batch by batch.
fn micro_batches(samples: usize, batch: usize, micro_batch: usize) -> u32 {
    (samples / batch * (batch / micro_batch) + (samples % batch).div_ceil(micro_batch)) as u32
}

/// What a stage of this `spec` does with a sample.
pub(crate) fn load_of(spec: &StageSpec) -> StageLoad {
    let rows = f64::from(spec.micro_batch.max(1));
    StageLoad {
        maps: spec.affine_maps(),
        values: spec.activation_count() as f64 / rows,
        stepped: (2 + spec.optimizer.state()) as f64 * spec.parameter_count() as f64,
        first: spec.data.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;
    use crate::model::{OnHosts, Speeds};
    use crate::pipeline::DataPass;

    fn prepared(sets: &[&str], speeds: &Speeds) -> Prepared {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap();
        Prepared::on(job, speeds).unwrap()
    }

    /// The model reckons with the slots that a run has.
    #[test]
    fn a_workload_has_the_slots_of_the_job() {
        for sets in [&[][..], &["train.micro_batch=8"], &["mix.depth=5"], &["train.drop_last=true"]] {
            let prepared = prepared(sets, &Speeds::unmeasured());
            let workload = prepared.workload(7, true).unwrap();
            let batches = prepared.batches(0);
            assert_eq!((workload.full, workload.training), (batches.full(), batches.micro_batches()), "{sets:?}");
            let micro_batch = prepared.job.train.micro_batch as usize;
            let looks = prepared.validation.samples().div_ceil(micro_batch) as u32;
            let mut slots = DataPass::training(prepared.depth(), batches.full(), batches.micro_batches()).slots();
            if looks > 0 {
                slots += DataPass::evaluation(prepared.depth(), looks).slots();
            }
            assert_eq!(workload.slots(), slots);
            assert_eq!(workload.remote.len(), prepared.job.remote().len());
        }
    }

    /// The number is the one with the least predicted time, and the same however the job is run.
    #[test]
    fn what_the_job_leaves_open_is_chosen_alike_for_all_ways() {
        let open = "train.micro_batch=auto";
        let measured = Speeds { latency: 0.1, ..Speeds::unmeasured() };
        for speeds in [Speeds::unmeasured(), measured] {
            let chosen = prepared(&[open], &speeds);
            let choice = chosen.choice().unwrap();
            assert!(!chosen.job.train.micro_batch_open && choice.micro_batch == chosen.job.train.micro_batch);
            for (micro_batch, seconds) in &choice.among {
                let fixed = prepared(&[&format!("train.micro_batch={micro_batch}"), "mix.pace=lockstep"], &speeds);
                assert!(fixed.choice().is_none());
                let predicted = fixed.workload(fixed.job.ranks(), true).unwrap().predicted(&speeds, OnHosts(1));
                assert!((predicted.total() - seconds).abs() < 1e-12);
                assert!(choice.seconds <= *seconds);
            }
            for other in ["mix.profile=bare", "mix.profile=sealed", "mix.pace=auto", "compute.threads=1"] {
                assert_eq!(prepared(&[open, other], &speeds).choice(), Some(choice), "{other}");
            }
            // Another job on the same data, as of a comparison, is cut alike.
            let sets = [open.to_owned(), "mix.hops=4".to_owned()];
            let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap();
            assert_eq!(chosen.with(job).unwrap().job.train.micro_batch, choice.micro_batch);
        }
    }

    /// What the job does not allow is not chosen, and where nothing is possible, the error is that of any such job.
    #[test]
    fn only_what_the_job_allows_is_chosen() {
        let ops = "stage=[{ ops = [{ op = \"linear\", out = 8 }, { op = \"batch_norm\" }] }, { ops = [{ op = \"linear\", out = 10 }] }]";
        let chosen = prepared(&["train.micro_batch=auto", ops], &Speeds::unmeasured());
        assert!(chosen.choice().unwrap().among.iter().all(|(micro_batch, _)| *micro_batch > 1));
        let sets = ["train.micro_batch=auto", "train.batch=1", ops].map(str::to_owned);
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap();
        let refused = Prepared::of(job).err().unwrap().to_string();
        assert!(refused.contains("take a larger train.batch"), "{refused}");
    }
}
