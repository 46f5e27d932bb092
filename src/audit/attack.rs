//! The attacks. Each learns from half of the runs and is tried on the other half.
//!
//! *Statistics* take the one feature and threshold that parted the cases best. The *classifier* is a random forest over
//! all features. What counts is the share of cases that are answered rightly, in runs that were never seen before. As
//! there are as many cases of each answer, that is the balanced accuracy BA. The advantage over guessing is 2 BA - 1.

use smartcore::ensemble::random_forest_classifier::{RandomForestClassifier, RandomForestClassifierParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::question::Pair;
use crate::report::chance::Chance;

/// How many trees the forest has.
const TREES: u16 = 80;
/// How many questions a tree asks of a case at most.
const DEPTH: u16 = 8;
/// How many learned cases must be left at the end of a tree's questions.
const LEAF: usize = 4;
/// How many pairs the forest learns from at most. Of more pairs it takes every k-th.
const LEARNED: usize = 2000;
/// Half the width, in standard errors, of the interval for what must not be claimed by chance. Such a figure is wrong
/// once in 30,000 times; a table has many figures.
const SURE: f64 = 4.0;

/// How much better than guessing an attack does, from -1 to 1. At 0 it guesses, at 1 it is certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advantage {
    /// The advantage as estimated from the cases that were tried.
    pub(super) mean: f64,
    /// The lower end of its 95 % interval.
    pub(super) low: f64,
    /// The upper end of its 95 % interval.
    pub(super) high: f64,
    /// The lower end of an interval of [`SURE`] standard errors: the advantage is at least this, with all but
    /// certainty.
    pub(super) surely: f64,
}

/// What both attacks have come to on one question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advantages {
    /// The advantage of the attack by one feature and one threshold.
    pub(super) statistics: Advantage,
    /// The advantage of the attack by a random forest.
    pub(super) classifier: Advantage,
}

impl Advantage {
    /// The advantage that follows from `answers`: for each run the answers to its cases, 1 where right and 0 where
    /// wrong. They are grouped by run as the cases of a run are not independent. `None` where there are no answers.
    fn of(answers: &[Vec<f64>]) -> Option<Self> {
        let (usual, sure) = (Chance::of(answers)?, Chance::within(SURE, answers)?);
        let advantage = |part: f64| 2.0 * part - 1.0;
        Some(Self {
            mean: advantage(usual.mean),
            low: advantage(usual.low),
            high: advantage(usual.high),
            surely: advantage(sure.low),
        })
    }
}

impl Advantages {
    /// Learns from the `pairs` of runs with even numbers, and answers those of runs with odd numbers. `None` where one
    /// of the two halves has no pairs.
    pub(super) fn of(pairs: &[Pair]) -> Option<Self> {
        let (learned, held_out): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.run.is_multiple_of(2));
        if learned.is_empty() || held_out.is_empty() {
            return None;
        }
        let tried = |answer: &dyn Fn(&[f64]) -> bool| {
            let right = |pair: &&Pair| [answer(&pair.yes), !answer(&pair.no)].map(|right| f64::from(u8::from(right)));
            let runs = held_out.chunk_by(|a, b| a.run == b.run);
            Advantage::of(&runs.map(|run| run.iter().flat_map(right).collect()).collect::<Vec<Vec<f64>>>())
        };
        let threshold = Threshold::learn(&learned);
        let forest = Forest::learn(&learned);
        Some(Self {
            statistics: tried(&|case| threshold.answer(case))?,
            classifier: tried(&|case| forest.answer(case))?,
        })
    }

    /// The advantage of the attack that does better.
    pub(super) fn better(&self) -> Advantage {
        if self.classifier.low > self.statistics.low { self.classifier } else { self.statistics }
    }

    /// Whether one of the attacks does better than guessing, with all but certainty.
    pub(super) fn surely(&self) -> bool {
        self.statistics.surely.max(self.classifier.surely) > 0.0
    }

    /// What neither attack's advantage exceeds, with 95 %.
    pub(super) fn below(&self) -> f64 {
        self.statistics.high.max(self.classifier.high)
    }
}

