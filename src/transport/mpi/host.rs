//! What the ranks of one host have in common: its cores, and memory that they share (docs/PROTOCOL.md, 17.4 and 17.8).

use std::mem::ManuallyDrop;

use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::Group;

use super::window::{self, Fresh, Window};
use super::world::World;
use crate::ids::Rank;
use crate::transport::cores::Allowed;
use crate::transport::shared::{Segment, Shared};
use crate::transport::{Block, Cores, Lane, TransportError};

/// The byte that a rank says instead of 0 if there are fewer pages behind its memory than MPI has mapped.
const MISSING: u8 = 1;
/// The byte that a rank says instead of 0 if its blocks stand in a device's memory.
const DEVICE: u8 = 1;

/// The ranks of this host, and what they share.
pub(super) struct Host {
    // Fields are dropped in their order: windows are freed before the communicator.
    /// The memory in which ranks of this host exchange blocks, if they do.
    pub window: Option<Shared<Window>>,
    /// The memory in which this host's ranks tell each other that they have sent a phase's messages, if they exchange
    /// no blocks through a window. It has no lanes.
    pub words: Option<Shared<Window>>,
    /// Whether there has been an attempt to allocate [`words`](Host::words). There is only one in a run.
    asked_for_words: bool,
    /// The communicator of the ranks that share memory with this one.
    communicator: SimpleCommunicator,
    /// This rank's number in the whole job.
    me: Rank,
    /// All ranks of this host, this one included, in the order of `communicator`.
    ranks: Vec<Rank>,
}

impl Host {
    /// Finds out which ranks share a host. All ranks of `world` call this at once. It waits for them without a
    /// deadline, under the eyes of the watch.
    pub(super) fn new(world: &World) -> Self {
        let _call = world.call();
        let communicator = world.communicator.split_shared(world.communicator.rank());
        let numbers: Vec<_> = (0..communicator.size()).collect();
        let ranks = communicator.group().translate_ranks(&numbers, &world.communicator.group());
        let ranks = ranks.into_iter().flatten().map(|rank| Rank(rank as u16)).collect();
        Self { window: None, words: None, asked_for_words: false, communicator, me: world.rank, ranks }
    }

    /// Gives back the memory that the ranks of this host share. All of them call this at once.
    pub(super) fn free_windows(&mut self) {
        (self.window, self.words) = (None, None);
    }

    /// How many ranks this host has.
    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Whether `rank` is on this host.
    pub(super) fn has(&self, rank: Rank) -> bool {
        self.ranks.contains(&rank)
    }

    /// How many ranks of this host have a lower number than this one.
    pub(super) fn place(&self) -> u16 {
        self.ranks.iter().filter(|rank| **rank < self.me).count() as u16
    }

    /// The ranks of this host that have not begun the window's phase. None if there is no window.
    pub(super) fn missing(&self) -> impl Iterator<Item = Rank> {
        self.window.iter().flat_map(Shared::missing).map(|number| self.ranks[number])
    }

    /// Tells the other ranks of this host which cores this one may use, and hears it from them (docs/PROTOCOL.md,
    /// 17.8). Returns this rank's part of the host's cores.
    ///
    /// # Errors
    /// Those of [`World::meet`].
    pub(super) fn compare_cores(&self, world: &World) -> Result<Cores, TransportError> {
        let own = Allowed::here();
        // What a rank says in a meeting has to stay. This is a kilobyte, and said once.
        let heard = world.meet(&self.others(), own.to_bytes().leak())?;
        let others = heard.as_chunks().0.iter().map(Allowed::from_bytes);
        let allowed: Vec<Allowed> = std::iter::once(own).chain(others).collect();
        let allocated = std::env::var("SLURM_CPUS_ON_NODE").ok().and_then(|cores| cores.parse().ok());
        Ok(Cores::among(&allowed, 0).bound_within(&allowed, &Allowed::of_launcher(), allocated))
    }

    /// Whether all ranks of this host have their blocks in the processor's memory, so that they can share it. All of
    /// them ask this at once. `on_device` says that this rank's blocks are to stand in a device's memory.
    ///
    /// # Errors
    /// Those of [`World::meet`].
    pub(super) fn agree_to_share(&self, world: &World, on_device: bool) -> Result<bool, TransportError> {
        // They have agreed before, and that holds: the backends and the profile stay the same for a run.
        if self.window.is_some() && !on_device {
            return Ok(true);
        }
        let heard = world.meet(&self.others(), if on_device { &[DEVICE] } else { &[0] })?;
        Ok(!on_device && !heard.contains(&DEVICE))
    }

