//! What `mixnn check` prints: the resolved job, the data ([`data`]), the ranks that it needs and what they do, lengths,
//! bytes and memory. Then the protection: what hosts that collude find out ([`protection`]), and what else may be read
//! ([`leaks`]).

mod data;
mod footprint;
mod hosts;
mod leaks;
mod protection;
mod shared;
mod time;

use std::fmt;

use serde_json::{Value, json};

use data::Listed;
pub(crate) use footprint::Footprint;
pub use hosts::HostMapping;
use leaks::Leak;
use protection::{PLANS, Protection, Setup, TIME};
use time::{EpochTime, choice_json};

use crate::ids::Phase;
use crate::job::{Job, Pace, Profile};
use crate::mix::geometry::Geometry;
use crate::model::{MicroBatchChoice, ModelError, ModelFile};
use crate::nn::StageSpec;
use crate::pipeline::DataPass;
use crate::run::kept::size;
use crate::run::owner::can_run;
use crate::run::prepare::Prepared;
use crate::run::{Assigned, How, RunError};

/// What a job needs and how well it is protected, ready to be printed.
pub struct Checked {
    job: Job,
    /// How many ranks are reckoned with.
    ranks: u16,
    /// The lengths of messages, cells and blocks.
    geometry: Geometry,
    /// How many values the parameters of each stage have, by stage.
    parameters: Vec<u64>,
    /// How tensors of a file were found to be parameters, and which became which. `None` where values are drawn.
    assigned: Option<(How, Vec<Assigned>)>,
    /// How many samples there are to train, to validate and to test.
    samples: [usize; 3],
    /// How many of the samples to train on each epoch leaves out.
    dropped: usize,
    data: Listed,
    /// How many slots an epoch takes, and how many testing takes.
    slots: [u64; 2],
    /// When slots begin, on the hosts that are reckoned with.
    pace: Pace,
    /// What ranks need of the machines.
    needs: Footprint,
    /// How many bytes ranks share: on the host with most ranks, and on one host if all ranks were there.
    shared: [u64; 2],
    /// What colluding hosts find out. `None` without a mix: they need not find out anything, they see it.
    protection: Option<Protection>,
    /// What else may be read, open or closed.
    leaks: Vec<Leak>,
    /// How long an epoch is likely to take.
    time: EpochTime,
    /// How `train.micro_batch` was chosen. `None` where the job names it.
    choice: Option<MicroBatchChoice>,
    /// What the user is warned of.
    warnings: Vec<String>,
}

/// What is printed in place of figures where there is no mix.
const NO_MIX: &str = "none: messages go straight to the neighbours, every flow is linked and the order is seen";

impl Checked {
    /// Works out what the job needs. The number of ranks is `ranks`, or else what `hosts` lists, or else the fewest
    /// that the job needs. They are on the hosts that `hosts` says, or else on one host each.
    ///
    /// # Errors
    /// [`RunError`] where so many ranks cannot run the job, where no circuits are found among them, or where `hosts`
    /// lists another number of ranks than `ranks`.
    pub fn of(prepared: &Prepared, ranks: Option<u16>, hosts: Option<&HostMapping>) -> Result<Self, RunError> {
        let job = prepared.job.clone();
        let listed = hosts.and_then(HostMapping::ranks);
        if let (Some(ranks), Some(hosts)) = (ranks, listed)
            && ranks != hosts
        {
            return Err(RunError::Hosts { hosts, ranks });
        }
        let ranks = ranks.or(listed).unwrap_or_else(|| job.ranks());
        can_run(prepared, ranks)?;
        let on_host = hosts.map_or_else(|| vec![1; ranks.into()], |hosts| hosts.over(ranks));
        let hosts = on_host.len() as u16;
        let geometry = prepared.geometry(ranks)?;
        let specs = prepared.specs();
        let remote = job.remote();
        let stages = remote.len() as u16;
        let (batches, depth) = (prepared.batches(0), prepared.depth());
        // Slots as docs/PROTOCOL.md, 11, counts them.
        let training = DataPass::training(depth, batches.full(), batches.micro_batches());
        let micro = job.train.micro_batch as usize;
        let looks = |samples: usize| DataPass::evaluation(depth, samples.div_ceil(micro) as u32).slots();
        let validation = match prepared.validation.samples() {
            0 => 0,
            samples => looks(samples),
        };
        let mut warnings = Vec::new();
        if leaks::seed_is_short(&job) {
            warnings.push(format!(
                "the seed \"{}\" is short: a stage could find it by trying, and with it the order of samples and the \
                 others' initial values; leave `seed` out to have 256 bits drawn",
                job.seed
            ));
        }
        if job.mix.profile != Profile::Bare && job.trust.ranks.is_none() {
            warnings.push("ranks not authenticated: the MPI layer is trusted".to_owned());
        }
        let data = Listed::of(prepared);
        warnings.extend(data.warnings());
        let setup = Setup { stages, hops: job.mix.hops, hosts: &on_host };
        let mixed = job.mix.profile == Profile::Mixed;
        let protection = mixed.then(|| Protection::simulate(setup, PLANS, TIME, rand::random()));
        warnings.extend(protection.as_ref().and_then(Protection::warning));
        Ok(Self {
            ranks,
            parameters: specs.iter().map(StageSpec::parameter_count).collect(),
            assigned: prepared.assigned().map(|(how, assigned)| (how, assigned.to_vec())),
            samples: [prepared.train.samples(), prepared.validation.samples(), prepared.test.samples()],
            dropped: prepared.train.samples() - prepared.epoch_samples(),
            data,
            slots: [training.slots() + validation, looks(prepared.test.samples())],
            needs: Footprint::of(prepared, &geometry),
            shared: [on_host.iter().copied().max().unwrap_or(ranks), ranks]
                .map(|members| shared::of(&job, &geometry, members.into())),
            protection,
            leaks: leaks::of(prepared, ranks, hosts),
            pace: if job.mix.profile == Profile::Mixed { job.mix.pace.among(hosts == 1) } else { Pace::Lockstep },
            geometry,
            time: EpochTime::unknown(),
            choice: prepared.choice().cloned(),
            warnings,
            job,
        })
    }

