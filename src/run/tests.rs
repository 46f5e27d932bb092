//! Who is who, over the in-memory transport: what a rank, an owner or someone between them may get wrong or fake, each with
//! the same run that nobody interferes with, or that nobody guards.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::opening::{ANNOUNCEMENT, Announcement, Public, package_info, padded, unpadded};
use super::owner::{self, Place};
use super::peers::{Peers, SIGNED, announcement_context, package_context};
use super::prepare::Prepared;
use super::results::{EpochReport, Outcome};
use super::trust::{Credentials, Trust};
use super::{RunError, TrustError, Watcher, serve};
use crate::crypto::hpke::{self, KeyPair};
use crate::crypto::identity::Identity;
use crate::ids::{Epoch, Phase, Rank};
use crate::job::Job;
use crate::mix::package::Package;
use crate::transport::local::{self, Local};
use crate::transport::{Lane, Transport, TransportError};

const OWNER: usize = 0;
/// The rank that is wrong, or whose messages someone alters.
const VICTIM: usize = 2;

/// What becomes of a message on its way.
type Change = Box<dyn FnMut(usize, Vec<u8>) -> Vec<u8> + Send>;

/// A rank's end of the transport, with someone who alters what it tells the owner and what the owner tells it. The number is
/// that of the message: 0 is the opening among those from the owner, and the first announcement among those to it.
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

impl Transport for Between {
    type Block = Vec<u8>;

    fn rank(&self) -> Rank {
        self.end.rank()
    }

    fn ranks(&self) -> u16 {
        self.end.ranks()
    }

    fn ranks_on_host(&self) -> u16 {
        self.end.ranks_on_host()
    }

    fn timeout(&self) -> std::time::Duration {
        self.end.timeout()
    }

    fn set_timeout(&mut self, timeout: std::time::Duration) {
        self.end.set_timeout(timeout);
    }

    fn lay(&mut self, outgoing: &[Lane], incoming: &[Lane]) -> Result<(), TransportError> {
        self.end.lay(outgoing, incoming)
    }

    fn blocks(&mut self) -> (&mut [Vec<u8>], &[Vec<u8>]) {
        self.end.blocks()
    }

    fn begin(&mut self, phase: Phase, outgoing: &[usize], incoming: &[usize]) -> Result<(), TransportError> {
        self.end.begin(phase, outgoing, incoming)
    }

    fn poll(&mut self) -> Result<bool, TransportError> {
        self.end.poll()
    }

    fn missing(&mut self) -> Vec<Rank> {
        self.end.missing()
    }

    fn scatter(&mut self, messages: &[Vec<u8>], length: usize) -> Result<Vec<u8>, TransportError> {
        let message = self.end.scatter(messages, length)?;
        Ok(Self::changed(&mut self.from_owner, message))
    }

    fn gather(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, TransportError> {
        let message = Self::changed(&mut self.to_owner, message.to_vec());
        self.end.gather(&message)
    }

    fn abort(&mut self, code: i32) {
        self.end.abort(code);
    }

    fn spins(&self) -> bool {
        self.end.spins()
    }
}

/// A run of four ranks.
struct Cast {
    identities: Vec<Identity>,
    /// The line of each rank in the trust file of the owner; the owner's own line is in those of the ranks.
    lines: Vec<String>,
    /// Where the ranks run.
    hosts: Vec<String>,
    guarded: [bool; 2],
    to_owner: Change,
    from_owner: Change,
    sets: Vec<String>,
}

struct Quiet;

impl Watcher for Quiet {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

impl Cast {
    /// Where everybody is who they should be, and nobody stands between.
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

    /// The same without trust files.
    fn unguarded(mut self) -> Self {
        self.guarded = [false, false];
        self
    }

