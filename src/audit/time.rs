//! Features of time: when a rank's blocks leave, how much later than those of other ranks, how long they took after all
//! was there that they needed, and what follows in the next slots. All are in microseconds. What is not seen is 0.

use super::view::{View, median, quantile};
use crate::ids::Rank;

/// By how many slots one rank's delay may follow another's.
const LAGS: std::ops::RangeInclusive<isize> = -2..=2;
/// How many slots count as a run's beginning, in which all goes forward, and as its end.
const EDGE: usize = 14;

/// Sums up `values`: the mean without the outermost tenths, then five quantiles. It sorts them.
fn summary(values: &mut Vec<f64>) -> [f64; 6] {
    let quantiles = [0.1, 0.25, 0.5, 0.75, 0.9].map(|part| quantile(values, part));
    let tenth = values.len() / 10;
    let inner = &values[tenth..values.len() - tenth];
    let mean = inner.iter().sum::<f64>() / inner.len() as f64;
    let [a, b, c, d, e] = quantiles;
    [mean, a, b, c, d, e]
}

/// How `of` varies over all slots, in the phase number `phase` of each, from 0.
fn over_slots(view: &View<'_>, phase: usize, of: impl Fn(usize) -> f64) -> [f64; 6] {
    summary(&mut (0..view.slots).map(|slot| of(slot * view.phases + phase)).collect())
}

/// The median of `of` over all slots, in the phase number `phase` of each, from 0.
fn usual(view: &View<'_>, phase: usize, of: impl Fn(usize) -> f64) -> f64 {
    median(&mut (0..view.slots).map(|slot| of(slot * view.phases + phase)).collect())
}

/// Microseconds from the package to the first block, and from the last block to the result. 0 where the view does not
/// see them.
fn edges(view: &View<'_>, rank: Rank) -> [f64; 2] {
    let recording = view.played.of(rank);
    let seen = view.colluders.is_empty() || view.colluders.contains(&rank);
    let ([first, .., last], true) = (recording.begun.as_slice(), seen) else { return [0.0; 2] };
    // The package is the last letter before the slots, and the result the first behind them.
    let package = recording.letters.iter().rfind(|letter| letter.at <= first.at);
    let result = recording.letters.iter().find(|letter| letter.at >= last.done);
    let between = |from: u64, to: u64| (to - from) as f64 / 1e3;
    [
        package.map_or(0.0, |package| between(package.at, first.at)),
        result.map_or(0.0, |result| between(last.done, result.at)),
    ]
}

/// The features, with 0 in place of what is not seen.
fn known(features: Vec<f64>) -> Vec<f64> {
    features.into_iter().map(|value| if value.is_finite() { value } else { 0.0 }).collect()
}

/// The features of a rank: whether it begins late, and how long it takes in each phase.
pub(super) fn of_rank(view: &View<'_>, rank: Rank) -> Vec<f64> {
    let mut features = edges(view, rank).to_vec();
    features.push(view.late(0, rank));
    let mut middles = Vec::new();
    for phase in 0..view.phases {
        let late = over_slots(view, phase, |at| view.late(at, rank));
        middles.push(late[3]);
        features.extend(late);
        features.extend(over_slots(view, phase, |at| view.gap(at, rank)));
        let last = (0..view.slots).filter(|slot| view.is_last(slot * view.phases + phase, rank)).count();
        features.push(last as f64 / view.slots.max(1) as f64);
    }
    features.extend(middles.windows(2).map(|pair| pair[0] - pair[1]));
    known(features)
}

/// A rank's signal over the slots: how much more than on average it takes to begin each. The most and the least extreme
/// twentieth are cut off.
fn signal(view: &View<'_>, of: impl Fn(usize) -> f64) -> Vec<f64> {
    let raw: Vec<f64> = (0..view.slots).map(|slot| of(slot * view.phases)).collect();
    let mut sorted = raw.clone();
    let (low, high) = (quantile(&mut sorted, 0.05), quantile(&mut sorted, 0.95));
    let clipped: Vec<f64> =
        raw.iter().map(|value| if value.is_nan() { low } else { value.clamp(low, high) }).collect();
    let mean = clipped.iter().sum::<f64>() / clipped.len().max(1) as f64;
    clipped.iter().map(|value| value - mean).collect()
}

