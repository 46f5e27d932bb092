//! A chance as a simulation or a count of trials estimates it, with its error.

use std::fmt;

use serde_json::{Value, json};

/// An estimate of a chance, with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// The mean of the samples: the estimate.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// How many standard errors a 95 % interval has to each side: the 97.5 % point of the normal distribution.
const Z: f64 = 1.96;

/// A variance below this comes from rounding.
const ROUNDING: f64 = 1e-20;

impl Chance {
    /// The mean of samples between 0 and 1 that were drawn in groups. `None` where there are none.
    ///
    /// The interval is Wilson's, for as many yes-or-no trials as scatter like these samples. Unlike the standard error
    /// it says something where all samples are 0 or all are 1. Where the groups scatter more than their samples do, the
    /// groups count.
    pub fn of(groups: &[Vec<f64>]) -> Option<Self> {
        Self::within(Z, groups)
    }

    /// Does what [`Chance::of`] does, with an interval of `z` standard errors to each side instead of one of 95 %.
    pub fn within(z: f64, groups: &[Vec<f64>]) -> Option<Self> {
        let n = groups.iter().map(Vec::len).sum::<usize>() as f64;
        if n == 0.0 {
            return None;
        }
        let mean = groups.iter().flatten().sum::<f64>() / n;
        let samples = groups.iter().flatten().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        let sums = groups.iter().map(|group| group.iter().map(|sample| sample - mean).sum::<f64>().powi(2));
        let scatter = samples.max(sums.sum()) / (n * n);
        // Samples that are all one number scatter by rounding alone. That says nothing about their error.
        let trials = if scatter > ROUNDING { (mean * (1.0 - mean) / scatter).max(1.0) } else { n };
        let spread = 1.0 + z * z / trials;
        let centre = (mean + z * z / (2.0 * trials)) / spread;
        let half = z / spread * (mean * (1.0 - mean) / trials + z * z / (4.0 * trials * trials)).sqrt();
        Some(Self { mean, low: (centre - half).clamp(0.0, mean), high: (centre + half).clamp(mean, 1.0) })
    }

    /// The chance and its interval, as JSON.
    pub fn json(&self) -> Value {
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

    fn of(samples: impl Iterator<Item = f64>) -> Chance {
        Chance::of(&samples.map(|sample| vec![sample]).collect::<Vec<Vec<f64>>>()).unwrap()
    }

    fn yes(yes: bool) -> f64 {
        f64::from(u8::from(yes))
    }

    /// For yes-or-no trials it is Wilson's interval as published: 20 of 100 give 0.133 to 0.289.
    #[test]
    fn the_interval_is_wilsons() {
        let chance = of((0..100).map(|i| yes(i < 20)));
        assert!((chance.mean - 0.2).abs() < 1e-12);
        assert!((chance.low - 0.1334).abs() < 1e-4 && (chance.high - 0.2888).abs() < 1e-4, "{chance:?}");
    }

    #[test]
    fn certainty_has_an_error_too() {
        let never = of([0.0; 50].into_iter());
        assert!(never.mean == 0.0 && never.low == 0.0 && (0.06..0.08).contains(&never.high), "{never:?}");
        let always = of([1.0; 50].into_iter());
        assert!(always.high == 1.0 && (0.92..0.94).contains(&always.low), "{always:?}");
        assert!(Chance::of(&[Vec::new()]).is_none());
        for n in [7, 113, 1808] {
            let constant = of(std::iter::repeat_n(2.0 / 3.0, n));
            assert!(constant.low < constant.mean && constant.mean < constant.high, "{n} samples: {constant:?}");
        }
    }

    /// Samples that scatter less than yes and no would are known better. Groups that scatter are not known better for
    /// having many samples.
    #[test]
    fn the_interval_follows_the_scatter() {
        let width = |chance: Chance| chance.high - chance.low;
        let coins = width(of((0..100).map(|i| yes(i % 2 == 0))));
        let near = of((0..100).map(|i| 0.45 + 0.1 * yes(i % 2 == 0)));
        assert!(width(near) < 0.2 * coins);
        let groups: Vec<Vec<f64>> = (0..100).map(|i| vec![yes(i % 2 == 0); 10]).collect();
        assert!((width(Chance::of(&groups).unwrap()) - coins).abs() < 0.01);
        let mixed: Vec<Vec<f64>> = (0..100).map(|_| (0..10).map(|i| yes(i % 2 == 0)).collect()).collect();
        assert!(width(Chance::of(&mixed).unwrap()) < 0.4 * coins);
        let wider = Chance::within(4.0, &mixed).unwrap();
        assert!(wider.low < Chance::of(&mixed).unwrap().low && wider.mean == 0.5);
    }
}