    fn to_owner(mut self, change: impl FnMut(usize, Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        self.to_owner = Box::new(change);
        self
    }

    fn from_owner(mut self, change: impl FnMut(usize, Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        self.from_owner = Box::new(change);
        self
    }

    /// The digits on four ranks: what the owner came to, and what the victim did.
    fn run(self) -> (Result<Outcome, RunError>, Result<(), RunError>) {
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &self.sets).unwrap();
        let prepared = Prepared::of(job).unwrap();
        let trust = |lines: &[String]| Trust::parse(Path::new("trusted"), &lines.join("\n")).unwrap();
        let ranks = self.guarded[0].then(|| trust(&self.lines[1..]));
        let mut credentials: Vec<Credentials> = Vec::new();
        for (rank, identity) in self.identities.into_iter().enumerate() {
            let owners = self.guarded[1].then(|| trust(&self.lines[..1]));
            credentials
                .push(Credentials { identity: Some(identity), trust: if rank == OWNER { None } else { owners } });
        }
        credentials[OWNER].trust = ranks;
        play(&prepared, &self.hosts, &credentials, self.to_owner, self.from_owner)
    }
}

/// Runs `prepared` with all ranks as threads.
fn play(
    prepared: &Prepared,
    hosts: &[String],
    credentials: &[Credentials],
    to_owner: Change,
    from_owner: Change,
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
                    end.abort(error.exit_code());
                }
                served
            });
            if rank == VICTIM {
                victim = Some(thread);
            }
        }
        let place = Place { host: &hosts[OWNER], carrier: "local", strict: false, credentials: &credentials[OWNER] };
        let led = owner::run(&mut own, prepared, &place, &mut Quiet);
        if let Err(error) = &led {
            own.abort(error.exit_code());
        }
        (led.map(|(outcome, _)| outcome), victim.unwrap().join().unwrap())
    })
}

/// Asserts that the owner refuses, with these words and code 4.
#[track_caller]
fn owner_refuses(cast: Cast, words: &[&str]) {
    refuses(cast.run().0.map(|_| ()), words);
}

/// Asserts that the victim refuses, with these words and code 4.
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

/// An announcement, taken apart and put together again; its signature stays as it was.
fn announced(signed: &[u8], change: impl FnOnce(&mut Announcement)) -> Vec<u8> {
    let (message, signature) = signed.split_at(ANNOUNCEMENT);
    let mut announcement: Announcement = unpadded(message).unwrap();
    change(&mut announcement);
    [&padded(&announcement, ANNOUNCEMENT).unwrap(), signature].concat()
}

#[test]
fn trust_on_both_sides_changes_no_bit() {
    let reference = runs(Cast::new().unguarded());
    assert_eq!(runs(Cast::new()), reference);
    for guarded in [[true, false], [false, true]] {
        assert_eq!(runs(Cast { guarded, ..Cast::new() }), reference, "{guarded:?}");
    }
}

#[test]
fn a_rank_that_no_line_names_is_refused() {
    let stranger = || {
        let mut cast = Cast::new();
        cast.identities[VICTIM] = Identity::generate().unwrap();
        cast
    };
    let shown = stranger();
    let key = shown.identities[VICTIM].public().to_string();
    owner_refuses(shown, &["rank 2 shows the identity", &key, "trusted does not list"]);
    runs(stranger().unguarded());
}

#[test]
fn a_rank_that_shows_no_identity_is_refused() {
    let silent = || {
        Cast::new().to_owner(|_, mut message| {
            let signed = message.len() - SIGNED;
            if message.len() == ANNOUNCEMENT + SIGNED {
                message[signed..].fill(0);
            }
            message
        })
    };
    owner_refuses(silent(), &["the key announcement from rank 2 is not signed", "mixnn keygen"]);
    runs(silent().unguarded());
}

#[test]
fn a_rank_on_a_host_that_is_not_its_own_is_refused() {
    let moved = || {
        let mut cast = Cast::new();
        cast.hosts[VICTIM] = "elsewhere".to_owned();
        cast
    };
    owner_refuses(moved(), &["rank 2 runs on host elsewhere with the identity of host host-2"]);
    runs(moved().unguarded());
}

#[test]
fn an_owner_that_no_line_names_is_refused() {
    let other = || {
        let mut cast = Cast::new();
        cast.identities[OWNER] = Identity::generate().unwrap();
        cast
    };
    rank_refuses(other(), &["rank 0 shows the identity", "trusted does not list"]);
    runs(other().unguarded());
}

