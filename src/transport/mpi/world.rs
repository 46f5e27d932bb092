//! The ranks of an MPI job, and what they say to each other outside slots: letters between the owner and each other
//! rank, and meetings of a few ranks (docs/PROTOCOL.md, 17.1).

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use mpi::environment::Universe;
use mpi::ffi;
use mpi::topology::{Color, Communicator, SimpleCommunicator};
use mpi::traits::{AsRaw, CommunicatorCollectives};

use super::StartError;
use super::requests::Requests;
use super::watch::{Call, Running, Watch};
use crate::ids::Rank;
use crate::memory;
use crate::transport::hosts::{Hosts, NAME};
use crate::transport::{Backoff, START_TIMEOUT, TIMEOUT, TransportError};

/// The tag of what goes between the owner and another rank outside slots. Lanes have tags from 4 on.
const LETTER: c_int = 0;
/// The tag of what ranks tell each other in a meeting.
const MEETING: c_int = 1;

/// MPI, from its initialization to its end.
struct Session {
    // Fields are dropped in their order.
    /// Tells the watch that MPI's end begins. So it is dropped before the universe.
    _running: Running,
    /// Keeps MPI initialized. Its drop ends MPI.
    _universe: Universe,
    /// Stands last, and so is dropped last: the end of MPI is watched too.
    watch: Watch,
}

/// All ranks of a job, and this one's place among them.
pub(super) struct World {
    // Fields are dropped in their order: the communicator before the session, which may be the last that keeps MPI.
    /// The communicator of all ranks.
    pub communicator: SimpleCommunicator,
    /// What keeps MPI initialized. A part of the job shares it with the whole.
    session: Rc<Session>,
    /// This rank's number, which is MPI's.
    pub rank: Rank,
    /// How many ranks the job has.
    pub ranks: u16,
    /// Whether a wait may spin, since each rank of this host has a core of its own.
    pub spins: bool,
    /// How long a silent peer is waited for.
    pub timeout: Duration,
    /// The setting from which `timeout` comes. Errors name it.
    setting: &'static str,
}

