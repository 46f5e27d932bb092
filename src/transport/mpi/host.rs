//! What the ranks of one host have in common: its cores, and memory that they share.

use std::mem::ManuallyDrop;

use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::Group;

use super::window::{self, Fresh, Window};
use super::world::World;
use crate::ids::Rank;
use crate::transport::cores::Allowed;
use crate::transport::shared::{Segment, Shared};
use crate::transport::{Block, Cores, Lane, TransportError};

/// What a rank says where its pages are not there, in place of 0.
const MISSING: u8 = 1;
/// What a rank says whose blocks stand on a device, in place of 0.
const DEVICE: u8 = 1;

/// The ranks of this host.
pub(super) struct Host {
    // Windows are freed before the communicator.
    /// The lanes between ranks of this host, where they share memory.
    pub window: Option<Shared<Window>>,
    /// Where this host's ranks tell each other that they have sent a phase's messages, if they exchange no blocks in a window.
    pub words: Option<Shared<Window>>,
    /// Whether there has been an attempt to have [`words`](Host::words).
    asked_for_words: bool,
    communicator: SimpleCommunicator,
    me: Rank,
    /// All of them, in the order of `communicator`.
    ranks: Vec<Rank>,
}

impl Host {
    /// All ranks of `world` call this at once.
    pub(super) fn new(world: &World) -> Self {
        let _call = world.call();
        let communicator = world.communicator.split_shared(world.communicator.rank());
        let numbers: Vec<_> = (0..communicator.size()).collect();
        let ranks = communicator.group().translate_ranks(&numbers, &world.communicator.group());
        let ranks = ranks.into_iter().flatten().map(|rank| Rank(rank as u16)).collect();
        Self { window: None, words: None, asked_for_words: false, communicator, me: world.rank, ranks }
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Whether `rank` is one of them.
    pub(super) fn has(&self, rank: Rank) -> bool {
        self.ranks.contains(&rank)
    }

    /// How many of them have a lower number than this rank.
    pub(super) fn place(&self) -> u16 {
        self.ranks.iter().filter(|rank| **rank < self.me).count() as u16
    }

    /// The ranks that have not begun the window's phase.
    pub(super) fn missing(&self) -> impl Iterator<Item = Rank> {
        self.window.iter().flat_map(Shared::missing).map(|number| self.ranks[number])
    }

    /// Tells the others which cores this rank may use, and hears it of them: this rank's part of the host's cores.
    ///
    /// # Errors
    /// [`World::meet`].
    pub(super) fn compare_cores(&self, world: &World) -> Result<Cores, TransportError> {
        let own = Allowed::here();
        // A kilobyte that stays, and once.
        let heard = world.meet(&self.others(), own.to_bytes().leak())?;
        let others = heard.as_chunks().0.iter().map(Allowed::from_bytes);
        let allowed: Vec<Allowed> = std::iter::once(own).chain(others).collect();
        let allocated = std::env::var("SLURM_CPUS_ON_NODE").ok().and_then(|cores| cores.parse().ok());
        Ok(Cores::among(&allowed, 0).bound_within(&allowed, &Allowed::of_launcher(), allocated))
    }

    /// Whether all ranks of this host, who ask the same, have their blocks in the processor's memory, so that they can share it.
    ///
    /// # Errors
    /// [`World::meet`].
    pub(super) fn agree_to_share(&self, world: &World, on_device: bool) -> Result<bool, TransportError> {
        // What they agreed on holds: backends and profile stay for a run.
        if self.window.is_some() && !on_device {
            return Ok(true);
        }
        let heard = world.meet(&self.others(), if on_device { &[DEVICE] } else { &[0] })?;
        Ok(!on_device && !heard.contains(&DEVICE))
    }

    /// Lays the lanes between ranks of this host, who all call this, in memory that they share, in place of their blocks.
    ///
    /// # Errors
    /// [`TransportError::Window`] where there is no such memory; [`World::meet`].
    pub(super) fn lay_window(
        &mut self,
        world: &World,
        (outgoing, outgoing_blocks): (&[Lane], &mut [Block]),
        (incoming, incoming_blocks): (&[Lane], &mut [Block]),
    ) -> Result<(), TransportError> {
        let number = |rank: Rank| self.ranks.iter().position(|of_host| *of_host == rank);
        let lanes = outgoing.iter().filter_map(|lane| Some((number(lane.peer)?, lane.tag, lane.length)));
        let lanes: Vec<(usize, u8, usize)> = lanes.collect();
        if self.window.is_none() {
            // This is collective, and waits without end: all are there, as they have agreed to share.
            let bytes = Segment::bytes(self.ranks.len(), lanes.iter().map(|(_, _, length)| *length));
            let call = world.call();
            let fresh = window::allocate(&self.communicator, bytes)?;
            drop(call);
            self.window = Some(self.take_pages(world, fresh, bytes)?);
        }
        // The window stays where it is whatever happens: it is freed by all ranks at once, which an error may not wait for.
        let places = self.window.as_mut().map_or(Ok(Vec::new()), |window| window.lay(&lanes))?;
        world.meet(&self.others(), &[])?;
        let Some(window) = &self.window else {
            return Ok(());
        };
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

    /// Has memory in which the ranks of this host, who all call this, tell each other that they have sent. It only spares them looks in
    /// vain: where it is not there for one of them, all do without.
    ///
    /// # Errors
    /// [`World::meet`].
    pub(super) fn lay_words(&mut self, world: &World) -> Result<(), TransportError> {
        self.window = None;
        if std::mem::replace(&mut self.asked_for_words, true) || self.ranks.len() < 2 {
            return Ok(());
        }
        let others = self.others();
        // What follows is collective, and waits without end.
        world.meet(&others, &[])?;
        let call = world.call();
        let fresh = window::allocate(&self.communicator, Segment::bytes(self.ranks.len(), std::iter::empty()));
        drop(call);
        // Only all ranks at once could free it.
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

    /// Has all ranks of this host take the pages of `fresh`, `bytes` of them this rank's. Where they are not there, one rank says so.
    fn take_pages(&self, world: &World, fresh: Fresh, bytes: usize) -> Result<Shared<Window>, TransportError> {
        // Only all ranks at once could free it.
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
