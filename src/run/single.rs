//! The same job in one process, without messages: the reference for accuracy and time.
//!
//! Micro-batches, their order and every arithmetic call are those of the ranks, so the bits are too.

use std::time::Instant;

use super::model::Model;
use super::opening::Pacing;
use super::prepare::Prepared;
use super::results::{EpochReport, Outcome, VERSION};
use super::seat::share_of_cores;
use super::{RunError, Watcher};
use crate::compute::cpu::Cpu;
use crate::compute::{Backend, ComputeError};
use crate::data::{Batches, Dataset};
use crate::float::Float;
use crate::ids::{Batch, Epoch, MicroBatch};
use crate::nn::{Pass, Rates, Stage, StageSpec};
use crate::role::RoleError;
use crate::role::owner::{Score, Tally};

/// Runs `prepared` in this process.
///
/// # Errors
/// [`RunError`].
pub fn run(prepared: &Prepared, watcher: &mut (dyn Watcher + Send)) -> Result<(Outcome, Model), RunError> {
    let threads = share_of_cores(prepared.job.compute.threads, 1, Pacing::Lockstep);
    let backend = Cpu::new(threads)?;
    backend.enter(|| train(&backend, prepared, watcher))
}

fn train(
    backend: &Cpu,
    prepared: &Prepared,
    watcher: &mut (dyn Watcher + Send),
) -> Result<(Outcome, Model), RunError> {
    let started = Instant::now();
    let job = &prepared.job;
    let specs = prepared.specs();
    let mut network = Network::new(backend, &specs)?;
    let mut epochs = Vec::new();
    let mut kept = None;
    for epoch in 0..job.train.epochs {
        let began = Instant::now();
        let batches = prepared.batches(epoch);
        let learn = Some((Epoch(epoch), prepared.rates()));
        let passed = network.pass(backend, &prepared.train, &batches, learn, &mut |done| {
            watcher.progress(epoch, done, batches.samples());
        });
        let trained = match (passed, &kept) {
            (Ok(score), _) => score,
            (Err(error @ RunError::Role(RoleError::NotANumber { .. })), Some(model)) => {
                watcher.keep(epoch, model)?;
                return Err(error);
            }
            (Err(error), _) => return Err(error),
        };
        let validation = match prepared.validation.samples() {
            0 => None,
            _ => Some(network.evaluate(backend, &prepared.validation, job.train.micro_batch)?),
        };
        let seconds = began.elapsed().as_secs_f64();
        let report = EpochReport::new(epoch, trained, validation, batches.samples(), seconds, 0);
        watcher.epoch(&report)?;
        epochs.push(report);
        kept = Some(network.model(backend, &specs)?);
    }
    let test = network.evaluate(backend, &prepared.test, job.train.micro_batch)?;
    let model = network.model(backend, &specs)?;
    let outcome = Outcome {
        profile: "single".to_owned(),
        ranks: 1,
        hops: 0,
        backend: "cpu".to_owned(),
        mpi: "none".to_owned(),
        version: VERSION.to_owned(),
        fingerprint: backend.fingerprint(),
        test_accuracy: test.accuracy,
        test_loss: test.loss,
        weights_sha256: model.sha256(),
        seconds: started.elapsed().as_secs_f64(),
        epochs,
        wire_bytes_per_rank: 0,
        slot_seconds: None,
        overran: 0,
        cores_suffice: true,
        timing: Vec::new(),
    };
    Ok((outcome, model))
}

/// All stages, one after the other.
struct Network<B: Backend> {
    stages: Vec<Stage<B>>,
    /// Values a sample that go into each stage, and come out of the last.
    features: Vec<usize>,
    scale: f32,
    /// How values would travel from stage to stage.
    wire: Float,
    logits: B::Buf,
    gradient: B::Buf,
    /// The data's bytes, before the first stage scales them.
    inputs: Vec<u8>,
    bytes: B::Bytes,
    labels: Vec<u32>,
}

