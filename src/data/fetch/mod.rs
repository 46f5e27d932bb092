//! Brings the originals of MNIST into a folder: from a mirror, or from a folder or an archive that
//! somebody has.
//!
//! Wherever a file comes from, its unpacked bytes must have the original's SHA-256 before they are
//! written, plain, under the original name, and all at once: a fetch that is interrupted leaves no
//! half file. A file that is there already is kept if it is the original and never overwritten if
//! it is not.
//!
//! `download` speaks HTTPS, `local` reads folders and archives. Both know one `Original` at a time;
//! what to ask for and where to write is decided here.

mod download;
mod local;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{DataError, gzip, mnist::FILES};

/// A file that lies in the folder now, proven to be the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its name in the folder.
    pub name: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'static str,
}

/// A published file by which a copy is known.
struct Original {
    name: &'static str,
    /// Length, unpacked.
    bytes: u64,
    /// SHA-256 of the unpacked bytes, in hexadecimal.
    sha256: &'static str,
}

/// Digests of the four files, unpacked, as yann.lecun.com published them.
static MNIST: [Original; 4] = [
    Original {
        name: FILES[0],
        bytes: 47_040_016,
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    Original {
        name: FILES[1],
        bytes: 60_008,
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    Original {
        name: FILES[2],
        bytes: 7_840_016,
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    Original {
        name: FILES[3],
        bytes: 10_008,
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

/// Where files are taken from.
enum Source<'a> {
    /// A folder or an archive.
    Local(&'a Path),
    /// Addresses that end in `/`, tried in order.
    Mirrors { agent: ureq::Agent, addresses: &'a [&'a str] },
}

/// Brings the four files of MNIST, plain, into the folder `to`, which is created if need be.
///
/// Without `from` they are downloaded from public mirrors over HTTPS. `from` names a folder, which
/// is searched up to eight folders deep, or a `.tar`, `.tar.gz` or `.tgz`, that holds them
/// anywhere, plain or gzipped. `progress` is told in words what happens. Returns the four files,
/// also those that were there already.
///
/// # Errors
/// [`DataError::Digest`] for a file that is not the original, in `to` or in `from`;
/// [`DataError::Download`]; [`DataError::NotInSource`], [`DataError::BadArchive`],
/// [`DataError::CorruptGzip`], [`DataError::TooLarge`] for `from`; [`DataError::Io`].
pub fn mnist(to: &Path, from: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Vec<Fetched>, DataError> {
    let source = match from {
        Some(path) => Source::Local(path),
        None => Source::Mirrors { agent: download::agent(), addresses: &download::MIRRORS },
    };
    fetch(&MNIST, to, source, progress)
}

fn fetch(
    originals: &'static [Original],
    to: &Path,
    source: Source<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Fetched>, DataError> {
    fs::create_dir_all(to).map_err(DataError::io("create", to))?;
    let mut wanted = Vec::new();
    for original in originals {
        if original.is_in(to)? {
            progress(&format!("{}: already in {}, kept", original.name, to.display()));
        } else {
            wanted.push(original);
        }
    }
    match source {
        _ if wanted.is_empty() => {}
        Source::Local(from) => {
            for (original, bytes) in local::read(from, &wanted)? {
                original.write(to, &bytes, progress)?;
            }
        }
        Source::Mirrors { agent, addresses } => {
            for original in wanted {
                let bytes = download::read(&agent, addresses, original, progress)?;
                original.write(to, &bytes, progress)?;
            }
        }
    }
    Ok(originals.iter().map(|&Original { name, bytes, sha256 }| Fetched { name, bytes, sha256 }).collect())
}

impl Original {
    /// Whether `to` holds it. Another file of that name is an error: it may be somebody's own data.
    fn is_in(&self, to: &Path) -> Result<bool, DataError> {
        let path = to.join(self.name);
        if !path.try_exists().map_err(DataError::io("read", &path))? {
            return Ok(false);
        }
        let bytes = fs::read(&path).map_err(DataError::io("read", &path))?;
        self.check(&path, &bytes, "it is left as it is; move it away, or fetch into another folder")?;
        Ok(true)
    }

    /// `raw`, which was found at `place`, unpacked and proven.
    fn verified(&self, place: &Path, raw: Vec<u8>) -> Result<Vec<u8>, DataError> {
        let bytes = gzip::unpack(place, raw, gzip::MAX_BYTES)?;
        self.check(place, &bytes, "take it from another source")?;
        Ok(bytes)
    }

    fn check(&self, place: &Path, bytes: &[u8], remedy: &'static str) -> Result<(), DataError> {
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != self.sha256 {
            return Err(DataError::Digest { file: place.to_owned(), found, expected: self.sha256, remedy });
        }
        Ok(())
    }

    /// Writes the proven `bytes` into `to`: whole, or not at all.
    fn write(&self, to: &Path, bytes: &[u8], progress: &mut dyn FnMut(&str)) -> Result<(), DataError> {
        let path: PathBuf = to.join(self.name);
        // A temporary file is for its owner alone; data are for all whom the umask lets.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(to)
            .map_err(DataError::io("create", &path))?;
        file.write_all(bytes).map_err(DataError::io("write", &path))?;
        file.as_file().sync_all().map_err(DataError::io("write", &path))?;
        file.persist(&path).map_err(|refused| DataError::io("write", &path)(refused.error))?;
        progress(&format!(
            "{}: {} bytes, SHA-256 is the original's, written to {}",
            self.name,
            self.bytes,
            to.display()
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
