//! Ranks as MPI processes. One thread makes all MPI calls (MPI_THREAD_FUNNELED).
//!
//! Only non-blocking point-to-point calls, polled: a rank that waits inside MPI would steal the core from the one it waits
//! for. The blocks are the transport's own and stay where they are, so that MPI may read and write them until a phase is
//! complete. Ranks of one host exchange theirs through shared memory ([`shared`](super::shared)), unless they are told not
//! to, or the blocks of one of them stand in a device's memory: MPI is given that where it [says](super::aware) that it takes it.
//! Ranks of one host that send messages tell each other so in memory that they share, where there is some: a rank that sleeps wakes up.
//!
//! Where a call of MPI does not return, which waits for a peer without a deadline, [`watch`] ends the process.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use mpi::environment::Universe;
use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::{AsRaw, CommunicatorCollectives, Group};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::cores::Allowed;
use super::hosts::{Hosts, NAME};
use super::shared::{Segment, Shared};
use super::watch::{self, Running, Watch};
use super::window::{self, Fresh, Window};
use super::{Backoff, Block, Cores, Lane, START_TIMEOUT, TIMEOUT, Transport, TransportError, aware, core_is_wanted};
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::memory;
use crate::threads::Starved;

/// Settings of Open MPI's shared-memory transport, where the user has made none: blocks of up to 32 KiB are copied through
/// shared memory without asking first. With 7 ranks on 2 cores and blocks of 6 KB a slot then takes three quarters of the time.
const SETTINGS: [(&str, &str); 4] = [
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("OMPI_MCA_btl_vader_eager_limit", "32768"),
    ("OMPI_MCA_btl_sm_single_copy_mechanism", "none"),
    ("OMPI_MCA_btl_sm_eager_limit", "32768"),
];

/// Tags of lanes are `phase * LANE_TAGS + tag`; tag 0 carries what goes outside slots.
const LANE_TAGS: u8 = 4;
const LETTER: c_int = 0;
/// Carries a few bytes or none, so that two ranks of a host know of each other that they have come so far.
const MEETING: c_int = 1;

/// This process's end of an MPI job.
pub struct Mpi {
    // What is dropped first stands first; the universe's drop ends MPI.
    outgoing_blocks: Vec<Block>,
    incoming_blocks: Vec<Block>,
    window: Option<Shared<Window>>,
    /// Where this host's ranks tell each other that they have sent a phase's messages, if they exchange no blocks in a window.
    words: Option<Shared<Window>>,
    /// Whether there has been an attempt to have [`words`](Mpi::words).
    asked_for_words: bool,
    /// Whether MPI is to be asked though words say that a rank of the host has not sent.
    overdue: bool,
    host: SimpleCommunicator,
    world: SimpleCommunicator,
    _running: Running,
    _universe: Universe,
    /// What messages carry in place of the blocks, if `on_device`. It outlives MPI, which has things of its own on the device
    /// that it gives back when it ends.
    device: Option<DeviceLanes>,
    on_device: bool,
    rank: Rank,
    ranks: u16,
    /// The ranks of this host, in the order of `host`.
    neighbours: Vec<Rank>,
    hosts: Hosts,
    cores: Cores,
    timeout: Duration,
    /// What says so.
    setting: &'static str,
    windows: bool,
    /// Whether MPI takes a device's memory.
    aware: bool,
    outgoing: Vec<Lane>,
    incoming: Vec<Lane>,
    /// The outgoing lanes, and after them the incoming ones, that messages carry; the former in the order in which the
    /// next phase sends them.
    sends: Vec<usize>,
    receives: Vec<usize>,
    shuffler: StdRng,
    /// Those of `receives`, then of `sends`.
    requests: Vec<ffi::MPI_Request>,
    /// Of `requests`.
    statuses: Vec<ffi::MPI_Status>,
    /// Whether a phase is going on.
    begun: bool,
    /// Stands last: MPI's end is watched too.
    watch: Watch,
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // All that follows is MPI's end, where it waits for all ranks.
        std::mem::forget(self.watch.call());
    }
}

