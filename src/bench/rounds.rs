//! How often things are measured, and in which order.

use std::time::{Duration, Instant};

use crate::run::RunError;
use crate::terminal;

/// How long something is repeated, to find out how long it takes once.
const SAMPLE: Duration = Duration::from_millis(10);

/// From how long on a user is told how long something will take.
const LONG: Duration = Duration::from_secs(20);

/// How often each case is measured, and when that ends early.
#[derive(Clone, Copy)]
pub struct Rounds<'a> {
    /// How many rounds count in a row.
    pub rounds: u32,
    /// Whether one more round goes before them, which does not count.
    pub warms_up: bool,
    /// When no more is to be measured, if ever.
    pub deadline: Option<Instant>,
    /// Whether the user has asked to stop.
    pub stopped: &'a dyn Fn() -> bool,
}

impl Rounds<'_> {
    /// Measures all `cases` in one round, then all of them in the next: whatever disturbs the machine for a while disturbs all of
    /// them. Returns what was measured, by case and round. There are fewer rounds where it ends early. Says how long the rest will take,
    /// where that is long.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn in_turns<C, T>(
        &self,
        cases: &[C],
        mut measure: impl FnMut(&C) -> Result<T, RunError>,
    ) -> Result<Vec<Vec<T>>, RunError> {
        let mut measured: Vec<Vec<T>> = cases.iter().map(|_| Vec::new()).collect();
        let (began, first) = (Instant::now(), u32::from(!self.warms_up));
        for round in first..=self.rounds {
            if self.is_over() {
                break;
            }
            for (case, measured) in cases.iter().zip(&mut measured) {
                if self.is_over() {
                    break;
                }
                let value = measure(case)?;
                if round > 0 {
                    measured.push(value);
                }
            }
            if round == first && !self.is_over() {
                self.foretell(began.elapsed(), self.rounds - first);
            }
        }
        Ok(measured)
    }

    /// Says how long `rounds` more take, of which one has `taken` so long; and what becomes of them if there is not so much time.
    fn foretell(&self, taken: Duration, rounds: u32) {
        let more = taken * rounds;
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if left < more => terminal::remark(&format!(
                "a round takes {:.0} s, and there are {:.0} s left: there will be fewer rounds than {rounds} more",
                taken.as_secs_f64(),
                left.as_secs_f64()
            )),
            _ if more > LONG => terminal::remark(&format!("{rounds} more rounds, about {:.0} s", more.as_secs_f64())),
            _ => {}
        }
    }

    /// Whether no more is to be measured.
    pub fn is_over(&self) -> bool {
        (self.stopped)() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The middle of several values, with the least and the largest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number of values the mean of the two in the middle.
    pub median: f64,
    /// The least of the values.
    pub low: f64,
    /// The largest of the values.
    pub high: f64,
}

impl Spread {
    /// The spread of `values`. `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Self { median, low, high })
    }
}

/// How many seconds `work` takes, repeated for a [`SAMPLE`] of time, and once before that.
pub(super) fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let (started, mut times) = (Instant::now(), 0_u32);
    loop {
        work();
        times += 1;
        let spent = started.elapsed();
        if spent >= SAMPLE {
            return spent.as_secs_f64() / f64::from(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn cases_take_turns_and_the_first_round_does_not_count() {
        let rounds = Rounds { rounds: 2, warms_up: true, deadline: None, stopped: &|| false };
        let mut order = String::new();
        let measured = rounds
            .in_turns(&["a", "b"], |case| {
                order.push_str(case);
                Ok(order.len())
            })
            .unwrap();
        assert_eq!(order, "ababab");
        assert_eq!(measured, [[3, 5], [4, 6]]);
        let cold = Rounds { warms_up: false, ..rounds };
        assert_eq!(cold.in_turns(&[1, 2], |case| Ok(*case)).unwrap(), [[1, 1], [2, 2]]);
    }

    #[test]
    fn what_was_measured_before_the_end_stays() {
        let calls = Cell::new(0);
        let stopped = || calls.get() == 5;
        let rounds = Rounds { rounds: 9, warms_up: true, deadline: None, stopped: &stopped };
        let count = |_: &u8| {
            calls.set(calls.get() + 1);
            Ok(calls.get())
        };
        assert_eq!(rounds.in_turns(&[0, 1], count).unwrap(), [vec![3, 5], vec![4]]);
        let late = Rounds { deadline: Some(Instant::now()), stopped: &|| false, ..rounds };
        assert_eq!(late.in_turns(&[0], |_| Ok(0)).unwrap(), [Vec::<i32>::new()]);
    }

    #[test]
    fn a_spread_is_the_middle_between_its_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }
}
