//! `mixnn bench`: every bench prints rows in every form, alone and on ranks; what is interrupted keeps its rows; bad calls are told of.
//! No test looks at how long anything takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
#[cfg(feature = "mpi")]
mod launcher;

use std::path::Path;

use binary::{DIGITS, Ran, mixnn};
use serde_json::Value;

/// What a table of `--json` has: its first line, and its rows.
struct Table {
    head: Value,
    rows: Vec<Value>,
}

impl Table {
    fn read(ran: &Ran) -> Self {
        let mut lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        Self { head: lines.next().expect("a first line"), rows: lines.collect() }
    }

    /// The rows in which `key` is `value`.
    fn of(&self, key: &str, value: impl Into<Value>) -> Vec<&Value> {
        let value = value.into();
        self.rows.iter().filter(|row| row[key] == value).collect()
    }

    /// Asserts that each of `keys` is a positive number in every row.
    #[track_caller]
    fn has(&self, keys: &[&str]) {
        for row in &self.rows {
            for key in keys {
                assert!(row[key].as_f64().is_some_and(|number| number > 0.0), "{key} in {row}");
            }
        }
    }
}

/// `mixnn bench WORDS --json`, which ends well.
fn bench(words: &str) -> Table {
    let words: Vec<&str> = words.split_whitespace().collect();
    Table::read(&mixnn(Path::new("."), &[&["bench"], &words[..], &["--json"]].concat()).well())
}

#[test]
fn cells_have_a_row_for_each_length_library_and_part() {
    let table = bench("crypto --cells 64,4096 --rounds 1");
    assert_eq!(table.head["bench"], "crypto");
    for key in ["version", "command", "host", "processor", "messages", "ranks"] {
        assert!(table.head["machine"][key].as_str().is_some_and(|value| !value.is_empty()), "{key}: {}", table.head);
    }
    assert_eq!(table.rows.len(), 2 * 3 * 3);
    assert_eq!((table.of("cell_bytes", 64).len(), table.of("library", "ring").len()), (9, 6));
    table.has(&["avg_us", "min_us", "max_us", "low_us", "high_us", "gb_per_s", "of_aes_percent"]);
}

#[test]
fn products_are_those_of_the_job() {
    let table = bench(&format!("gemm {DIGITS} --set train.micro_batch=8 --rounds 1 --local 2 --threads 1"));
    // Three linear layers, with three products each.
    assert_eq!(table.rows.len(), 9);
    let shape = |row: &Value| ["m", "n", "k"].map(|key| row[key].as_u64().unwrap());
    let first: Vec<_> = table.of("stage", 1).into_iter().map(shape).collect();
    // 8 samples of 64 values.
    let out = first[0][1];
    assert_eq!(first, [[8, out, 64], [8, 64, out], [64, out, 8]]);
    table.has(&["avg_us", "gflop_per_s", "of_core_percent"]);
    // A transformer's are within other operations: of its attention, and of what follows.
    let gpt = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/gpt-text.toml");
    let table = bench(&format!("gemm {gpt} --rounds 1"));
    assert!(table.rows.len() > 12, "{} rows", table.rows.len());
}

#[test]
fn slots_have_a_row_for_each_part() {
    let table = bench("slot --local 7 --cells 256,512 --hops 3,4 --slots 3 --rounds 2");
    // Threads hand blocks over in one way. Without a keystream and with one, a whole and five parts; and a plain loop.
    assert_eq!(table.rows.len(), 2 * 2 * (2 * 6 + 1));
    assert_eq!(table.of("part", "alone").len(), 4);
    let whole = table.of("part", "slot");
    assert_eq!(whole.len(), 8);
    assert!(whole.iter().all(|row| row["gb_per_s"].as_f64().unwrap() > 0.0 && row["blocks"] == "handed"));
    // The parts make up the whole, but for what lies between them.
    let time = |row: &Value| row["avg_us"].as_f64().unwrap();
    for rows in table.rows.chunks(13).flat_map(|rows| rows[..12].chunks(6)) {
        let parts: f64 = rows[1..].iter().map(time).sum();
        // Each is a median of its own, so that they do not quite add up.
        assert!(parts > 0.0 && parts <= 2.0 * time(&rows[0]), "{parts} of {}", rows[0]);
    }
}

