//! What a run came to: `metrics.jsonl`, `result.json`.

use serde::{Deserialize, Serialize};

use crate::crypto::aead::Library;
use crate::mix::courier::Timing;
use crate::role::score::Score;
use crate::run::setting::Setting;

/// An epoch, as `metrics.jsonl` and `result.json` have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochReport {
    /// [`FORMAT`].
    pub format: u32,
    /// From 1.
    pub epoch: u32,
    /// Mean loss of a training sample, while the parameters moved; null where no label counts, as all means here.
    pub train_loss: Option<f64>,
    /// Part of the held-out samples that are classified correctly; null where none are held out.
    pub validation_accuracy: Option<f64>,
    /// Mean loss of a held-out sample.
    pub validation_loss: Option<f64>,
    /// Wall time of the epoch, keys, validation and, in the last one, testing included.
    pub seconds: f64,
    /// Slots; 0 without messages.
    pub slots: u64,
    /// Training samples a second of the epoch's wall time.
    pub samples_per_second: f64,
}

/// A finished run, as `result.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// What was run, where and on what.
    #[serde(flatten)]
    pub setting: Setting,
    /// `bare`, `sealed`, `mixed`, or `single`.
    pub profile: String,
    /// Ranks; 1 for `single`.
    pub ranks: u16,
    /// Hops of a circuit; 0 where there are none.
    pub hops: u8,
    /// Who did the matrix work.
    pub backend: String,
    /// Whether what the owner sent in slots, and received, stood in its GPU's memory.
    pub device_lanes: bool,
    /// By rank, the threads with which it computed; 0 where a GPU did.
    pub threads: Vec<u16>,
    /// By rank, whose AES-256-GCM sealed on its processor; none where nothing is sealed.
    pub aead: Vec<Library>,
    /// The MPI library, `local`, or `none`.
    pub mpi: String,
    /// The version of mixnn.
    pub version: String,
    /// What the bits depend on, besides job and version.
    pub fingerprint: String,
    /// Part of the test samples that are classified correctly; null where there are none, or none of their labels counts.
    pub test_accuracy: Option<f64>,
    /// Mean loss of a test sample.
    pub test_loss: Option<f64>,
    /// SHA-256 over the model's values.
    pub weights_sha256: String,
    /// Wall time from the first word to the last result.
    pub seconds: f64,
    /// The epochs.
    pub epochs: Vec<EpochReport>,
    /// Bytes that a rank sent in slots, on average.
    pub wire_bytes_per_rank: u64,
    /// From slot to slot, where they keep a fixed pace.
    pub slot_seconds: Option<f64>,
    /// Slots in which a phase began later than the pace says, on the rank that had most of them.
    pub overran: u64,
    /// Whether each rank of the owner's host had a core to mix on and another to compute on.
    pub cores_suffice: bool,
    /// By rank, where the time of its slots went; in milliseconds.
    pub timing: Vec<RankTiming>,
}

/// Where one rank's time went, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RankTiming {
    /// The rank.
    pub rank: u16,
    /// The role's own work.
    pub compute: f64,
    /// Sealing what leaves.
    pub seal: f64,
    /// Moving blocks.
    pub exchange: f64,
    /// Taking a layer off what is passed on.
    pub peel: f64,
    /// Taking the last layer off what arrives.
    pub open: f64,
    /// Waiting for peers.
    pub wait: f64,
}

impl RankTiming {
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

/// The `threads` of a run's ranks in words, the owner's first; nothing where GPUs alone compute.
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

/// Whose AES-256-GCM a run's ranks seal with, in words.
pub(in crate::run) fn aead_line(aead: &[Library]) -> String {
    let on = |library: Library| match aead.iter().filter(|found| **found == library).count() {
        0 => None,
        all if all == aead.len() => Some(format!("{} on each rank", library.name())),
        1 => Some(format!("{} on 1 rank", library.name())),
        some => Some(format!("{} on {some} ranks", library.name())),
    };
    format!("AES-256-GCM: {}", Library::ALL.into_iter().filter_map(on).collect::<Vec<_>>().join(", "))
}

/// The version of these files' format: whoever reads them need not guess by what they lack.
pub const FORMAT: u32 = 1;
/// The version of mixnn.
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
}
