//! The audit as a table in text, and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::Audit;
use super::attack::{Advantage, Advantages};
use super::course::LOCKSTEP;
use super::verdict::Row;

impl fmt::Display for Advantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Adding 0 turns "-0.00" into "0.00".
        let [mean, low, high] = [self.mean, self.low, self.high].map(|value| (value * 100.0).round() / 100.0 + 0.0);
        f.pad(&format!("{mean:.2} ({low:.2} to {high:.2})"))
    }
}

impl Advantage {
    /// The advantage with its bounds, as JSON.
    fn json(&self) -> Value {
        json!({ "advantage": self.mean, "low": self.low, "high": self.high, "surely": self.surely })
    }
}

impl Advantages {
    /// Both attacks' advantages as JSON.
    fn json(&self) -> Value {
        json!({ "statistics": self.statistics.json(), "classifier": self.classifier.json() })
    }
}

impl Row {
    /// What the control has come to, in a few words for a cell of the table.
    pub(super) fn control_cell(&self) -> String {
        match &self.control {
            None => "-".to_owned(),
            Some((without, None)) => format!("no cases, {without}"),
            Some((without, Some(found))) => format!("{:.2}, {without}", found.better().mean + 0.0),
        }
    }

    /// The row with its figures, as JSON.
    fn json(&self) -> Value {
        let (question, who, channel) = self.ask;
        let control = self.control.map(|(without, found)| {
            json!({ "without": without, "found": found.map(|found| found.json()), "wins": self.control_wins() })
        });
        json!({
            "question": question.name(),
            "who": who.name(),
            "channel": channel.name(),
            "found": self.found.map(|found| found.json()),
            "control": control,
            "expected": self.expected,
            "outcome": self.verdict().name(),
            "verdict": self.words(),
        })
    }
}

impl Audit {
    /// The audit with all rows, as JSON.
    pub fn json(&self) -> Value {
        json!({
            "job": self.job,
            "profile": self.profile.name(),
            "pace": self.pace,
            "ranks": self.ranks,
            "colluders": self.colluders,
            "runs": self.runs[0],
            "control_runs": self.runs[1],
            "slots_per_run": self.slots,
            "cores": self.cores,
            "threads": self.threads,
            "a_core_each": self.a_core_each(),
            "overran": self.overran,
            "seconds": self.took.as_secs_f64(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<Value>>(),
        })
    }

    /// Whether every thread had a core for itself.
    pub(super) fn a_core_each(&self) -> bool {
        self.threads <= self.cores
    }

    /// What was played, as names and values for a reader.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let [own, controls] = self.runs;
        let cores =
            if self.a_core_each() { "a core each" } else { "not a core each: times are those of the scheduler, too" };
        let overran = match self.overran {
            None if self.pace == LOCKSTEP => "nothing: lockstep has no pace".to_owned(),
            None => "not known".to_owned(),
            Some(slots) => format!("{slots} slots"),
        };
        vec![
            ("job", format!("{}, profile {}, pace {}", self.job, self.profile.name(), self.pace)),
            ("ranks", format!("{}, of which {} collude where the table says colluders", self.ranks, self.colluders)),
            (
                "runs",
                format!(
                    "{own} of about {:.0} slots, and {controls} as controls, in {:.0} s",
                    self.slots,
                    self.took.as_secs_f64()
                ),
            ),
            ("threads", format!("{} on {} cores: {cores}", self.threads, self.cores)),
            ("overran", overran),
        ]
    }

    /// How a reader is to take the figures.
    pub(super) const LEGEND: &'static str = "advantage: 2 x balanced accuracy - 1 on held-out runs, 0 is guessing, 1 certainty; in \
        brackets 95 % of the error, by run; control: the better attack's advantage with the defence off (docs/AUDIT.md)";
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.facts() {
            writeln!(f, "{name:<9} {value}")?;
        }
        let mut last = None;
        for row in &self.rows {
            let (question, who, channel) = row.ask;
            if last != Some(channel) {
                last = Some(channel);
                writeln!(
                    f,
                    "\n{:<15} {:<10} {:<22} {:<22} {:<24} what it comes to",
                    channel.name(),
                    "who looks",
                    "statistics",
                    "classifier",
                    "control"
                )?;
            }
            let [statistics, classifier] = match &row.found {
                None => [String::from("-"), String::from("-")],
                Some(found) => [found.statistics, found.classifier].map(|advantage| advantage.to_string()),
            };
            writeln!(
                f,
                "  {:<15} {:<10} {statistics:<22} {classifier:<22} {:<24} {}",
                question.name(),
                who.name(),
                row.control_cell(),
                row.words()
            )?;
        }
        writeln!(f, "\n{}", Audit::LEGEND)
    }
}
