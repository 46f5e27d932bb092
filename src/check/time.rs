//! How long an epoch is likely to take, by a model that was measured.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::compute::processor;
use crate::model::{MicroBatchChoice, ModelError, ModelFile, OnHosts, Parts};
use crate::run::RunError;
use crate::run::prepare::Prepared;

/// What is printed where nobody has measured the machine.
const UNKNOWN: &str = "not known; mixnn bench model measures this machine, and check then predicts the time";

/// How long an epoch is likely to take.
pub(super) struct Foreseen {
    model: ModelFile,
    /// How many ranks are reckoned with, and on how many hosts.
    ranks: u16,
    hosts: u16,
    /// Where the time of an epoch on these ranks goes.
    parts: Parts,
    /// How many seconds an epoch takes in one process.
    single: f64,
    /// Whether slots keep a pace.
    paced: bool,
}

/// What is known of the time of an epoch.
pub(super) enum EpochTime {
    /// The model says how long it takes.
    Known(Box<Foreseen>),
    /// There is no model, or none that serves: why, in words.
    Unknown(String),
}

impl EpochTime {
    /// What `model` says of the job of `prepared` on `ranks` ranks on `hosts` hosts.
    ///
    /// # Errors
    /// Those of [`Prepared::workload`].
    pub(super) fn of(
        prepared: &Prepared,
        ranks: u16,
        hosts: u16,
        paced: bool,
        model: Result<Option<ModelFile>, ModelError>,
    ) -> Result<Self, RunError> {
        let model = match model {
            Ok(Some(model)) => model,
            Ok(None) => return Ok(Self::unknown()),
            Err(error) => return Ok(Self::Unknown(format!("not known: {error}"))),
        };
        let workload = prepared.workload(ranks, hosts == 1)?;
        let parts = workload.predicted(&model.speeds, OnHosts(hosts));
        let single = workload.alone(&model.speeds).total();
        Ok(Self::Known(Box::new(Foreseen { model, ranks, hosts, parts, single, paced })))
    }

    /// What is known without a model: nothing.
    pub(super) fn unknown() -> Self {
        Self::Unknown(UNKNOWN.to_owned())
    }

    /// The lines that are printed.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            EpochTime::Known(foreseen) => foreseen.lines(),
            EpochTime::Unknown(why) => vec![why.clone()],
        }
    }

    /// What is printed, as JSON. Null where nothing is known.
    pub(super) fn json(&self) -> Value {
        match self {
            EpochTime::Known(foreseen) => foreseen.json(),
            EpochTime::Unknown(_) => Value::Null,
        }
    }
}

impl Foreseen {
    /// The processor on which the model was measured, where that is another one than this machine's.
    fn foreign(&self) -> Option<&str> {
        Some(&*self.model.on.processor).filter(|processor| *processor != processor::name())
    }

