//! Attention: for each sample and head, block by block of queries, so that the weights of a block alone are in memory.
//!
//! The samples of a micro-batch fall into at most [`PARTS`] parts of equal size, whatever the number of threads. Each part has
//! scratch memory of its own, and no sum goes beyond a sample.

use gemm::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

use super::exact::{Matrix, Matrixed, strided};
use super::functions::exp;
use super::vector::vectorised;
use super::Cpu;
use crate::compute::{Attention, Gemm, Heads};

/// Parts of a micro-batch that may be computed at once.
const PARTS: usize = 8;
/// Queries whose weights are worked out at once.
const BLOCK: usize = 64;
/// Partial sums of a row: value i is added to partial sum i mod 16, and these in order.
const LANES: usize = 16;
