//! What was run, where and on what: enough to compare runs by their `result.json` alone, and to run one again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compute::processor;
use crate::job::Job;

/// What was run, as `result.json` has it among its first keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The job's name.
    pub name: String,
    /// What repeatable numbers were drawn from; with `--set seed=` it repeats the run, whether the job names it or not.
    pub seed: String,
    /// SHA-256 of the resolved job, as `job.toml` has it.
    pub job_sha256: String,
    /// This process's command line.
    pub command: Vec<String>,
    /// The model of the owner's processor, which the times depend on.
    pub processor: String,
    /// The hosts, in the order of their first ranks.
    pub hosts: Vec<Host>,
}

/// A host of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub host: String,
    /// Ranks that ran there.
    pub ranks: u16,
}

impl Setting {
    /// That of `job` on this owner, over ranks on these `hosts`, one name a rank.
    pub(super) fn new<'a>(job: &Job, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let digest = Sha256::digest(job.to_toml());
        Self {
            name: job.name.clone(),
            seed: job.seed.clone(),
            job_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            processor: processor::name(),
            hosts: counted(hosts),
        }
    }
}

fn counted<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Vec<Host> {
    let mut counted: Vec<Host> = Vec::new();
    for host in hosts {
        match counted.iter_mut().find(|known| known.host == host) {
            Some(known) => known.ranks += 1,
            None => counted.push(Host { host: host.to_owned(), ranks: 1 }),
        }
    }
    counted
}

/// This machine's name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_counted_in_their_order() {
        let host = |host: &str, ranks| Host { host: host.to_owned(), ranks };
        assert_eq!(counted(["b", "a", "b", "b"]), [host("b", 3), host("a", 1)]);
    }
}
