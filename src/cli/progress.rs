//! What a user sees of a run that is under way: a bar on a terminal, and a line for each epoch anywhere.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::report;
use crate::run::keeper::Keeper;
use crate::run::kept::checkpoint::Reached;
use crate::run::kept::folder::{Folder, METRICS, MODEL};
use crate::run::kept::results::EpochReport;
use crate::run::slots::SlotKeeper;
use crate::run::{Model, RunError, Watcher};
use crate::terminal;

/// The variable of the environment that decides about the bar. A user sets it to 1 under a launcher that hides a
/// terminal from mixnn, as mpirun does. 0 means no bar.
const WANTED: &str = "MIXNN_PROGRESS";

/// How often a log is told how far a run is within an epoch.
const SELDOM: Duration = Duration::from_secs(60);

/// Shows a run to the user and writes its metrics into its folder.
pub(super) struct Progress<'a> {
    /// The bar, which may be hidden.
    bar: ProgressBar,
    /// The folder into which the run's files go.
    folder: &'a Folder,
    /// How many epochs the run has.
    epochs: u32,
    /// What keeps the states of the run.
    keeper: &'a mut Keeper,
    /// What keeps what slots were like.
    slots: &'a mut SlotKeeper,
    /// When something was last told of how far the run is.
    told: Instant,
    /// Whether it was told how long a checkpoint takes.
    timed: bool,
}

/// Where a bar is drawn.
#[derive(Debug, PartialEq, Eq)]
enum Canvas {
    /// No bar is drawn.
    Nowhere,
    /// On a terminal, which stderr is.
    Terminal,
    /// On stderr, whatever it is.
    Stderr,
}

/// Where a bar belongs. `terminal` says whether stderr is one, and `variable` reads the environment. A bar moves and
/// would leave a log full of pieces, so it is for a person at a terminal.
fn canvas(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Canvas {
    match variable(WANTED) {
        Some(wanted) if wanted == "1" => Canvas::Stderr,
        Some(wanted) if wanted == "0" => Canvas::Nowhere,
        _ if terminal && !is_robot(&variable) && !is_plain(&variable) => Canvas::Terminal,
        _ => Canvas::Nowhere,
    }
}

/// Whether this runs in continuous integration, where no person looks on.
fn is_robot(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("CI").is_some_and(|ci| !["", "0", "false"].iter().any(|no| ci == *no))
}

/// Whether the terminal is to get neither colours (no-color.org) nor anything that moves its cursor.
pub(super) fn is_plain(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || variable("TERM").is_none_or(|term| term == "dumb")
}

/// Where a bar is drawn in this process. With `hidden` or `--quiet` it is drawn nowhere.
pub(super) fn target(hidden: bool) -> ProgressDrawTarget {
    if hidden || terminal::is_quiet() {
        return ProgressDrawTarget::hidden();
    }
    match canvas(terminal::stderr_is_terminal(), |name| std::env::var_os(name)) {
        Canvas::Nowhere => ProgressDrawTarget::hidden(),
        Canvas::Terminal => ProgressDrawTarget::stderr(),
        Canvas::Stderr => ProgressDrawTarget::term_like_with_hz(Box::new(Pipe), 10),
    }
}

/// A bar that counts samples.
fn bar(hidden: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(hidden));
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:32} {pos}/{len} samples") {
        bar.set_style(style);
    }
    bar
}

impl<'a> Progress<'a> {
    /// Shows a run of `epochs` epochs whose files go into `folder`; `keeper` and `slots` keep what it has come to. `hidden`: without a bar.
    pub(super) fn new(
        folder: &'a Folder,
        (keeper, slots): (&'a mut Keeper, &'a mut SlotKeeper),
        epochs: u32,
        hidden: bool,
    ) -> Self {
        Self { bar: bar(hidden), folder, epochs, keeper, slots, told: Instant::now(), timed: false }
    }

    /// Takes the bar away when the run is over.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Progress<'_> {
    fn note(&mut self, line: &str) {
        self.bar.suspend(|| terminal::remark(line));
    }

    fn warn(&mut self, line: &str) {
        self.bar.suspend(|| terminal::note(line));
    }

    fn progress(&mut self, epoch: u32, done: usize, of: usize) {
        self.bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
        // A log has no bar: it gets a line a minute, where an epoch takes longer than that.
        if self.bar.is_hidden() && self.told.elapsed() >= SELDOM {
            self.note(&format!("epoch {}/{}   {done} of {of} samples", epoch + 1, self.epochs));
            self.told = Instant::now();
        }
    }

