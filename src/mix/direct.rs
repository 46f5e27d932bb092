//! The profiles `bare` and `sealed`: messages go straight to the neighbours, so their addresses show.
//!
//! A block is a 16-byte record with the owner's word as its sender has heard it, and the message: as it is and as long as
//! it is (`bare`), or cut into cells, all sealed and of one length (`sealed`).

use std::time::Instant;

use super::MixError;
use super::SPARE;
use super::beat::Order;
use super::courier::{Courier, Heard, Post, Timing, Word};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::package::{DirectRoute, Link};
use crate::crypto::Unauthentic;
use crate::crypto::aead::TAG;
use crate::crypto::sealer::{KeyId, OpenJob, Place, SealJob, Sealer};
use crate::ids::{Phase, Rank, Slot};
use crate::transport::{Lane, Transport, TransportError};

/// Bytes of a message that always travel, even of an empty one, in `bare`: there its zeros say that it is empty.
const HEAD: usize = 64;
/// The cell number of the record.
const RECORD_CELL: u32 = u32::MAX;

/// A rank's links to its neighbours, for one epoch.
pub struct Direct<S> {
    sealer: Option<S>,
    geometry: Geometry,
    outgoing: Vec<Side>,
    incoming: Vec<Side>,
    seal: Vec<SealJob>,
    open: Vec<OpenJob>,
    sent: Vec<usize>,
    capacity: Vec<usize>,
    heard: Order,
}

/// One link and the key of its record.
struct Side {
    peer: Rank,
    message: usize,
    key: Option<KeyId>,
}

impl<S: Sealer> Direct<S> {
    /// Takes the keys of `route` and lays the lanes. Without a `sealer` nothing is sealed.
    ///
    /// # Errors
    /// Those of laying.
    pub fn new<T: Transport>(
        transport: &mut T,
        mut sealer: Option<S>,
        geometry: Geometry,
        route: &DirectRoute,
    ) -> Result<Self, TransportError> {
        // The mix's own cells, all k c of a message.
        let (cells, payload) = (geometry.circuits() * geometry.cells as usize, geometry.payload as usize);
        let length = match sealer {
            Some(_) => BEAT + cells * (payload + TAG),
            None => BEAT_RECORD + geometry.message(),
        };
        let lanes = |links: &[Link]| -> Vec<Lane> {
            let length = |link: &Link| {
                if usize::from(link.message) == SPARE { BEAT } else { length }
            };
            links.iter().map(|link| Lane { peer: link.peer, tag: link.message, length: length(link) }).collect()
        };
        let (outgoing, incoming) = (lanes(&route.outgoing), lanes(&route.incoming));
        transport.lay(&outgoing, &incoming)?;
        let mut sides = |links: &[Link]| -> Vec<Side> {
            let side = |link: &Link| Side {
                peer: link.peer,
                message: link.message.into(),
                key: sealer.as_mut().map(|sealer| sealer.add(&link.key)),
            };
            links.iter().map(side).collect()
        };
        let mut direct = Self {
            geometry,
            outgoing: sides(&route.outgoing),
            incoming: sides(&route.incoming),
            seal: Vec::new(),
            open: Vec::new(),
            sent: outgoing.iter().map(|lane| lane.length).collect(),
            capacity: incoming.iter().map(|lane| lane.length).collect(),
            heard: Order::GoOn,
            sealer,
        };
        let places = |block: usize, side: &Side, cell_number: usize| {
            let in_message = Place { block: side.message, offset: cell_number * payload };
            (in_message, Place { block, offset: BEAT + cell_number * (payload + TAG) })
        };
        for cell in 0..cells {
            for (block, side) in direct.outgoing.iter().enumerate().filter(|(_, side)| side.message != SPARE) {
                let (from, to) = places(block, side, cell);
                let layers = side.key.into_iter().collect();
                direct.seal.push(SealJob { layers, cell: cell as u32, from, to });
            }
            for (block, side) in direct.incoming.iter().enumerate().filter(|(_, side)| side.message != SPARE) {
                let (to, from) = places(block, side, cell);
                direct.open.extend(side.key.map(|key| OpenJob { key, cell: cell as u32, from, to }));
            }
        }
        Ok(direct)
    }
}

impl<T: Transport, S: Sealer> Courier<T> for Direct<S>
where
    S::Bytes: AsRef<[u8]> + AsMut<[u8]>,
{
    type Bytes = S::Bytes;

    /// Addresses show who succeeds whom in any case: whoever finds a fault may end the run in public.
    fn reports_faults(&self) -> bool {
        false
    }

    fn slot(
        &mut self,
        transport: &mut T,
        slot: Slot,
        word: Word,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError> {
        if transport.rank() == Rank::OWNER {
            self.heard = word.order;
        }
        let started = Instant::now();
        // A record's cell number is above all others, and numbers only grow.
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(slot, self.geometry.payload as usize, &self.seal, &post.outbox, transport.blocks().0);
        }
        let record = self.heard.to_record();
        for (i, side) in self.outgoing.iter().enumerate() {
            let block = transport.blocks().0[i].as_mut();
            match (&mut self.sealer, side.key) {
                (Some(sealer), Some(key)) => {
                    sealer.seal_record(key, RECORD_CELL, slot, &record, &mut block[..BEAT]);
                }
                _ => {
                    let used = if side.message == SPARE { 0 } else { post.used[side.message].max(HEAD) };
                    block[..BEAT_RECORD].copy_from_slice(&record);
                    block[BEAT_RECORD..][..used].copy_from_slice(&post.outbox[side.message].as_ref()[..used]);
                    self.sent[i] = BEAT_RECORD + used;
                }
            }
        }
        timing.seal += started.elapsed();

        let exchanged = transport.exchange(Phase(1), &self.sent, &self.capacity)?;
        timing.exchange += exchanged.busy;
        timing.wait += exchanged.waiting;
        timing.sent += self.sent.iter().sum::<usize>() as u64;

        let started = Instant::now();
        let unauthentic = |from| MixError::Unauthentic { slot, phase: Phase(1), from };
        for (i, side) in self.incoming.iter().enumerate() {
            let block = transport.blocks().1[i].as_ref();
            let mut record = [0; BEAT_RECORD];
            match (&mut self.sealer, side.key) {
                (Some(sealer), Some(key)) => sealer
                    .open_record(key, RECORD_CELL, slot, &block[..BEAT], &mut record)
                    .map_err(|Unauthentic| unauthentic(side.peer))?,
                _ => {
                    record.copy_from_slice(&block[..BEAT_RECORD]);
                    if side.message != SPARE {
                        let message = post.inbox[side.message].as_mut();
                        let length = message.len();
                        message.copy_from_slice(&block[BEAT_RECORD..][..length]);
                    }
                }
            }
            let word = Order::from_record(&record).ok_or(MixError::Beat { slot, from: side.peer })?;
            if transport.rank() != Rank::OWNER && word != Order::GoOn {
                self.heard = word;
            }
        }
        if let Some(sealer) = &mut self.sealer {
            let cell = self.geometry.payload as usize + TAG;
            let opened = sealer.open(slot, cell, &self.open, transport.blocks().1, &mut post.inbox);
            opened.map_err(|bad| unauthentic(self.incoming[self.open[bad.job].from.block].peer))?;
        }
        timing.open += started.elapsed();
        Ok(Heard { order: self.heard, fault: None })
    }
}
