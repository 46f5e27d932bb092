//! What an observer of all messages sees: recorded from outside the program, through MPI's profiling interface, while two
//! different models of the same lengths train.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, missing_docs)]

mod ranks;

use std::path::{Path, PathBuf};
use std::process::Command;

use ranks::{MIXNN, digits, mpirun, result, run};

const RANKS: usize = 7;
const PHASES: usize = 3;
const EPOCHS: usize = 2;
/// The tag of what goes outside slots.
const LETTER: &str = "0";

/// (peer, bytes, tag) of one call.
type Call = (u16, u64, u16);

/// What one rank sent.
#[derive(Debug, PartialEq)]
struct Sent {
    /// Outside slots, in order.
    letters: Vec<Call>,
    /// In slots, in order.
    blocks: Vec<Call>,
    /// Received in slots.
    received: Vec<Call>,
}

/// Trains with `stages` under the recorder: what every rank sent.
fn observe(recorder: &Path, folder: &Path, name: &str, stages: &str, profile: &str) -> Vec<Sent> {
    let job = folder.join(format!("{name}.toml"));
    let text = std::fs::read_to_string(digits()).unwrap();
    let before = &text[..text.find("[[stage]]").unwrap()];
    let mix = format!("[mix]\nprofile = \"{profile}\"\nmessage = 9000\npackage = 9000\nresult = 50000\n");
    std::fs::write(&job, format!("{before}{stages}{mix}")).unwrap();
    let (out, record) = (folder.join(name), folder.join(format!("record-{name}")));
    let mut command = mpirun();
    command.env("MPI_RECORD", &record);
    // `env` sets the recorder for the ranks alone, whatever the launcher passes on.
    command.args(["-n", &RANKS.to_string(), "env"]).arg(format!("LD_PRELOAD={}", recorder.display()));
    command.arg(format!("MPI_RECORD={}", record.display())).arg(MIXNN).arg("run").arg(&job).arg("--out").arg(&out);
    command.args(["--set", &format!("train.epochs={EPOCHS}")]);
    result(&run(&mut command), &out);
    (0..RANKS).map(|rank| read(&PathBuf::from(format!("{}.{rank}", record.display())))).collect()
}

fn read(record: &Path) -> Sent {
    let mut sent = Sent { letters: Vec::new(), blocks: Vec::new(), received: Vec::new() };
    for line in std::fs::read_to_string(record).unwrap().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, peer, bytes, tag] = fields[..] else { panic!("a call that is no plain message: {line}") };
        let call = (peer.parse().unwrap(), bytes.parse().unwrap(), tag.parse().unwrap());
        match (kind, tag) {
            ("S", LETTER) => sent.letters.push(call),
            ("S", _) => sent.blocks.push(call),
            ("R", LETTER) => {}
            _ => sent.received.push(call),
        }
    }
    sent
}

/// What a rank sends in each slot, whatever the order within a phase.
fn slots(blocks: &[Call]) -> Vec<Vec<Call>> {
    let slot = PHASES * (RANKS - 1);
    assert_eq!(blocks.len() % slot, 0, "a slot is cut short");
    let sorted = |calls: &[Call]| {
        let mut calls = calls.to_vec();
        calls.sort_unstable();
        calls
    };
    blocks.chunks(slot).map(|slot| slot.chunks(RANKS - 1).flat_map(sorted).collect()).collect()
}

const ONE: &str = "[[stage]]\nops = [{ op = \"linear\", out = 64 }, { op = \"relu\" }]\n[[stage]]\nops = [{ op = \
                   \"linear\", out = 32 }, { op = \"relu\" }]\n[[stage]]\nops = [{ op = \"linear\", out = 10 }]\n";
const OTHER: &str = "[[stage]]\nops = [{ op = \"linear\", out = 17 }]\n[[stage]]\nops = [{ op = \"relu\" }, { op = \
                     \"linear\", out = 100 }, { op = \"relu\" }]\n[[stage]]\nops = [{ op = \"linear\", out = 10 }]\n";

#[test]
fn two_models_of_the_same_lengths_look_alike() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = folder.path().join("record.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace/record.c");
    let mpicc = std::env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned());
    let built = Command::new(mpicc).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&recorder).arg(source).status();
    assert!(built.unwrap().success());

    let one = observe(&recorder, folder.path(), "one", ONE, "mixed");
    let other = observe(&recorder, folder.path(), "other", OTHER, "mixed");
    let mut counts = Vec::new();
    for (rank, (a, b)) in one.iter().zip(&other).enumerate() {
        assert_eq!(a.letters, b.letters, "rank {rank}, outside slots");
        for seen in [a, b] {
            let slots = slots(&seen.blocks);
            let peers: Vec<u16> = slots[0][..RANKS - 1].iter().map(|call| call.0).collect();
            let all: Vec<u16> = (0..RANKS as u16).filter(|peer| usize::from(*peer) != rank).collect();
            assert_eq!(peers, all, "rank {rank} sends to every other once a phase");
            assert!(slots.iter().all(|slot| *slot == slots[0]), "rank {rank}: a slot unlike the others");
            assert_eq!(seen.received.len(), seen.blocks.len(), "rank {rank}");
            counts.push(slots.len());
        }
        // Slot by slot the same, in one model and the other, on this rank and, but for the peers, on all ranks.
        assert_eq!(slots(&a.blocks)[0], slots(&b.blocks)[0], "rank {rank}");
        let lengths = |sent: &Sent| slots(&sent.blocks)[0].iter().map(|call| call.1).collect::<Vec<_>>();
        assert_eq!(lengths(a), lengths(&one[0]), "rank {rank}");
    }
    // All ranks of a run count the same slots; two runs differ by the empty ones before each epoch, 0 to N.
    assert!(counts.chunks(2).all(|pair| pair == &counts[..2]), "{counts:?}");
    assert!(counts[0].abs_diff(counts[1]) <= RANKS * EPOCHS, "{counts:?}");

    // The same look at a run whose addresses are not hidden: it tells ranks apart.
    let sealed = observe(&recorder, folder.path(), "sealed", ONE, "sealed");
    let talk = |sent: &Sent| {
        let mut peers: Vec<u16> = sent.blocks.iter().map(|call| call.0).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.len()
    };
    assert!(sealed.iter().any(|sent| talk(sent) != RANKS - 1), "sealed hides who talks to whom, too");
}