/// Why this process has no place in an MPI job.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `MPI_Init_thread` has been called before, or fails.
    #[error("MPI cannot be initialized twice in one process")]
    Initialized,
    /// More processes than a rank's number holds.
    #[error("{0} MPI processes are more than this program numbers (65,535)")]
    TooMany(i32),
    /// No thread can be had that watches over calls of MPI.
    #[error(transparent)]
    Thread(#[from] Starved),
    /// The ranks of a host have not met.
    #[error("the ranks of this host do not tell each other which cores they may use: {0}")]
    Cores(TransportError),
}

/// The MPI library's own name and version, one line.
pub fn library() -> String {
    let version = mpi::environment::library_version().unwrap_or_else(|_| "unknown".to_owned());
    let line: Vec<&str> = version.trim_end_matches('\0').split_whitespace().take(3).collect();
    line.join(" ").trim_end_matches(',').to_owned()
}

impl Mpi {
    /// Initializes MPI, on what is `rank` as far as is known. Until the [time-out](Transport::set_timeout) is set, other ranks are
    /// waited for for `patience`, and where MPI itself waits for them longer than that, this process ends.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(rank: Option<Rank>, patience: Duration) -> Result<Self, StartError> {
        for (name, value) in SETTINGS {
            if std::env::var_os(name).is_none() {
                // SAFETY: no other thread runs yet.
                unsafe { std::env::set_var(name, value) };
            }
        }
        let watch = Watch::start(rank, patience, abort_everywhere, leave)?;
        let initializing = watch.call();
        let (universe, _) =
            mpi::initialize_with_threading(mpi::Threading::Funneled).ok_or(StartError::Initialized)?;
        drop(initializing);
        let world = universe.world();
        watch.initialized(Rank(world.rank() as u16));
        // What a peer does wrong is to end the run as an error of ours, not inside MPI.
        // SAFETY: MPI is initialized; MPI 4.1, 9.3.
        unsafe { ffi::MPI_Comm_set_errhandler(world.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let ranks = u16::try_from(world.size()).map_err(|_| StartError::TooMany(world.size()))?;
        // The calls that follow are collective: they wait for all ranks.
        let meeting = watch.call();
        let hosts = hosts(&world);
        let host = world.split_shared(world.rank());
        drop(meeting);
        let numbers: Vec<_> = (0..host.size()).collect();
        let neighbours = host.group().translate_ranks(&numbers, &world.group());
        let neighbours: Vec<Rank> = neighbours.into_iter().flatten().map(|rank| Rank(rank as u16)).collect();
        let mut mpi = Self {
            rank: Rank(world.rank() as u16),
            ranks,
            // Until they have told each other.
            cores: Cores::of_threads(neighbours.len() as u16),
            neighbours,
            hosts,
            timeout: patience,
            setting: START_TIMEOUT,
            windows: false,
            // Some libraries know only now what they have found.
            aware: aware::takes_device_memory() == Some(true),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            outgoing_blocks: Vec::new(),
            incoming_blocks: Vec::new(),
            device: None,
            on_device: false,
            window: None,
            words: None,
            asked_for_words: false,
            overdue: false,
            sends: Vec::new(),
            receives: Vec::new(),
            shuffler: rand::make_rng(),
            requests: Vec::new(),
            statuses: Vec::new(),
            begun: false,
            watch,
            host,
            world,
            _running: Running,
            _universe: universe,
        };
        mpi.cores = mpi.compare_cores().map_err(StartError::Cores)?;
        Ok(mpi)
    }

    /// Tells the other ranks of this host which cores this one may use, and hears it of them.
    fn compare_cores(&self) -> Result<Cores, TransportError> {
        let own = Allowed::here();
        // A kilobyte that stays, and once.
        let heard = self.meet(&self.others(), own.to_bytes().leak())?;
        let others = heard.as_chunks().0.iter().map(Allowed::from_bytes);
        let allowed: Vec<Allowed> = std::iter::once(own).chain(others).collect();
        let allocated = std::env::var("SLURM_CPUS_ON_NODE").ok().and_then(|cores| cores.parse().ok());
        Ok(Cores::among(&allowed, 0).bound_within(&allowed, &Allowed::of_launcher(), allocated))
    }

    /// The name of this host.
    pub fn host(&self) -> String {
        mpi::environment::processor_name().unwrap_or_default()
    }

    /// Where all ranks run.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Sends `length` bytes from `from`.
    ///
    /// # Safety
    /// The bytes must stay there, unchanged, until the request is complete.
    unsafe fn isend(
        &self,
        from: *const u8,
        length: usize,
        to: Rank,
        tag: c_int,
    ) -> Result<ffi::MPI_Request, TransportError> {
        // SAFETY: an MPI constant, initialized before main.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let _call = self.watch.call();
        // SAFETY: MPI is initialized while `world` lives; the buffer is valid as the caller promises; MPI 4.1, 3.7.2.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Isend(from.cast(), count(length), byte, to.0.into(), tag, self.world.as_raw(), &mut request)
        };
        done("MPI_Isend", code).map(|()| request)
    }

