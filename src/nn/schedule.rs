//! The learning rate of each step. Only the owner knows the schedule; it sends the rate with the step.

use crate::compute::precise::{exp, ln, sin_cos};
use crate::ids::{Batch, Epoch};
use crate::job::{Decay, LearningRate};

/// The learning rates of a run whose number of steps is known.
#[derive(Clone, Debug)]
pub struct Rates {
    /// The schedule of the job: peak, warm-up and decay.
    rate: LearningRate,
    /// Number of epochs of the run.
    epochs: u32,
    /// Number of batches, and so of steps, in an epoch.
    batches: u32,
}

impl Rates {
    /// The rates of a run of `epochs` epochs with `batches` steps each.
    pub fn new(rate: LearningRate, epochs: u32, batches: u32) -> Self {
        Self { rate, epochs, batches }
    }

    /// The learning rate of the step behind batch `batch` of epoch `epoch`.
    pub fn at(&self, epoch: Epoch, batch: Batch) -> f32 {
        let LearningRate { peak, warmup, ref decay } = self.rate;
        let step = u64::from(epoch.0) * u64::from(self.batches) + u64::from(batch.0);
        let steps = u64::from(self.epochs) * u64::from(self.batches);
        let warmup = u64::from(warmup);
        // During warm-up the rate rises in a straight line to the peak.
        if step < warmup {
            return (f64::from(peak) * (step + 1) as f64 / warmup as f64) as f32;
        }
        // Then it stays, falls by a factor behind some epochs, or goes down to its least over all steps.
        let fallen = |falls: usize, factor: f32| {
            (f64::from(peak) * f64::from(factor).powi(falls.min(i32::MAX as usize) as i32)) as f32
        };
        let between = |low: f64, high: f64, height: f64| (low + (high - low) * height) as f32;
        let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
        match decay {
            Decay::Constant => peak,
            Decay::Step { every, factor } => fallen((epoch.0 / (*every).max(1)) as usize, *factor),
            Decay::Milestones { at, factor } => fallen(at.iter().filter(|at| **at <= epoch.0).count(), *factor),
            Decay::Linear { least } => between((*least).into(), peak.into(), 1.0 - done),
            Decay::Polynomial { power, least } => {
                let height = exp(f64::from(*power) * ln((1.0 - done).max(f64::MIN_POSITIVE)));
                between((*least).into(), peak.into(), height)
            }
            Decay::Cosine { least } => between((*least).into(), peak.into(), fallen_cosine(done)),
            Decay::OneCycle { rise, from, to } => {
                let start = f64::from(peak) / f64::from(*from);
                let (top, last) = (f64::from(*rise) * steps as f64 - 1.0, steps as f64 - 1.0);
                let step = step as f64;
                match step <= top {
                    true => between(start, peak.into(), 1.0 - fallen_cosine(step / top.max(1.0))),
                    false => {
                        let done = (step - top) / (last - top).max(1.0);
                        between(start / f64::from(*to), peak.into(), fallen_cosine(done.min(1.0)))
                    }
                }
            }
        }
    }
}

/// How high half a cosine stands that falls from 1 to 0, when the part `done` of it is over.
fn fallen_cosine(done: f64) -> f64 {
    0.5 * (1.0 + sin_cos(std::f64::consts::PI * done).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay, warmup: u32) -> Vec<f32> {
        let rates = Rates::new(LearningRate { peak: 0.8, warmup, decay }, 4, 2);
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

    /// The values of PyTorch 2.15's `CosineAnnealingLR(SGD(lr=0.8), T_max=8, eta_min=0.1)`.
    #[test]
    fn a_cosine_is_that_of_pytorch() {
        let expected = [0.8, 0.773_358, 0.697_487, 0.583_939, 0.45, 0.316_061, 0.202_513, 0.126_642];
        for (found, expected) in rates(Decay::Cosine { least: 0.1 }, 0).into_iter().zip(expected) {
            // The expected values have six digits, and f32 adds its own rounding.
            assert!((found - expected).abs() < 5e-7 + f32::EPSILON, "{found}, expected {expected}");
        }
    }
}
