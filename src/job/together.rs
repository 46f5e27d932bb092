//! Whether the tables of a job go together, and how many ranks it takes.

use std::ops::Range;

use super::section::Section;
use super::{FEWEST_MIXED_RANKS, Job, JobError, LossAt, MOST_RANKS, Pace, Profile, SLOTS_OF_TIMEOUT};

/// Whether the tables of `job`, which was read from `root`, go together. Their own files cannot tell.
///
/// # Errors
/// [`JobError::Conflict`] at the stage or the table `mix` that does not fit the rest.
pub(super) fn fit(job: &Job, root: &Section<'_>) -> Result<(), JobError> {
    let remote = job.remote();
    if let Some(between) = job.stages[remote.clone()].iter().find(|stage| stage.on_owner) {
        return Err(JobError::Conflict {
            at: between.at.clone(),
            problem: "a stage with at = \"owner\" stands between stages on ranks".to_owned(),
            fix: "the owner hosts the first stages, the last ones, or both".to_owned(),
        });
    }
    if (1..remote.len()).contains(&job.mix.depth.into()) {
        return Err(root.conflict(
            "mix",
            format!("{} stages cannot pass for {} (mix.depth)", remote.len(), job.mix.depth),
            "take a mix.depth above the number of stages on ranks, or leave it out",
        ));
    }
    if job.train.loss_at == LossAt::Last {
        let fix = "take train.loss_at = \"owner\", or leave";
        if let Some(stage) = job.stages.last().filter(|stage| stage.on_owner) {
            return Err(JobError::Conflict {
                at: stage.at.clone(),
                problem: "the last stage stands on the owner, which has the labels, and train.loss_at = \"last\" sends them to a rank"
                    .to_owned(),
                fix: format!("{fix} at = \"owner\" out here"),
            });
        }
        if usize::from(job.mix.depth) > remote.len() {
            return Err(root.conflict(
                "mix",
                format!("stages that pass for {} (mix.depth) need a loss that waits", job.mix.depth),
                format!("{fix} mix.depth out"),
            ));
        }
    }
    if let Pace::Slots(slot) | Pace::Work(slot) = job.mix.pace
        && slot * SLOTS_OF_TIMEOUT > job.transport.timeout
    {
        let timeout = job.transport.timeout;
        return Err(root.conflict(
            "mix",
            format!("{SLOTS_OF_TIMEOUT} slots of {slot:?} (mix.pace) are longer than transport.timeout, {timeout:?}"),
            "take shorter slots or a longer time-out: who waits for a slot hears of nothing",
        ));
    }
    if job.mix.profile == Profile::Mixed && job.ranks() > MOST_RANKS {
        return Err(root.conflict(
            "mix",
            format!("1 owner, {} stages and {} relays are {} ranks", remote.len(), job.mix.relays, job.ranks()),
            "a job has at most 512 ranks: take fewer relays",
        ));
    }
    Ok(())
}

impl Job {
    /// The indices of the stages that stand on ranks: all stages but the first ones and the last ones that stand on the owner.
    pub fn remote(&self) -> Range<usize> {
        let start = self.stages.iter().take_while(|stage| stage.on_owner).count();
        let behind = self.stages.iter().rev().take_while(|stage| stage.on_owner).count();
        start..(self.stages.len() - behind).max(start)
    }

    /// Whether ranks can share the job's stages. A single process (`--single`) runs any job.
    ///
    /// # Errors
    /// [`JobError::Conflict`] where no stage stands on a rank, or a single one under the profile `mixed`.
    pub fn can_be_shared(&self) -> Result<(), JobError> {
        let (problem, fix) = match (self.remote().len(), self.mix.profile) {
            (0, Profile::Mixed) => {
                ("all stages have at = \"owner\"", "leave it out of at least 2 stages, or run the job with --single")
            }
            (0, _) => (
                "all stages have at = \"owner\"",
                "leave it out where a rank is to host the stage, or run the job with --single",
            ),
            (1, Profile::Mixed) => (
                "profile \"mixed\" needs at least 2 stages on ranks, the job has 1",
                "split the network into two stages, take mix.profile = \"sealed\", or run the job with --single",
            ),
            _ => return Ok(()),
        };
        let at = self.stages[0].at.clone();
        Err(JobError::Conflict { at, problem: problem.to_owned(), fix: fix.to_owned() })
    }

