//! What a process shows of itself and whom it accepts: identity files, and trust files.
//!
//! A *trust file* lists identities, a line each: a key and the host that it belongs to. The owner's lists the ranks that it
//! accepts (`[trust] ranks` in the job), another rank's the owners that it serves. Without one everybody is accepted.
//! What is signed and verified stands in [`peers`](super::peers).

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::hpke::{SUITE, WeakKey};
use crate::crypto::identity::{Identity, PublicIdentity};
use crate::ids::Rank;

/// What a process shows of itself, and whom it accepts.
#[derive(Default)]
pub struct Credentials {
    /// Signs what it says. `None`: what it says is not signed.
    pub identity: Option<Identity>,
    /// On the owner the ranks, on another rank the owners that it accepts. `None`: all.
    pub trust: Option<Trust>,
}

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
        "{0} is there already, and an identity is never overwritten; name another file with --out, or move it away"
    )]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write the identity {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A rank of another version.
    #[error("{from} runs mixnn {found}, the owner {expected}; start the same version on all hosts")]
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
    #[error("{what} from {from} is not what {identity} (host {host}) signed for this run, epoch and rank")]
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
        "{from} runs on host {found} with the identity of host {expected} ({path}); start it there, or mend that line"
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
    /// Another identity than in the epochs before.
    #[error(
        "{from} shows the identity {found}, in the epochs before it was {before}; a run's ranks stay who they are"
    )]
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
            TrustError::Read { .. } | TrustError::Open { .. } | TrustError::Write { .. } => 3,
            TrustError::Line { .. } | TrustError::Exists(_) => 2,
            _ => 4,
        }
    }
}

fn suite(identifiers: &[u16; 3]) -> String {
    let [kem, kdf, aead] = identifiers;
    format!("{kem:#06x}, {kdf:#06x}, {aead:#06x}")
}

/// The identities that are accepted.
pub struct Trust {
    /// The file that lists them, for errors.
    pub(super) path: PathBuf,
    lines: Vec<Line>,
}

/// A line of a trust file.
pub(super) struct Line {
    /// The key.
    pub(super) identity: PublicIdentity,
    /// The host that it belongs to.
    pub(super) host: String,
}

const LINE: &str = "a key of 64 hexadecimal digits and its host's name, as mixnn keygen prints them";

impl Trust {
    /// Reads the trust file at `path`.
    ///
    /// # Errors
    /// [`TrustError::Read`], [`TrustError::Open`], [`TrustError::Line`].
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        let text = read("trust file", path, 0o022, "write to it", "go-w")?;
        Self::parse(path, &text)
    }

    /// Reads the `text` of a trust file; `path` is its name in errors.
    ///
    /// # Errors
    /// [`TrustError::Line`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, TrustError> {
        let mut lines: Vec<(usize, Line)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong =
                |found: String, expected| TrustError::Line { path: path.to_owned(), line: number, found, expected };
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(key) = words.next() else {
                continue;
            };
            let identity: PublicIdentity = key.parse().map_err(|why| wrong(format!("the key {why}"), LINE))?;
            let Some(host) = words.next() else {
                return Err(wrong("a key without a host".to_owned(), LINE));
            };
            if let Some(more) = words.next() {
                return Err(wrong(format!("{more:?} behind the host"), LINE));
            }
            if let Some((before, _)) = lines.iter().find(|(_, line)| line.identity == identity) {
                return Err(wrong(format!("the key of line {before} again"), "one line a key"));
            }
            lines.push((number, Line { identity, host: host.to_owned() }));
        }
        if lines.is_empty() {
            let found = "no line that names anyone".to_owned();
            return Err(TrustError::Line { path: path.to_owned(), line: 1, found, expected: LINE });
        }
        Ok(Self { path: path.to_owned(), lines: lines.into_iter().map(|(_, line)| line).collect() })
    }

    /// The line of the identity in `bytes`.
    pub(super) fn line(&self, bytes: &[u8]) -> Option<&Line> {
        self.lines.iter().find(|line| line.identity.bytes() == bytes)
    }
}

/// The first line of an identity file.
const HEAD: &str = "mixnn identity 1: private; the last line is for the trust files of others";

/// Makes an identity for `host` and writes it to `path`, which must not exist. Returns its line for trust files.
///
/// # Errors
/// [`TrustError::Exists`], [`TrustError::Write`].
pub fn make_identity(path: &Path, host: &str) -> Result<String, TrustError> {
    let failed = |source| TrustError::Write { path: path.to_owned(), source };
    let identity = Identity::generate().map_err(|error| failed(std::io::Error::other(error)))?;
    let line = format!("{} {host}", identity.public());
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // A temporary file is readable by its owner alone, and so stays what becomes of it.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let secret = identity.secret();
    for part in [HEAD, "\n", &secret, "\n", &line, "\n"] {
        file.write_all(part.as_bytes()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => TrustError::Exists(path.to_owned()),
        _ => failed(error.error),
    })?;
    Ok(line)
}

/// Reads the identity that [`make_identity`] wrote to `path`.
///
/// # Errors
/// [`TrustError::Read`], [`TrustError::Open`], [`TrustError::Line`].
pub fn load_identity(path: &Path) -> Result<Identity, TrustError> {
    let text = read("identity", path, 0o077, "read or change it", "600")?;
    // What is found is a secret, or close to one: it is not shown.
    let wrong = |line, expected| TrustError::Line {
        path: path.to_owned(),
        line,
        found: "something else".to_owned(),
        expected,
    };
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err(wrong(1, "the first line of an identity, as mixnn keygen writes it"));
    }
    let identity = lines.next().and_then(Identity::from_secret);
    let identity = identity.ok_or_else(|| wrong(2, "the secret key, 64 hexadecimal digits"))?;
    let public = lines.next().and_then(|line| line.split_whitespace().next()?.parse().ok());
    if public != Some(identity.public()) || lines.next().is_some() {
        return Err(wrong(3, "the public key that belongs to the secret one, its host, and no line more"));
    }
    Ok(identity)
}

/// The text of a file, where none of the bits of `forbidden` are in its mode.
fn read(
    what: &'static str,
    path: &Path,
    forbidden: u32,
    may: &'static str,
    fix: &'static str,
) -> Result<Zeroizing<String>, TrustError> {
    let failed = |source| TrustError::Read { what, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Of the file that was opened, whatever stands at its path by now.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(TrustError::Open { what, path: path.to_owned(), mode, may, fix });
    }
    let mut text = Zeroizing::new(String::new());
    match file.read_to_string(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(TrustError::Line {
            path: path.to_owned(),
            line: 1,
            found: "bytes that are no text".to_owned(),
            expected: "a text that mixnn keygen or its user wrote",
        }),
        read => read.map(|_| text).map_err(failed),
    }
}