impl World {
    /// Initializes MPI under the eyes of `watch`. Waits for other ranks for `patience` at most, until
    /// [`set_timeout`](World::set_timeout).
    ///
    /// # Errors
    /// [`StartError::Initialized`], [`StartError::TooMany`].
    pub(super) fn start(watch: Watch, patience: Duration) -> Result<Self, StartError> {
        let initializing = watch.call();
        let (universe, _) =
            mpi::initialize_with_threading(mpi::Threading::Funneled).ok_or(StartError::Initialized)?;
        drop(initializing);
        let communicator = universe.world();
        let rank = Rank(communicator.rank() as u16);
        watch.initialized(rank);
        // What a peer does wrong is to end the run as an error of this program, not inside MPI.
        // SAFETY: MPI is initialized, and the communicator is one of its own (MPI 4.1, 9.3).
        unsafe { ffi::MPI_Comm_set_errhandler(communicator.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let ranks = u16::try_from(communicator.size()).map_err(|_| StartError::TooMany(communicator.size()))?;
        Ok(Self {
            communicator,
            session: Rc::new(Session { _running: Running, _universe: universe, watch }),
            rank,
            ranks,
            spins: false,
            timeout: patience,
            setting: START_TIMEOUT,
        })
    }

    /// The first `ranks` ranks as a world of their own. All ranks call this at once. It waits for them without a deadline,
    /// under the eyes of the watch. `None` on a rank that is not among them.
    pub(super) fn first(&self, ranks: u16) -> Option<Self> {
        let color = if self.rank.0 < ranks { Color::with_value(0) } else { Color::undefined() };
        let call = self.call();
        let communicator = self.communicator.split_by_color_with_key(color, self.communicator.rank())?;
        drop(call);
        Some(Self { communicator, session: Rc::clone(&self.session), ranks: ranks.min(self.ranks), ..*self })
    }

    /// Whether MPI ends when this is dropped.
    pub(super) fn ends_mpi(&self) -> bool {
        Rc::strong_count(&self.session) == 1
    }

    /// Waits for `timeout` from now on: this rank has learned which run it takes part in.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        (self.timeout, self.setting) = (timeout, TIMEOUT);
        self.session.watch.set_timeout(timeout);
    }

    /// Tells the watch that a call of MPI begins. It ends when what this returns is dropped. It must not take longer
    /// than the time-out.
    pub(super) fn call(&self) -> Call {
        self.session.watch.call()
    }

    /// The hosts of all ranks, as each rank says. All ranks call this at once. It waits for them without a deadline,
    /// under the eyes of the watch.
    pub(super) fn hosts(&self) -> Hosts {
        let _call = self.call();
        let own = mpi::environment::processor_name().unwrap_or_default();
        let mut all = vec![0; NAME * usize::from(self.ranks)];
        self.communicator.all_gather_into(&Hosts::packed(&own)[..], &mut all[..]);
        Hosts::unpacked(&all)
    }

    /// Waits until `requests` are complete.
    ///
    /// # Errors
    /// [`TransportError::Timeout`] names the peers that are missing. Those of [`Requests::are_complete`].
    pub(super) fn complete(&self, requests: &mut Requests) -> Result<(), TransportError> {
        let mut backoff = Backoff::new(self.spins, self.timeout);
        let mut are_complete = || {
            let _call = self.call();
            requests.are_complete()
        };
        while !are_complete()? {
            // A rank that was itself stopped for a while may find everything there.
            if backoff.pause().is_none() && !are_complete()? {
                let (waited, missing) = (self.timeout, requests.missing());
                return Err(TransportError::Timeout { waited, missing, setting: self.setting });
            }
        }
        Ok(())
    }

    /// Waits until each of `peers`, who do the same, has come here. Each tells all others as many bytes as this rank
    /// `says`. Returns what they say, one behind the other in the order of `peers`.
    ///
    /// # Errors
    /// Those of [`World::complete`], and [`TransportError::Mpi`].
    pub(super) fn meet(&self, peers: &[Rank], says: &'static [u8]) -> Result<Vec<u8>, TransportError> {
        let mut requests = Requests::with_capacity(2 * peers.len());
        // On any error the bytes are leaked, since MPI may still write to them.
        let mut heard = ManuallyDrop::new(vec![0; peers.len() * says.len()]);
        let first = heard.as_mut_ptr();
        let call = self.call();
        for (i, peer) in peers.iter().enumerate() {
            // SAFETY: each peer has bytes of its own in `heard`. Nobody else touches them until all is complete, and
            // they are never freed before that.
            unsafe {
                requests.receive(&self.communicator, first.add(i * says.len()), says.len(), *peer, MEETING)?;
            }
        }
        for peer in peers {
            // SAFETY: the bytes live as long as the program, and nobody changes them.
            unsafe { requests.send(&self.communicator, says.as_ptr(), says.len(), *peer, MEETING)? };
        }
        drop(call);
        self.complete(&mut requests)?;
        Ok(ManuallyDrop::into_inner(heard))
    }

    /// Does what [`Letters::scatter`](crate::transport::Letters::scatter) does.
    pub(super) fn scatter(&self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        if self.rank == Rank::OWNER {
            let copies = messages[1..].iter().map(|message| memory::copied(message));
            self.give(Rank(1), copies.collect::<Result<Vec<_>, _>>()?)?;
            return Ok(messages[0].clone());
        }
        let mut letter = [memory::zeroed(length)?];
        self.letters(&mut letter, &[Rank::OWNER], false)?;
        let [letter] = letter;
        Ok(letter)
    }

    /// Does what [`Letters::gather`](crate::transport::Letters::gather) does.
    pub(super) fn gather(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        if self.rank != Rank::OWNER {
            self.letters(&mut [memory::copied(message)?], &[Rank::OWNER], true)?;
            return Ok(Vec::new());
        }
        let mut all = vec![memory::copied(message)?];
        all.extend(self.take(Rank(1), usize::from(self.ranks) - 1, message.len())?);
        Ok(all)
    }

    /// Does what [`Letters::give`](crate::transport::Letters::give) does.
    pub(super) fn give(&self, first: Rank, mut messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        let ranks: Vec<Rank> = first.following(messages.len()).collect();
        self.letters(&mut messages, &ranks, true)
    }

    /// Does what [`Letters::take`](crate::transport::Letters::take) does.
    pub(super) fn take(&self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        let mut messages = (0..count).map(|_| memory::zeroed(length)).collect::<Result<Vec<_>, _>>()?;
        self.letters(&mut messages, &first.following(count).collect::<Vec<_>>(), false)?;
        Ok(messages)
    }

    /// Exchanges one letter with each of `peers`, in the order of `letters`: sends them if `send`, else receives into
    /// them.
    fn letters(&self, letters: &mut [Vec<u8>], peers: &[Rank], send: bool) -> Result<(), TransportError> {
        let mut requests = Requests::with_capacity(peers.len());
        let completed =
            self.start_letters(&mut requests, letters, peers, send).and_then(|()| self.complete(&mut requests));
        if completed.is_err() {
            letters.iter_mut().for_each(|letter| std::mem::forget(std::mem::take(letter)));
        }
        completed
    }

    /// Starts sending `letters`, or receiving into them, one for each of `peers`. If MPI refuses one, those before it are under way.
    fn start_letters(
        &self,
        requests: &mut Requests,
        letters: &mut [Vec<u8>],
        peers: &[Rank],
        send: bool,
    ) -> Result<(), TransportError> {
        let _call = self.call();
        for (letter, peer) in letters.iter_mut().zip(peers) {
            let (bytes, length) = (letter.as_mut_ptr(), letter.len());
            // SAFETY: nobody touches the letters until all are complete. If one does not start or complete, `letters` leaks all of
            // them, so that MPI may read and write them for as long as the process runs.
            unsafe {
                match send {
                    true => requests.send(&self.communicator, bytes, length, *peer, LETTER)?,
                    false => requests.receive(&self.communicator, bytes, length, *peer, LETTER)?,
                }
            }
        }
        Ok(())
    }
}
