//! The profiles `bare` and `sealed`: messages go straight to the neighbours, so their addresses show (docs/PROTOCOL.md,
//! 15).
//!
//! A block is a 16-byte record with the owner's word, as its sender has heard it, and a message. In `bare` the message
//! travels as it is and as long as it is. In `sealed` it is cut into cells of one length, and all is sealed.

use std::time::{Duration, Instant};

use super::MixError;
use super::SPARE;
use super::beat::Order;
use super::courier::{Courier, Heard, Post, Timing, Word};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::package::{DirectRoute, Link};
use crate::crypto::Unauthentic;
use crate::crypto::aead::TAG;
use crate::crypto::sealer::{KeyId, OpenBatch, OpenError, OpenJob, Place, SealBatch, SealJob, Sealer};
use crate::ids::{Phase, Rank, Slot};
use crate::transport::{Exchange, Lane};

/// How many bytes of a message always travel in `bare`, even of an empty one: its header. There zeros say that it is
/// empty (docs/PROTOCOL.md, 15.3).
const HEAD: usize = 64;
/// The cell number of the record, which no cell has (docs/PROTOCOL.md, 15.4).
const RECORD_CELL: u32 = u32::MAX;

/// How many cells a message has: k c, as in the mix.
fn cells(geometry: &Geometry) -> usize {
    geometry.circuits() * geometry.cells as usize
}

/// How many bytes the block of a message has: exactly so many in `sealed` (if `seals`), at most so many in `bare`
/// (docs/PROTOCOL.md, 15.3 and 15.4).
pub fn longest_block(geometry: &Geometry, seals: bool) -> usize {
    match seals {
        true => BEAT + cells(geometry) * (geometry.payload as usize + TAG),
        false => BEAT_RECORD + geometry.message(),
    }
}

/// A rank's links to its neighbours, for one term.
pub struct Direct<S> {
    /// Seals and opens records and cells. It holds the keys of the term.
    sealer: S,
    /// The lengths of messages and cells.
    geometry: Geometry,
    /// By outgoing lane: its link.
    outgoing: Vec<Side>,
    /// By incoming lane: its link.
    incoming: Vec<Side>,
    /// The jobs that seal and open the cells of a slot. `None` in `bare`, where nothing is sealed.
    cells: Option<Cells>,
    /// By outgoing lane: how many bytes of its block leave in this slot.
    sent: Vec<usize>,
    /// By incoming lane: how many bytes of its block may arrive.
    capacity: Vec<usize>,
    /// By incoming lane: the sealed record that has arrived in this slot.
    records: Vec<[u8; BEAT]>,
    /// The owner's word, as this rank has heard it so far in this term.
    heard: Order,
}

/// One link, and the key that seals what goes over it.
struct Side {
    /// The neighbour at the other end.
    peer: Rank,
    /// The number of the message that goes over it.
    message: usize,
    /// The link's key, in the sealer.
    key: KeyId,
}

/// The jobs of a slot.
struct Cells {
    /// Seals the cells that leave.
    seal: SealBatch,
    /// Opens the cells that arrive.
    open: OpenBatch,
    /// By job of `open`: the rank from which the cell comes.
    senders: Vec<Rank>,
}

impl<S: Sealer> Direct<S> {
    /// Takes the keys of `route` and lays the lanes for one term. If `seals` is false, nothing is sealed. What is
    /// sealed stands on the sealer's device, if it has one whose memory others may name and `transport` takes such
    /// memory.
    ///
    /// # Errors
    /// Those of [`Exchange::lay`]; [`MixError::Device`].
    pub fn new(
        transport: &mut dyn Exchange,
        mut sealer: S,
        seals: bool,
        geometry: Geometry,
        route: &DirectRoute,
    ) -> Result<Self, MixError> {
        let cells = cells(&geometry);
        let length = longest_block(&geometry, seals);
        let lanes = |links: &[Link]| -> Vec<Lane> {
            let length = |link: &Link| {
                if usize::from(link.message) == SPARE { BEAT } else { length }
            };
            links.iter().map(|link| Lane { peer: link.peer, tag: link.message, length: length(link) }).collect()
        };
        let (outgoing, incoming) = (lanes(&route.outgoing), lanes(&route.incoming));
        let device = match seals && transport.takes_device_memory() {
            true => {
                let [outgoing, incoming] =
                    [&outgoing, &incoming].map(|lanes| lanes.iter().map(|lane| lane.length).collect::<Vec<_>>());
                sealer.lay_lanes(&outgoing, &incoming)?
            }
            false => None,
        };
        transport.lay(&outgoing, &incoming, device)?;
        let mut sides = |links: &[Link]| -> Vec<Side> {
            let side =
                |link: &Link| Side { peer: link.peer, message: link.message.into(), key: sealer.add(&link.key) };
            links.iter().map(side).collect()
        };
        let mut direct = Self {
            geometry,
            outgoing: sides(&route.outgoing),
            incoming: sides(&route.incoming),
            cells: None,
            sent: outgoing.iter().map(|lane| lane.length).collect(),
            capacity: incoming.iter().map(|lane| lane.length).collect(),
            records: vec![[0; BEAT]; incoming.len()],
            heard: Order::GoOn,
            sealer,
        };
        if seals {
            direct.lay_cells(cells);
        }
        Ok(direct)
    }