    /// Lays the lanes between ranks of this host in memory that they share, and puts their blocks in place of those
    /// that are given. All ranks of the host call this at once. Allocates the memory the first time.
    ///
    /// # Errors
    /// [`TransportError::Window`] if there is no such memory. Those of [`World::meet`].
    pub(super) fn lay_window(
        &mut self,
        world: &World,
        (outgoing, outgoing_blocks): (&[Lane], &mut [Block]),
        (incoming, incoming_blocks): (&[Lane], &mut [Block]),
    ) -> Result<(), TransportError> {
        // The window knows ranks by their number on the host.
        let number = |rank: Rank| self.ranks.iter().position(|of_host| *of_host == rank);
        let lanes = outgoing.iter().filter_map(|lane| Some((number(lane.peer)?, lane.tag, lane.length)));
        let lanes: Vec<(usize, u8, usize)> = lanes.collect();
        if self.window.is_none() {
            // To allocate is collective and waits without a deadline. All ranks are here, since they have just agreed
            // to share.
            let bytes = Segment::bytes(self.ranks.len(), lanes.iter().map(|(_, _, length)| *length));
            let call = world.call();
            let fresh = window::allocate(&self.communicator, bytes)?;
            drop(call);
            self.window = Some(self.take_pages(world, fresh, bytes)?);
        }
        // Whatever happens from here on, the window stays in `self`. All ranks free it at once, and an error must not
        // wait for that.
        let places = self.window.as_mut().map_or(Ok(Vec::new()), |window| window.lay(&lanes))?;
        world.meet(&self.others(), &[])?;
        let Some(window) = &self.window else {
            return Ok(());
        };
        // Blocks that leave show the place for the next phase, so that they can be written at once. Blocks that arrive
        // turn when a phase is complete.
        let ours = outgoing.iter().zip(outgoing_blocks).filter(|(lane, _)| self.ranks.contains(&lane.peer));
        for ((_, block), places) in ours.zip(places) {
            *block = Block::shared(places);
            block.turn(window.phase().wrapping_add(1));
        }
        for (lane, block) in incoming.iter().zip(incoming_blocks) {
            if let Some(from) = number(lane.peer) {
                *block = Block::shared(window.incoming(from, lane.tag, lane.length)?);
            }
        }
        Ok(())
    }

    /// Allocates memory in which the ranks of this host tell each other that they have sent their messages. All of them
    /// call this at once. It only spares them looks in vain: if one of them cannot have it, all do without.
    ///
    /// # Errors
    /// Those of [`World::meet`].
    pub(super) fn lay_words(&mut self, world: &World) -> Result<(), TransportError> {
        self.window = None;
        if std::mem::replace(&mut self.asked_for_words, true) || self.ranks.len() < 2 {
            return Ok(());
        }
        let others = self.others();
        // What follows is collective and waits without a deadline. So all ranks of this host meet first.
        world.meet(&others, &[])?;
        let call = world.call();
        let fresh = window::allocate(&self.communicator, Segment::bytes(self.ranks.len(), std::iter::empty()));
        drop(call);
        // Only all ranks at once can free the memory, so it is never dropped here.
        let mut fresh = ManuallyDrop::new(fresh.ok());
        let taken = fresh.as_mut().is_some_and(Fresh::take_pages);
        let heard = world.meet(&others, if taken { &[0] } else { &[MISSING] })?;
        if taken
            && !heard.contains(&MISSING)
            && let Some(fresh) = ManuallyDrop::into_inner(fresh)
        {
            self.words = Some(fresh.into_shared()?);
            world.meet(&others, &[])?;
        }
        Ok(())
    }

    /// Has each rank of this host take the pages of its segment in `fresh`, which has `bytes` bytes on this one.
    /// Returns the memory if all could.
    ///
    /// # Errors
    /// [`TransportError::Window`] on the first rank whose pages are not there, [`TransportError::Aborted`] on all
    /// others. Those of [`World::meet`].
    fn take_pages(&self, world: &World, fresh: Fresh, bytes: usize) -> Result<Shared<Window>, TransportError> {
        // Only all ranks at once can free the memory, so it is not dropped where this one meets an error.
        let mut fresh = ManuallyDrop::new(fresh);
        let taken = fresh.take_pages();
        let others = self.others();
        let heard = world.meet(&others, if taken { &[0] } else { &[MISSING] })?;
        let first = others.iter().zip(&heard).find(|(_, said)| **said == MISSING).map(|(rank, _)| *rank);
        match (taken, first) {
            (true, None) => ManuallyDrop::into_inner(fresh).into_shared(),
            (false, first) if first.is_none_or(|first| self.me < first) => {
                Err(TransportError::Window { bytes, code: None })
            }
            _ => Err(TransportError::Aborted { code: 3 }),
        }
    }

    /// The other ranks of this host.
    fn others(&self) -> Vec<Rank> {
        self.ranks.iter().copied().filter(|rank| *rank != self.me).collect()
    }
}
