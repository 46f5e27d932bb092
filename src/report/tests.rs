//! Pages of made-up runs: that they are HTML, show what they should, and fetch nothing.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::given::tests::BENCH;
use super::given::{Given, ReportedRun};
use crate::job::Job;
use crate::mix::courier::Timing;
use crate::run::kept::results::{EpochReport, Outcome, RankTiming};
use crate::run::kept::slots::{SlotEntry, SlotLog, SlotSetup};

/// The digits, with these settings on top.
fn job(sets: &[&str]) -> Job {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap()
}

/// What four epochs of half a second each came to.
fn epochs(slots: u64) -> Vec<EpochReport> {
    let epoch = |epoch: u32| EpochReport {
        format: 1,
        epoch,
        train_loss: Some(2.0 / f64::from(epoch)),
        validation_accuracy: Some(0.9 + 0.01 * f64::from(epoch)),
        validation_loss: Some(2.2 / f64::from(epoch)),
        seconds: 0.5 + 0.01 * f64::from(epoch),
        slots,
        samples_per_second: 1000.0,
    };
    (1..=4).map(epoch).collect()
}

/// What a run of `ranks` ranks in this profile came to.
fn outcome(profile: &str, ranks: u16) -> Outcome {
    let mut object = json!({
        "format": 1, "name": "digits", "seed": "7", "job_sha256": "00", "command": ["mixnn", "run"], "batch_job": null,
        "processor": "<processor>", "hosts": [{ "host": "a&b", "ranks": ranks }], "profile": profile, "ranks": ranks,
        "hops": 3, "backend": "cpu", "device_lanes": false, "threads": [1], "aead": [], "mpi": "local", "version": "0.1.0",
        "fingerprint": "cpu/scalar", "test_accuracy": 0.95, "test_loss": 0.2, "weights_sha256": "abcdef", "seconds": 2.5,
        "starts": 1, "wire_bytes_per_rank": 12_000_000, "slot_seconds": null, "work_seconds": null, "overran": 0,
        "cores_suffice": true, "timing": [],
    });
    object["epochs"] = serde_json::to_value(epochs(if profile == "single" { 0 } else { 100 })).unwrap();
    serde_json::from_value(object).unwrap()
}

/// What the slots of a run of seven ranks were like. The owner feeds four micro-batches, and their gradients leave as they come back.
fn slots(paced: bool) -> SlotLog {
    let mut log = SlotLog::new();
    log.setup = SlotSetup { ranks: 7, hosts: vec![4, 2, 6], latency: 1, paced };
    let mut timing = Timing::default();
    for slot in 0..400_u32 {
        timing.compute += Duration::from_micros(30);
        timing.seal += Duration::from_micros(20);
        timing.wait += Duration::from_micros(if slot == 0 { 9000 } else { 50 });
        let place = slot % 100 % 9;
        let trains = slot % 100 < 80;
        let entry = SlotEntry {
            term: slot / 100,
            slot: slot % 100,
            epoch: slot / 100,
            forward: place < 4,
            backward: trains && (4..8).contains(&place),
            trains,
            ..SlotEntry::default()
        };
        log.add(entry, &timing);
    }
    let times =
        |rank| RankTiming { rank, compute: 12.0, seal: 8.0, exchange: 4.0, peel: 16.0, open: 2.0, wait: 20.0 };
    log.settle(&(0..7).map(times).collect::<Vec<_>>(), 7 * 12_000_000);
    log
}

/// A run in this profile that is done.
fn run(label: &str, profile: &str) -> ReportedRun {
    let single = profile == "single";
    let set = format!("mix.profile={}", if single { "mixed" } else { profile });
    let slots = if single { Err("the folder has no slots.bin".to_owned()) } else { Ok(slots(false)) };
    ReportedRun {
        label: label.to_owned(),
        job: job(&[&set]),
        epochs: epochs(100),
        outcome: Some(outcome(profile, if single { 1 } else { 7 })),
        holder: None,
        hosts: slots.as_ref().map(|slots: &SlotLog| slots.setup.hosts.clone()).map_err(String::clone),
        slots,
    }
}

/// The page of these runs.
fn page(runs: Vec<ReportedRun>) -> String {
    let page = Given { runs, benches: Vec::new() }.html();
    is_whole(&page);
    page
}

