//! What asks a run to end before its time: a signal, a file `STOP` in its folder, `--max-time`; and the clock, where checkpoints are
//! due by it. A thread of its own looks out for these, so that no slow file system holds a slot up.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::role::owner::{Asks, Ending};
use crate::threads::{self, Starved};

/// The name of the file in a run's folder that asks the run to stop. Whoever heeds it removes it.
pub const STOP: &str = "STOP";
/// How often signals and the clock are looked at.
const OFTEN: Duration = Duration::from_millis(50);
/// How often the run's folder is looked at.
const SELDOM: Duration = Duration::from_secs(1);

/// Why a run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A signal came, of this name.
    Signal(&'static str),
    /// A file `STOP` was in the run's folder.
    File,
    /// The time is over that `--max-time` gives.
    Time,
}

impl Why {
    /// Whether it asks again and again where a run is given too little time. A SIGTERM does not: it comes from whoever needs the place.
    pub(super) fn recurs(self) -> bool {
        self != Why::Signal("SIGTERM")
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Signal(name) => write!(f, "on {name}"),
            Why::File => write!(f, "as its folder had a file {STOP}"),
            Why::Time => f.write_str("as --max-time is over"),
        }
    }
}

/// What may ask a run to stop.
pub struct Sources {
    /// The run's folder, in which a file `STOP` may appear.
    pub folder: PathBuf,
    /// Which signal has come so far, if one has.
    pub signal: fn() -> Option<&'static str>,
    /// When the run must be over.
    pub deadline: Option<Instant>,
}

/// What has been asked so far. A thread looks out for more, until this is dropped.
pub struct StopRequests(Arc<Wishes>);

/// What the thread and the run have in common.
struct Wishes {
    /// What asks for the early end of the running term.
    asks: Asks,
    /// Why the run is to stop, once it is.
    why: Mutex<Option<Why>>,
    /// When the next checkpoint is due by the clock.
    due: Mutex<Option<Instant>>,
    /// How long before the deadline the run is to stop.
    margin: Mutex<Duration>,
    /// Whether nobody asks any more.
    over: AtomicBool,
}

/// What stands in `mutex`, whoever has panicked with it: all that is kept in one here is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StopRequests {
    /// Looks out for what `sources` say, on a thread. What they say now is heard at once. The run is to stop `margin` before its
    /// deadline.
    ///
    /// # Errors
    /// [`Starved`].
    pub fn new(sources: Sources, margin: Duration) -> Result<Self, Starved> {
        let shared = Arc::new(Wishes {
            asks: Asks::default(),
            why: Mutex::default(),
            due: Mutex::default(),
            margin: Mutex::new(margin),
            over: AtomicBool::new(false),
        });
        shared.look(&sources, true);
        let watched = Arc::clone(&shared);
        threads::spawn_free("requests", move || watched.look_out(&sources))?;
        Ok(Self(shared))
    }

    /// What asks for the early end of the running term: anything ends where the run is to stop, and training where a checkpoint is due by
    /// the clock.
    pub fn asks(&self) -> Asks {
        self.0.asks.clone()
    }

    /// Why the run is to stop, if it is.
    pub fn why(&self) -> Option<Why> {
        *locked(&self.0.why)
    }

    /// Says that the term has ended. `due` is when the next checkpoint is due by the clock, if ever; `margin` is how long before the
    /// deadline the run is to stop.
    pub fn settled(&self, due: Option<Instant>, margin: Duration) {
        *locked(&self.0.due) = due;
        *locked(&self.0.margin) = margin;
        // Who wants to stop still wants it; and what is due by the clock is looked at again.
        self.0.asks.ask(if self.why().is_some() { Ending::Anything } else { Ending::None });
    }
}

impl Drop for StopRequests {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Wishes {
    /// Looks out until nobody asks any more.
    fn look_out(&self, sources: &Sources) {
        let mut looked = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(OFTEN);
            let also_folder = looked.elapsed() >= SELDOM;
            if also_folder {
                looked = Instant::now();
            }
            self.look(sources, also_folder);
        }
    }

