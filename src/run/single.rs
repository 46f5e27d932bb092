//! The same job in one process, without messages: the reference for accuracy and time.
//!
//! Micro-batches, their order and every arithmetic call are those of the ranks, so the bits are too.

use std::time::Instant;

use super::model::Model;
use super::platform::{self, Chosen, Platform, Standing};
use super::prepare::Prepared;
use super::results::{EpochReport, Outcome, VERSION, threads_line};
use super::setting::{Setting, hostname};
use super::{RunError, Watcher};
use crate::compute::{Backend, ComputeError, LossSum};
use crate::data::{Augmented, Batches, Dataset, Targets};
use crate::ids::{Batch, Epoch, MicroBatch};
use crate::memory;
use crate::nn::{Criterion, Network, Pass, StageSpec};
use crate::role::RoleError;
use crate::role::score::{Score, Tally, weight};

/// Runs `prepared` in this process.
///
/// # Errors
/// [`RunError`].
pub fn run(prepared: &Prepared, watcher: &mut (dyn Watcher + Send)) -> Result<(Outcome, Model), RunError> {
    let (chosen, note) = platform::choose(prepared.job.compute, Standing::alone())?;
    note.iter().for_each(|note| watcher.note(note));
    match chosen {
        Chosen::Cpu(backend) => backend.enter(|| train(&*backend, prepared, watcher)),
        #[cfg(feature = "cuda")]
        Chosen::Cuda(backend) => backend.enter(|| train(&*backend, prepared, watcher)),
    }
}

