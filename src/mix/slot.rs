//! A slot of the mix, which is the whole data path (docs/PROTOCOL.md, 8):
//!
//! ```text
//! seal the outbox
//! in each phase: exchange; verify and peel all cells; each goes to the lane that its circuit says
//! open into the inbox
//! ```
//!
//! A rank that finds a bad cell or beat goes on, so that no one sees who has found it. In place of that cell it passes
//! on random bytes, which only the ranks of its circuit can tell. It tells the owner in the next slot's beat
//! (docs/PROTOCOL.md, 16).
//!
//! If the sealer is on a device and the transport takes its memory, blocks stand there. Then only beats and random
//! bytes pass through the processor's memory. If the device fails, the blocks of later phases stand in the processor's
//! memory.

use std::time::{Duration, Instant};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

use super::MixError;
use super::beat::{Fault, Order, Reason, Told, WELL, worked_record};
use super::clock::Clock;
use super::courier::{Courier, Heard, Noticed, Post, Timing, Word};
use super::geometry::{BEAT, BEAT_RECORD, Geometry};
use super::onion::Onion;
use super::package::MixedRoute;
use crate::crypto::sealer::{DeviceError, OpenError, Sealer};
use crate::ids::{Phase, Rank, Slot, Term};
use crate::transport::{Exchange, ExchangeTime, Lane, TransportError};

/// The cell number of a beat, which no cell has (docs/PROTOCOL.md, 6.5).
const BEAT_CELL: u32 = u32::MAX;

/// A rank's part in the mix, for one term.
pub struct Mixer<S> {
    /// The lengths of messages, cells and blocks.
    geometry: Geometry,
    /// This rank's number.
    rank: Rank,
    /// Seals and opens the cells. It holds the keys of the term.
    sealer: S,
    /// The jobs of each slot.
    onion: Onion,
    /// By phase, then by lane: how many bytes its block has.
    lengths: Vec<Vec<usize>>,
    /// By lane: the sealed beat that has arrived in this slot.
    beats: Vec<[u8; BEAT]>,
    /// Draws the random bytes that leave in place of bad cells, and of all that a device has lost.
    noise: StdRng,
    /// Says when messages are sealed, and when they leave.
    clock: Clock,
    /// How long it took to open the last phase's cells, and to let others go first meanwhile.
    opened: Duration,
}

