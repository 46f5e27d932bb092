//! A slot of the mix, which is the whole data path (docs/PROTOCOL.md, "Slot"):
//!
//! ```text
//! seal the outbox
//! in each phase: exchange; verify and peel all cells; each goes to the lane that its circuit says
//! open into the inbox
//! ```
//!
//! A rank that finds a bad cell or beat goes on, so that no one sees who has found it: it passes on random bytes in place of that
//! cell, which only the ranks of its circuit can see, and tells the owner in the next slot's beat (docs/PROTOCOL.md, "When
//! something is bad").
//!
//! Where the sealer is on a device and the transport takes its memory, blocks stand there, and only beats and random bytes pass
//! through the processor's. When the device fails, the blocks of later phases are the processor's.

use std::time::{Duration, Instant};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

use super::MixError;
use super::beat::{Fault, Order, Reason, Told, WELL};
use super::clock::Clock;
use super::courier::{Courier, Heard, Noticed, Post, Timing, Word};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::onion::Onion;
use super::package::MixedRoute;
use crate::crypto::sealer::{DeviceError, OpenError, Sealer};
use crate::ids::{Phase, Rank, Slot, Term};
use crate::transport::{Exchange, ExchangeTime, Lane, TransportError};

/// The cell number of a beat: no cell has it.
const BEAT_CELL: u32 = u32::MAX;

/// A rank's part in the mix, for one term.
pub struct Mixer<S> {
    geometry: Geometry,
    rank: Rank,
    sealer: S,
    onion: Onion,
    /// Bytes of each lane's block, by phase.
    lengths: Vec<Vec<usize>>,
    /// By lane: the beat that arrived.
    beats: Vec<[u8; BEAT]>,
    /// What leaves in place of a bad cell, and of all that a device has lost.
    noise: StdRng,
    clock: Clock,
}

impl<S: Sealer> Mixer<S> {
    /// Takes the keys of `route` and lays the lanes: on the sealer's device, where it has one and lets them, and `transport` takes its
    /// memory.
    ///
    /// # Errors
    /// Those of laying; [`MixError::Device`], [`MixError::Randomness`].
    pub fn new(
        transport: &mut dyn Exchange,
        mut sealer: S,
        geometry: Geometry,
        route: MixedRoute,
        run: &[u8; 32],
        term: Term,
        clock: Clock,
    ) -> Result<Self, MixError> {
        let rank = transport.rank();
        let lanes: Vec<Lane> = geometry
            .topology()
            .peers(rank)
            .map(|peer| Lane { peer, tag: 0, length: geometry.block(Phase(1)) })
            .collect();
        let device = match transport.takes_device_memory() {
            true => {
                let longest = vec![geometry.block(Phase(1)); lanes.len()];
                sealer.lay_lanes(&longest, &longest)?
            }
            false => None,
        };
        transport.lay(&lanes, &lanes, device)?;
        let onion = Onion::lay(route, &geometry, rank, run, term, &mut sealer);
        let lengths = Phase::all(geometry.hops).map(|phase| vec![geometry.block(phase); lanes.len()]).collect();
        let beats = vec![[0; BEAT]; lanes.len()];
        let noise = StdRng::try_from_rng(&mut SysRng)?;
        Ok(Self { geometry, rank, sealer, onion, lengths, beats, noise, clock })
    }

    /// The ranks at the other ends of this rank's lanes, in the order of these.
    fn peers(&self) -> impl Iterator<Item = Rank> + use<S> {
        self.geometry.topology().peers(self.rank)
    }

    /// Puts a beat at the head of each first-phase block: the owner's word to all, another rank's to the owner.
    ///
    /// # Errors
    /// [`DeviceError`]: the beats are on the processor alone, where blocks stand from now on.
    fn seal_beats(&mut self, transport: &mut dyn Exchange, slot: Slot, word: Word) -> Result<(), DeviceError> {
        let to_all = if self.rank == Rank::OWNER { word.order.to_record() } else { WELL };
        let to_owner = word.fault.map_or(WELL, Fault::to_record);
        let blocks = transport.blocks().0.iter_mut();
        for ((block, key), to) in blocks.zip(&self.onion.beats_out).zip(self.peers()) {
            let record = if to == Rank::OWNER { to_owner } else { to_all };
            self.sealer.seal_record(*key, BEAT_CELL, slot, &record, &mut block.as_mut()[..BEAT]);
        }
        self.sealer.push(transport.blocks().0, 0, 0..BEAT)
    }

    /// As [`Exchange::exchange`], of the device's blocks until it fails.
    fn exchange(&mut self, transport: &mut dyn Exchange, phase: Phase) -> Result<ExchangeTime, TransportError> {
        if transport.lanes_on_device() && !self.sealer.lanes_on_device() {
            transport.leave_device();
        }
        let lengths = &self.lengths[phase.index() - 1];
        transport.exchange(phase, lengths, lengths)
    }