    fn keeper(&mut self) -> Option<&mut Keeper> {
        Some(self.keeper)
    }

    fn slots(&mut self) -> Option<&mut SlotKeeper> {
        Some(self.slots)
    }

    fn folder(&self) -> Option<&Path> {
        Some(self.folder.path())
    }

    fn keep(&mut self, reached: Reached, model: Model) -> Result<(), RunError> {
        let path = self.folder.path().join(MODEL);
        model.replace(&path)?;
        self.warn(&format!("the model as it was after {reached} is kept in {}", path.display()));
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        self.note(&report::epoch_line(report, self.epochs));
        self.told = Instant::now();
        let seconds = self.keeper.longest();
        if !self.timed && seconds > 0.0 {
            self.timed = true;
            self.note(&format!("a checkpoint took {seconds:.2} s to write, beside the run"));
        }
        Ok(self.folder.append(METRICS, report.line()?.trim_end())?)
    }
}

/// Shows a run that infers, and keeps the outputs.
pub(super) struct Looking {
    bar: ProgressBar,
    outputs: Vec<f32>,
}

impl Looking {
    /// Has no outputs yet.
    pub(super) fn new() -> Self {
        Self { bar: bar(false), outputs: Vec::new() }
    }

    /// Takes the bar away and returns the outputs.
    pub(super) fn finish(self) -> Vec<f32> {
        self.bar.finish_and_clear();
        self.outputs
    }
}

impl Watcher for Looking {
    fn note(&mut self, line: &str) {
        self.bar.suspend(|| terminal::remark(line));
    }

    fn warn(&mut self, line: &str) {
        self.bar.suspend(|| terminal::note(line));
    }

    fn progress(&mut self, _epoch: u32, done: usize, of: usize) {
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
    }

    fn epoch(&mut self, _report: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }

    fn outputs(&mut self, outputs: Vec<f32>) -> Result<(), RunError> {
        self.outputs = outputs;
        Ok(())
    }
}

/// A terminal behind a pipe. It draws without asking what stderr is.
#[derive(Debug)]
struct Pipe;

impl Pipe {
    /// Writes `text` to stderr. What cannot be written is dropped.
    fn put(&self, text: &str) -> std::io::Result<()> {
        terminal::draw(text);
        Ok(())
    }
}

impl TermLike for Pipe {
    fn width(&self) -> u16 {
        79
    }

    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}A")) }
    }

    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}B")) }
    }

    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}C")) }
    }

    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.put(&format!("\x1b[{n}D")) }
    }

    fn write_line(&self, s: &str) -> std::io::Result<()> {
        self.put(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> std::io::Result<()> {
        self.put(s)
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_for_a_person_at_a_terminal_or_for_who_asks() {
        for (terminal, variables, due) in [
            (true, &[][..], Canvas::Terminal),
            (false, &[], Canvas::Nowhere),
            (true, &[("CI", "true")], Canvas::Nowhere),
            (true, &[("CI", "1")], Canvas::Nowhere),
            (true, &[("CI", "")], Canvas::Terminal),
            (true, &[("CI", "false")], Canvas::Terminal),
            (true, &[("NO_COLOR", "1")], Canvas::Nowhere),
            (true, &[("NO_COLOR", "")], Canvas::Terminal),
            (true, &[("TERM", "dumb")], Canvas::Nowhere),
            (true, &[("MIXNN_PROGRESS", "0")], Canvas::Nowhere),
            (false, &[("MIXNN_PROGRESS", "0")], Canvas::Nowhere),
            (true, &[("MIXNN_PROGRESS", "")], Canvas::Terminal),
            (false, &[("MIXNN_PROGRESS", "1")], Canvas::Stderr),
            (true, &[("MIXNN_PROGRESS", "1"), ("CI", "true"), ("NO_COLOR", "1"), ("TERM", "dumb")], Canvas::Stderr),
        ] {
            let usual = [("TERM", "xterm")];
            let variable = |name: &str| {
                variables.iter().chain(&usual).find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            assert_eq!(canvas(terminal, variable), due, "{terminal} {variables:?}");
        }
        assert_eq!(canvas(true, |_| None), Canvas::Nowhere, "no TERM");
    }
}
