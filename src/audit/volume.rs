//! Features of volume and order: the lengths, ends, tags and numbers of messages, and what a rank's number says. No
//! times are among them. In which order ranks begin is a matter of time. In which order a rank's own blocks leave
//! within a phase is up to MPI: in one process they are handed over at once.

use super::view::{TAGS, View};
use crate::ids::Rank;

/// What `rank` sends in one phase: bytes in all, the longest block, the shortest, and how many. Then the same of what
/// it receives.
fn traffic(view: &View<'_>, phase: usize, rank: Rank) -> [f64; 8] {
    let mut sums = [0.0, 0.0, f64::INFINITY, 0.0, 0.0, 0.0, f64::INFINITY, 0.0];
    for peer in Rank::all(view.ranks as u16) {
        for tag in 0..TAGS {
            for (way, (from, to)) in [(rank, peer), (peer, rank)].into_iter().enumerate() {
                let bytes = view.bytes(phase, tag, from, to);
                if bytes > 0.0 {
                    let [sum, most, least, count] = &mut sums[4 * way..4 * way + 4] else { continue };
                    (*sum, *count) = (*sum + bytes, *count + 1.0);
                    (*most, *least) = (most.max(bytes), least.min(bytes));
                }
            }
        }
    }
    sums.map(|value| if value.is_finite() { value } else { 0.0 })
}

/// The mean of `of` over all slots.
fn over_slots<const K: usize>(view: &View<'_>, of: impl Fn(usize) -> [f64; K]) -> [f64; K] {
    let mut sums = [0.0; K];
    for slot in 0..view.slots {
        for (sum, value) in sums.iter_mut().zip(of(slot)) {
            *sum += value;
        }
    }
    // The division comes at the end: so the mean of one number is that number, for any number of slots.
    sums.map(|sum| sum / view.slots.max(1) as f64)
}

/// How many bytes the first five messages outside slots of `rank` have, in order. 0 where the view does not see them.
fn letters(view: &View<'_>, rank: Rank) -> Vec<f64> {
    let seen = view.colluders.is_empty() || view.colluders.contains(&rank);
    let letters = &view.played.of(rank).letters;
    (0..5).map(|n| letters.get(n).filter(|_| seen).map_or(0.0, |letter| letter.bytes as f64)).collect()
}

/// The features of a rank: what it sends and receives on average.
pub(super) fn of_rank(view: &View<'_>, rank: Rank) -> Vec<f64> {
    let mut features = vec![f64::from(rank.0)];
    for phase in 0..view.phases {
        features.extend(over_slots(view, |slot| traffic(view, slot * view.phases + phase, rank)));
    }
    features.extend(letters(view, rank));
    features.extend(over_slots(view, |slot| view.own_real(Some(slot))));
    features
}

/// The features of two ranks: what passes between them, and between them and others.
pub(super) fn of_pair(view: &View<'_>, a: Rank, b: Rank) -> Vec<f64> {
    let mut features = vec![f64::from(a.0), f64::from(b.0), f64::from(a.0) - f64::from(b.0)];
    for tag in 0..TAGS {
        features.extend(over_slots(view, |slot| {
            let phases = slot * view.phases..(slot + 1) * view.phases;
            let sum = |from, to| phases.clone().map(|phase| view.bytes(phase, tag, from, to)).sum::<f64>();
            let others =
                || Rank::all(view.ranks as u16).filter(|rank| *rank != Rank::OWNER && *rank != a && *rank != b);
            let to = |from| others().map(|other| sum(from, other)).sum::<f64>();
            let from = |to| others().map(|other| sum(other, to)).sum::<f64>();
            [
                sum(a, b),
                sum(b, a),
                to(a),
                from(a),
                to(b),
                from(b),
                sum(Rank::OWNER, a),
                sum(a, Rank::OWNER),
                sum(Rank::OWNER, b),
                sum(b, Rank::OWNER),
            ]
        }));
    }
    features
}

/// The features of what a rank sends in a slot: its traffic in this slot, the one before and the one after, as far as
/// there are such slots.
pub(super) fn of_slot(view: &View<'_>, rank: Rank, slot: usize) -> Vec<f64> {
    let mut features = vec![f64::from(rank.0)];
    for at in [slot.checked_sub(1), Some(slot), Some(slot + 1)] {
        let at = at.filter(|at| *at < view.slots);
        for phase in 0..view.phases {
            features.extend(at.map_or([0.0; 8], |at| traffic(view, at * view.phases + phase, rank)));
        }
        features.extend(view.own_real(at));
    }
    features
}

/// The features of a whole run: the number of slots, and what all ranks send.
pub(super) fn of_run(view: &View<'_>) -> Vec<f64> {
    let mut features = vec![view.slots as f64];
    let ranks = || Rank::all(view.ranks as u16);
    for phase in 0..view.phases {
        let mut sums = [0.0; 8];
        for rank in ranks() {
            let mean = over_slots(view, |slot| traffic(view, slot * view.phases + phase, rank));
            sums.iter_mut().zip(mean).for_each(|(sum, value)| *sum += value);
        }
        features.extend(sums);
    }
    let seen: Vec<Vec<f64>> = ranks().map(|rank| letters(view, rank)).collect();
    features.extend((0..5).map(|n| seen.iter().map(|letters| letters[n]).fold(0.0, f64::max)));
    features
}