    /// How far the model was off in runs that it was held against, in words.
    fn error(&self, single: bool) -> String {
        match self.model.error(single) {
            Some((off, 1)) => format!("{:.0} % off in the run that it was held against", 100.0 * off),
            Some((off, runs)) => {
                format!("within {:.0} % in the {runs} runs that it was held against", (100.0 * off).ceil())
            }
            None => "held against no run".to_owned(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let on = &self.model.on;
        let hosts = match self.hosts {
            1 => "one host".to_owned(),
            hosts => format!("{hosts} hosts"),
        };
        let mut parts = String::new();
        for (name, seconds) in self.parts.named() {
            // A String takes whatever is written to it.
            let _ = write!(parts, "{}{name} {}", if parts.is_empty() { "" } else { ", " }, shown(seconds));
        }
        let least = if self.paced { "at least " } else { "" };
        let mut model = format!("of {}, measured {} with {}", on.processor, on.date, on.messages);
        if self.foreign().is_some() {
            model += &format!(": another processor than this one, {}", processor::name());
        }
        let cores = self.model.speeds.cores;
        vec![
            format!(
                "{least}{} s an epoch on {hosts} of {cores:.0} cores with {} ranks: {}",
                shown(self.parts.total()),
                self.ranks,
                self.error(false)
            ),
            parts,
            format!("{} s in one process (--single): {}", shown(self.single), self.error(true)),
            format!("the model is {model}"),
        ]
    }

    fn json(&self) -> Value {
        let parts: Map<String, Value> =
            self.parts.named().into_iter().map(|(name, seconds)| (name.to_owned(), json!(seconds))).collect();
        let error = |single: bool| {
            self.model.error(single).map(|(off, runs)| json!({ "most_off_percent": 100.0 * off, "runs": runs }))
        };
        json!({
            "seconds_per_epoch": self.parts.total(),
            "parts_seconds": parts,
            "ranks": self.ranks,
            "hosts": self.hosts,
            "cores_of_a_host": self.model.speeds.cores,
            "held_against": error(false),
            "single_seconds_per_epoch": self.single,
            "single_held_against": error(true),
            "measured_on": self.model.on,
            "another_processor": self.foreign().is_some(),
        })
    }
}

/// How `train.micro_batch` was chosen, as JSON. Null where the job names it.
pub(super) fn choice_json(choice: Option<&MicroBatchChoice>) -> Value {
    choice.map_or(Value::Null, |choice| {
        let among: Vec<Value> =
            choice.among.iter().map(|(rows, seconds)| json!({ "micro_batch": rows, "seconds": seconds })).collect();
        json!({ "micro_batch": choice.micro_batch, "among": among })
    })
}

/// Seconds with about three digits.
fn shown(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 100.0 => format!("{seconds:.0}"),
        _ if seconds >= 10.0 => format!("{seconds:.1}"),
        _ if seconds >= 1.0 => format!("{seconds:.2}"),
        _ => format!("{seconds:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{HeldRun, MeasuredOn, Speeds};

    fn model(processor: &str) -> ModelFile {
        let on = MeasuredOn {
            version: "0.1.0".to_owned(),
            commit: "unknown".to_owned(),
            date: "2026-11-30".to_owned(),
            processor: processor.to_owned(),
            fingerprint: "cpu".to_owned(),
            messages: "threads".to_owned(),
            ranks: 7,
            one_host: true,
        };
        let held = |way: &str, predicted| HeldRun {
            job: "mlp".to_owned(),
            way: way.to_owned(),
            ranks: 7,
            predicted,
            measured: 1.0,
        };
        ModelFile::new(on, Speeds::unmeasured(), vec![held("mixed", 1.151), held("mixed", 0.9), held("single", 0.8)])
    }

    #[test]
    fn a_prediction_says_how_good_it_is_and_of_what_machine() {
        let prepared = Prepared::load(Path::new("jobs/digits.toml"), &[]).unwrap();
        let here = EpochTime::of(&prepared, 7, 1, false, Ok(Some(model(&processor::name())))).unwrap();
        let told = here.lines().join("\n");
        for words in [
            "s an epoch on one host of 2 cores with 7 ranks: within 16 % in the 2 runs",
            "compute 0.",
            "wait ",
            "(--single): 20 % off in the run",
            "measured 2026-11-30 with threads",
        ] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
        assert!(!told.contains("another processor"), "{told}");
        let json = here.json();
        let parts: f64 = json["parts_seconds"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!((parts / json["seconds_per_epoch"].as_f64().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((&json["held_against"]["runs"], &json["another_processor"]), (&json!(2), &json!(false)));
        let elsewhere = EpochTime::of(&prepared, 7, 2, true, Ok(Some(model("a pocket calculator")))).unwrap();
        let told = elsewhere.lines().join("\n");
        assert!(told.starts_with("at least ") && told.contains("on 2 hosts"), "{told}");
        assert!(told.contains("a pocket calculator") && told.contains("another processor than this one"), "{told}");
        assert_eq!(elsewhere.json()["another_processor"], true);
    }

    #[test]
    fn without_a_model_it_says_how_to_get_one() {
        let prepared = Prepared::load(Path::new("jobs/digits.toml"), &[]).unwrap();
        let none = EpochTime::of(&prepared, 7, 1, false, Ok(None)).unwrap();
        assert!(none.lines()[0].contains("mixnn bench model") && none.json().is_null());
        let broken = EpochTime::of(&prepared, 7, 1, false, ModelFile::read(Path::new("no/such")).map(Some)).unwrap();
        assert!(broken.lines()[0].contains("cannot read the model no/such") && broken.json().is_null());
    }
}
