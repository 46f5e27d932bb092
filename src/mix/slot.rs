//! A slot of the mix, which is the whole data path (docs/PROTOCOL.md, "Slot"):
//!
//! ```text
//! seal the outbox
//! in each phase: exchange; verify and peel all cells; each goes to the lane that its circuit says
//! open into the inbox
//! ```
//!
//! A rank that finds a bad cell or beat goes on, so that no one sees who has found it: it passes on random bytes for the
//! rest of the slot, has nothing to show for it, and tells the owner in the next slot's beat (docs/PROTOCOL.md, "When something
//! is bad").

use std::time::{Duration, Instant};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

use super::MixError;
use super::beat::{Fault, Order, Reason, WELL};
use super::clock::Clock;
use super::courier::{Courier, Heard, Noticed, Post, Timing, Word};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::onion::Onion;
use super::package::{MixedRoute, peers};
use crate::crypto::Unauthentic;
use crate::crypto::sealer::{OpenError, Sealer};
use crate::ids::{Epoch, Phase, Rank, Slot};
use crate::transport::{Lane, Transport};

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
    /// What is passed on in place of bad cells.
    noise: StdRng,
    clock: Clock,
}

impl<S: Sealer> Mixer<S> {
    /// Takes the keys of `route` and lays the lanes.
    ///
    /// # Errors
    /// Those of laying; [`MixError::Randomness`].
    pub fn new<T: Transport>(
        transport: &mut T,
        mut sealer: S,
        geometry: Geometry,
        route: MixedRoute,
        run: &[u8; 32],
        epoch: Epoch,
        clock: Clock,
    ) -> Result<Self, MixError> {
        let rank = transport.rank();
        let lanes: Vec<Lane> =
            peers(rank, geometry.ranks).map(|peer| Lane { peer, tag: 0, length: geometry.block(Phase(1)) }).collect();
        transport.lay(&lanes, &lanes)?;
        let onion = Onion::lay(route, &geometry, rank, run, epoch, &mut sealer);
        let lengths = Phase::all(geometry.hops).map(|phase| vec![geometry.block(phase); lanes.len()]).collect();
        let noise = StdRng::try_from_rng(&mut SysRng)?;
        Ok(Self { geometry, rank, sealer, onion, lengths, noise, clock })
    }

    /// Puts a beat at the head of each first-phase block: the owner's word to all, another rank's to the owner.
    fn seal_beats<T: Transport>(&mut self, transport: &mut T, slot: Slot, word: Word) {
        let to_all = if self.rank == Rank::OWNER { word.order.to_record() } else { WELL };
        let to_owner = word.fault.map_or(WELL, Fault::to_record);
        let blocks = transport.blocks().0.iter_mut();
        for ((block, key), to) in blocks.zip(&self.onion.beats_out).zip(peers(self.rank, self.geometry.ranks)) {
            let record = if to == Rank::OWNER { to_owner } else { to_all };
            self.sealer.seal_record(*key, BEAT_CELL, slot, &record, &mut block.as_mut()[..BEAT]);
        }
    }

    /// Opens the beats of all first-phase blocks: what this rank is told, and the first that is bad or says what no one
    /// says.
    fn open_beats<T: Transport>(&mut self, transport: &mut T, slot: Slot, own: Order) -> (Heard, Option<Noticed>) {
        let mut heard = Heard { order: own, fault: None };
        let mut found = None;
        let ranks = self.geometry.ranks;
        for ((block, key), from) in transport.blocks().1.iter().zip(&self.onion.beats_in).zip(peers(self.rank, ranks))
        {
            let mut record = [0; BEAT_RECORD];
            let opened = self.sealer.open_record(*key, BEAT_CELL, slot, &block.as_ref()[..BEAT], &mut record);
            let understood = match opened {
                Err(Unauthentic) => None,
                Ok(()) if from == Rank::OWNER => Order::from_record(&record).map(|order| {
                    heard.order = order;
                    None
                }),
                Ok(()) if self.rank == Rank::OWNER => Fault::from_record(&record)
                    .filter(|told| told.is_none_or(|fault| fault.slot <= slot && fault.phase.0 <= self.geometry.hops))
                    .map(|told| told.map(|fault| Noticed { fault, by: from })),
                Ok(()) => (record == WELL).then_some(None),
            };
            match understood {
                Some(told) => heard.fault = Noticed::first(heard.fault, told),
                None => found = found.or_else(|| Some(self.noticed(slot, Phase(1), from))),
            }
        }
        (heard, found)
    }