/// The attack by statistics: one feature, and the value at which the answer changes.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    /// The place of the feature in a case.
    feature: usize,
    /// The value at which the answer changes.
    at: f64,
    /// Whether the answer is yes above that value. Else it is yes below.
    above: bool,
}

impl Threshold {
    /// The feature and threshold that part the cases of `pairs` best.
    fn learn(pairs: &[&Pair]) -> Self {
        let features = pairs.first().map_or(0, |pair| pair.yes.len());
        let best = (0..features).map(|feature| Self::of_feature(pairs, feature)).max_by_key(|(excess, _)| *excess);
        best.map_or(Self { feature: 0, at: 0.0, above: true }, |(_, threshold)| threshold)
    }

    /// Finds the best threshold of `feature`. Returns by how many answers it is better than guessing, and the
    /// threshold.
    fn of_feature(pairs: &[&Pair], feature: usize) -> (i64, Self) {
        let mut cases: Vec<(f64, i64)> =
            pairs.iter().flat_map(|pair| [(pair.yes[feature], 1), (pair.no[feature], -1)]).collect();
        cases.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut best = (0, Self { feature, at: f64::NEG_INFINITY, above: true });
        // The cases with yes less those with no, up to this value. Where few are yes up to here, yes is above the
        // threshold; where many are, below.
        let mut sum = 0;
        for (index, (value, sign)) in cases.iter().enumerate() {
            sum += sign;
            let Some((next, _)) = cases.get(index + 1).filter(|(next, _)| next > value) else { continue };
            if sum.abs() > best.0 {
                best = (sum.abs(), Self { feature, at: f64::midpoint(*value, *next), above: sum < 0 });
            }
        }
        best
    }

    /// Whether the answer for `case` is yes.
    fn answer(&self, case: &[f64]) -> bool {
        case.get(self.feature).is_some_and(|value| (*value > self.at) == self.above)
    }
}

/// The random forest of the crate `smartcore`.
type Trees = RandomForestClassifier<f64, i32, DenseMatrix<f64>, Vec<i32>>;

/// The attack by classifier: a random forest, and the features that it looks at.
struct Forest {
    /// The places of these features in a case.
    features: Vec<usize>,
    /// The trees. `None` where no feature varies, so that there was nothing to learn.
    trees: Option<Trees>,
}

impl Forest {
    /// A forest that has learned from the cases of `pairs`.
    fn learn(pairs: &[&Pair]) -> Self {
        let thinned: Vec<&&Pair> = pairs.iter().step_by(pairs.len().div_ceil(LEARNED)).collect();
        let cases: Vec<(&[f64], i32)> =
            thinned.iter().flat_map(|pair| [(pair.yes.as_slice(), 1), (pair.no.as_slice(), 0)]).collect();
        // A feature that is the same in all cases says nothing.
        let varies = |feature: &usize| cases.iter().any(|(case, _)| case[*feature] != cases[0].0[*feature]);
        let features: Vec<usize> = (0..cases[0].0.len()).filter(varies).collect();
        let chosen = |case: &[f64]| features.iter().map(|feature| case[*feature]).collect::<Vec<f64>>();
        let rows: Vec<Vec<f64>> = cases.iter().map(|(case, _)| chosen(case)).collect();
        let answers: Vec<i32> = cases.iter().map(|(_, answer)| *answer).collect();
        let parameters = RandomForestClassifierParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(DEPTH)
            .with_min_samples_leaf(LEAF);
        // Where no feature varies there is nothing to learn, and every answer is yes.
        let trees = DenseMatrix::from_2d_vec(&rows).and_then(|rows| Trees::fit(&rows, &answers, parameters)).ok();
        Self { features, trees }
    }

    /// Whether the answer for `case` is yes.
    fn answer(&self, case: &[f64]) -> bool {
        let case = vec![self.features.iter().map(|feature| case[*feature]).collect::<Vec<f64>>()];
        let answer = |trees: &Trees| DenseMatrix::from_2d_vec(&case).and_then(|case| trees.predict(&case)).ok();
        self.trees.as_ref().and_then(answer).is_none_or(|answer| answer == [1])
    }
}
