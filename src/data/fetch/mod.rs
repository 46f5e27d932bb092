//! Brings the files of MNIST or CIFAR-10 into a folder: from a mirror, or from a folder or an archive that somebody has.
//!
//! Wherever a file comes from, its unpacked bytes must be proven right before they are written. They are written plain, under
//! the original name, and all at once: an interrupted fetch leaves no half file. A file of MNIST must have the original's
//! SHA-256. For single files of CIFAR-10 no digest is published, so the reader must accept them. A file that is already there
//! is kept if it is right, and never overwritten if it is not.
//!
//! `download` lets a program of the system speak HTTPS, and `local` reads folders and archives. Both deal with one `Original`
//! at a time. What to ask for and where to write it is decided here.

mod download;
mod local;

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{DataError, cifar10, gzip, mnist::FILES};
use crate::whole;

/// A file that is in the folder now and was proven right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Name of the file in the folder.
    pub name: &'static str,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// A published file, and how a copy of it is recognised.
struct Original {
    /// Name of the file when it is plain.
    name: &'static str,
    /// Length of the unpacked file in bytes.
    bytes: u64,
    /// How a copy is proven right.
    proof: Proof,
}

/// How a copy of a file is proven right.
enum Proof {
    /// The unpacked bytes have this SHA-256, in hexadecimal.
    Sha256(&'static str),
    /// This reader accepts the unpacked bytes.
    Read(fn(&Path, &[u8]) -> Result<(), DataError>),
}

/// The four files of MNIST, with the digests of what yann.lecun.com published, unpacked.
static MNIST: [Original; 4] = [
    Original {
        name: FILES[0],
        bytes: 47_040_016,
        proof: Proof::Sha256("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    },
    Original {
        name: FILES[1],
        bytes: 60_008,
        proof: Proof::Sha256("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    },
    Original {
        name: FILES[2],
        bytes: 7_840_016,
        proof: Proof::Sha256("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    },
    Original {
        name: FILES[3],
        bytes: 10_008,
        proof: Proof::Sha256("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
];

/// The six files of CIFAR-10. Those of its authors have 10,000 records each.
static CIFAR10: [Original; 6] = {
    let [one, two, three, four, five, test] = cifar10::FILES;
    [of_cifar10(one), of_cifar10(two), of_cifar10(three), of_cifar10(four), of_cifar10(five), of_cifar10(test)]
};

/// The file `name` of CIFAR-10.
const fn of_cifar10(name: &'static str) -> Original {
    Original { name, bytes: 30_730_000, proof: Proof::Read(cifar10::check) }
}

/// Where files are taken from.
enum FetchFrom<'a> {
    /// Files are taken from this folder or archive.
    Local(&'a Path),
    /// Addresses that end in `/`, tried in order with the first of `tools` that is installed.
    Mirrors { tools: &'a [download::Tool], addresses: &'a [&'a str] },
    /// Nowhere: a file that is missing is an error.
    None,
}

/// Brings the four files of MNIST, plain, into the folder `to`. The folder is created if it is not there.
///
/// Without `from` they are downloaded from public mirrors over HTTPS, by `curl` or `wget`. `from` names a folder, which is
/// searched up to eight folders deep, or a `.tar`, `.tar.gz` or `.tgz`. It may hold the files anywhere, plain or gzipped.
/// `progress` is told in words what happens. Returns all four files, those that were already there included.
///
/// # Errors
/// [`DataError::Digest`] if a file in `to` or in `from` is not the original; [`DataError::Download`];
/// [`DataError::NotInSource`], [`DataError::BadArchive`], [`DataError::CorruptGzip`] or [`DataError::TooLarge`] for `from`;
/// [`DataError::Io`].
pub fn mnist(to: &Path, from: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Vec<Fetched>, DataError> {
    let source = match from {
        Some(path) => FetchFrom::Local(path),
        None => FetchFrom::Mirrors { tools: &download::TOOLS, addresses: &download::MIRRORS },
    };
    fetch(&MNIST, to, source, progress)
}

/// Brings the six files of CIFAR-10's binary version, plain, into the folder `to`, as [`mnist`] does. It downloads none: `from`
/// must name them. A file may have fewer records than the original.
///
/// # Errors
/// [`DataError::NoMirror`] without `from`; [`DataError::Content`] if a file in `to` or in `from` is not one of CIFAR-10;
/// [`DataError::NotInSource`], [`DataError::BadArchive`], [`DataError::CorruptGzip`] or [`DataError::TooLarge`] for `from`;
/// [`DataError::Io`].
pub fn cifar10(to: &Path, from: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Vec<Fetched>, DataError> {
    fetch(&CIFAR10, to, from.map_or(FetchFrom::None, FetchFrom::Local), progress)
}

/// Brings `originals` into the folder `to`: keeps those that are there, and takes the others from `source`.
fn fetch(
    originals: &'static [Original],
    to: &Path,
    source: FetchFrom<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Fetched>, DataError> {
    fs::create_dir_all(to).map_err(DataError::io("create", to))?;
    let mut wanted = Vec::new();
    let mut fetched = Vec::new();
    for original in originals {
        match original.find(to)? {
            Some(there) => {
                progress(&original.kept(to));
                fetched.push(there);
            }
            None => wanted.push(original),
        }
    }
    match source {
        _ if wanted.is_empty() => {}
        FetchFrom::None => return Err(DataError::NoMirror),
        FetchFrom::Local(from) => {
            for (original, bytes) in local::read(from, &wanted)? {
                fetched.push(original.write(to, &bytes, progress)?);
            }
        }
        FetchFrom::Mirrors { tools, addresses } => {
            for original in wanted {
                let bytes = download::read(tools, addresses, original, progress)?;
                fetched.push(original.write(to, &bytes, progress)?);
            }
        }
    }
    fetched.sort_by_key(|file| originals.iter().position(|original| original.name == file.name));
    Ok(fetched)
}

impl Original {
    /// The file in `to`, if it is there and right. Another file of that name is an error, because it may be somebody's own
    /// data.
    fn find(&self, to: &Path) -> Result<Option<Fetched>, DataError> {
        let path = to.join(self.name);
        if !path.try_exists().map_err(DataError::io("read", &path))? {
            return Ok(None);
        }
        let bytes = gzip::read_file(&path, gzip::MAX_BYTES)?;
        self.check(&path, &bytes, "it is left as it is; move it away, or fetch into another folder")?;
        Ok(Some(self.fetched(&bytes)))
    }

    /// Unpacks `raw`, which was found at `place`, and proves it right.
    fn verified(&self, place: &Path, raw: Vec<u8>) -> Result<Vec<u8>, DataError> {
        let bytes = gzip::unpack(place, raw, gzip::MAX_BYTES)?;
        self.check(place, &bytes, "take it from another source")?;
        Ok(bytes)
    }

    /// Proves that `bytes`, which were found at `place`, are right. `remedy` stands in the error.
    fn check(&self, place: &Path, bytes: &[u8], remedy: &'static str) -> Result<(), DataError> {
        match self.proof {
            Proof::Sha256(expected) => {
                let found = digest(bytes);
                if found != expected {
                    return Err(DataError::Digest { file: place.to_owned(), found, expected, remedy });
                }
                Ok(())
            }
            Proof::Read(read) => read(place, bytes),
        }
    }

    /// The words that the file was already in `to`.
    fn kept(&self, to: &Path) -> String {
        format!("{}: already in {}, kept", self.name, to.display())
    }

    /// The description of this file, whose proven content is `bytes`.
    fn fetched(&self, bytes: &[u8]) -> Fetched {
        Fetched { name: self.name, bytes: bytes.len() as u64, sha256: digest(bytes) }
    }

    /// Writes the proven `bytes` to a file in `to`. It appears whole or not at all.
    fn write(&self, to: &Path, bytes: &[u8], progress: &mut dyn FnMut(&str)) -> Result<Fetched, DataError> {
        let path: PathBuf = to.join(self.name);
        // A temporary file is for its owner alone, but data are for everybody whom the umask lets.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(to)
            .map_err(DataError::io("create", &path))?;
        file.write_all(bytes).map_err(DataError::io("write", &path))?;
        file.as_file().sync_all().map_err(DataError::io("write", &path))?;
        if let Err(refused) = whole::persist(file, &path) {
            // Another fetch may have been faster. Its file must be proven right like any that is there.
            return match self.find(to)? {
                Some(there) if refused.error.kind() == ErrorKind::AlreadyExists => {
                    progress(&self.kept(to));
                    Ok(there)
                }
                _ => Err(DataError::io("write", &path)(refused.error)),
            };
        }
        let proof = match self.proof {
            Proof::Sha256(_) => "SHA-256 is the original's",
            Proof::Read(_) => "well-formed",
        };
        progress(&format!("{}: {} bytes, {proof}, written to {}", self.name, bytes.len(), to.display()));
        Ok(self.fetched(bytes))
    }
}

/// SHA-256 of `bytes`, in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
