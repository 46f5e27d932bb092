//! The page of `mixnn report`: what runs and benches have left, in pictures. It stands alone: no scripts, nothing to fetch; light or dark as
//! the reader's system is; to be read on a phone.

use super::given::{Given, ReportedRun};
use super::html::{escaped, facts, page, table};
use super::scale::{count, time};
use super::{learned, measured, overhead, spent, timeline, traffic};
use crate::run::kept::size;

/// The style of the page.
const STYLE: &str = include_str!("page.css");

impl Given {
    /// All of it as a page of HTML.
    pub fn html(&self) -> String {
        let names: Vec<&str> = self.runs.iter().map(|run| run.label.as_str()).collect();
        let benches = self.benches.iter().map(|bench| format!("bench {}", bench.name));
        let title = names.iter().map(|name| (*name).to_owned()).chain(benches).collect::<Vec<_>>().join(", ");
        let mut body = String::new();
        if !self.runs.is_empty() {
            body += &self.runs_together();
        }
        self.runs.iter().for_each(|run| body += &section(run));
        self.benches.iter().for_each(|bench| body += &measured::section(bench));
        page(&format!("mixnn report: {title}"), STYLE, &body)
    }

    /// What is told of all runs together: what they are, what they have learned, how long an epoch takes.
    fn runs_together(&self) -> String {
        let secret = match self.runs.iter().any(|run| run.hosts.is_ok() && !run.is_single()) {
            true => {
                "<p class=\"secret\">This page says who hosts what. That is the owner's secret: do not give it to those who run the \
                 ranks.</p>\n"
            }
            false => "",
        };
        let mut together = secret.to_owned();
        if self.runs.len() > 1 {
            let row = |run: &ReportedRun| {
                let ranks = run.ranks().map_or_else(|| "-".to_owned(), |ranks| ranks.to_string());
                let test = run
                    .outcome
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |outcome| test(outcome.test_accuracy, outcome.test_loss));
                vec![escaped(&run.label), escaped(run.profile()), ranks, state(run), test]
            };
            together +=
                &table(&["run", "profile", "ranks", "state", "test"], &self.runs.iter().map(row).collect::<Vec<_>>());
        }
        together += "<h2>Loss and accuracy</h2>\n";
        together += &learned::pictures(&self.runs);
        let comparison = overhead::comparison(&self.runs);
        if !comparison.is_empty() {
            together += &format!("<h2>What protection costs</h2>\n{comparison}");
        }
        together
    }
}

/// What is told of one run.
fn section(run: &ReportedRun) -> String {
    let mut section = format!("<section><h2>{}</h2>\n{}", escaped(&run.label), about(run));
    if run.is_single() && run.slots.is_err() {
        section += "<p>One process did all: there were no ranks, no messages and no slots.</p>\n";
    } else {
        section += "<h3>Where a slot's time goes</h3>\n";
        section += &spent::pictures(run);
        section += "<h3>The pipeline, slot by slot</h3>\n";
        section += &timeline::pictures(run);
        section += "<h3>Who sends to whom</h3>\n";
        section += &traffic::pictures(run);
    }
    section + "</section>\n"
}

/// A test's accuracy and loss, in words.
fn test(accuracy: Option<f64>, loss: Option<f64>) -> String {
    match (accuracy, loss) {
        (Some(accuracy), Some(loss)) => format!("accuracy {accuracy:.4}, loss {loss:.4}"),
        (Some(accuracy), None) => format!("accuracy {accuracy:.4}"),
        (None, Some(loss)) => format!("loss {loss:.6}"),
        (None, None) => "-".to_owned(),
    }
}

/// How far a run is, in words.
fn state(run: &ReportedRun) -> String {
    let (through, of) = (run.epochs.len(), run.job.train.epochs);
    match (&run.outcome, &run.holder) {
        (Some(_), _) => format!("done, {through} epochs"),
        (None, Some(holder)) => {
            format!("{through} of {of} epochs are through; {} is at work", escaped(&holder.to_string()))
        }
        (None, None) => format!("ended early: {through} of {of} epochs are through"),
    }
}

/// What a run was: its job, its ranks, what it came to.
fn about(run: &ReportedRun) -> String {
    let job = format!("{}, seed {}", run.job.name, run.job.seed);
    let mut about = vec![("job", escaped(&job)), ("state", state(run)), ("profile", escaped(run.profile()))];
    match &run.outcome {
        None => about.extend(run.ranks().map(|ranks| ("ranks", ranks.to_string()))),
        Some(outcome) => {
            let hosts: Vec<String> =
                outcome.setting.hosts.iter().map(|host| format!("{} on {}", host.ranks, host.host)).collect();
            let ranks = match run.is_single() {
                true => "none: one process".to_owned(),
                false => format!("{} ({}; {})", outcome.ranks, hosts.join(", "), outcome.mpi),
            };
            about.push(("ranks", escaped(&ranks)));
            if outcome.hops > 0 {
                let pace = match (outcome.slot_seconds, outcome.work_seconds) {
                    (Some(slot), _) => format!("a slot every {}", time(slot * 1e6)),
                    (None, Some(work)) => format!("{} for work in each slot", time(work * 1e6)),
                    (None, None) => "lockstep".to_owned(),
                };
                about.push(("hops, pace", format!("{}, {pace}", outcome.hops)));
            }
            about.push(("test", test(outcome.test_accuracy, outcome.test_loss)));
            let starts = if outcome.starts > 1 { format!(", in {} starts", outcome.starts) } else { String::new() };
            about.push(("time", format!("{}{starts}", time(outcome.seconds * 1e6))));
            if outcome.wire_bytes_per_rank > 0 {
                about.push(("a rank sent", size(outcome.wire_bytes_per_rank)));
            }
            let machine = format!("{}, {} ({})", outcome.setting.processor, outcome.backend, outcome.fingerprint);
            about.push(("computed on", escaped(&machine)));
            about.push(("weights", format!("<code>{}</code>", escaped(&outcome.weights_sha256))));
            about.push(("mixnn", escaped(&outcome.version)));
        }
    }
    if let Ok(log) = &run.slots {
        about.push(("slots", format!("{} in the last start with ranks", count(log.slots))));
    }
    facts(&about)
}
