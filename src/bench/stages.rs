//! What a stage's forward and backward passes and steps take, of a linear layer with a relu: what `mixnn bench model` fits arithmetic to.

use std::hint::black_box;

use super::rounds::seconds;
use crate::compute::cpu::Cpu;
use crate::compute::{Backend, Memory};
use crate::float::Float;
use crate::ids::{Batch, Epoch, MicroBatch};
use crate::job::{Job, Shape};
use crate::model::fit::Observation;
use crate::model::{MatrixShape, StageLoad};
use crate::nn::{Pass, Stage, StageSpec};
use crate::run::RunError;
use crate::run::load_of;

/// A stage of `input` to `out` values, through which `rows` samples go at once, with so many `threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageCase {
    pub rows: usize,
    pub input: usize,
    pub out: usize,
    pub threads: usize,
}

/// What a stage does, in the order of its times.
pub(super) const PASSES: [&str; 3] = ["forward", "backward", "step"];

impl StageCase {
    /// The stage, as a job has it.
    fn spec(self) -> Result<StageSpec, RunError> {
        let text = format!(
            "name=\"stage\"\nseed=1\n[data]\nsource=\"digits\"\n[train]\nepochs=1\noptimizer={{kind=\"sgd\",lr=0.1,momentum=0.9}}\n\
             [[stage]]\nops=[{{op=\"linear\",out={}}},{{op=\"relu\"}}]\n",
            self.out
        );
        let mut job = Job::parse("a stage", &text, &[])?;
        Ok(StageSpec {
            ops: job.stages.remove(0).ops,
            input: Shape::new(vec![self.input as u32]),
            output: Shape::new(vec![self.out as u32]),
            data: None,
            wire: Float::F32,
            micro_batch: self.rows as u32,
            optimizer: job.train.optimizer,
            seed: job.seed(),
            loss: None,
            values: None,
        })
    }

    /// What the model reckons of it with.
    fn load(self) -> Result<StageLoad, RunError> {
        Ok(load_of(&self.spec()?))
    }

    /// How many seconds its passes and a step take, in the order of [`PASSES`]. Messages are decoded and encoded, as on a rank.
    ///
    /// # Errors
    /// [`RunError::Compute`].
    pub(super) fn seconds(self) -> Result<[f64; 3], RunError> {
        let Self { rows, input, out, threads } = self;
        let (cpu, spec) = (Cpu::new(threads)?, self.spec()?);
        let mut stage = Stage::new(&cpu, &spec)?;
        let [mut taken, mut given] = [cpu.bytes(4 * rows * input)?, cpu.bytes(4 * rows * out)?];
        let pass = Pass::training(rows, Epoch(0), Batch(0), MicroBatch(0));
        // Memory for activations is made in the first call.
        stage.input(&cpu, pass)?;
        stage.forget();
        let mut wrong = None;
        let forward = cpu.enter(|| {
            seconds(|| {
                match stage.input(&cpu, pass) {
                    Ok(buffer) => cpu.decode(Float::F32, black_box(&taken), 0, rows * input, buffer),
                    Err(error) => wrong = Some(error),
                }
                let output = stage.forward(&cpu);
                cpu.encode(Float::F32, output, rows * out, &mut given, 0);
                stage.forget();
            })
        });
        let mut backward = |stage: &mut Stage<Cpu>| {
            if let Err(error) = stage.input(&cpu, pass) {
                wrong = Some(error);
            }
            cpu.decode(Float::F32, black_box(&given), 0, rows * out, stage.output_gradient());
            if let Some(gradient) = stage.backward_input(&cpu) {
                cpu.encode(Float::F32, gradient, rows * input, &mut taken, 0);
            }
            stage.backward_params(&cpu);
        };
        let back = cpu.enter(|| seconds(|| backward(&mut stage)));
        // After a step, the next backward pass rearranges the weights.
        let with_step = cpu.enter(|| {
            seconds(|| {
                backward(&mut stage);
                stage.step(&cpu, 1e-9);
            })
        });
        match wrong {
            Some(error) => Err(error.into()),
            None => Ok([forward, back, (with_step - back).max(0.0)]),
        }
    }

    /// What the model says that such times hold: products, operations, entries, values, and values of a step; with the measured
    /// `seconds`.
    pub(super) fn observations(self, seconds: [f64; 3]) -> Result<[Observation<5>; 3], RunError> {
        let load = self.load()?;
        let [rows, input, out] = [self.rows, self.input, self.out].map(|number| number as f64);
        let values = rows * load.values;
        let of = |products: &[MatrixShape], values: f64, stepped: f64, seconds: f64| Observation {
            times: [
                products.len() as f64,
                products.iter().map(|product| product.operations()).sum(),
                products.iter().map(|product| product.entries()).sum(),
                values,
                stepped,
            ],
            known: 0.0,
            seconds,
        };
        let ahead = MatrixShape { m: rows, n: out, k: input };
        let of_input = MatrixShape { m: rows, n: input, k: out };
        let of_weight = MatrixShape { m: input, n: out, k: rows };
        Ok([
            of(&[ahead], values, 0.0, seconds[0]),
            of(&[of_input, of_weight], 2.0 * values, 0.0, seconds[1]),
            of(&[], 0.0, load.stepped, seconds[2]),
        ])
    }
}