    /// Lays down the jobs that seal and open all `cells` cells of each message, each in one layer under its link's key
    /// (docs/PROTOCOL.md, 15.4).
    fn lay_cells(&mut self, cells: usize) {
        let payload = self.geometry.payload as usize;
        let places = |block: usize, side: &Side, cell: usize| {
            let in_message = Place { block: side.message, offset: cell * payload };
            (in_message, Place { block, offset: BEAT + cell * (payload + TAG) })
        };
        let full = |(_, side): &(usize, &Side)| side.message != SPARE;
        let (mut seals, mut opens, mut senders) = (Vec::new(), Vec::new(), Vec::new());
        for (block, side) in self.outgoing.iter().enumerate().filter(full) {
            seals.extend((0..cells).map(|cell| {
                let (from, to) = places(block, side, cell);
                SealJob { layers: vec![side.key], cell: cell as u32, from, to }
            }));
        }
        for (block, side) in self.incoming.iter().enumerate().filter(full) {
            opens.extend((0..cells).map(|cell| {
                let (to, from) = places(block, side, cell);
                OpenJob { key: side.key, cell: cell as u32, from, to, under: None, over: None }
            }));
            senders.extend((0..cells).map(|_| side.peer));
        }
        let (seal, open) = (self.sealer.lay_seals(payload, seals), self.sealer.lay_opens(payload + TAG, opens));
        self.cells = Some(Cells { seal, open, senders });
    }
}

impl<S: Sealer> Courier for Direct<S> {
    type Bytes = S::Bytes;

    /// Addresses show in any case who succeeds whom, so whoever finds a fault may end the run in public
    /// (docs/PROTOCOL.md, 16.4).
    fn reports_faults(&self) -> bool {
        false
    }

    fn slot(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        word: Word,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError> {
        // 15.2: the owner says its own word. Other ranks say what they have heard so far.
        if transport.rank() == Rank::OWNER {
            self.heard = word.order;
        }
        let started = Instant::now();
        // 15.4: seal the messages. They come before the records: a record's cell number is above all others, and under
        // one key the numbers only grow.
        if let Some(cells) = &self.cells {
            self.sealer.seal(slot, cells.seal, &post.outbox, transport.blocks().0)?;
        }
        // 15.2: a block begins with the record.
        let record = self.heard.to_record();
        for (i, side) in self.outgoing.iter().enumerate() {
            let block = transport.blocks().0[i].as_mut();
            if self.cells.is_some() {
                self.sealer.seal_record(side.key, RECORD_CELL, slot, &record, &mut block[..BEAT]);
            } else {
                // 15.3: behind the record goes the message without its padding. Of an empty one the header travels, and
                // over the link of the owner's word nothing.
                let used = if side.message == SPARE { 0 } else { post.used[side.message].max(HEAD) };
                block[..BEAT_RECORD].copy_from_slice(&record);
                self.sealer.fetch(&post.outbox[side.message], &mut block[BEAT_RECORD..][..used])?;
                self.sent[i] = BEAT_RECORD + used;
            }
        }
        if self.cells.is_some() {
            self.sealer.push(transport.blocks().0, 0, 0..BEAT)?;
        }
        timing.seal += started.elapsed();

        // 15.2: a slot has one phase. Over each link goes one block.
        let exchanged = transport.exchange(Phase(1), &self.sent, &self.capacity)?;
        timing.exchange += exchanged.busy;
        timing.wait += exchanged.waiting;
        timing.sent += self.sent.iter().sum::<usize>() as u64;

        let started = Instant::now();
        let unauthentic = |from| MixError::Unauthentic { slot, phase: Phase(1), from };
        if self.cells.is_some() {
            self.sealer.heads(transport.blocks().1, &mut self.records)?;
        }
        // 15.2 to 15.4: read the records, and in `bare` the messages. What stands behind a message's tensor is not read
        // there.
        for (i, side) in self.incoming.iter().enumerate() {
            let block = transport.blocks().1[i].as_ref();
            let mut record = [0; BEAT_RECORD];
            if self.cells.is_some() {
                self.sealer
                    .open_record(side.key, RECORD_CELL, slot, &self.records[i], &mut record)
                    .map_err(|Unauthentic| unauthentic(side.peer))?;
            } else {
                record.copy_from_slice(&block[..BEAT_RECORD]);
                if side.message != SPARE {
                    let arrived = &block[BEAT_RECORD..][..self.geometry.message()];
                    self.sealer.store(arrived, &mut post.inbox[side.message])?;
                }
            }
            let word = Order::from_record(&record).ok_or(MixError::Beat { slot, from: side.peer })?;
            // 15.2: ranks other than the owner take any word but "go on" from any of their links. So it goes round by
            // one link a slot.
            if transport.rank() != Rank::OWNER && word != Order::GoOn {
                self.heard = word;
            }
        }
        if let Some(cells) = &self.cells {
            // 15.4: open the cells into the messages. A bad one ends the run (16.4).
            match self.sealer.open(slot, cells.open, transport.blocks().1, &mut post.inbox) {
                Ok(()) => {}
                Err(OpenError::BadCells(bad)) => return Err(unauthentic(cells.senders[bad[0]])),
                Err(OpenError::Device(error)) => return Err(error.into()),
            }
        }
        timing.open += started.elapsed();
        Ok(Heard { order: self.heard, fault: None, intact: true, worked: Duration::ZERO })
    }
}