/// Asserts that every element ends in which nothing else is left open, and that nothing is fetched.
#[track_caller]
fn is_whole(page: &str) {
    assert!(page.starts_with("<!doctype html>\n<html"));
    let mut open: Vec<&str> = Vec::new();
    // The style has no tags.
    let (before, rest) = page.split_once("<style>").unwrap();
    let (style, after) = rest.split_once("</style>").unwrap();
    for part in [before, after] {
        for tag in part.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("<{tag}"));
            assert!(!text.contains('>'), "{text}");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
                (false, true) => {}
                (false, false) if ["!doctype", "meta"].contains(&name) => {}
                (false, false) => open.push(name),
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for word in ["http:", "https:", "src=", "href", "<script", "<link", "<img", "NaN", "inf\""] {
        assert!(!page.contains(word), "{word}");
    }
    for word in ["url(", "@import"] {
        assert!(!style.contains(word), "{word}");
    }
}

#[test]
fn a_run_is_shown_from_all_sides() {
    let page = page(vec![run("night", "mixed")]);
    for words in [
        "<h1>mixnn report: night</h1>",
        "prefers-color-scheme: dark",
        "<figcaption>Loss</figcaption>",
        "<figcaption>Accuracy</figcaption>",
        "<figcaption>By rank</figcaption>",
        "4 · stage 1",
        "1 · relay",
        "stage 3 · 6",
        "From each rank to each other, alike: 1.9 MiB in 400 slots.",
        "From the owner over ranks 4, 2, 6 and back to the owner",
        "a&amp;b",
        "&lt;processor&gt;",
        "This page says who hosts what.",
        "accuracy 0.9500, loss 0.2000",
        "<title>slot 2, stage 1 · 4: forward</title>",
        "backward, and its optimizer step",
        "lockstep",
    ] {
        assert!(page.contains(words), "no {words:?}");
    }
    // Each of 7 ranks to each of 6 others, in one colour.
    assert_eq!(page.matches("class=\"seen\"><title>").count(), 42);
    assert!(!page.contains("What protection costs"), "there is nothing to compare");
    // The first column, whose first slot took long, does not flatten the others.
    assert!(page.contains("One column is cut off"));
}

#[test]
fn several_runs_stand_side_by_side() {
    let page =
        page(vec![run("alone", "single"), run("night", "mixed"), run("plain", "bare"), run("closed", "sealed")]);
    for words in [
        "What protection costs",
        "The ratio is to alone (single).",
        "the same weights, bit for bit",
        "× 1.00",
        "alone, night, plain, closed, training",
        "One process did all",
        "messages go straight to the neighbours",
        "an observer sees just this, and reads it",
    ] {
        assert!(page.contains(words), "no {words:?}");
    }
    // Only in `mixed` is there more to see than what really flows.
    assert_eq!(page.matches("As an observer sees it").count(), 1);
    assert_eq!(page.matches("Who sends to whom</figcaption>").count(), 2);
    let unlike = |mut runs: Vec<ReportedRun>| {
        runs[1].outcome.as_mut().unwrap().weights_sha256 = "other".to_owned();
        super::overhead::comparison(&runs)
    };
    let said = unlike(vec![run("a", "sealed"), run("b", "mixed")]);
    assert!(said.contains("There are no ratios") && said.contains("different weights"), "{said}");
}

/// What is not known is said, and the rest is shown.
#[test]
fn a_run_that_lacks_something_has_a_page_all_the_same() {
    let missing = || Err("the folder has no slots.bin".to_owned());
    let old = ReportedRun { slots: missing(), ..run("old", "mixed") };
    let page_of_old = page(vec![old]);
    assert!(page_of_old.contains("Where the time of slots went is not known: the folder has no slots.bin."));
    assert!(page_of_old.contains("What ranks did in which slot is not known"));
    assert!(page_of_old.contains("From the owner over ranks 4, 2, 6"), "the checkpoint has the plan");
    // A result may have the times.
    let mut timed = ReportedRun { slots: missing(), ..run("timed", "mixed") };
    let times = RankTiming { rank: 0, compute: 400.0, seal: 8.0, exchange: 4.0, peel: 16.0, open: 2.0, wait: 20.0 };
    timed.outcome.as_mut().unwrap().timing = vec![times];
    let timed = page(vec![timed]);
    assert!(timed.contains("owner: compute 1.00 ms") && timed.contains("Means of 400 slots"));
    let begun = ReportedRun {
        epochs: Vec::new(),
        outcome: None,
        slots: missing(),
        hosts: Err("there is no checkpoint".to_owned()),
        ..run("<begun>", "mixed")
    };
    let begun = page(vec![begun]);
    assert!(begun.contains("No epoch is through yet.") && begun.contains("ended early: 0 of 15 epochs are through"));
    assert!(begun.contains("&lt;begun&gt;") && begun.contains("How many ranks there are is not known"));
    assert!(!begun.contains("This page says who hosts what."));
    let idle =
        ReportedRun { slots: Ok(SlotLog::new()), outcome: None, hosts: Ok(Vec::new()), ..run("idle", "mixed") };
    assert!(page(vec![idle]).contains("No micro-batch had left the owner yet."));
}

