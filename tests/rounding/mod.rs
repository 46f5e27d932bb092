//! How far what f32 makes of a sum may lie from the sum: the one bound behind the tolerances of all tests of arithmetic.
//!
//! An operation in f32 is off by at most [`UNIT`] of its result; a fused one once, where two operations would be off twice. Each term
//! of a sum passes some roundings on its way into the result: after r of them it is off by at most [`gamma`] (r) of its size (Higham,
//! Accuracy and Stability of Numerical Algorithms, 2nd edition, lemma 3.1). A sum of n products, whatever the order in which it is
//! added up, and so whatever the vectors and the blocks, has at most n roundings a term: one of the product, n - 1 of sums (section
//! 3.1). So no tolerance fits one processor's instructions alone; and each is far below what a term too many or too few would make.
//!
//! Included by unit tests, too.
#![allow(dead_code)]

/// What the nearest f32 is off by at most, as a part of a number.
pub(crate) const UNIT: f64 = 1.0 / 16_777_216.0;

/// What so many roundings, one after another, are off by at most, as a part of a number.
pub(crate) fn gamma(roundings: usize) -> f64 {
    let units = roundings as f64 * UNIT;
    units / (1.0 - units)
}

/// The same where roundings go up and down at random, as they do on the way through many sums, or for a mean over many values: n of
/// them come to 8 √n of one. One way in 10^13 is off by more (Higham and Mary, A New Approach to Probabilistic Rounding Error
/// Analysis, SIAM J. Sci. Comput. 41, 2019, theorem 2.4).
pub(crate) fn likely(roundings: usize) -> f64 {
    (8.0 * (roundings as f64).sqrt() * UNIT).min(gamma(roundings))
}

/// A sum in f64, and what its bound follows from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    /// What it comes to.
    pub(crate) value: f64,
    /// What its terms' sizes come to.
    pub(crate) size: f64,
    /// How many there are.
    pub(crate) terms: usize,
}

impl Sum {
    /// Adds a term: a value, or a product of two.
    pub(crate) fn add(&mut self, term: f64) {
        self.value += term;
        self.size += term.abs();
        self.terms += 1;
    }

    /// The same times `factor`, which is known exactly.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { value: factor * self.value, size: factor.abs() * self.size, ..self }
    }

    /// Asserts that `found` is the sum, where each term has been rounded `more` times besides.
    #[track_caller]
    pub(crate) fn is_nearly(&self, found: f32, more: usize) {
        let most = gamma(self.terms + more) * self.size;
        let off = (f64::from(found) - self.value).abs();
        assert!(off <= most, "{found} is off by {off:e}, which may be {most:e}: {self:?}");
    }
}
