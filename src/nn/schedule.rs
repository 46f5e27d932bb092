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

    /// Rates of PyTorch 2.15 over 8 steps, 2 an epoch, of `SGD(lr=0.8)`: `CosineAnnealingLR(T_max=8, eta_min=0.1)`,
    /// `MultiStepLR([1, 3], gamma=0.5)`, `PolynomialLR(total_iters=8)` with the powers 2, 0.9 and 1,
    /// `LinearLR(start_factor=1, end_factor=0.125, total_iters=8)`, `OneCycleLR(max_lr=0.8, total_steps=8, cycle_momentum=False)`,
    /// and that with `pct_start=0.5, div_factor=4, final_div_factor=10`.
    #[test]
    fn rates_are_those_of_pytorch() {
        let polynomial = |power| Decay::Polynomial { power, least: 0.0 };
        let cycle = |rise, from, to| Decay::OneCycle { rise, from, to };
        for (decay, expected) in [
            (
                Decay::Cosine { least: 0.1 },
                [0.8, 0.773_358, 0.697_487, 0.583_939, 0.45, 0.316_061, 0.202_513, 0.126_642],
            ),
            (Decay::Milestones { at: vec![1, 3], factor: 0.5 }, [0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2]),
            (polynomial(2.0), [0.8, 0.6125, 0.45, 0.3125, 0.2, 0.1125, 0.05, 0.0125]),
            (polynomial(0.9), [0.8, 0.709_41, 0.617_512, 0.524_061, 0.428_709, 0.330_916, 0.229_74, 0.123_114]),
            (polynomial(1.0), [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
            (Decay::Linear { least: 0.0 }, [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
            (Decay::Linear { least: 0.1 }, [0.8, 0.7125, 0.625, 0.5375, 0.45, 0.3625, 0.275, 0.1875]),
            (
                cycle(0.3, 25.0, 10_000.0),
                [0.032, 0.655_42, 0.777_553, 0.649_397, 0.444_787, 0.226_449, 0.061_313, 3e-6],
            ),
            (cycle(0.5, 4.0, 10.0), [0.2, 0.35, 0.65, 0.8, 0.685_772, 0.41, 0.134_228, 0.02]),
        ] {
            for (found, expected) in rates(decay.clone(), 0).into_iter().zip(expected) {
                // The expected values have six digits, and f32 adds its own rounding.
                assert!((found - expected).abs() < 6e-7 + f32::EPSILON, "{decay:?}: {found}, expected {expected}");
            }
        }
    }

    /// However few steps there are, and wherever the rise ends, a rate is a number from the end to the peak.
    #[test]
    fn a_cycle_of_few_steps_stays_between_its_ends() {
        for (epochs, batches) in [(1, 1), (1, 2), (3, 1), (2, 5)] {
            for rise in [0.001, 0.3, 0.999] {
                let decay = Decay::OneCycle { rise, from: 25.0, to: 100.0 };
                let rates = Rates::new(LearningRate { peak: 0.8, warmup: 0, decay }, epochs, batches);
                for step in 0..epochs * batches {
                    let rate = rates.at(Epoch(step / batches), Batch(step % batches));
                    assert!(
                        (0.8 / 2501.0..=0.8).contains(&rate),
                        "{rate} of {epochs} epochs of {batches}, rise {rise}"
                    );
                }
            }
        }
    }
}
