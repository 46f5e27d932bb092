//! The same job in one process, without messages: the reference for accuracy and time.
//!
//! Micro-batches, their order and every arithmetic call are those of the ranks. So the bits of the results are the
//! same.

use std::time::Instant;

use super::epochs::{self, Finished, Ran, Sink, TermWish, Trains, data_lengths};
use super::kept::checkpoint::KeptPlan;
use super::kept::model::Model;
use super::kept::results::{FORMAT, Outcome, VERSION, threads_line};
use super::platform::{self, Chosen, Platform, Standing};
use super::prepare::Prepared;
use super::resume::states;
use super::setting::{Setting, hostname};
use super::{Led, RunError, Watcher};
use crate::compute::{Backend, ComputeError};
use crate::ids::{Batch, Epoch, MicroBatch};
use crate::memory;
use crate::mix::beat::StageData;
use crate::nn::snapshot;
use crate::nn::{Criterion, Network, Pass, StageSpec};
use crate::pipeline::Feed;
use crate::role::judge::{Judge, pass_of};
use crate::role::owner::{Asks, Ending};
use crate::role::planned::{Planned, Purpose};
use crate::role::score::Tally;

/// Runs `prepared` in this process, and returns what it came to.
///
/// # Errors
/// [`RunError`].
pub fn run(prepared: &Prepared, watcher: &mut (dyn Watcher + Send)) -> Led {
    let (chosen, note) = platform::choose(prepared.job.compute, Standing::alone())?;
    note.iter().for_each(|note| watcher.note(note));
    match chosen {
        Chosen::Cpu(backend) => backend.enter(|| train(&*backend, prepared, watcher)),
        #[cfg(feature = "cuda")]
        Chosen::Cuda(backend) => backend.enter(|| train(&*backend, prepared, watcher)),
    }
}

/// Trains and tests with `backend`.
fn train<B: Platform>(backend: &B, prepared: &Prepared, watcher: &mut (dyn Watcher + Send)) -> Led {
    let started = Instant::now();
    threads_line(&[Platform::threads(backend)]).iter().for_each(|line| watcher.note(line));
    let mut learner = Learner::new(backend, prepared)?;
    let Finished { epochs, test, model } = epochs::run(&mut learner, prepared, watcher)?;
    let outcome = Outcome {
        format: FORMAT,
        setting: Setting::new(&prepared.job, [hostname().as_str()]),
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
        weights_sha256: model.as_ref().map(Model::sha256).unwrap_or_default().to_owned(),
        seconds: prepared.seconds_before() + started.elapsed().as_secs_f64(),
        starts: prepared.starts(),
        epochs,
        wire_bytes_per_rank: 0,
        slot_seconds: None,
        work_seconds: None,
        overran: 0,
        cores_suffice: true,
        timing: Vec::new(),
    };
    Ok((outcome, model))
}

/// The whole network, with the memory that it works in.
struct Learner<'a, B: Backend> {
    backend: &'a B,
    prepared: &'a Prepared,
    /// All stages of the network, in order.
    specs: Vec<StageSpec>,
    network: Network<B>,
    /// Computes losses and gradients, and keeps the outputs that it compares.
    judge: Judge<B>,
    /// The samples of a micro-batch on the host, as the data have them: rows of bytes.
    inputs: Vec<u8>,
    /// The samples of a micro-batch where the backend's first operation takes them.
    bytes: B::Bytes,
    /// What the stages return at the end of the running term.
    returns: StageData,
}

