//! Why an identity, a trust file or a rank is not accepted, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;

use crate::crypto::hpke::{SUITE, WeakKey};
use crate::crypto::identity::PublicIdentity;
use crate::ids::Rank;

/// Why an identity or a trust file cannot be used, or a rank is not accepted.
#[derive(Debug, Error)]
pub enum TrustError {
    /// An identity or trust file cannot be read.
    #[error("cannot read the {what} {path}: {source}")]
    Read {
        /// What the file is: an identity or a trust file.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file in its default place cannot be read. Nobody has asked for it, but it may be there.
    #[error(
        "cannot read the {what} in its default place, {path}: {source}; name another with {option} or {variable}, or the folder of \
         your configuration with XDG_CONFIG_HOME"
    )]
    ReadDefault {
        /// What the file is: an identity or a trust file.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The option of the command line that names another file.
        option: &'static str,
        /// The variable of the environment that names another file.
        variable: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file's permissions let others read or change it.
    #[error("the {what} {path} has mode {mode:04o}: others may {may}; mend it with chmod {fix} {path}")]
    Open {
        /// What the file is: an identity or a trust file.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
        /// What these permissions let others do.
        may: &'static str,
        /// The mode for chmod that mends it.
        fix: &'static str,
    },
    /// A line of an identity or trust file is not understood.
    #[error("{path}:{line}: found {found}; expected {expected}")]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What stands in the line, in words that give no secret away.
        found: String,
        /// What should stand in the line.
        expected: &'static str,
    },
    /// `mixnn keygen` was to write an identity where a file stands already.
    #[error(
        "{0} is there already, and an identity is never overwritten; name another file with --out, or move it away. mixnn keygen \
         --show {0} prints its line"
    )]
    Exists(PathBuf),
    /// The new identity cannot be written.
    #[error("cannot write the identity {path}: {source}; name another file with --out")]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A letter's signature is not valid for the identity that it shows, or it shows one without the other. This is
    /// found without a trust file.
    #[error("{what} from {from} is not what the identity that it shows has signed")]
    Garbled {
        /// What the letter is called.
        what: &'static str,
        /// The rank that was said to have sent it.
        from: Rank,
    },
    /// A rank runs another version of mixnn.
    #[error("{from} runs mixnn \"{found}\", the owner \"{expected}\"; start the same version on all hosts")]
    Version {
        /// The rank that runs it.
        from: Rank,
        /// The version that the rank runs.
        found: String,
        /// The version that the owner runs.
        expected: &'static str,
    },
    /// A rank announces a key for other cryptography than this version's.
    #[error("{from} announces the suite {}, expected {}; nothing else is taken", suite(.found), suite(&SUITE))]
    Suite {
        /// The rank that announces it.
        from: Rank,
        /// What the rank announces: HPKE's identifiers of KEM, KDF and AEAD.
        found: [u16; 3],
    },
    /// A rank announces a public key to which nothing may be sealed (docs/PROTOCOL.md, 5.6).
    #[error("the key that {from} announces is refused: {why}")]
    Weak {
        /// The rank that announces the key.
        from: Rank,
        /// What is wrong with the key.
        why: WeakKey,
    },
    /// A letter shows no identity, though there is a trust file.
    #[error(
        "{what} from {from} is not signed, and only those that {path} lists are accepted; make an identity on that host \
         (mixnn keygen) and add its line there"
    )]
    Unsigned {
        /// What the letter is called.
        what: &'static str,
        /// The rank that was said to have sent it.
        from: Rank,
        /// The path of the trust file.
        path: PathBuf,
    },
    /// A rank shows an identity that no line of the trust file names.
    #[error(
        "{from} shows the identity {found}, which {path} does not list; add its line there if it is to be accepted"
    )]
    Unknown {
        /// The rank that shows it.
        from: Rank,
        /// The identity that the rank shows, in hexadecimal digits.
        found: String,
        /// The path of the trust file.
        path: PathBuf,
    },
    /// A letter is not what the identity that it shows has signed for this run, term and rank.
    #[error("{what} from {from} is not what {identity} (host {host}) signed for this run and rank")]
    Signature {
        /// What the letter is called.
        what: &'static str,
        /// The rank that was said to have sent it.
        from: Rank,
        /// The identity that the letter shows.
        identity: PublicIdentity,
        /// The host that the trust file names for that identity.
        host: String,
    },
    /// A rank runs on another host than the trust file names for its identity.
    #[error(
        "{from} runs on host \"{found}\" with the identity of host {expected} ({path}); start it there, or mend that line"
    )]
    WrongHost {
        /// The rank that runs there.
        from: Rank,
        /// The host on which the rank says that it runs.
        found: String,
        /// The host that the trust file names for its identity.
        expected: String,
        /// The path of the trust file.
        path: PathBuf,
    },
    /// A rank shows another identity than earlier in this run.
    #[error("{from} shows the identity {found}, before it was {before}; a run's ranks stay who they are")]
    Changed {
        /// The rank that shows another identity.
        from: Rank,
        /// The identity that the rank shows now.
        found: PublicIdentity,
        /// The identity that the rank showed first.
        before: PublicIdentity,
    },
}

impl TrustError {
    /// The code with which the process exits because of this error (docs/PROTOCOL.md, 16.7).
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
