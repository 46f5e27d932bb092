//! What leaves in place of cells that are bad or lost.

use std::collections::HashSet;

use rand::rngs::StdRng;

use super::*;
use crate::crypto::aead::Library;
use crate::crypto::sealer::CpuSealer;
use crate::mix::package::{Route, TermSecrets, mixed_routes};
use crate::mix::plan::Plan;
use crate::transport::local::{self, Local};

const RUN: [u8; 32] = [3; 32];
/// The byte with which the blocks are filled before. No cell begins with so many of them.
const BEFORE: u8 = 0x55;

/// A rank with its lanes, each of which has several cells.
fn mixer() -> (Local, Mixer<CpuSealer<Vec<u8>>>) {
    let plan = Plan::draw(3, 3, &[0, 1, 2, 3, 4, 5, 6], &mut StdRng::seed_from_u64(1)).unwrap();
    let geometry = Geometry::new(7, 3, 3000, 256).unwrap();
    let mut transport = local::connect(7).remove(2);
    let routes = mixed_routes(&plan, TermSecrets::draw(7).unwrap(), &RUN, Term(0), |_, _| true);
    let Some(Route::Mixed(route)) = routes.into_iter().nth(2) else { panic!("a plan gives routes through the mix") };
    let sealer = CpuSealer::new(Library::AwsLc, Vec::new());
    let clock = Clock::new(None, false);
    let mixer = Mixer::new(&mut transport, sealer, geometry, route, &RUN, Term(0), clock).unwrap();
    assert!(mixer.geometry.cells > 1);
    transport.blocks().0.iter_mut().for_each(|block| block.fill(BEFORE));
    (transport, mixer)
}

/// Asserts that these bytes could be a cell: no byte comes often, and they are unlike all that were `seen` before. In
/// 300 random bytes one comes 20 times or more once in 10^13 cells.
#[track_caller]
fn looks_like_a_cell(cell: &[u8], seen: &mut HashSet<Vec<u8>>) {
    let most = (0..=u8::MAX).map(|value| cell.iter().filter(|byte| **byte == value).count()).max().unwrap();
    assert!(cell.len() > 150 && most < 20, "one byte comes {most} times in {} bytes", cell.len());
    assert!(seen.insert(cell.to_vec()), "the same twice");
}

#[test]
fn random_bytes_leave_in_place_of_a_bad_cell_and_of_no_other() {
    let mut seen = HashSet::new();
    for phase in [Phase(1), Phase(2)] {
        let (mut transport, mut mixer) = mixer();
        let (cells, next) = (mixer.geometry.cells as usize, Phase(phase.0 + 1));
        let bad = [1, 3 * cells];
        mixer.pass_noise_on(&mut transport, phase, &bad).unwrap();
        let replaced: Vec<(usize, usize)> =
            bad.iter().map(|job| (mixer.onion.passed_on[phase.index() - 1][job / cells], job % cells)).collect();
        let length = mixer.geometry.cell(next);
        for (lane, block) in transport.blocks().0.iter().enumerate() {
            let sent = &block[mixer.geometry.cells_at(next)..mixer.geometry.block(next)];
            for (number, cell) in sent.chunks(length).enumerate() {
                match replaced.contains(&(lane, number)) {
                    true => looks_like_a_cell(cell, &mut seen),
                    false => assert!(cell.iter().all(|byte| *byte == BEFORE), "lane {lane}, cell {number}"),
                }
            }
        }
    }
}

#[test]
fn random_bytes_leave_in_place_of_all_that_a_device_has_lost() {
    let mut seen = HashSet::new();
    for phase in Phase::all(3) {
        let (mut transport, mut mixer) = mixer();
        mixer.lose(&mut transport, phase);
        let (start, length) = (mixer.geometry.cells_at(phase), mixer.geometry.cell(phase));
        for block in transport.blocks().0.iter() {
            block[start..mixer.geometry.block(phase)]
                .chunks(length)
                .for_each(|cell| looks_like_a_cell(cell, &mut seen));
            assert!(block[..start].iter().all(|byte| *byte == BEFORE), "beats are never replaced");
        }
    }
}

/// Nobody can compute the random bytes that stand in place of a cell.
#[test]
fn noise_is_drawn_afresh_by_each_mixer() {
    let lost = || {
        let (mut transport, mut mixer) = mixer();
        mixer.lose(&mut transport, Phase(2));
        transport.blocks().0[0].to_vec()
    };
    assert_ne!(lost(), lost());
}