    /// A bad cell or beat from `peer`.
    fn noticed(&self, slot: Slot, phase: Phase, peer: Rank) -> Noticed {
        Noticed { fault: Fault { slot, phase, peer, reason: Reason::Authentication }, by: self.rank }
    }

    /// The device that seals for this rank has failed.
    fn own(&self, slot: Slot) -> Noticed {
        let fault = Fault { slot, phase: Phase(0), peer: self.rank, reason: Reason::Device };
        Noticed { fault, by: self.rank }
    }

    /// The rank from whose block the cell of job `job` came.
    fn sender(&self, job: usize) -> Rank {
        peers(self.rank, self.geometry.ranks).nth(job / self.geometry.cells as usize).unwrap_or(self.rank)
    }

    /// Puts random bytes in place of all cells that leave in `phase`.
    fn pass_noise_on<T: Transport>(&mut self, transport: &mut T, phase: Phase) {
        let cells = self.geometry.cells_at(phase)..self.geometry.block(phase);
        for block in transport.blocks().0 {
            self.noise.fill(&mut block.as_mut()[cells.clone()]);
        }
    }
}

impl<T: Transport, S: Sealer> Courier<T> for Mixer<S> {
    type Bytes = S::Bytes;

    fn reports_faults(&self) -> bool {
        true
    }

    fn send_no_messages(&mut self) {
        self.sealer.seal_no_messages();
    }

    fn wait_to_seal(&mut self, timing: &mut Timing) {
        timing.wait += self.clock.wait_to_seal();
    }

    fn take_longest(&mut self) -> Duration {
        self.clock.take_longest()
    }

    fn slot(
        &mut self,
        transport: &mut T,
        slot: Slot,
        word: Word,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError> {
        let mut heard = Heard { order: word.order, fault: None };
        let mut found: Option<Noticed> = None;

        let started = Instant::now();
        // What a device has begun to seal is not sealed again in this slot: a nonce would come twice.
        let sealed = self.sealer.seal(slot, self.onion.seal, &post.outbox, transport.blocks().0);
        let mut own = sealed.err().map(|_| self.own(slot));
        if own.is_some() {
            self.pass_noise_on(transport, Phase(1));
        }
        self.seal_beats(transport, slot, word);
        timing.seal += started.elapsed();

        for phase in Phase::all(self.geometry.hops) {
            let lengths = &self.lengths[phase.index() - 1];
            timing.wait += self.clock.wait_for(phase);
            let exchanged = transport.exchange(phase, lengths, lengths)?;
            timing.exchange += exchanged.busy;
            timing.wait += exchanged.waiting;
            timing.sent += lengths.iter().sum::<usize>() as u64;

            let started = Instant::now();
            let batch = self.onion.opens[phase.index() - 1];
            if phase == Phase(1) {
                self.clock.first_is_here();
                (heard, found) = self.open_beats(transport, slot, word.order);
                if matches!(heard.order, Order::Stop(_)) {
                    return Ok(heard);
                }
            }
            if phase.0 < self.geometry.hops {
                if found.is_none() {
                    let (outgoing, incoming) = transport.blocks();
                    let peeled = self.sealer.peel(slot, batch, incoming, outgoing);
                    found = peeled.err().map(|bad| self.noticed(slot, phase, self.sender(bad.job)));
                }
                if found.is_some() {
                    self.pass_noise_on(transport, Phase(phase.0 + 1));
                }
                timing.peel += started.elapsed();
            } else {
                if found.is_none() {
                    match self.sealer.open(slot, batch, transport.blocks().1, &mut post.inbox) {
                        Ok(()) => {}
                        Err(OpenError::BadCell(bad)) => {
                            found = Some(self.noticed(slot, phase, self.sender(bad.job)));
                        }
                        Err(OpenError::Device(_)) => own = own.or_else(|| Some(self.own(slot))),
                    }
                }
                timing.open += started.elapsed();
            }
        }
        if let Order::Keep(pace) = heard.order {
            self.clock.set(pace);
        }
        timing.overran += self.clock.take_overran();
        heard.fault = Noticed::first(heard.fault, Noticed::first(own, found));
        Ok(heard)
    }
}
