//! Writes a checkpoint, on a thread of its own, so that a slow file system holds nobody up.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::sealed::SealedWriter;
use super::super::{KeptError, folder};
use super::{FORMAT, FileHeader, LONGEST_HEADER, MAGIC, Reached, Remainder, listed, stream_key};
use crate::crypto::key::Key;
use crate::nn::snapshot::PIECE;
use crate::threads;

/// A checkpoint that is being written. It takes the stages' snapshots piece by piece, in
/// [rounds](crate::nn::snapshot::rounds). Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct CheckpointWriter {
    to: SyncSender<Handed>,
    thread: Thread,
}

/// A checkpoint of which all is known, and which may still be on its way to the disk.
pub struct Written {
    thread: Thread,
    /// Says when the thread is through.
    through: Receiver<()>,
}

/// The thread that writes. Its value is the path of the file and how many seconds it took.
type Thread = JoinHandle<Result<(PathBuf, f64), KeptError>>;

/// What the thread gets.
enum Handed {
    /// The next piece.
    Piece(Zeroizing<Vec<u8>>),
    /// What stands behind all pieces, and where to tell that the file is written.
    Rest(Vec<u8>, SyncSender<()>),
}

impl CheckpointWriter {
    /// Begins a checkpoint in `folder` of stages whose snapshots have these `lengths`. `header` says what stands in the clear; its
    /// salt is drawn here. `keep` checkpoints stay in the folder. Where the file cannot be written, `failed` is called. So many bytes wait in memory for the disk at most as the two longest
    /// snapshots have.
    ///
    /// # Errors
    /// [`KeptError::Threads`], [`KeptError::Randomness`]. What goes wrong with the file, the other calls tell.
    pub fn new(
        folder: &Path,
        owner: &Key,
        header: FileHeader,
        lengths: Vec<u64>,
        keep: usize,
        failed: impl FnOnce() + Send + 'static,
    ) -> Result<Self, KeptError> {
        let salt = Key::random()?;
        let salt = salt.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = FileHeader { format: FORMAT, salt, ..header };
        let pieces = lengths.iter().map(|length| length.div_ceil(PIECE as u64)).max().unwrap_or(0);
        let (to, parts) = sync_channel(2 * pieces.max(2) as usize);
        let (folder, owner) = (folder.to_owned(), owner.twin());
        let work = move || {
            let began = Instant::now();
            let path = folder.join(header.reached.file_name());
            let done = write(&folder, &path, &owner, &header, &lengths, parts, keep);
            if done.is_err() {
                failed();
            }
            done.map(|()| (path, began.elapsed().as_secs_f64()))
        };
        Ok(Self { to, thread: threads::spawn_free("checkpoint", work)? })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn take(&mut self, piece: &[u8]) -> Result<(), KeptError> {
        match self.to.send(Handed::Piece(Zeroizing::new(piece.to_vec()))) {
            Ok(()) => Ok(()),
            // The thread has ended, which it does before its time only where it cannot write. It says why when it is joined.
            Err(_) => Err(KeptError::Stuck),
        }
    }

    /// Hands over the `rest`, with which the checkpoint is whole. It is written while this returns.
    ///
    /// # Errors
    /// [`KeptError::Bug`] where the rest cannot be encoded.
    pub fn finish(self, rest: &Remainder) -> Result<Written, KeptError> {
        let rest = postcard::to_allocvec(rest).map_err(|error| KeptError::Bug(format!("a checkpoint: {error}")))?;
        let (done, through) = sync_channel(1);
        // Where the thread has ended, joining it tells why.
        let _ = self.to.send(Handed::Rest(rest, done));
        Ok(Written { thread: self.thread, through })
    }

    /// Why the thread could not go on.
    pub fn failed(self) -> KeptError {
        drop(self.to);
        match self.thread.join() {
            Ok(Err(error)) => error,
            _ => KeptError::Bug("the thread that writes a checkpoint has ended".to_owned()),
        }
    }
}

impl Written {
    /// A checkpoint that is on the disk, as `late`, when something has come from `gate`.
    #[cfg(test)]
    pub(in crate::run) fn late(gate: Receiver<()>) -> Self {
        let (done, through) = sync_channel(1);
        let work = move || {
            let _ = gate.recv_timeout(std::time::Duration::from_secs(60));
            drop(done);
            Ok((PathBuf::from("late"), 1.0))
        };
        Self { thread: threads::spawn_free("checkpoint", work).unwrap(), through }
    }

    /// Whether the thread is through, be it that it could write or not.
    pub fn is_through(&self) -> bool {
        !matches!(self.through.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits until the file is on the disk under its name. Returns its path and how many seconds it took.
    ///
    /// # Errors
    /// [`KeptError::Write`].
    pub fn wait(self) -> Result<(PathBuf, f64), KeptError> {
        let panicked = |_| Err(KeptError::Bug("the thread that writes a checkpoint has panicked".to_owned()));
        self.thread.join().unwrap_or_else(panicked)
    }
}

/// Passes on what is written to it, and computes its digest.
struct Hashed<W> {
    hash: Sha256,
    to: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.to.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Writes the checkpoint `path` of the `parts` as they come, and then removes the older ones but `keep`.
fn write(
    within: &Path,
    path: &Path,
    owner: &Key,
    header: &FileHeader,
    lengths: &[u64],
    parts: Receiver<Handed>,
    keep: usize,
) -> Result<(), KeptError> {
    let failed = |source| KeptError::Write { path: path.to_owned(), source };
    let bug = |error: &dyn std::fmt::Display| KeptError::Bug(format!("a checkpoint: {error}"));
    let head = serde_json::to_vec(header).map_err(|error| bug(&error))?;
    if head.len() as u64 > LONGEST_HEADER.into() {
        return Err(bug(&"its header is too long"));
    }
    let list = postcard::to_allocvec(lengths).map_err(|error| bug(&error))?;
    let file = folder::nameless(within)?;
    let mut to = Hashed { hash: Sha256::new(), to: file };
    let opened = to.write_all(MAGIC).and_then(|()| to.write_all(&(head.len() as u32).to_le_bytes()));
    opened.and_then(|()| to.write_all(&head)).map_err(failed)?;
    let mut stream = SealedWriter::new(&stream_key(owner, &head), to).map_err(failed)?;
    let mut put = |bytes: &[u8]| stream.write_all(bytes).map_err(failed);
    put(&(list.len() as u64).to_le_bytes())?;
    put(&list)?;
    let done = loop {
        match parts.recv() {
            Ok(Handed::Piece(piece)) => put(&piece)?,
            Ok(Handed::Rest(rest, done)) => {
                put(&(rest.len() as u64).to_le_bytes())?;
                put(&rest)?;
                break done;
            }
            // The run has ended before the checkpoint was whole.
            Err(_) => return Err(KeptError::Stuck),
        }
    };
    let Hashed { hash, to: mut file } = stream.finish().map_err(failed)?;
    let written = file.write_all(&hash.finalize()).and_then(|()| file.as_file().sync_all());
    written.map_err(failed)?;
    folder::replace(file, path)?;
    let old = listed(within).into_iter().filter(|(_, other)| other != path).skip(keep.saturating_sub(1));
    // One that cannot be removed does no harm.
    old.for_each(|(_, old)| drop(fs::remove_file(old)));
    drop(done);
    Ok(())
}

impl FileHeader {
    /// The header of a checkpoint of the job and the data with these digests, at `reached`.
    pub fn new(version: &str, job: String, data: String, reached: Reached) -> Self {
        Self { format: FORMAT, version: version.to_owned(), job, data, reached, salt: String::new() }
    }
}
