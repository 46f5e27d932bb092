//! What was run, where and on what. With this, runs can be compared by their `result.json` alone, and run again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compute::processor;
use crate::job::Job;

/// What was run, where and on what. These are the first keys of `result.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The name that the job gives itself.
    pub name: String,
    /// The seed of all numbers that repeat. `--set seed=` with it repeats the run, even where the job's file names
    /// none.
    pub seed: String,
    /// SHA-256 of the resolved job, as `job.toml` has it, in hexadecimal digits.
    pub job_sha256: String,
    /// How many samples a micro-batch had: also where the job leaves that to mixnn (`train.micro_batch = "auto"`). 0 in files of earlier
    /// versions.
    #[serde(default)]
    pub micro_batch: u32,
    /// The command line of the owner's process, word by word.
    pub command: Vec<String>,
    /// The id of the batch job in which the owner ran. Null outside one.
    pub batch_job: Option<String>,
    /// The model of the owner's processor. Times depend on it.
    pub processor: String,
    /// The hosts on which ranks ran, in the order of their first ranks.
    pub hosts: Vec<HostRanks>,
}

/// A host on which ranks of a run stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRanks {
    /// The name of the host.
    pub host: String,
    /// How many ranks ran on this host.
    pub ranks: u16,
}

impl Setting {
    /// The setting of `job` as run by this owner. `hosts` gives the host of each rank, by rank.
    pub(super) fn new<'a>(job: &Job, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let digest = Sha256::digest(job.to_toml());
        Self {
            name: job.name.clone(),
            seed: job.seed.clone(),
            job_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            micro_batch: job.train.micro_batch,
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            batch_job: batch_job(),
            processor: processor::name(),
            hosts: counted(hosts),
        }
    }
}

/// Counts how often each name comes in `hosts`, in the order in which names come first.
fn counted<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Vec<HostRanks> {
    let mut counted: Vec<HostRanks> = Vec::new();
    for host in hosts {
        match counted.iter_mut().find(|known| known.host == host) {
            Some(known) => known.ranks += 1,
            None => counted.push(HostRanks { host: host.to_owned(), ranks: 1 }),
        }
    }
    counted
}

/// The id of the batch job in which this process runs, if it runs in one: of Slurm (`7`, or `7_3` for the third task of an array), PBS
/// or LSF.
pub fn batch_job() -> Option<String> {
    batch_job_in(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Does what [`batch_job`] does, with the variables of an environment.
fn batch_job_in(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let task = || Some(format!("{}_{}", variable("SLURM_ARRAY_JOB_ID")?, variable("SLURM_ARRAY_TASK_ID")?));
    task().or_else(|| ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"].into_iter().find_map(&variable))
}

/// The name of this machine, or `host` where the system does not tell it.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_job_has_an_id() {
        let id = |variables: &[(&str, &str)]| {
            batch_job_in(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(id(&[]), None);
        assert_eq!(id(&[("SLURM_JOB_ID", "9")]).as_deref(), Some("9"));
        let task = [("SLURM_JOB_ID", "9"), ("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "3")];
        assert_eq!(id(&task).as_deref(), Some("7_3"));
        assert_eq!(id(&[("PBS_JOBID", "5.host")]).as_deref(), Some("5.host"));
    }

    #[test]
    fn hosts_are_counted_in_their_order() {
        let host = |host: &str, ranks| HostRanks { host: host.to_owned(), ranks };
        assert_eq!(counted(["b", "a", "b", "b"]), [host("b", 3), host("a", 1)]);
    }
}
