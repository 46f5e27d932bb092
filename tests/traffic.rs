//! What an observer of the network sees does not depend on the model: who sends to whom, how long and under which tag is
//! the same for every rank, in every slot, for two models of the same public lengths (docs/THREATS.md, promise 2).
//!
//! Each rank's calls are recorded by a library between the program and MPI (tests/trace/record.c). Every block is a message
//! (`transport.windows = false`), as between hosts, but for the test that says otherwise.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod launcher;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use binary::{DIGITS, MIXNN, mixnn};
use launcher::launch;
use serde_json::Value;

const RANKS: usize = 7;
const HOPS: usize = 3;
const EPOCHS: usize = 2;
/// Calls of a rank in a slot: in each phase it sends to all others and receives from all others.
const SLOT: usize = HOPS * 2 * (RANKS - 1);
/// The tag of what goes outside slots.
const LETTER: i32 = 0;
/// The tag of what the ranks of a host say to each other, and the bytes with which they tell their cores.
const MEETING: i32 = 1;
const CORES: usize = 1028;
/// Calls of a rank when all of a host meet: with each other rank, both ways.
const MET: usize = 2 * (RANKS - 1);
/// The bytes that they say when they meet, once they know of a job. Where blocks are in shared memory: before it is allocated
/// and once it is, and in every epoch when it is laid out.
const WINDOW: [usize; 4] = [1, 1, 0, 0];
/// Where blocks are messages: before the memory is allocated in which they tell each other that they have sent, and twice
/// behind that.
const WORDS: [usize; 3] = [0, 1, 0];

/// Two models of three stages, and the lengths that make them look alike.
const MODEL: [&str; 3] = ["64", "32", "10"];
const OTHER_MODEL: [&str; 3] = ["48", "40", "10"];
const LENGTHS: [&str; 4] = ["mix.message=6000", "mix.package=6000", "mix.result=30000", "mix.state=90000"];

/// One message, as one of its two ranks asks MPI to move it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    send: bool,
    peer: usize,
    bytes: usize,
    tag: i32,
}

/// What each rank did in one run, in order.
type Traces = Vec<Vec<Call>>;

/// What an observer has of one rank.
struct Seen {
    /// What went outside slots, in order: at the start of each epoch and at the end.
    letters: Vec<Vec<Call>>,
    /// By epoch and slot: the calls, sorted.
    epochs: Vec<Vec<Vec<Call>>>,
}

/// `stage=[...]`: a linear operation to each of `widths`, with relu between them.
fn stages(widths: [&str; 3]) -> String {
    let [a, b, c] = widths;
    let linear = |out| format!("{{ op = \"linear\", out = {out} }}");
    let relu = "{ op = \"relu\" }";
    format!(
        "stage=[{{ ops = [{}, {relu}] }}, {{ ops = [{}, {relu}] }}, {{ ops = [{}] }}]",
        linear(a),
        linear(b),
        linear(c)
    )
}

/// Trains a model, every block a message, and records what every rank does.
fn trained(widths: [&str; 3], sets: &[&str]) -> Traces {
    recorded(widths, &[sets, &["transport.windows=false"]].concat())
}

/// Trains a model and records what every rank does.
fn recorded(widths: [&str; 3], sets: &[&str]) -> Traces {
    let folder = tempfile::tempdir().unwrap();
    let preload = format!("LD_PRELOAD={}", launcher::preloadable("record", folder.path()).display());
    let record = format!("RECORD_FOLDER={}", folder.path().display());
    let (ranks, epochs, model) = (RANKS.to_string(), format!("train.epochs={EPOCHS}"), stages(widths));
    let start = ["-n", &ranks, "env", &preload, &record, MIXNN, "run", DIGITS, "--out", "out"];
    let sets = [&epochs, model.as_str()].into_iter().chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
    launch(folder.path(), &start.into_iter().chain(sets).collect::<Vec<_>>()).well();
    (0..RANKS).map(|rank| read(&folder.path().join(rank.to_string()))).collect()
}

/// What a rank did from the opening on.
fn read(path: &Path) -> Vec<Call> {
    let text = fs::read_to_string(path).unwrap();
    let call = |line: &str| {
        let [kind @ ("S" | "R"), peer, bytes, tag] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a rank called {line}: only MPI_Isend and MPI_Irecv are expected");
        };
        let (peer, bytes, tag) = (peer.parse().unwrap(), bytes.parse().unwrap(), tag.parse().unwrap());
        Call { send: kind == "S", peer, bytes, tag }
    };
    // Before anyone knows of a job: the names of hosts, and which cores the ranks of one may run on.
    let met = text.strip_prefix("MPI_Allgather\n").expect("ranks tell each other where they run");
    let calls: Vec<Call> = met.lines().map(call).collect();
    assert!(calls[..MET].iter().all(|call| (call.tag, call.bytes) == (MEETING, CORES)), "{:?}", &calls[..MET]);
    let calls = &calls[MET..];
    // An owner that is busy for longer says so each second, with messages that look like the opening; the last of them is it.
    let openings = calls.iter().take_while(|call| (call.tag, call.bytes) == (LETTER, calls[0].bytes)).count();
    let receivers = if calls[0].send { RANKS - 1 } else { 1 };
    calls[openings - receivers..].to_vec()
}