/// How much `b` resembles `a` when it is put off by `lag` slots, from slot `from` to slot `to`: 1 is alike, -1 is
/// opposite.
fn resemblance(a: &[f64], b: &[f64], lag: isize, from: usize, to: usize) -> f64 {
    let pairs = (from..to).filter_map(|slot| Some((a.get(slot)?, b.get(slot.checked_add_signed(lag)?)?)));
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        (both, one, other) = (both + a * b, one + a * a, other + b * b);
    }
    both / (one * other).sqrt()
}

/// The first and the last slot in which `signal` is high.
fn ends(signal: &[f64]) -> [f64; 2] {
    let high = quantile(&mut signal.to_vec(), 0.8);
    let slot = |slot: Option<usize>| slot.unwrap_or(0) as f64;
    [slot(signal.iter().position(|v| *v > high)), slot(signal.iter().rposition(|v| *v > high))]
}

/// The features of two ranks: whether what delays one delays the other in a later slot or in an earlier one.
pub(super) fn of_pair(view: &View<'_>, a: Rank, b: Rank) -> Vec<f64> {
    let mut features = Vec::new();
    let signals = |rank: Rank| [signal(view, |at| view.gap(at, rank)), signal(view, |at| view.late(at, rank))];
    for (a, b) in signals(a).iter().zip(signals(b)) {
        for (from, to) in [(0, view.slots), (0, EDGE.min(view.slots)), (view.slots.saturating_sub(EDGE), view.slots)]
        {
            features.extend(LAGS.map(|lag| resemblance(a, &b, lag, from, to)));
        }
        features.extend(ends(a).iter().zip(ends(&b)).map(|(a, b)| a - b));
    }
    known(features)
}

/// The features of what a rank sends in a slot: its delays in this slot, the one before and the one after, beside what
/// is usual for it.
pub(super) fn of_slot(view: &View<'_>, rank: Rank, slot: usize) -> Vec<f64> {
    let mut features = Vec::new();
    for phase in 0..view.phases {
        let usual_late = usual(view, phase, |at| view.late(at, rank));
        let usual_gap = usual(view, phase, |at| view.gap(at, rank));
        for near in [slot.checked_sub(1), Some(slot), Some(slot + 1)] {
            let at = near.filter(|near| *near < view.slots).map(|near| near * view.phases + phase);
            features.push(at.map_or(0.0, |at| view.late(at, rank) - usual_late));
            features.push(at.map_or(0.0, |at| view.gap(at, rank) - usual_gap));
        }
        features.push(usual_gap);
    }
    let now = slot * view.phases;
    let mut others: Vec<f64> = view.suspects().iter().map(|other| view.gap(now, *other)).collect();
    features.push(view.gap(now, rank) - median(&mut others));
    known(features)
}

/// The features of a whole run: how long its slots take, and how its ranks' delays vary.
pub(super) fn of_run(view: &View<'_>) -> Vec<f64> {
    let starts: Vec<f64> = (0..view.slots).map(|slot| view.middle(slot * view.phases)).collect();
    let mut features = vec![view.slots as f64, starts.last().unwrap_or(&0.0) - starts.first().unwrap_or(&0.0)];
    features.extend(summary(&mut starts.windows(2).map(|pair| pair[1] - pair[0]).collect()));
    // Each feature is computed for each rank, and then taken over all ranks: no one knows which rank to look at.
    let suspects = view.suspects();
    let over_ranks = |of: &dyn Fn(Rank) -> f64| {
        let mut values: Vec<f64> = suspects.iter().map(|rank| of(*rank)).collect();
        [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| quantile(&mut values, part))
    };
    for number in [0, 3, 5] {
        features.extend(over_ranks(&|rank| over_slots(view, 0, |at| view.gap(at, rank))[number]));
        features.extend(over_ranks(&|rank| over_slots(view, 0, |at| view.late(at, rank))[number]));
    }
    for edge in [0, 1] {
        features.extend(over_ranks(&|rank| edges(view, rank)[edge]));
    }
    known(features)
}
