//! `mixnn keygen`, and where a process's identity and trust file are.
// Only processes that MPI brings together have anyone to show an identity to.
#![cfg_attr(not(feature = "mpi"), allow(dead_code))]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{complain, fail, hostname};
use crate::crypto::identity::Identity;
use crate::job::Job;
use crate::run::RunError;
use crate::run::trust::{Credentials, Trust, load_identity, make_identity};
use crate::terminal;

/// Who this process is, and whom it serves.
#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// This host's identity, which mixnn keygen made; by default mixnn/identity in the configuration folder
    /// ($XDG_CONFIG_HOME or ~/.config), if it is there
    #[arg(long, value_name = "FILE", env = "MIXNN_IDENTITY", hide_env_values = true)]
    identity: Option<PathBuf>,
    /// The owners that this rank serves, a line each; by default mixnn/trust in the configuration folder, if it is there. On
    /// rank 0 the job says which ranks are accepted (trust.ranks)
    #[arg(long, value_name = "FILE", env = "MIXNN_TRUST", hide_env_values = true)]
    trust: Option<PathBuf>,
}

impl IdentityArgs {
    /// What the owner of `job` shows, and the ranks that the job names.
    pub(super) fn of_owner(&self, job: &Job) -> Result<Credentials, RunError> {
        let trust = job.trust.ranks.as_deref().map(Trust::load).transpose()?;
        Ok(Credentials { identity: self.identity()?, trust })
    }

    /// What another rank shows, and the owners that it serves.
    pub(super) fn of_rank(&self) -> Result<Credentials, RunError> {
        let trust = existing(self.trust.as_deref(), "trust").as_deref().map(Trust::load).transpose()?;
        Ok(Credentials { identity: self.identity()?, trust })
    }

    fn identity(&self) -> Result<Option<Identity>, RunError> {
        Ok(existing(self.identity.as_deref(), "identity").as_deref().map(load_identity).transpose()?)
    }
}

/// The file that was named, whether it exists or not, or else the one in the default place, but where there is certainly none:
/// one that cannot be looked at must not pass for no file. An empty name is none, as of a variable that was set to nothing.
fn existing(named: Option<&Path>, name: &str) -> Option<PathBuf> {
    match named {
        Some(path) if !path.as_os_str().is_empty() => Some(path.to_owned()),
        _ => default_place(name)
            .filter(|path| path.symlink_metadata().map_err(|error| error.kind()).err() != Some(ErrorKind::NotFound)),
    }
}

/// `mixnn/NAME` in the user's configuration folder, which must be an absolute path (XDG Base Directory Specification).
fn default_place(name: &str) -> Option<PathBuf> {
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(folder?.join("mixnn").join(name))
}

/// `mixnn keygen`; the exit code.
pub(super) fn keygen(out: Option<PathBuf>) -> i32 {
    let Some(path) = out.or_else(|| default_place("identity")) else {
        complain("error: no configuration folder, neither XDG_CONFIG_HOME nor HOME is set; name a file with --out");
        return 2;
    };
    match make_identity(&path, &hostname()) {
        Ok(line) => {
            terminal::note(&format!(
                "{} is this host's identity, and private; the line for the trust files of others:",
                path.display()
            ));
            let printed = terminal::print(&line).map_err(|error| {
                let file = path.display();
                error.though(format!("the identity is in {file}, and its last line is the one that is lost"))
            });
            printed.map_or_else(|error| fail(&error.into()), |()| 0)
        }
        Err(error) => fail(&error.into()),
    }
}
