//! Ranks that hold a package and do not keep to the protocol (DESIGN.md, section 6): each ends as an honest rank's fault does,
//! and no one in public sees who has noticed it; and what secrets leave behind in memory.
#![cfg(feature = "hostile")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use mixnn::ids::{Epoch, Phase, Rank};
use mixnn::mix::beat::Reason;
use mixnn::mix::package::{MixedRoute, Package, Route};
use mixnn::mix::{BACKWARD, FORWARD};
use mixnn::run::trust::Credentials;
use mixnn::run::{RunError, serve};
use mixnn::transport::Transport;

use zeroize::Zeroize;

use wire::{EPOCHS, HOPS, RANKS, Ran, Wire, run_with};

fn mixed(package: &mut Package) -> &mut MixedRoute {
    match &mut package.route {
        Route::Mixed(route) => route,
        Route::Direct(_) => panic!("the job is mixed"),
    }
}

/// A run in which rank `hostile` alters its packages.
fn with(hostile: u16, alter: impl Fn(Epoch, &mut Package) + Sync) -> Ran {
    run_with(
        |_, _| false,
        |end: &mut Wire, host| match end.rank() == Rank(hostile) {
            true => {
                serve::run_altered(end, host, &Credentials::default(), &mut |epoch, package| alter(epoch, package))
            }
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
    let ran = with(2, |epoch, _| assert!(epoch == Epoch(0), "a bug, on purpose"));
    let codes: BTreeSet<i32> = ran.served.iter().map(|served| served.as_ref().unwrap_err().exit_code()).collect();
    assert_eq!((codes, ran.led.err().map(|error| error.exit_code())), (BTreeSet::from([70]), Some(70)));
}

/// The control for all of the above.
#[test]
fn a_hostile_rank_that_does_nothing_changes_nothing() {
    let ran = with(3, |_, _| {});
    assert!(ran.led.is_ok() && ran.served.iter().all(Result::is_ok));
}

/// A secret as this test remembers it: its bytes must not be found in memory because of the test.
struct Masked([u8; 32]);

const MASK: u8 = 0xa5;

impl Masked {
    fn of(bytes: &[u8; 32]) -> Self {
        Self(bytes.map(|byte| byte ^ MASK))
    }

    fn begins_at(&self, memory: &[u8]) -> bool {
        memory.iter().zip(&self.0).all(|(found, masked)| found ^ MASK == *masked)
    }
}

/// Which of `secrets` stand somewhere in this process's writable memory. Reads it piece by piece and wipes each, so as to leave
/// nothing behind that a later search would find.
fn in_memory(secrets: &[Masked]) -> Vec<bool> {
    const PIECE: usize = 1 << 16;
    let mut found = vec![false; secrets.len()];
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut piece = vec![0_u8; PIECE];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.starts_with("rw") || line.contains("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        // Pieces overlap, for what stands across their border.
        for at in (start..end).step_by(PIECE - 31) {
            let length = PIECE.min((end - at) as usize);
            if memory.read_exact_at(&mut piece[..length], at).is_err() {
                break;
            }
            for at in 0..length.saturating_sub(31) {
                for (secret, found) in secrets.iter().zip(&mut found) {
                    *found |= piece[at] ^ MASK == secret.0[0] && secret.begins_at(&piece[at..at + 32]);
                }
            }
            piece.as_mut_slice().zeroize();
        }
    }
    found
}

/// All that a package of an epoch holds or gives: the secret of its hop keys and the keys of its circuits.
#[test]
fn secrets_are_gone_with_their_epoch() {
    static EARLIER: Mutex<Vec<Masked>> = Mutex::new(Vec::new());
    /// An epoch, which of the keys of the one before it are in memory, and which of its own.
    type Seen = (Epoch, Vec<bool>, Vec<bool>);
    static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());
    let ran = with(3, |epoch, package| {
        let route = mixed(package);
        let layers = route.circuits.iter().flat_map(|circuit| &circuit.layers);
        let now: Vec<Masked> =
            std::iter::once(&route.secret).chain(layers).map(|key| Masked::of(key.bytes())).collect();
        let mut earlier = EARLIER.lock().unwrap();
        let seen = (epoch, in_memory(&earlier), in_memory(&now));
        SEEN.lock().unwrap().push(seen);
        *earlier = now;
    });
    assert!(ran.led.is_ok());
    let seen = SEEN.lock().unwrap();
    assert_eq!(seen.len(), EPOCHS as usize);
    for (epoch, earlier, now) in seen.iter() {
        // The control: what is in use is there, and is found.
        assert!(now.iter().all(|found| *found), "{epoch}: the search does not find what is in use: {now:?}");
        assert_eq!(earlier.len(), if epoch.0 == 0 { 0 } else { now.len() });
        assert!(!earlier.contains(&true), "{epoch}: keys of the epoch before are still there: {earlier:?}");
    }
    let last = in_memory(&EARLIER.lock().unwrap());
    assert!(!last.contains(&true), "keys outlive the run: {last:?}");
}
