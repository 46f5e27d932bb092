//! `train.schedule`: the learning rate of each step. The owner alone knows it, and sends the rate with the step.

use toml::Value;

use super::JobError;
use super::section::Section;
use super::write::{exact, table};
use crate::ids::{Batch, Epoch};

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

/// The rates of a run whose number of steps is known.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    rate: LearningRate,
    epochs: u32,
    batches: u32,
}

impl LearningRate {
    /// The rates of `epochs` epochs of `batches` steps.
    pub fn over(self, epochs: u32, batches: u32) -> Rates {
        Rates { rate: self, epochs, batches }
    }

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

impl Rates {
    /// The rate of the step behind `batch` of `epoch`.
    pub fn at(&self, epoch: Epoch, batch: Batch) -> f32 {
        let LearningRate { peak, warmup, decay } = self.rate;
        let step = u64::from(epoch.0) * u64::from(self.batches) + u64::from(batch.0);
        let steps = u64::from(self.epochs) * u64::from(self.batches);
        let warmup = u64::from(warmup);
        if step < warmup {
            return (f64::from(peak) * (step + 1) as f64 / warmup as f64) as f32;
        }
        match decay {
            Decay::Constant => peak,
            Decay::Step { every, factor } => {
                let falls = epoch.0 / every.max(1);
                (f64::from(peak) * f64::from(factor).powi(falls.min(i32::MAX as u32) as i32)) as f32
            }
            Decay::Cosine { least } => {
                // `libm`'s cosine: the C library's differs from one machine to the next.
                let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
                let height = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done));
                (f64::from(least) + (f64::from(peak) - f64::from(least)) * height) as f32
            }
        }
    }
}

/// Reads `train.schedule` for the rate `peak`.
pub(super) fn read(section: Section<'_>, peak: f32) -> Result<LearningRate, JobError> {
    let kinds = [
        ("constant", Decay::Constant),
        ("step", Decay::Step { every: 1, factor: 0.1 }),
        ("cosine", Decay::Cosine { least: 0.0 }),
    ];
    let kind = section.choice("kind", &kinds)?.unwrap_or(Decay::Constant);
    let decay = match kind {
        Decay::Constant => Decay::Constant,
        Decay::Step { factor: usual, .. } => {
            let every = section.integer("every", 1..=1_000_000)?;
            let every = section.required("every", every, "epochs between two falls of the rate")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay, warmup: u32) -> Vec<f32> {
        let rates = LearningRate { peak: 0.8, warmup, decay }.over(4, 2);
        (0..8).map(|step| rates.at(Epoch(step / 2), Batch(step % 2))).collect()
    }

    #[test]
    fn a_constant_rate_rises_in_the_warm_up_alone() {
        assert_eq!(rates(Decay::Constant, 0), [0.8; 8]);
        assert_eq!(rates(Decay::Constant, 4), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]);
        assert_eq!(rates(Decay::Cosine { least: 0.0 }, 16)[7], 0.4);
    }

    #[test]
    fn steps_fall_behind_whole_epochs() {
        let found = rates(Decay::Step { every: 2, factor: 0.5 }, 0);
        assert_eq!(found, [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4]);
    }

    /// PyTorch 2.15: `CosineAnnealingLR(SGD(lr=0.8), T_max=8, eta_min=0.1)`.
    #[test]
    fn a_cosine_is_that_of_pytorch() {
        let expected = [0.8, 0.773_358, 0.697_487, 0.583_939, 0.45, 0.316_061, 0.202_513, 0.126_642];
        for (found, expected) in rates(Decay::Cosine { least: 0.1 }, 0).into_iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found}, expected {expected}");
        }
    }
}
