//! Ranks that hold a package and do not keep to the protocol (docs/THREATS.md): each ends as an honest rank's fault does,
//! and no one in public sees who has noticed it; and what secrets leave behind in memory.
#![cfg(feature = "hostile")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod secrets;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mixnn::crypto::aead::Library;
use mixnn::crypto::overheard;
use mixnn::ids::{Phase, Rank, Slot, Term};
use mixnn::mix::beat::Reason;
use mixnn::mix::package::{MixedRoute, Package, Route};
use mixnn::mix::{BACKWARD, FORWARD};
use mixnn::run::serve::Insight;
use mixnn::run::trust::Credentials;
use mixnn::run::{RunError, serve};
use mixnn::transport::Member;

use secrets::{Kind, Ledger, Secret};
use wire::{EPOCHS, HOPS, Letter, Place, RANKS, Ran, Wire, prepared, run_job, run_with};

fn mixed(package: &mut Package) -> &mut MixedRoute {
    match &mut package.route {
        Route::Mixed(route) => route,
        Route::Direct(_) => panic!("the job is mixed"),
    }
}

/// A run in which rank `hostile` alters its packages.
fn with(hostile: u16, alter: impl Fn(Term, &mut Package) + Sync) -> Ran {
    run_with(
        |_, _| false,
        |end: &mut Wire, host| match end.rank() == Rank(hostile) {
            true => serve::run_altered(end, host, &Credentials::default(), &mut |term, package| alter(term, package)),
            false => serve::run(end, host, &Credentials::default()),
        },
    )
}

/// Another key than `layer` of this rank's circuits for `message`.
fn spoil(package: &mut Package, message: usize, layer: usize) {
    let route = mixed(package);
    for circuit in route.circuits.iter_mut().filter(|circuit| usize::from(circuit.message) == message) {
        circuit.layers[layer] = mixnn::crypto::key::Key::from_bytes([7; 32]);
    }
}

/// The owner tells, everybody ends in the same phase with the same code, and no one ends the run by itself; but for a rank that
/// is `deaf` to the owner.
fn ends_alike(ran: &Ran, deaf: Option<u16>, what: &str) {
    let Err(error @ RunError::Fault { noticed, .. }) = &ran.led else {
        panic!("{what}: {:?}", ran.led.as_ref().err().map(ToString::to_string))
    };
    assert_eq!((error.exit_code(), noticed.fault.reason), (4, Reason::Authentication), "{what}");
    let others = |rank: &usize| Some(*rank) != deaf.map(usize::from);
    let phases: BTreeSet<u64> = (0..ran.phases.len()).filter(others).map(|rank| ran.phases[rank]).collect();
    assert_eq!(phases.len(), 1, "{what}: ranks have begun {:?} phases", ran.phases);
    for (served, rank) in ran.served.iter().zip(1..).filter(|(_, rank)| others(rank)) {
        assert!(matches!(served, Err(RunError::Stopped { code: 4 })), "{what}: rank {rank}: {served:?}");
    }
    assert!(!ran.kept && ran.epochs == 0, "{what}: something is left of the run");
}

/// Whoever seals a bad layer wants to see who stumbles over it: the relays of its circuits, or the one who follows it.
#[test]
fn a_bad_layer_does_not_show_who_succeeds_whom() {
    for hostile in 1..RANKS {
        for message in [FORWARD, BACKWARD] {
            for layer in 0..usize::from(HOPS) {
                let ran = with(hostile, |_, package| spoil(package, message, layer));
                ends_alike(&ran, None, &format!("rank {hostile}, message {message}, layer {layer}"));
                let Err(RunError::Fault { noticed, .. }) = &ran.led else { unreachable!() };
                assert_eq!(noticed.fault.phase, Phase(layer as u8 + 1));
            }
        }
    }
}

