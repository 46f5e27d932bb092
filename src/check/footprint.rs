//! What a job needs of the machines: memory, and room on a disk.

use std::ops::Range;

use crate::compute::cuda::own_memory;
use crate::ids::Phase;
use crate::job::{Backend, LinkEncryption, Pace, Profile};
use crate::mix::geometry::Geometry;
use crate::nn::{StageSpec, snapshot};
use crate::pipeline::DataPass;
use crate::run::prepare::Prepared;

/// What a job needs of the machines that its ranks run on, in bytes.
pub(crate) struct Footprint {
    /// What the rank needs that needs most, beside the program, MPI and the data.
    pub(crate) memory: u64,
    /// The data that the owner holds.
    pub(crate) data: u64,
    /// What a checkpoint has.
    pub(crate) checkpoint: u64,
    /// What a rank needs at most of a GPU's memory. `None` where no rank uses a GPU.
    pub(crate) gpu_memory: Option<u64>,
}

impl Footprint {
    /// What `prepared` needs, with messages and blocks of the lengths `geometry`.
    pub(crate) fn of(prepared: &Prepared, geometry: &Geometry) -> Self {
        let job = &prepared.job;
        let specs = prepared.specs();
        let batches = prepared.batches(0);
        let training = DataPass::training(prepared.depth(), batches.full(), batches.micro_batches());
        let paced = job.mix.profile == Profile::Mixed && job.mix.pace != Pace::Lockstep;
        // Under a pace more micro-batches are under way, and work beside the slots has messages of its own.
        let more = if paced { training.in_flight() } else { 0 };
        let in_flight = [training.in_flight(), training.in_flight_before()].map(|most| most + more);
        let messages = if paced || job.compute.overlap { 12 } else { 6 };
        // Outgoing and incoming blocks of the first phase, which are the longest.
        let blocks = 2 * geometry.lanes() as u64 * geometry.block(Phase(1)) as u64;
        let memory = largest(&specs, job.remote(), in_flight)
            .saturating_add(messages * geometry.message() as u64)
            .saturating_add(blocks);
        // These are the keys of a rank's own circuits, of those that it relays, and of links. Where MPI takes a GPU's
        // memory all of them are there, and so are the blocks of two terms while one follows the other.
        let linked = if job.mix.link == LinkEncryption::Off { 0 } else { geometry.hops - 1 };
        let keys = 2 * geometry.lanes() as u64 * u64::from(geometry.hops + linked);
        let gpu_memory = (cfg!(feature = "cuda") && job.compute.backend != Backend::Cpu)
            .then(|| memory.saturating_add(blocks + own_memory(keys)));
        Self {
            memory,
            data: [&prepared.train, &prepared.validation, &prepared.test].map(|set| set.size()).iter().sum(),
            checkpoint: specs.iter().map(snapshot::length).fold(0, u64::saturating_add),
            gpu_memory,
        }
    }
}

/// How many bytes a stage takes: its parameters with gradients, transposes and what the optimizer keeps, the
/// activations of all micro-batches in flight, and the gradients of one.
fn stage_memory(spec: &StageSpec, in_flight: u64) -> u64 {
    let [activations, unkept] = [spec.activation_count(), spec.unkept_count()];
    let passing = in_flight.saturating_mul(activations - unkept).saturating_add(activations);
    let parameters = (3 + spec.optimizer.state()).saturating_mul(spec.parameter_count());
    parameters.saturating_add(passing).saturating_mul(4)
}

/// How many bytes the stages of one rank take at most: the owner's all together, or that of another rank. `in_flight`
/// counts micro-batches at a rank's stage, `before` those at the owner's first stages.
fn largest(specs: &[StageSpec], remote: Range<usize>, [in_flight, before]: [u64; 2]) -> u64 {
    let of = |spec: &StageSpec| stage_memory(spec, in_flight);
    let first: u64 = specs[..remote.start].iter().map(|spec| stage_memory(spec, before)).fold(0, u64::saturating_add);
    let owners = specs[remote.end..].iter().map(of).fold(first, u64::saturating_add);
    specs[remote].iter().map(of).fold(owners, u64::max)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A micro-batch that leaves the owner's first stages comes back to them later than to a stage on a rank. So these
    /// keep more of them.
    #[test]
    fn the_owners_first_stages_keep_more_micro_batches() {
        let of = |first: &str| {
            let stages = format!(
                "stage=[{{ ops = [{{ op = \"linear\", out = 512 }}, {{ op = \"linear\", out = 10 }}], at = \"{first}\" }}, \
                 {{ ops = [{{ op = \"relu\" }}] }}, {{ ops = [{{ op = \"relu\" }}] }}]"
            );
            let sets = [&stages, "mix.depth=3", "mix.message=9000"].map(str::to_owned);
            let prepared = Prepared::load(Path::new("jobs/digits.toml"), &sets).unwrap();
            let geometry = prepared.geometry(7).unwrap();
            (Footprint::of(&prepared, &geometry).memory, 4 * prepared.specs()[0].activation_count())
        };
        let ((on_rank, micro_batch), (on_owner, _)) = (of("rank"), of("owner"));
        assert_eq!(on_owner, on_rank + 2 * micro_batch);
    }
}