    /// Looks once, `also_folder` into the run's folder, too.
    fn look(&self, sources: &Sources, also_folder: bool) {
        let now = Instant::now();
        let over = |deadline: Instant| now + *locked(&self.margin) >= deadline;
        let why = (sources.signal)()
            .map(Why::Signal)
            .or_else(|| (also_folder && taken(&sources.folder.join(STOP))).then_some(Why::File))
            .or_else(|| sources.deadline.is_some_and(over).then_some(Why::Time));
        if let Some(why) = why {
            locked(&self.why).get_or_insert(why);
        }
        let is_due = locked(&self.due).is_some_and(|due| now >= due);
        if locked(&self.why).is_some() {
            self.asks.ask(Ending::Anything);
        } else if is_due {
            self.asks.ask(Ending::Training);
        }
    }
}

/// Whether a file stands at `path`. If so it is removed: it has been heeded, and a run that goes on must not find it.
fn taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(folder: &Path, signal: fn() -> Option<&'static str>, deadline: Option<Instant>) -> StopRequests {
        StopRequests::new(Sources { folder: folder.to_owned(), signal, deadline }, Duration::ZERO).unwrap()
    }

    /// Waits until `requests` say why to stop.
    fn why(requests: &StopRequests) -> Why {
        for _ in 0..600 {
            if let Some(why) = requests.why().filter(|_| requests.asks().asked() == Ending::Anything) {
                return why;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nobody asks");
    }

    #[test]
    fn who_takes_the_place_does_not_count_as_too_little_time() {
        assert!([Why::Time, Why::File, Why::Signal("SIGUSR1"), Why::Signal("SIGINT")].into_iter().all(Why::recurs));
        assert!(!Why::Signal("SIGTERM").recurs());
    }

    #[test]
    fn each_source_is_heard_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let none = requests(folder.path(), || None, Some(Instant::now() + Duration::from_secs(3600)));
        assert_eq!(why(&requests(folder.path(), || Some("SIGUSR1"), None)), Why::Signal("SIGUSR1"));
        // What is so from the start is heard at once.
        let late = requests(folder.path(), || None, Some(Instant::now()));
        assert_eq!((late.why(), why(&late)), (Some(Why::Time), Why::Time));
        // A term that ends leaves the wish as it is.
        late.settled(None, Duration::ZERO);
        assert_eq!(late.asks().asked(), Ending::Anything);
        assert_eq!((none.why(), none.asks().asked()), (None, Ending::None));
        // An hour's margin before a deadline in an hour.
        none.settled(None, Duration::from_secs(3600));
        assert_eq!(why(&none), Why::Time);
        drop(none);
        fs::write(folder.path().join(STOP), "").unwrap();
        assert_eq!(why(&requests(folder.path(), || None, None)), Why::File);
        assert!(!folder.path().join(STOP).exists());
    }

    #[test]
    fn the_clock_ends_a_term_and_not_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let requests = requests(folder.path(), || None, None);
        requests.settled(Some(Instant::now()), Duration::ZERO);
        let asks = requests.asks();
        while asks.asked() == Ending::None {
            std::thread::sleep(Duration::from_millis(10));
        }
        // An evaluation would begin anew in the next term, and end there again.
        assert!(asks.end(true) && !asks.end(false));
        assert_eq!(requests.why(), None);
        requests.settled(None, Duration::ZERO);
        assert_eq!(asks.asked(), Ending::None);
    }

    /// A file that appears while the run is at work is heard. The first reason stays, whatever comes behind it.
    #[test]
    fn a_file_that_appears_later_is_heard_and_the_first_reason_stays() {
        let folder = tempfile::tempdir().unwrap();
        let requests = requests(folder.path(), || None, Some(Instant::now() + Duration::from_secs(3600)));
        fs::write(folder.path().join(STOP), "").unwrap();
        assert_eq!(why(&requests), Why::File);
        assert!(!folder.path().join(STOP).exists());
        let sources = Sources { folder: folder.path().to_owned(), signal: || Some("SIGTERM"), deadline: None };
        requests.0.look(&sources, false);
        assert_eq!(why(&requests), Why::File);
    }

    /// Once a run is over, no thread looks out for what could stop it, nor takes a file away that is for another run.
    #[test]
    fn nobody_looks_out_for_a_run_that_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let requests = requests(folder.path(), || None, None);
        let watched = Arc::downgrade(&requests.0);
        drop(requests);
        for _ in 0..600 {
            if watched.upgrade().is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the thread goes on");
    }
}
