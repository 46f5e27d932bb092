//! Whole runs on real ranks, whose MPI library takes a GPU's memory (tests/trace/aware.c): lanes stand there, and the processor
//! touches none of it.

use std::path::Path;

use crate::binary::{MIXNN, Ran, Run};
use crate::build;
use crate::launcher::{launch, preloadable};
use crate::runs::{folder, mixnn};

/// The least that trains, validates and tests.
const SHORT: [&str; 6] = ["--set", "train.epochs=1", "--set", "train.batch=16", "--set", "train.micro_batch=8"];

/// What a rank has moved: (sent, received), from and to a device's memory and the processor's; and windows.
#[derive(Debug, PartialEq, Eq)]
struct Moved {
    sent: [u64; 2],
    received: [u64; 2],
    windows: u64,
}

impl Moved {
    /// All in a device's memory, or nothing there; in no case through windows. One there may be, in which ranks of a host say that they
    /// have sent.
    fn only(&self, device: bool) -> bool {
        let only = |[there, here]: [u64; 2]| if device { there > 0 && here == 0 } else { there == 0 && here > 0 };
        only(self.sent) && only(self.received) && self.windows <= 1
    }
}

/// Arguments of the launcher for so many ranks with `settings` more, that do as `args` say.
fn ranks(folder: &Path, count: usize, settings: &[&str], args: &[&str]) -> Vec<String> {
    let settings = settings.iter().map(|setting| (*setting).to_owned());
    let own = [
        format!("LD_LIBRARY_PATH={}", build::fakes().display()),
        format!("LD_PRELOAD={}", folder.join("aware.so").display()),
        format!("XDG_CACHE_HOME={}", folder.join("cache").display()),
        format!("AWARE_FOLDER={}", folder.display()),
        "MIXNN_FAKE_UNSEEN=1".to_owned(),
    ];
    let start = ["-n".to_owned(), count.to_string(), "env".to_owned()];
    let program = [MIXNN].iter().chain(args).map(|arg| (*arg).to_owned());
    start.into_iter().chain(own).chain(settings).chain(program).collect()
}

