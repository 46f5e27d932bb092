//! The blocks of a phase that travel as MPI's messages.

use std::ffi::c_int;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::requests::Requests;
use super::world::World;
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::transport::{Block, Lane, TransportError};

/// The messages of a lane have the tag `phase * LANE_TAGS + lane.tag`; phases count from 1, so the tags below are free for what
/// goes outside slots.
const LANE_TAGS: u8 = 4;

/// All lanes of this rank, and the messages of those that no window carries.
pub(super) struct Lanes {
    pub outgoing: Vec<Lane>,
    pub incoming: Vec<Lane>,
    pub outgoing_blocks: Vec<Block>,
    pub incoming_blocks: Vec<Block>,
    /// Whether messages carry a device's memory in place of the blocks.
    pub on_device: bool,
    /// The outgoing lanes that messages carry, in the order in which the last phase sent them.
    sends: Vec<usize>,
    /// The incoming lanes that messages carry.
    receives: Vec<usize>,
    shuffler: StdRng,
    /// The messages of the phase.
    messages: Requests,
    /// Whether a phase is going on.
    begun: bool,
}

impl Lanes {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            outgoing: Vec::new(),
            incoming: Vec::new(),
            outgoing_blocks: Vec::new(),
            incoming_blocks: Vec::new(),
            on_device: false,
            sends: Vec::new(),
            receives: Vec::new(),
            shuffler: rand::make_rng(),
            messages: Requests::default(),
            begun: false,
        }
    }

    /// Lays these lanes in place of earlier ones. Those to and from ranks for which `is_shared` says so have no blocks yet and no
    /// messages: a window carries them.
    ///
    /// # Errors
    /// [`TransportError::Memory`].
    pub(super) fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        is_shared: impl Fn(Rank) -> bool,
    ) -> Result<(), TransportError> {
        let block = |lane: &Lane| match is_shared(lane.peer) {
            true => Ok(Block::default()),
            false => Block::zeroed(lane.length),
        };
        self.outgoing_blocks = outgoing.iter().map(block).collect::<Result<_, _>>()?;
        self.incoming_blocks = incoming.iter().map(block).collect::<Result<_, _>>()?;
        let messages = |lanes: &[Lane]| (0..lanes.len()).filter(|i| !is_shared(lanes[*i].peer)).collect::<Vec<_>>();
        (self.sends, self.receives) = (messages(outgoing), messages(incoming));
        (self.outgoing, self.incoming) = (outgoing.to_vec(), incoming.to_vec());
        self.messages = Requests::with_capacity(self.sends.len() + self.receives.len());
        Ok(())
    }

    /// Whether no message belongs to the phase.
    pub(super) fn are_without_messages(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether a phase is going on.
    pub(super) fn are_busy(&self) -> bool {
        self.begun
    }

    /// Starts a phase's messages, in a new order: `outgoing[i]` bytes of each outgoing lane, up to `incoming[i]` of each incoming one,
    /// on `device` if lanes are there.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    pub(super) fn begin(
        &mut self,
        world: &World,
        device: Option<&DeviceLanes>,
        phase: Phase,
        outgoing: &[usize],
        incoming: &[usize],
    ) -> Result<(), TransportError> {
        self.begun = true;
        self.messages.clear();
        let device = device.filter(|_| self.on_device);
        let tag = |lane: &Lane| c_int::from(phase.0) * c_int::from(LANE_TAGS) + c_int::from(lane.tag);
        let _call = world.call();
        for &i in &self.receives {
            let lane = &self.incoming[i];
            let to = match device {
                Some(lanes) => lanes.incoming.at(i, incoming[i]),
                None => self.incoming_blocks[i][..incoming[i]].as_mut_ptr(),
            };
            // SAFETY: blocks, on a device too, stay in place, and are borrowed by no one, until `poll` says that the phase is complete;
            // on an error the process ends.
            unsafe { self.messages.receive(&world.communicator, to, incoming[i], lane.peer, tag(lane))? };
        }
        self.sends.shuffle(&mut self.shuffler);
        for &i in &self.sends {
            let lane = &self.outgoing[i];
            let from = match device {
                Some(lanes) => lanes.outgoing.at(i, outgoing[i]).cast_const(),
                None => self.outgoing_blocks[i][..outgoing[i]].as_ptr(),
            };
            // SAFETY: as above.
            unsafe { self.messages.send(&world.communicator, from, outgoing[i], lane.peer, tag(lane))? };
        }
        Ok(())
    }

    /// Moves the messages on; whether all are complete.
    ///
    /// # Errors
    /// [`Requests::are_complete`].
    pub(super) fn poll(&mut self, world: &World) -> Result<bool, TransportError> {
        if self.messages.is_empty() {
            return Ok(true);
        }
        let _call = world.call();
        self.messages.are_complete()
    }

    /// Ends a phase that is complete, in a window whose phase this is, too: blocks there change their place.
    pub(super) fn end(&mut self, window_phase: Option<u32>) {
        self.begun = false;
        if let Some(phase) = window_phase {
            self.incoming_blocks.iter_mut().for_each(|block| block.turn(phase));
            self.outgoing_blocks.iter_mut().for_each(|block| block.turn(phase.wrapping_add(1)));
        }
    }

    /// The peers whose messages of the phase are not complete.
    pub(super) fn missing(&mut self, world: &World) -> Vec<Rank> {
        let _call = world.call();
        self.messages.missing()
    }
}
