//! A chance that a simulation estimates, with its error.

use std::fmt;

use serde_json::{Value, json};

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    /// The mean.
    pub(super) mean: f64,
    /// Where the interval begins.
    pub(super) low: f64,
    /// Where it ends.
    pub(super) high: f64,
}

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.96;

impl Chance {
    /// The mean of `samples`, each 0..=1 and drawn on its own; `None` where there are none.
    ///
    /// The interval is Wilson's, for as many yes-or-no trials as scatter like these samples. Unlike the standard error
    /// it says something where all samples are 0 or all are 1.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let scatter = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / n;
        let trials = if scatter > 0.0 { n * (mean * (1.0 - mean) / scatter).max(1.0) } else { n };
        let spread = 1.0 + Z * Z / trials;
        let centre = (mean + Z * Z / (2.0 * trials)) / spread;
        let half = Z / spread * (mean * (1.0 - mean) / trials + Z * Z / (4.0 * trials * trials)).sqrt();
        Some(Self { mean, low: (centre - half).clamp(0.0, mean), high: (centre + half).clamp(mean, 1.0) })
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        json!({ "chance": self.mean, "low": self.low, "high": self.high })
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.mean, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of trials that are yes or no it is Wilson's interval as published: 20 of 100 give 0.133 to 0.289.
    #[test]
    fn the_interval_is_wilsons() {
        let samples: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 20))).collect();
        let chance = Chance::of(&samples).unwrap();
        assert!((chance.mean - 0.2).abs() < 1e-12);
        assert!((chance.low - 0.1334).abs() < 1e-4 && (chance.high - 0.2888).abs() < 1e-4, "{chance:?}");
    }

    #[test]
    fn certainty_has_an_error_too() {
        let never = Chance::of(&[0.0; 50]).unwrap();
        assert!(never.mean == 0.0 && never.low == 0.0 && (0.06..0.08).contains(&never.high), "{never:?}");
        let always = Chance::of(&[1.0; 50]).unwrap();
        assert!(always.high == 1.0 && (0.92..0.94).contains(&always.low), "{always:?}");
        assert!(Chance::of(&[]).is_none());
    }

    /// What scatters less than yes and no is known better.
    #[test]
    fn less_scatter_is_less_error() {
        let coins: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let near: Vec<f64> = (0..100).map(|i| 0.45 + 0.1 * f64::from(i % 2)).collect();
        let width = |samples: &[f64]| Chance::of(samples).map(|chance| chance.high - chance.low).unwrap();
        assert!(width(&near) < 0.2 * width(&coins));
    }
}
