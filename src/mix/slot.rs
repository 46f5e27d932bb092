//! A slot of the mix, which is the whole data path (docs/PROTOCOL.md, "Slot"):
//!
//! ```text
//! seal the outbox
//! in each phase: exchange; verify and peel all cells; each goes to the lane that its circuit says
//! open into the inbox
//! ```

use std::time::Instant;

use super::MixError;
use super::beat::{Order, WELL};
use super::courier::{Courier, Post, Timing};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::onion::Onion;
use super::package::{MixedRoute, peers};
use crate::crypto::Unauthentic;
use crate::crypto::sealer::{BadCell, Sealer};
use crate::ids::{Epoch, Phase, Rank, Slot};
use crate::transport::{Lane, Transport, TransportError};

/// The cell number of a beat: no cell has it.
const BEAT_CELL: u32 = u32::MAX;

/// A rank's part in the mix, for one epoch.
pub struct Mixer<S> {
    geometry: Geometry,
    rank: Rank,
    sealer: S,
    onion: Onion,
    /// Bytes of each lane's block, by phase.
    lengths: Vec<Vec<usize>>,
}

impl<S: Sealer> Mixer<S> {
    /// Takes the keys of `route` and lays the lanes.
    ///
    /// # Errors
    /// Those of laying.
    pub fn new<T: Transport>(
        transport: &mut T,
        mut sealer: S,
        geometry: Geometry,
        route: MixedRoute,
        run: &[u8; 32],
        epoch: Epoch,
    ) -> Result<Self, TransportError> {
        let rank = transport.rank();
        let lanes: Vec<Lane> =
            peers(rank, geometry.ranks).map(|peer| Lane { peer, tag: 0, length: geometry.block(Phase(1)) }).collect();
        transport.lay(&lanes, &lanes)?;
        let onion = Onion::lay(route, &geometry, rank, run, epoch, &mut sealer);
        let lengths = Phase::all(geometry.hops).map(|phase| vec![geometry.block(phase); lanes.len()]).collect();
        Ok(Self { geometry, rank, sealer, onion, lengths })
    }

    /// Puts a beat at the head of each first-phase block: the owner's its word, any other's that all is well.
    fn seal_beats<T: Transport>(&mut self, transport: &mut T, slot: Slot, order: Order) {
        let record = if self.rank == Rank::OWNER { order.to_record() } else { WELL };
        for (block, key) in transport.blocks().0.iter_mut().zip(&self.onion.beats_out) {
            self.sealer.seal_record(*key, BEAT_CELL, slot, &record, &mut block.as_mut()[..BEAT]);
        }
    }

    /// Opens the beats of all first-phase blocks: the owner's word.
    fn open_beats<T: Transport>(&mut self, transport: &mut T, slot: Slot, own: Order) -> Result<Order, MixError> {
        let mut heard = own;
        let ranks = self.geometry.ranks;
        for ((block, key), from) in transport.blocks().1.iter().zip(&self.onion.beats_in).zip(peers(self.rank, ranks))
        {
            let mut record = [0; BEAT_RECORD];
            self.sealer
                .open_record(*key, BEAT_CELL, slot, &block.as_ref()[..BEAT], &mut record)
                .map_err(|Unauthentic| MixError::Unauthentic { slot, phase: Phase(1), from })?;
            match from {
                Rank::OWNER => heard = Order::from_record(&record).ok_or(MixError::Beat { slot, from })?,
                _ if record == WELL => {}
                _ => return Err(MixError::Beat { slot, from }),
            }
        }
        Ok(heard)
    }

    /// The rank from whose block the cell of job `bad` came.
    fn culprit(&self, bad: BadCell, slot: Slot, phase: Phase) -> MixError {
        let lane = bad.job / self.geometry.cells as usize;
        let from = peers(self.rank, self.geometry.ranks).nth(lane).unwrap_or(self.rank);
        MixError::Unauthentic { slot, phase, from }
    }
}

impl<T: Transport, S: Sealer> Courier<T> for Mixer<S> {
    type Bytes = S::Bytes;

    fn slot(
        &mut self,
        transport: &mut T,
        slot: Slot,
        order: Order,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Order, MixError> {
        let payload = self.geometry.payload as usize;
        let mut heard = order;

        let started = Instant::now();
        self.sealer.seal(slot, payload, &self.onion.seal, &post.outbox, transport.blocks().0);
        self.seal_beats(transport, slot, order);
        timing.seal += started.elapsed();

        for phase in Phase::all(self.geometry.hops) {
            let lengths = &self.lengths[phase.index() - 1];
            let exchanged = transport.exchange(phase, lengths, lengths)?;
            timing.exchange += exchanged.busy;
            timing.wait += exchanged.waiting;
            timing.sent += lengths.iter().sum::<usize>() as u64;

            let started = Instant::now();
            let cell = self.geometry.cell(phase);
            if phase.0 == 1 {
                heard = self.open_beats(transport, slot, order)?;
            }
            if phase.0 < self.geometry.hops {
                let (outgoing, incoming) = transport.blocks();
                self.sealer
                    .peel(slot, cell, &self.onion.peel[phase.index() - 1], incoming, outgoing)
                    .map_err(|bad| self.culprit(bad, slot, phase))?;
                timing.peel += started.elapsed();
            } else {
                self.sealer
                    .open(slot, cell, &self.onion.open, transport.blocks().1, &mut post.inbox)
                    .map_err(|bad| self.culprit(bad, slot, phase))?;
                timing.open += started.elapsed();
            }
        }
        Ok(heard)
    }
}
