//! The file of a host's identity. It is private, and written once.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{TrustError, read};
use crate::crypto::identity::Identity;
use crate::whole;

/// The first line of an identity file. By it a file is known to be one.
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
    // A temporary file is readable by its owner alone, and keeps these permissions when it gets its name.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let secret = identity.secret();
    for part in [HEAD, "\n", &secret, "\n", &line, "\n"] {
        file.write_all(part.as_bytes()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    whole::persist(file, path).map_err(|refused| match refused.error.kind() {
        std::io::ErrorKind::AlreadyExists => TrustError::Exists(path.to_owned()),
        _ => failed(refused.error),
    })?;
    Ok(line)
}

/// Reads the identity in the file at `path`, as [`make_identity`] wrote it.
///
/// # Errors
/// [`TrustError::Read`], [`TrustError::Open`], [`TrustError::Line`].
pub fn load_identity(path: &Path) -> Result<Identity, TrustError> {
    Ok(load(path)?.0)
}

/// Reads the line for trust files in the identity file at `path`, as [`make_identity`] wrote it.
///
/// # Errors
/// As [`load_identity`].
pub fn identity_line(path: &Path) -> Result<String, TrustError> {
    Ok(load(path)?.1)
}

/// Reads an identity file: the identity, and its line for trust files.
fn load(path: &Path) -> Result<(Identity, String), TrustError> {
    let text = read("identity", path, 0o077, "read or change it", "600")?;
    // What is found in a wrong line may be a secret, or close to one. So the error does not show it.
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
    let line = lines.next().unwrap_or_default();
    let public = line.split_whitespace().next().and_then(|key| key.parse().ok());
    if public != Some(identity.public()) || lines.next().is_some() {
        return Err(wrong(3, "the public key that belongs to the secret one, its host, and no line more"));
    }
    Ok((identity, line.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_read_back_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/mixnn/identity");
        let line = make_identity(&path, "node-1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(line, format!("{} node-1", load_identity(&path).unwrap().public()));
        assert_eq!(identity_line(&path).unwrap(), line);
        let before = fs::read(&path).unwrap();
        let again = make_identity(&path, "node-1");
        assert!(matches!(again, Err(TrustError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_damaged_identity_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        make_identity(&path, "node-1").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let secret = text.lines().nth(1).unwrap();
        let other = Identity::generate().unwrap();
        for (damaged, line) in [
            (text.replace("identity 1", "identity 2"), 1),
            (text.replace(secret, &secret[1..]), 2),
            (text.replace(secret, &other.secret()), 3),
            (text.lines().take(2).collect::<Vec<_>>().join("\n"), 3),
            (format!("{text}more\n"), 3),
            (String::new(), 1),
        ] {
            fs::write(&path, &damaged).unwrap();
            let error = load_identity(&path).map(|_| ()).unwrap_err();
            let told = error.to_string();
            assert!(told.contains(&format!("identity:{line}: found something else; expected")), "{told}");
            assert!(!told.contains(&secret[1..]) && !told.contains(other.secret().as_str()), "{told}");
            assert_eq!(error.exit_code(), 2);
        }
        fs::write(&path, text).unwrap();
        load_identity(&path).map(|_| ()).unwrap();
    }
}
