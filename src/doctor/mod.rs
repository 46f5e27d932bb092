//! What `mixnn doctor` prints: what this host has to compute, to seal and to send with, and whether it works.
//!
//! A GPU that is there is opened, and its kernels are compiled. One kernel and a matrix product run on it, and their
//! results are compared with the processor's.

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "mpi")]
mod messages;
mod sealing;

use std::fmt;

use serde_json::{Value, json};

use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::compute::processor;
use crate::run::RunError;

/// What is said of one part of this host.
struct Finding {
    /// The name of the part.
    of: &'static str,
    /// What is there, or what is missing, in words.
    says: String,
    /// Whether it works. `None` where it is not there, which need not matter.
    works: Option<bool>,
}

impl Finding {
    /// A part that is there and works.
    fn there(of: &'static str, says: impl Into<String>) -> Self {
        Self { of, says: says.into(), works: Some(true) }
    }

    /// A part that is not there.
    #[cfg_attr(not(any(feature = "cuda", feature = "mpi")), expect(dead_code, reason = "there is nothing to miss"))]
    fn absent(of: &'static str, says: impl Into<String>) -> Self {
        Self { of, says: says.into(), works: None }
    }

    /// A part that is there and does not work.
    #[cfg(feature = "cuda")]
    fn broken(of: &'static str, says: impl Into<String>) -> Self {
        Self { of, says: says.into(), works: Some(false) }
    }
}

/// What was found on this host, part by part.
pub struct Examined {
    /// One line for each part, in the order in which they are printed.
    lines: Vec<Finding>,
}

impl Examined {
    /// Looks at this host: it tries its libraries and opens its GPUs.
    ///
    /// # Errors
    /// [`RunError::Compute`] where not even the processor computes.
    pub fn here() -> Result<Self, RunError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = Cpu::new(cores)?;
        let plural = if cores == 1 { "" } else { "s" };
        let mut lines = vec![Finding::there(
            "processor",
            format!("{}, {cores} core{plural}, {}", processor::name(), cpu.fingerprint()),
        )];
        lines.extend(sealing::examined());
        #[cfg(feature = "mpi")]
        lines.extend(messages::examined());
        #[cfg(not(feature = "mpi"))]
        lines.push(Finding {
            of: "MPI",
            says: "this program is built without it (feature mpi)".to_owned(),
            works: None,
        });
        #[cfg(feature = "cuda")]
        lines.extend(gpu::examined(&cpu));
        #[cfg(not(feature = "cuda"))]
        lines.push(Finding {
            of: "GPU",
            says: "this program is built without it (feature cuda)".to_owned(),
            works: None,
        });
        Ok(Self { lines })
    }

    /// Whether all works that is there.
    pub fn is_well(&self) -> bool {
        self.lines.iter().all(|line| line.works != Some(false))
    }

    /// What was found, as JSON.
    pub fn json(&self) -> Value {
        let line = |line: &Finding| json!({ "of": line.of, "says": line.says, "works": line.works });
        json!({ "well": self.is_well(), "found": self.lines.iter().map(line).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { of, says, works } in &self.lines {
            let works = match works {
                Some(true) => "ok",
                Some(false) => "BROKEN",
                None => "-",
            };
            writeln!(f, "{works:<7} {of:<12} {says}")?;
        }
        Ok(())
    }
}
