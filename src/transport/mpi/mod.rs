//! Ranks as MPI processes. One thread makes all MPI calls (MPI_THREAD_FUNNELED).
//!
//! Only non-blocking point-to-point calls are used, and polled: a rank that waits inside MPI would take the core from
//! the one that it waits for. The blocks are the transport's own and stay where they are, so that MPI may read and
//! write them until a phase is complete.
//!
//! Ranks of one host exchange their blocks through shared memory ([`shared`](super::shared)). They send messages
//! instead if they are told to, or if the blocks of one of them stand in a device's memory. MPI is given such memory if
//! it [says](super::aware) that it takes it. Ranks of one host that send messages also tell each other so in a little
//! memory that they share, if they can have some: that wakes a rank that sleeps.
//!
//! Some calls of MPI wait for a peer without a deadline. If one does not return, [`watch`] ends the process.
#![allow(unsafe_code)]

mod host;
mod lanes;
mod requests;
mod watch;
mod window;
mod world;

use std::time::{Duration, Instant};

use mpi::ffi;

use self::host::Host;
use self::lanes::Lanes;
use self::watch::Watch;
use self::world::World;
use super::hosts::Hosts;
use super::{
    Backoff, Block, Cores, Exchange, Lane, Letters, Member, Membership, Transport, TransportError, Whole, aware,
    core_is_wanted,
};
use crate::device_memory::DeviceLanes;
use crate::ids::{Phase, Rank};
use crate::threads::Starved;

/// Settings of Open MPI's shared-memory transport. Each is made unless the user has made it.
///
/// Blocks of up to 32 KiB are copied through shared memory without asking first: with 7 ranks on 2 cores and blocks of
/// 6 KB a slot then takes three quarters of the time. And they are copied at once, not described in place. So a block
/// is sent when the call returns, and not only when its receiver has looked and its sender has looked again. Beside
/// four busy processes that takes three quarters of the time, too.
const SETTINGS: [(&str, &str); 6] = [
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("OMPI_MCA_btl_vader_eager_limit", "32768"),
    ("OMPI_MCA_btl_vader_flags", "send"),
    ("OMPI_MCA_btl_sm_single_copy_mechanism", "none"),
    ("OMPI_MCA_btl_sm_eager_limit", "32768"),
    ("OMPI_MCA_btl_sm_flags", "send"),
];

/// This process's end of an MPI job.
pub struct Mpi {
    // Fields are dropped in their order: first blocks, then what a host's ranks share, then MPI.
    lanes: Lanes,
    host: Host,
    world: World,
    /// The device's memory that messages carry in place of the blocks, if lanes stand there. It outlives MPI, which has
    /// things of its own on the device and gives them back when it ends.
    device: Option<DeviceLanes>,
    /// The hosts of all ranks.
    hosts: Hosts,
    /// This rank's part of its host's cores.
    cores: Cores,
    /// Which of the ranks on its host this one is, counted from 0.
    rank_on_host: u16,
    /// Whether ranks of one host are to exchange blocks in a window, that is, through shared memory.
    windows: bool,
    /// Whether MPI takes a device's memory.
    aware: bool,
    /// Whether the last sleep ran out before all ranks of this host had sent their messages. Then MPI is asked once in
    /// any case.
    overdue: bool,
}

impl Drop for Mpi {
    fn drop(&mut self) {
        let call = self.world.call();
        match self.world.ends_mpi() {
            // From here on MPI ends, where it waits for all ranks. The watch takes that for one call, until it is dropped
            // behind MPI.
            true => std::mem::forget(call),
            // To free a window, MPI waits for those that share it.
            false => self.host.free_windows(),
        }
    }
}

