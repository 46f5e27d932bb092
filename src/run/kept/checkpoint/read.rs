//! Reads a checkpoint: first whether it is whole and whose it is, then the states of its stages, piece by piece.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::KeptError;
use super::super::sealed::SealedReader;
use super::{FORMAT, FileHeader, LONGEST_HEADER, MAGIC, Reached, Remainder, listed, stream_key};
use crate::crypto::key::Key;
use crate::memory;
use crate::nn::snapshot::PIECE;

/// The digest at the end of a file.
const DIGEST: u64 = 32;
/// How many bytes the list of lengths, and the rest, may have. They are memory that a file asks for.
const LONGEST_LIST: u64 = 1 << 20;
const LONGEST_REST: u64 = 1 << 30;

/// A checkpoint whose file is whole and was sealed under the owner's key.
pub struct Checkpoint {
    path: PathBuf,
    key: Key,
    /// Where the sealed stream begins in the file, and how long it is.
    stream: (u64, u64),
    /// What stands in the clear.
    pub header: FileHeader,
    /// By stage, how many bytes its snapshot has.
    pub lengths: Vec<u64>,
    /// What a run goes on from, beside the states of its stages.
    pub rest: Remainder,
}

/// The newest checkpoint of a folder.
pub struct Newest {
    /// The path of the file.
    pub path: PathBuf,
    /// How far training has come in it, as its name says.
    pub reached: Reached,
    /// The path of the next older checkpoint, if there is one.
    pub older: Option<PathBuf>,
}

/// The newest checkpoint in `folder`, by its name. `None` where there is none.
pub fn newest(folder: &Path) -> Option<Newest> {
    let mut all = listed(folder).into_iter();
    let (reached, path) = all.next()?;
    Some(Newest { path, reached, older: all.next().map(|(_, path)| path) })
}

