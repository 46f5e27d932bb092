//! What is altered on the way, anywhere in a run: the next honest rank finds it, the owner tells where it was noticed, all
//! ranks end with exit code 4, and no model is left (docs/PROTOCOL.md, "When something is bad").
//!
//! Whole runs over a transport that alters one block or one message. MIXNN_FAULTS says how many random ones to try.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wire;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;

use mixnn::ids::{Phase, Rank, Slot};
use mixnn::mix::beat::{Fault, Reason};
use mixnn::mix::courier::Noticed;
use mixnn::random::Seed;
use mixnn::run::RunError;
use mixnn::transport::TransportError;

use wire::{EPOCHS, HOPS, Letter, Place, RANKS, Ran, at, run, run_paced};

/// Random faults to try, each in a run of its own.
fn tries() -> u64 {
    std::env::var("MIXNN_FAULTS").map_or(50, |tries| tries.parse().expect("MIXNN_FAULTS is a number"))
}

fn shown<T>(result: &Result<T, RunError>) -> String {
    result.as_ref().err().map_or_else(|| "no error".to_owned(), ToString::to_string)
}

fn flip(byte: usize) -> impl Fn(&mut [u8]) + Send + Sync {
    move |bytes| {
        let byte = byte.min(bytes.len() - 1);
        bytes[byte] ^= 1 << (byte % 8);
    }
}

/// The owner alone tells where it was noticed, and no rank has a model or goes on.
fn is_told(ran: &Ran, place: Place) {
    let Place::Block { slot, phase, from, to, .. } = place else { panic!("{place:?} is no block") };
    let reason = Reason::Authentication;
    let fault = Fault { slot: Slot(slot), phase: Phase(phase), peer: Rank(from), reason };
    assert_eq!(ran.altered, 1, "{place:?}");
    match &ran.led {
        Err(error @ RunError::Fault { noticed, .. }) => {
            assert_eq!((*noticed, error.exit_code()), (Noticed { fault, by: Rank(to) }, 4), "{place:?}");
            let words = format!("slot {slot}, phase {phase}: a block from rank {from} to rank {to}");
            assert!(error.to_string().contains(&words), "{error}");
        }
        other => panic!("{place:?}: the owner has {}", shown(other)),
    }
    assert!(!ran.kept, "{place:?}: a model was kept");
}

/// All others hear the owner's word, and none of them ends the run itself: to whoever looks on, all have ended alike.
fn all_stop_alike(ran: &Ran, place: Place) {
    let phases: BTreeSet<u64> = ran.phases.iter().copied().collect();
    assert_eq!(phases.len(), 1, "{place:?}: ranks have begun {:?} phases", ran.phases);
    for (served, rank) in ran.served.iter().zip(1..) {
        let quiet = matches!(served, Err(RunError::Stopped { code: 4 }));
        assert!(quiet, "{place:?}: rank {rank} has {}", shown(served));
    }
}

/// Both of the above.
fn is_found(place: Place, change: impl Fn(&mut [u8]) + Send + Sync + 'static) {
    let ran = run(at(place, change));
    is_told(&ran, place);
    all_stop_alike(&ran, place);
}

/// The control: the same run, untouched, and what is altered where no one looks.
#[test]
fn a_run_over_this_wire_ends_well() {
    let ran = run(|_, _| false);
    let (outcome, _) = ran.led.expect("nothing was altered");
    assert_eq!((outcome.epochs.len(), ran.epochs), (EPOCHS as usize, EPOCHS as usize));
    assert!(ran.served.iter().all(Result::is_ok));
    for epoch in 0..EPOCHS {
        let lead = ran.slots[epoch as usize] - wire::slots(epoch);
        assert!(lead <= u64::from(RANKS), "{lead} empty slots begin epoch {epoch}");
    }
    // Another run sends other bytes, and computes the same.
    let (again, _) = run(|_, _| false).led.unwrap();
    assert_eq!(outcome.weights_sha256, again.weights_sha256);
}

/// How many empty slots begin an epoch is drawn afresh, from 0 to as many as there are ranks. Of 24 draws all are among the same
/// two numbers once in 10^12 times.
#[test]
fn a_random_number_of_empty_slots_begins_an_epoch() {
    let mut leads = BTreeSet::new();
    for _ in 0..12 {
        let ran = run(|_, _| false);
        leads.extend((0..EPOCHS).map(|epoch| ran.slots[epoch as usize] - wire::slots(epoch)));
    }
    assert!(leads.len() > 2 && leads.iter().all(|lead| *lead <= u64::from(RANKS)), "{leads:?}");
}

#[test]
fn an_altered_block_is_found_in_its_phase() {
    for phase in 1..=HOPS {
        // The beat, its tag, the first cell, the last byte.
        for byte in [0, 31, 32, usize::MAX] {
            is_found(Place::Block { epoch: 0, slot: 7, phase, from: 3, to: 5 }, flip(byte));
        }
    }
}