#[test]
fn a_package_without_the_owners_signature_is_refused() {
    let altered = |change: fn(&mut [u8])| {
        Cast::new().from_owner(move |number, mut message| {
            if number == 1 {
                let behind = message.len() - SIGNED;
                change(&mut message[behind..]);
            }
            message
        })
    };
    rank_refuses(altered(|signature| signature.fill(0)), &["the package from rank 0 is not signed"]);
    for place in [32, 63, 64, 95] {
        let flipped: fn(&mut [u8]) = match place {
            32 => |signature| signature[32] ^= 1,
            63 => |signature| signature[63] ^= 0x80,
            64 => |signature| signature[64] ^= 1,
            _ => |signature| signature[95] ^= 1,
        };
        rank_refuses(altered(flipped), &["the package from rank 0 is not what", "(host host-0) signed for this run"]);
    }
    runs(altered(|signature| signature.fill(0)).unguarded());
    // A package that is not what was signed.
    let spliced = Cast::new().from_owner(|number, mut message| {
        if number == 1 {
            message[2000] ^= 1;
        }
        message
    });
    rank_refuses(spliced, &["the package from rank 0 is not what"]);
}

/// What the victim's identity signed for something else than this run, epoch, rank and number of ranks.
#[test]
fn an_announcement_that_was_signed_for_something_else_is_refused() {
    type Signed = fn(&mut Vec<u8>, &mut Epoch, &mut Rank, &mut u16);
    let elsewhere = |signed: Signed| {
        let mut cast = Cast::new();
        let identity = Identity::from_secret(&cast.identities[VICTIM].secret()).unwrap();
        let credentials = Credentials { identity: Some(identity), trust: None };
        let opening = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&opening);
        cast = cast.from_owner(move |number, message| {
            if number == 0 {
                *heard.lock().unwrap() = message.clone();
            }
            message
        });
        cast.to_owner(move |number, message| {
            if number > 0 {
                return message;
            }
            let mut opening = opening.lock().unwrap().clone();
            let (mut epoch, mut rank, mut ranks) = (Epoch(0), Rank(VICTIM as u16), 4);
            signed(&mut opening, &mut epoch, &mut rank, &mut ranks);
            let context = announcement_context(&opening, epoch, rank, ranks);
            Peers::new(&credentials).sign(&context, message[..ANNOUNCEMENT].to_vec())
        })
    };
    let cases: [Signed; 5] = [
        |opening, _, _, _| opening[20] ^= 1,
        |opening, _, _, _| opening[255] ^= 1,
        |_, epoch, _, _| epoch.0 = 1,
        |_, _, rank, _| rank.0 = 3,
        |_, _, _, ranks| *ranks = 5,
    ];
    for case in cases {
        owner_refuses(elsewhere(case), &["the key announcement from rank 2 is not what", "(host host-2) signed"]);
    }
    // The control: signed so for here and now it is taken; and where nobody asks, all of them are.
    runs(elsewhere(|_, _, _, _| {}));
    runs(elsewhere(cases[0]).unguarded());
}

/// What was signed for an earlier epoch of the same run, or for an earlier run of the same ranks.
#[test]
fn an_announcement_that_was_recorded_is_refused() {
    let mut first = Vec::new();
    owner_refuses(
        Cast::new().to_owner(move |number, message| match number {
            0 => {
                first.clone_from(&message);
                message
            }
            // With the number of this epoch, so that only the signature can tell.
            _ => announced(&first, |announcement| announcement.epoch = Epoch(1)),
        }),
        &["the key announcement from rank 2 is not what"],
    );
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let (tape, identities) = (Arc::clone(&recorded), Cast::new());
    let again: Vec<Identity> =
        identities.identities.iter().map(|one| Identity::from_secret(&one.secret()).unwrap()).collect();
    let lines = identities.lines.clone();
    runs(identities.to_owner(move |number, message| {
        if number == 0 {
            *tape.lock().unwrap() = message.clone();
        }
        message
    }));
    let replayed = Cast { identities: again, lines, ..Cast::new() };
    let replayed = replayed.to_owner(move |_, _| recorded.lock().unwrap().clone());
    owner_refuses(replayed, &["the key announcement from rank 2 is not what"]);
}