    /// Adds how long an epoch of `prepared` is likely to take, by `model`: on the hosts that `hosts` says, each like the one that was
    /// measured, or with all ranks on one such host.
    ///
    /// # Errors
    /// Those of [`Prepared::workload`].
    pub fn foreseen(
        self,
        prepared: &Prepared,
        hosts: Option<&HostMapping>,
        model: Result<Option<ModelFile>, ModelError>,
    ) -> Result<Self, RunError> {
        let hosts = hosts.map_or(1, |hosts| hosts.over(self.ranks).len() as u16);
        let paced = self.job.mix.profile == Profile::Mixed && self.job.mix.pace.among(hosts == 1) != Pace::Lockstep;
        Ok(Self { time: EpochTime::of(prepared, self.ranks, hosts, paced, model)?, ..self })
    }

    /// How many bytes a rank sends in a slot. `None` without a mix, where ranks differ in that.
    fn slot_bytes(&self) -> Option<u64> {
        (self.job.mix.profile == Profile::Mixed).then(|| self.geometry.slot_bytes())
    }

    /// When slots begin, in words.
    fn pace(&self) -> String {
        let mut words = match self.pace {
            Pace::Slots(slot) => format!("every {slot:?}"),
            Pace::Work(work) => format!("when all ranks have had {work:?} for their work"),
            Pace::Auto => "when all ranks have had the same time for their work, which the owner chooses".to_owned(),
            Pace::Lockstep | Pace::Hosts => "when their ranks are ready".to_owned(),
        };
        if self.pace != self.job.mix.pace && self.job.mix.profile == Profile::Mixed {
            words += if self.is_paced() {
                " (were all on one host: when they are ready)"
            } else {
                " (on several hosts: when all have had the same time for their work)"
            };
        }
        words
    }

    /// Whether slots keep a pace.
    fn is_paced(&self) -> bool {
        self.pace != Pace::Lockstep
    }

