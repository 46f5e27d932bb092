//! Initial values, from the stage's seed and the parameter's place alone.

use crate::compute::precise::{ln, sin_cos};
use crate::random::{Philox, Seed};

/// Where a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    /// Uniform in [-bound, bound) with `bound = 1 / sqrt(fan in)`: what PyTorch's `nn.Linear` and `nn.Conv2d` start from
    /// (Kaiming uniform with a = sqrt(5) for the weight, the same bound for the bias).
    FanIn(usize),
    /// Normal around 0, with this standard deviation: what PyTorch's `nn.Embedding` starts from, with 1.
    Normal(f32),
    /// This value everywhere.
    Is(f32),
}

impl Start {
    /// `len` values.
    pub(super) fn values(self, seed: &Seed, len: usize) -> Vec<f32> {
        match self {
            Start::FanIn(fan_in) => uniform_fan_in(seed, len, fan_in),
            Start::Normal(deviation) => normal(seed, len, deviation),
            Start::Is(value) => vec![value; len],
        }
    }
}

fn uniform_fan_in(seed: &Seed, len: usize, fan_in: usize) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut stream = seed.stream();
    (0..len).map(|_| bound * stream.unit_f32().mul_add(2.0, -1.0)).collect()
}

/// Box and Muller's, "A note on the generation of random normal deviates" (1958): two values of two numbers.
fn normal(seed: &Seed, len: usize, deviation: f32) -> Vec<f32> {
    fn pair(stream: &mut Philox, deviation: f32) -> [f32; 2] {
        // Above 0, where a logarithm is finite.
        let size = (-2.0 * ln(1.0 - f64::from(stream.unit_f32()))).sqrt();
        let (sin, cos) = sin_cos(std::f64::consts::TAU * f64::from(stream.unit_f32()));
        [cos, sin].map(|part| (f64::from(deviation) * size * part) as f32)
    }
    let mut stream = seed.stream();
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        values.extend(pair(&mut stream, deviation));
    }
    values.truncate(len);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_its_range_evenly() {
        let values = uniform_fan_in(&Seed::from_text("x"), 10_000, 100);
        assert!(values.iter().all(|v| v.abs() <= 0.1));
        let mean = values.iter().sum::<f32>() / 1e4;
        let deviation = (values.iter().map(|v| v * v).sum::<f32>() / 1e4).sqrt();
        assert!(mean.abs() < 0.002, "{mean}");
        // The standard deviation of a uniform variable in (-b, b) is b / sqrt(3).
        assert!((deviation - 0.057_735).abs() < 0.001, "{deviation}");
    }

    #[test]
    fn normal_values_have_the_moments_of_their_distribution() {
        let values = normal(&Seed::from_text("x"), 40_001, 0.5);
        assert_eq!(values.len(), 40_001);
        let moment = |power| values.iter().map(|v| f64::from(*v / 0.5).powi(power)).sum::<f64>() / 40_001.0;
        let moments = [1, 2, 3, 4].map(moment);
        // Four standard deviations of each mean: those of x^p are 1, sqrt(2), sqrt(15) and sqrt(96).
        for ((found, due), deviation) in moments.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 1.414, 3.873, 9.798]) {
            assert!((found - due).abs() < 4.0 * deviation / 200.0, "{moments:?}");
        }
    }
}