    /// The fewest ranks that can run the job: the owner, a rank for each stage that does not stand on the owner and, under the profile
    /// `mixed`, the relays. `mixed` takes 6 or more.
    pub fn ranks(&self) -> u16 {
        let seats = 1 + self.remote().len() as u16;
        match self.mix.profile {
            Profile::Mixed => (seats + self.mix.relays).max(FEWEST_MIXED_RANKS),
            Profile::Bare | Profile::Sealed => seats,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::job::LossAt;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn tables_must_go_together() {
        for (sets, words) in [
            (&["mix.relays=510"][..], "1 owner, 2 stages and 510 relays are 513 ranks; a job has at most 512 ranks"),
            (&["mix.depth=1"], "2 stages cannot pass for 1 (mix.depth); take a mix.depth above the number of stages"),
            (
                &["mix.pace=1s", "transport.timeout=3s"],
                "4 slots of 1s (mix.pace) are longer than transport.timeout, 3s; take shorter slots",
            ),
        ] {
            let found = refused(JOB, sets);
            assert!(found.contains(words), "{found}");
        }
        for sets in [&["mix.relays=61"][..], &["mix.depth=2"], &["mix.pace=1s", "transport.timeout=4s"]] {
            assert!(parse(JOB, sets).is_ok(), "{sets:?}");
        }
        let one = &JOB[..JOB.rfind("[[stage]]").unwrap()];
        let shared = parse(one, &[]).unwrap().can_be_shared().unwrap_err().to_string();
        assert!(shared.contains("needs at least 2 stages on ranks, the job has 1"), "{shared}");
        assert!(parse(one, &["mix.profile=sealed"]).unwrap().can_be_shared().is_ok());
    }

    /// Who else has to wait for the loss, or has the labels anyway.
    #[test]
    fn the_loss_stands_at_the_last_stage_where_nothing_waits_for_it() {
        let at_last = "train.loss_at=last";
        let job = parse(JOB, &[at_last]).unwrap();
        assert_eq!(job.train.loss_at, LossAt::Last);
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
        let stage = |at: &str| format!("{{ ops = [{{ op = \"linear\", out = 10 }}], at = \"{at}\" }}");
        let stages = |at: [&str; 3]| format!("stage=[{}]", at.map(stage).join(", "));
        let found = refused(JOB, &[at_last, &stages(["rank", "rank", "owner"])]);
        assert!(found.contains("take train.loss_at = \"owner\", or leave at = \"owner\" out here"), "{found}");
        let found = refused(JOB, &[at_last, "mix.depth=4"]);
        assert!(
            found.contains("stages that pass for 4 (mix.depth) need a loss that waits; take train.loss_at"),
            "{found}"
        );
        for set in ["mix.depth=2", &stages(["owner", "rank", "rank"])] {
            assert!(parse(JOB, &[at_last, set]).is_ok(), "{set}");
        }
        assert!(refused(JOB, &["train.loss_at=first"]).contains("\"owner\" or \"last\""));
    }

    #[test]
    fn stages_and_relays_need_ranks() {
        assert_eq!(parse(JOB, &[]).unwrap().ranks(), 6);
        assert_eq!(parse(JOB, &["mix.relays=4"]).unwrap().ranks(), 7);
        assert_eq!(parse(JOB, &["mix.relays=0"]).unwrap().ranks(), 6);
        assert_eq!(parse(JOB, &["mix.profile=bare"]).unwrap().ranks(), 3);
    }

    #[test]
    fn the_owner_hosts_stages_at_either_end() {
        let places = |places: &[&str]| {
            let stage = |place: &&str| format!("{{ ops = [{{ op = \"linear\", out = 10 }}], at = \"{place}\" }}");
            format!("stage=[{}]", places.iter().map(stage).collect::<Vec<String>>().join(", "))
        };
        for (at, remote) in [
            (&["rank", "rank"][..], 0..2),
            (&["owner", "rank", "rank"], 1..3),
            (&["rank", "rank", "owner", "owner"], 0..2),
            (&["owner", "rank", "rank", "owner"], 1..3),
        ] {
            let job = parse(JOB, &[&places(at)]).unwrap();
            assert_eq!(job.remote(), remote);
            assert_eq!(usize::from(job.ranks()), 6.max(1 + 3 + remote.len()));
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
        }
        for (at, words) in [
            (&["rank", "owner", "rank"][..], "stands between stages on ranks"),
            (&["owner", "owner"], "all stages have at = \"owner\""),
            (&["owner", "rank", "owner"], "needs at least 2 stages on ranks, the job has 1"),
        ] {
            let read = parse(JOB, &[&places(at)]);
            let message = read.and_then(|job| job.can_be_shared()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(parse(JOB, &[&places(&["owner", "rank"]), "mix.profile=bare"]).unwrap().ranks(), 2);
    }
}