/// Why this process has no place in an MPI job.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `MPI_Init_thread` has been called before, or has failed.
    #[error("MPI cannot be initialized twice in one process")]
    Initialized,
    /// There are more processes than a rank's number can count.
    #[error("{0} MPI processes are more than this program numbers (65,535)")]
    TooMany(i32),
    /// There is no thread to watch over calls of MPI.
    #[error(transparent)]
    Thread(#[from] Starved),
    /// The ranks of this host could not tell each other which cores they may use.
    #[error("the ranks of this host do not tell each other which cores they may use: {0}")]
    Cores(TransportError),
}

/// The name and version of the MPI library in its own words, on one line.
pub fn library() -> String {
    let version = mpi::environment::library_version().unwrap_or_else(|_| "unknown".to_owned());
    let line: Vec<&str> = version.trim_end_matches('\0').split_whitespace().take(3).collect();
    line.join(" ").trim_end_matches(',').to_owned()
}

impl Mpi {
    /// Initializes MPI in the process that will be `rank`, as far as that is known. Waits for other ranks for
    /// `patience` at most, until the [time-out](Transport::set_timeout) is set. If MPI itself waits for them a little
    /// longer than that, this process ends.
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
        Self::over(World::start(watch, patience)?).map_err(StartError::Cores)
    }

    /// This process's end of the job of `world`. All its ranks call this at once.
    ///
    /// # Errors
    /// [`TransportError`] where the ranks of this host do not tell each other which cores they may use.
    fn over(mut world: World) -> Result<Self, TransportError> {
        let hosts = world.hosts();
        let host = Host::new(&world);
        // Which cores the others may use is not known yet. Until it is, all are taken to have this rank's in common.
        world.spins = Cores::of_threads(host.len() as u16).each_has(1);
        let cores = host.compare_cores(&world)?;
        world.spins = cores.each_has(1);
        let rank_on_host = rank_on_host(world.rank, world.ranks, host.place());
        Ok(Self {
            lanes: Lanes::new(),
            host,
            rank_on_host,
            world,
            device: None,
            hosts,
            cores,
            windows: false,
            // Some libraries know only now what they have found.
            aware: aware::takes_device_memory() == Some(true),
            overdue: false,
        })
    }

    /// The name of this host, or nothing if MPI does not tell.
    pub fn host(&self) -> String {
        mpi::environment::processor_name().unwrap_or_default()
    }

    /// The hosts on which all ranks run.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }
}

impl Member for Mpi {
    fn membership(&self) -> Membership {
        let (rank, ranks) = (self.world.rank, self.world.ranks);
        let one_host = self.host.len() == usize::from(ranks);
        Membership { rank, ranks, cores: self.cores, rank_on_host: self.rank_on_host, one_host }
    }

    fn timeout(&self) -> Duration {
        self.world.timeout
    }
}

impl Exchange for Mpi {
    fn takes_device_memory(&self) -> bool {
        self.aware
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        let Self { lanes, host, world, .. } = self;
        lanes.on_device = device.is_some();
        // The memory of a device that has failed is kept, too: MPI may have things of its own on that device.
        self.device = device.or(self.device.take());
        let windows = self.windows && host.len() > 1 && host.agree_to_share(world, lanes.on_device)?;
        lanes.lay(outgoing, incoming, |peer| windows && host.has(peer))?;
        match windows {
            true => {
                host.lay_window(world, (outgoing, &mut lanes.outgoing_blocks), (incoming, &mut lanes.incoming_blocks))
            }
            false => host.lay_words(world),
        }
    }

    fn lanes_on_device(&self) -> bool {
        self.lanes.on_device
    }