    /// Receives up to `length` bytes to `to`.
    ///
    /// # Safety
    /// The bytes must stay there, and nobody else may touch them, until the request is complete.
    unsafe fn irecv(
        &self,
        to: *mut u8,
        length: usize,
        from: Rank,
        tag: c_int,
    ) -> Result<ffi::MPI_Request, TransportError> {
        // SAFETY: an MPI constant, initialized before main.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let _call = self.watch.call();
        // SAFETY: as in `isend`.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Irecv(to.cast(), count(length), byte, from.0.into(), tag, self.world.as_raw(), &mut request)
        };
        done("MPI_Irecv", code).map(|()| request)
    }

    /// Waits for `requests`, which belong to `peers`.
    fn complete(&self, requests: &mut [ffi::MPI_Request], peers: &[Rank]) -> Result<(), TransportError> {
        let mut backoff = Backoff::new(self.spins(), self.timeout);
        let mut statuses = Vec::new();
        let mut test_all = || {
            let _call = self.watch.call();
            test_all(requests, &mut statuses)
        };
        while !test_all()? {
            if backoff.pause().is_none() && !test_all()? {
                let (waited, missing) = (self.timeout, open(requests, peers));
                return Err(TransportError::Timeout { waited, missing, setting: self.setting });
            }
        }
        Ok(())
    }

    /// Waits until each of `peers`, who do the same, has come here: what each says, where all say something.
    fn meet(&self, peers: &[Rank], says: &'static [u8]) -> Result<Vec<u8>, TransportError> {
        let mut requests = Vec::with_capacity(2 * peers.len());
        // Where not all is complete, the bytes are leaked.
        let mut heard = ManuallyDrop::new(vec![0; peers.len() * says.len()]);
        let first = heard.as_mut_ptr();
        for (i, peer) in peers.iter().enumerate() {
            // SAFETY: each peer has its bytes, which stay until all is complete.
            requests.push(unsafe { self.irecv(first.add(i * says.len()), says.len(), *peer, MEETING)? });
        }
        for peer in peers {
            // SAFETY: the bytes are constants.
            requests.push(unsafe { self.isend(says.as_ptr(), says.len(), *peer, MEETING)? });
        }
        self.complete(&mut requests, &[peers, peers].concat())?;
        Ok(ManuallyDrop::into_inner(heard))
    }

    /// The other ranks of this host.
    fn others(&self) -> Vec<Rank> {
        self.neighbours.iter().copied().filter(|rank| *rank != self.rank).collect()
    }

    /// Whether all ranks of this host, who ask the same, have their blocks in the processor's memory, so that they can share it.
    fn agree_to_share(&self) -> Result<bool, TransportError> {
        const DEVICE: u8 = 1;
        // What they agreed on holds: backends and profile stay for a run.
        if self.window.is_some() && !self.on_device {
            return Ok(true);
        }
        let heard = self.meet(&self.others(), if self.on_device { &[DEVICE] } else { &[0] })?;
        Ok(!self.on_device && !heard.contains(&DEVICE))
    }

    /// The place of `rank` among the ranks of this host.
    fn neighbour(&self, rank: Rank) -> Option<usize> {
        self.neighbours.iter().position(|neighbour| *neighbour == rank)
    }

    /// Lays the lanes between ranks of this host in shared memory, in place of their blocks.
    fn lay_window(&mut self) -> Result<(), TransportError> {
        let lanes = self.outgoing.iter().filter_map(|lane| Some((self.neighbour(lane.peer)?, lane.tag, lane.length)));
        let outgoing: Vec<(usize, u8, usize)> = lanes.collect();
        if self.window.is_none() {
            // This is collective, and waits without end: all are there, as they have agreed to share.
            let bytes = Segment::bytes(self.neighbours.len(), outgoing.iter().map(|(_, _, length)| *length));
            let call = self.watch.call();
            let fresh = window::allocate(&self.host, bytes)?;
            drop(call);
            self.window = Some(self.take_pages(fresh, bytes)?);
        }
        // The window stays where it is whatever happens: it is freed by all ranks at once, which an error may not wait for.
        let places = self.window.as_mut().map_or(Ok(Vec::new()), |window| window.lay(&outgoing))?;
        self.meet(&self.others(), &[])?;
        let Some(window) = &self.window else {
            return Ok(());
        };
        let shared = |rank: Rank| self.neighbours.contains(&rank);
        let ours = self.outgoing.iter().zip(&mut self.outgoing_blocks).filter(|(lane, _)| shared(lane.peer));
        for ((_, block), places) in ours.zip(places) {
            *block = Block::shared(places);
            block.turn(window.phase().wrapping_add(1));
        }
        for (lane, block) in self.incoming.iter().zip(&mut self.incoming_blocks) {
            if let Some(from) = self.neighbours.iter().position(|neighbour| *neighbour == lane.peer) {
                *block = Block::shared(window.incoming(from, lane.tag, lane.length)?);
            }
        }
        Ok(())
    }

    /// Has memory in which the ranks of this host, who all call this, tell each other that they have sent. It only spares them looks in
    /// vain: where it is not there for one of them, all do without.
    fn lay_words(&mut self) -> Result<(), TransportError> {
        const MISSING: u8 = 1;
        if std::mem::replace(&mut self.asked_for_words, true) || self.neighbours.len() < 2 {
            return Ok(());
        }
        let others = self.others();
        // What follows is collective, and waits without end.
        self.meet(&others, &[])?;
        let call = self.watch.call();
        let fresh = window::allocate(&self.host, Segment::bytes(self.neighbours.len(), std::iter::empty()));
        drop(call);
        // Only all ranks at once could free it.
        let mut fresh = ManuallyDrop::new(fresh.ok());
        let taken = fresh.as_mut().is_some_and(Fresh::take_pages);
        let heard = self.meet(&others, if taken { &[0] } else { &[MISSING] })?;
        if taken
            && !heard.contains(&MISSING)
            && let Some(fresh) = ManuallyDrop::into_inner(fresh)
        {
            self.words = Some(fresh.into_shared()?);
            self.meet(&others, &[])?;
        }
        Ok(())
    }

    /// Has all ranks of this host take the pages of `fresh`, `bytes` of them this rank's. Where they are not there, one rank says so.
    fn take_pages(&self, fresh: Fresh, bytes: usize) -> Result<Shared<Window>, TransportError> {
        const MISSING: u8 = 1;
        // Only all ranks at once could free it.
        let mut fresh = ManuallyDrop::new(fresh);
        let taken = fresh.take_pages();
        let others = self.others();
        let heard = self.meet(&others, if taken { &[0] } else { &[MISSING] })?;
        let first = others.iter().zip(&heard).find(|(_, said)| **said == MISSING).map(|(rank, _)| *rank);
        match (taken, first) {
            (true, None) => ManuallyDrop::into_inner(fresh).into_shared(),
            (false, first) if first.is_none_or(|first| self.rank < first) => {
                Err(TransportError::Window { bytes, code: None })
            }
            _ => Err(TransportError::Aborted { code: 3 }),
        }
    }

    /// Sends one letter to each of `peers`, or receives one of each into `letters`.
    fn letters(&self, letters: &mut [Vec<u8>], peers: &[Rank], send: bool) -> Result<(), TransportError> {
        let mut requests = Vec::with_capacity(peers.len());
        for (letter, peer) in letters.iter_mut().zip(peers) {
            // SAFETY: the letters stay until they are complete, and are leaked below where they do not complete.
            requests.push(unsafe {
                match send {
                    true => self.isend(letter.as_ptr(), letter.len(), *peer, LETTER)?,
                    false => self.irecv(letter.as_mut_ptr(), letter.len(), *peer, LETTER)?,
                }
            });
        }
        let completed = self.complete(&mut requests, peers);
        if completed.is_err() {
            letters.iter_mut().for_each(|letter| std::mem::forget(std::mem::take(letter)));
        }
        completed
    }
}

