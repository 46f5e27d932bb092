//! Why someone is not accepted, and what to do.

use std::path::PathBuf;

use thiserror::Error;

use crate::crypto::hpke::{SUITE, WeakKey};
use crate::crypto::identity::PublicIdentity;
use crate::ids::Rank;

/// Why an identity or a trust file cannot be used, or a rank is not accepted.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the {what} {path}: {source}")]
    Read {
        /// Identity or trust file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file in its default place cannot be read, though no one has asked for it: it may be there.
    #[error(
        "cannot read the {what} in its default place, {path}: {source}; name another with {option} or {variable}, or the folder of \
         your configuration with XDG_CONFIG_HOME"
    )]
    ReadDefault {
        /// Identity or trust file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The option that names another.
        option: &'static str,
        /// The environment's variable that does.
        variable: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Others could read or change it.
    #[error("the {what} {path} has mode {mode:04o}: others may {may}; mend it with chmod {fix} {path}")]
    Open {
        /// Identity or trust file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What others may do.
        may: &'static str,
        /// What chmod is to be told.
        fix: &'static str,
    },
    /// A line that is not understood.
    #[error("{path}:{line}: found {found}; expected {expected}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// An identity is there already.
    #[error(
        "{0} is there already, and an identity is never overwritten; name another file with --out, or move it away. mixnn keygen \
         --show {0} prints its line"
    )]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write the identity {path}: {source}; name another file with --out")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// No signature of the identity that is shown, and no lack of both.
    #[error("{what} from {from} is not what the identity that it shows has signed")]
    Garbled {
        /// The message.
        what: &'static str,
        /// Whose.
        from: Rank,
    },
    /// A rank of another version.
    #[error("{from} runs mixnn \"{found}\", the owner \"{expected}\"; start the same version on all hosts")]
    Version {
        /// The rank.
        from: Rank,
        /// Its version.
        found: String,
        /// The owner's.
        expected: &'static str,
    },
    /// A rank that wants other cryptography.
    #[error("{from} announces the suite {}, expected {}; nothing else is taken", suite(.found), suite(&SUITE))]
    Suite {
        /// The rank.
        from: Rank,
        /// HPKE's identifiers of KEM, KDF and AEAD.
        found: [u16; 3],
    },
    /// A key to which nothing is sealed.
    #[error("the key that {from} announces is refused: {why}")]
    Weak {
        /// The rank.
        from: Rank,
        /// Why.
        why: WeakKey,
    },
    /// No signature, where one is due.
    #[error(
        "{what} from {from} is not signed, and only those that {path} lists are accepted; make an identity on that host \
         (mixnn keygen) and add its line there"
    )]
    Unsigned {
        /// What was to be signed.
        what: &'static str,
        /// Whose it was said to be.
        from: Rank,
        /// The trust file.
        path: PathBuf,
    },
    /// An identity that no line names.
    #[error(
        "{from} shows the identity {found}, which {path} does not list; add its line there if it is to be accepted"
    )]
    Unknown {
        /// The rank.
        from: Rank,
        /// What it shows, in hexadecimal digits.
        found: String,
        /// The trust file.
        path: PathBuf,
    },
    /// Not what the identity has signed for here and now.
    #[error("{what} from {from} is not what {identity} (host {host}) signed for this run and rank")]
    Signature {
        /// What was signed.
        what: &'static str,
        /// Whose it was said to be.
        from: Rank,
        /// The identity that it shows.
        identity: PublicIdentity,
        /// The host of that identity.
        host: String,
    },
    /// An identity on a host where it does not belong.
    #[error(
        "{from} runs on host \"{found}\" with the identity of host {expected} ({path}); start it there, or mend that line"
    )]
    WrongHost {
        /// The rank.
        from: Rank,
        /// Its host, as it says.
        found: String,
        /// The host that the identity's line names.
        expected: String,
        /// The trust file.
        path: PathBuf,
    },
    /// Another identity than before in this run.
    #[error("{from} shows the identity {found}, before it was {before}; a run's ranks stay who they are")]
    Changed {
        /// The rank.
        from: Rank,
        /// The identity now.
        found: PublicIdentity,
        /// The one before.
        before: PublicIdentity,
    },
}

impl TrustError {
    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            TrustError::Read { .. }
            | TrustError::ReadDefault { .. }
            | TrustError::Open { .. }
            | TrustError::Write { .. } => 3,
            TrustError::Line { .. } | TrustError::Exists(_) => 2,
            _ => 4,
        }
    }
}

fn suite(identifiers: &[u16; 3]) -> String {
    let [kem, kdf, aead] = identifiers;
    format!("{kem:#06x}, {kdf:#06x}, {aead:#06x}")
}