/// The bytes of a block, by phase, as `mixnn check` prints them: from public numbers.
fn block_bytes(widths: [&str; 3], sets: &[&str]) -> Vec<usize> {
    let (folder, model, ranks) = (tempfile::tempdir().unwrap(), stages(widths), RANKS.to_string());
    let sets = [model.as_str()].into_iter().chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["check", DIGITS, "--json", "--ranks", &ranks].into_iter().chain(sets).collect();
    let checked: Value = serde_json::from_str(&mixnn(folder.path(), &args).well().stdout).unwrap();
    checked["block_bytes"].as_array().unwrap().iter().map(|bytes| bytes.as_u64().unwrap() as usize).collect()
}

/// `calls` without those by which the ranks of a host meet. These are the same whatever the model is: to each other rank and
/// from it, of as many bytes as `due` says for one meeting after another.
fn without_meetings(calls: &[Call], due: &[usize]) -> Result<Vec<Call>, String> {
    let (met, others): (Vec<Call>, Vec<Call>) = calls.iter().cloned().partition(|call| call.tag == MEETING);
    let lengths: Vec<usize> = met.iter().map(|call| call.bytes).collect();
    if lengths != due.iter().flat_map(|bytes| [*bytes; MET]).collect::<Vec<_>>() {
        return Err(format!("the ranks of a host meet with messages of {lengths:?} bytes, {due:?} are due"));
    }
    Ok(others)
}

/// What an observer has of `rank`, if every slot of it is what public numbers say: one block to and one from each other
/// rank in each phase, all of the phase's length.
fn seen(rank: usize, calls: &[Call], blocks: &[usize]) -> Result<Seen, String> {
    let mut due: Vec<Call> = Vec::new();
    for (phase, bytes) in blocks.iter().enumerate() {
        for peer in (0..RANKS).filter(|peer| *peer != rank) {
            for send in [false, true] {
                due.push(Call { send, peer, bytes: *bytes, tag: 4 * (phase as i32 + 1) });
            }
        }
    }
    due.sort_unstable();
    let mut seen = Seen { letters: Vec::new(), epochs: Vec::new() };
    let calls = without_meetings(calls, &WORDS)?;
    for part in calls.chunk_by(|a, b| (a.tag == LETTER) == (b.tag == LETTER)) {
        if part[0].tag == LETTER {
            seen.letters.push(part.to_vec());
            continue;
        }
        let mut slots = Vec::new();
        for (slot, calls) in part.chunks(SLOT).enumerate() {
            let mut calls = calls.to_vec();
            calls.sort_unstable();
            if calls != due {
                let epoch = seen.epochs.len();
                return Err(format!("rank {rank}, epoch {epoch}, slot {slot}: {calls:?} where {due:?} was due"));
            }
            slots.push(calls);
        }
        seen.epochs.push(slots);
    }
    Ok(seen)
}

/// What an observer has of all ranks, if nothing in it tells one rank from another.
fn uniform(traces: &Traces, blocks: &[usize]) -> Result<Vec<Seen>, String> {
    let all =
        traces.iter().enumerate().map(|(rank, calls)| seen(rank, calls, blocks)).collect::<Result<Vec<_>, _>>()?;
    let slots = |seen: &Seen| seen.epochs.iter().map(Vec::len).collect::<Vec<_>>();
    let due = slots(&all[0]);
    for (rank, seen) in all.iter().enumerate() {
        if slots(seen) != due || due.len() != EPOCHS {
            return Err(format!("rank {rank} has {:?} slots, rank 0 {due:?}", slots(seen)));
        }
        // Its letters are those of any other rank: of the same lengths, in the same order, to and from the owner alone.
        if rank > 0 && seen.letters != all[1].letters {
            return Err(format!("rank {rank} and rank 1 differ outside slots"));
        }
        if rank > 0 && seen.letters.iter().flatten().any(|call| call.peer != 0) {
            return Err(format!("rank {rank} talks to others than the owner outside slots"));
        }
    }
    Ok(all)
}

