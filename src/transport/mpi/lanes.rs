//! The blocks of a phase that travel as MPI's messages (docs/PROTOCOL.md, 17.1).

use std::ffi::c_int;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::requests::Requests;
use super::world::World;
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::transport::{Block, Lane, TransportError};

/// A lane's messages have the tag `phase * LANE_TAGS + lane.tag`. Phases count from 1, so the tags below are free for
/// what goes outside slots.
const LANE_TAGS: u8 = 4;

/// All lanes of this rank with their blocks, and the messages of those that no window carries.
pub(super) struct Lanes {
    /// The lanes over which blocks leave.
    pub outgoing: Vec<Lane>,
    /// The lanes over which blocks arrive.
    pub incoming: Vec<Lane>,
    /// By outgoing lane: its block in the processor's memory.
    pub outgoing_blocks: Vec<Block>,
    /// By incoming lane: its block in the processor's memory.
    pub incoming_blocks: Vec<Block>,
    /// Whether messages carry a device's memory in place of the blocks.
    pub on_device: bool,
    /// The numbers of the outgoing lanes that messages carry, in the order in which they were last sent.
    sends: Vec<usize>,
    /// The numbers of the incoming lanes that messages carry.
    receives: Vec<usize>,
    /// Shuffles the order in which blocks leave.
    shuffler: StdRng,
    /// The messages of the phase.
    messages: Requests,
    /// Whether a phase has begun and not ended.
    begun: bool,
}

impl Lanes {
    /// No lanes have been laid yet.
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

    /// Lays these lanes in place of earlier ones. A lane to or from a rank for which `is_shared` says so has an empty
    /// block, and no messages: a window is to carry it.
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

    /// Whether a window carries all lanes, so that no message belongs to the phase.
    pub(super) fn are_without_messages(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether a phase has begun and not ended.
    pub(super) fn are_busy(&self) -> bool {
        self.begun
    }

    /// Starts the messages of a phase: the first `outgoing[i]` bytes of each outgoing block, and up to `incoming[i]`
    /// bytes for each incoming one. If lanes are on the device, they are those of `device`. Blocks leave in an order
    /// that is shuffled anew for each phase (docs/PROTOCOL.md, 8.4).
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
            // SAFETY: a block, on a device too, stays in its place until the phase has ended. Until `poll` says that
            // all messages are complete, nobody borrows it: whoever could waits for the phase. On an error the process
            // ends.
            unsafe { self.messages.receive(&world.communicator, to, incoming[i], lane.peer, tag(lane))? };
        }
        self.sends.shuffle(&mut self.shuffler);
        for &i in &self.sends {
            let lane = &self.outgoing[i];
            let from = match device {
                Some(lanes) => lanes.outgoing.at(i, outgoing[i]).cast_const(),
                None => self.outgoing_blocks[i][..outgoing[i]].as_ptr(),
            };
            // SAFETY: as for those that are received.
            unsafe { self.messages.send(&world.communicator, from, outgoing[i], lane.peer, tag(lane))? };
        }
        Ok(())
    }

    /// Moves the messages on, without waiting. Returns whether all are complete.
    ///
    /// # Errors
    /// Those of [`Requests::are_complete`].
    pub(super) fn poll(&mut self, world: &World) -> Result<bool, TransportError> {
        if self.messages.is_empty() {
            return Ok(true);
        }
        let _call = world.call();
        self.messages.are_complete()
    }

    /// Ends a phase that is complete. Where a window carries lanes, `window_phase` is its phase, and the blocks there
    /// turn: incoming ones show what has arrived, outgoing ones the place for the next phase.
    pub(super) fn end(&mut self, window_phase: Option<u32>) {
        self.begun = false;
        if let Some(phase) = window_phase {
            self.incoming_blocks.iter_mut().for_each(|block| block.turn(phase));
            self.outgoing_blocks.iter_mut().for_each(|block| block.turn(phase.wrapping_add(1)));
        }
    }

    /// The peers whose messages of this phase are not complete.
    pub(super) fn missing(&mut self, world: &World) -> Vec<Rank> {
        let _call = world.call();
        self.messages.missing()
    }
}
