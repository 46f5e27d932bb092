//! The attacks: each learns from half of the runs and is tried on the other half.
//!
//! *Statistics* take the one feature and threshold that parted the cases best. The *classifier* is a random forest over all
//! features. What counts is the part of the cases of runs never seen before that is answered rightly; as there are as many
//! of each answer, that is the balanced accuracy BA, and 2 BA - 1 the advantage over guessing.

use smartcore::ensemble::random_forest_classifier::{RandomForestClassifier, RandomForestClassifierParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::question::Pair;
use crate::report::chance::Chance;

/// Trees of the forest.
const TREES: u16 = 80;
/// Questions one after the other on the way down a tree, at most.
const DEPTH: u16 = 8;
/// Cases at the end of that way, at least.
const LEAF: usize = 4;
/// Pairs that the forest learns from, at most: of more, every k-th.
const LEARNED: usize = 2000;
/// Standard errors for what must not be claimed by chance: once in 30,000 times, for a table has many figures.
const SURE: f64 = 4.0;

/// How much better than guessing an attack does, -1 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advantage {
    /// The estimate.
    pub(super) mean: f64,
    /// Where its 95 % interval begins.
    pub(super) low: f64,
    /// Where it ends.
    pub(super) high: f64,
    /// What it is at least, for all but certain.
    pub(super) surely: f64,
}

/// Both attacks on one question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// One feature, one threshold.
    pub(super) statistics: Advantage,
    /// The forest.
    pub(super) classifier: Advantage,
}

impl Advantage {
    /// From the answers to cases, 1 where right, by run: the cases of a run are not independent.
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

impl Found {
    /// Learns from the runs of even number in `pairs` and answers those of odd number; `None` where there are no pairs to
    /// do so.
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

    /// The attack that does better.
    pub(super) fn better(&self) -> Advantage {
        if self.classifier.low > self.statistics.low { self.classifier } else { self.statistics }
    }

    /// Whether one of the attacks does better than guessing, for all but certain.
    pub(super) fn surely(&self) -> bool {
        self.statistics.surely.max(self.classifier.surely) > 0.0
    }

    /// What neither attack exceeds, with 95 %.
    pub(super) fn below(&self) -> f64 {
        self.statistics.high.max(self.classifier.high)
    }
}

/// One feature, and from where on the answer is yes.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    feature: usize,
    at: f64,
    /// Whether the answer is yes above, not below.
    above: bool,
}

impl Threshold {
    fn learn(pairs: &[&Pair]) -> Self {
        let features = pairs.first().map_or(0, |pair| pair.yes.len());
        let best = (0..features).map(|feature| Self::of_feature(pairs, feature)).max_by_key(|(excess, _)| *excess);
        best.map_or(Self { feature: 0, at: 0.0, above: true }, |(_, threshold)| threshold)
    }

    /// The best threshold of `feature`, and by how many answers it is better than guessing.
    fn of_feature(pairs: &[&Pair], feature: usize) -> (i64, Self) {
        let mut cases: Vec<(f64, i64)> =
            pairs.iter().flat_map(|pair| [(pair.yes[feature], 1), (pair.no[feature], -1)]).collect();
        cases.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut best = (0, Self { feature, at: f64::NEG_INFINITY, above: true });
        // Yeses less noes up to here: few are a threshold above which is yes, many one below which.
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

    fn answer(&self, case: &[f64]) -> bool {
        case.get(self.feature).is_some_and(|value| (*value > self.at) == self.above)
    }
}

type Trees = RandomForestClassifier<f64, i32, DenseMatrix<f64>, Vec<i32>>;

/// A random forest, and the features that it looks at.
struct Forest {
    features: Vec<usize>,
    trees: Option<Trees>,
}

impl Forest {
    fn learn(pairs: &[&Pair]) -> Self {
        let thinned: Vec<&&Pair> = pairs.iter().step_by(pairs.len().div_ceil(LEARNED)).collect();
        let cases: Vec<(&[f64], i32)> =
            thinned.iter().flat_map(|pair| [(pair.yes.as_slice(), 1), (pair.no.as_slice(), 0)]).collect();
        // What is the same in all cases says nothing.
        let varies = |feature: &usize| cases.iter().any(|(case, _)| case[*feature] != cases[0].0[*feature]);
        let features: Vec<usize> = (0..cases[0].0.len()).filter(varies).collect();
        let chosen = |case: &[f64]| features.iter().map(|feature| case[*feature]).collect::<Vec<f64>>();
        let rows: Vec<Vec<f64>> = cases.iter().map(|(case, _)| chosen(case)).collect();
        let answers: Vec<i32> = cases.iter().map(|(_, answer)| *answer).collect();
        let parameters = RandomForestClassifierParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(DEPTH)
            .with_min_samples_leaf(LEAF);
        // Where no feature varies there is nothing to learn: every answer is yes.
        let trees = DenseMatrix::from_2d_vec(&rows).and_then(|rows| Trees::fit(&rows, &answers, parameters)).ok();
        Self { features, trees }
    }

    fn answer(&self, case: &[f64]) -> bool {
        let case = vec![self.features.iter().map(|feature| case[*feature]).collect::<Vec<f64>>()];
        let answer = |trees: &Trees| DenseMatrix::from_2d_vec(&case).and_then(|case| trees.predict(&case)).ok();
        self.trees.as_ref().and_then(answer).is_none_or(|answer| answer == [1])
    }
}
