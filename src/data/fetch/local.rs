//! Finds files in a folder or an archive, by name alone.
//!
//! Only members whose names are wanted are read, and only into memory. Nothing is ever written under a name that an archive
//! gives.

use std::{
    fs::{self, File},
    io::{BufReader, Read, Seek},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{DataError, Original, gzip};

/// How many folders deep a folder is searched: enough for `MNIST/raw` and for an unpacked package.
const MAX_DEPTH: usize = 8;
/// Most bytes of an unpacked archive that are read. It limits what a forged archive can make this program read.
const MAX_ARCHIVE: u64 = 16 << 30;

/// Finds the `wanted` files in `from`. They are returned unpacked and proven right, in the order of `wanted`. If several files
/// have the same name, the first that is the original counts. Folders that may not be read are skipped.
///
/// # Errors
/// [`DataError::NotInSource`] if a name is missing; [`DataError::Digest`], [`DataError::CorruptGzip`] or
/// [`DataError::TooLarge`] if a file of that name is not the original; [`DataError::BadArchive`]; [`DataError::Io`].
pub(super) fn read(
    from: &Path,
    wanted: &[&'static Original],
) -> Result<Vec<(&'static Original, Vec<u8>)>, DataError> {
    let mut search = FileSearch { slots: wanted.iter().map(|&original| Slot { original, seen: None }).collect() };
    if fs::metadata(from).map_err(DataError::io("read", from))?.is_dir() {
        fs::read_dir(from).map_err(DataError::io("read", from))?;
        search.folder(from, MAX_DEPTH);
    } else {
        search.archive(from)?;
    }
    let finish = |slot: Slot| match slot.seen {
        Some(result) => Ok((slot.original, result?)),
        None => Err(DataError::NotInSource { from: from.to_owned(), name: slot.original.name }),
    };
    search.slots.into_iter().map(finish).collect()
}

/// A search for several files.
struct FileSearch {
    /// The wanted files, in the order of the request.
    slots: Vec<Slot>,
}

/// A wanted file, and the best candidate that was seen under its name.
struct Slot {
    /// The file that is wanted, and how a copy is proven right.
    original: &'static Original,
    /// The candidate's bytes, or why it was refused. `None` if none was seen.
    seen: Option<Result<Vec<u8>, DataError>>,
}

impl Slot {
    /// Whether the original was found.
    fn is_filled(&self) -> bool {
        matches!(self.seen, Some(Ok(_)))
    }
}

impl FileSearch {
    /// Whether all originals were found.
    fn is_done(&self) -> bool {
        self.slots.iter().all(Slot::is_filled)
    }

    /// The slot that still waits for a file with the name of `path`, with or without `.gz`.
    fn slot_for(&mut self, path: &Path) -> Option<&mut Slot> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".gz").unwrap_or(name);
        self.slots.iter_mut().find(|slot| slot.original.name == name && !slot.is_filled())
    }

    /// Reads the candidate `path` with `read`, if a file of its name is still wanted.
    fn offer(&mut self, path: &Path, read: impl FnOnce() -> Result<Vec<u8>, DataError>) {
        if let Some(slot) = self.slot_for(path) {
            let result = read().and_then(|bytes| slot.original.verified(path, bytes));
            // The first refusal is the one that is reported, unless a later candidate is the original.
            if result.is_ok() || slot.seen.is_none() {
                slot.seen = Some(result);
            }
        }
    }

    /// Searches the files of `dir`, then its folders, both in the order of their names. Links to folders are not followed,
    /// because they could lead in circles.
    fn folder(&mut self, dir: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.is_file() {
                self.offer(&path, || gzip::read_file(&path, gzip::MAX_BYTES));
            }
        }
        for folder in folders {
            if depth > 0 && !self.is_done() {
                self.folder(&folder, depth - 1);
            }
        }
    }

    /// Reads the archive `from` once from its beginning, until all files are found.
    fn archive(&mut self, from: &Path) -> Result<(), DataError> {
        let mut file = File::open(from).map_err(DataError::io("read", from))?;
        let mut start = Vec::new();
        file.by_ref().take(2).read_to_end(&mut start).map_err(DataError::io("read", from))?;
        file.rewind().map_err(DataError::io("read", from))?;

        let file = BufReader::with_capacity(1 << 16, file);
        let stream: Box<dyn Read> =
            if gzip::is_gzip(&start) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let bad = |source| DataError::BadArchive { file: from.to_owned(), source };
        let mut archive = tar::Archive::new(stream.take(MAX_ARCHIVE));
        for entry in archive.entries().map_err(bad)? {
            let mut entry = entry.map_err(bad)?;
            let path = entry.path().map_err(bad)?.into_owned();
            if entry.header().entry_type().is_file() {
                let (place, size) = (from.join(&path), entry.size());
                self.offer(&place, || gzip::read(&place, &mut entry, size, gzip::MAX_BYTES));
            }
            if self.is_done() {
                break;
            }
        }
        Ok(())
    }
}
