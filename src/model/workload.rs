//! What a job asks of its ranks: lengths, schedule, and the arithmetic of its stages.

use std::ops::Range;

use super::speeds::{Arithmetic, MatrixShape};
use crate::mix::geometry::Geometry;
use crate::pipeline::{DataPass, Depth};

/// What an epoch of a job asks of its ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The lengths of messages and cells.
    pub geometry: Geometry,
    /// How the messages of ranks travel.
    pub travel: Travel,
    /// When the job's slots begin.
    pub pacing: SlotStart,
    /// How many stages ranks host, and for how many they pass.
    pub depth: Depth,
    /// The stages of the network, in order.
    pub stages: Vec<StageLoad>,
    /// Which of the stages stand on ranks. The owner has the others.
    pub remote: Range<usize>,
    /// How many samples a micro-batch has.
    pub rows: u32,
    /// How many micro-batches a batch has.
    pub full: u32,
    /// How many micro-batches an epoch trains on.
    pub training: u32,
    /// How many micro-batches it validates on.
    pub validation: u32,
    /// How many terms an epoch has.
    pub terms: u32,
    /// How many values of a sample the owner reads: its inputs, and the outputs that it compares.
    pub owned: f64,
}

/// How messages travel between ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// They travel through the mix.
    Mixed,
    /// They travel sealed, straight to the neighbours.
    Sealed,
    /// They travel plain, straight to the neighbours.
    Bare,
}

/// When the slots of a job begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotStart {
    /// When their ranks are ready.
    Lockstep,
    /// When all ranks have had the time for the most work that a slot may hold.
    Work,
    /// After a fixed number of seconds.
    Every(f64),
}

/// What a stage does with a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct StageLoad {
    /// The affine maps: how many vectors of a sample each maps, and how many values these have before and after.
    pub maps: Vec<[usize; 3]>,
    /// How many values of a sample pass through the operations: those that go in and those that come out of each.
    pub values: f64,
    /// How many values of all samples together an optimizer's step reads.
    pub stepped: f64,
    /// Whether the data go into the stage, so that nobody asks for the gradient of its input.
    pub first: bool,
}

impl StageLoad {
    /// Seconds of a forward pass of `rows` samples.
    pub fn forward(&self, arithmetic: Arithmetic, rows: f64) -> f64 {
        let products = self.maps.iter().map(|[vectors, input, out]| {
            arithmetic.of_product(MatrixShape { m: rows * *vectors as f64, n: *out as f64, k: *input as f64 })
        });
        products.sum::<f64>() + rows * self.values * arithmetic.value
    }

    /// Seconds of a backward pass of `rows` samples, with the gradients of all parameters.
    pub fn backward(&self, arithmetic: Arithmetic, rows: f64) -> f64 {
        let products = self.maps.iter().enumerate().map(|(i, [vectors, input, out])| {
            let [m, input, out] = [rows * *vectors as f64, *input as f64, *out as f64];
            let of_input = arithmetic.of_product(MatrixShape { m, n: input, k: out });
            let of_weight = arithmetic.of_product(MatrixShape { m: input, n: out, k: m });
            of_weight + if self.first && i == 0 { 0.0 } else { of_input }
        });
        products.sum::<f64>() + 2.0 * rows * self.values * arithmetic.value
    }

    /// Seconds of an optimizer's step.
    pub fn step(&self, arithmetic: Arithmetic) -> f64 {
        self.stepped * arithmetic.step
    }
}

impl Workload {
    /// The training pass of an epoch in which a batch has `full` micro-batches and all batches together `total`.
    pub(super) fn pass(&self, full: u32, total: u32) -> DataPass {
        DataPass::training(self.depth, full, total)
    }

    /// How many slots an epoch takes.
    pub fn slots(&self) -> u64 {
        let validation = match self.validation {
            0 => 0,
            some => DataPass::evaluation(self.depth, some).slots(),
        };
        self.pass(self.full, self.training).slots() + validation
    }

    /// How many batches an epoch has. The last may be a part of one.
    pub(super) fn batches(&self) -> f64 {
        f64::from(self.training) / f64::from(self.full.max(1))
    }
}