/// A run of the job on six ranks, or as many as `args` have behind `-n`.
fn run(folder: &Path, out: &str, settings: &[&str], args: &str) -> Ran {
    let (count, args) = match args.strip_prefix("-n ") {
        Some(rest) => rest.split_once(' ').map(|(count, args)| (count.parse().unwrap(), args)).unwrap(),
        None => (6, args),
    };
    let args = ["run", "job.toml", "--out", out].into_iter().chain(SHORT).chain(args.split_whitespace());
    let args = ranks(folder, count, settings, &args.collect::<Vec<_>>());
    forget_moved(folder);
    launch(folder, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What ranks of an earlier run have moved is not to be taken for this one's.
fn forget_moved(folder: &Path) {
    // Not all have run.
    (0..7).for_each(|rank| drop(std::fs::remove_file(folder.join(rank.to_string()))));
}

fn moved(folder: &Path, rank: usize) -> Moved {
    let text = std::fs::read_to_string(folder.join(rank.to_string())).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [a, b, c, d, windows] = numbers[..] else { panic!("{text}") };
    Moved { sent: [a, b], received: [c, d], windows }
}

/// The job's folder with the library that stands between, and the run in one process.
fn prepared() -> (tempfile::TempDir, Run) {
    let folder = folder();
    preloadable("aware", folder.path());
    mixnn(folder.path(), &[], &[&["run", "job.toml", "--single", "--out", "single"], &SHORT[..]].concat()).well();
    let single = Run::read(folder.path().join("single"));
    assert_eq!(single.result["device_lanes"], false);
    (folder, single)
}

#[test]
fn lanes_in_the_memory_of_gpus_give_the_bits_of_one_process() {
    let (folder, single) = prepared();
    let all = [true; 6];
    let some = [true, false, true, true, false, false, false];
    for (i, (settings, args, on_device)) in [
        (&[][..], "", &all[..]),
        (&["AWARE_RANKS=0 2 3"], "-n 7 --set compute.overlap=true --set mix.hops=4", &some),
        (&[], "-n 3 --profile sealed", &all[..3]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = i.to_string() + "-out";
        let ran = run(folder.path(), &out, settings, args).well();
        let run = Run::read(folder.path().join(out));
        assert_eq!(run.bits(), single.bits(), "{settings:?} {args}");
        assert_eq!(run.result["device_lanes"], on_device[0], "{settings:?} {args}");
        assert_eq!(ran.stderr.contains("blocks travel from and to there"), on_device[0], "{}", ran.stderr);
        for (rank, device) in on_device.iter().enumerate() {
            let moved = moved(folder.path(), rank);
            assert!(moved.only(*device), "rank {rank}, {settings:?} {args}: {moved:?}");
        }
    }
}

/// In `bare` nothing is sealed, and where MPI does not take a GPU's memory nothing stands there: ranks of a host share theirs.
#[test]
fn other_lanes_stand_where_they_stood() {
    let (folder, single) = prepared();
    let others = [
        ("a", &["AWARE_RANKS=none"][..], ""),
        ("b", &[], "-n 3 --profile bare"),
        // There relaying has a core of its own.
        ("c", &[], "--set mix.pace=20ms"),
    ];
    for (out, settings, args) in others {
        run(folder.path(), out, settings, args).well();
        let run = Run::read(folder.path().join(out));
        assert_eq!((run.bits(), &run.result["device_lanes"]), (single.bits(), &false.into()));
        assert_eq!(moved(folder.path(), 0), Moved { sent: [0, 0], received: [0, 0], windows: 1 });
    }
}

#[test]
fn a_bit_that_flips_between_gpus_is_told_by_the_owner() {
    let folder = folder();
    preloadable("aware", folder.path());
    for (rank, phase, slot) in [(2, 1, 3), (0, 3, 2)] {
        let flip = format!("AWARE_FLIP={rank} {phase} {}", slot * 5 + 1);
        let ran = run(folder.path(), "flipped", &[&flip], "");
        let to = ran.stderr.split("flipped: to rank ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let to = to.unwrap_or_else(|| panic!("nothing was flipped: {}", ran.stderr));
        let words =
            format!("slot {slot}, phase {phase}: a block from rank {rank} to rank {to} failed authentication");
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
        ran.refused(4, &[&words]);
        let out = folder.path().join("flipped");
        assert!(!out.join("model.safetensors").exists());
        std::fs::remove_dir_all(out).unwrap();
    }
}

/// One GPU is lost while it seals, peels, opens or computes: its rank tells the owner, and relays to the end by the processor.
#[test]
fn a_gpu_that_is_lost_leaves_its_lanes_to_the_processor() {
    let folder = folder();
    preloadable("aware", folder.path());
    for launches in 7..11 {
        let lost = format!("MIXNN_FAKE_LOST={launches}");
        let run = ["run", "job.toml", "--out", "lost", "--set", "transport.timeout=20s"];
        let owner = ranks(folder.path(), 1, &[], &run);
        let losing = ranks(folder.path(), 1, &[&lost], &["join"]);
        let others = ranks(folder.path(), 4, &[], &["join"]);
        let colon = [":".to_owned()];
        let args = [&owner[..], &colon, &losing, &colon, &others].concat();
        forget_moved(folder.path());
        let ran = launch(folder.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
        ran.refused(3, &["the GPU of rank 1 is lost, or refuses a call"]);
        assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
        let (mine, other) = (moved(folder.path(), 1), moved(folder.path(), 2));
        assert!(other.only(true), "{other:?}");
        assert!(mine.sent.iter().chain(&mine.received).all(|blocks| *blocks > 0), "{mine:?}");
        std::fs::remove_dir_all(folder.path().join("lost")).unwrap();
    }
}