/// Someone between a rank and the owner who puts its own key into the announcement, opens the package, and seals it again for
/// the rank. Returns the run, and what was read of it.
fn in_the_middle() -> (Cast, Arc<Mutex<Option<Package>>>) {
    let own = KeyPair::generate();
    let theirs = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::new(Mutex::new(None));
    let (key, shown, opened) = (Arc::clone(&theirs), own.public().to_vec(), Arc::clone(&read));
    let mut opening = None;
    let cast = Cast::new()
        .to_owner(move |number, message| match number {
            0 => announced(&message, |announcement| {
                *key.lock().unwrap() = std::mem::replace(&mut announcement.key, shown.clone());
            }),
            _ => message,
        })
        .from_owner(move |number, message| {
            if number == 0 {
                let Some(super::opening::Opening::Start(public)) = unpadded(&message) else { panic!("no opening") };
                opening = Some(public);
            }
            let Some(Public { run, geometry, .. }) = opening.as_ref().filter(|_| number == 1) else {
                return message;
            };
            let info = package_info(run, Epoch(0), Rank(VICTIM as u16), geometry.ranks);
            let (sealed, signature) = message.split_at(message.len() - SIGNED);
            let plain = own.open(&info, None, sealed).unwrap();
            *opened.lock().unwrap() = unpadded(&plain);
            let again = hpke::seal(&theirs.lock().unwrap(), &info, None, &plain).unwrap();
            [&again, signature].concat()
        });
    (cast, read)
}

#[test]
fn nobody_gets_between_owner_and_rank() {
    let (cast, read) = in_the_middle();
    owner_refuses(cast, &["the key announcement from rank 2 is not what", "(host host-2) signed"]);
    assert!(read.lock().unwrap().is_none());
    // Where only the rank is careful, the owner falls for it, and the rank notices.
    let (mut cast, _) = in_the_middle();
    cast.guarded = [false, true];
    rank_refuses(cast, &["the package from rank 0 is not what"]);
    // The control: where nobody is, the package is read and nobody notices.
    let (cast, read) = in_the_middle();
    runs(cast.unguarded());
    assert!(read.lock().unwrap().is_some());
}

/// Of the owner's numbers none can be changed: a rank signs what it has heard, and the owner what it has said.
#[test]
fn an_altered_opening_is_refused() {
    let lowered = || {
        Cast::new().from_owner(|number, message| {
            if number > 0 {
                return message;
            }
            let Some(super::opening::Opening::Start(mut public)) = unpadded(&message) else { panic!("no opening") };
            public.timeout += 1;
            public.opening().unwrap().to_vec()
        })
    };
    owner_refuses(lowered(), &["the key announcement from rank 2 is not what"]);
    rank_refuses(Cast { guarded: [false, true], ..lowered() }, &["the package from rank 0 is not what"]);
    runs(lowered().unguarded());
}

#[test]
fn a_rank_stays_who_it_is() {
    let replaced = || {
        // Rank 3 has an identity that the owner accepts; from the second epoch on rank 2 shows that one.
        let mut cast = Cast::new();
        let identity = Identity::from_secret(&cast.identities[3].secret()).unwrap();
        let credentials = Credentials { identity: Some(identity), trust: None };
        cast.lines[3] = cast.lines[3].replace("host-3", "host-2");
        cast.hosts[3] = "host-2".to_owned();
        let opening = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&opening);
        cast.from_owner(move |number, message| {
            if number == 0 {
                *heard.lock().unwrap() = message.clone();
            }
            message
        })
        .to_owner(move |number, message| {
            if number != 1 {
                return message;
            }
            let context = announcement_context(&opening.lock().unwrap(), Epoch(1), Rank(VICTIM as u16), 4);
            Peers::new(&credentials).sign(&context, message[..ANNOUNCEMENT].to_vec())
        })
    };
    owner_refuses(replaced(), &["rank 2 shows the identity", "a run's ranks stay who they are"]);
    runs(replaced().unguarded());
}

