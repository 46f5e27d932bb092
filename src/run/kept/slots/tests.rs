use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::crypto::key::Key;
use crate::run::kept::KeptError;

/// The log of a run of seven ranks and so many slots.
fn log(slots: u64) -> SlotLog {
    let mut log = SlotLog::new();
    log.setup = SlotSetup { ranks: 7, hosts: vec![4, 2, 6], latency: 1, paced: false };
    let mut timing = Timing::default();
    for slot in 0..slots {
        timing.compute += Duration::from_micros(slot % 50);
        timing.wait += Duration::from_nanos(1950);
        let place = SlotEntry {
            term: (slot / 100) as u32,
            slot: (slot % 100) as u32,
            epoch: (slot / 200) as u32,
            forward: slot % 3 == 0,
            backward: slot % 5 == 0,
            trains: slot % 100 < 80,
            ..SlotEntry::default()
        };
        log.add(place, &timing);
    }
    let times = RankTiming { rank: 0, compute: 1.5, seal: 2.0, exchange: 3.0, peel: 4.0, open: 5.0, wait: 6.0 };
    log.settle(&vec![times; 7], 1 << 40);
    log
}

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn read(path: &Path, byte: u8) -> Result<SlotLog, KeptError> {
    SlotLog::read(path, &key(byte), Path::new("owner.key"))
}

/// What a file holds of a log: all but what only the running run needs.
fn kept(log: SlotLog) -> SlotLog {
    SlotLog { before: Timing::default(), ..log }
}

#[test]
fn a_slot_is_what_the_owner_knows_of_it() {
    let log = log(8);
    assert_eq!((log.slots, log.real, log.settled, log.stride), (8, [3, 2], 8, 1));
    assert_eq!(log.first, log.sampled);
    let entry = log.first[7];
    assert_eq!((entry.number, entry.slot, entry.forward, entry.backward, entry.trains), (7, 7, false, false, true));
    // 7 us, and 1.9 us of 1.95: units are not rounded up.
    assert_eq!((entry.parts, entry.micros()[0]), ([70, 0, 0, 0, 0, 19], 7.0));
    assert_eq!(log.ranks, [[1_500_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000, 6_000_000]; 7]);
}

/// The sample stays spread over all slots, however many there are, and takes no more memory than at first.
#[test]
fn a_long_run_takes_the_room_of_a_short_one() {
    for slots in [1, SAMPLED as u64, SAMPLED as u64 + 1, 100_000] {
        let log = log(slots);
        assert_eq!(log.slots, slots);
        assert_eq!(log.first.len() as u64, slots.min(FIRST as u64));
        assert!(log.first.iter().zip(0..).all(|(entry, number)| entry.number == number));
        let due: Vec<u64> = (0..slots).step_by(log.stride as usize).collect();
        assert_eq!(log.sampled.iter().map(|entry| entry.number).collect::<Vec<_>>(), due, "{slots} slots");
        assert!(log.sampled.len() <= SAMPLED && log.sampled.capacity() == SAMPLED && log.first.capacity() == FIRST);
        assert!(slots <= SAMPLED as u64 || log.sampled.len() > SAMPLED / 2 - 1);
    }
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    for slots in [0, 1, 500, 100_000] {
        let log = log(slots);
        log.write(&path, &key(1)).unwrap();
        assert_eq!(read(&path, 1).unwrap(), kept(log));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// With as many ranks as a job may have, all of them but the owner with a stage, a file is still within its bound.
#[test]
fn the_longest_file_is_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut log = log(1_000_000);
    let ranks = crate::job::MOST_RANKS;
    log.setup = SlotSetup { ranks, hosts: (1..ranks).collect(), latency: 2, paced: true };
    log.ranks = vec![[u64::MAX; PARTS]; ranks.into()];
    log.sampled.resize(SAMPLED, SlotEntry::default());
    log.write(&path, &key(1)).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 256 * 1024);
    assert_eq!(read(&path, 1).unwrap(), kept(log));
}

/// Who hosts what stands in the file, and is not to be read without the owner's key.
#[test]
fn nothing_of_a_log_can_be_read_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let log = log(300);
    log.write(&path, &key(1)).unwrap();
    let bytes = fs::read(&path).unwrap();
    let plain = log.to_bytes();
    assert!(!bytes.windows(16).any(|found| found == &plain[..16]));
    let refused = read(&path, 2).unwrap_err();
    assert!(matches!(&refused, KeptError::Slots { found, .. } if found.contains("owner.key")), "{refused}");
    // Two files of one log have no key in common.
    log.write(&path, &key(1)).unwrap();
    assert!(!fs::read(&path).unwrap().ends_with(&bytes[bytes.len() - 64..]));
}

#[test]
fn a_damaged_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    assert!(matches!(read(&path, 1), Err(KeptError::Read { .. })));
    log(20).write(&path, &key(1)).unwrap();
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = read(&path, 1).map(drop).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    for length in 0..whole.len() {
        refused(&whole[..length]);
    }
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        refused(&altered);
    }
    refused(&[&whole[..], &[0]].concat());
    assert!(refused(b"a text").contains("another kind of file"));
    let mut next = whole.clone();
    next[12] = 2;
    assert!(refused(&next).contains("format 2"));
    assert!(refused(&vec![0; 300_000]).contains("the most is 256.0 KiB"));
}

/// Whoever has the key could write anything. No numbers make the reader panic, or take memory that is not there.
#[test]
fn numbers_that_no_run_writes_are_refused() {
    let plain = log(20).to_bytes();
    assert_eq!(SlotLog::from_bytes(&plain), Some(kept(log(20))));
    for (at, value) in
        [(0, 1), (1, 255), (2, 7), (5, 2), (6, 1), (48, 3), (56, 6), (63, 255), (66, 255), (68, 0), (68, 7)]
    {
        let mut altered = plain.clone();
        altered[at] = value;
        assert_eq!(SlotLog::from_bytes(&altered), None, "byte {at} as {value}");
    }
    for length in 0..plain.len() {
        assert_eq!(SlotLog::from_bytes(&plain[..length]), None);
    }
    assert_eq!(SlotLog::from_bytes(&[&plain[..], &[0]].concat()), None);
}