impl<'a, B: Backend + 'static> Learner<'a, B> {
    fn new(backend: &'a B, prepared: &'a Prepared) -> Result<Self, RunError> {
        let specs = prepared.specs();
        let Some(mut network) = Network::new(backend, &specs)? else {
            return Err(RunError::Bug("a job without stages".to_owned()));
        };
        if let Some(checkpoint) = &prepared.resumed {
            network.restore(backend, &states(checkpoint, &specs, 0..specs.len())?)?;
        }
        let rows = prepared.job.train.micro_batch as usize;
        let bytes = rows * network.input_bytes();
        let (criterion, outputs) = (Criterion::new(prepared.job.train.loss), network.output_features());
        Ok(Self {
            backend,
            prepared,
            specs,
            judge: Judge::new(backend, criterion, rows, outputs, Some(&prepared.train.targets))?,
            inputs: memory::zeroed(bytes)?,
            bytes: backend.bytes(bytes)?,
            returns: StageData::Nothing,
            network,
        })
    }

    /// Takes all samples of `planned` through all stages, and adds what they come to to `tally`. Where the pass infers,
    /// it adds the outputs to `inferred`, row-major (samples, outputs). Returns up to which batch it has come: before a batch
    /// begins, or a micro-batch of an evaluation, it looks whether `early` asks to end.
    fn run_pass(
        &mut self,
        epoch: Epoch,
        planned: &Planned<'_>,
        tally: &mut Tally,
        inferred: &mut Vec<f32>,
        early: &Asks,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<u32, RunError> {
        let (backend, wire) = (self.backend, self.prepared.job.mix.wire);
        let (batches, rates) = (&planned.batches, self.prepared.rates());
        for batch in planned.part.clone() {
            if planned.trains() && early.end(true) {
                return Ok(batch);
            }
            let count = batches.micro_batches_of(batch).count();
            for (micro_batch, rows) in batches.micro_batches_of(batch) {
                if !planned.trains() && early.end(false) {
                    return Ok(batch);
                }
                let last = micro_batch as usize + 1 == count;
                let feed = Feed { batch: Batch(batch), micro_batch: MicroBatch(micro_batch), last };
                self.compute_outputs(planned, rows, pass_of(planned, epoch, feed))?;
                let values = rows.len() * self.network.output_features();
                match planned.purpose {
                    Purpose::Infer => {
                        let before = inferred.len();
                        inferred.resize(before + values, 0.0);
                        backend.download(&self.judge.logits, &mut inferred[before..]);
                        backend.finish()?;
                    }
                    Purpose::Train | Purpose::Evaluate => {
                        self.judge.judge(backend, planned, epoch, feed, tally)?;
                    }
                }
                match planned.trains() {
                    true => {
                        // Between ranks the gradient would be rounded to the wire's format here.
                        backend.round(wire, values, &self.judge.gradient, self.network.output_gradient());
                        self.network.backward(backend);
                    }
                    false => self.network.forget(),
                }
            }
            if planned.trains() {
                self.network.step(backend, rates.at(epoch, Batch(batch)));
                progress(tally.samples(), batches.samples());
            }
        }
        Ok(planned.part.end)
    }

    /// Takes the samples `rows` through all stages. Leaves what comes out, rounded as it would be on the wire, in the
    /// judge's logits.
    fn compute_outputs(&mut self, planned: &Planned<'_>, rows: &[u32], pass: Pass) -> Result<(), ComputeError> {
        let backend = self.backend;
        let inputs = &mut self.inputs[..rows.len() * planned.data.bytes()];
        planned.data.gather(rows, planned.augmented.as_ref(), inputs);
        backend.put(inputs, &mut self.bytes, 0);
        let values = rows.len() * self.network.output_features();
        let outputs = self.network.forward(backend, pass, &self.bytes, 0)?;
        backend.round(self.prepared.job.mix.wire, values, outputs, &mut self.judge.logits);
        Ok(())
    }
}

