//! The sealer's keys on the device, in the expanded form that its kernels use.

use zeroize::Zeroizing;

use crate::compute::ComputeError;
use crate::compute::cuda::{Arg, Device, Launch, THREADS};
use crate::crypto::key::Key;
use crate::crypto::sealer::{KeyId, OpenJob, SealJob, StreamId};

/// Size of an expanded key in bytes, the kernel's `struct Expanded`.
pub(in crate::compute::cuda) const EXPANDED: usize = 16 * (15 + 1 + 256 + 512);
/// Sizes of shared memory in bytes: for a block that expands a key, and for one that seals or opens cells.
pub(super) const SHARED: [u32; 2] = [256 * 256, (256 + 128) * 256 + (128 + 16) * 16];
/// Stands for a keystream's key number where a job has no keystream.
const NONE: u32 = u32::MAX;

/// All keys of the sealer, and the device's copies of those that its jobs use.
pub(super) struct Keys<D: Device> {
    /// The device, with the sealer's own queue.
    pub(super) device: D,
    /// The associated data of all cells, and its length in bytes.
    pub(super) data: (D::Memory, u32),
    /// All keys of the sealer, by [`KeyId`].
    all: Vec<DeviceKey>,
    /// All keys of keystreams, by [`StreamId`].
    streams: Vec<DeviceKey>,
    /// Keys that jobs need but the device does not have yet.
    fresh: Vec<Key>,
    /// Number of keys that the device has.
    known: usize,
    /// The expanded keys on the device, by their number there.
    pub(super) expanded: D::Memory,
}

/// A key, and whether the device has it. Only keys that jobs need go there, because an expanded key takes four hundred times
/// the room.
enum DeviceKey {
    /// No job on the device needs this key yet.
    NotYet(Key),
    /// The key has, or will have after the next expansion, this number on the device.
    There(u32),
}

impl DeviceKey {
    /// Marks the key as needed. If the device does not have it yet, it gets the next number behind the `known` keys and the
    /// `fresh` ones.
    fn want(&mut self, known: usize, fresh: &mut Vec<Key>) {
        let number = (known + fresh.len()) as u32;
        match std::mem::replace(self, Self::There(number)) {
            Self::NotYet(key) => fresh.push(key),
            there @ Self::There(_) => *self = there,
        }
    }

    /// The key's number on the device. A job must have asked for it before.
    fn number(&self) -> u32 {
        match self {
            Self::There(number) => *number,
            Self::NotYet(_) => unreachable!("wanted when its jobs were laid down"),
        }
    }
}

impl<D: Device> Keys<D> {
    /// No keys yet. `device` is a queue of the sealer's own; `data` is the associated data of all cells.
    pub(super) fn new(device: D, data: &[u8]) -> Result<Self, ComputeError> {
        let (on_device, expanded) = (device.allocate(data.len())?, device.allocate(0)?);
        device.write(data, &on_device, 0);
        let data = (on_device, data.len() as u32);
        let (all, streams, fresh) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { device, data, all, streams, fresh, known: 0, expanded })
    }

    /// Takes the sealer's next key. Keys are numbered in the order in which they come.
    pub(super) fn add(&mut self, key: &Key) {
        self.all.push(DeviceKey::NotYet(key.twin()));
    }

    /// Takes the sealer's next key of keystreams. They are numbered in the order in which they come.
    pub(super) fn add_stream(&mut self, key: &Key) {
        self.streams.push(DeviceKey::NotYet(key.twin()));
    }

    /// Marks the keys of `jobs` as needed. They are expanded before the next launch.
    pub(super) fn want_to_seal(&mut self, jobs: &[SealJob]) {
        for KeyId(key) in jobs.iter().flat_map(|job| &job.layers) {
            self.all[*key as usize].want(self.known, &mut self.fresh);
        }
    }

    /// Marks the keys of `jobs` and those of their keystreams as needed. They are expanded before the next launch.
    pub(super) fn want_to_open(&mut self, jobs: &[OpenJob]) {
        for OpenJob { key: KeyId(key), under, over, .. } in jobs {
            self.all[*key as usize].want(self.known, &mut self.fresh);
            for StreamId(stream) in under.iter().chain(over) {
                self.streams[*stream as usize].want(self.known, &mut self.fresh);
            }
        }
    }

    /// The number on the device of the sealer's key.
    pub(super) fn number(&self, KeyId(key): KeyId) -> u32 {
        self.all[key as usize].number()
    }

    /// The number on the device of a keystream's key, or [`NONE`] if there is no keystream.
    pub(super) fn stream(&self, stream: Option<StreamId>) -> u32 {
        stream.map_or(NONE, |StreamId(stream)| self.streams[stream as usize].number())
    }

    /// Expands the needed keys that the device does not have. After that the host's copies are wiped, and the device holds
    /// expanded keys only.
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
