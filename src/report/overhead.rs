//! What protection costs: seconds an epoch, run beside run, and by those of the run without it.

use super::given::ReportedRun;
use super::html::{escaped, table};
use super::scale::{middle, short, tick_label, ticks};
use super::svg::{Anchor, COLOURS, Svg, WIDTH, figure};

/// How high the part of the picture is that one run takes.
const HEIGHT: f64 = 34.0;
/// Where the bars end at most: behind them their figures stand.
const RIGHT: f64 = WIDTH - 118.0;

/// The time of a run's epochs, in seconds: the median, the least and the largest.
pub(super) fn seconds(run: &ReportedRun) -> Option<[f64; 3]> {
    middle(run.epochs.iter().map(|epoch| epoch.seconds))
}

/// The place of the run that the others are compared with: the first in one process, else the first that protects nothing. `None` where
/// there is neither.
fn baseline(runs: &[ReportedRun]) -> Option<usize> {
    let first = |profile: &str| runs.iter().position(|run| run.profile() == profile && seconds(run).is_some());
    first("single").or_else(|| first("bare"))
}

/// The picture and the table that compare several runs. Empty where there is nothing to compare.
pub(super) fn comparison(runs: &[ReportedRun]) -> String {
    let timed: Vec<(usize, &ReportedRun, [f64; 3])> =
        runs.iter().enumerate().filter_map(|(at, run)| Some((at, run, seconds(run)?))).collect();
    if timed.len() < 2 {
        return String::new();
    }
    let base = baseline(runs).and_then(|at| Some((at, seconds(&runs[at])?[0]))).filter(|(_, base)| *base > 0.0);
    let ratio = |median: f64| base.map(|(_, base)| median / base);
    let most = timed.iter().map(|(.., [_, _, high])| *high).fold(0.0, f64::max).max(1e-9);
    let x = |seconds: f64| seconds / most * RIGHT;

    let bottom = timed.len() as f64 * HEIGHT + 4.0;
    let mut svg = Svg::new(bottom + 30.0, "seconds an epoch, run by run");
    let marks = ticks(0.0, most, 4);
    for tick in &marks {
        svg.line([x(*tick), 0.0, x(*tick), bottom], "grid");
        let anchor = if *tick == 0.0 { Anchor::Start } else { Anchor::Middle };
        svg.text(x(*tick), bottom + 14.0, anchor, &tick_label(*tick, &marks));
    }
    svg.text(RIGHT, bottom + 27.0, Anchor::End, "seconds an epoch");
    let mut rows = Vec::new();
    for (place, (at, run, [median, low, high])) in timed.iter().enumerate() {
        let top = place as f64 * HEIGHT;
        // A run is often called by its profile.
        let name = if run.label == run.profile() {
            run.label.clone()
        } else {
            format!("{} · {}", run.label, run.profile())
        };
        let spread = format!("{}: {} s, from {} to {} s", run.label, short(*median), short(*low), short(*high));
        svg.text(0.0, top + 12.0, Anchor::Start, &name);
        svg.rect([0.0, top + 17.0, x(*median).max(1.0), 12.0], &format!("f{}", at % COLOURS), Some(&spread));
        // The spread over the epochs.
        svg.line([x(*low), top + 23.0, x(*high), top + 23.0], "whisker");
        let times = ratio(*median).map_or_else(String::new, |ratio| format!("   × {ratio:.2}"));
        svg.text(x(median.max(*high)) + 6.0, top + 27.0, Anchor::Start, &format!("{} s{times}", short(*median)));
        rows.push(vec![
            escaped(&run.label),
            escaped(run.profile()),
            run.ranks().map_or_else(|| "-".to_owned(), |ranks| ranks.to_string()),
            run.epochs.len().to_string(),
            format!("{} ({} to {})", short(*median), short(*low), short(*high)),
            ratio(*median).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    let of = match base {
        Some((at, _)) => format!("The ratio is to {} ({}).", escaped(&runs[at].label), escaped(runs[at].profile())),
        None => {
            "There are no ratios: none of these runs was without protection. Name one with <code>--single</code> or \
                 <code>--profile bare</code> as well."
                .to_owned()
        }
    };
    let below = format!(
        "<p>Medians of the epochs, with the least and the largest; an epoch's time has its validation, the last one's the test. {of} {}</p>\n",
        sameness(&timed)
    );
    let columns = ["run", "profile", "ranks", "epochs", "seconds an epoch", "ratio"];
    format!(
        "<div class=\"row\">{}</div>\n{}{below}",
        figure("Seconds an epoch", "", &svg.finish(), ""),
        table(&columns, &rows)
    )
}

/// Whether the runs have learned the same, so that nothing but the time differs, in words.
fn sameness(timed: &[(usize, &ReportedRun, [f64; 3])]) -> &'static str {
    let digests: Vec<Option<&str>> =
        timed.iter().map(|(_, run, _)| run.outcome.as_ref().map(|outcome| outcome.weights_sha256.as_str())).collect();
    match digests.windows(2).all(|pair| pair[0] == pair[1]) {
        true if digests.contains(&None) => "None of them is done, so that nothing says that they learn the same.",
        true => "All of them ended with the same weights, bit for bit: they did the same work.",
        false if digests.contains(&None) => {
            "Not all of them are done, so that nothing says that they learn the same."
        }
        false => {
            "They ended with different weights: other jobs, or other processors, so that their times may be of other work."
        }
    }
}