fn train<B: Platform>(
    backend: &B,
    prepared: &Prepared,
    watcher: &mut (dyn Watcher + Send),
) -> Result<(Outcome, Model), RunError> {
    let started = Instant::now();
    threads_line(&[Platform::threads(backend)]).iter().for_each(|line| watcher.note(line));
    let job = &prepared.job;
    let specs = prepared.specs();
    let mut learner = Learner::new(backend, prepared, &specs)?;
    let mut epochs = Vec::new();
    let mut kept = None;
    let passes = if prepared.infers() { 0 } else { job.train.epochs };
    for epoch in 0..passes {
        let began = Instant::now();
        let samples = prepared.trained();
        let passed = learner.train(backend, Epoch(epoch), &mut |done| watcher.progress(epoch, done, samples));
        let passed = passed.and_then(|score| Ok((score, learner.model(backend, &specs)?)));
        let (trained, model) = match (passed, &kept) {
            (Ok(passed), _) => passed,
            (Err(error), Some(model)) if error.exit_code() == 1 => {
                watcher.keep(epoch, model)?;
                return Err(error);
            }
            (Err(error), _) => return Err(error),
        };
        let validation = match prepared.validation.samples() {
            0 => None,
            _ => Some(learner.evaluate(backend, &prepared.validation)?),
        };
        let seconds = began.elapsed().as_secs_f64();
        let report = EpochReport::new(epoch, trained, validation, samples, seconds, 0);
        watcher.epoch(&report)?;
        epochs.push(report);
        kept = Some(model);
    }
    let test = match prepared.infers() {
        true => {
            watcher.outputs(learner.infer(backend, &prepared.test)?)?;
            Score::default()
        }
        false => learner.evaluate(backend, &prepared.test)?,
    };
    let model = learner.model(backend, &specs)?;
    let outcome = Outcome {
        setting: Setting::new(job, [hostname().as_str()]),
        profile: "single".to_owned(),
        ranks: 1,
        hops: 0,
        backend: B::NAME.to_owned(),
        device_lanes: false,
        threads: vec![Platform::threads(backend)],
        aead: Vec::new(),
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

/// The whole network, and what it learns from.
struct Learner<'a, B: Backend> {
    prepared: &'a Prepared,
    network: Network<B>,
    criterion: Criterion,
    /// (rows, outputs), and the loss's gradient.
    logits: B::Buf,
    gradient: B::Buf,
    /// Samples as they are, on the host and where the first stage takes them.
    inputs: Vec<u8>,
    bytes: B::Bytes,
    targets: Targets,
}

impl<'a, B: Backend + 'static> Learner<'a, B> {
    fn new(backend: &B, prepared: &'a Prepared, specs: &[StageSpec]) -> Result<Self, RunError> {
        let Some(network) = Network::new(backend, specs)? else {
            return Err(RunError::Bug("a job without stages".to_owned()));
        };
        let rows = prepared.job.train.micro_batch as usize;
        let bytes = rows * network.input_bytes();
        Ok(Self {
            prepared,
            criterion: Criterion::new(prepared.job.train.loss),
            logits: backend.zeros(rows * network.output_features())?,
            gradient: backend.zeros(rows * network.output_features())?,
            inputs: memory::zeroed(bytes)?,
            bytes: backend.bytes(bytes)?,
            targets: prepared.train.targets.room(rows),
            network,
        })
    }

    fn model(&self, backend: &B, specs: &[StageSpec]) -> Result<Model, RunError> {
        Model::new(specs, &self.network.values(backend)?)
    }

    /// Learns from the batches of `epoch`.
    fn train(&mut self, backend: &B, epoch: Epoch, progress: &mut dyn FnMut(usize)) -> Result<Score, RunError> {
        let prepared = self.prepared;
        let (batches, rates) = (prepared.batches(epoch.0), prepared.rates());
        let augmented = prepared.augmented(epoch);
        let mut tally = Tally::new(self.criterion);
        let mut done = 0;
        for batch in 0..batches.batches() {
            let samples = batches.batch(batch);
            let weight = weight(prepared.train.targets.terms(samples));
            for (micro_batch, rows) in batches.micro_batches_of(batch) {
                let pass = Pass::training(rows.len(), epoch, Batch(batch), MicroBatch(micro_batch));
                let sum = self.forward(backend, &prepared.train, rows, Some(&augmented), pass, weight)?;
                tally.add(sum, rows.len());
                if !sum.loss.is_finite() {
                    return Err(RoleError::NotANumber { loss: sum.loss, epoch, batch: Batch(batch) }.into());
                }
                let values = rows.len() * self.network.output_features();
                backend.round(prepared.job.mix.wire, values, &self.gradient, self.network.output_gradient());
                self.network.backward(backend);
            }
            self.network.step(backend, rates.at(epoch, Batch(batch)));
            done += samples.len();
            progress(done);
        }
        Ok(tally.score())
    }

    /// All samples of `data`, in their order.
    fn in_order(&self, data: &Dataset) -> Batches {
        let samples = data.samples() as u32;
        Batches::new((0..samples).collect(), samples, self.prepared.job.train.micro_batch)
    }

    /// What comes out for all samples of `data`, (samples, outputs).
    fn infer(&mut self, backend: &B, data: &Dataset) -> Result<Vec<f32>, RunError> {
        let (batches, outputs) = (self.in_order(data), self.network.output_features());
        let mut all = memory::room(data.samples() * outputs)?;
        for (_, rows) in (0..batches.batches()).flat_map(|batch| batches.micro_batches_of(batch)) {
            self.outputs(backend, data, rows, None, Pass::evaluation(rows.len()))?;
            self.network.forget();
            let before = all.len();
            all.resize(before + rows.len() * outputs, 0.0);
            backend.download(&self.logits, &mut all[before..]);
            backend.finish()?;
        }
        Ok(all)
    }

    /// Looks at all samples of `data`, in their order.
    fn evaluate(&mut self, backend: &B, data: &Dataset) -> Result<Score, RunError> {
        let batches = self.in_order(data);
        let mut tally = Tally::new(self.criterion);
        for batch in 0..batches.batches() {
            for (_, rows) in batches.micro_batches_of(batch) {
                let sum = self.forward(backend, data, rows, None, Pass::evaluation(rows.len()), 1.0)?;
                self.network.forget();
                tally.add(sum, rows.len());
            }
        }
        Ok(tally.score())
    }

    /// Takes the samples `rows` through all stages: their loss. Leaves its gradient times `weight` in `gradient`.
    fn forward(
        &mut self,
        backend: &B,
        data: &Dataset,
        rows: &[u32],
        augmented: Option<&Augmented>,
        pass: Pass,
        weight: f32,
    ) -> Result<LossSum, ComputeError> {
        self.outputs(backend, data, rows, augmented, pass)?;
        self.targets.copy_from(&data.targets, rows);
        let sum = self.criterion.of(backend, &self.logits, (&self.targets).into(), weight, &mut self.gradient);
        backend.finish()?;
        Ok(sum)
    }

    /// Takes the samples `rows` through all stages, and leaves what comes out in `logits`.
    fn outputs(
        &mut self,
        backend: &B,
        data: &Dataset,
        rows: &[u32],
        augmented: Option<&Augmented>,
        pass: Pass,
    ) -> Result<(), ComputeError> {
        let inputs = &mut self.inputs[..rows.len() * data.bytes()];
        data.gather(rows, augmented, inputs);
        backend.put(inputs, &mut self.bytes, 0);
        let values = rows.len() * self.network.output_features();
        let outputs = self.network.forward(backend, pass, &self.bytes, 0)?;
        backend.round(self.prepared.job.mix.wire, values, outputs, &mut self.logits);
        Ok(())
    }
}
