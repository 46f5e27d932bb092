//! `mixnn report`: the page of small runs, in each profile, in one process and on ranks, stopped and gone on with; and what a browser makes
//! of it.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use binary::{DIGITS, HANGS, json, mixnn};

/// What a bench prints; the figures are made up.
const BENCH: &str = r#"{"bench":"train","machine":{"host":"node-1","version":"0.1.0"},"settings":{"job":"digits, batch 32"}}
{"way":"single","ranks":1,"hops":null,"relays":null,"pace":null,"median_s":0.021,"low_s":0.02,"high_s":0.024,"to_single":1.0,"slots":null,"overran":null,"rank_mb":null,"weights":"5e3a91c2d7f0","rounds":5}
{"way":"bare","ranks":4,"hops":null,"relays":null,"pace":null,"median_s":0.05,"low_s":0.045,"high_s":0.062,"to_single":2.4,"slots":320,"overran":null,"rank_mb":0.4,"weights":"5e3a91c2d7f0","rounds":5}
{"way":"mixed","ranks":7,"hops":3,"relays":3,"pace":"lockstep","median_s":0.21,"low_s":0.18,"high_s":0.27,"to_single":10.0,"slots":330,"overran":0,"rank_mb":41.2,"weights":"5e3a91c2d7f0","rounds":5}
"#;

/// Runs the digits in `folder` as `out`.
fn run(folder: &Path, out: &str, args: &[&str]) {
    let common = ["run", DIGITS, "--quiet", "--out", out, "--set", "train.epochs=3"];
    mixnn(folder, &[common.as_slice(), args].concat()).well();
}

/// Writes a page of `runs` in `folder` and reads it.
fn page(folder: &Path, name: &str, runs: &[&str]) -> String {
    let ran = mixnn(folder, &[&["report"], runs, &["--out", name]].concat()).well();
    assert_eq!((ran.stdout.trim(), &*ran.stderr), (name, ""));
    let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it says who hosts what");
    let page = fs::read_to_string(folder.join(name)).unwrap();
    for word in ["http", "src=", "href", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(word), "{word}: nothing is fetched, and nothing runs");
    }
    page
}

/// A count as the page shows it, its thousands apart.
fn shown(count: u64) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}

#[test]
fn runs_of_every_kind_have_a_page() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    run(folder, "alone", &["--single"]);
    run(folder, "mixed", &["--local", "8"]);
    run(folder, "sealed", &["--local", "4", "--profile", "sealed"]);
    run(folder, "bare", &["--local", "4", "--profile", "bare"]);
    run(folder, "paced", &["--local", "7", "--set", "mix.pace=2ms", "--set", "train.epochs=1"]);
    fs::write(folder.join("bench.json"), BENCH).unwrap();

    let all = page(folder, "all.html", &["alone", "mixed", "sealed", "bare", "paced", "bench.json"]);
    for words in [
        "The ratio is to alone (single).",
        "One process did all",
        "As an observer sees it",
        "messages go straight to the neighbours",
        "reads it",
        "no rank tells the owner in which slot it worked",
        "mixnn bench train",
        "mixed, ranks 7, hops 3",
    ] {
        assert!(all.contains(words), "no {words:?}");
    }
    let mixed = page(folder, "mixed.html", &["mixed"]);
    let result = json(&folder.join("mixed/result.json"));
    let slots: u64 = result["epochs"].as_array().unwrap().iter().map(|epoch| epoch["slots"].as_u64().unwrap()).sum();
    assert!(mixed.contains(&format!("Means of {} slots.", shown(slots))), "{slots} slots");
    assert_eq!(mixed.matches("class=\"seen\"><title>").count(), 8 * 7);
    // The owner takes part, and each of three stages is a rank of its own; four relays are left.
    for stage in 1..=3 {
        assert!(
            mixed.contains(&format!(" · stage {stage}<")) && mixed.contains(&format!(">stage {stage} · ")),
            "stage {stage}"
        );
    }
    assert_eq!(mixed.matches(" · relay</td>").count(), 4);
    // What leaves the owner comes back.
    let real = mixed.split("and back to the owner: ").nth(1).unwrap();
    let fed: u64 = real.split(' ').next().unwrap().replace(',', "").parse().unwrap();
    // 1294 samples an epoch are trained on in batches of 32, 143 looked at, and 360 at the run's end, in micro-batches of 16.
    assert_eq!(fed, 3 * (81 + 9) + 23);
}

/// A run that has failed has a page, and so has one that went on, also where nothing is left but its job.
#[test]
fn a_run_that_is_not_one_piece_has_a_page() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let sets = ["--local", "7", "--set", "train.optimizer.lr=1e30"];
    let failed = mixnn(folder, &[&["run", DIGITS, "--quiet", "--out", "failed"], &sets[..]].concat());
    failed.refused(1, &["diverged"]);
    let page_of_failed = page(folder, "failed.html", &["failed"]);
    assert!(page_of_failed.contains("ended early: 0 of 15 epochs are through"));
    assert!(page_of_failed.contains("No epoch is through yet.") && page_of_failed.contains("backward</title>"));

    // The epochs of two starts, and the slots of the last.
    run(folder, "night", &["--local", "7"]);
    let before = json(&folder.join("night/result.json"))["epochs"].as_array().unwrap().len();
    run(folder, "night", &["--local", "7", "--resume", "auto", "--set", "train.epochs=5"]);
    let done = page(folder, "done.html", &["night"]);
    assert!(before == 3 && done.contains("done, 5 epochs") && done.contains("in 2 starts"));
    let epochs = json(&folder.join("night/result.json"))["epochs"].clone();
    let slots: u64 = epochs.as_array().unwrap()[3..].iter().map(|epoch| epoch["slots"].as_u64().unwrap()).sum();
    assert!(done.contains(&format!("Means of {} slots.", shown(slots))), "{slots} slots");
    assert!(done.contains("What really flowed</figcaption>"));

    // Without the file of slots the newest checkpoint tells who hosts what; without the key nothing does.
    fs::remove_file(folder.join("night/slots.bin")).unwrap();
    let old = page(folder, "old.html", &["night"]);
    assert!(old.contains("the folder has no slots.bin") && old.contains("What really flowed</figcaption>"));
    fs::remove_file(folder.join("night/owner.key")).unwrap();
    let without = page(folder, "without.html", &["night"]);
    assert!(without.contains("What really flowed is not known") && without.contains("owner.key"));
    assert!(!without.contains("This page says who hosts what."));
}