/// A relay that passes on what is not its own to the lanes of others: the next ranks hold no key for it.
#[test]
fn a_relay_that_swaps_lanes_is_noticed_by_the_next() {
    for phase in 1..HOPS {
        let ran = with(3, |_, package| mixed(package).next[usize::from(phase) - 1].swap(0, 1));
        ends_alike(&ran, None, &format!("lanes swapped in phase {phase}"));
        let Err(RunError::Fault { noticed, .. }) = &ran.led else { unreachable!() };
        assert_eq!((noticed.fault.phase, noticed.fault.peer), (Phase(phase + 1), Rank(3)));
    }
}

/// A rank that opens with other keys than it has got finds fault with everyone, and is believed no more than anyone else.
#[test]
fn a_rank_that_invents_faults_ends_the_run_and_nothing_else() {
    let ran = with(2, |_, package| mixed(package).secret = mixnn::crypto::key::Key::from_bytes([9; 32]));
    ends_alike(&ran, Some(2), "a made-up secret");
}

/// A result sealed under another key than the rank's own.
#[test]
fn a_result_in_another_ranks_name_is_refused() {
    let ran = with(4, |_, package| package.result = mixnn::crypto::key::Key::from_bytes([1; 32]));
    let error = ran.led.as_ref().err().unwrap();
    assert!(matches!(error.cause(), RunError::Sealed { from: Rank(4), .. }) && error.exit_code() == 4, "{error}");
    for (served, rank) in ran.served.iter().zip(1..) {
        assert!(served.as_ref().is_err_and(|error| error.exit_code() == 4), "rank {rank}: {served:?}");
    }
}

/// A rank that panics ends the run for all.
#[test]
fn a_rank_that_panics_ends_the_run() {
    let ran = with(2, |term, _| assert!(term == Term(0), "a bug, on purpose"));
    let codes: BTreeSet<i32> = ran.served.iter().map(|served| served.as_ref().unwrap_err().exit_code()).collect();
    assert_eq!((codes, ran.led.err().map(|error| error.exit_code())), (BTreeSet::from([70]), Some(70)));
}

/// The control for all of the above.
#[test]
fn a_hostile_rank_that_does_nothing_changes_nothing() {
    let ran = with(3, |_, _| {});
    assert!(ran.led.is_ok() && ran.served.iter().all(Result::is_ok));
}

/// When memory was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// A rank has opened its package.
    Opened,
    /// Two slots are over: all ranks have opened theirs.
    InSlots,
}

/// A term, and how often each secret so far stood in memory then.
type Seen = (When, Term, Vec<(Secret, usize)>);

/// Looks over the shoulder of one rank; rank 3's searches.
struct Searcher<'a> {
    rank: Rank,
    ledger: &'a Ledger,
    seen: &'a Mutex<Vec<Seen>>,
}

impl Searcher<'_> {
    fn search(&self, when: When, term: Term) {
        if self.rank == Rank(3) {
            let seen = (when, term, self.ledger.counted());
            self.seen.lock().unwrap().push(seen);
        }
    }
}

impl Insight for Searcher<'_> {
    fn package(&mut self, term: Term, package: &mut Package) {
        self.ledger.route(self.rank, term, mixed(package));
        self.search(When::Opened, term);
    }

    fn slot(&mut self, term: Term, slot: Slot, _: [bool; 2]) {
        if slot == Slot(1) {
            self.search(When::InSlots, term);
        }
    }
}

/// A run with a keystream over all links, whose cells `library` seals, whose secrets are in the ledger, and what was seen of them in memory.
fn searched(library: Library) -> (Arc<Ledger>, Vec<Seen>) {
    let (ledger, seen) = (Arc::new(Ledger::default()), Mutex::new(Vec::new()));
    // A thread has one ear. In which term it hears something makes no difference.
    let listen = |rank: Rank, ledger: &Arc<Ledger>| {
        let ledger = Arc::clone(ledger);
        overheard::listen(Box::new(move |drawn| ledger.drawn(rank, Term(0), drawn)));
    };
    listen(Rank::OWNER, &ledger);
    let heard = Arc::clone(&ledger);
    let job = prepared(&["mix.link=all", &format!("compute.aead={}", library.name())]);
    let ran = run_job(
        &job,
        move |place, bytes| {
            match *place {
                Place::Letter { kind: Letter::Opening, .. } => heard.opening(bytes),
                Place::Letter { kind: Letter::Package, epoch: term, rank } => {
                    heard.package(Rank(rank), Term(term), bytes)
                }
                _ => {}
            }
            false
        },
        |end, host| {
            let rank = end.rank();
            listen(rank, &ledger);
            let mut searcher = Searcher { rank, ledger: &ledger, seen: &seen };
            serve::run_watched(end, host, &Credentials::default(), &mut searcher)
        },
    );
    assert!(ran.served.iter().all(Result::is_ok));
    assert_eq!(ran.led.unwrap().0.aead, [library; RANKS as usize]);
    (ledger, seen.into_inner().unwrap())
}