    /// Opens the beats of all first-phase blocks: what this rank is told, and the first that is bad or says what no one
    /// says.
    ///
    /// # Errors
    /// [`DeviceError`]: this rank hears nothing in this slot.
    fn open_beats(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        own: Order,
    ) -> Result<(Heard, Option<Noticed>), DeviceError> {
        self.sealer.heads(transport.blocks().1, &mut self.beats)?;
        let mut heard = Heard { order: own, fault: None, intact: true };
        let mut found = None;
        for ((beat, key), from) in self.beats.iter().zip(&self.onion.beats_in).zip(self.peers()) {
            let mut record = [0; BEAT_RECORD];
            let opened = self.sealer.open_record(*key, BEAT_CELL, slot, beat, &mut record);
            let told = opened.ok().and_then(|()| Told::of(&record, from, self.rank, slot, self.geometry.hops));
            match told {
                Some(Told::Word(order)) => heard.order = order,
                Some(Told::Report(fault)) => {
                    heard.fault = Noticed::first(heard.fault, Some(Noticed { fault, by: from }))
                }
                Some(Told::Nothing) => {}
                None => found = found.or_else(|| Some(self.noticed(slot, Phase(1), from))),
            }
        }
        Ok((heard, found))
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
        self.peers().nth(job / self.geometry.cells as usize).unwrap_or(self.rank)
    }

    /// Puts random bytes in place of what was in the `bad` cells of `phase`, and of nothing else: whoever else saw them could tell who
    /// has found a cell bad that it has spoiled itself.
    ///
    /// # Errors
    /// [`DeviceError`]: random bytes leave in place of all cells, which the device has lost.
    fn pass_noise_on(
        &mut self,
        transport: &mut dyn Exchange,
        phase: Phase,
        bad: &[usize],
    ) -> Result<(), DeviceError> {
        let (cells, next) = (self.geometry.cells as usize, Phase(phase.0 + 1));
        for job in bad {
            let lane = self.onion.passed_on[phase.index() - 1][job / cells];
            let start = self.geometry.cells_at(next) + job % cells * self.geometry.cell(next);
            let cell = start..start + self.geometry.cell(next);
            let blocks = transport.blocks().0;
            self.noise.fill(&mut blocks[lane][cell.clone()]);
            // Where the device fails, the blocks of the processor leave, which hold nothing of this phase.
            if let Err(error) = self.sealer.push(&blocks[lane..=lane], lane, cell) {
                self.lose(transport, next);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts random bytes in place of all cells that leave in `phase`: a device has lost them.
    fn lose(&mut self, transport: &mut dyn Exchange, phase: Phase) {
        let cells = self.geometry.cells_at(phase)..self.geometry.block(phase);
        for block in transport.blocks().0 {
            self.noise.fill(&mut block[cells.clone()]);
        }
        // Where this fails, too, the processor's blocks leave.
        let _ = self.sealer.push(transport.blocks().0, 0, cells);
    }
}

impl<S: Sealer> Courier for Mixer<S> {
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
        transport: &mut dyn Exchange,
        slot: Slot,
        word: Word,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError> {
        let mut heard = Heard { order: word.order, fault: None, intact: true };
        let mut found: Option<Noticed> = None;
        let mut intact = true;

        let started = Instant::now();
        // What a device has begun to seal is not sealed again in this slot: a nonce would come twice.
        let sealed = self.sealer.seal(slot, self.onion.seal, &post.outbox, transport.blocks().0);
        let beats = self.seal_beats(transport, slot, word);
        let mut own = sealed.and(beats).err().map(|_| self.own(slot));
        if own.is_some() {
            self.lose(transport, Phase(1));
        }
        timing.seal += started.elapsed();

        for phase in Phase::all(self.geometry.hops) {
            timing.wait += self.clock.wait_for(phase);
            let exchanged = self.exchange(transport, phase)?;
            timing.exchange += exchanged.busy;
            timing.wait += exchanged.waiting;
            timing.sent += self.lengths[phase.index() - 1].iter().sum::<usize>() as u64;

            let started = Instant::now();
            let mut taken = Ok(());
            if phase == Phase(1) {
                self.clock.first_is_here();
                match self.open_beats(transport, slot, word.order) {
                    Ok(opened) => (heard, found) = opened,
                    Err(error) => taken = Err(OpenError::Device(error)),
                }
                if matches!(heard.order, Order::Stop(_)) {
                    return Ok(heard);
                }
            }
            let relays = phase.0 < self.geometry.hops;
            if taken.is_ok() {
                let (outgoing, incoming) = transport.blocks();
                taken = match relays {
                    true => self.sealer.peel(slot, self.onion.peels[phase.index() - 1], incoming, outgoing),
                    false => self.sealer.open(slot, self.onion.open, incoming, &mut post.inbox),
                };
            }
            intact &= relays || taken.is_ok();
            match taken {
                Ok(()) => {}
                Err(OpenError::BadCells(bad)) => {
                    let first = bad.first().map(|job| self.noticed(slot, phase, self.sender(*job)));
                    found = Noticed::first(found, first);
                    if relays && self.pass_noise_on(transport, phase, &bad).is_err() {
                        own = own.or_else(|| Some(self.own(slot)));
                    }
                }
                // What a failed device had of this phase is lost; what comes in later ones the processor takes.
                Err(OpenError::Device(_)) => {
                    own = own.or_else(|| Some(self.own(slot)));
                    if relays {
                        self.lose(transport, Phase(phase.0 + 1));
                    }
                }
            }
            *(if relays { &mut timing.peel } else { &mut timing.open }) += started.elapsed();
        }
        if let Order::Keep(pace) = heard.order {
            self.clock.set(pace);
        }
        timing.overran += self.clock.take_overran();
        let fault = Noticed::first(heard.fault, Noticed::first(own, found));
        // Without its device this rank opens nothing into the inbox.
        Ok(Heard { fault, intact: intact && own.is_none(), ..heard })
    }
}

#[cfg(test)]
mod tests;