#[test]
fn slots_are_scaled_over_ranks() {
    let table = bench("scale --ranks 9,6 --message 4096 --cell 320 --slots 2 --rounds 1");
    let ranks: Vec<u64> = table.rows.iter().map(|row| row["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [6, 6, 9, 9]);
    assert!(table.of("scaling", "weak").iter().all(|row| row["cell_bytes"] == 320));
    let strong = table.of("scaling", "strong");
    assert!(strong[0]["cell_bytes"].as_u64() > strong[1]["cell_bytes"].as_u64(), "more ranks, smaller cells");
    assert!(table.of("ranks", 6).iter().all(|row| row["to_first"] == 1.0));
}

/// All ways compute the same bits.
#[test]
fn a_job_is_run_in_all_ways() {
    let words = "--set train.batch=512 --set train.micro_batch=128 --epochs 1 --rounds 1";
    let table = bench(&format!("train {DIGITS} {words} --hops 3,4 --relays 3,4 --pace lockstep,auto"));
    assert_eq!(table.rows.len(), 3 + 2 * 2 * 2);
    let weights = table.rows[0]["weights"].as_str().unwrap();
    assert!(weights.len() == 12 && table.of("weights", weights).len() == table.rows.len(), "{:?}", table.rows);
    table.has(&["median_s", "low_s", "high_s", "to_single", "rounds"]);
    assert_eq!((&table.rows[0]["way"], &table.rows[0]["to_single"]), (&"single".into(), &1.0.into()));
    let mixed = table.of("way", "mixed");
    assert!(mixed.iter().all(|row| row["slots"].as_u64() > Some(0) && row["rank_mb"].as_f64() > Some(0.0)));
    assert_eq!((table.of("relays", 4).len(), table.of("hops", 4).len(), table.of("pace", "auto").len()), (4, 4, 4));
    assert!(table.of("relays", 4).iter().all(|row| row["ranks"] == 8));
}

#[test]
fn tables_have_three_forms() {
    let words = ["bench", "crypto", "--cells", "64", "--rounds", "1"];
    let text = mixnn(Path::new("."), &words).well().stdout;
    let (head, rows): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    assert!(head[0] == "# mixnn bench crypto" && head.iter().any(|line| line.contains("(us)")), "{text}");
    assert_eq!(rows.len(), 9, "{text}");
    let csv = mixnn(Path::new("."), &[&words[..], &["--csv"]].concat()).well().stdout;
    let rows: Vec<Vec<&str>> =
        csv.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 10, "{csv}");
    assert!(rows.iter().all(|row| row.len() == rows[0].len()) && rows[0][0] == "cell_bytes", "{csv}");
    assert!(rows[1][3].parse::<f64>().unwrap() > 0.0);
}

#[test]
fn what_a_bench_has_not_enough_of_is_told_first() {
    for (words, code, told) in [
        ("slot --local 5", 3, ["this takes 6 ranks, there are 5", "--local 6"]),
        ("slot --local 7 --ranks 9", 3, ["this takes 9 ranks, there are 7", "--local 9"]),
        ("scale --local 8 --ranks 6,12", 3, ["this takes 12 ranks, there are 8", "--local 12"]),
        ("train jobs/digits.toml --local 6 --relays 3,8", 3, ["this takes 12 ranks, there are 6", "--local 12"]),
        ("slot --cells 63", 2, ["63 bytes", "the least is 64"]),
        ("train no-such-job.toml", 3, ["no-such-job.toml", "cannot"]),
        ("crypto --ranks 65535", 2, ["at most 512 ranks", "65535"]),
        ("scale --ranks 6,513", 2, ["at most 512 ranks", "513"]),
        ("slot --local 64 --cells 67108864", 3, ["MB of memory", "fewer ranks"]),
        ("crypto --cells 0", 2, ["0", "--cells"]),
        ("slot --hops 5", 2, ["5", "3..=4"]),
        ("crypto --json --csv", 2, ["--json", "--csv"]),
    ] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let words: Vec<&str> = words.split(' ').collect();
        let ran = mixnn(root, &[&["bench"], &words[..]].concat());
        ran.refused(code, &told);
        assert_eq!(ran.stdout, "", "{words:?}");
    }
}

