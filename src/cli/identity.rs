//! The command `mixnn keygen`, and where a process's identity and trust file are.
// Only processes that MPI brings together have anyone to show an identity to.
#![cfg_attr(not(feature = "mpi"), allow(dead_code))]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{complain, fail};
use crate::crypto::identity::Identity;
use crate::job::Job;
use crate::run::trust::{Credentials, Trust, TrustError, identity_line, load_identity, make_identity};
use crate::run::{RunError, hostname};
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
    /// What the owner of `job` shows, and the ranks that its job says it accepts.
    pub(super) fn of_owner(&self, job: &Job) -> Result<Credentials, RunError> {
        let trust = job.trust.ranks.as_deref().map(Trust::load).transpose()?;
        Ok(Credentials { identity: self.identity()?, trust })
    }

    /// What a rank other than the owner shows, and the owners that it serves.
    pub(super) fn of_rank(&self) -> Result<Credentials, RunError> {
        Ok(Credentials { identity: self.identity()?, trust: TRUST.load(self.trust.as_deref(), Trust::load)? })
    }

    /// This process's identity, if it has one.
    fn identity(&self) -> Result<Option<Identity>, TrustError> {
        IDENTITY.load(self.identity.as_deref(), load_identity)
    }
}

/// A file that is read in its default place even if nobody has named it.
struct Configured {
    /// What the file is, in words for errors.
    what: &'static str,
    /// The name of the file in the configuration folder.
    name: &'static str,
    /// The option of the command line that names another file.
    option: &'static str,
    /// The variable of the environment that names another file.
    variable: &'static str,
}

/// The identity of this process.
const IDENTITY: Configured =
    Configured { what: "identity", name: "identity", option: "--identity", variable: "MIXNN_IDENTITY" };
/// The trust file of a rank other than the owner.
const TRUST: Configured =
    Configured { what: "trust file", name: "trust", option: "--trust", variable: "MIXNN_TRUST" };

impl Configured {
    /// Loads the file that was `named`, or else the one in the default place, if there is one. An empty name counts as
    /// none, as of a variable that was set to nothing.
    ///
    /// # Errors
    /// Those of `load`; [`TrustError::ReadDefault`] where it cannot be told whether there is a file: that must not pass
    /// for none.
    fn load<T>(
        &self,
        named: Option<&Path>,
        load: impl Fn(&Path) -> Result<T, TrustError>,
    ) -> Result<Option<T>, TrustError> {
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return load(path).map(Some);
        }
        self.load_default(default_place(self.name), load)
    }

    /// Loads the file in the default `place`, if there is one.
    fn load_default<T>(
        &self,
        place: Option<PathBuf>,
        load: impl Fn(&Path) -> Result<T, TrustError>,
    ) -> Result<Option<T>, TrustError> {
        let Some(path) = place else { return Ok(None) };
        let unread = |source| TrustError::ReadDefault {
            what: self.what,
            path: path.clone(),
            option: self.option,
            variable: self.variable,
            source,
        };
        match path.symlink_metadata() {
            // Where there is no folder, or what should be one is none, there is no file: HOME may be /dev/null.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(unread(error)),
            Ok(_) => match load(&path) {
                Err(TrustError::Read { source, .. }) => Err(unread(source)),
                loaded => loaded.map(Some),
            },
        }
    }
}

/// `mixnn/NAME` in the user's configuration folder. `None` where no variable names such a folder by an absolute path
/// (XDG Base Directory Specification).
pub(super) fn default_place(name: &str) -> Option<PathBuf> {
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(folder?.join("mixnn").join(name))
}

/// What `mixnn keygen` is asked for.
#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// The file to write, which must not exist; by default mixnn/identity in $XDG_CONFIG_HOME or ~/.config
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make nothing: print the line of the identity in FILE again; by default that of MIXNN_IDENTITY, or of the file that keygen
    /// makes by default
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "out")]
    show: Option<Option<PathBuf>>,
}

/// Makes or shows an identity, as `args` say. Returns the exit code.
pub(super) fn keygen(args: KeygenArgs) -> i32 {
    let from_environment = || std::env::var_os(IDENTITY.variable).map(PathBuf::from);
    let (named, option) = match &args.show {
        Some(file) => (file.clone().or_else(from_environment).filter(|path| !path.as_os_str().is_empty()), "--show"),
        None => (args.out, "--out"),
    };
    let Some(path) = named.or_else(|| default_place(IDENTITY.name)) else {
        complain(&format!(
            "error: no configuration folder, neither XDG_CONFIG_HOME nor HOME is set; name a file with {option}"
        ));
        return 2;
    };
    let done = match args.show {
        Some(_) => identity_line(&path).map_err(RunError::from).and_then(|line| Ok(terminal::print(&line)?)),
        None => make(&path),
    };
    done.map_or_else(|error| fail(&error), |()| 0)
}

/// Makes the identity file `path` and prints its line for trust files.
fn make(path: &Path) -> Result<(), RunError> {
    let line = make_identity(path, &hostname())?;
    let path = path.display();
    terminal::remark(&format!(
        "{path} is this host's identity, and private; the line for the trust files of others:"
    ));
    let again = || format!("the identity is in {path}; mixnn keygen --show {path} prints its line");
    Ok(terminal::print(&line).map_err(|error| error.though(again()))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A file that cannot be there is absent. A file that may be there is not.
    #[test]
    fn a_default_file_that_cannot_be_looked_at_is_not_taken_for_none() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("folder")).unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        let absent =
            [path("none"), path("no/folder/trust"), path("file/mixnn/trust"), "/dev/null/.config/trust".into()];
        for place in absent.map(Some).into_iter().chain([None]) {
            let loaded = TRUST.load_default(place.clone(), Trust::load);
            assert!(matches!(loaded, Ok(None)), "{place:?}: {:?}", loaded.map(|_| ()));
        }
        // Where a user may not search a folder, root may. A loop of links is as good a test.
        for place in [path("loop/trust"), path("folder"), path("dangling")] {
            let error = TRUST.load_default(Some(place.clone()), Trust::load).map(|_| ()).unwrap_err();
            let told = error.to_string();
            for word in ["the trust file in its default place", "--trust", "MIXNN_TRUST", "XDG_CONFIG_HOME"] {
                assert!(told.contains(word), "{place:?}: {told}");
            }
            assert_eq!(error.exit_code(), 3);
            // If the user names the same place, the error is about a file that the user has named.
            let named = TRUST.load(Some(&place), Trust::load).map(|_| ()).unwrap_err().to_string();
            assert!(named.starts_with("cannot read the trust file "), "{named}");
        }
        let error = IDENTITY.load_default(Some(path("loop/identity")), load_identity).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("--identity or MIXNN_IDENTITY"), "{error}");
    }
}
