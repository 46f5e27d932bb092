//! A checkpoint is read as it was written, by whom it is for, and whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::nn::Criterion;
use crate::nn::snapshot::{PIECE, rounds};
use crate::run::kept::KeptError;
use crate::run::kept::sealed::SealedWriter;

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn reached(epochs: u32, batches: u32) -> Reached {
    Reached { epochs, batches }
}

/// The lengths of three stages: one of several pieces, one without parameters.
fn lengths() -> Vec<u64> {
    vec![2 * PIECE as u64 + 12, 0, 40]
}

fn state(stage: usize) -> Vec<u8> {
    (0..lengths()[stage]).map(|i| (i * 7 + stage as u64) as u8).collect()
}

fn rest() -> Remainder {
    let mut so_far = Tally::new(Criterion::new(crate::job::Loss::MeanSquaredError));
    so_far.add(crate::compute::LossSum { loss: 0.1 + 0.2, terms: 7, correct: 0 }, 7);
    Remainder {
        job: "name = 'x'".to_owned(),
        init: Some([3; 32]),
        so_far,
        epochs: Vec::new(),
        plan: Some(KeptPlan {
            hosts: vec!["a".to_owned()],
            drawn: Drawn::Direct(Roles { hosts: vec![crate::ids::Rank(2)] }),
            draws: 4,
        }),
        fingerprint: "cpu".to_owned(),
        seconds: 1.5,
        starts: 2,
    }
}

/// Writes a checkpoint under the key of sevens.
fn written(folder: &Path, at: Reached, keep: usize) -> Result<PathBuf, KeptError> {
    let header = FileHeader::new("0.0.1", "aa".to_owned(), "bb".to_owned(), at);
    let mut writer = CheckpointWriter::new(folder, &key(7), header, lengths(), keep, || ())?;
    for (_, stage, place) in rounds(&lengths()) {
        if let Err(KeptError::Stuck) = writer.take(&state(stage)[place]) {
            return Err(writer.failed());
        }
    }
    Ok(writer.finish(&rest())?.wait()?.0)
}

fn read(path: &Path, owner: u8) -> Result<Checkpoint, KeptError> {
    Checkpoint::read(path, &key(owner), Path::new("the key"))
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), reached(3, 120), 1).unwrap();
    assert_eq!(path, folder.path().join("0003-000120.ckpt"));
    let found = read(&path, 7).unwrap();
    assert_eq!((found.header.reached, found.header.job.as_str()), (reached(3, 120), "aa"));
    assert_eq!(found.lengths, lengths());
    let (due, rest) = (rest(), &found.rest);
    assert_eq!((rest.init, rest.seconds, rest.starts, &rest.job), (due.init, due.seconds, due.starts, &due.job));
    assert_eq!(rest.so_far.score().loss.map(f64::to_bits), due.so_far.score().loss.map(f64::to_bits));
    let plan = rest.plan.as_ref().unwrap();
    assert_eq!((plan.draws, plan.drawn.roles()), (4, due.plan.unwrap().drawn.roles()));
    let mut states = vec![Vec::new(); 3];
    let read = found.states(|stage, piece| {
        states[stage].extend_from_slice(piece);
        Ok::<(), KeptError>(())
    });
    read.unwrap();
    assert!((0..3).all(|stage| states[stage] == state(stage)));
    // In the clear stands the header, and nothing of the rest.
    let bytes = std::fs::read(&path).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"\"job\":\"aa\"") && !holds(b"name = 'x'") && !holds(&state(2)));
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let older = written(folder.path(), reached(1, 0), 9).unwrap();
    let path = written(folder.path(), reached(1, 5), 9).unwrap();
    let good = std::fs::read(&path).unwrap();
    assert!(matches!(read(&path, 8), Err(KeptError::ForeignKey { .. })));
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read(&path, 7).err().unwrap()
    };
    // Altered in the header, in the stream or in the digest, and cut off anywhere.
    let head = MAGIC.len() + 4;
    for at in [head + 3, head + 40, good.len() / 2, good.len() - 40, good.len() - 1] {
        let mut altered = good.clone();
        altered[at] ^= 1;
        let error = refused(&altered);
        assert!(
            matches!(&error, KeptError::Torn { older: Some(found), .. } if *found == older),
            "byte {at}: {error}"
        );
    }
    for length in [head - 1, head + 10, good.len() / 2, good.len() - 1] {
        let error = refused(&good[..length]);
        assert!(matches!(error, KeptError::Torn { .. }), "{length} bytes: {error}");
    }
    for bytes in [&b"mixnn checkpoins and more, as long as a line"[..], &[0; 64]] {
        assert!(matches!(refused(bytes), KeptError::Format { .. }));
    }
    assert!(matches!(refused(b""), KeptError::Torn { .. }));
    // Another format, whatever is behind its header.
    let other = [MAGIC, &13_u32.to_le_bytes(), b"{\"format\": 2}", &[0; 64]].concat();
    assert!(refused(&other).to_string().contains("format 2"));
    assert!(matches!(read(&folder.path().join("none"), 7), Err(KeptError::Read { .. })));
}