/// Under a pace nobody knows what stages did when, and nothing is made up.
#[test]
fn under_a_pace_the_owner_alone_has_a_row() {
    let paced = ReportedRun { slots: Ok(slots(true)), ..run("paced", "mixed") };
    let page = page(vec![paced]);
    assert!(page.contains("owner: forward</title>") && !page.contains("stage 1 · 4: forward</title>"));
    assert!(page.contains("no rank tells the owner in which slot it worked"));
}

/// Losses that are no numbers, as of a run that has diverged, epochs without figures, one epoch alone.
#[test]
fn figures_that_are_none_are_left_out() {
    let mut odd = run("odd", "mixed");
    odd.epochs[1].train_loss = Some(f64::INFINITY);
    odd.epochs[2].train_loss = None;
    odd.epochs[3].validation_loss = Some(f64::NAN);
    odd.outcome.as_mut().unwrap().test_loss = Some(f64::NAN);
    odd.epochs.iter_mut().for_each(|epoch| epoch.validation_accuracy = None);
    odd.outcome.as_mut().unwrap().test_accuracy = None;
    let shown = super::learned::pictures(&[odd]);
    assert!(shown.contains("Loss</figcaption>") && !shown.contains("Accuracy</figcaption>"));
    assert!(!shown.contains("\"NaN") && !shown.contains(",NaN") && !shown.contains(",inf"));
    let mut one = run("one", "mixed");
    one.epochs.truncate(1);
    page(vec![one]);
}

/// As many ranks as a job may have.
#[test]
fn many_ranks_have_a_page_of_some_size() {
    let mut large = run("large", "mixed");
    let ranks = crate::job::MOST_RANKS;
    let mut log = slots(false);
    log.setup = SlotSetup { ranks, hosts: (1..ranks - 3).collect(), latency: 1, paced: false };
    log.ranks = vec![[1_000_000; 6]; ranks.into()];
    large.outcome.as_mut().unwrap().ranks = ranks;
    (large.hosts, large.slots) = (Ok(log.setup.hosts.clone()), Ok(log));
    let page = page(vec![large]);
    assert!(page.len() < 2_000_000, "{}", page.len());
    assert!(page.contains("511 · relay") && page.contains("The first 24 of 508 stages are drawn."));
    // No result that is made up takes all memory.
    let mut false_result = run("false", "mixed");
    false_result.outcome.as_mut().unwrap().ranks = u16::MAX;
    assert!(
        super::traffic::pictures(&false_result).contains("The result tells of 65535 ranks; a run has at most 512.")
    );
}

#[test]
fn a_bench_is_shown_as_bars_and_as_a_table() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("bench.json");
    let shown = |text: &str| {
        fs::write(&path, text).unwrap();
        let page = Given::read(std::slice::from_ref(&path)).unwrap().html();
        is_whole(&page);
        page
    };
    let page = shown(BENCH);
    for words in [
        "<h1>mixnn report: bench train</h1>",
        "seconds an epoch",
        "mixed, ranks 7, hops 3",
        "1.25   × 2.50",
        "<td data-column=\"to single\">2.50</td>",
        "&lt;node&gt;",
    ] {
        assert!(page.contains(words), "no {words:?}");
    }
    // A bench of another version, with nothing that bars can show, and with words that are not ours.
    let object: Value = json!({ "<b>": "<i>", "avg_us": "fast", "nested": { "a": [1] } });
    let page = shown(&format!("{{\"bench\":\"<new>\"}}\n{object}\n"));
    assert!(
        page.contains("<h2>mixnn bench &lt;new&gt;</h2>")
            && page.contains("<td data-column=\"&lt;b&gt;\">&lt;i&gt;</td>")
    );
    shown("{\"bench\":\"slot\"}");
}
