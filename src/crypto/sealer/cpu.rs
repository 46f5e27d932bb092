//! The processor's sealer: it seals and opens cell after cell, by any library's AES-256-GCM.

use super::{
    BadCells, DeviceError, KeyId, OpenBatch, OpenError, OpenJob, PeelBatch, SealBatch, SealJob, Sealer, StreamId,
};
use crate::crypto::Unauthentic;
use crate::crypto::aead::{Aead, Library, Nonce, TAG};
use crate::crypto::key::Key;
use crate::crypto::keystream::Keystream;
use crate::ids::Slot;

/// The nonce of a cell: its number in its block (4 bytes), then the slot (8 bytes), little-endian (docs/PROTOCOL.md,
/// 6.5).
fn nonce(cell: u32, slot: Slot) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&cell.to_le_bytes());
    nonce[4..].copy_from_slice(&slot.0.to_le_bytes());
    nonce
}

/// A batch of jobs whose cells have one length.
pub(crate) struct Laid<J> {
    /// How many bytes a payload has in jobs that seal, or a sealed cell in jobs that open.
    pub(crate) length: usize,
    /// The jobs, in the order in which they run.
    pub(crate) jobs: Vec<J>,
}

/// The processor's sealer. `Bytes` is the memory of messages, which must be readable as bytes.
pub struct CpuSealer<Bytes> {
    /// The library that seals and opens.
    library: Library,
    /// The keys of this term, expanded, by [`KeyId`].
    keys: Vec<Box<dyn Aead>>,
    /// The keys of keystreams of this term, expanded, by [`StreamId`].
    streams: Vec<Keystream>,
    /// Room for one cell without its keystream, which is opened there. Only this sealer sees it.
    bare: Vec<u8>,
    /// The associated data of every cell. It binds cells to this run.
    data: Vec<u8>,
    /// The batches to be sealed, by [`SealBatch`].
    pub(crate) seals: Vec<Laid<SealJob>>,
    /// The batches to be peeled, by [`PeelBatch`].
    pub(crate) peels: Vec<Laid<OpenJob>>,
    /// The batches to be opened, by [`OpenBatch`].
    pub(crate) opens: Vec<Laid<OpenJob>>,
    /// In debug builds, which nonces have been used.
    uses: Uses,
    messages: std::marker::PhantomData<fn(Bytes)>,
}

impl<Bytes> CpuSealer<Bytes> {
    /// A sealer without keys. `library` seals and opens, and cells are bound to the associated data `data`.
    pub fn new(library: Library, data: Vec<u8>) -> Self {
        Self {
            library,
            keys: Vec::new(),
            streams: Vec::new(),
            bare: Vec::new(),
            data,
            seals: Vec::new(),
            peels: Vec::new(),
            opens: Vec::new(),
            uses: Uses::default(),
            messages: std::marker::PhantomData,
        }
    }

    /// Notes that the nonces of a batch are used in `slot`, whoever seals it. Debug builds panic where one of them was
    /// used before.
    pub(crate) fn note(&mut self, slot: Slot, batch: SealBatch) {
        if cfg!(debug_assertions) {
            for job in &self.seals[batch.0].jobs {
                job.layers.iter().rev().for_each(|key| self.uses.note(*key, job.cell, slot));
            }
        }
    }
}

/// Takes a layer off cells, from blocks to blocks or from blocks to messages.
struct CellOpener<'a> {
    keys: &'a [Box<dyn Aead>],
    streams: &'a [Keystream],
    data: &'a [u8],
    bare: &'a mut [u8],
}

