//! What ranks do for `mixnn bench slot` and `scale`: they run slots in which no role works, or the same work in a plain loop.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::reading::Reading;
use crate::crypto::aead::{Library, TAG};
use crate::crypto::key::Key;
use crate::crypto::sealer::CpuSealer;
use crate::ids::{Phase, Rank, Slot, Term};
use crate::memory;
use crate::mix::MixError;
use crate::mix::clock::Clock;
use crate::mix::courier::{Courier, Post, Timing, Word};
use crate::mix::geometry::Geometry;
use crate::mix::package::Route;
use crate::mix::slot::Mixer;
use crate::run::RunError;
use crate::transport::{Lane, Transport, TransportError};

/// The run id under which slots are sealed. Nothing in them is secret.
pub(super) const RUN: [u8; 32] = [7; 32];

/// So many slots, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SlotCase {
    /// The lengths of all that travels.
    pub geometry: Geometry,
    /// Whether ranks of one host exchange blocks through memory that they share.
    pub windows: bool,
    /// Whether there is a keystream over all links.
    pub linked: bool,
    /// Whether the mix is left out: the same cells are sealed, exchanged and opened in a plain loop, with one key and no plan.
    pub plain: bool,
    /// How many slots are run.
    pub slots: u32,
    /// The number of the term, which no two measurements share.
    pub term: u32,
    /// How many bytes the letter with a rank's route has.
    pub route: u32,
}

impl SlotCase {
    /// So many slots of these lengths, as a run has them on one host.
    pub(super) fn of(geometry: Geometry, slots: u32) -> Self {
        Self { geometry, windows: true, linked: false, plain: false, slots, term: 0, route: 0 }
    }

    /// Runs the slots on one rank, whose route is in `letters` on the owner and comes from there elsewhere. Returns what one slot took.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn reading(self, transport: &mut dyn Transport, letters: &[Vec<u8>]) -> Result<Reading, RunError> {
        transport.share_memory(self.windows);
        match self.plain {
            true => self.plain(transport),
            false => self.mixed(transport, letters),
        }
    }

    /// Does what [`reading`](Self::reading) does, with slots of the mix.
    fn mixed(self, transport: &mut dyn Transport, letters: &[Vec<u8>]) -> Result<Reading, RunError> {
        let Self { geometry, slots, term, route, .. } = self;
        let bytes = transport.letters().scatter(letters, route as usize)?;
        let unreadable = || RunError::Unreadable { what: "a route", from: Rank::OWNER };
        let (route, _): (Route, _) = postcard::take_from_bytes(&bytes).map_err(|_| unreadable())?;
        let Route::Mixed(route) = route else { return Err(unreadable()) };
        let sealer = CpuSealer::<Vec<u8>>::new(Library::fastest(geometry.payload as usize), b"bench".to_vec());
        let spins = transport.membership().cores.each_has(1);
        let mut mixer =
            Mixer::new(transport.lanes(), sealer, geometry, route, &RUN, Term(term), Clock::new(None, spins))?;
        let mut post = Post::new(|| memory::zeroed(geometry.message()))?;
        let mut timing = Timing::default();
        meet(transport)?;
        let started = Instant::now();
        for slot in 0..slots {
            mixer.slot(transport.lanes(), Slot(slot.into()), Word::WELL, &mut post, &mut timing)?;
        }
        let each = 1.0 / f64::from(slots.max(1));
        let parts = [timing.seal, timing.exchange, timing.wait, timing.peel, timing.open];
        Ok(Reading {
            total: started.elapsed().as_secs_f64() * each,
            parts: parts.map(|part| part.as_secs_f64() * each),
        })
    }

    /// Does what [`reading`](Self::reading) does, with a plain loop that seals, exchanges and opens the same cells.
    fn plain(self, transport: &mut dyn Transport) -> Result<Reading, RunError> {
        let Self { geometry, slots, .. } = self;
        let (payload, block) = (geometry.payload as usize, geometry.block(Phase(1)));
        let lanes: Vec<Lane> = Rank::all(geometry.ranks)
            .filter(|peer| *peer != transport.rank())
            .map(|peer| Lane { peer, tag: 0, length: block })
            .collect();
        transport.lanes().lay(&lanes, &lanes, None)?;
        let key = Library::fastest(payload).key(&Key::from_bytes([1; 32]));
        let (message, mut inbox) = (memory::zeroed::<u8>(payload)?, memory::zeroed::<u8>(payload)?);
        meet(transport)?;
        let started = Instant::now();
        for slot in 0..u64::from(slots) {
            // The same nonce in every lane: nothing here is secret.
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&slot.to_le_bytes());
            for to in transport.lanes().blocks().0 {
                let to = to.as_mut();
                key.seal(&nonce, &[], &message, &mut to[..payload + TAG]);
                for layer in 2..=usize::from(geometry.hops) {
                    key.seal_in_place(&nonce, &[], &mut to[..payload + layer * TAG]);
                }
            }
            for phase in Phase::all(geometry.hops) {
                let cell = geometry.cell(phase);
                let lengths = vec![cell; lanes.len()];
                transport.lanes().exchange(phase, &lengths, &lengths).map_err(MixError::from)?;
                let (outgoing, incoming) = transport.lanes().blocks();
                for (from, to) in incoming.iter().zip(outgoing) {
                    let to = if phase.0 == geometry.hops { &mut inbox[..] } else { &mut to.as_mut()[..cell - TAG] };
                    let opened = key.open(&nonce, &[], &from.as_ref()[..cell], to);
                    assert!(opened.is_ok(), "a peer has sealed it with the same key");
                }
            }
        }
        Ok(Reading::of(started.elapsed().as_secs_f64() / f64::from(slots.max(1))))
    }

    /// A case whose numbers are as long as they may be on the way.
    #[cfg(test)]
    pub(super) fn longest() -> Self {
        let geometry = Geometry { ranks: u16::MAX, hops: u8::MAX, cells: u32::MAX, payload: u32::MAX };
        let most = u32::MAX;
        Self { geometry, windows: true, linked: true, plain: true, slots: most, term: most, route: most }
    }
}

/// Waits until all ranks are here.
pub(super) fn meet(transport: &mut dyn Transport) -> Result<(), TransportError> {
    transport.letters().gather(&[0])?;
    let go = memory::zeroed(1)?;
    let all = vec![go; usize::from(transport.ranks())];
    transport.letters().scatter(&all, 1).map(|_| ())
}