/// Where all ranks run, as each says. All ranks take part.
fn hosts(world: &SimpleCommunicator) -> Hosts {
    let own = mpi::environment::processor_name().unwrap_or_default();
    let mut all = vec![0; NAME * world.size() as usize];
    world.all_gather_into(&Hosts::packed(&own)[..], &mut all[..]);
    Hosts::unpacked(&all)
}

/// MPI counts in a C int; those who lay out lengths refuse longer messages.
fn count(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

fn done(call: &'static str, code: c_int) -> Result<(), TransportError> {
    match code {
        0 => Ok(()),
        code => Err(TransportError::Mpi { call, code }),
    }
}

/// The class of MPI's error `code`, 0 for none.
fn class(code: c_int) -> u32 {
    let mut class = 0;
    // SAFETY: takes any code; MPI 4.1, 9.4.
    unsafe { ffi::MPI_Error_class(code, &mut class) };
    class as u32
}

/// Whether all `requests` are complete. `statuses` is memory for as many.
fn test_all(requests: &mut [ffi::MPI_Request], statuses: &mut Vec<ffi::MPI_Status>) -> Result<bool, TransportError> {
    // SAFETY: a struct of integers.
    statuses.resize(requests.len(), unsafe { std::mem::zeroed() });
    let mut flag = 0;
    // SAFETY: `requests` are requests of this process, complete ones among them null; there are as many statuses; MPI 4.1,
    // 3.7.5.
    let code =
        unsafe { ffi::MPI_Testall(count(requests.len()), requests.as_mut_ptr(), &mut flag, statuses.as_mut_ptr()) };
    let failed = match class(code) {
        0 => return Ok(flag != 0),
        // Then each has its own, those that are not complete one that says so.
        ffi::MPI_ERR_IN_STATUS => statuses.iter().map(|status| status.MPI_ERROR).collect(),
        _ => vec![code],
    };
    let of = |wanted: &dyn Fn(u32) -> bool| failed.iter().copied().find(|code| wanted(class(*code)));
    match of(&|class| class == ffi::MPI_ERR_TRUNCATE) {
        Some(_) => Err(TransportError::TooLong),
        None => {
            let code = of(&|class| class != 0 && class != ffi::MPI_ERR_PENDING).unwrap_or(code);
            Err(TransportError::Mpi { call: "MPI_Testall", code })
        }
    }
}

/// The peers whose requests are not complete.
fn open(requests: &mut [ffi::MPI_Request], peers: &[Rank]) -> Vec<Rank> {
    let mut missing: Vec<Rank> = Vec::new();
    for (request, peer) in requests.iter_mut().zip(peers) {
        let mut flag = 0;
        // SAFETY: a request of this process; MPI 4.1, 3.7.3.
        let code = unsafe { ffi::MPI_Test(request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
        if (code != 0 || flag == 0) && !missing.contains(peer) {
            missing.push(*peer);
        }
    }
    missing
}

impl Transport for Mpi {
    fn rank(&self) -> Rank {
        self.rank
    }

    fn ranks(&self) -> u16 {
        self.ranks
    }

    fn cores(&self) -> Cores {
        self.cores
    }

    fn rank_on_host(&self) -> u16 {
        // Slurm has its own number for it, by which it deals out what a host has. Where another launcher has started the ranks
        // within a job of Slurm, all have the numbers of the job's script.
        let said = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
        let started = said("SLURM_PROCID") == Some(self.rank.0) && said("SLURM_STEP_NUM_TASKS") == Some(self.ranks);
        said("SLURM_LOCALID")
            .filter(|_| started)
            .unwrap_or_else(|| self.neighbours.iter().filter(|peer| **peer < self.rank).count() as u16)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn set_timeout(&mut self, timeout: Duration) {
        (self.timeout, self.setting) = (timeout, TIMEOUT);
        self.watch.set_timeout(timeout);
    }

    fn share_memory(&mut self, windows: bool) {
        self.windows = windows;
    }

    fn takes_device_memory(&self) -> bool {
        self.aware
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        (self.outgoing, self.incoming) = (outgoing.to_vec(), incoming.to_vec());
        self.on_device = device.is_some();
        // That of a device which has failed is kept, too.
        self.device = device.or(self.device.take());
        let windows = self.windows && self.neighbours.len() > 1 && self.agree_to_share()?;
        let shared = |lane: &Lane| windows && self.neighbours.contains(&lane.peer);
        let blocks = |lanes: &[Lane]| {
            lanes
                .iter()
                .map(|lane| Block::zeroed(if shared(lane) { 0 } else { lane.length }))
                .collect::<Result<_, _>>()
        };
        let messages = |lanes: &[Lane]| (0..lanes.len()).filter(|i| !shared(&lanes[*i])).collect::<Vec<_>>();
        (self.outgoing_blocks, self.incoming_blocks) = (blocks(outgoing)?, blocks(incoming)?);
        (self.sends, self.receives) = (messages(outgoing), messages(incoming));
        self.requests = Vec::with_capacity(self.sends.len() + self.receives.len());
        if windows {
            return self.lay_window();
        }
        self.window = None;
        self.lay_words()
    }

    fn lanes_on_device(&self) -> bool {
        self.on_device
    }

    fn leave_device(&mut self) {
        assert!(!self.begun, "blocks change their place between phases");
        self.on_device = false;
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        (&mut self.outgoing_blocks, &self.incoming_blocks)
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        if let Some(window) = &mut self.window {
            window.begin();
        }
        self.begun = true;
        self.requests.clear();
        let tag = |lane: &Lane| c_int::from(phase.0) * c_int::from(LANE_TAGS) + c_int::from(lane.tag);
        for place in 0..self.receives.len() {
            let i = self.receives[place];
            let lane = self.incoming[i];
            let to = match self.device.as_ref().filter(|_| self.on_device) {
                Some(lanes) => lanes.incoming.at(i, incoming[i]),
                None => self.incoming_blocks[i].as_mut()[..incoming[i]].as_mut_ptr(),
            };
            // SAFETY: blocks, on a device too, stay in place, and are borrowed by no one, until `poll` says that the phase is complete;
            // on an error the process ends.
            let request = unsafe { self.irecv(to, incoming[i], lane.peer, tag(&lane))? };
            self.requests.push(request);
        }
        self.sends.shuffle(&mut self.shuffler);
        for place in 0..self.sends.len() {
            let i = self.sends[place];
            let lane = self.outgoing[i];
            let from = match self.device.as_ref().filter(|_| self.on_device) {
                Some(lanes) => lanes.outgoing.at(i, outgoing[i]).cast_const(),
                None => self.outgoing_blocks[i].as_ref()[..outgoing[i]].as_ptr(),
            };
            // SAFETY: as above.
            let request = unsafe { self.isend(from, outgoing[i], lane.peer, tag(&lane))? };
            self.requests.push(request);
        }
        if self.window.is_none()
            && let Some(words) = &mut self.words
        {
            words.begin();
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        if !self.begun {
            return Ok(true);
        }
        // Open MPI yields where it finds nothing, if it knows that there are more ranks than cores. Some messages move on only when it is
        // asked, so it is now and then.
        let unsent = self.window.is_none() && self.words.as_ref().is_some_and(|words| !words.is_complete());
        if unsent && !std::mem::take(&mut self.overdue) && core_is_wanted(Instant::now()) {
            return Ok(false);
        }
        let messages = self.requests.is_empty() || {
            let _call = self.watch.call();
            test_all(&mut self.requests, &mut self.statuses)?
        };
        if !messages || self.window.as_ref().is_some_and(|window| !window.is_complete()) {
            return Ok(false);
        }
        self.begun = false;
        if let Some(window) = &self.window {
            self.incoming_blocks.iter_mut().for_each(|block| block.turn(window.phase()));
            self.outgoing_blocks.iter_mut().for_each(|block| block.turn(window.phase().wrapping_add(1)));
        }
        Ok(true)
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        match (&self.window, &self.words) {
            (Some(window), _) if self.requests.is_empty() => backoff.pause_until_woken(|limit| window.sleep(limit)),
            // Messages have to be polled for, since some move on only then; most are there when the last rank of the host has begun.
            (Some(shared), _) | (None, Some(shared)) if !shared.is_complete() => {
                let overdue = &mut self.overdue;
                backoff.pause_unless_woken(|limit| {
                    let before = Instant::now();
                    shared.sleep(limit);
                    *overdue = before.elapsed() >= limit;
                })
            }
            _ => backoff.pause(),
        }
    }

    fn missing(&mut self) -> Vec<Rank> {
        let received = self.receives.iter().map(|i| self.incoming[*i].peer);
        let sent = self.sends.iter().map(|i| self.outgoing[*i].peer);
        let peers: Vec<Rank> = received.chain(sent).collect();
        let _call = self.watch.call();
        let mut missing = open(&mut self.requests, &peers);
        if let Some(window) = &self.window {
            missing.extend(window.missing().map(|peer| self.neighbours[peer]));
        }
        missing
    }

    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        if self.rank == Rank::OWNER {
            let peers: Vec<Rank> = Rank::all(self.ranks).skip(1).collect();
            let mut letters =
                messages[1..].iter().map(|message| memory::copied(message)).collect::<Result<Vec<_>, _>>()?;
            self.letters(&mut letters, &peers, true)?;
            return Ok(messages[0].clone());
        }
        let mut letter = [memory::zeroed(length)?];
        self.letters(&mut letter, &[Rank::OWNER], false)?;
        let [letter] = letter;
        Ok(letter)
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        if self.rank != Rank::OWNER {
            self.letters(&mut [memory::copied(message)?], &[Rank::OWNER], true)?;
            return Ok(Vec::new());
        }
        let mut all = (0..self.ranks).map(|_| memory::zeroed(message.len())).collect::<Result<Vec<_>, _>>()?;
        all[0].copy_from_slice(message);
        let peers: Vec<Rank> = Rank::all(self.ranks).skip(1).collect();
        self.letters(&mut all[1..], &peers, false)?;
        Ok(all)
    }

    fn abort(&mut self, code: i32) {
        abort_everywhere(code);
        leave(code);
    }
}

/// Ends the whole MPI job from wherever it is called, such as a panic hook; what this rank has said before is passed on
/// first. Returns only where MPI is not running.
pub fn abort_everywhere(code: i32) {
    // SAFETY: MPI_Abort may be called whenever MPI is initialized (checked) and not finalized.
    unsafe {
        let (mut initialized, mut finalized) = (0, 0);
        ffi::MPI_Initialized(&mut initialized);
        ffi::MPI_Finalized(&mut finalized);
        if initialized != 0 && finalized == 0 {
            watch::ending(code);
            watch::last_words();
            ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code);
            leave(code);
        }
    }
}

/// Ends this process at once, as it is. A launcher ends the others of a process that has not finalized MPI.
fn leave(code: i32) -> ! {
    // SAFETY: runs nothing of this process any more (POSIX, _exit).
    unsafe { nix::libc::_exit(code) }
}
