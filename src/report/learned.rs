//! What was learned: loss and accuracy, epoch by epoch, of all runs in one picture.

use super::given::ReportedRun;
use super::html::{details, escaped, table};
use super::scale::{short, tick_label, ticks};
use super::svg::{Anchor, COLOURS, Svg, WIDTH, figure, stroke};
use crate::run::kept::results::EpochReport;

/// How high a picture of curves is.
const HEIGHT: f64 = 210.0;
/// Where the axis of epochs begins and ends.
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 10.0;
/// Where the other axis begins and ends.
const BOTTOM: f64 = HEIGHT - 34.0;
const TOP: f64 = 22.0;
/// Above so many points a curve has marks at its end alone.
const MOST_MARKS: usize = 24;

/// A figure of each epoch.
#[derive(Clone, PartialEq)]
struct Curve {
    /// The places of the runs that it is of, among all runs: those whose figures are the same share one.
    of: Vec<usize>,
    /// What it is a figure of: training, validation or test.
    what: &'static str,
    /// Epoch, from 1, and figure.
    points: Vec<(f64, f64)>,
}

/// The pictures of loss and accuracy of these runs.
pub(super) fn pictures(runs: &[ReportedRun]) -> String {
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    let percent = |part: Option<f64>| part.map(|part| part * 100.0);
    for (at, run) in runs.iter().enumerate() {
        let (test_loss, test_accuracy) =
            run.outcome.as_ref().map(|outcome| (outcome.test_loss, outcome.test_accuracy)).unwrap_or_default();
        add(&mut losses, at, "training", points(run, |epoch| epoch.train_loss));
        add(&mut losses, at, "validation", points(run, |epoch| epoch.validation_loss));
        add(&mut losses, at, "test", at_the_end(run, test_loss));
        add(&mut accuracies, at, "validation", points(run, |epoch| percent(epoch.validation_accuracy)));
        add(&mut accuracies, at, "test", at_the_end(run, percent(test_accuracy)));
    }
    let mut pictures = picture("Loss", "mean loss of a sample", "", &losses, runs);
    pictures += &picture("Accuracy", "part of the samples classified correctly", " %", &accuracies, runs);
    match pictures.is_empty() {
        true => "<p>No epoch is through yet.</p>\n".to_owned(),
        false => format!("<div class=\"row\">{pictures}</div>\n{}", figures(runs)),
    }
}

/// Epoch, from 1, and `figure` of each epoch that has one.
fn points(run: &ReportedRun, figure: impl Fn(&EpochReport) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |epoch: &EpochReport| Some((f64::from(epoch.epoch), figure(epoch)?));
    run.epochs.iter().filter_map(point).filter(|(_, y)| y.is_finite()).collect()
}

/// The last epoch, and a figure of the run's end.
fn at_the_end(run: &ReportedRun, figure: Option<f64>) -> Vec<(f64, f64)> {
    let last = run.epochs.last().map(|epoch| f64::from(epoch.epoch));
    last.zip(figure.filter(|y| y.is_finite())).into_iter().collect()
}

/// Adds a curve of the run at place `at`, unless it has no points. Runs that have learned the same share one.
fn add(curves: &mut Vec<Curve>, at: usize, what: &'static str, points: Vec<(f64, f64)>) {
    match curves.iter_mut().find(|known| known.what == what && known.points == points) {
        _ if points.is_empty() => {}
        Some(known) => known.of.push(at),
        None => curves.push(Curve { of: vec![at], what, points }),
    }
}

impl Curve {
    /// The number of its shape among marks, and of its colour.
    fn number(&self) -> usize {
        self.of.first().copied().unwrap_or(0)
    }

    /// The classes of its line.
    fn line(&self) -> String {
        let colour = self.number() % COLOURS;
        if self.what == "training" { format!("s{colour}") } else { format!("s{colour} dashed") }
    }

    /// The classes of its marks: those of training are filled.
    fn mark(&self) -> String {
        let colour = self.number() % COLOURS;
        if self.what == "training" { format!("f{colour}") } else { format!("hollow s{colour}") }
    }