#[test]
fn the_owners_blocks_are_no_exception() {
    for (from, to) in [(0, 4), (4, 0)] {
        for phase in 1..=HOPS {
            is_found(Place::Block { epoch: 1, slot: 3, phase, from, to }, flip(5));
        }
    }
}

/// Bytes that were authentic elsewhere: in another slot, phase, epoch, direction, on another lane, in another run.
#[test]
fn authentic_bytes_from_elsewhere_are_found() {
    let (epoch, slot, from, to) = (1, 9, 2, 4);
    for phase in 1..=HOPS {
        let place = Place::Block { epoch, slot, phase, from, to };
        let other_phase = phase % HOPS + 1;
        let others = [
            Place::Block { epoch, slot: slot - 1, phase, from, to },
            Place::Block { epoch, slot: slot - 1, phase: other_phase, from, to },
            Place::Block { epoch: epoch - 1, slot, phase, from, to },
            Place::Block { epoch, slot: slot - 1, phase, from: to, to: from },
            Place::Block { epoch, slot: slot - 1, phase, from, to: 5 },
            Place::Block { epoch, slot: slot - 1, phase, from: 3, to },
        ];
        for other in others {
            let recorded = Mutex::new(Vec::new());
            let ran = run(move |found, bytes| {
                if *found == other {
                    *recorded.lock().unwrap() = bytes.to_vec();
                }
                let here = *found == place;
                if here {
                    let recorded = recorded.lock().unwrap();
                    let length = recorded.len().min(bytes.len());
                    assert!(length > 0, "nothing was recorded");
                    bytes[..length].copy_from_slice(&recorded[..length]);
                }
                here
            });
            is_told(&ran, place);
            all_stop_alike(&ran, place);
        }
    }
}

/// The same lane, slot and phase of another run: the run's id is in every key.
#[test]
fn a_block_of_another_run_is_found() {
    static RECORDED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let place = Place::Block { epoch: 0, slot: 5, phase: 2, from: 1, to: 2 };
    run(at(place, |bytes| *RECORDED.lock().unwrap() = bytes.to_vec()));
    is_found(place, |bytes| bytes.copy_from_slice(&RECORDED.lock().unwrap()));
}

/// Two blocks of one phase, each in the other's place: the two who get them notice, and the owner names one of them.
#[test]
fn blocks_that_change_places_are_found() {
    for phase in 1..=HOPS {
        let to = [3, 4];
        let held: Mutex<Option<Vec<u8>>> = Mutex::new(None);
        let ran = run(move |found, bytes| {
            let place = |to| Place::Block { epoch: 0, slot: 4, phase, from: 1, to };
            if *found == place(to[0]) {
                *held.lock().unwrap() = Some(bytes.to_vec());
            } else if *found == place(to[1]) {
                bytes.copy_from_slice(&held.lock().unwrap().take().unwrap());
                return true;
            }
            false
        });
        is_told(&ran, Place::Block { epoch: 0, slot: 4, phase, from: 1, to: to[1] });
    }
}

/// In an epoch's last slots no beat is left to tell: results do.
#[test]
fn a_fault_in_the_last_slots_is_told_with_the_results() {
    for epoch in 0..EPOCHS {
        let mut seen = BTreeSet::new();
        for round in 0.. {
            assert!(round < 500, "only faults {seen:?} slots before the end of epoch {epoch}");
            let slot = wire::slots(epoch) - 1 + round % u64::from(RANKS + 1);
            let place = Place::Block { epoch, slot, phase: 3, from: 2, to: 4 };
            let ran = run(at(place, flip(9)));
            if ran.altered == 0 {
                assert!(ran.led.is_ok(), "the epoch was over: {}", shown(&ran.led));
                continue;
            }
            is_told(&ran, place);
            for (served, rank) in ran.served.iter().zip(1..) {
                let stopped = matches!(served, Err(RunError::Stopped { code: 4 }));
                assert!(stopped, "rank {rank} ends otherwise than those who have noticed it: {}", shown(served));
            }
            seen.insert(ran.slots[epoch as usize] - 1 - slot);
            if seen.contains(&0) && seen.contains(&1) {
                break;
            }
        }
    }
}

/// What goes outside slots: whoever finds it ends the run itself.
fn ends_the_run(kind: Letter, epoch: u32, rank: u16, byte: usize) {
    let place = Place::Letter { kind, epoch, rank };
    let ran = run(at(place, flip(byte)));
    assert_eq!(ran.altered, 1, "{place:?}");
    let finder = matches!(kind, Letter::Opening | Letter::Package | Letter::Verdict).then_some(rank);
    let errors = std::iter::once(ran.led.as_ref().err()).chain(ran.served.iter().map(|served| served.as_ref().err()));
    for (error, rank) in errors.zip(0..) {
        let Some(error) = error else { panic!("{place:?}, byte {byte}: rank {rank} ends well") };
        assert_eq!(error.exit_code(), 4, "{place:?}, byte {byte}: rank {rank}: {error}");
        let aborted = matches!(error, RunError::Transport(TransportError::Aborted { .. }));
        if finder.is_some_and(|finder| finder == rank) {
            assert!(!aborted, "{place:?}: rank {rank} has not found it");
        }
    }
    assert!(!ran.kept);
}

