//! Bits that flip in messages between real MPI ranks, from outside the program (tests/trace/flip.c): the run ends on all ranks
//! with exit code 4, the owner says where it was noticed, and no model is left.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;

use binary::{DIGITS, MIXNN, Ran};

/// A bit that flips: of which block of which rank in which phase, and in which of its bytes.
struct Flip {
    rank: u16,
    phase: u8,
    block: u64,
    byte: i64,
    /// Bytes more that it has, in place of a bit that flips.
    longer: i64,
    /// Shorter blocks are not counted.
    least: usize,
}

/// Trains the digits on seven ranks, every block a message; what the launcher says, and whether a model is there.
fn flipped(flip: &Flip, sets: &[&str]) -> (Ran, bool) {
    let folder = tempfile::tempdir().unwrap();
    let preload = format!("LD_PRELOAD={}", launcher::preloadable("flip", folder.path()).display());
    let Flip { rank, phase, block, byte, longer, least } = flip;
    let settings = [
        ("RANK", rank.to_string()),
        ("PHASE", phase.to_string()),
        ("BLOCK", block.to_string()),
        ("BYTE", byte.to_string()),
        ("LONGER", longer.to_string()),
        ("LEAST", least.to_string()),
    ];
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("FLIP_{name}={value}")).collect();
    let mut args = vec!["-n", "7", "env", &preload];
    args.extend(settings.iter().map(String::as_str));
    args.extend([MIXNN, "run", DIGITS, "--out", "out", "--set", "transport.timeout=20s"]);
    args.extend(["transport.windows=false"].iter().chain(sets).flat_map(|set| ["--set", *set]));
    let ran = launcher::launch(folder.path(), &args);
    (ran, folder.path().join("out/model.safetensors").exists())
}

/// Blocks that a rank sends in a slot's phase.
const PEERS: u64 = 6;

#[test]
fn a_flipped_bit_ends_the_run_and_is_told() {
    for (rank, phase, slot, byte) in
        [(3, 1, 12, 4), (0, 1, 40, 0), (5, 1, 200, 100), (2, 2, 33, -1), (0, 2, 5, 17), (6, 3, 90, 60), (1, 3, 0, 0)]
    {
        let (ran, model) = flipped(&Flip { rank, phase, block: slot * PEERS + 2, byte, longer: 0, least: 0 }, &[]);
        let to = ran.stderr.split("flipped: to rank ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let to = to.unwrap_or_else(|| panic!("nothing was flipped: {}", ran.stderr));
        let words =
            format!("slot {slot}, phase {phase}: a block from rank {rank} to rank {to} failed authentication");
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
        ran.refused(4, &[&words]);
        assert!(!model, "a model was written");
    }
}

/// A block that is cut short fails authentication like any other; one that is too long does not fit where it is received.
#[test]
fn a_block_of_another_length_ends_the_run() {
    for longer in [-16, 16] {
        let (ran, model) =
            flipped(&Flip { rank: 3, phase: 2, block: 20 * PEERS + 1, byte: 0, longer, least: 0 }, &[]);
        assert!(ran.stderr.contains("flipped:"), "{}", ran.stderr);
        let words = if longer < 0 { "failed authentication" } else { "longer than was agreed" };
        ran.refused(4, &[words]);
        assert!(!model, "a model was written");
    }
}

#[test]
fn a_flipped_bit_in_sealed_ends_the_run() {
    let (ran, model) =
        flipped(&Flip { rank: 0, phase: 1, block: 30, byte: 5, longer: 0, least: 0 }, &["mix.profile=sealed"]);
    assert!(ran.stderr.contains("flipped:") && ran.stderr.contains("failed authentication"), "{}", ran.stderr);
    assert!(ran.code == 4 && !model, "{}", ran.stderr);
}

/// The control: the library in place, and nothing flipped; and in `bare`, where no one looks, a bit that flips in a pixel.
#[test]
fn what_no_one_flips_or_no_one_seals_goes_through() {
    let far = Flip { rank: 1, phase: 1, block: u64::MAX >> 1, byte: 0, longer: 0, least: 0 };
    let (ran, model) = flipped(&far, &["train.epochs=1"]);
    assert!(ran.well().stderr.matches("flipped").count() == 0 && model);
    let pixel = Flip { rank: 0, phase: 1, block: 20, byte: -1, longer: 0, least: 500 };
    let (ran, model) = flipped(&pixel, &["mix.profile=bare", "train.epochs=1"]);
    assert!(ran.well().stderr.contains("flipped") && model);
}