impl<B: Platform> Trains for Learner<'_, B> {
    fn run(&mut self, term: &TermWish<'_>, watcher: &mut dyn Watcher) -> Result<Ran, RunError> {
        let TermWish { part, so_far, returns, early } = term;
        let passes = self.prepared.passes(part);
        let asked = passes.iter().filter(|planned| planned.purpose == Purpose::Infer);
        let asked = asked.map(|planned| planned.batches.samples() * self.network.output_features()).sum();
        let mut ran = Ran {
            tallies: Vec::new(),
            slots: 0,
            until: part.batches.end,
            whole: true,
            returns: *returns,
            inferred: memory::room(asked)?,
        };
        for planned in &passes {
            let mut tally = if ran.tallies.is_empty() { *so_far } else { self.judge.tally() };
            let mut progress = |done, of| watcher.progress(part.epoch.0, done, of);
            let until = match ran.whole {
                true => {
                    self.run_pass(part.epoch, planned, &mut tally, &mut ran.inferred, &early.asked, &mut progress)?
                }
                false => planned.part.start,
            };
            if ran.tallies.is_empty() {
                ran.until = until;
            }
            if until < planned.part.end {
                ran.whole = false;
            }
            ran.tallies.push(tally);
        }
        if early.asked.asked() != Ending::None {
            ran.returns = early.returns;
        }
        self.returns = ran.returns;
        Ok(ran)
    }

    fn collect(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        let lengths = data_lengths(self.returns, &self.specs);
        if lengths.iter().all(|length| *length == 0) {
            return Ok(());
        }
        let snapshots = self.network.snapshots(self.backend)?;
        snapshot::rounds(&lengths)
            .try_for_each(|(_, stage, place)| sink.take(stage, &snapshots[stage].bytes()[place]))
    }

    fn conclude(&mut self, how: Result<i32, RunError>) -> Result<(), RunError> {
        how.map(|_| ())
    }

    fn stay(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    fn remark(&mut self) -> Option<String> {
        None
    }

    fn plan(&self) -> Option<KeptPlan> {
        // The plan of the ranks that ran the job before stays for those that go on with it.
        self.prepared.resumed.as_ref().and_then(|resumed| resumed.rest.plan.clone())
    }

    fn fingerprint(&self) -> String {
        self.backend.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;
    use crate::data::Targets;
    use crate::job::Job;
    use crate::role::owner::EarlyEnd;
    use crate::run::kept::folder::{JOB, MODEL};
    use crate::run::kept::results::EpochReport;

    fn digits(sets: &[&str]) -> Prepared {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Prepared::of(Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap()).unwrap()
    }

    /// Asks for an early end when so many samples are through. It keeps the outputs.
    #[derive(Default)]
    struct Asking {
        asked: Asks,
        when: Option<(usize, Ending)>,
        outputs: Vec<f32>,
    }

    impl Watcher for Asking {
        fn note(&mut self, _: &str) {}
        fn progress(&mut self, _: u32, done: usize, _: usize) {
            self.when.iter().filter(|(when, _)| *when == done).for_each(|(_, ending)| self.asked.ask(*ending));
        }
        fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
            Ok(())
        }
        fn outputs(&mut self, outputs: Vec<f32>) -> Result<(), RunError> {
            self.outputs = outputs;
            Ok(())
        }
    }

    /// Training ends with the batch that has begun, and no pass follows. An evaluation that follows training ends only where anything
    /// is to.
    #[test]
    fn a_term_ends_early_where_it_is_asked_to() {
        let prepared = digits(&["train.epochs=1"]).short(96, 40);
        let part = prepared.part(Epoch(0), 0);
        let backend = Cpu::new(1).unwrap();
        for (when, until, samples) in [
            (None, 3, [96, 40]),
            (Some((32, Ending::Training)), 1, [32, 0]),
            (Some((32, Ending::Anything)), 1, [32, 0]),
            (Some((96, Ending::Training)), 3, [96, 40]),
            (Some((96, Ending::Anything)), 3, [96, 0]),
        ] {
            let mut watcher = Asking { when, ..Asking::default() };
            let mut learner = Learner::new(&backend, &prepared).unwrap();
            let early = EarlyEnd { asked: watcher.asked.clone(), returns: StageData::State };
            let so_far = learner.judge.tally();
            let wish = TermWish { part: &part, so_far, returns: StageData::Values, early };
            let ran = learner.run(&wish, &mut watcher).unwrap();
            let found: Vec<usize> = ran.tallies.iter().map(Tally::samples).collect();
            assert_eq!((ran.until, found.as_slice()), (until, &samples[..]), "{when:?}");
            assert_eq!(ran.whole, samples == [96, 40], "{when:?}");
            assert_eq!(ran.returns, if when.is_some() { StageData::State } else { StageData::Values });
            assert_eq!((ran.slots, ran.inferred.len()), (0, 0));
        }
    }

    /// A model infers for samples what it was tested with on them, in their order. Its last micro-batch is a short one.
    #[test]
    fn a_model_infers_what_it_was_tested_with() {
        let prepared = digits(&["train.epochs=1"]).short(320, 40);
        let (outcome, model) = run(&prepared, &mut ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        model.unwrap().write(&path(MODEL)).unwrap();
        std::fs::write(path(JOB), prepared.job.to_toml()).unwrap();
        let (mut samples, rows): (Vec<u8>, Vec<u32>) = (vec![0; 40 * 64], (0..40).collect());
        prepared.test.gather(&rows, None, &mut samples);
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (40, 64), }";
        let header = format!("\u{1}\0\u{76}\0{header:<117}\n");
        std::fs::write(path("x.npy"), [b"\x93NUMPY", header.as_bytes(), &samples].concat()).unwrap();
        let infers = Prepared::to_infer(folder.path(), &[], &path("x.npy")).unwrap();
        assert!(
            infers.infers() && !prepared.infers() && infers.assigned().is_some() && prepared.assigned().is_none()
        );
        assert_eq!(infers.outputs(), [40, 10]);
        let mut watcher = Asking::default();
        let (_, nothing) = run(&infers, &mut watcher).unwrap();
        assert!(nothing.is_none());
        assert_eq!(watcher.outputs.len(), 400);
        let Targets::Classes { labels, .. } = &prepared.test.targets else { panic!() };
        let best = |row: &[f32]| (0..10_u32).max_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize])).unwrap();
        let correct = watcher.outputs.chunks(10).zip(labels).filter(|(row, label)| best(row) == **label).count();
        assert_eq!(correct as f64 / 40.0, outcome.test_accuracy.unwrap());
    }
}
