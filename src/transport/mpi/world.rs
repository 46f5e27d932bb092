//! The ranks of an MPI job, and what they say to each other outside slots: letters between the owner and each other rank,
//! and meetings of a few.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::time::Duration;

use mpi::environment::Universe;
use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
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
/// The tag of what ranks tell each other where they meet.
const MEETING: c_int = 1;

/// All ranks of the job.
pub(super) struct World {
    // What is dropped first stands first; the universe's drop ends MPI.
    pub communicator: SimpleCommunicator,
    _running: Running,
    _universe: Universe,
    pub rank: Rank,
    pub ranks: u16,
    /// Whether waiting may spin.
    pub spins: bool,
    pub timeout: Duration,
    /// The setting that `timeout` comes from.
    setting: &'static str,
    /// Stands last: the end of MPI is watched too.
    watch: Watch,
}

impl World {
    /// Initializes MPI under the eyes of `watch`. Other ranks are waited for for `patience` until
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
        // What a peer does wrong is to end the run as an error of ours, not inside MPI.
        // SAFETY: MPI is initialized; MPI 4.1, 9.3.
        unsafe { ffi::MPI_Comm_set_errhandler(communicator.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let ranks = u16::try_from(communicator.size()).map_err(|_| StartError::TooMany(communicator.size()))?;
        Ok(Self {
            communicator,
            _running: Running,
            _universe: universe,
            rank,
            ranks,
            spins: false,
            timeout: patience,
            setting: START_TIMEOUT,
            watch,
        })
    }

    /// The run is known, and so is its time-out.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        (self.timeout, self.setting) = (timeout, TIMEOUT);
        self.watch.set_timeout(timeout);
    }

    /// Until what it returns is dropped, a call of MPI goes on, which must not take longer than the time-out.
    pub(super) fn call(&self) -> Call {
        self.watch.call()
    }

    /// Where all ranks run, as each says. All ranks call this at once.
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
    /// [`TransportError::Timeout`] names the peers that are missing; [`Requests::are_complete`].
    pub(super) fn complete(&self, requests: &mut Requests) -> Result<(), TransportError> {
        let mut backoff = Backoff::new(self.spins, self.timeout);
        let mut are_complete = || {
            let _call = self.call();
            requests.are_complete()
        };
        while !are_complete()? {
            // A rank that was itself stopped may find everything there.
            if backoff.pause().is_none() && !are_complete()? {
                let (waited, missing) = (self.timeout, requests.missing());
                return Err(TransportError::Timeout { waited, missing, setting: self.setting });
            }
        }
        Ok(())
    }

    /// Waits until each of `peers`, who do the same, has come here. Returns what they say, one after the other: each says as
    /// many bytes as this rank.
    ///
    /// # Errors
    /// [`World::complete`].
    pub(super) fn meet(&self, peers: &[Rank], says: &'static [u8]) -> Result<Vec<u8>, TransportError> {
        let mut requests = Requests::with_capacity(2 * peers.len());
        // Where not all is complete, the bytes are leaked.
        let mut heard = ManuallyDrop::new(vec![0; peers.len() * says.len()]);
        let first = heard.as_mut_ptr();
        let call = self.call();
        for (i, peer) in peers.iter().enumerate() {
            // SAFETY: each peer has bytes of its own, which stay until all is complete.
            unsafe {
                requests.receive(&self.communicator, first.add(i * says.len()), says.len(), *peer, MEETING)?;
            }
        }
        for peer in peers {
            // SAFETY: the bytes are constants.
            unsafe { requests.send(&self.communicator, says.as_ptr(), says.len(), *peer, MEETING)? };
        }
        drop(call);
        self.complete(&mut requests)?;
        Ok(ManuallyDrop::into_inner(heard))
    }

    /// What [`Letters::scatter`](crate::transport::Letters::scatter) does.
    pub(super) fn scatter(&self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        if self.rank == Rank::OWNER {
            let copies = messages[1..].iter().map(|message| memory::copied(message));
            self.letters(&mut copies.collect::<Result<Vec<_>, _>>()?, &self.others(), true)?;
            return Ok(messages[0].clone());
        }
        let mut letter = [memory::zeroed(length)?];
        self.letters(&mut letter, &[Rank::OWNER], false)?;
        let [letter] = letter;
        Ok(letter)
    }

    /// What [`Letters::gather`](crate::transport::Letters::gather) does.
    pub(super) fn gather(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        if self.rank != Rank::OWNER {
            self.letters(&mut [memory::copied(message)?], &[Rank::OWNER], true)?;
            return Ok(Vec::new());
        }
        let mut all = (0..self.ranks).map(|_| memory::zeroed(message.len())).collect::<Result<Vec<_>, _>>()?;
        all[0].copy_from_slice(message);
        self.letters(&mut all[1..], &self.others(), false)?;
        Ok(all)
    }

    /// All ranks but the owner.
    fn others(&self) -> Vec<Rank> {
        Rank::all(self.ranks).skip(1).collect()
    }

    /// Sends one letter to each of `peers`, or receives one of each into `letters`.
    fn letters(&self, letters: &mut [Vec<u8>], peers: &[Rank], send: bool) -> Result<(), TransportError> {
        let mut requests = Requests::with_capacity(peers.len());
        let call = self.call();
        for (letter, peer) in letters.iter_mut().zip(peers) {
            let (bytes, length) = (letter.as_mut_ptr(), letter.len());
            // SAFETY: the letters stay until they are complete, and are leaked below where they do not complete.
            unsafe {
                match send {
                    true => requests.send(&self.communicator, bytes, length, *peer, LETTER)?,
                    false => requests.receive(&self.communicator, bytes, length, *peer, LETTER)?,
                }
            }
        }
        drop(call);
        let completed = self.complete(&mut requests);
        if completed.is_err() {
            letters.iter_mut().for_each(|letter| std::mem::forget(std::mem::take(letter)));
        }
        completed
    }
}