/// One that is stopped, or whose time is over, prints what it has.
#[test]
fn an_interrupted_bench_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "{} bench crypto --cells 64,128 --rounds 1000000 --json > rows & \
         until [ -s rows ]; do sleep 0.1; done; sleep 2; kill -TERM $!; wait $!",
        binary::MIXNN
    );
    let mut command = binary::alone(std::process::Command::new("timeout"));
    let output = command.args(["-k", "5", binary::HANGS, "bash", "-c", &script]).current_dir(folder.path()).output();
    let mut ran = Ran::of(&output.unwrap());
    ran.refused(128 + 15, &["stopped by SIGTERM"]);
    ran.stdout = std::fs::read_to_string(folder.path().join("rows")).unwrap();
    // Where the machine has other things to do, the first round may not be through: then there is nothing to keep.
    let table = Table::read(&ran);
    assert!(table.rows.iter().all(|row| row["cell_bytes"] == 64), "{:?}", table.rows);
    let over = mixnn(folder.path(), &["bench", "crypto", "--max-time", "1s", "--rounds", "1000000", "--json"]).well();
    assert!(over.stderr.contains("the time is over"), "{}", over.stderr);
    assert!(Table::read(&over).rows.len() <= 9);
}

/// Processes measure one thing after the other in one launch: parts of them, too.
#[cfg(feature = "mpi")]
#[test]
fn ranks_are_processes() {
    let folder = tempfile::tempdir().unwrap();
    let launched = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        launcher::launch(folder.path(), &[&["-n", "8", binary::MIXNN, "bench"], &words[..], &["--json"]].concat())
    };
    let slots = Table::read(&launched("slot --ranks 7 --cells 512 --slots 3 --rounds 1").well());
    assert_eq!(slots.of("part", "slot").len(), 4);
    assert_eq!((slots.of("blocks", "shared").len(), slots.of("blocks", "messages").len()), (13, 13));
    // What all ranks shared for short blocks is too short for long ones.
    let grown =
        Table::read(&launched("slot --cells 256,4096 --blocks shared --link off --slots 3 --rounds 1").well());
    assert_eq!(grown.of("part", "slot").len(), 2);
    let model = folder.path().join("model.json");
    let fitted = Table::read(&launched(&format!("model --out {} --slots 2 --rounds 1", model.display())).well());
    assert_eq!((fitted.of("kind", "run").len(), model.exists()), (12, true));
    let scaled = Table::read(&launched("scale --ranks 6,7,8 --slots 2 --rounds 1").well());
    assert_eq!(scaled.rows.len(), 6);
    // Fewer of the same processes have more of the cores each.
    let cores = |ranks: u64| scaled.of("ranks", ranks)[0]["cores"].as_f64().unwrap();
    assert!(cores(8) >= 1.0 || cores(6) > cores(8), "{} for each of 6, {} for each of 8", cores(6), cores(8));
    let words = "--set train.batch=512 --set train.micro_batch=128 --epochs 1 --rounds 1 --relays 3,4";
    let trained = Table::read(&launched(&format!("train {DIGITS} {words}")).well());
    assert_eq!(trained.rows.len(), 5);
    let alone = bench(&format!("train {DIGITS} {words}"));
    let weights = |table: &Table| table.rows.iter().map(|row| row["weights"].clone()).collect::<Vec<_>>();
    assert_eq!(weights(&trained), weights(&alone));
    let cells = Table::read(&launched("crypto --cells 64 --rounds 1").well());
    assert_eq!((cells.rows.len(), cells.head["machine"]["ranks"].as_str().unwrap().contains("8, all")), (9, true));
    // One rank says why a run has failed.
    let diverges = launched(&format!("train {DIGITS} {words} --profiles mixed --set train.optimizer.lr=1e30"));
    diverges.refused(1, &["training has diverged"]);
    assert_eq!(diverges.stderr.matches("error:").count(), 1, "{}", diverges.stderr);
    launched("slot --ranks 9").refused(3, &["this takes 9 ranks, there are 8"]);
    launched("train no-such-job.toml").refused(3, &["no-such-job.toml"]);
}
