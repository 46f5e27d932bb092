//! The file of a run's slots. Its form stands in docs/RUNNING.md, "The file of slots".

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use super::super::folder::{nameless, replace};
use super::super::sealed::{SealedReader, SealedWriter};
use super::super::{KeptError, size};
use super::{FIRST, PARTS, SAMPLED, SlotEntry, SlotLog, SlotSetup};
use crate::crypto::key::Key;
use crate::crypto::labels;
use crate::job::MOST_RANKS;

/// How the file begins.
const MAGIC: &[u8] = b"mixnn slots\n";
/// The version of the file's format.
const FORMAT: u32 = 1;
/// How many random bytes follow the version. With them the key of each file is its own.
const SALT: usize = 32;
/// How many bytes stand in the clear.
const HEAD: usize = MAGIC.len() + 4 + SALT;
/// How many bytes a file has at most.
const LONGEST: u64 = 256 * 1024;

/// The key of the stream behind `head`, whose owner has the key `owner`.
fn stream_key(owner: &Key, head: &[u8]) -> Key {
    owner.derive(&[labels::SLOTS, head].concat())
}

impl SlotLog {
    /// Writes the slots to `path`, sealed under the owner's key, whole or not at all, in the place of what stands there.
    ///
    /// # Errors
    /// [`KeptError::Write`], [`KeptError::Randomness`].
    pub fn write(&self, path: &Path, owner: &Key) -> Result<(), KeptError> {
        let unwritten = |source| KeptError::Write { path: path.to_owned(), source };
        let head = [MAGIC, &FORMAT.to_le_bytes(), Key::random()?.bytes()].concat();
        let mut sealed = SealedWriter::new(&stream_key(owner, &head), head).map_err(unwritten)?;
        let written = sealed.write_all(&self.to_bytes()).and_then(|()| sealed.finish());
        let bytes = written.map_err(unwritten)?;
        let mut file = nameless(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(unwritten)?;
        replace(file, path)
    }

    /// Reads the slots in `path`, sealed under the owner's key in `key_path`.
    ///
    /// # Errors
    /// [`KeptError::Read`]; [`KeptError::Slots`] where the file is none of slots, of another version, altered, or sealed under another
    /// key.
    pub fn read(path: &Path, owner: &Key, key_path: &Path) -> Result<Self, KeptError> {
        let unread = |source| KeptError::Read { path: path.to_owned(), source };
        let found = |found: String| KeptError::Slots { path: path.to_owned(), found };
        let length = fs::metadata(path).map_err(unread)?.len();
        if length > LONGEST {
            return Err(found(format!("{}, the most is {}", size(length), size(LONGEST))));
        }
        let bytes = fs::read(path).map_err(unread)?;
        if !bytes.starts_with(MAGIC) {
            return Err(found("another kind of file".to_owned()));
        }
        let torn = || {
            found(format!("bytes that were altered, cut off, or not sealed under the key in {}", key_path.display()))
        };
        let (head, stream) = bytes.split_at_checked(HEAD).ok_or_else(torn)?;
        let version = Cursor(&head[MAGIC.len()..]).u32();
        if version != Some(FORMAT) {
            return Err(found(format!("format {}", version.unwrap_or(0))));
        }
        let mut plain = Vec::new();
        SealedReader::new(&stream_key(owner, head), stream, stream.len() as u64)
            .and_then(|mut reader| reader.read_to_end(&mut plain))
            .map_err(|_| torn())?;
        Self::from_bytes(&plain).ok_or_else(|| found("numbers that no run writes".to_owned()))
    }

    /// What is sealed. All numbers are little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| bytes.extend_from_slice(part);
        let SlotSetup { ranks, hosts, latency, paced } = &self.setup;
        put(&ranks.to_le_bytes());
        put(&(hosts.len() as u16).to_le_bytes());
        put(&[*latency, u8::from(*paced), 0, 0]);
        for number in [self.slots, self.real[0], self.real[1], self.settled, self.bytes, self.stride] {
            put(&number.to_le_bytes());
        }
        for count in [self.ranks.len(), self.first.len(), self.sampled.len()] {
            put(&(count as u32).to_le_bytes());
        }
        hosts.iter().for_each(|host| put(&host.to_le_bytes()));
        self.ranks.iter().flatten().for_each(|part| put(&part.to_le_bytes()));
        for entry in self.first.iter().chain(&self.sampled) {
            let SlotEntry { number, term, slot, epoch, forward, backward, trains, parts } = entry;
            put(&number.to_le_bytes());
            [term, slot, epoch].iter().for_each(|number| put(&number.to_le_bytes()));
            let flags = u8::from(*forward) | u8::from(*backward) << 1 | u8::from(*trains) << 2;
            put(&[flags, 0, 0, 0]);
            parts.iter().for_each(|part| put(&part.to_le_bytes()));
        }
        bytes
    }

    /// Reads what was sealed. `None` where that is nothing that a run writes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Cursor(bytes);
        let (ranks, stages) = (from.u16()?, from.u16()?);
        let [latency, paced, 0, 0] = from.take()? else { return None };
        let [slots, forward, backward, settled, sent, stride] = from.u64s()?;
        let [timed, first, sampled] = [from.u32()?, from.u32()?, from.u32()?].map(|count| count as usize);
        let sound = ranks <= MOST_RANKS
            && stages < ranks.max(1)
            && [0, 1].contains(&paced)
            && stride.is_power_of_two()
            && settled <= slots
            && (timed == 0 || timed == usize::from(ranks))
            && first <= FIRST
            && sampled <= SAMPLED;
        if !sound {
            return None;
        }
        let hosts =
            (0..stages).map(|_| from.u16().filter(|host| (1..ranks).contains(host))).collect::<Option<_>>()?;
        let timed = (0..timed).map(|_| from.u64s::<PARTS>()).collect::<Option<_>>()?;
        let first = (0..first).map(|_| from.entry()).collect::<Option<_>>()?;
        let sampled = (0..sampled).map(|_| from.entry()).collect::<Option<_>>()?;
        from.0.is_empty().then(|| Self {
            setup: SlotSetup { ranks, hosts, latency, paced: paced == 1 },
            slots,
            real: [forward, backward],
            settled,
            bytes: sent,
            ranks: timed,
            first,
            stride,
            sampled,
            ..Self::default()
        })
    }
}

/// Bytes that are read from their start on. Every call is `None` where there are too few.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// The next `N` bytes.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next number of 16 bits.
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    /// The next number of 32 bits.
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// The next `N` numbers of 64 bits each.
    fn u64s<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.take().map(u64::from_le_bytes)?;
        }
        Some(numbers)
    }

    /// The next slot.
    fn entry(&mut self) -> Option<SlotEntry> {
        let [number] = self.u64s()?;
        let (term, slot, epoch) = (self.u32()?, self.u32()?, self.u32()?);
        let [flags @ 0..8, 0, 0, 0] = self.take()? else { return None };
        let mut parts = [0; PARTS];
        for part in &mut parts {
            *part = self.u32()?;
        }
        let flag = |bit: u8| flags >> bit & 1 == 1;
        Some(SlotEntry { number, term, slot, epoch, forward: flag(0), backward: flag(1), trains: flag(2), parts })
    }
}