/// Whether there are trust files or not.
#[test]
fn a_downgraded_suite_or_version_is_refused() {
    type Lower = fn(&mut Announcement);
    let lowered = |lower: Lower| Cast::new().unguarded().to_owner(move |_, message| announced(&message, lower));
    let suites: [Lower; 3] = [
        |announcement| announcement.suite[0] = 0x0020,
        |announcement| announcement.suite[1] = 0x0002,
        |announcement| announcement.suite[2] = 0x0001,
    ];
    for (lower, found) in
        suites.into_iter().zip(["0x0020, 0x0001, 0x0002", "0x647a, 0x0002, 0x0002", "0x647a, 0x0001, 0x0001"])
    {
        owner_refuses(lowered(lower), &["rank 2 announces the suite", found, "expected 0x647a, 0x0001, 0x0002"]);
    }
    owner_refuses(lowered(|announcement| announcement.version = "0.0.1".to_owned()), &["rank 2 runs mixnn 0.0.1"]);
    // Signed, too, by a rank that the owner accepts.
    let mut cast = Cast::new();
    cast.guarded = [true, false];
    let lowered = cast.to_owner(|_, message| announced(&message, |announcement| announcement.suite[0] = 0x0020));
    owner_refuses(lowered, &["the key announcement from rank 2 is not what"]);
}

/// Whether there are trust files or not.
#[test]
fn a_weak_key_is_refused() {
    let weakened = |weaken: fn(&mut Vec<u8>)| {
        Cast::new().unguarded().to_owner(move |number, message| match number {
            0 => announced(&message, |announcement| weaken(&mut announcement.key)),
            _ => message,
        })
    };
    let words = ["the key that rank 2 announces is refused"];
    owner_refuses(weakened(|key| key[1184..].fill(0)), &[words[0], "X25519 half is a point of low order"]);
    owner_refuses(weakened(|key| key[..1152].fill(0)), &[words[0], "ML-KEM half is zero"]);
    owner_refuses(weakened(|key| key[..3].fill(0xff)), &[words[0], "FIPS 203"]);
    owner_refuses(weakened(Vec::clear), &[words[0], "it has 0 bytes, 1216 were due"]);
    runs(weakened(|_| {}));
}

#[test]
fn domains_follow_identities() {
    let identities: Vec<Identity> = (0..3).map(|_| Identity::generate().unwrap()).collect();
    let lines: Vec<String> = identities.iter().map(|one| format!("{} host", one.public())).collect();
    let own = Identity::from_secret(&identities[0].secret()).unwrap();
    let trust = Trust::parse(Path::new("trusted"), &lines.join("\n")).unwrap();
    let guarded = Credentials { identity: Some(own), trust: Some(trust) };
    let mut peers = Peers::new(&guarded);
    // Rank 1 has the owner's identity, ranks 2 and 3 share one, rank 4 has another.
    for (rank, which) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let identity = Identity::from_secret(&identities[which].secret()).unwrap();
        let shown = Credentials { identity: Some(identity), trust: None };
        let signed = Peers::new(&shown).sign(b"context", b"message".to_vec());
        assert_eq!(signed.len(), 7 + SIGNED);
        let message = peers.recognise("it", Rank(rank), b"context", &signed).unwrap();
        assert_eq!(message, b"message");
    }
    let hosts = ["host"; 5];
    assert_eq!(peers.domains(hosts.into_iter()), [0, 0, 1, 1, 2]);
    // Without a trust file they follow the hosts' names.
    let open = Credentials::default();
    assert_eq!(Peers::new(&open).domains(["a", "b", "a", "c", "b"].into_iter()), [0, 1, 0, 2, 1]);
}

/// One label is no beginning of the other, and every field but the last has a length that is known before.
#[test]
fn what_is_signed_is_unambiguous() {
    let announcement = announcement_context(&[7; 256], Epoch(1), Rank(2), 4);
    let package = package_context(&[7; 256], Epoch(1), Rank(2), 4, &[9; 1216]);
    assert_eq!((announcement.len(), package.len()), (20 + 256 + 4 + 2 + 2, 15 + 256 + 4 + 2 + 2 + 32));
    assert_ne!(announcement[..15], package[..15]);
    assert_ne!(package, package_context(&[7; 256], Epoch(1), Rank(2), 4, &[8; 1216]));
}

#[test]
fn short_messages_are_refused() {
    let identity = Identity::generate().unwrap();
    let trust = Trust::parse(Path::new("trusted"), &format!("{} host", identity.public())).unwrap();
    let guarded = Credentials { identity: None, trust: Some(trust) };
    for length in [0, 1, SIGNED - 1] {
        let message = vec![1; length];
        let found = Peers::new(&guarded).recognise("it", Rank(1), b"", &message);
        assert!(matches!(found, Err(TrustError::Unsigned { .. })), "{length}");
    }
}