    fn leave_device(&mut self) {
        assert!(!self.lanes.are_busy(), "blocks change their place between phases");
        self.lanes.on_device = false;
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        (&mut self.lanes.outgoing_blocks, &self.lanes.incoming_blocks)
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        if let Some(window) = &mut self.host.window {
            window.begin();
        }
        self.lanes.begin(&self.world, self.device.as_ref(), phase, outgoing, incoming)?;
        if self.host.window.is_none()
            && let Some(words) = &mut self.host.words
        {
            words.begin();
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        let Self { lanes, host, world, .. } = self;
        if !lanes.are_busy() {
            return Ok(true);
        }
        // Open MPI yields if it finds nothing and knows that there are more ranks than cores. So where someone else
        // wants the core, it is not asked while a rank of this host is known not to have sent. Some messages move on
        // only when it is asked, so it is asked now and then all the same.
        let unsent = host.window.is_none() && host.words.as_ref().is_some_and(|words| !words.is_complete());
        if unsent && !std::mem::take(&mut self.overdue) && core_is_wanted(Instant::now()) {
            return Ok(false);
        }
        // Open MPI moves messages on after a look and not before it: what the first look brings, the second finds. So
        // it is asked twice if all messages are known to be there. Otherwise the second look could find nothing, and
        // yield.
        let all_sent = !unsent && host.words.is_some() && host.len() == usize::from(world.ranks);
        let messages = lanes.poll(world)? || all_sent && lanes.poll(world)?;
        if !messages || host.window.as_ref().is_some_and(|window| !window.is_complete()) {
            return Ok(false);
        }
        lanes.end(host.window.as_ref().map(|window| window.phase()));
        Ok(true)
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        match (&self.host.window, &self.host.words) {
            (Some(window), _) if self.lanes.are_without_messages() => {
                backoff.pause_until_woken(|limit| window.sleep(limit))
            }
            // Messages have to be polled for, since some move on only then. Most are there when the last rank of this
            // host has begun the phase.
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
        let mut missing = self.lanes.missing(&self.world);
        missing.extend(self.host.missing());
        missing
    }
}

impl Letters for Mpi {
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        self.world.scatter(messages, length)
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        self.world.gather(message)
    }

    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        self.world.give(first, messages)
    }

    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        self.world.take(first, count, length)
    }

    fn abort(&mut self, code: i32) {
        abort_everywhere(code);
        leave(code);
    }
}

impl Transport for Mpi {
    fn set_timeout(&mut self, timeout: Duration) {
        self.world.set_timeout(timeout);
    }

    fn share_memory(&mut self, windows: bool) {
        self.windows = windows;
        // What ranks shared in an earlier run, as of a bench, may be too short for the lanes of this one. No block is to stand in it any more.
        if self.host.window.is_some() && self.lanes.lay(&[], &[], |_| false).is_ok() {
            let call = self.world.call();
            self.host.window = None;
            drop(call);
        }
    }

    fn lanes(&mut self) -> &mut dyn Exchange {
        self
    }

    fn letters(&mut self) -> &mut dyn Letters {
        self
    }
}

impl Whole for Mpi {
    fn first(&self, ranks: u16) -> Result<Option<Box<dyn Transport>>, TransportError> {
        let Some(world) = self.world.first(ranks) else { return Ok(None) };
        Ok(Some(Box::new(Self::over(world)?)))
    }
}

/// Which of the ranks on its host `rank` is, counted from 0. `place` is the answer if Slurm has none: how many of the
/// ranks that share memory with it have a lower number.
fn rank_on_host(rank: Rank, ranks: u16, place: u16) -> u16 {
    // Slurm has its own number, by which it deals out what a host has. If another launcher has started the ranks within
    // a job of Slurm, all of them see the numbers of the job's script. So the number counts only if Slurm has started
    // this rank.
    let said = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let started = said("SLURM_PROCID") == Some(rank.0) && said("SLURM_STEP_NUM_TASKS") == Some(ranks);
    said("SLURM_LOCALID").filter(|_| started).unwrap_or(place)
}

/// Ends the whole MPI job with the exit code `code`. It may be called from any place, such as a panic hook. What this
/// rank has said before is passed on first. Returns only if MPI is not running.
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

/// Ends this process at once, as it is, with the exit code `code`. A launcher ends the others when a process exits that
/// has not finalized MPI.
fn leave(code: i32) -> ! {
    // SAFETY: nothing of this process runs any more after it (POSIX, _exit).
    unsafe { nix::libc::_exit(code) }
}