#[test]
fn the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let names = || listed(folder.path()).into_iter().map(|(reached, _)| reached).collect::<Vec<_>>();
    for at in [reached(0, 5), reached(0, 10), reached(1, 0), reached(10, 0)] {
        written(folder.path(), at, 2).unwrap();
    }
    assert_eq!(names(), [reached(10, 0), reached(1, 0)]);
    let found = newest(folder.path()).unwrap();
    assert!(found.path.ends_with("0010-000000.ckpt") && found.older.unwrap().ends_with("0001-000000.ckpt"));
    // One that goes on from an older one stays itself.
    written(folder.path(), reached(0, 15), 1).unwrap();
    assert_eq!(names(), [reached(0, 15)]);
    // A file of the same name is replaced.
    written(folder.path(), reached(0, 15), 2).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(newest(&folder.path().join("none")).is_none());
}

#[test]
fn what_is_abandoned_or_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let header = FileHeader::new("0.0.1", String::new(), String::new(), reached(1, 0));
    let mut writer = CheckpointWriter::new(folder.path(), &key(7), header, lengths(), 1, || ()).unwrap();
    writer.take(&state(2)).unwrap();
    assert!(matches!(writer.failed(), KeptError::Stuck));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = written(&folder.path().join("none"), reached(1, 0), 1).unwrap_err();
    assert!(matches!(error, KeptError::Write { .. }), "{error}");
}

/// What changes between the time at which a checkpoint was found whole and the time at which its states are read is found then.
#[test]
fn a_file_that_changes_later_gives_no_states() {
    let folder = tempfile::tempdir().unwrap();
    let older = written(folder.path(), reached(1, 0), 9).unwrap();
    let path = written(folder.path(), reached(1, 5), 9).unwrap();
    let good = std::fs::read(&path).unwrap();
    let found = read(&path, 7).unwrap();
    let states = || found.states(|_, _| Ok::<(), KeptError>(()));
    let mut altered = good.clone();
    altered[good.len() / 2] ^= 1;
    for bytes in [&altered[..], &good[..good.len() / 2], &good[..MAGIC.len()]] {
        std::fs::write(&path, bytes).unwrap();
        let error = states().unwrap_err();
        assert!(matches!(&error, KeptError::Torn { older: Some(found), .. } if *found == older), "{error}");
    }
    std::fs::write(&path, &good).unwrap();
    states().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(states(), Err(KeptError::Read { .. })));
}

/// Writes a file that is sealed as a checkpoint is, under the key of sevens, with `inside` in its stream.
fn sealed(path: &Path, inside: &[u8]) {
    let head = serde_json::to_vec(&FileHeader::new("0.0.1", String::new(), String::new(), reached(1, 0))).unwrap();
    let mut bytes = [MAGIC, &(head.len() as u32).to_le_bytes(), &head].concat();
    let mut stream = SealedWriter::new(&stream_key(&key(7), &head), Vec::new()).unwrap();
    stream.write_all(inside).unwrap();
    bytes.extend(stream.finish().unwrap());
    bytes.extend(Sha256::digest(&bytes));
    std::fs::write(path, bytes).unwrap();
}

/// What stands in front of a list or a rest says how long it is. That is believed within limits, and what a file says of its stages'
/// states is held against its length.
#[test]
fn lengths_within_a_file_have_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0001-000000.ckpt");
    let counted = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let list = |lengths: &[u64]| counted(&postcard::to_allocvec(lengths).unwrap());
    let rest = counted(&postcard::to_allocvec(&rest()).unwrap());
    let found = |inside: &[u8]| {
        sealed(&path, inside);
        read(&path, 7)
    };
    // The control: three bytes of states, and the rest.
    assert_eq!(found(&[&list(&[1, 2])[..], &[9; 3], &rest].concat()).unwrap().lengths, [1, 2]);
    for lengths in [&[1 << 20][..], &[u64::MAX, 1]] {
        let error = found(&[list(lengths), rest.clone()].concat()).err().unwrap();
        assert!(error.to_string().contains("a list of stages that is none"), "{lengths:?}: {error}");
    }
    // A list of a MiB may be, if there were so many stages. One byte more is no list.
    let zeros = |length: usize| counted(&vec![0; length]);
    assert!(found(&[zeros(1 << 20), rest.clone()].concat()).unwrap().lengths.is_empty());
    assert!(matches!(found(&[zeros((1 << 20) + 1), rest].concat()), Err(KeptError::ForeignKey { .. })));
    // Nothing stands behind a list whose rest is said to have more bytes than there are.
    let short = [&list(&[])[..], &9_u64.to_le_bytes(), &[0; 8]].concat();
    assert!(matches!(found(&short), Err(KeptError::Read { .. })));
}

/// No file is written that would not be read again.
#[test]
fn a_header_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let written = |length: usize| {
        let header = FileHeader::new("0.0.1", "a".repeat(length), String::new(), reached(1, 0));
        let writer = CheckpointWriter::new(folder.path(), &key(7), header, Vec::new(), 1, || ()).unwrap();
        writer.finish(&rest()).unwrap().wait()
    };
    let most = LONGEST_HEADER as usize;
    let shortest = serde_json::to_vec(&FileHeader {
        salt: "a".repeat(64),
        ..FileHeader::new("0.0.1", String::new(), String::new(), reached(1, 0))
    });
    let rest = shortest.unwrap().len();
    read(&written(most - rest).unwrap().0, 7).unwrap();
    assert!(matches!(written(most - rest + 1), Err(KeptError::Bug(_))));
}
