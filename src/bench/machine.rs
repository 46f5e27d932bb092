//! Where something was measured, and by what program: no figure means anything without.

use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::compute::processor;
use crate::run::kept::results::VERSION;
use crate::run::{RunError, batch_job, hostname};
use crate::transport::Membership;

/// The commit from which the program was built, where whoever built it has said so.
pub(super) const COMMIT: Option<&str> = option_env!("MIXNN_COMMIT");

/// The program and the machine that rank 0 runs on.
pub(super) struct Machine {
    /// Names and values, in the order in which they are printed.
    about: Vec<(&'static str, String)>,
}

impl Machine {
    /// This machine, on which `standing` is the place of rank 0. `carrier` is what carries messages.
    ///
    /// # Errors
    /// [`RunError::Compute`] where the processor does not compute.
    pub(super) fn here(standing: &Membership, carrier: &str) -> Result<Self, RunError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let hosts = if standing.one_host { "all on this host" } else { "on several hosts" };
        let crowd = match standing.cores.crowd() {
            1 => format!("at least {} cores for each", standing.cores.whole()),
            crowd => format!("up to {crowd} for a core"),
        };
        let mut about = vec![
            ("version", format!("{VERSION}, commit {}", COMMIT.unwrap_or("unknown"))),
            ("command", command.join(" ")),
            ("host", hostname()),
            ("processor", format!("{}, {cores} cores, {}", processor::name(), Cpu::new(1)?.fingerprint())),
            ("messages", carrier.to_owned()),
            ("ranks", format!("{}, {hosts}, {crowd}", standing.ranks)),
        ];
        about.extend(batch_job().map(|job| ("batch job", job)));
        Ok(Self { about })
    }

    /// Names and values, in the order in which they are printed.
    pub(super) fn about(&self) -> &[(&'static str, String)] {
        &self.about
    }
}
