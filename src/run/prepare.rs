//! What the owner needs before a run: the job, the data, the stages' specs. No other rank opens any of it.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;

use super::RunError;
use super::kept::folder::{JOB, MODEL};
use super::kept::weights::{Assigned, How, Taken, Weights};
use super::letters::lengths::Needs;
use super::{sources, statistics};
use crate::data::{self, Augmented, Batches, Dataset, Targets};
use crate::element::Encoding;
use crate::ids::{Epoch, Term};
use crate::job::{self, Boundary, Job, Pace, Sample, Shape, Wanted};
use crate::mix::geometry::Geometry;
use crate::nn::{Rates, StageSpec};
use crate::pipeline::Depth;
use crate::role::planned::Planned;
use crate::wire::HEADER;

pub use super::letters::lengths::Lengths;

/// A job with its data, ready to run.
pub struct Prepared {
    /// The job.
    pub job: Job,
    /// What it learns from.
    pub train: Dataset,
    /// What is held out of it; may be empty.
    pub validation: Dataset,
    /// What it is tested on.
    pub test: Dataset,
    /// What goes into each stage, and what comes out of the last.
    pub boundaries: Vec<Boundary>,
    /// Whether nothing is learned, and the outputs for the samples of `test` are all that is asked for.
    infers: bool,
    /// What each stage starts from; `None`: from values drawn from the seed.
    start: Option<Taken>,
    /// What the stages on ranks need of messages and letters.
    needs: Needs,
    /// Batches of a term, at most.
    term: u32,
    first_term: Term,
    /// Names of a sample's values, where the data have some.
    pub names: Vec<String>,
}

/// What a term runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The epoch that it is of.
    pub epoch: Epoch,
    /// Those of the epoch's batches that it learns from.
    pub batches: Range<u32>,
    /// Whether they are the epoch's last, so that the validation set follows.
    pub ends_epoch: bool,
    /// Whether they are the run's last, so that the test set follows.
    pub ends_run: bool,
}

/// Part of a source without a test set of its own that becomes one.
const TEST_PART: f64 = 0.2;

impl Prepared {
    /// Reads the job at `path` with `sets` on top, and its data.
    ///
    /// # Errors
    /// [`RunError::Job`], [`RunError::Data`].
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, RunError> {
        Self::of(Job::load(path, sets)?)
    }

    /// Reads the data of `job`.
    ///
    /// # Errors
    /// As [`Prepared::load`].
    pub fn of(job: Job) -> Result<Self, RunError> {
        let loaded = sources::load(&job)?;
        let boundaries = job::chain(&job, &sample(&[&loaded.train, loaded.test.as_ref().unwrap_or(&loaded.train)]))?;
        // Before they change places: an error names a sample as its file counts it.
        sources::known(&job, &loaded)?;
        let (train, test) = match loaded.test {
            Some(test) => (loaded.train, test),
            None => part(loaded.train, TEST_PART, &job, "test")?,
        };
        let (train, validation) = part(train, job.data.validation, &job, "validation")?;
        if train.samples() == 0 {
            return Err(RunError::NoSamples { held_out: validation.samples() });
        }
        let names = loaded.names;
        Self::new(job, [train, validation, test], boundaries, names).trainable()?.started()
    }

    /// The model that a run has left in the folder `run`, with `sets` on top of its job, and the file `inputs` to look at.
    ///
    /// # Errors
    /// [`RunError::Job`], [`RunError::Weights`], [`RunError::Data`].
    pub fn to_infer(run: &Path, sets: &[String], inputs: &Path) -> Result<Self, RunError> {
        let mut job = Job::load(&run.join(JOB), sets)?;
        // One epoch, in which nothing is learned.
        job.train.epochs = 1;
        let weights = Weights::read(&run.join(MODEL))?;
        let input = weights.input()?;
        let shape: Vec<usize> = input.shape.dims().iter().map(|dim| *dim as usize).collect();
        let vocabulary = job.embedding().map(|first| first.vocabulary);
        let layout = job.data.source.form().and_then(|form| form.layout);
        let test = data::inputs::load(inputs, input.encoding(), shape, layout, vocabulary)?;
        let boundaries = job::chain(&job, &Sample { wanted: None, ..sample(&[&test]) })?;
        let [train, validation] = [test.first(0), test.first(0)];
        let mut prepared = Self { infers: true, ..Self::new(job, [train, validation, test], boundaries, Vec::new()) };
        prepared.start = Some(weights.values(&prepared.specs(), &[])?);
        prepared.measured()
    }

    /// A job whose data and shapes are known, which learns from drawn values, an epoch a term.
    fn new(job: Job, [train, validation, test]: [Dataset; 3], boundaries: Vec<Boundary>, names: Vec<String>) -> Self {
        Self {
            job,
            train,
            validation,
            test,
            boundaries,
            infers: false,
            start: None,
            needs: Needs::default(),
            term: u32::MAX,
            first_term: Term(0),
            names,
        }
    }

