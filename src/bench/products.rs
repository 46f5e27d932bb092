//! What ranks do for `mixnn bench gemm`: they multiply two matrices, over and over.

use serde::{Deserialize, Serialize};

use super::rounds::seconds;
use crate::compute::cpu::Cpu;
use crate::compute::{Backend, ComputeError, Gemm, Matrix, Memory};
use crate::run::RunError;

/// Which of a layer's three products it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ProductKind {
    /// The one that gives the output.
    Forward,
    /// The gradient of the input.
    InputGradient,
    /// The gradient of the weight, which is added to.
    WeightGradient,
}

impl ProductKind {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            ProductKind::Forward => "forward",
            ProductKind::InputGradient => "dx",
            ProductKind::WeightGradient => "dw",
        }
    }
}

/// A product C (m, n) = A (m, k) B (k, n).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MatrixProduct {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Which of a layer's products it is.
    pub kind: ProductKind,
}

impl MatrixProduct {
    /// How many additions and multiplications it takes.
    pub(super) fn operations(self) -> f64 {
        2.0 * self.m as f64 * self.n as f64 * self.k as f64
    }

    /// How many seconds it takes with `cpu`.
    ///
    /// # Errors
    /// [`ComputeError::OutOfMemory`].
    pub(super) fn seconds(self, cpu: &Cpu) -> Result<f64, ComputeError> {
        let Self { m, n, k, kind } = self;
        let transposed = kind == ProductKind::WeightGradient;
        let shape = Gemm { m, n, k, a_transposed: transposed, b_transposed: false, accumulate: transposed };
        let (a, b, mut c) = (cpu.zeros(m * k)?, cpu.zeros(k * n)?, cpu.zeros(m * n)?);
        Ok(cpu.enter(|| seconds(|| cpu.gemm(shape, &a, &b, &mut c))))
    }
}

/// A row of the table: what each rank multiplies, with how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GemmCase {
    /// The product that is measured.
    pub product: MatrixProduct,
    /// How many threads; 0: the rank's part of its host's cores.
    pub threads: u16,
}

impl GemmCase {
    /// How many seconds it takes on a rank whose part of its host's cores is `cores`.
    pub(super) fn seconds(self, cores: usize) -> Result<f64, RunError> {
        let threads = if self.threads == 0 { cores } else { self.threads.into() };
        Ok(self.product.seconds(&Cpu::new(threads)?)?)
    }
}
