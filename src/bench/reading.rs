//! What ranks have measured at once, and what that comes to over all of them.

use super::rounds::Spread;
use super::table::Entry;

/// What one rank has measured, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The time for all of it.
    pub total: f64,
    /// Its parts, where there are any.
    pub parts: [f64; PARTS],
}

/// What all ranks have measured, round by round.
pub(super) type Readings = Vec<Vec<Reading>>;

/// How many parts a reading may have.
pub(super) const PARTS: usize = 5;

impl Reading {
    /// A reading of `total` that has no parts.
    pub(super) fn of(total: f64) -> Self {
        Self { total, parts: [0.0; PARTS] }
    }

    /// The form in which a rank tells the owner.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.total].iter().chain(&self.parts).flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.as_chunks().0.iter().map(|number| f64::from_le_bytes(*number));
        let mut next = || numbers.next().unwrap_or(f64::NAN);
        Self { total: next(), parts: std::array::from_fn(|_| next()) }
    }
}

/// Times over the ranks that have measured at once: of each round the mean, the least and the largest.
pub(super) struct OverRanks {
    /// The means of the rounds.
    pub avg: Spread,
    /// The least times of the rounds.
    pub min: Spread,
    /// The largest times of the rounds.
    pub max: Spread,
}

impl OverRanks {
    /// What `number` finds in the readings of all ranks, round by round. `None` where there are none.
    pub(super) fn of(rounds: &[Vec<Reading>], number: impl Fn(&Reading) -> f64) -> Option<Self> {
        let spread = |fold: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| {
            Spread::of(rounds.iter().map(|ranks| fold(&mut ranks.iter().map(&number))))
        };
        let ranks = rounds.first()?.len() as f64;
        Some(Self {
            avg: spread(&|times| times.sum::<f64>() / ranks)?,
            min: spread(&|times| times.fold(f64::INFINITY, f64::min))?,
            max: spread(&|times| times.fold(0.0, f64::max))?,
        })
    }

    /// Microseconds for the columns `avg`, `min`, `max`, `low`, `high`: medians of the rounds over the ranks, and the least and
    /// largest mean of a round.
    pub(super) fn in_micros(&self) -> [Entry; 5] {
        [self.avg.median, self.min.median, self.max.median, self.avg.low, self.avg.high]
            .map(|time| (time * 1e6).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_travel() {
        let reading = Reading { total: 1.5, parts: [1.0, -2.0, 3.0, 0.0, 5.0] };
        assert_eq!(Reading::from_bytes(&reading.to_bytes()), reading);
    }

    #[test]
    fn times_are_told_over_ranks_and_rounds() {
        let rounds = [[1.0, 3.0], [2.0, 6.0], [3.0, 3.0]].map(|ranks| ranks.map(Reading::of).to_vec());
        let over = OverRanks::of(&rounds, |reading| reading.total).unwrap();
        assert_eq!((over.avg.median, over.min.median, over.max.median), (3.0, 2.0, 3.0));
        assert_eq!((over.avg.low, over.avg.high), (2.0, 4.0));
        assert!(OverRanks::of(&[], |reading| reading.total).is_none());
    }
}
