//! What a run came to: the contents of `metrics.jsonl` and `result.json`.

use serde::{Deserialize, Serialize};

use super::KeptError;
use crate::crypto::aead::Library;
use crate::mix::courier::Timing;
use crate::role::score::Score;
use crate::run::setting::Setting;

/// What an epoch came to. It is a line of `metrics.jsonl`, and an entry of `result.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochReport {
    /// The version of the file's format, [`FORMAT`].
    pub format: u32,
    /// The number of the epoch, from 1.
    pub epoch: u32,
    /// The mean loss of a training sample, while the parameters moved. Null where no label counts.
    pub train_loss: Option<f64>,
    /// The share of the held-out samples that are classified correctly. Null where none are held out or none of their
    /// labels counts.
    pub validation_accuracy: Option<f64>,
    /// The mean loss of a held-out sample. Null where none are held out or none of their labels counts.
    pub validation_loss: Option<f64>,
    /// The wall time of the epoch in seconds, with keys, validation and, in the last one, testing.
    pub seconds: f64,
    /// How many slots the epoch took; 0 without messages.
    pub slots: u64,
    /// How many training samples went through in a second of the epoch's wall time.
    pub samples_per_second: f64,
}

/// What a finished run came to, as `result.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The version of the file's format, [`FORMAT`].
    pub format: u32,
    /// What was run, where and on what.
    #[serde(flatten)]
    pub setting: Setting,
    /// The profile: `bare`, `sealed` or `mixed`, or `single` for one process without messages.
    pub profile: String,
    /// How many ranks there were; 1 for `single`.
    pub ranks: u16,
    /// How many hops a circuit had; 0 where there were no circuits.
    pub hops: u8,
    /// The backend that computed on the owner: `cpu` or `cuda`.
    pub backend: String,
    /// Whether the blocks that the owner sent and received in slots stood in its GPU's memory.
    pub device_lanes: bool,
    /// By rank, how many threads it computed with; 0 where a GPU did.
    pub threads: Vec<u16>,
    /// By rank, which library sealed with AES-256-GCM on its processor. Empty where nothing was sealed.
    pub aead: Vec<Library>,
    /// What carried messages: the MPI library, `local`, or `none`.
    pub mpi: String,
    /// The version of mixnn that ran.
    pub version: String,
    /// The owner's fingerprint: what the bits depend on besides job and version.
    pub fingerprint: String,
    /// The share of the test samples that are classified correctly. Null where there are none, or none of their labels
    /// counts.
    pub test_accuracy: Option<f64>,
    /// The mean loss of a test sample. Null where there are none, or none of their labels counts.
    pub test_loss: Option<f64>,
    /// SHA-256 over the model's values, in hexadecimal digits.
    pub weights_sha256: String,
    /// The wall time in seconds, from the opening to the last result, of all starts of the run together.
    pub seconds: f64,
    /// How often the run was started: 1 where it was never stopped. A start that was killed before its first checkpoint does not count.
    pub starts: u32,
    /// The reports of all epochs, in order.
    pub epochs: Vec<EpochReport>,
    /// How many bytes a rank sent in slots, on average over the ranks.
    pub wire_bytes_per_rank: u64,
    /// The time from slot to slot in seconds. Null unless the job fixes it.
    pub slot_seconds: Option<f64>,
    /// The time that ranks had for their work in each slot of training at last, in seconds. Null in lockstep, and where slots have a fixed
    /// time.
    #[serde(default)]
    pub work_seconds: Option<f64>,
    /// In how many slots a rank was not ready, or its exchange took longer than a slot, on the rank with most of these.
    pub overran: u64,
    /// Whether each rank of the owner's host had a core to mix on and another to compute on.
    pub cores_suffice: bool,
    /// By rank, where the time of its slots went. Empty unless the job asks for it (`output.timing`).
    pub timing: Vec<RankTiming>,
}

/// Where the time of one rank's slots went, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RankTiming {
    /// The number of the rank.
    pub rank: u16,
    /// Milliseconds of the role's own work.
    pub compute: f64,
    /// Milliseconds of sealing what leaves.
    pub seal: f64,
    /// Milliseconds of moving blocks.
    pub exchange: f64,
    /// Milliseconds of taking a layer off the cells that are passed on.
    pub peel: f64,
    /// Milliseconds of taking the last layer off the cells that arrive for this rank.
    pub open: f64,
    /// Milliseconds of waiting for peers.
    pub wait: f64,
}

impl RankTiming {
    /// The times of `rank`, out of its `timing`.
    pub(in crate::run) fn new(rank: u16, timing: &Timing) -> Self {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            rank,
            compute: ms(timing.compute),
            seal: ms(timing.seal),
            exchange: ms(timing.exchange),
            peel: ms(timing.peel),
            open: ms(timing.open),
            wait: ms(timing.wait),
        }
    }
}

