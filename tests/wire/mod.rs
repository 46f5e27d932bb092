//! A short job on six ranks, all threads of this process, over a transport that lets a test alter what it carries.
#![allow(dead_code)]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use mixnn::check::Checked;
use mixnn::device_memory::DeviceLanes;
use mixnn::ids::{Phase, Rank};
use mixnn::run::keeper::Keeper;
use mixnn::run::kept::checkpoint::Reached;
use mixnn::run::kept::folder::Folder;
use mixnn::run::kept::lock::Holder;
use mixnn::run::kept::results::{EpochReport, Outcome};
use mixnn::run::prepare::Prepared;
use mixnn::run::trust::Credentials;
use mixnn::run::{Model, RunError, Watcher, local, serve};
use mixnn::transport::local::{Local, connect};
use mixnn::transport::{Backoff, Block, Exchange, Lane, Letters, Member, Membership, Transport, TransportError};

pub(crate) const RANKS: u16 = 6;
pub(crate) const HOPS: u8 = 3;
pub(crate) const EPOCHS: u32 = 2;

/// Two stages, few samples to train on, and more than one cell a lane.
const JOB: &str = r#"
name = "short"
seed = "a seed that is long enough"
[data]
source = "digits"
validation = 0.95
[train]
epochs = 2
batch = 32
micro_batch = 16
optimizer = { kind = "sgd", lr = 0.1 }
[[stage]]
ops = [{ op = "linear", out = 12 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10 }]
[mix]
relays = 3
cell = 320
[transport]
timeout = "20s"
[compute]
threads = 1
"#;

/// The job, made ready once.
pub(crate) static PREPARED: LazyLock<Prepared> = LazyLock::new(|| prepared(&[]));

/// The same at a pace.
pub(crate) static PACED: LazyLock<Prepared> = LazyLock::new(|| prepared(&["mix.pace=1ms"]));

/// The job with these settings.
pub(crate) fn prepared(sets: &[&str]) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    fs::write(&path, JOB).unwrap();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Prepared::load(&path, &sets).unwrap()
}

/// Slots of an epoch, and those for testing.
static SLOTS: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let checked = Checked::of(&PREPARED, Some(RANKS), None).unwrap().json();
    ["slots_per_epoch", "slots_for_testing"].map(|key| checked[key].as_u64().unwrap())
});

/// Slots of `epoch`, without the empty ones that it begins with.
pub(crate) fn slots(epoch: u32) -> u64 {
    if epoch + 1 == EPOCHS { SLOTS[0] + SLOTS[1] } else { SLOTS[0] }
}

/// What travels, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A block in a slot.
    Block { epoch: u32, slot: u64, phase: u8, from: u16, to: u16 },
    /// What goes between the owner and `rank` outside slots.
    Letter { kind: Letter, epoch: u32, rank: u16 },
}

/// What goes outside slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Letter {
    Opening,
    Announcement,
    Package,
    Result,
    Values,
    Verdict,
}

/// May alter what travels; tells whether it has.
pub(crate) type Alter = dyn Fn(&Place, &mut [u8]) -> bool + Send + Sync;

/// One rank's end.
pub(crate) struct Wire {
    inner: Local,
    alter: Arc<Alter>,
    altered: Arc<AtomicUsize>,
    /// By epoch, slots that the owner has begun.
    slots: Arc<Mutex<Vec<u64>>>,
    /// By rank, phases that it has begun in the whole run.
    phases: Arc<Mutex<Vec<u64>>>,
    outgoing: Vec<Lane>,
    /// How often lanes were laid, and phases begun since.
    laid: u32,
    begun: u64,
    /// Letters scattered and gathered so far.
    letters: [u32; 2],
}

impl Wire {
    fn touch(&self, place: Place, bytes: &mut [u8]) {
        if (self.alter)(&place, bytes) {
            self.altered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Member for Wire {
    fn membership(&self) -> Membership {
        self.inner.membership()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }
}

impl Exchange for Wire {
    fn takes_device_memory(&self) -> bool {
        self.inner.takes_device_memory()
    }

    fn lay(
        &mut self,
        outgoing: &[Lane],
        incoming: &[Lane],
        device: Option<DeviceLanes>,
    ) -> Result<(), TransportError> {
        self.outgoing = outgoing.to_vec();
        (self.laid, self.begun) = (self.laid + 1, 0);
        self.inner.lay(outgoing, incoming, device)
    }

    fn lanes_on_device(&self) -> bool {
        self.inner.lanes_on_device()
    }

    fn leave_device(&mut self) {
        self.inner.leave_device();
    }

    fn blocks(&mut self) -> (&mut [Block], &[Block]) {
        self.inner.blocks()
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        let (epoch, slot) = (self.laid - 1, self.begun / u64::from(HOPS));
        self.begun += 1;
        self.phases.lock().unwrap()[self.rank().index()] += 1;
        if self.rank() == Rank::OWNER {
            let mut slots = self.slots.lock().unwrap();
            slots.resize(self.laid as usize, 0);
            slots[epoch as usize] = slot + 1;
        }
        for lane in 0..self.outgoing.len() {
            let (from, to) = (self.rank().0, self.outgoing[lane].peer.0);
            let place = Place::Block { epoch, slot, phase: phase.0, from, to };
            let mut block = std::mem::take(&mut self.inner.blocks().0[lane]);
            self.touch(place, &mut block[..outgoing[lane]]);
            self.inner.blocks().0[lane] = block;
        }
        self.inner.begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        self.inner.poll()
    }

    fn wait(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        self.inner.wait(backoff)
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.inner.missing()
    }
}

impl Letters for Wire {
    /// The opening first, then each epoch's packages and, with its results, the verdict.
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        let number = self.letters[0];
        self.letters[0] += 1;
        let (kind, epoch) = match number {
            0 => (Letter::Opening, 0),
            n if n % 2 == 1 => (Letter::Package, n / 2),
            n => (Letter::Verdict, n / 2 - 1),
        };
        let mut messages = messages.to_vec();
        for (rank, message) in messages.iter_mut().enumerate().skip(1) {
            self.touch(Place::Letter { kind, epoch, rank: rank as u16 }, message);
        }
        self.inner.scatter(&messages, length)
    }

    /// In each epoch the announcements, the results, and the values behind them, which are one piece each.
    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        let number = self.letters[1];
        self.letters[1] += 1;
        let kind = [Letter::Announcement, Letter::Result, Letter::Values][number as usize % 3];
        let mut message = message.to_vec();
        if self.rank() != Rank::OWNER {
            self.touch(Place::Letter { kind, epoch: number / 3, rank: self.rank().0 }, &mut message);
        }
        self.inner.gather(&message)
    }

    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        self.inner.give(first, messages)
    }

    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        self.inner.take(first, count, length)
    }

    fn abort(&mut self, code: i32) {
        self.inner.abort(code);
    }
}

