//! What a process shows of itself and whom it accepts: identity files ([`identity`]) and trust files.
//!
//! A *trust file* lists identities, one in each line: a key and the host that it belongs to. The owner's trust file
//! lists the ranks that it accepts (`[trust] ranks` in the job). That of another rank lists the owners that it serves.
//! Without a trust file everybody is accepted. What is signed and verified stands in [`peers`](super::letters::peers).

mod error;
mod identity;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use error::TrustError;
pub use identity::{identity_line, load_identity, make_identity};

use crate::crypto::identity::{Identity, PublicIdentity};
use crate::terminal::escaped;

/// What a process shows of itself, and whom it accepts.
#[derive(Default)]
pub struct Credentials {
    /// The identity that signs what this process says. `None`: nothing is signed.
    pub identity: Option<Identity>,
    /// Whom this process accepts: on the owner the ranks, on another rank the owners. `None`: everybody.
    pub trust: Option<Trust>,
}

/// The identities that a trust file lists.
pub struct Trust {
    /// The path of the file, for errors.
    pub(super) path: PathBuf,
    /// The lines of the file, one an identity.
    lines: Vec<TrustEntry>,
}

/// One line of a trust file.
pub(super) struct TrustEntry {
    /// The public key of an identity.
    pub(super) identity: PublicIdentity,
    /// The name of the host that the identity belongs to.
    pub(super) host: String,
}

/// What a line of a trust file should be, for errors.
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

    /// Reads the `text` of a trust file. Errors call it `path`.
    ///
    /// # Errors
    /// [`TrustError::Line`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, TrustError> {
        let mut lines: Vec<(usize, TrustEntry)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong =
                |found: String, expected| TrustError::Line { path: path.to_owned(), line: number, found, expected };
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(key) = words.next() else {
                continue;
            };
            let identity = key.parse::<PublicIdentity>().map_err(|why| wrong(why.to_string(), LINE))?;
            let Some(host) = words.next() else {
                return Err(wrong("a key without a host".to_owned(), LINE));
            };
            if let Some(more) = words.next() {
                return Err(wrong(format!("{more:?} behind the host"), LINE));
            }
            if let Some((before, _)) = lines.iter().find(|(_, line)| line.identity == identity) {
                return Err(wrong(format!("the key of line {before} again"), "one line a key"));
            }
            lines.push((number, TrustEntry { identity, host: escaped(host) }));
        }
        if lines.is_empty() {
            let found = "no line that names anyone".to_owned();
            return Err(TrustError::Line { path: path.to_owned(), line: 1, found, expected: LINE });
        }
        Ok(Self { path: path.to_owned(), lines: lines.into_iter().map(|(_, line)| line).collect() })
    }

    /// The line that names the identity whose public key is `bytes`, if there is one.
    pub(super) fn line(&self, bytes: &[u8]) -> Option<&TrustEntry> {
        self.lines.iter().find(|line| line.identity.bytes() == bytes)
    }
}

/// Reads the text of a file, where its mode has none of the bits in `forbidden`. Errors call the file `what`, say that
/// others may `may`, and name `fix` for chmod.
fn read(
    what: &'static str,
    path: &Path,
    forbidden: u32,
    may: &'static str,
    fix: &'static str,
) -> Result<Zeroizing<String>, TrustError> {
    let failed = |source| TrustError::Read { what, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // This is the mode of the file that was opened, whatever stands at its path by now.
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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn key() -> String {
        Identity::generate().unwrap().public().to_string()
    }

    fn parse(text: &str) -> Result<Trust, TrustError> {
        Trust::parse(Path::new("trusted"), text)
    }

    #[test]
    fn a_trust_file_has_a_line_an_identity() {
        let (one, other) = (key(), key());
        let trust = parse(&format!("# ranks\n\n{one}   node-1 # in the cellar\n  {other} node-2\n")).unwrap();
        let host =
            |key: &str| trust.line(key.parse::<PublicIdentity>().unwrap().bytes()).map(|line| line.host.as_str());
        assert_eq!((host(&one), host(&other), host(&key())), (Some("node-1"), Some("node-2"), None));
    }

    #[test]
    fn a_malformed_line_is_shown_with_its_place() {
        let key = key();
        let low = format!("01{}", "0".repeat(62));
        for (line, words) in [
            (format!("{} host", &key[1..]), "63 characters; expected a key of 64 hexadecimal digits"),
            (format!("host {key}"), "the key \"host\", 4 characters"),
            (key.clone(), "a key without a host"),
            (format!("{key} # host"), "a key without a host"),
            (format!("{key} host port"), "\"port\" behind the host"),
            (format!("{low} host"), "a point of low order"),
            (format!("02{} host", "0".repeat(62)), "no point of the curve"),
        ] {
            let error = parse(&format!("# trusted\n{line}\n")).map(|_| ()).unwrap_err();
            let told = error.to_string();
            assert!(told.starts_with("trusted:2: found ") && told.contains(words), "{words}: {told}");
            assert_eq!(error.exit_code(), 2);
        }
        let twice = parse(&format!("{key} a\n{key} b\n")).map(|_| ()).unwrap_err().to_string();
        assert!(twice.starts_with("trusted:2: found the key of line 1 again"), "{twice}");
        let empty = parse("# nobody\n").map(|_| ()).unwrap_err().to_string();
        assert!(empty.contains("no line that names anyone"), "{empty}");
    }

    #[test]
    fn files_that_others_can_touch_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (identity, trusted) = (folder.path().join("identity"), folder.path().join("trusted"));
        let line = make_identity(&identity, "node-1").unwrap();
        fs::write(&trusted, line).unwrap();
        let with = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o601] {
            with(&identity, mode);
            let error = load_identity(&identity).map(|_| ()).unwrap_err();
            assert!(
                error.to_string().contains(&format!("has mode {mode:04o}: others may read or change it")),
                "{error}"
            );
            assert!(error.to_string().contains("chmod 600 "), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
        for mode in [0o660, 0o606, 0o622] {
            with(&trusted, mode);
            let error = Trust::load(&trusted).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&format!("has mode {mode:04o}: others may write to it")), "{error}");
            assert!(error.to_string().contains("chmod go-w "), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
        // The control: with the permissions that chmod was told to set, both files are read.
        for (identity_mode, trusted_mode) in [(0o600, 0o644), (0o400, 0o600), (0o600, 0o444)] {
            with(&identity, identity_mode);
            with(&trusted, trusted_mode);
            load_identity(&identity).map(|_| ()).unwrap();
            Trust::load(&trusted).map(|_| ()).unwrap();
        }
        let absent = Trust::load(&folder.path().join("none")).map(|_| ()).unwrap_err();
        assert!(absent.to_string().contains("cannot read the trust file"), "{absent}");
        assert_eq!(absent.exit_code(), 3);
    }
}
