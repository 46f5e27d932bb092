//! Tests: predictions go the way that each parameter and each length pushes them.

use super::super::{Arithmetic, PerCell, Speeds, StageLoad, choose};
use super::*;
use crate::mix::geometry::Geometry;
use crate::pipeline::Depth;

/// A perceptron of three stages on ranks, as a job has it.
fn workload(ranks: u16, rows: u32, batch: u32, samples: u32) -> Workload {
    let stage = |input: usize, out: usize, first| StageLoad {
        maps: vec![[1, input, out]],
        values: (input + 2 * out) as f64,
        stepped: 3.0 * (input * out) as f64,
        first,
    };
    Workload {
        geometry: Geometry::new(ranks, 3, 64 + 4 * 256 * rows, 1 << 16).unwrap(),
        travel: Travel::Mixed,
        pacing: SlotStart::Lockstep,
        depth: Depth::of(3),
        stages: vec![stage(784, 256, true), stage(256, 128, false), stage(128, 10, false)],
        remote: 0..3,
        rows,
        full: batch / rows,
        training: samples / rows,
        validation: 0,
        terms: 1,
        owned: 794.0,
    }
}

const HERE: OnHosts = OnHosts(1);

/// The sum of what all slots of an epoch take, each looked at by itself.
fn by_hand(workload: &Workload, speeds: &Speeds) -> f64 {
    let mixing = Mixing::of(workload, speeds, HERE);
    let pass = workload.pass(workload.full, workload.training);
    workload.in_slots(speeds, &mixing, &pass, true).total()
}

/// An epoch is many batches alike, and a long batch many slots alike: to reckon with a few of them gives what all of them give.
#[test]
fn an_epoch_is_as_long_as_all_its_slots() {
    for (rows, batch, samples) in [(16, 64, 6400), (16, 16, 1600), (1, 512, 5120), (4, 1024, 8192), (64, 64, 64)] {
        let speeds = Speeds { term: 0.0, ..Speeds::unmeasured() };
        let workload = Workload { terms: 0, ..workload(7, rows, batch, samples) };
        let (all, predicted) = (by_hand(&workload, &speeds), workload.predicted(&speeds, HERE).total());
        assert!((predicted / all - 1.0).abs() < 1e-9, "{rows} of {batch}: {predicted} for {all}");
    }
}

#[test]
fn more_to_do_takes_longer() {
    let (base, speeds) = (workload(7, 16, 64, 6400), Speeds::unmeasured());
    let total = |workload: &Workload, speeds: &Speeds| workload.predicted(speeds, HERE).total();
    let before = total(&base, &speeds);
    assert!(before > 0.0);
    let slower = [
        Speeds { cores: 1.0, ..speeds },
        Speeds { latency: 2.0 * speeds.latency, ..speeds },
        Speeds { turn: 2.0 * speeds.turn, ..speeds },
        Speeds { block: 2.0 * speeds.block, ..speeds },
        Speeds { byte: 2.0 * speeds.byte, ..speeds },
        Speeds { seal: PerCell { call: 2.0 * speeds.seal.call, ..speeds.seal }, ..speeds },
        Speeds { open: PerCell { byte: 2.0 * speeds.open.byte, ..speeds.open }, ..speeds },
        Speeds { one_thread: Arithmetic { operation: 1e-9, ..speeds.one_thread }, ..speeds },
        Speeds { term: 2.0 * speeds.term, ..speeds },
        Speeds { uneven: 1.0, ..speeds },
    ];
    for speeds in slower {
        assert!(total(&base, &speeds) > before, "{speeds:?}");
    }
    for ranks in [8, 12, 64] {
        assert!(total(&workload(ranks, 16, 64, 6400), &speeds) > before);
    }
    assert!(total(&Workload { validation: 40, ..base.clone() }, &speeds) > before);
    assert!(total(&Workload { pacing: SlotStart::Work, ..base.clone() }, &speeds) > before);
    let bare = total(&Workload { travel: Travel::Bare, ..base.clone() }, &speeds);
    let sealed = total(&Workload { travel: Travel::Sealed, ..base.clone() }, &speeds);
    assert!(bare < sealed && sealed < before, "{bare} {sealed} {before}");
    // With a core for each rank, nobody waits for a core.
    let own = Speeds { cores: 7.0, ..speeds };
    assert_eq!(total(&base, &own), total(&base, &Speeds { uneven: 0.0, ..own }));
    // More hosts have more cores.
    assert!(base.predicted(&speeds, OnHosts(4)).total() < before);
    // The parts make up the whole, and none is negative.
    let parts = base.predicted(&speeds, HERE);
    assert!(parts.named().iter().all(|(_, seconds)| *seconds >= -1e-12), "{parts:?}");
}

#[test]
fn a_slot_of_a_fixed_time_takes_that() {
    let base = Workload { terms: 0, ..workload(7, 16, 64, 640) };
    let fixed = Workload { pacing: SlotStart::Every(0.5), ..base };
    let predicted = fixed.predicted(&Speeds::unmeasured(), HERE).total();
    assert!((predicted / (0.5 * fixed.slots() as f64) - 1.0).abs() < 1e-6, "{predicted}");
}

/// Stages that the owner hosts take their time on the owner.
#[test]
fn the_owners_stages_count() {
    let base = workload(7, 16, 64, 6400);
    let of = |remote| Workload { remote, ..base.clone() }.predicted(&Speeds::unmeasured(), HERE).compute;
    for remote in [1..3, 0..2, 1..2] {
        assert!((of(remote) / of(0..3) - 1.0).abs() < 0.3);
    }
}

#[test]
fn the_micro_batch_with_the_least_time_is_chosen() {
    let speeds = Speeds::unmeasured();
    let all = || [1, 2, 4, 8, 16, 32, 64].map(|rows| workload(7, rows, 64, 6400));
    let choice = choose(all(), &speeds).unwrap();
    assert_eq!(choice.among.len(), 7);
    let least = choice.among.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
    assert_eq!((choice.seconds, choice.among.contains(&(choice.micro_batch, least))), (least, true));
    // However it is run, and in whatever order they are tried.
    let mut others = all().map(|workload| Workload { travel: Travel::Bare, pacing: SlotStart::Work, ..workload });
    others.reverse();
    assert_eq!(choose(others, &speeds).unwrap(), choice);
    // Where messages cost nothing, the pipeline is to be full; where slots cost much, there are to be few.
    let free = Speeds { latency: 0.0, turn: 0.0, block: 0.0, byte: 0.0, term: 0.0, ..speeds };
    let dear = Speeds { latency: 1.0, ..speeds };
    let rows = |speeds: &Speeds| choose(all(), speeds).unwrap().micro_batch;
    assert!(rows(&free) <= rows(&dear) && rows(&dear) == 64, "{} and {}", rows(&free), rows(&dear));
    assert_eq!(choose([], &speeds), None);
}
