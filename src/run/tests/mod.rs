//! Who is who, over the in-memory transport: what a rank, an owner or someone between them may get wrong or fake. Each
//! test has a control: the same run with which nobody interferes, or that nobody guards.

mod ends;
mod fakes;
mod identities;
mod terms;
mod words;

use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::kept::results::{EpochReport, Outcome};
use super::letters::announcement::{self, Announcement, UNSIGNED};
use super::letters::opening::{self, Opening, Public};
use super::letters::peers::{Peers, SIGNED};
use super::letters::{Binding, package, padded, unpadded};
use super::owner::{self, Surroundings};
use super::prepare::Prepared;
use super::trust::{Credentials, Trust};
use super::{RunError, TrustError, Watcher, local as threads, serve};
use crate::crypto::hpke::{self, KeyPair};
use crate::crypto::identity::Identity;
use crate::crypto::stack::WipedStack;
use crate::ids::{Rank, Term};
use crate::job::Job;
use crate::mix::package::Package;
use crate::transport::local::{self, Local};
use crate::transport::{Exchange, Letters, Member, Membership, Transport, TransportError};

const OWNER: usize = 0;
/// The rank that does something wrong, or whose messages someone alters.
const VICTIM: usize = 2;

/// How many messages a rank sends to the owner in a term that does not end the run: the announcement and the result.
const A_TERM: usize = 2;

/// Changes a message on its way. The number counts the messages in one direction, from 0.
type Change = Box<dyn FnMut(usize, Vec<u8>) -> Vec<u8> + Send>;

/// A rank's end of the transport, with someone who alters what the rank tells the owner and what the owner tells it.
/// Messages are counted in each direction: from the owner, number 0 is the opening; to the owner, number 0 is the first
/// announcement.
struct Between {
    end: Local,
    to_owner: (usize, Change),
    from_owner: (usize, Change),
}

impl Between {
    fn changed((number, change): &mut (usize, Change), message: Vec<u8>) -> Vec<u8> {
        *number += 1;
        change(*number - 1, message)
    }
}

impl Member for Between {
    fn membership(&self) -> Membership {
        self.end.membership()
    }

    fn timeout(&self) -> std::time::Duration {
        self.end.timeout()
    }
}

impl Letters for Between {
    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        let message = self.end.scatter(messages, length)?;
        Ok(Self::changed(&mut self.from_owner, message))
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        let message = Self::changed(&mut self.to_owner, message.to_vec());
        self.end.gather(&message)
    }

    fn give(&mut self, first: Rank, messages: Vec<Vec<u8>>) -> Result<(), TransportError> {
        self.end.give(first, messages)
    }

    fn take(&mut self, first: Rank, count: usize, length: usize) -> Result<Vec<Vec<u8>>, TransportError> {
        self.end.take(first, count, length)
    }

    fn abort(&mut self, code: i32) {
        self.end.abort(code);
    }
}

impl Transport for Between {
    fn set_timeout(&mut self, timeout: std::time::Duration) {
        self.end.set_timeout(timeout);
    }

    fn share_memory(&mut self, windows: bool) {
        self.end.share_memory(windows);
    }

    fn lanes(&mut self) -> &mut dyn Exchange {
        self.end.lanes()
    }

    fn letters(&mut self) -> &mut dyn Letters {
        self
    }
}

/// A run of four ranks, each with an identity.
struct Cast {
    identities: Vec<Identity>,
    /// By rank, the line of its identity for trust files. The owner's trust file has those of the ranks, theirs have
    /// the owner's.
    lines: Vec<String>,
    /// By rank, the name of its host.
    hosts: Vec<String>,
    guarded: [bool; 2],
    to_owner: Change,
    from_owner: Change,
    sets: Vec<String>,
}

/// A watcher that keeps all lines that the owner's user would read during a run.
#[derive(Default)]
struct Lines(Vec<String>);

