//! `[compute]`: who computes and seals, on how many threads.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{JobTable, table};
use crate::float::Precision;

/// The most threads of a rank, `compute.threads`.
pub const MOST_THREADS: u16 = 1024;

/// `[compute]`: who computes and seals, on how many threads. It is the same for all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compute {
    /// `compute.backend`: who does the matrix work. `auto` by default.
    pub backend: Backend,
    /// `compute.precision`: how a GPU rounds what goes into a matrix product. `fp32` by default: not at all.
    pub precision: Precision,
    /// `compute.threads`: the threads of a rank, up to 1024. 0, the default: the rank's share of its host's cores.
    pub threads: u16,
    /// `compute.overlap`: whether ranks compute while a slot's messages travel. A stage then answers one slot later. False by default.
    pub overlap: bool,
    /// `compute.aead`: which implementation of AES-256-GCM seals and opens on the processor. `auto` by default.
    pub aead: AesGcm,
}

impl JobTable for Compute {
    const KEY: &'static str = "compute";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let compute = Self {
            backend: section
                .choice("backend", &Backend::ALL.map(|backend| (backend.name(), backend)))?
                .unwrap_or(Backend::Auto),
            precision: section.choice("precision", &Precision::ALL)?.unwrap_or_default(),
            threads: section.integer("threads", 0..=MOST_THREADS.into())?.unwrap_or(0),
            overlap: section.boolean("overlap")?.unwrap_or(false),
            aead: section.choice("aead", &AesGcm::ALL.map(|aead| (aead.name(), aead)))?.unwrap_or(AesGcm::Auto),
        };
        section.finish()?;
        Ok(compute)
    }

    fn write(&self) -> Table {
        table([
            ("backend", self.backend.name().into()),
            ("precision", self.precision.name().into()),
            ("threads", i64::from(self.threads).into()),
            ("overlap", self.overlap.into()),
            ("aead", self.aead.name().into()),
        ])
    }
}

/// `compute.backend`: who does the matrix work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// `auto`: a GPU where the rank's machine has one that works, else the processor.
    Auto,
    /// `cpu`: the processor, also where there is a GPU.
    Cpu,
    /// `cuda`: a GPU. A rank without one ends the run.
    Cuda,
}

impl Backend {
    /// All backends, in the order in which errors list them.
    const ALL: [Self; 3] = [Self::Auto, Self::Cpu, Self::Cuda];

    /// The word for the backend in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// `compute.aead`: which implementation of AES-256-GCM seals and opens on the processor. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AesGcm {
    /// `auto`: the implementation that is the fastest on the rank's processor. Each rank finds out at its start.
    Auto,
    /// `aws-lc`: the implementation of AWS-LC.
    AwsLc,
    /// `ring`: the implementation of the crate `ring`.
    Ring,
    /// `rust`: the implementation of the crate `aes-gcm`, in Rust alone.
    Rust,
}

impl AesGcm {
    /// All implementations, in the order in which errors list them.
    const ALL: [Self; 4] = [Self::Auto, Self::AwsLc, Self::Ring, Self::Rust];

    /// The word for the implementation in a job.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
            Self::Rust => "rust",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let due = Compute {
            backend: Backend::Auto,
            precision: Precision::Fp32,
            threads: 0,
            overlap: false,
            aead: AesGcm::Auto,
        };
        assert_eq!(parse(JOB, &[]).unwrap().compute, due);
        let due = Compute {
            backend: Backend::Cuda,
            precision: Precision::Tf32,
            threads: 1024,
            overlap: true,
            aead: AesGcm::Ring,
        };
        let keys =
            "compute={ backend = \"cuda\", precision = \"tf32\", threads = 1024, overlap = true, aead = \"ring\" }";
        let job = parse(JOB, &[keys]).unwrap();
        assert_eq!(job.compute, due);
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            ("compute.backend=gpu", "expected \"auto\" or \"cpu\" or \"cuda\""),
            ("compute.precision=fp64", "expected \"fp32\" or \"tf32\" or \"bf16\""),
            ("compute.threads=1025", "from 0 to 1024"),
            ("compute.overlap=1", "true or false"),
            ("compute.aead=openssl", "expected \"auto\" or \"aws-lc\" or \"ring\" or \"rust\""),
            ("compute.thread=1", "did you mean `threads`?"),
        ] {
            let found = refused(JOB, &[set]);
            assert!(found.starts_with(&format!("--set {set}: ")) && found.contains(words), "{found}");
        }
    }
}