/// Every key that a term's packages hold or give is there while it runs, and gone in the next. KEM keys, and what packages and
/// results were encapsulated with, are gone before the slots of their own term, but for the private half of the owner's pair, which
/// opens all results: that stands in one place.
#[test]
fn secrets_are_gone_with_their_term() {
    for library in Library::ALL {
        gone_with_their_term(library);
    }
}

fn gone_with_their_term(library: Library) {
    let (ledger, seen) = searched(library);
    assert_eq!(seen.len(), 2 * EPOCHS as usize);
    let some = |kind: Kind| ledger.all().iter().filter(|secret| secret.kind == kind).count();
    let (ranks, epochs) = (usize::from(RANKS), EPOCHS as usize);
    let pairs = 1 + (ranks - 1) * epochs;
    assert_eq!((some(Kind::Private), some(Kind::Expanded), some(Kind::Shared)), (pairs, 7 * pairs, pairs - 1));
    // A package and a result for each rank but the owner, in each term.
    assert_eq!(some(Kind::Encapsulation), 2 * 2 * (ranks - 1) * epochs);
    for (when, term, secrets) in &seen {
        for (secret, count) in secrets {
            let words = format!(
                "{library:?}, {when:?} in {term}: {:?} of {}, {}: {count} times",
                secret.kind, secret.rank, secret.term
            );
            let own = secret.rank == Rank(3) && secret.term == *term;
            match secret.kind {
                // The control: what has just come is there, and is found.
                Kind::Secret | Kind::Layer if *when == When::Opened && own => assert!(*count > 0, "{words}"),
                kind if kind.is_of_slots() => assert!(*count == 0 || secret.term == *term, "{words}"),
                Kind::Private if *when == When::InSlots && secret.rank == Rank::OWNER => {
                    assert_eq!(*count, 1, "{words}")
                }
                _ => assert!(*count == 0 || *when == When::Opened, "{words}"),
            }
        }
    }
    for (secret, count) in ledger.counted() {
        assert_eq!(count, 0, "{library:?}, after the run: {:?} of {}, {}", secret.kind, secret.rank, secret.term);
    }
}

/// The control for the above: what is derived there is what ranks derive. Circuits through a rank have its hop keys as their layers,
/// but for those of the owner, whose package nobody sees; links have two ends.
#[test]
fn the_search_derives_what_ranks_derive() {
    let (ledger, _) = searched(Library::ALL[0]);
    let secrets = ledger.all();
    let of = |kind: Kind, term: u32| {
        let these = secrets.iter().filter(move |secret| secret.kind == kind && secret.term == Term(term));
        these.map(|secret| secret.masked).collect::<Vec<_>>()
    };
    let lanes = usize::from(RANKS) - 1;
    for term in 0..EPOCHS {
        let layers: BTreeSet<_> = of(Kind::Layer, term).into_iter().collect();
        let hops = of(Kind::Hop, term);
        assert_eq!(hops.len(), lanes * lanes * usize::from(HOPS));
        let unknown = hops.iter().filter(|hop| !layers.contains(*hop)).count();
        assert_eq!(unknown, lanes * usize::from(HOPS), "{term}: hop keys of other circuits than the owner's");
        let links = of(Kind::Link, term);
        let distinct: BTreeSet<_> = links.iter().collect();
        // Those between two ranks that are not the owner come up at both ends.
        assert_eq!((links.len(), distinct.len()), (2 * lanes * lanes, lanes * (lanes - 1) + 2 * lanes));
    }
}