/// Whether an observer who has both runs could tell them apart, but for the random number of slots at an epoch's start.
fn alike(one: &[Seen], other: &[Seen]) -> Result<(), String> {
    for (rank, (a, b)) in one.iter().zip(other).enumerate() {
        if a.letters != b.letters {
            return Err(format!("rank {rank}: other letters"));
        }
        for (epoch, (a, b)) in a.epochs.iter().zip(&b.epochs).enumerate() {
            if a.len().abs_diff(b.len()) > RANKS {
                return Err(format!("epoch {epoch} has {} slots or {}", a.len(), b.len()));
            }
            if let Some(slot) = (0..a.len().min(b.len())).find(|slot| a[*slot] != b[*slot]) {
                return Err(format!("rank {rank}, epoch {epoch}, slot {slot}: {:?} or {:?}", a[slot], b[slot]));
            }
        }
    }
    Ok(())
}

#[test]
fn two_models_of_the_same_lengths_look_alike() {
    let blocks = block_bytes(MODEL, &LENGTHS);
    assert_eq!((blocks.len(), &blocks), (HOPS, &block_bytes(OTHER_MODEL, &LENGTHS)));
    let traces = trained(MODEL, &LENGTHS);
    let one = uniform(&traces, &blocks).unwrap();
    // Another draw of who hosts what, and another model.
    let other = uniform(&trained(OTHER_MODEL, &LENGTHS), &blocks).unwrap();
    alike(&one, &other).unwrap();
    assert!(one[0].epochs.iter().all(|slots| slots.len() > 200), "too few slots to show anything");

    // Every phase sends in a fresh order: any peer may come first.
    for (rank, calls) in traces.iter().enumerate() {
        let phases = calls.iter().filter(|call| call.tag > MEETING && call.send).collect::<Vec<_>>();
        let first: BTreeSet<usize> = phases.chunks(RANKS - 1).map(|phase| phase[0].peer).collect();
        assert_eq!(first.len(), RANKS - 1, "rank {rank} begins its phases with {first:?} alone");
    }

    // The control: whatever is not as it should be is seen.
    let changes: [fn(&mut Vec<Call>); 4] = [
        |calls| {
            calls.remove(5000);
        },
        |calls| calls[5000].bytes += 1,
        |calls| calls[5000].tag += 4,
        |calls| calls[5000].peer = (calls[5000].peer + 1) % RANKS,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = traces.clone();
        change(&mut changed[4]);
        assert!(uniform(&changed, &blocks).is_err(), "change {number} is not seen");
    }
    let mut late = traces.clone();
    let end = late[2].iter().rposition(|call| call.tag > MEETING).unwrap() + 1;
    late[2].drain(end - SLOT..end);
    assert!(uniform(&late, &blocks).is_err(), "a slot less on one rank is not seen");
}

/// In memory that the ranks of a host share no block is a message. What is left are letters, and the calls that share it.
#[test]
fn blocks_in_shared_memory_are_no_messages() {
    let traces = recorded(MODEL, &LENGTHS);
    for (rank, calls) in traces.iter().enumerate() {
        let letters = without_meetings(calls, &WINDOW).unwrap();
        assert!(letters.len() > 2 * EPOCHS, "rank {rank}");
        assert!(letters.iter().all(|call| call.tag == LETTER), "rank {rank}: {letters:?}");
    }
    assert_eq!(traces, recorded(OTHER_MODEL, &LENGTHS));
}

/// The control: without the lengths fixed, the same two models can be told apart.
#[test]
fn models_of_other_lengths_can_be_told_apart() {
    let (one, other) = (block_bytes(MODEL, &[]), block_bytes(OTHER_MODEL, &[]));
    assert_ne!(one, other);
    let one = uniform(&trained(MODEL, &[]), &one).unwrap();
    let other = uniform(&trained(OTHER_MODEL, &[]), &other).unwrap();
    assert!(alike(&one, &other).is_err());
}

/// The control: where neighbours send to each other directly, the recorder sees who they are.
#[test]
fn the_profile_sealed_shows_who_hosts_stages() {
    let blocks = block_bytes(MODEL, &LENGTHS);
    let traces = trained(MODEL, &[LENGTHS.as_slice(), &["mix.profile=sealed"]].concat());
    assert!(uniform(&traces, &blocks).is_err());
    // Three relays hear the owner alone; the owner and the stages exchange messages in a ring.
    let neighbours = |calls: &Vec<Call>| -> BTreeSet<usize> {
        let longest = calls.iter().filter(|call| call.tag > MEETING).map(|call| call.bytes).max().unwrap_or(0);
        let messages = calls.iter().filter(|call| call.tag > MEETING && call.bytes == longest && longest > 1000);
        messages.map(|call| call.peer).collect()
    };
    let mut degrees: Vec<usize> = traces.iter().map(|calls| neighbours(calls).len()).collect();
    assert_eq!(degrees[0], 2);
    degrees.sort_unstable();
    assert_eq!(degrees, [0, 0, 0, 2, 2, 2, 2]);
}