    /// The same, where an epoch has batches that all operations learn from.
    fn trainable(self) -> Result<Self, RunError> {
        let (samples, batch) = (self.train.samples(), self.job.train.batch);
        if self.trained() == 0 {
            return Err(RunError::NoBatch { samples, batch });
        }
        statistics::suffice(&self.job, &self.boundaries, samples)?;
        Ok(self)
    }

    /// The same, with the values that the job names.
    fn started(mut self) -> Result<Self, RunError> {
        if let Some(from) = &self.job.init.from {
            let taken = Weights::read(from)?.values(&self.specs(), &self.job.init.order)?;
            self.start = Some(taken);
        }
        self.measured()
    }

    /// The same, where it is known what its stages need.
    fn measured(mut self) -> Result<Self, RunError> {
        self.needs = Needs::of(self.longest_message(), &self.remote_specs())?;
        Ok(self)
    }

    /// How tensors of a file were found to be parameters, and which is which; `None` where values are drawn.
    pub fn assigned(&self) -> Option<(How, &[Assigned])> {
        self.start.as_ref().map(|start| (start.how, start.assigned.as_slice()))
    }

    /// Whether nothing is learned, and the outputs for the samples of `test` are all that is asked for.
    pub fn infers(&self) -> bool {
        self.infers
    }

    /// The shape of what comes out for all samples of `test`.
    pub fn outputs(&self) -> Vec<usize> {
        let output = self.boundaries.last().map_or(&[][..], |boundary| boundary.shape.dims());
        std::iter::once(self.test.samples()).chain(output.iter().map(|dim| *dim as usize)).collect()
    }

    /// Keeps the first `train` and `test` samples, where there are as many, and none to validate: for runs that are looked
    /// at rather than learned from.
    #[must_use]
    pub fn short(self, train: usize, test: usize) -> Self {
        Self {
            train: self.train.first(train),
            validation: self.validation.first(0),
            test: self.test.first(test),
            ..self
        }
    }

    /// The same data for another job, which must name the same source.
    ///
    /// # Errors
    /// [`RunError::Job`] where its stages do not fit the data; [`RunError::Weights`].
    pub fn with(&self, job: Job) -> Result<Self, RunError> {
        let boundaries = job::chain(&job, &sample(&[&self.train, &self.validation, &self.test]))?;
        let [train, validation, test] = [&self.train, &self.validation, &self.test].map(Dataset::clone);
        let names = self.names.clone();
        Self::new(job, [train, validation, test], boundaries, names).started()
    }

    /// How many stages ranks host, and for how many they pass.
    pub fn depth(&self) -> Depth {
        let remote = self.job.remote();
        let depth = Depth::new(remote.len() as u16, self.job.mix.depth).preceded(remote.start > 0);
        depth.latency(self.latency())
    }

    /// Slots after which a stage answers; under a fixed pace as few as it can.
    pub fn latency(&self) -> u8 {
        1 + u8::from(self.job.compute.overlap && self.job.mix.pace == Pace::Lockstep)
    }

    /// The learning rate of each step of the run.
    pub fn rates(&self) -> Rates {
        Rates::new(self.job.train.rate, self.job.train.epochs, self.batches(0).batches())
    }

    /// What is to be known of each stage.
    pub fn specs(&self) -> Vec<StageSpec> {
        let seed = self.job.seed();
        let spec = |(index, stage): (usize, &job::Stage)| StageSpec {
            ops: stage.ops.clone(),
            input: self.boundaries[index].shape.clone(),
            output: self.boundaries[index + 1].shape.clone(),
            data: (index == 0).then(|| self.train.encoding.clone()),
            wire: self.job.mix.wire,
            micro_batch: self.job.train.micro_batch,
            optimizer: self.job.train.optimizer,
            seed: seed.derive("stage", index as u64),
            values: self.start.as_ref().map(|start| start.values[index].clone()),
        };
        self.job.stages.iter().enumerate().map(spec).collect()
    }

    /// Training samples of an epoch: all of them, or those of whole batches.
    pub fn trained(&self) -> usize {
        let (samples, batch) = (self.train.samples(), self.job.train.batch as usize);
        if self.job.train.drop_last { samples - samples % batch } else { samples }
    }

    /// The training samples of `epoch`, in its own order.
    pub fn batches(&self, epoch: u32) -> Batches {
        let mut shuffled = self.job.seed().derive("shuffle", epoch.into()).stream();
        let mut order = shuffled.permutation(self.train.samples() as u32);
        order.truncate(self.trained());
        Batches::new(order, self.job.train.batch, self.job.train.micro_batch)
    }