impl Watcher for Lines {
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

impl Cast {
    /// A run in which everybody is who they should be, and nobody stands between.
    fn new() -> Self {
        let identities: Vec<Identity> = (0..4).map(|_| Identity::generate().unwrap()).collect();
        let hosts: Vec<String> = (0..4).map(|rank| format!("host-{rank}")).collect();
        Self {
            lines: identities.iter().zip(&hosts).map(|(one, host)| format!("{} {host}", one.public())).collect(),
            identities,
            hosts,
            guarded: [true, true],
            to_owner: Box::new(|_, message| message),
            from_owner: Box::new(|_, message| message),
            sets: ["mix.profile=sealed", "train.epochs=2"].map(str::to_owned).to_vec(),
        }
    }

    /// Takes the trust files away, so that everybody is accepted.
    fn unguarded(mut self) -> Self {
        self.guarded = [false, false];
        self
    }

    fn telling(mut self, change: impl FnMut(usize, Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        self.to_owner = Box::new(change);
        self
    }

    fn hearing(mut self, change: impl FnMut(usize, Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        self.from_owner = Box::new(change);
        self
    }

    /// Records the opening that the victim hears.
    fn heard(self) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let opening = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&opening);
        let cast = self.hearing(move |number, message| {
            if number == 0 {
                heard.lock().unwrap().clone_from(&message);
            }
            message
        });
        (cast, opening)
    }

    /// Trains the digits on four ranks. Returns what the run came to on the owner, and on the victim.
    fn run(self) -> (Result<Outcome, RunError>, Result<(), RunError>) {
        self.watched(&mut ())
    }

    /// Does what `run` does, and shows the owner's notes to `watcher`.
    fn watched(self, watcher: &mut dyn Watcher) -> (Result<Outcome, RunError>, Result<(), RunError>) {
        let job = Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &self.sets).unwrap();
        let prepared = Prepared::of(job).unwrap();
        let trust = |lines: &[String]| Trust::parse(Path::new("trusted"), &lines.join("\n")).unwrap();
        let ranks = self.guarded[0].then(|| trust(&self.lines[1..]));
        let mut credentials: Vec<Credentials> = Vec::new();
        for (rank, identity) in self.identities.into_iter().enumerate() {
            // Of the ranks the victim alone has a trust file, so that it is the one that tells: who refuses first ends
            // the run of all.
            let trust = (rank == VICTIM && self.guarded[1]).then(|| trust(&self.lines[..1]));
            credentials.push(Credentials { identity: Some(identity), trust });
        }
        credentials[OWNER].trust = ranks;
        play(&prepared, &self.hosts, &credentials, self.to_owner, self.from_owner, watcher)
    }
}

/// Runs `prepared` with all ranks as threads of this process.
fn play(
    prepared: &Prepared,
    hosts: &[String],
    credentials: &[Credentials],
    to_owner: Change,
    from_owner: Change,
    watcher: &mut dyn Watcher,
) -> (Result<Outcome, RunError>, Result<(), RunError>) {
    let mut ends = local::connect(hosts.len() as u16);
    let mut own = ends.remove(OWNER);
    let mut between = Some((to_owner, from_owner));
    std::thread::scope(|scope| {
        let mut victim = None;
        for (rank, end) in (1..).zip(ends) {
            let honest = || -> (Change, Change) { (Box::new(|_, m| m), Box::new(|_, m| m)) };
            let (to_owner, from_owner) = if rank == VICTIM { between.take().unwrap() } else { honest() };
            let mut end = Between { end, to_owner: (0, to_owner), from_owner: (0, from_owner) };
            let thread = scope.spawn(move || {
                let served = serve::run(&mut end, &hosts[rank], &credentials[rank]);
                if let Err(error) = &served {
                    end.letters().abort(error.exit_code());
                }
                served
            });
            if rank == VICTIM {
                victim = Some(thread);
            }
        }
        let surroundings =
            Surroundings { host: &hosts[OWNER], carrier: "local", strict: false, credentials: &credentials[OWNER] };
        let led = owner::run(&mut own, prepared, &surroundings, watcher);
        if let Err(error) = &led {
            own.abort(error.exit_code());
        }
        (led.map(|(outcome, _)| outcome), victim.unwrap().join().unwrap())
    })
}

