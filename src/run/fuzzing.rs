//! What ranks read of each other outside slots, opened for the fuzz targets (tests/fuzz).
//!
//! Each function reads bytes as a run does, takes what it accepts as far into use as a rank would, and returns it
//! written again. `None`: the bytes were refused.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::kept::results::VERSION;
use super::letters::announcement::{Announcement, Introduction};
use super::letters::opening::{LENGTH, Opening, Pacing, Public};
use super::letters::package::handed as read;
use super::letters::result::TermResult;
use super::letters::role::read as stage;
use super::letters::{padded, unpadded};
use super::seat::Seat;
use crate::compute::cpu::Cpu;
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::float::{Float, Precision};
use crate::ids::{Rank, Slot, Term};
use crate::job::op::{Activation, BatchNorm, Conv2d, Dropout, Linear, MaxPool, Reshape, Residual, WindowSpec};
use crate::job::{AesGcm, Backend, Compute, Op, Optimizer, Profile, Shape};
use crate::mix::beat::StageData;
use crate::mix::clock::Pace;
use crate::mix::courier::{Timing, Word};
use crate::mix::geometry::Geometry;
use crate::mix::package::{Package, Route, TermSecrets, direct_routes, mixed_routes};
use crate::mix::plan::Plan;
use crate::nn::StageSpec;
use crate::random::Seed;
use crate::role::stage::StageRole;
use crate::transport::Transport;
use crate::transport::local::connect;

/// The public numbers of a small run of `ranks` ranks.
fn public(profile: Profile, ranks: u16) -> Option<Public> {
    let geometry = Geometry::new(ranks.max(3), 3, 1000, 1 << 16).ok()?;
    Some(Public {
        version: VERSION.to_owned(),
        run: [1; 32],
        profile,
        term: Term(0),
        geometry,
        timeout: 1000,
        windows: true,
        compute: Compute {
            backend: Backend::Cpu,
            precision: Precision::Fp32,
            threads: 1,
            overlap: false,
            aead: AesGcm::Auto,
        },
        pacing: Pacing::Lockstep,
        package: 4096,
        result: 1 << 16,
        state: 1 << 17,
        given: StageData::Nothing,
        digest: [0; 32],
    })
}

/// Reads an opening, which follows its digest, as one of `ranks` ranks does.
pub fn opening(bytes: &[u8], ranks: u16) -> Option<Vec<u8>> {
    let opening: Opening = unpadded(bytes)?;
    if let Opening::Start(public) = &opening
        && public.fits(ranks)
    {
        // A message has at most 1.5 GiB, and at most five times that with tags. It travels in four phases, over fewer
        // than three lanes a circuit.
        let bytes = public.geometry.slot_bytes() + public.geometry.message() as u64;
        assert!(bytes < 90 << 30, "{:?} takes {bytes} bytes", public.geometry);
    }
    padded(&opening, bytes.len()).ok().map(|bytes| bytes.to_vec())
}

/// Reads a rank's announcement as the owner does.
pub fn announcement(bytes: &[u8]) -> Option<Vec<u8>> {
    padded(&unpadded::<Announcement>(bytes)?, bytes.len()).ok().map(|bytes| bytes.to_vec())
}

/// Reads a rank's result as the owner does.
pub fn returned(bytes: &[u8]) -> Option<Vec<u8>> {
    padded(&unpadded::<TermResult>(bytes)?, bytes.len()).ok().map(|bytes| bytes.to_vec())
}

/// Reads a package as `rank`, one of `ranks` ranks, does. It lays the lanes of a package that it accepts, seals a slot
/// with its keys, and builds the stage.
pub fn package(bytes: &[u8], profile: Profile, rank: u16, ranks: u16) -> Option<Vec<u8>> {
    let public = public(profile, ranks)?;
    let package = read(bytes, &public, Rank(rank), ranks)?;
    let written = padded(&package, bytes.len()).ok().map(|bytes| bytes.to_vec());
    let message = public.geometry.message();
    let backend = Cpu::new(1).ok()?;
    if let Some(told) = stage(&package.role, None, &public) {
        let returned = StageRole::new(|| Some(told), message, false).returned(&backend, StageData::State);
        assert!(returned.is_ok(), "a stage is not built");
    }
    let mut end = connect(ranks).swap_remove(usize::from(rank));
    end.set_timeout(Duration::ZERO);
    let mut seat = Seat::new(Arc::new(backend), Library::AwsLc, &public).ok()?;
    let laid = seat.courier(&mut end, &public, package.route, Term(0));
    let mut courier = laid.unwrap_or_else(|error| panic!("lanes are not laid: {error}"));
    // No other rank is there. So the slot ends with an error where it would wait.
    let _ = courier.slot(&mut end, Slot(0), Word::WELL, &mut seat.post, &mut Timing::default());
    written
}

