//! The parameters of a machine: how long it takes for what ranks do over and over.

use serde::{Deserialize, Serialize};

/// What a machine does in how many seconds. Times of work are those of one core that does nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speeds {
    /// How many cores the ranks of a host share.
    pub cores: f64,
    /// Seconds of a phase in which nothing is moved: from when the last rank is ready until all know of it.
    pub latency: f64,
    /// Seconds of a core for each rank and phase, beside its blocks: to wait, and to be woken up.
    pub turn: f64,
    /// Seconds of a core for each block that a rank sends and receives in a phase.
    pub block: f64,
    /// Seconds of a core for each byte that a rank sends and receives.
    pub byte: f64,
    /// Laying a layer over a cell.
    pub seal: PerCell,
    /// Taking a layer off a cell.
    pub open: PerCell,
    /// What arithmetic takes with one thread.
    pub one_thread: Arithmetic,
    /// Arithmetic with a thread for each core, as of a run in one process.
    pub all_threads: Arithmetic,
    /// Seconds for each rank when a term begins and ends: keys, packages, results.
    pub term: f64,
    /// Where ranks share cores, what part of the longest work of a slot leaves other cores with nothing to do: 0 if it always comes
    /// first, 1 if it always comes last.
    pub uneven: f64,
}

/// What it takes to seal or to open a cell, in seconds of a core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerCell {
    /// Seconds for any cell, however short.
    pub call: f64,
    /// Seconds for each of its bytes.
    pub byte: f64,
}

/// What layers take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arithmetic {
    /// Seconds for any matrix product.
    pub product: f64,
    /// Seconds for each addition and each multiplication of a product.
    pub operation: f64,
    /// Seconds for each value of a product's three matrices.
    pub entry: f64,
    /// Seconds for each value that passes through an operation.
    pub value: f64,
    /// Seconds for each value that an optimizer's step reads: of a parameter, its gradient and what the optimizer keeps.
    pub step: f64,
}

/// A matrix product (m, k) by (k, n).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixShape {
    /// Rows of the left matrix.
    pub m: f64,
    /// Columns of the right matrix.
    pub n: f64,
    /// Columns of the left matrix, rows of the right one.
    pub k: f64,
}

impl MatrixShape {
    /// How many additions and multiplications it takes.
    pub fn operations(self) -> f64 {
        2.0 * self.m * self.n * self.k
    }

    /// How many values its three matrices have.
    pub fn entries(self) -> f64 {
        self.m * self.k + self.k * self.n + self.m * self.n
    }
}

impl PerCell {
    /// Seconds for `cells` cells of `bytes` bytes each.
    pub fn seconds(self, cells: f64, bytes: f64) -> f64 {
        cells * (self.call + bytes * self.byte)
    }
}

impl Arithmetic {
    /// Seconds of a matrix product.
    pub fn of_product(self, product: MatrixShape) -> f64 {
        self.product + product.operations() * self.operation + product.entries() * self.entry
    }
}

impl Speeds {
    /// A machine that nobody has measured: two cores that are slow, for a job whose owner has no model. What is chosen by it depends on
    /// the job alone.
    pub fn unmeasured() -> Self {
        let arithmetic = |operation| Arithmetic { product: 2e-6, operation, entry: 1e-9, value: 1e-9, step: 1e-9 };
        Self {
            cores: 2.0,
            latency: 5e-6,
            turn: 5e-6,
            block: 0.5e-6,
            byte: 0.2e-9,
            seal: PerCell { call: 0.3e-6, byte: 0.2e-9 },
            open: PerCell { call: 0.3e-6, byte: 0.2e-9 },
            one_thread: arithmetic(2e-11),
            all_threads: arithmetic(1e-11),
            term: 2e-3,
            uneven: 0.5,
        }
    }

    /// Whether each parameter is a number that a machine can have.
    pub(super) fn are_possible(&self) -> bool {
        let Self { cores, latency, turn, block, byte, seal, open, one_thread, all_threads, term, uneven } = *self;
        let cell = |PerCell { call, byte }: PerCell| [call, byte];
        let arithmetic = |Arithmetic { product, operation, entry, value, step }: Arithmetic| {
            [product, operation, entry, value, step]
        };
        let times = [&[latency, turn, block, byte, term][..], &cell(seal), &cell(open), &arithmetic(one_thread)];
        let times = times.concat().into_iter().chain(arithmetic(all_threads));
        let sane = cores.is_finite() && cores > 0.0 && (0.0..=1.0).contains(&uneven);
        sane && times.into_iter().all(|time| time.is_finite() && time >= 0.0)
    }
}
