//! `train.schedule`: how the learning rate changes.

use toml::Value;

use super::JobError;
use super::keys::{exact, table};
use super::section::Section;

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// `train.optimizer.lr`: the rate behind the warm-up.
    pub peak: f32,
    /// Steps at the start in which the rate rises from `peak / warmup` to `peak`, each by as much.
    pub warmup: u32,
    /// What follows.
    pub decay: Decay,
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// Times `factor` behind each `every` epochs.
    Step {
        /// Epochs.
        every: u32,
        /// From 0 to 1.
        factor: f32,
    },
    /// Half a cosine over all steps behind the warm-up, down to `least` (Loshchilov and Hutter, 2017, without restarts).
    Cosine {
        /// The rate that the last step comes near to.
        least: f32,
    },
}

impl LearningRate {
    /// The table `train.schedule`.
    pub(super) fn write(&self) -> Value {
        let mut keys = match self.decay {
            Decay::Constant => table([("kind", "constant".into())]),
            Decay::Step { every, factor } => {
                table([("kind", "step".into()), ("every", i64::from(every).into()), ("factor", exact(factor))])
            }
            Decay::Cosine { least } => table([("kind", "cosine".into()), ("least", exact(least))]),
        };
        keys.insert("warmup".to_owned(), i64::from(self.warmup).into());
        keys.into()
    }
}

/// What a step schedule cannot do without.
const EVERY: &str = "epochs between two falls of the rate, as in schedule = { kind = \"step\", every = 10 }";

/// Reads the key `schedule` of `train`, a word or a table, for the rate `peak`.
pub(super) fn read(train: &Section<'_>, peak: f32) -> Result<LearningRate, JobError> {
    let kinds = [
        ("constant", Decay::Constant),
        ("step", Decay::Step { every: 1, factor: 0.1 }),
        ("cosine", Decay::Cosine { least: 0.0 }),
    ];
    let (kind, section) = train.kind("schedule", &kinds)?;
    let decay = match kind.unwrap_or(Decay::Constant) {
        Decay::Constant => Decay::Constant,
        Decay::Step { factor: usual, .. } => {
            let every = section.integer("every", 1..=1_000_000)?;
            let every = section.required("every", every, EVERY)?;
            let factor = section.number("factor", "a factor above 0 and up to 1", |factor| {
                let factor = factor as f32;
                factor > 0.0 && factor <= 1.0
            })?;
            Decay::Step { every, factor: factor.map_or(usual, |factor| factor as f32) }
        }
        Decay::Cosine { least: usual } => {
            let expected = format!("a rate from 0 to the learning rate, {peak}");
            let least = section.number("least", &expected, |least| (0.0..=peak).contains(&(least as f32)))?;
            Decay::Cosine { least: least.map_or(usual, |least| least as f32) }
        }
    };
    let warmup = section.integer("warmup", 0..=1_000_000_000)?.unwrap_or(0);
    section.finish()?;
    Ok(LearningRate { peak, warmup, decay })
}