impl EpochReport {
    /// The line of the epoch in `metrics.jsonl`, with its end.
    ///
    /// # Errors
    /// [`KeptError::Bug`] where it cannot be written as JSON.
    pub fn line(&self) -> Result<String, KeptError> {
        let json = serde_json::to_string(self).map_err(|error| KeptError::Bug(error.to_string()))?;
        Ok(format!("{json}\n"))
    }

    /// The report of `epoch`, counted from 0, of `samples` training samples. It took `seconds` and `slots`.
    pub(in crate::run) fn new(
        epoch: u32,
        train: Score,
        validation: Option<Score>,
        samples: usize,
        seconds: f64,
        slots: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            epoch: epoch + 1,
            train_loss: train.loss,
            validation_accuracy: validation.and_then(|score| score.accuracy),
            validation_loss: validation.and_then(|score| score.loss),
            seconds,
            slots,
            samples_per_second: samples as f64 / seconds.max(1e-9),
        }
    }
}

/// Says in words how many `threads` a run's ranks compute with; entry 0 is the owner's. `None` where GPUs alone
/// compute.
pub(in crate::run) fn threads_line(threads: &[u16]) -> Option<String> {
    let (own, others) = threads.split_first().filter(|_| threads.iter().any(|threads| *threads > 0))?;
    let gpu = if threads.contains(&0) { " (0: a GPU computes)" } else { "" };
    let counts = match others.iter().min().zip(others.iter().max()) {
        None => own.to_string(),
        Some((least, most)) if [least, most] == [own; 2] => format!("{own} on each rank"),
        Some((least, most)) if least == most => format!("{own} on the owner, {least} on each other rank"),
        Some((least, most)) => format!("{own} on the owner, {least} to {most} on the other ranks"),
    };
    Some(format!("threads: {counts}{gpu}"))
}

/// Says in words which libraries a run's ranks seal with; `aead` is by rank.
pub(in crate::run) fn aead_line(aead: &[Library]) -> String {
    let on = |library: Library| match aead.iter().filter(|found| **found == library).count() {
        0 => None,
        all if all == aead.len() => Some(format!("{} on each rank", library.name())),
        1 => Some(format!("{} on 1 rank", library.name())),
        some => Some(format!("{} on {some} ranks", library.name())),
    };
    format!("AES-256-GCM: {}", Library::ALL.into_iter().filter_map(on).collect::<Vec<_>>().join(", "))
}

/// The version of the format of these files. Whoever reads them need not guess it by what they lack.
pub const FORMAT: u32 = 1;
/// The version of mixnn, which all ranks of a run must share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_in_one_line() {
        for (threads, line) in [
            (&[4][..], "threads: 4"),
            (&[2, 2, 2], "threads: 2 on each rank"),
            (&[1, 4, 4], "threads: 1 on the owner, 4 on each other rank"),
            (&[2, 1, 4, 3], "threads: 2 on the owner, 1 to 4 on the other ranks"),
            (&[0, 2, 0], "threads: 0 on the owner, 0 to 2 on the other ranks (0: a GPU computes)"),
        ] {
            assert_eq!(threads_line(threads).unwrap(), line);
        }
        assert_eq!(threads_line(&[0, 0]), None);
    }

    #[test]
    fn libraries_are_told_in_one_line() {
        let [a, b, c] = Library::ALL;
        assert_eq!(aead_line(&[b, b, b]), "AES-256-GCM: ring on each rank");
        assert_eq!(aead_line(&[b, a, b]), "AES-256-GCM: aws-lc on 1 rank, ring on 2 ranks");
        assert_eq!(aead_line(&[c, a, b]), "AES-256-GCM: aws-lc on 1 rank, ring on 1 rank, rust on 1 rank");
    }

    #[test]
    fn times_are_told_in_milliseconds() {
        let ms = std::time::Duration::from_millis;
        let timing = Timing {
            compute: ms(125),
            seal: ms(250),
            exchange: ms(500),
            peel: ms(1000),
            open: ms(2000),
            wait: ms(4000),
            ..Timing::default()
        };
        let RankTiming { rank, compute, seal, exchange, peel, open, wait } = RankTiming::new(3, &timing);
        assert_eq!((rank, [compute, seal, exchange]), (3, [125.0, 250.0, 500.0]));
        assert_eq!([peel, open, wait], [1000.0, 2000.0, 4000.0]);
    }

    #[test]
    fn an_epoch_is_one_line() {
        let (train, validation) =
            (Score { loss: Some(0.5), accuracy: None }, Score { loss: None, accuracy: Some(0.25) });
        let report = EpochReport::new(4, train, Some(validation), 100, 2.0, 7);
        assert_eq!((report.epoch, report.slots, report.samples_per_second), (5, 7, 50.0));
        assert_eq!(
            (report.train_loss, report.validation_loss, report.validation_accuracy),
            (Some(0.5), None, Some(0.25))
        );
        let line = report.line().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let read: EpochReport = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((read.epoch, read.format), (5, FORMAT));
    }
}