    /// The runs that it is of, in words.
    fn names(&self, runs: &[ReportedRun]) -> String {
        self.of.iter().filter_map(|at| Some(runs.get(*at)?.label.as_str())).collect::<Vec<_>>().join(", ")
    }
}

/// A picture of curves, and what they are. Empty without curves.
fn picture(heading: &str, label: &str, unit: &str, curves: &[Curve], runs: &[ReportedRun]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let Some(last) = all().map(|(x, _)| *x).max_by(f64::total_cmp) else { return String::new() };
    let low = all().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    let room = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-9);
    // A loss is not below zero, nor an accuracy above all.
    let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
    let top = if unit.is_empty() { high + room } else { (high + room).min(100.0_f64.max(high)) };
    let x = |epoch: f64| {
        if last > 1.0 { LEFT + (epoch - 1.0) / (last - 1.0) * (RIGHT - LEFT) } else { (LEFT + RIGHT) / 2.0 }
    };
    let y = |value: f64| BOTTOM - (value - bottom) / (top - bottom) * (BOTTOM - TOP);

    let mut svg = Svg::new(HEIGHT, &format!("{heading}: {label}, by epoch"));
    let rows = ticks(bottom, top, 5);
    for tick in &rows {
        svg.line([LEFT, y(*tick), RIGHT, y(*tick)], "grid");
        svg.text(LEFT - 5.0, y(*tick) + 4.0, Anchor::End, &tick_label(*tick, &rows));
    }
    svg.text(0.0, 11.0, Anchor::Start, &if unit.is_empty() { label.to_owned() } else { format!("{label},{unit}") });
    // Epochs are whole.
    let mut epochs: Vec<f64> = ticks(1.0, last, 6).into_iter().filter(|tick| tick.fract() == 0.0).collect();
    if !epochs.contains(&1.0) {
        epochs.insert(0, 1.0);
    }
    epochs.iter().for_each(|epoch| svg.text(x(*epoch), BOTTOM + 15.0, Anchor::Middle, &format!("{epoch}")));
    svg.text((LEFT + RIGHT) / 2.0, HEIGHT - 5.0, Anchor::Middle, "epoch");
    for curve in curves {
        let points: Vec<(f64, f64)> = curve.points.iter().map(|(epoch, value)| (x(*epoch), y(*value))).collect();
        svg.curve(&points, &curve.line());
        let marked = if points.len() > MOST_MARKS { points.len() - 1 } else { 0 };
        for (point, (epoch, value)) in points.iter().zip(&curve.points).skip(marked) {
            let title = format!("{}, {}: epoch {epoch}, {}{unit}", curve.names(runs), curve.what, short(*value));
            svg.mark(*point, curve.number(), &curve.mark(), &title);
        }
    }
    figure(heading, &legend(curves, runs), &svg.finish(), "")
}

/// What the curves of a picture are.
fn legend(curves: &[Curve], runs: &[ReportedRun]) -> String {
    let entry = |curve: &Curve| {
        let line = Some(curve.line()).filter(|_| curve.what != "test");
        let run = if runs.len() > 1 { format!("{}, ", curve.names(runs)) } else { String::new() };
        format!("<li>{}{}{}</li>", stroke(line.as_deref(), curve.number(), &curve.mark()), escaped(&run), curve.what)
    };
    format!("<ul class=\"key\">{}</ul>\n", curves.iter().map(entry).collect::<String>())
}

/// The figures behind the pictures.
fn figures(runs: &[ReportedRun]) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let row = |run: &ReportedRun, epoch: &EpochReport| {
        vec![
            escaped(&run.label),
            epoch.epoch.to_string(),
            shown(epoch.train_loss),
            shown(epoch.validation_loss),
            shown(epoch.validation_accuracy),
            format!("{:.2}", epoch.seconds),
            epoch.slots.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> =
        runs.iter().flat_map(|run| run.epochs.iter().map(move |epoch| row(run, epoch))).collect();
    let columns = ["run", "epoch", "training loss", "validation loss", "validation accuracy", "seconds", "slots"];
    details("The figures, epoch by epoch", &table(&columns, &rows))
}