/// Asserts that the owner refuses, with these words and exit code 4.
#[track_caller]
fn owner_refuses(cast: Cast, words: &[&str]) {
    refuses(cast.run().0.map(|_| ()), words);
}

/// Asserts that the victim refuses, with these words and exit code 4.
#[track_caller]
fn rank_refuses(cast: Cast, words: &[&str]) {
    refuses(cast.run().1, words);
}

#[track_caller]
fn refuses(outcome: Result<(), RunError>, words: &[&str]) {
    let error = outcome.unwrap_err();
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
    assert_eq!(error.exit_code(), 4, "{error}");
}

#[track_caller]
fn runs(cast: Cast) -> String {
    let (led, served) = cast.run();
    served.unwrap();
    led.unwrap().weights_sha256
}

/// A copy of an identity, for someone else who has got hold of it.
fn twin(identity: &Identity) -> Identity {
    Identity::from_secret(&identity.secret()).unwrap()
}

/// The credentials of someone who shows `identity` and accepts everybody.
fn showing(identity: Identity) -> Credentials {
    Credentials { identity: Some(identity), trust: None }
}

/// The public numbers in the bytes of an opening.
fn public(opening: &[u8]) -> Public {
    match opening::read(opening) {
        Some(Opening::Start(public)) => public,
        _ => panic!("no opening"),
    }
}

/// The binding of a letter whose sender has heard these bytes as the opening. The run's id is left zero: signatures
/// name the opening instead.
fn bound(opening: &[u8], term: Term, rank: Rank, ranks: u16) -> Binding<'static> {
    let digest: [u8; 32] = Sha256::digest(opening).into();
    Binding { run: &[0; 32], opening: Box::leak(Box::new(digest)), term, rank, ranks }
}

/// Takes identity and signature off a message, so that it shows none.
fn unsigned(mut signed: Vec<u8>) -> Vec<u8> {
    let behind = signed.len() - SIGNED;
    signed[behind..].fill(0);
    signed
}

/// Takes an announcement apart, changes it, and puts it together again. Its signature stays as it was.
fn announced(signed: &[u8], change: impl FnOnce(&mut Announcement)) -> Vec<u8> {
    let (message, signature) = signed.split_at(UNSIGNED);
    let mut announcement: Announcement = unpadded(message).unwrap();
    change(&mut announcement);
    [&padded(&announcement, UNSIGNED).unwrap(), signature].concat()
}

/// All ranks are told a role of one length before a term begins, so that it takes as long to read with a stage as
/// without.
#[test]
fn all_ranks_are_told_as_much() {
    struct Roles<'a>(&'a Mutex<Vec<(u32, usize, bool)>>);

    impl serve::Insight for Roles<'_> {
        fn package(&mut self, term: Term, package: &mut Package) {
            let told = package.role.iter().any(|byte| *byte != 0);
            self.0.lock().unwrap().push((term.0, package.role.len(), told));
        }
    }

    let job = include_str!("../../../jobs/digits.toml");
    let job = Job::parse("digits.toml", job, &["train.epochs=2".to_owned()]).unwrap();
    let prepared = Prepared::of(job).unwrap().short(64, 16);
    let heard = Mutex::new(Vec::new());
    let serve =
        |end: &mut Local, host: &str| serve::run_watched(end, host, &Credentials::default(), &mut Roles(&heard));
    let (led, _) = threads::run_served_by(local::connect(7), &prepared, "host", &mut (), serve);
    led.unwrap();
    let heard = heard.into_inner().unwrap();
    let of = |wanted: u32| heard.iter().filter(move |(term, ..)| *term == wanted);
    let length = of(0).next().unwrap().1;
    assert!(length > 0 && of(0).count() == 6 && of(0).all(|(_, found, _)| *found == length));
    assert_eq!(of(0).filter(|(.., told)| *told).count(), 3);
    assert!(of(1).count() == 6 && of(1).all(|(_, found, _)| *found == 0));
}