impl<B: Backend + 'static> Network<B> {
    fn model(&self, backend: &B, specs: &[StageSpec]) -> Result<Model, RunError> {
        let values = self.stages.iter().map(|stage| stage.values(backend)).collect::<Result<Vec<_>, _>>()?;
        Model::new(specs, &values)
    }

    fn new(backend: &B, specs: &[StageSpec]) -> Result<Self, ComputeError> {
        let stages = specs.iter().map(|spec| Stage::new(backend, spec)).collect::<Result<Vec<_>, _>>()?;
        let mut features: Vec<usize> = specs.iter().map(|spec| spec.input_features() as usize).collect();
        features.extend(specs.last().map(|spec| spec.output_features() as usize));
        let rows = specs.first().map_or(0, |spec| spec.micro_batch as usize);
        let (first, last) = (features[0], features[features.len() - 1]);
        Ok(Self {
            stages,
            scale: specs.first().and_then(|spec| spec.input_scale).unwrap_or(1.0),
            wire: specs.first().map_or(Float::F32, |spec| spec.wire),
            logits: backend.zeros(rows * last)?,
            gradient: backend.zeros(rows * last)?,
            inputs: vec![0; rows * first],
            bytes: backend.bytes(rows * first)?,
            labels: vec![0; rows],
            features,
        })
    }

    /// One pass over `batches`; with an epoch and its rates the stages learn from it.
    fn pass(
        &mut self,
        backend: &B,
        data: &Dataset,
        batches: &Batches,
        learn: Option<(Epoch, Rates)>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Score, RunError> {
        let mut tally = Tally::default();
        let mut done = 0;
        for batch in 0..batches.batches() {
            let size = batches.batch(batch).len();
            let weight = 1.0 / size as f32;
            let micro_batches =
                (batches.batch(batch).len() as u32).div_ceil(batches.micro_batch(batch, 0).len() as u32);
            for micro_batch in 0..micro_batches {
                let rows = batches.micro_batch(batch, micro_batch);
                let pass = match learn {
                    Some((epoch, _)) => Pass::training(rows.len(), epoch, Batch(batch), MicroBatch(micro_batch)),
                    None => Pass::evaluation(rows.len()),
                };
                self.forward(backend, data, rows, pass)?;
                let classes = self.features[self.features.len() - 1];
                let labels = &self.labels[..rows.len()];
                let sum = backend.cross_entropy(classes, &self.logits, labels, weight, &mut self.gradient);
                tally.add(sum, rows.len());
                match learn {
                    None => self.stages.iter_mut().for_each(Stage::forget),
                    Some((epoch, _)) if !sum.loss.is_finite() => {
                        return Err(RoleError::NotANumber { loss: sum.loss, epoch, batch: Batch(batch) }.into());
                    }
                    Some(_) => self.backward(backend, rows.len()),
                }
            }
            if let Some((epoch, rates)) = learn {
                let rate = rates.at(epoch, Batch(batch));
                self.stages.iter_mut().for_each(|stage| stage.step(backend, rate));
            }
            done += size;
            progress(done);
        }
        Ok(tally.score())
    }

    fn evaluate(&mut self, backend: &B, data: &Dataset, micro_batch: u32) -> Result<Score, RunError> {
        let samples = data.samples() as u32;
        let batches = Batches::new((0..samples).collect(), samples, micro_batch);
        self.pass(backend, data, &batches, None, &mut |_| {})
    }

    /// Leaves the last stage's output in `logits`.
    fn forward(&mut self, backend: &B, data: &Dataset, rows: &[u32], pass: Pass) -> Result<(), ComputeError> {
        let inputs = &mut self.inputs[..rows.len() * self.features[0]];
        data.gather(rows, inputs, &mut self.labels[..rows.len()]);
        backend.put(inputs, &mut self.bytes, 0);
        let taken = self.stages[0].input(backend, pass)?;
        backend.decode_u8(&self.bytes, 0, inputs.len(), self.scale, taken);
        for i in 0..self.stages.len() {
            let (here, behind) = self.stages.split_at_mut(i + 1);
            let output = here[i].forward(backend);
            let values = rows.len() * self.features[i + 1];
            match behind.first_mut() {
                Some(next) => backend.round(self.wire, values, output, next.input(backend, pass)?),
                None => backend.round(self.wire, values, output, &mut self.logits),
            };
        }
        Ok(())
    }

    /// Takes the loss's gradient back through all stages.
    fn backward(&mut self, backend: &B, rows: usize) {
        let last = self.stages.len() - 1;
        backend.round(self.wire, rows * self.features[last + 1], &self.gradient, self.stages[last].output_gradient());
        for i in (0..self.stages.len()).rev() {
            let (before, here) = self.stages.split_at_mut(i);
            let gradient = here[0].backward_input(backend);
            if let (Some(gradient), Some(next)) = (gradient, before.last_mut()) {
                backend.round(self.wire, rows * self.features[i], gradient, next.output_gradient());
            }
            here[0].backward_params(backend);
        }
    }
}