impl CellOpener<'_> {
    /// Opens all cells of a batch from `from` into `to`. Where a cell is bad, `to` gets zeros in its place.
    fn all<K: AsRef<[u8]>, L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        Laid { length: sealed, jobs }: &Laid<OpenJob>,
        from: &[K],
        to: &mut [L],
    ) -> Result<(), OpenError> {
        let mut bad = BadCells::new();
        // 8.6 and 8.7 of docs/PROTOCOL.md: each cell is opened by itself, so that a bad one does not keep back the
        // others.
        for (index, job) in jobs.iter().enumerate() {
            let cell = &from[job.from.block].as_ref()[job.from.offset..][..*sealed];
            let plain = &mut to[job.to.block].as_mut()[job.to.offset..][..sealed - TAG];
            if self.one(slot, job, cell, plain).is_err() {
                plain.fill(0);
                bad.push(index);
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(OpenError::BadCells(bad)) }
    }

    /// Opens `cell` into `plain`. Others may see `plain` at any time, so nothing may stand there without the keystream
    /// that belongs over it.
    fn one(&mut self, slot: Slot, job: &OpenJob, cell: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic> {
        let (aead, nonce) = (&self.keys[job.key.0 as usize], nonce(job.cell, slot));
        let stream = |StreamId(stream): StreamId| &self.streams[stream as usize];
        match (job.under, job.over) {
            // Without a keystream over it, what is inside goes straight to its place: it is a cell that is still sealed, or a
            // message of this rank.
            (None, None) => aead.open(&nonce, self.data, cell, plain),
            // The keystream of the link over which the cell came is taken off in memory that only this sealer sees.
            (Some(under), None) => {
                let bare = &mut self.bare[..cell.len()];
                stream(under).add(&nonce, cell, bare);
                aead.open(&nonce, self.data, bare, plain)
            }
            // There the cell is opened, too, where the keystream of the next link goes over what is inside on its way out.
            (None, Some(over)) => {
                let inside = &mut self.bare[..plain.len()];
                aead.open(&nonce, self.data, cell, inside)?;
                stream(over).add(&nonce, inside, plain);
                Ok(())
            }
            (Some(under), Some(over)) => {
                let bare = &mut self.bare[..cell.len()];
                stream(under).add(&nonce, cell, bare);
                aead.open_in_place(&nonce, self.data, bare)?;
                stream(over).add(&nonce, &bare[..plain.len()], plain);
                Ok(())
            }
        }
    }
}

impl<Bytes> CpuSealer<Bytes> {
    /// Makes a batch of `jobs` whose sealed cells have `length` bytes. Where keystreams are used, it makes room for one
    /// such cell.
    fn laid(&mut self, length: usize, jobs: Vec<OpenJob>) -> Laid<OpenJob> {
        if jobs.iter().any(|job| job.under.is_some() || job.over.is_some()) {
            self.bare.resize(self.bare.len().max(length), 0);
        }
        Laid { length, jobs }
    }

    /// What opens cells, then the batches to be peeled and those to be opened.
    fn opening(&mut self) -> (CellOpener<'_>, &[Laid<OpenJob>], &[Laid<OpenJob>]) {
        let Self { keys, streams, data, bare, peels, opens, .. } = self;
        (CellOpener { keys, streams, data, bare }, peels, opens)
    }
}

impl<Bytes: AsRef<[u8]> + AsMut<[u8]>> Sealer for CpuSealer<Bytes> {
    type Bytes = Bytes;

    fn add(&mut self, key: &Key) -> KeyId {
        self.keys.push(self.library.key(key));
        KeyId(self.keys.len() as u32 - 1)
    }

    fn add_stream(&mut self, key: &Key) -> StreamId {
        self.streams.push(Keystream::new(key));
        StreamId(self.streams.len() as u32 - 1)
    }

    fn lay_seals(&mut self, payload: usize, jobs: Vec<SealJob>) -> SealBatch {
        self.seals.push(Laid { length: payload, jobs });
        SealBatch(self.seals.len() - 1)
    }

    fn lay_peels(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> PeelBatch {
        let laid = self.laid(sealed, jobs);
        self.peels.push(laid);
        PeelBatch(self.peels.len() - 1)
    }

    fn lay_opens(&mut self, sealed: usize, jobs: Vec<OpenJob>) -> OpenBatch {
        let laid = self.laid(sealed, jobs);
        self.opens.push(laid);
        OpenBatch(self.opens.len() - 1)
    }

    fn seal<L: AsMut<[u8]>>(
        &mut self,
        slot: Slot,
        batch: SealBatch,
        messages: &[Bytes],
        blocks: &mut [L],
    ) -> Result<(), DeviceError> {
        // 6.7: a nonce is used once under each key.
        self.note(slot, batch);
        let Laid { length: payload, jobs } = &self.seals[batch.0];
        for job in jobs {
            let nonce = nonce(job.cell, slot);
            let plain = &messages[job.from.block].as_ref()[job.from.offset..][..*payload];
            let onion = &mut blocks[job.to.block].as_mut()[job.to.offset..];
            // 8.2: the last hop's layer goes on first and the first hop's last. Each layer makes the cell a tag longer.
            // The innermost goes straight from the message to the block; the others are put on in place.
            let mut length = payload + TAG;
            for (depth, key) in job.layers.iter().rev().enumerate() {
                let aead = &self.keys[key.0 as usize];
                match depth {
                    0 => aead.seal(&nonce, &self.data, plain, &mut onion[..length]),
                    _ => aead.seal_in_place(&nonce, &self.data, &mut onion[..length]),
                }
                length += TAG;
            }
        }
        Ok(())
    }

    fn peel<L: AsMut<[u8]>, K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: PeelBatch,
        from: &[K],
        to: &mut [L],
    ) -> Result<(), OpenError> {
        let (mut opening, peels, _) = self.opening();
        opening.all(slot, &peels[batch.0], from, to)
    }

    fn open<K: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        batch: OpenBatch,
        from: &[K],
        messages: &mut [Bytes],
    ) -> Result<(), OpenError> {
        let (mut opening, _, opens) = self.opening();
        opening.all(slot, &opens[batch.0], from, messages)
    }

    fn fetch(&mut self, message: &Bytes, host: &mut [u8]) -> Result<(), DeviceError> {
        host.copy_from_slice(&message.as_ref()[..host.len()]);
        Ok(())
    }

    fn store(&mut self, host: &[u8], message: &mut Bytes) -> Result<(), DeviceError> {
        message.as_mut()[..host.len()].copy_from_slice(host);
        Ok(())
    }

    fn seal_record(&mut self, key: KeyId, cell: u32, slot: Slot, plain: &[u8], sealed: &mut [u8]) {
        self.uses.note(key, cell, slot);
        self.keys[key.0 as usize].seal(&nonce(cell, slot), &self.data, plain, sealed);
    }

    fn open_record(
        &mut self,
        key: KeyId,
        cell: u32,
        slot: Slot,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unauthentic> {
        self.keys[key.0 as usize].open(&nonce(cell, slot), &self.data, sealed, plain)
    }
}

/// Debug builds keep the last slot and cell that each key has sealed. These may only grow, so that no nonce comes
/// twice.
#[derive(Default)]
struct Uses {
    #[cfg(debug_assertions)]
    last: Vec<Option<(Slot, u32)>>,
}

impl Uses {
    /// Panics where `key` seals a cell that does not come after the last one that it has sealed.
    #[cfg(debug_assertions)]
    fn note(&mut self, key: KeyId, cell: u32, slot: Slot) {
        let index = key.0 as usize;
        if self.last.len() <= index {
            self.last.resize(index + 1, None);
        }
        let last = self.last[index].replace((slot, cell));
        assert!(last < Some((slot, cell)), "key {index} would seal cell {cell} of {slot} after {last:?}");
    }

    /// Does nothing: release builds do not keep account.
    #[cfg(not(debug_assertions))]
    fn note(&mut self, _key: KeyId, _cell: u32, _slot: Slot) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sealer::Place;

    type Subject = CpuSealer<Vec<u8>>;

    fn three_layers(library: Library) -> (Subject, SealJob) {
        let mut sealer = Subject::new(library, b"run".to_vec());
        let layers = (0..3).map(|i| sealer.add(&Key::from_bytes([i; 32]))).collect();
        let job =
            SealJob { layers, cell: 5, from: Place { block: 1, offset: 16 }, to: Place { block: 0, offset: 32 } };
        (sealer, job)
    }

    #[test]
    fn an_onion_opens_hop_by_hop_whoever_seals() {
        Library::ALL.into_iter().for_each(opens_hop_by_hop);
    }

    fn opens_hop_by_hop(library: Library) {
        let (mut sealer, job) = three_layers(library);
        let messages = [vec![0; 8], (0..64).collect::<Vec<u8>>()];
        let mut blocks = [vec![0; 32 + 32 + 48]];
        let layers = job.layers.clone();
        let batch = sealer.lay_seals(32, vec![job]);
        sealer.seal(Slot(9), batch, &messages, &mut blocks).unwrap();
        let mut cell = blocks[0][32..].to_vec();
        for (hop, key) in layers.into_iter().enumerate() {
            let at = Place { block: 0, offset: 0 };
            let sealed = cell.len();
            let peel =
                sealer.lay_peels(sealed, vec![OpenJob { key, cell: 5, from: at, to: at, under: None, over: None }]);
            let mut inside = [vec![0; sealed - TAG]];
            let refused = sealer.peel(Slot(8), peel, &[&cell], &mut inside);
            assert!(matches!(refused, Err(OpenError::BadCells(bad)) if bad == [0]), "{hop}");
            sealer.peel(Slot(9), peel, &[&cell], &mut inside).unwrap();
            let [peeled] = inside;
            cell = peeled;
        }
        assert_eq!(cell, messages[1][16..48]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "would seal cell 5")]
    fn a_nonce_that_comes_twice_is_noticed() {
        let (mut sealer, job) = three_layers(Library::AwsLc);
        let (messages, mut blocks) = ([vec![0; 8], vec![0; 64]], [vec![0; 112]]);
        let batch = sealer.lay_seals(32, vec![job]);
        for _ in 0..2 {
            sealer.seal(Slot(9), batch, &messages, &mut blocks).unwrap();
        }
    }

    #[test]
    fn cells_are_bound_to_their_run() {
        let key = Key::from_bytes([1; 32]);
        let [mut here, mut there] = [b"run 1", b"run 2"].map(|run| Subject::new(Library::AwsLc, run.to_vec()));
        let (mine, theirs) = (here.add(&key), there.add(&key));
        let (mut sealed, mut plain) = ([0; 32], [0; 16]);
        here.seal_record(mine, 0, Slot(0), &[3; 16], &mut sealed);
        assert_eq!(there.open_record(theirs, 0, Slot(0), &sealed, &mut plain), Err(Unauthentic));
        assert_eq!(here.open_record(mine, 0, Slot(0), &sealed, &mut plain), Ok(()));
    }
}