impl Checkpoint {
    /// Reads the checkpoint in `path`, sealed under the key `owner` of the file `key_path`.
    ///
    /// # Errors
    /// [`KeptError::Read`]; [`KeptError::Torn`] where it is not whole, or altered; [`KeptError::Format`] where it is no checkpoint, or
    /// of a version that is not this one's; [`KeptError::ForeignKey`] where it was sealed under another key.
    pub fn read(path: &Path, owner: &Key, key_path: &Path) -> Result<Self, KeptError> {
        let unread = |source: std::io::Error| match source.kind() {
            ErrorKind::UnexpectedEof => KeptError::Torn { path: path.to_owned(), older: older_than(path) },
            _ => KeptError::Read { path: path.to_owned(), source },
        };
        let torn = || KeptError::Torn { path: path.to_owned(), older: older_than(path) };
        let format = |found: String| KeptError::Format { path: path.to_owned(), found };
        let mut file = File::open(path).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        let mut magic = vec![0; MAGIC.len()];
        let mut head_length = [0; 4];
        file.read_exact(&mut magic).map_err(unread)?;
        if magic != MAGIC {
            return Err(format("no checkpoint of mixnn".to_owned()));
        }
        file.read_exact(&mut head_length).map_err(unread)?;
        let head_length = u32::from_le_bytes(head_length);
        let start = MAGIC.len() as u64 + 4 + u64::from(head_length);
        let stream = length.checked_sub(start + DIGEST).filter(|_| head_length <= LONGEST_HEADER);
        let stream = stream.ok_or_else(torn)?;
        let mut head = vec![0; head_length as usize];
        file.read_exact(&mut head).map_err(unread)?;
        // Another format may have another header, and need not have a digest at its end. So this comes first.
        let version = |head: &[u8]| serde_json::from_slice::<serde_json::Value>(head).ok()?.get("format")?.as_u64();
        match version(&head) {
            Some(version) if version == u64::from(FORMAT) => {}
            Some(version) => return Err(format(format!("format {version}"))),
            None => return Err(torn()),
        }
        if digest(File::open(path).map_err(unread)?, length - DIGEST).map_err(unread)?
            != last(path).map_err(unread)?
        {
            return Err(torn());
        }
        let header: FileHeader = serde_json::from_slice(&head).map_err(|error| format(error.to_string()))?;
        // From here on the file is what was written: what does not open was sealed under another key.
        let foreign = || KeptError::ForeignKey { path: path.to_owned(), key: key_path.to_owned() };
        let unopened = |source: std::io::Error| match source.kind() {
            ErrorKind::InvalidData => foreign(),
            _ => KeptError::Read { path: path.to_owned(), source },
        };
        let key = stream_key(owner, &head);
        let mut reader = SealedReader::new(&key, file, stream).map_err(unread)?;
        let list = counted(&mut reader, LONGEST_LIST).map_err(unopened)?;
        let bad = || format("a list of stages that is none".to_owned());
        let lengths: Vec<u64> = postcard::from_bytes(&list).map_err(|_| bad())?;
        let states = lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length)).ok_or_else(bad)?;
        if states > stream {
            return Err(bad());
        }
        std::io::copy(&mut (&mut reader).take(states), &mut std::io::sink()).map_err(unopened)?;
        let rest = counted(&mut reader, LONGEST_REST).map_err(unopened)?;
        let rest = postcard::from_bytes(&rest).map_err(|error| format(error.to_string()))?;
        Ok(Self { path: path.to_owned(), key, stream: (start, stream), header, lengths, rest })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Passes all pieces of the stages' snapshots to `take`, in [rounds](crate::nn::snapshot::rounds), each with its stage.
    ///
    /// # Errors
    /// [`KeptError::Read`], [`KeptError::Torn`] where the file has changed since; those of `take`.
    pub fn states<E: From<KeptError>>(&self, mut take: impl FnMut(usize, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut states = self.open()?;
        for (_, stage, place) in crate::nn::snapshot::rounds(&self.lengths) {
            take(stage, states.next(place.len())?)?;
        }
        Ok(())
    }

    /// Opens the file anew, at the first piece.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn open(&self) -> Result<States<'_>, KeptError> {
        let open = || {
            let mut file = File::open(&self.path)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.stream.0))?;
            let mut reader = SealedReader::new(&self.key, file, self.stream.1)?;
            counted(&mut reader, LONGEST_LIST)?;
            Ok(reader)
        };
        let room = Zeroizing::new(memory::zeroed(PIECE)?);
        Ok(States { of: self, reader: open().map_err(|source| self.failed(source))?, room })
    }

    /// The error for what went wrong while the file was read again.
    fn failed(&self, source: std::io::Error) -> KeptError {
        match source.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                KeptError::Torn { path: self.path.clone(), older: older_than(&self.path) }
            }
            _ => KeptError::Read { path: self.path.clone(), source },
        }
    }
}

/// The pieces of a checkpoint, one after the other.
pub struct States<'a> {
    of: &'a Checkpoint,
    reader: SealedReader<File>,
    /// Memory for one piece.
    room: Zeroizing<Vec<u8>>,
}

impl States<'_> {
    /// The next `length` bytes: the next piece, whose length is known.
    ///
    /// # Errors
    /// [`KeptError::Read`], [`KeptError::Torn`].
    pub fn next(&mut self, length: usize) -> Result<&[u8], KeptError> {
        let read = self.reader.read_exact(&mut self.room[..length]);
        read.map_err(|source| self.of.failed(source))?;
        Ok(&self.room[..length])
    }
}

/// The newest checkpoint beside `path` that is older, if there is one.
fn older_than(path: &Path) -> Option<PathBuf> {
    let all = listed(path.parent()?);
    let this = all.iter().find(|(_, other)| other == path).map(|(reached, _)| *reached);
    all.into_iter().find(|(reached, _)| this.is_some_and(|this| *reached < this)).map(|(_, path)| path)
}

/// Reads a length, u64, and so many bytes, `most` at most.
fn counted(from: &mut impl Read, most: u64) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > most {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// SHA-256 of the first `length` bytes of `file`.
fn digest(file: File, length: u64) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = file.take(length);
    let mut room = vec![0; PIECE];
    loop {
        match file.read(&mut room)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&room[..read]),
        }
    }
}

/// The last 32 bytes of the file `path`.
fn last(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-(DIGEST as i64)))?;
    let mut last = [0; 32];
    file.read_exact(&mut last)?;
    Ok(last)
}
