//! Which micro-batch is the fastest, as far as the model can tell.

use super::predict::OnHosts;
use super::speeds::Speeds;
use super::workload::{SlotStart, Travel, Workload};

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct MicroBatchChoice {
    /// The number of samples of a micro-batch.
    pub micro_batch: u32,
    /// How many seconds an epoch takes with it, as the model has it.
    pub seconds: f64,
    /// All numbers that were possible, each with the seconds of an epoch.
    pub among: Vec<(u32, f64)>,
}

/// Chooses among `workloads`, each of the same job with another micro-batch, the one with the least predicted time on machines like
/// `speeds`; of several that take as long, the smallest. `None` where there are none.
///
/// The choice is that for the profile `mixed` in lockstep with all ranks on one host, the loss at the owner and no work beside the
/// exchange, whatever the job asks for: so a job is cut alike however it is run, which its bits depend on.
pub fn choose(workloads: impl IntoIterator<Item = Workload>, speeds: &Speeds) -> Option<MicroBatchChoice> {
    let reckoned = |workload: Workload| {
        let depth = workload.depth.turned(false).latency(1);
        let workload = Workload { travel: Travel::Mixed, pacing: SlotStart::Lockstep, depth, ..workload };
        (workload.rows, workload.predicted(speeds, OnHosts(1)).total())
    };
    let mut among: Vec<(u32, f64)> = workloads.into_iter().map(reckoned).collect();
    among.sort_by_key(|(rows, _)| *rows);
    let (micro_batch, seconds) = among.iter().copied().min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(MicroBatchChoice { micro_batch, seconds, among })
}