impl Transport for Wire {
    fn set_timeout(&mut self, timeout: Duration) {
        self.inner.set_timeout(timeout);
    }

    fn share_memory(&mut self, windows: bool) {
        self.inner.share_memory(windows);
    }

    fn lanes(&mut self) -> &mut dyn Exchange {
        self
    }

    fn letters(&mut self) -> &mut dyn Letters {
        self
    }
}

/// What a run came to.
pub(crate) struct Ran {
    pub led: Result<(Outcome, Option<Model>), RunError>,
    /// By rank, from 1.
    pub served: Vec<Result<(), RunError>>,
    /// How often something was altered.
    pub altered: usize,
    /// By epoch.
    pub slots: Vec<u64>,
    /// By rank, phases that it has begun: all that anyone sees of how it ended.
    pub phases: Vec<u64>,
    /// Epochs that the owner took for good.
    pub epochs: usize,
    /// Whether a model was kept of a run that failed.
    pub kept: bool,
}

/// Follows a run, which keeps its states in a folder.
struct Follower {
    epochs: usize,
    kept: bool,
    keeper: Keeper,
}

impl Watcher for Follower {
    fn note(&mut self, _: &str) {}

    fn progress(&mut self, _: u32, _: usize, _: usize) {}

    fn keeper(&mut self) -> Option<&mut Keeper> {
        Some(&mut self.keeper)
    }

    fn keep(&mut self, _: Reached, _: Model) -> Result<(), RunError> {
        self.kept = true;
        Ok(())
    }

    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        self.epochs += 1;
        Ok(())
    }
}

/// Runs the job with what `alter` does on the way.
pub(crate) fn run(alter: impl Fn(&Place, &mut [u8]) -> bool + Send + Sync + 'static) -> Ran {
    run_with(alter, |end, host| serve::run(end, host, &Credentials::default()))
}

/// As [`run`], at a pace.
pub(crate) fn run_paced(alter: impl Fn(&Place, &mut [u8]) -> bool + Send + Sync + 'static) -> Ran {
    run_job(&PACED, alter, |end, host| serve::run(end, host, &Credentials::default()))
}

/// Runs the job with what `alter` does on the way, where all ranks but the owner do `serve`.
pub(crate) fn run_with(
    alter: impl Fn(&Place, &mut [u8]) -> bool + Send + Sync + 'static,
    serve: impl Fn(&mut Wire, &str) -> Result<(), RunError> + Sync,
) -> Ran {
    run_job(&PREPARED, alter, serve)
}

/// The same for any `job`.
pub(crate) fn run_job(
    job: &Prepared,
    alter: impl Fn(&Place, &mut [u8]) -> bool + Send + Sync + 'static,
    serve: impl Fn(&mut Wire, &str) -> Result<(), RunError> + Sync,
) -> Ran {
    let alter: Arc<Alter> = Arc::new(alter);
    let (altered, slots) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let phases: Arc<Mutex<Vec<u64>>> = Arc::new(Mutex::new(vec![0; RANKS.into()]));
    let ends = connect(RANKS).into_iter().map(|inner| Wire {
        inner,
        alter: Arc::clone(&alter),
        altered: Arc::clone(&altered),
        slots: Arc::clone(&slots),
        phases: Arc::clone(&phases),
        outgoing: Vec::new(),
        laid: 0,
        begun: 0,
        letters: [0; 2],
    });
    let within = tempfile::tempdir().unwrap();
    let folder = Folder::create(Some(&within.path().join("run")), "run", &Holder::here("host", None)).unwrap();
    let keeper = Keeper::new(&folder, job, || None, None).unwrap();
    let mut follower = Follower { epochs: 0, kept: false, keeper };
    let (led, served) = local::run_served_by(ends.collect(), job, "host", &mut follower, serve);
    let (slots, phases) = (slots.lock().unwrap().clone(), phases.lock().unwrap().clone());
    let Follower { epochs, kept, .. } = follower;
    Ran { led, served, altered: altered.load(Ordering::Relaxed), slots, phases, epochs, kept }
}

/// Alters one place with `change`.
pub(crate) fn at(
    place: Place,
    change: impl Fn(&mut [u8]) + Send + Sync + 'static,
) -> impl Fn(&Place, &mut [u8]) -> bool {
    move |found, bytes| {
        let here = *found == place;
        if here {
            change(bytes);
        }
        here
    }
}