    /// The passes of a term, in order: training, and what follows at an epoch's and at the run's end.
    pub fn passes(&self, part: &Part) -> Vec<Planned<'_>> {
        let (depth, micro_batch) = (self.depth(), self.job.train.micro_batch);
        if self.infers {
            return vec![Planned::inference(&self.test, micro_batch, depth)];
        }
        let Part { epoch, batches, ends_epoch, ends_run } = part;
        let (order, augmented) = (self.batches(epoch.0), self.augmented(*epoch));
        let mut passes = vec![Planned::training(&self.train, order, batches.clone(), augmented, depth)];
        if *ends_epoch && self.validation.samples() > 0 {
            passes.push(Planned::evaluation(&self.validation, micro_batch, depth));
        }
        if *ends_run {
            passes.push(Planned::evaluation(&self.test, micro_batch, depth));
        }
        passes
    }

    /// The parts of `epoch` that a term each runs, in order.
    pub fn parts(&self, epoch: Epoch) -> Vec<Part> {
        let batches = self.trained().div_ceil(self.job.train.batch as usize) as u32;
        let last = epoch.0 + 1 == self.job.train.epochs;
        // An epoch without batches, as of inference, is a term, too.
        let part = |start: u32| {
            let end = batches.min(start.saturating_add(self.term));
            let ends_epoch = end == batches;
            Part { epoch, batches: start..end, ends_epoch, ends_run: ends_epoch && last }
        };
        (0..batches.max(1)).step_by(self.term as usize).map(part).collect()
    }

    /// The same run, in terms of so many `batches`, or fewer at an epoch's end, the first of which is `first`. What is learned is the
    /// same; results and keys come after each term.
    #[must_use]
    pub fn in_terms_of(self, batches: NonZeroU32, first: Term) -> Self {
        Self { term: batches.get(), first_term: first, ..self }
    }

    /// The number of the first term.
    pub(super) fn first_term(&self) -> Term {
        self.first_term
    }

    /// How the training samples of `epoch` are moved and mirrored.
    pub fn augmented(&self, epoch: Epoch) -> Augmented {
        let job::Augment { crop, flip } = self.job.data.augment;
        Augmented::new(data::Augment { crop, flip }, self.job.seed().derive("augment", epoch.0.into()))
    }

    /// What each stage's rank must be told.
    pub fn remote_specs(&self) -> Vec<StageSpec> {
        let remote = self.job.remote();
        self.specs().into_iter().skip(remote.start).take(remote.len()).collect()
    }

    /// Bytes of the longest message that any boundary needs.
    fn longest_message(&self) -> u64 {
        let remote = self.job.remote();
        let longest = self.boundaries[remote.start..=remote.end]
            .iter()
            .map(|boundary| boundary.bytes(self.job.train.micro_batch))
            .max();
        HEADER as u64 + longest.unwrap_or(0)
    }

    /// Whether stages are given the values that they start from.
    pub(super) fn gives_values(&self) -> bool {
        self.start.is_some()
    }

    /// Bytes of what a rank is told of its stage, at most.
    pub(super) fn role_length(&self) -> usize {
        self.needs.role
    }

    /// The lengths that the job needs among `ranks` ranks, whatever lengths it names.
    pub fn needed_lengths(&self, ranks: u16) -> Lengths {
        self.needs.lengths(ranks, self.job.mix.hops)
    }

    /// The lengths that messages and letters have among `ranks` ranks: those that the job needs, or names.
    ///
    /// # Errors
    /// [`RunError::TooLong`].
    pub fn lengths(&self, ranks: u16) -> Result<Lengths, RunError> {
        self.needed_lengths(ranks).at_least(&self.job.mix)
    }

    /// The lengths of a slot among `ranks` ranks.
    ///
    /// # Errors
    /// [`RunError::TooLong`], [`MixError::CellTooSmall`](crate::mix::MixError::CellTooSmall).
    pub fn geometry(&self, ranks: u16) -> Result<Geometry, RunError> {
        let message = self.lengths(ranks)?.message as u32;
        // Two ranks or more exchange messages; fewer circuits than one there are not.
        Ok(Geometry::new(ranks.max(3), self.job.mix.hops, message, self.job.mix.cell)?)
    }
}

/// What a stage's operations must know of samples, whose `parts` all pass through them.
fn sample(parts: &[&Dataset]) -> Sample {
    let data = parts[0];
    let Encoding { element, scale, shift } = &data.encoding;
    Sample {
        shape: Shape::new(data.sample_shape.iter().map(|dim| *dim as u32).collect::<Vec<u32>>()),
        element: *element,
        is_scaled: scale.iter().any(|scale| *scale != 1.0) || shift.iter().any(|shift| *shift != 0.0),
        largest_token: parts.iter().filter_map(|part| part.largest_token()).max(),
        is_one_hot: parts.iter().all(|part| part.targets.is_one_hot()),
        wanted: Some(match data.targets {
            Targets::Classes { places, classes, .. } => {
                Wanted::Classes { places: places as u32, classes: classes as u32 }
            }
            Targets::Values { width, .. } => Wanted::Values(width as u32),
        }),
    }
}

/// Draws `share` of the samples out of `data`: (rest, part).
fn part(data: Dataset, share: f64, job: &Job, usage: &str) -> Result<(Dataset, Dataset), RunError> {
    let samples = data.samples() as u32;
    let order = job.seed().derive(usage, 0).stream().permutation(samples);
    let count = (f64::from(samples) * share).round() as usize;
    Ok(data.split(&order, count)?)
}
