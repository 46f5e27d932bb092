//! Initial values, from the stage's seed and the parameter's place alone.

use crate::random::Seed;

/// Where a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    /// Uniform in [-bound, bound) with `bound = 1 / sqrt(fan in)`: what PyTorch's `nn.Linear` and `nn.Conv2d` start from
    /// (Kaiming uniform with a = sqrt(5) for the weight, the same bound for the bias).
    FanIn(usize),
    /// This value everywhere.
    Is(f32),
}

impl Start {
    /// `len` values.
    pub(super) fn values(self, seed: &Seed, len: usize) -> Vec<f32> {
        match self {
            Start::FanIn(fan_in) => uniform_fan_in(seed, len, fan_in),
            Start::Is(value) => vec![value; len],
        }
    }
}

fn uniform_fan_in(seed: &Seed, len: usize, fan_in: usize) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut stream = seed.stream();
    (0..len).map(|_| bound * stream.unit_f32().mul_add(2.0, -1.0)).collect()
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
}