#[test]
fn every_letter_is_bound_to_what_it_is_for() {
    for byte in [0, 31, 32, 40, 80, 110, 255] {
        ends_the_run(Letter::Opening, 0, 3, byte);
    }
    for epoch in 0..EPOCHS {
        for byte in [0, 9, 600, 1400, usize::MAX] {
            ends_the_run(Letter::Announcement, epoch, 2, byte);
        }
        for kind in [Letter::Package, Letter::Result] {
            for byte in [0, 1119, 1120, usize::MAX] {
                ends_the_run(kind, epoch, 5, byte);
            }
        }
        // Of a stage and of a relay, which is as the plan has it.
        for rank in 1..RANKS {
            ends_the_run(Letter::Values, epoch, rank, [0, usize::MAX][usize::from(rank) % 2]);
        }
    }
    ends_the_run(Letter::Verdict, 0, 5, 3);
}

/// The last letter of all: who finds it altered has nothing more to give, and takes the model from nobody.
#[test]
fn an_altered_last_word_costs_nobody_the_model() {
    let ran = run(at(Place::Letter { kind: Letter::Verdict, epoch: EPOCHS - 1, rank: 5 }, flip(3)));
    assert!(ran.altered == 1 && ran.led.is_ok(), "{}", shown(&ran.led));
    for (served, rank) in ran.served.iter().zip(1..) {
        match rank {
            5 => assert!(served.as_ref().is_err_and(|error| error.is_orderly() && error.exit_code() == 4)),
            _ => assert!(served.is_ok(), "rank {rank} has {}", shown(served)),
        }
    }
}

/// An authentic letter of another epoch, rank or run in place of what was due.
#[test]
fn authentic_letters_from_elsewhere_are_refused() {
    let letter = |kind, epoch, rank| Place::Letter { kind, epoch, rank };
    for kind in [Letter::Announcement, Letter::Package, Letter::Result, Letter::Values, Letter::Verdict] {
        let place = letter(kind, u32::from(kind != Letter::Verdict), 4);
        for other in [letter(kind, 0, 4), letter(kind, 1, 3), letter(kind, 0, 3)] {
            if other == place {
                continue;
            }
            let recorded: Mutex<HashMap<Place, Vec<u8>>> = Mutex::default();
            let ran = run(move |found, bytes| {
                let mut recorded = recorded.lock().unwrap();
                recorded.insert(*found, bytes.to_vec());
                // Results and announcements of one epoch are written at the same time: the other may come later.
                let Some(other) = recorded.get(&other).filter(|_| *found == place) else { return false };
                bytes.copy_from_slice(other);
                true
            });
            if ran.altered == 0 {
                continue;
            }
            let code = ran.led.as_ref().err().map(RunError::exit_code);
            assert_eq!(code, Some(4), "{other:?} for {place:?}: {}", shown(&ran.led));
        }
    }
}

/// Where roles work beside the slots, a fault is found and told alike.
#[test]
fn a_pace_changes_nothing_about_faults() {
    let (reference, _) = run(|_, _| false).led.unwrap();
    let (outcome, _) = run_paced(|_, _| false).led.unwrap();
    assert_eq!(outcome.weights_sha256, reference.weights_sha256);
    assert!(outcome.slot_seconds.is_some() && reference.slot_seconds.is_none());
    for (epoch, slot) in [(0, 0), (0, 9), (1, 30)] {
        for phase in 1..=HOPS {
            for (from, to) in [(3, 5), (0, 2), (2, 0)] {
                let place = Place::Block { epoch, slot, phase, from, to };
                let ran = run_paced(at(place, flip(40)));
                is_told(&ran, place);
                all_stop_alike(&ran, place);
            }
        }
    }
}

/// Any bit of any block, anywhere in a run.
#[test]
fn random_faults_are_found() {
    let seed = u64::from(std::process::id());
    let mut stream = Seed::from_text(&format!("faults {seed}")).stream();
    let mut below = |n: u64| u64::from(stream.next_u32()) % n;
    for round in 0..tries() {
        let epoch = below(u64::from(EPOCHS)) as u32;
        let from = below(u64::from(RANKS)) as u16;
        let to = (from + 1 + below(u64::from(RANKS) - 1) as u16) % RANKS;
        let (slot, phase) = (below(wire::slots(epoch)), below(u64::from(HOPS)) as u8 + 1);
        let place = Place::Block { epoch, slot, phase, from, to };
        let (byte, bit) = (below(1 << 20) as usize, below(8));
        let ran = run(at(place, move |bytes| {
            let byte = byte % bytes.len();
            bytes[byte] ^= 1 << bit;
        }));
        is_told(&ran, place);
        assert!(round < tries(), "seed {seed}");
    }
}
