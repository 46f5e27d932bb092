//! What Slurm is asked, by its own commands.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use super::SlurmError;

/// What `command` writes to stdout and stderr.
///
/// # Errors
/// [`SlurmError::NoCommand`] where it cannot be started, [`SlurmError::Refused`] where it ends with another code than 0.
fn said(command: &'static str, args: &[&str], input: &str) -> Result<[String; 2], SlurmError> {
    let mut child = Command::new(command)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| SlurmError::NoCommand { command, source })?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // It has ended before it had read all, and says why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.map_err(|source| SlurmError::NoCommand { command, source })?,
        }
    }
    let output = child.wait_with_output().map_err(|source| SlurmError::NoCommand { command, source })?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    match output.status.success() {
        true => Ok([stdout, stderr]),
        false => Err(SlurmError::Refused { command, words: if stderr.is_empty() { stdout } else { stderr } }),
    }
}

/// Submits `script`. Returns the id of the job, and of its cluster where there are several, as `sbatch --parsable` prints them.
pub(super) fn submit(script: &str) -> Result<String, SlurmError> {
    let [id, words] = said("sbatch", &["--parsable"], script)?;
    match id.is_empty() {
        true => Err(SlurmError::Refused { command: "sbatch", words }),
        false => Ok(id),
    }
}

/// Looks whether Slurm brings ranks together in the way `mpi`. Where it does not say what it has, it is left to the job to find out.
pub(super) fn offers(mpi: &str) -> Result<(), SlurmError> {
    match said("srun", &["--mpi=list"], "") {
        Ok(lists) => {
            let types = types(&lists.concat());
            let has = types.is_empty() || types.iter().any(|found| found == mpi);
            if has { Ok(()) } else { Err(SlurmError::NoPlugin { mpi: mpi.to_owned(), found: types.join(", ") }) }
        }
        Err(error @ SlurmError::NoCommand { .. }) => Err(error),
        Err(_) => Ok(()),
    }
}

/// The names in the list that `srun --mpi=list` prints: one a line, or behind a colon. "specific pmix plugin versions available: pmix_v4"
/// is such a line, too.
fn types(list: &str) -> Vec<String> {
    let words =
        list.lines().flat_map(|line| line.rsplit_once(':').map_or(line, |(_, names)| names).split([',', ' ', '\t']));
    words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How many GPUs the nodes have that have most of them, as `sinfo` says. `None` where no node has any.
pub(super) fn gpus() -> Result<Option<u16>, SlurmError> {
    let [list, _] = said("sinfo", &["-h", "-o", "%G"], "")?;
    Ok(list.split([',', '\n']).filter_map(of_gres).max())
}

/// The number of GPUs in an entry such as `gpu:4`, `gpu:h200:8` or `gpu:h200:8(S:0-1)`. `None` where it counts something else.
fn of_gres(entry: &str) -> Option<u16> {
    let entry = entry.trim().split('(').next().filter(|entry| entry.starts_with("gpu:"))?;
    entry.rsplit(':').next()?.parse().ok().filter(|count| *count > 0)
}

/// What a job is called, and where its log is.
pub(super) struct Named {
    /// The name of the job.
    pub(super) name: String,
    /// The path of its log.
    pub(super) log: String,
}

/// What `scontrol` says of the job `id`. `None` where it says nothing.
pub(super) fn named(id: &str) -> Option<Named> {
    let [job, _] = said("scontrol", &["show", "job", id], "").ok()?;
    let value = |key: &str| job.split_whitespace().find_map(|word| word.strip_prefix(key)).map(str::to_owned);
    Some(Named { name: value("JobName=")?, log: value("StdOut=")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_plugins_are_read() {
        let old = "MPI plugin types are...\n\tcray_shasta\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4\n";
        let new = "MPI plugin types are: none, pmi2, pmix\n";
        for list in [old, new] {
            assert!(
                ["none", "pmi2", "pmix"].iter().all(|name| types(list).iter().any(|found| found == name)),
                "{list}"
            );
        }
        assert!(!types(old).iter().any(|found| found == "openmpi"));
    }

    #[test]
    fn gpus_are_counted() {
        let counts =
            ["gpu:4", "gpu:h200:8", "gpu:h200:8(S:0-1)", "(null)", "mps:400", "gpu:", "gpu:0", ""].map(of_gres);
        assert_eq!(counts, [Some(4), Some(8), Some(8), None, None, None, None, None]);
    }
}