impl<S: Sealer> Mixer<S> {
    /// Takes the keys of `route` and lays the lanes for one term. Blocks stand on the sealer's device, if it has one
    /// whose memory others may name and `transport` takes such memory. `run` is the run id.
    ///
    /// # Errors
    /// Those of [`Exchange::lay`]; [`MixError::Device`], [`MixError::Randomness`].
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
        Ok(Self { geometry, rank, sealer, onion, lengths, beats, noise, clock, opened: Duration::ZERO })
    }

    /// The ranks at the other ends of this rank's lanes, in the order of the lanes.
    fn peers(&self) -> impl Iterator<Item = Rank> + use<S> {
        self.geometry.topology().peers(self.rank)
    }

    /// Puts a beat at the head of each first-phase block (docs/PROTOCOL.md, 8.3). The owner says its word to all ranks
    /// (9.3). Another rank says its fault to the owner, and to all others that all is well (9.4).
    ///
    /// # Errors
    /// [`DeviceError`]. Then the beats stand in the processor's blocks alone, which travel from now on.
    fn seal_beats(&mut self, transport: &mut dyn Exchange, slot: Slot, word: Word) -> Result<(), DeviceError> {
        let to_all = if self.rank == Rank::OWNER { word.order.to_record() } else { WELL };
        let to_owner = word.fault.map_or_else(|| worked_record(word.worked), Fault::to_record);
        let blocks = transport.blocks().0.iter_mut();
        for ((block, key), to) in blocks.zip(&self.onion.beats_out).zip(self.peers()) {
            let record = if to == Rank::OWNER { to_owner } else { to_all };
            self.sealer.seal_record(*key, BEAT_CELL, slot, &record, &mut block.as_mut()[..BEAT]);
        }
        self.sealer.push(transport.blocks().0, 0, 0..BEAT)
    }

    /// Exchanges the blocks of `phase`, as [`Exchange::exchange`] does. Once the device has failed, the processor's
    /// blocks travel instead of its own.
    fn exchange(&mut self, transport: &mut dyn Exchange, phase: Phase) -> Result<ExchangeTime, TransportError> {
        if transport.lanes_on_device() && !self.sealer.lanes_on_device() {
            transport.leave_device();
        }
        let lengths = &self.lengths[phase.index() - 1];
        transport.exchange(phase, lengths, lengths)
    }

    /// Opens the beats of all first-phase blocks (docs/PROTOCOL.md, 8.5). Returns what they say, and the first one that
    /// is bad or says what no one says. The order stays `own` if no beat has the owner's: on the owner itself it is the
    /// order that it gives.
    ///
    /// # Errors
    /// [`DeviceError`]. Then this rank hears nothing in this slot.
    fn open_beats(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        own: Order,
    ) -> Result<(Heard, Option<Noticed>), DeviceError> {
        self.sealer.heads(transport.blocks().1, &mut self.beats)?;
        let mut heard = Heard { order: own, fault: None, intact: true, worked: Duration::ZERO };
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
                Some(Told::Worked(worked)) => heard.worked = heard.worked.max(worked),
                Some(Told::Nothing) => {}
                None => found = found.or_else(|| Some(self.noticed(slot, Phase(1), from))),
            }
        }
        Ok((heard, found))
    }

    /// The fault that a cell or beat from `peer` is bad.
    fn noticed(&self, slot: Slot, phase: Phase, peer: Rank) -> Noticed {
        Noticed { fault: Fault { slot, phase, peer, reason: Reason::Authentication }, by: self.rank }
    }

    /// The fault that the device which seals for this rank has failed. It is a fault in its own work, so the phase is 0
    /// (docs/PROTOCOL.md, 9.4).
    fn own(&self, slot: Slot) -> Noticed {
        let fault = Fault { slot, phase: Phase(0), peer: self.rank, reason: Reason::Device };
        Noticed { fault, by: self.rank }
    }

    /// The rank from whose block the cell of the job number `job` came. Jobs stand in the order of lanes, one for each
    /// cell.
    fn sender(&self, job: usize) -> Rank {
        self.peers().nth(job / self.geometry.cells as usize).unwrap_or(self.rank)
    }

    /// Puts random bytes in place of what is to leave for the `bad` cells of `phase`, each given by the number of its
    /// job (docs/PROTOCOL.md, 16.1). All other cells go their way: random bytes in place of them would show a source
    /// which relays have found what it has spoiled itself.
    ///
    /// # Errors
    /// [`DeviceError`]. Then random bytes leave in place of all cells, since the device has lost them.
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
            // If the device fails here, the processor's blocks leave. They hold nothing of this phase.
            if let Err(error) = self.sealer.push(&blocks[lane..=lane], lane, cell) {
                self.lose(transport, next);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts random bytes in place of all cells that leave in `phase`, since a device has lost them (docs/PROTOCOL.md,
    /// 16.1). Beats stay.
    fn lose(&mut self, transport: &mut dyn Exchange, phase: Phase) {
        let cells = self.geometry.cells_at(phase)..self.geometry.block(phase);
        for block in transport.blocks().0 {
            self.noise.fill(&mut block[cells.clone()]);
        }
        // If this fails, too, the processor's blocks leave.
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
        timing.overran += self.clock.take_overran();
    }

    fn kept_from_work(&self) -> Duration {
        self.opened + self.clock.margin()
    }

    fn slot(
        &mut self,
        transport: &mut dyn Exchange,
        slot: Slot,
        word: Word,
        post: &mut Post<S::Bytes>,
        timing: &mut Timing,
    ) -> Result<Heard, MixError> {
        let mut heard = Heard { order: word.order, fault: None, intact: true, worked: Duration::ZERO };
        let mut found: Option<Noticed> = None;
        let mut intact = true;
        // How long others have gone first.
        let mut aside = Duration::ZERO;

        let started = Instant::now();
        // 8.2, Seal: put all layers on the own cells, and put these into the blocks of phase 1. What a device has begun
        // to seal is not sealed again in this slot, even if it fails: a nonce would come twice (6.7).
        let sealed = self.sealer.seal(slot, self.onion.seal, &post.outbox, transport.blocks().0);
        // 8.3: put a beat at the head of each block.
        let beats = self.seal_beats(transport, slot, word);
        let mut own = sealed.and(beats).err().map(|_| self.own(slot));
        // 16.1: where a device fails while it seals, random bytes leave for all own cells.
        if own.is_some() {
            self.lose(transport, Phase(1));
        }
        let took = started.elapsed();
        timing.seal += took;
        // 20.3: under a pace the messages leave when the time for work is over, however long it took to seal them.
        timing.wait += self.clock.wait_to_send(took);

        for phase in Phase::all(self.geometry.hops) {
            // 8.4, Exchange: send each block to its peer and receive one from each.
            let exchanged = self.exchange(transport, phase)?;
            timing.exchange += exchanged.busy;
            timing.wait += exchanged.waiting;
            timing.sent += self.lengths[phase.index() - 1].iter().sum::<usize>() as u64;
            // 20.3: the time for work begins. To open what has arrived takes longer where it is used.
            if phase.0 == self.geometry.hops {
                self.clock.slot_is_over();
                aside += self.clock.let_others_go_first();
            }

            let started = Instant::now();
            let mut taken = Ok(());
            // 8.5: in phase 1, open all beats.
            if phase == Phase(1) {
                match self.open_beats(transport, slot, word.order) {
                    Ok(opened) => (heard, found) = opened,
                    Err(error) => taken = Err(OpenError::Device(error)),
                }
                // 9.3: once the owner says stop, the run ends with this phase.
                if matches!(heard.order, Order::Stop(_)) {
                    return Ok(heard);
                }
            }
            // 8.6, Peel, in all phases but the last: open one layer of every cell, and put it into the block of the
            // next phase over which its circuit goes on. All cells are verified before any is sent on.
            // 8.7, Open, after the last phase: open the last layer of every cell into the messages.
            let relays = phase.0 < self.geometry.hops;
            if taken.is_ok() {
                let (outgoing, incoming) = transport.blocks();
                taken = match relays {
                    true => self.sealer.peel(slot, self.onion.peels[phase.index() - 1], incoming, outgoing),
                    false => self.sealer.open(slot, self.onion.open, incoming, &mut post.inbox),
                };
            }
            // 16.1: where a cell of this rank's own messages is bad, it uses nothing of what has arrived. A bad cell
            // that it only passes on spoils nothing here.
            intact &= relays || taken.is_ok();
            match taken {
                Ok(()) => {}
                // 16.1: in place of bad cells, random bytes are passed on. All other cells go their way.
                Err(OpenError::BadCells(bad)) => {
                    let first = bad.first().map(|job| self.noticed(slot, phase, self.sender(*job)));
                    found = Noticed::first(found, first);
                    if relays && self.pass_noise_on(transport, phase, &bad).is_err() {
                        own = own.or_else(|| Some(self.own(slot)));
                    }
                }
                // 16.1: what a failed device had of this phase is lost, and random bytes are passed on in place of it.
                // What comes in later phases the processor takes.
                Err(OpenError::Device(_)) => {
                    own = own.or_else(|| Some(self.own(slot)));
                    if relays {
                        self.lose(transport, Phase(phase.0 + 1));
                    }
                }
            }
            let took = started.elapsed();
            *(if relays { &mut timing.peel } else { &mut timing.open }) += took;
            self.opened = took;
        }
        // 20.3: the role begins when all ranks have opened what has arrived.
        aside += self.clock.let_others_go_first();
        timing.wait += aside;
        self.opened += aside;
        // 9.3: from the next slot on, slots keep the pace that the owner has said.
        if let Order::Keep(pace) = heard.order {
            self.clock.set(pace);
        }
        // The first fault counts. A rank other than the owner reports it by beat, from the next slot on (9.4).
        let fault = Noticed::first(heard.fault, Noticed::first(own, found));
        // A rank whose device has failed opens nothing into its inbox.
        Ok(Heard { fault, intact: intact && own.is_none(), ..heard })
    }
}

#[cfg(test)]
mod tests;
