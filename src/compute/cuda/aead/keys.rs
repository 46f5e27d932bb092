//! Keys on the device, expanded.

use zeroize::Zeroizing;

use crate::compute::ComputeError;
use crate::compute::cuda::{Arg, Device, Launch, THREADS};
use crate::crypto::key::Key;
use crate::crypto::sealer::{KeyId, OpenJob, SealJob, StreamId};

/// Bytes of an expanded key: `struct Expanded`.
pub(in crate::compute::cuda) const EXPANDED: usize = 16 * (15 + 1 + 256 + 512);
/// Bytes of shared memory with which keys are expanded, and cells sealed and opened.
pub(super) const SHARED: [u32; 2] = [256 * 256, (256 + 128) * 256 + (128 + 16) * 16];
/// In place of a key's number: there is no keystream.
const NONE: u32 = u32::MAX;

/// Keys on the device, and its queue.
pub(super) struct Keys<D: Device> {
    pub(super) device: D,
    /// What cells are bound to, and how long that is.
    pub(super) data: (D::Memory, u32),
    /// All keys of the sealer.
    all: Vec<Wanted>,
    /// All keys of keystreams.
    streams: Vec<Wanted>,
    /// Keys that are still to be expanded.
    fresh: Vec<Key>,
    /// How many are.
    known: usize,
    pub(super) expanded: D::Memory,
}

/// A key, and whether the device needs it: expanded, it takes four hundred times its room there.
enum Wanted {
    NotYet(Key),
    /// It is the device's key of this number.
    There(u32),
}

impl Wanted {
    /// The device needs the key: unless it has it, it becomes the next behind the `known` ones and those that are `fresh`.
    fn want(&mut self, known: usize, fresh: &mut Vec<Key>) {
        let number = (known + fresh.len()) as u32;
        match std::mem::replace(self, Self::There(number)) {
            Self::NotYet(key) => fresh.push(key),
            there @ Self::There(_) => *self = there,
        }
    }

    fn number(&self) -> u32 {
        match self {
            Self::There(number) => *number,
            Self::NotYet(_) => unreachable!("wanted when its jobs were laid down"),
        }
    }
}

impl<D: Device> Keys<D> {
    /// None yet, on a queue of its own; cells are bound to `data`.
    pub(super) fn new(device: D, data: &[u8]) -> Result<Self, ComputeError> {
        let (on_device, expanded) = (device.allocate(data.len())?, device.allocate(0)?);
        device.write(data, &on_device, 0);
        let data = (on_device, data.len() as u32);
        let (all, streams, fresh) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { device, data, all, streams, fresh, known: 0, expanded })
    }

    /// Takes the sealer's next key.
    pub(super) fn add(&mut self, key: &Key) {
        self.all.push(Wanted::NotYet(key.twin()));
    }

    /// Takes the sealer's next key of keystreams.
    pub(super) fn add_stream(&mut self, key: &Key) {
        self.streams.push(Wanted::NotYet(key.twin()));
    }

    /// Jobs on the device need their keys, which are expanded before the next launch.
    pub(super) fn want_to_seal(&mut self, jobs: &[SealJob]) {
        for KeyId(key) in jobs.iter().flat_map(|job| &job.layers) {
            self.all[*key as usize].want(self.known, &mut self.fresh);
        }
    }

    /// As [`want_to_seal`](Self::want_to_seal), with the keys of their keystreams.
    pub(super) fn want_to_open(&mut self, jobs: &[OpenJob]) {
        for OpenJob { key: KeyId(key), under, over, .. } in jobs {
            self.all[*key as usize].want(self.known, &mut self.fresh);
            for StreamId(stream) in under.iter().chain(over) {
                self.streams[*stream as usize].want(self.known, &mut self.fresh);
            }
        }
    }

    /// The key's number on the device.
    pub(super) fn number(&self, KeyId(key): KeyId) -> u32 {
        self.all[key as usize].number()
    }

    /// The number there of the key of a keystream, or what says that there is none.
    pub(super) fn stream(&self, stream: Option<StreamId>) -> u32 {
        stream.map_or(NONE, |StreamId(stream)| self.streams[stream as usize].number())
    }

    /// Expands the keys that are new. They are wiped here; on the device only what is expanded stays.
    pub(super) fn expand(&mut self) -> Result<(), ComputeError> {
        let fresh = self.fresh.len();
        if fresh == 0 {
            return Ok(());
        }
        let expanded = self.device.allocate((self.known + fresh) * EXPANDED)?;
        let keys = self.device.allocate(32 * fresh)?;
        self.device.copy(&self.expanded, &expanded, self.known * EXPANDED);
        let mut bytes = Zeroizing::new(Vec::with_capacity(32 * fresh));
        self.fresh.iter().for_each(|key| bytes.extend(key.bytes()));
        self.device.write(&bytes, &keys, 0);
        let launch =
            Launch { kernel: "aes_gcm_expand", grid: [fresh as u32, 1, 1], block: THREADS, shared: SHARED[0] };
        let to = Arg::Memory(&expanded, self.known * EXPANDED);
        self.device.launch(launch, &[Arg::Memory(&keys, 0), Arg::Memory(&self.data.0, 0), Arg::U32(self.data.1), to]);
        self.expanded = expanded;
        self.known += fresh;
        self.fresh.clear();
        Ok(())
    }
}