    /// What is printed, as JSON.
    pub fn json(&self) -> Value {
        let g = &self.geometry;
        let blocks: Vec<usize> = Phase::all(g.hops).map(|phase| g.block(phase)).collect();
        json!({
            "job": self.job.to_json(),
            "profile": self.job.mix.profile.name(),
            "ranks": self.ranks,
            "stages": self.job.stages.len(),
            "stages_on_owner": self.job.stages.len() - self.job.remote().len(),
            "relays": usize::from(self.ranks) - 1 - self.job.remote().len(),
            "parameters": self.parameters,
            "initial_values": self.job.init.from,
            "initial_tensors": self.assigned.as_ref().map(|(how, assigned)| {
                json!({ "taken": how.to_string(), "tensors": assigned })
            }),
            "samples": { "train": self.samples[0], "validation": self.samples[1], "test": self.samples[2] },
            "samples_left_out": self.dropped,
            "data": self.data.json(),
            "message_bytes": g.message(),
            "cells_per_lane": g.cells,
            "cell_payload_bytes": g.payload,
            "block_bytes": blocks,
            "slots_per_epoch": self.slots[0],
            "slots_for_testing": self.slots[1],
            "pace": self.pace(),
            "predicted": self.time.json(),
            "micro_batch_chosen": choice_json(self.choice.as_ref()),
            "bytes_per_rank_and_slot": self.slot_bytes(),
            "bytes_per_rank_and_epoch": self.slot_bytes().map(|bytes| bytes * self.slots[0]),
            "memory_of_largest_rank_bytes": self.needs.memory,
            "data_bytes": self.needs.data,
            "checkpoint_bytes": self.needs.checkpoint,
            "gpu_memory_of_largest_rank_bytes": self.needs.gpu_memory,
            "shared_memory_of_largest_host_bytes": self.shared[0],
            "shared_memory_on_one_host_bytes": self.shared[1],
            "protection": self.protection.as_ref().map(Protection::json),
            "leaks": self.leaks.iter().map(Leak::json).collect::<Vec<Value>>(),
            "warnings": self.warnings,
        })
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = &self.geometry;
        writeln!(f, "{}", self.job.to_toml())?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: String| writeln!(f, "{name:<22} {value}");
        let remote = self.job.remote();
        let relays = usize::from(self.ranks) - 1 - remote.len();
        row(f, "profile", self.job.mix.profile.name().to_owned())?;
        row(f, "ranks", format!("{}: 1 owner, {} stages, {relays} relays", self.ranks, remote.len()))?;
        for (index, parameters) in self.parameters.iter().enumerate() {
            let ops: Vec<&str> = self.job.stages[index].ops.iter().map(crate::job::Op::name).collect();
            let place = if remote.contains(&index) { "" } else { ", on the owner" };
            let name = format!("  stage {}", index + 1);
            row(f, &name, format!("{}: {parameters} parameters{place}", ops.join(", ")))?;
        }
        if let (Some(from), Some((how, assigned))) = (&self.job.init.from, &self.assigned) {
            row(f, "initial values", format!("{}, {how}", from.display()))?;
            write!(f, "{}", Assigned::table(assigned))?;
        }
        let [train, validation, test] = self.samples;
        let dropped = match self.dropped {
            0 => String::new(),
            dropped => format!(" ({dropped} of them left out of each epoch)"),
        };
        row(f, "samples", format!("{train} to train{dropped}, {validation} to validate, {test} to test"))?;
        write!(f, "{}", self.data)?;
        row(f, "message", format!("{} bytes", g.message()))?;
        if let Some(bytes) = self.slot_bytes() {
            let cells = format!("{} a lane, {} bytes of a message in each", g.cells, g.payload);
            row(f, "cells", cells)?;
            let blocks: Vec<String> = Phase::all(g.hops).map(|phase| g.block(phase).to_string()).collect();
            row(f, "blocks", format!("{} bytes, by phase", blocks.join(", ")))?;
            row(f, "a rank sends", format!("{bytes} bytes a slot, {} an epoch", bytes * self.slots[0]))?;
        }
        row(
            f,
            "slots",
            format!(
                "{}{} an epoch, {} to test; 0 to {} empty ones before",
                if self.is_paced() { "at least " } else { "" },
                self.slots[0],
                self.slots[1],
                self.ranks
            ),
        )?;
        row(f, "slots begin", self.pace())?;
        if let Some(choice) = &self.choice {
            let tried: Vec<String> = choice.among.iter().map(|(rows, _)| rows.to_string()).collect();
            let why = format!("{}, of {}: the least predicted time", choice.micro_batch, tried.join(", "));
            row(f, "micro-batch", why)?;
        }
        for (i, line) in self.time.lines().into_iter().enumerate() {
            row(f, if i == 0 { "predicted" } else { "" }, line)?;
        }
        row(
            f,
            "memory",
            format!(
                "{} on the largest rank, {} of data on the owner, beside program and MPI",
                size(self.needs.memory),
                size(self.needs.data)
            ),
        )?;
        if let Some(memory) = self.needs.gpu_memory {
            let mib = memory as f64 / f64::from(1 << 20);
            row(f, "  on a GPU", format!("{mib:.1} MiB of its memory, and up to 64 MiB for each convolution"))?;
        }
        row(f, "shared memory", shared::told(self.shared))?;
        row(f, "a checkpoint", format!("{} on the owner's disk", size(self.needs.checkpoint)))?;
        writeln!(f)?;
        match &self.protection {
            Some(protection) => write!(f, "{protection}")?,
            None => row(f, "protection", NO_MIX.to_owned())?,
        }
        writeln!(f, "what else may be read")?;
        for leak in &self.leaks {
            write!(f, "{leak}")?;
        }
        writeln!(f)?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