#[test]
fn what_is_no_run_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("thesis.tex"), "\\documentclass{article}").unwrap();
    let report = |args: &[&str]| mixnn(folder, &[&["report"], args].concat());
    report(&["none"]).refused(3, &["cannot read none"]);
    report(&["empty"]).refused(2, &["empty holds no run: found nothing, expected job.toml"]);
    report(&["."]).refused(2, &[". holds no run: found", "thesis.tex"]);
    report(&["thesis.tex"]).refused(2, &["thesis.tex, line 1: found no JSON object", "mixnn bench ... --json"]);
    report(&[]).refused(2, &["RUN"]);
    // Nothing is left behind, and nothing written over.
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
    run(folder, "alone", &["--single"]);
    report(&["alone"]).well();
    let written = fs::read(folder.join("report.html")).unwrap();
    report(&["alone"]).refused(2, &["report.html exists; name another file with --out, or remove it"]);
    assert_eq!(fs::read(folder.join("report.html")).unwrap(), written);
    // A file of slots that is damaged is told on the page; the rest is shown.
    run(folder, "ranks", &["--local", "7"]);
    let slots = folder.join("ranks/slots.bin");
    let mut bytes = fs::read(&slots).unwrap();
    assert!(bytes.len() <= 256 * 1024);
    bytes[100] ^= 1;
    fs::write(&slots, bytes).unwrap();
    let damaged = page(folder, "damaged.html", &["ranks"]);
    assert!(damaged.contains("slots.bin does not tell what the run") && damaged.contains("Loss</figcaption>"));
}

/// A browser that can be run without a screen, where there is one.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    let found = found.into_iter().find(|path| path.is_file());
    let required = std::env::var("MIXNN_CHROMIUM").is_ok_and(|word| word == "required");
    assert!(found.is_some() || !required, "MIXNN_CHROMIUM=required: there is no Chromium here");
    found
}

/// What the browser says when it is called with `args` on `page`.
fn browse(chromium: &Path, folder: &Path, args: &[String], page: &Path) -> String {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let output = Command::new("timeout")
        .args(["-k", "5", HANGS])
        .arg(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
            &profile,
        ])
        .args(args)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Narrow as a phone and wide as a desk, light and dark: the page is as wide as the screen and no wider. The pictures are left for whoever
/// wants to see them, in the folder that Cargo has for files of tests.
#[test]
fn a_browser_shows_the_page_without_overflow() {
    let Some(chromium) = chromium() else {
        eprintln!("no Chromium here: that a browser shows the page is left out");
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    run(folder, "alone", &["--single"]);
    run(folder, "mixed", &["--local", "9"]);
    run(folder, "bare", &["--local", "4", "--profile", "bare"]);
    fs::write(folder.join("bench.json"), BENCH).unwrap();
    let page = page(folder, "page.html", &["alone", "mixed", "bare", "bench.json"]);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&pictures).unwrap();
    for (width, height) in [(390, 9000), (1280, 5200)] {
        // The page stands in a frame of this width, as a window has a least one. A script of the test's own says how wide it has become, and
        // which of its elements reach out of it.
        let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
        let measure = "const page = document.querySelector('iframe').contentDocument; \
            const out = [...page.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > page.documentElement.clientWidth + 0.5); \
            document.title = 'is ' + page.documentElement.scrollWidth + ' of ' + page.documentElement.clientWidth + ', beyond: ' + \
            out.slice(0, 5).map(e => e.tagName + ' ' + e.textContent.slice(0, 30)).join('; ');";
        let frame = format!(
            "<!doctype html><body style=\"margin:0\" onload=\"{measure}\"><iframe style=\"border:0;width:{width}px;height:{height}px\" \
             srcdoc=\"{quoted}\"></iframe></body>"
        );
        let framed = folder.join(format!("{width}.html"));
        fs::write(&framed, frame).unwrap();
        let dom = browse(&chromium, folder, &["--dump-dom".to_owned()], &framed);
        let said = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or(&dom);
        assert_eq!(said, format!("is {width} of {width}, beyond: "));
        for (shade, preference) in [("light", 1), ("dark", 0)] {
            let picture = pictures.join(format!("{width}-{shade}.png"));
            let _ = fs::remove_file(&picture);
            let args = [
                format!("--screenshot={}", picture.display()),
                format!("--window-size={},{height}", width.max(500)),
                format!("--blink-settings=preferredColorScheme={preference}"),
            ];
            browse(&chromium, folder, &args, &framed);
            assert!(fs::metadata(&picture).unwrap().len() > 10_000, "{}", picture.display());
        }
    }
}
