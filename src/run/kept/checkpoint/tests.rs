//! A checkpoint is read as it was written, by whom it is for, and whole or not at all.

use std::path::{Path, PathBuf};

use super::*;
use crate::nn::Criterion;
use crate::nn::snapshot::{PIECE, rounds};
use crate::run::kept::KeptError;

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
