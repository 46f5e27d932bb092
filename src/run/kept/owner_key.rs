//! The owner's key, under which checkpoints are sealed: a file with one line of 64 hexadecimal digits.
//!
//! Whoever reads it can open the checkpoints. All ranks of a cluster commonly run as one user, whose files they can read whatever
//! their modes: then the key belongs into a folder of the owner's node (`checkpoint.key`).

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KeptError, folder, hex};
use crate::crypto::key::Key;
use crate::job::Checkpoint;

/// The name of the file in a run's folder, unless the job names another.
const NAME: &str = "owner.key";

/// The path of the key of checkpoints, for a run in `folder` whose job has the table `checkpoint`.
pub(in crate::run) fn path(checkpoint: &Checkpoint, folder: &Path) -> PathBuf {
    checkpoint.key.clone().unwrap_or_else(|| folder.join(NAME))
}

/// How many hexadecimal digits a key has.
const DIGITS: usize = 64;

/// Reads the key in `path`. Where nothing stands there, makes one, which its owner alone may read.
///
/// # Errors
/// As [`read`]; [`KeptError::Write`], [`KeptError::Randomness`] where none can be made.
pub(in crate::run) fn read_or_make(path: &Path) -> Result<Key, KeptError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => return read(path),
    }
    let key = Key::random()?;
    let digits = Zeroizing::new(hex(key.bytes()));
    let line = Zeroizing::new([digits.as_bytes(), b"\n"].concat());
    match folder::write_atomically(path, &line) {
        // Another process was faster. Its key is as good.
        Err(KeptError::Overtaken { kept, .. }) => {
            let _ = fs::remove_file(kept);
            read(path)
        }
        written => written.map(|()| key),
    }
}

/// Reads the key in `path`.
///
/// # Errors
/// [`KeptError::NoKey`] where it cannot be read, [`KeptError::NotAKey`] where it holds something else, [`KeptError::OpenKey`] where
/// others than its owner may read it.
pub(in crate::run) fn read(path: &Path) -> Result<Key, KeptError> {
    let unread = |source| KeptError::NoKey { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(unread)?;
    let mode = file.metadata().map_err(unread)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeptError::OpenKey { path: path.to_owned(), mode });
    }
    // A key, an end of line, and one byte by which a longer file shows.
    let mut text = Zeroizing::new([0; DIGITS + 2]);
    let mut length = 0;
    while length < text.len() {
        match file.read(&mut text[length..]).map_err(unread)? {
            0 => break,
            read => length += read,
        }
    }
    let digits = text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]);
    parse(digits).ok_or_else(|| KeptError::NotAKey { path: path.to_owned() })
}

/// The key with these hexadecimal `digits`.
fn parse(digits: &[u8]) -> Option<Key> {
    let digits: &[u8; DIGITS] = digits.try_into().ok()?;
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Zeroizing::new([0; DIGITS / 2]);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Key::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.key");
        assert!(matches!(read(&path), Err(KeptError::NoKey { .. })));
        let made = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().len(), DIGITS + 1);
        for again in [read_or_make(&path), read(&path)] {
            assert_eq!(again.unwrap().bytes(), made.bytes());
        }
        assert_ne!(read_or_make(&folder.path().join("another")).unwrap().bytes(), made.bytes());
        // Only where nothing stands is one made.
        let below = path.join("below");
        assert!(matches!(read_or_make(&below), Err(KeptError::NoKey { .. })));
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_or_make(&path), Err(KeptError::OpenKey { mode: found, .. }) if found == mode));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.key");
        let read_text = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read(&path)
        };
        let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
        let key = read_text(&digits).unwrap();
        assert_eq!(key.bytes()[..11], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xab, 0xcd, 0xef]);
        assert_eq!(read_text(&format!("{digits}\n")).unwrap().bytes(), key.bytes());
        for text in
            ["", "\n", &digits[1..], &format!("{digits}0"), &format!("{}g", &digits[1..]), &format!("{digits}\n\n0")]
        {
            assert!(matches!(read_text(text), Err(KeptError::NotAKey { .. })), "{text:?}");
        }
    }
}