/// What honest ranks say, each with the name of the target that reads it. The fuzzer starts from these.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut samples = Vec::new();
    let mut add = |target, bytes: Result<_, _>| {
        samples.extend(bytes.ok().map(|bytes: Zeroizing<Vec<u8>>| (target, bytes.to_vec())))
    };
    add("opening", padded(&Opening::Refused(3), LENGTH - 32));
    for (profile, ranks) in [(Profile::Mixed, 7), (Profile::Sealed, 2)] {
        if let Some(public) = public(profile, ranks) {
            add("opening", padded(&Opening::Start(public), LENGTH - 32));
        }
    }
    for pace in [None, Some(Pace::Slots(2_000_000)), Some(Pace::Work(300_000))] {
        if let Some(public) = public(Profile::Mixed, 7) {
            let pacing = Pacing::Fixed { pace, rest: 5_000_000 };
            add("opening", padded(&Opening::Start(Public { pacing, ..public }), LENGTH - 32));
        }
    }
    let introduction = Introduction { host: "node-1", fingerprint: "node-1", threads: 300, aead: Library::Ring };
    add("announcement", padded(&Announcement::new(Term(2), &[7; 64], &introduction), 192));
    add("returned", padded(&TermResult { timing: [9; 8], fault: None, key: Key::from_bytes([4; 32]) }, 160));
    for (profile, rank, ranks) in [(Profile::Mixed, 3, 7), (Profile::Mixed, 3, 8), (Profile::Sealed, 1, 2)] {
        for role in [Vec::new(), role()] {
            if let Some(route) = routes(profile, ranks).and_then(|mut routes| routes.drain(rank..).next()) {
                let package = Package {
                    route,
                    role: Zeroizing::new(role),
                    result: Key::from_bytes([3; 32]),
                    owner: vec![8; 32],
                };
                add("package", padded(&package, 2048));
            }
        }
    }
    samples
}

/// A role that uses several kinds of operations, encoded.
fn role() -> Vec<u8> {
    let window = WindowSpec { kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
    let conv = Conv2d { out: 2, window, groups: 1, bias: true };
    let norm = BatchNorm { eps: 1e-5, momentum: 0.1, affine: true };
    let around =
        Residual { ops: vec![Op::Conv2d(conv.clone()), Op::BatchNorm(norm), Op::Activation(Activation::Relu)] };
    let spec = StageSpec {
        ops: vec![
            Op::Reshape(Reshape { shape: Shape::new([1, 4, 4]) }),
            Op::Conv2d(conv),
            Op::Residual(around),
            Op::MaxPool(MaxPool { window: WindowSpec { padding: [0, 0], ..window } }),
            Op::Dropout(Dropout { p: 0.5 }),
            Op::Linear(Linear { input: None, out: 10, bias: true }),
            Op::Activation(Activation::Relu),
        ],
        input: Shape::new([16]),
        output: Shape::new([10]),
        data: None,
        wire: Float::F32,
        micro_batch: 4,
        optimizer: Optimizer::sgd(0.9),
        seed: Seed::from_text("fuzzed"),
        loss: None,
        values: None,
    };
    postcard::to_allocvec(&spec).unwrap_or_default()
}

/// The routes of all `ranks` ranks under `profile`, by rank.
fn routes(profile: Profile, ranks: u16) -> Option<Vec<Route>> {
    if profile != Profile::Mixed {
        return direct_routes(&[Rank(1)], ranks).ok();
    }
    let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
    let plan = Plan::draw(2, 3, &hosts, &mut StdRng::seed_from_u64(1)).ok()?;
    Some(mixed_routes(&plan, TermSecrets::draw(ranks).ok()?, &[1; 32], Term(0), |_, _| true))
}
