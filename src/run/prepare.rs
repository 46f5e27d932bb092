//! What the owner needs before a run: the job, the data and the stages' specs. No other rank opens any of it.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::RunError;
use super::kept::checkpoint::{Checkpoint, Reached};
use super::kept::folder::{JOB, MODEL};
use super::kept::results::EpochReport;
use super::kept::weights::{Assigned, How, Taken, Weights};
use super::letters::lengths::Needs;
use super::{resume, sources, statistics};
use crate::data::{self, Augmented, Batches, Dataset, Targets};
use crate::element::Encoding;
use crate::ids::{Epoch, Term};
use crate::job::{self, Boundary, Expected, Job, Loss, LossAt, Pace, Sample, Shape};
use crate::mix::beat::StageData;
use crate::mix::geometry::Geometry;
use crate::model::{MicroBatchChoice, Speeds, choose};
use crate::nn::{LossSpec, Rates, StageSpec};
use crate::pipeline::Depth;
use crate::role::planned::Planned;
use crate::role::score::Tally;
use crate::wire::HEADER;

pub use super::letters::lengths::Lengths;

/// A job together with its data, ready to run.
pub struct Prepared {
    /// The job, which has been validated.
    pub job: Job,
    /// The samples to learn from, without those held out for validation.
    pub train: Dataset,
    /// The samples that are held out of the training set. There may be none.
    pub validation: Dataset,
    /// The samples to test on, or to infer outputs for.
    pub test: Dataset,
    /// What passes between stages: entry 0 goes into the first stage, entry i + 1 comes out of stage i, counted from 0.
    pub boundaries: Vec<Boundary>,
    /// Whether nothing is learned, and only the outputs for the samples of `test` are asked for.
    infers: bool,
    /// The values that each stage starts from. `None`: they are drawn from the job's seed.
    start: Option<Taken>,
    /// How long messages and letters must be for the stages on ranks.
    needs: Needs,
    /// How many batches a term runs at most. An epoch of more batches takes several terms.
    term: u32,
    /// The number of the run's first term.
    first_term: Term,
    /// The names of a sample's values, where the data name them. Else empty.
    pub names: Vec<String>,
    /// How `train.micro_batch` was chosen, where the job left it open.
    choice: Option<MicroBatchChoice>,
    /// The checkpoint that the run goes on from, if it goes on from one.
    pub(super) resumed: Option<Checkpoint>,
}

/// The part of an epoch that one term runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The epoch that this is a part of.
    pub epoch: Epoch,
    /// The batches of the epoch's training pass that this term runs, counted from 0.
    pub batches: Range<u32>,
    /// Whether these are the epoch's last batches, so that the validation pass follows them.
    pub ends_epoch: bool,
    /// Whether these are the run's last batches, so that the test pass follows them.
    pub ends_run: bool,
}

/// The share of the samples that becomes the test set, where the source has none of its own.
const TEST_PART: f64 = 0.2;

impl Prepared {
    /// Reads the job file at `path`, with the settings `sets` on top, and the job's data.
    ///
    /// # Errors
    /// [`RunError::Job`], [`RunError::Data`], [`RunError::NoSamples`], [`RunError::NoBatch`], [`RunError::Weights`].
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, RunError> {
        Self::of(Job::load(path, sets)?)
    }

    /// Reads the data of `job`, and checks that the job and the data fit each other.
    ///
    /// # Errors
    /// As [`Prepared::load`].
    pub fn of(job: Job) -> Result<Self, RunError> {
        Self::on(job, &Speeds::unmeasured())
    }

    /// Does what [`of`](Self::of) does. A `train.micro_batch` that the job leaves open is the one with the least predicted time on machines
    /// like `speeds`.
    ///
    /// # Errors
    /// As [`Prepared::load`].
    pub fn on(job: Job, speeds: &Speeds) -> Result<Self, RunError> {
        Self::with_data(job, speeds)?.started()
    }

    /// Reads the data of `job`, which is to go on from `checkpoint`, and checks that both are those with which it was written. A seed
    /// that the job does not name is the checkpoint's.
    ///
    /// # Errors
    /// As [`Prepared::load`]; [`RunError::OtherJob`].
    pub fn resumed(mut job: Job, checkpoint: Checkpoint) -> Result<Self, RunError> {
        resume::fit_job(&mut job, &checkpoint)?;
        let prepared = Self::with_data(job, &Speeds::unmeasured())?;
        resume::fit_data(prepared.data_digest(), prepared.job.init.from.as_deref(), &prepared.specs(), &checkpoint)?;
        Self { resumed: Some(checkpoint), ..prepared }.measured()
    }

    /// Reads the data of `job`, and checks that the job and the data fit each other. Chooses what the job leaves open, for machines like
    /// `speeds`.
    fn with_data(mut job: Job, speeds: &Speeds) -> Result<Self, RunError> {
        let loaded = sources::load(&job)?;
        if job.train.micro_batch_open {
            // What a job with the smallest cannot do, none can.
            job.train.micro_batch = 1;
        }
        let boundaries = job::chain(&job, &sample(&[&loaded.train, loaded.test.as_ref().unwrap_or(&loaded.train)]))?;
        // This comes before the samples change places: an error names a sample by its place in its file.
        sources::check_vocabulary(&job, &loaded)?;
        let (train, test) = match loaded.test {
            Some(test) => (loaded.train, test),
            None => split(loaded.train, TEST_PART, &job, "test")?,
        };
        let (train, validation) = split(train, job.data.validation, &job, "validation")?;
        if train.samples() == 0 {
            return Err(RunError::NoSamples { held_out: validation.samples() });
        }
        let names = loaded.names;
        Self::new(job, [train, validation, test], boundaries, names).settled(speeds).trainable()
    }

    /// Chooses `train.micro_batch` where the job leaves it open: of those that the job allows, the one with the least predicted time on
    /// machines like `speeds`.
    fn settled(mut self, speeds: &Speeds) -> Self {
        if !std::mem::take(&mut self.job.train.micro_batch_open) {
            return self;
        }
        let parts = [&self.train, &self.validation, &self.test].map(Dataset::clone);
        let sample = sample(&[&parts[0], &parts[1], &parts[2]]);
        let samples = self.train.samples();
        let mut workloads = Vec::new();
        for micro_batch in self.job.train.micro_batches() {
            self.job.train.micro_batch = micro_batch;
            let fits = job::chain(&self.job, &sample).is_ok()
                && statistics::suffice(&self.job, &self.boundaries, samples).is_ok();
            if fits {
                workloads.extend(self.mixed_workload());
            }
        }
        self.choice = choose(workloads, speeds);
        // Where none is possible, the error is about the one that a job has that says nothing.
        self.job.train.micro_batch = self.choice.as_ref().map_or(self.job.train.batch, |choice| choice.micro_batch);
        self
    }

    /// How `train.micro_batch` was chosen, where the job left it open.
    pub fn choice(&self) -> Option<&MicroBatchChoice> {
        self.choice.as_ref()
    }

    /// Makes ready to infer: takes the model in the run's folder `run`, its job with the settings `sets` on top, and
    /// the samples of the file `inputs`.
    ///
    /// # Errors
    /// [`RunError::Job`], [`RunError::Weights`], [`RunError::Data`].
    pub fn to_infer(run: &Path, sets: &[String], inputs: &Path) -> Result<Self, RunError> {
        let mut job = Job::load(&run.join(JOB), sets)?;
        // Inferring is one epoch, in which nothing is learned.
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

    /// A job whose data and shapes are known. It starts from drawn values, and each epoch is one term.
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
            choice: None,
            resumed: None,
        }
    }

    /// Checks that an epoch has at least one batch, and that no micro-batch is too small for its operations to learn
    /// from.
    fn trainable(self) -> Result<Self, RunError> {
        // Where nothing is learned, nothing need be enough to learn from.
        if self.job.train.epochs == 0 {
            return Ok(self);
        }
        let (samples, batch) = (self.train.samples(), self.job.train.batch);
        if self.epoch_samples() == 0 {
            return Err(RunError::NoBatch { samples, batch });
        }
        statistics::suffice(&self.job, &self.boundaries, samples)?;
        Ok(self)
    }

    /// Takes the values that the job's `init.from` names, if it names some.
    fn started(mut self) -> Result<Self, RunError> {
        if let Some(from) = &self.job.init.from {
            let taken = Weights::read(from)?.values(&self.specs(), &self.job.init.order)?;
            self.start = Some(taken);
        }
        self.measured()
    }

    /// Works out how long messages and letters must be for the stages on ranks.
    fn measured(mut self) -> Result<Self, RunError> {
        self.needs = self.needed()?;
        Ok(self)
    }

    /// How long messages and letters must be for the stages on ranks.
    pub(super) fn needed(&self) -> Result<Needs, RunError> {
        Needs::of(self.longest_message(), &self.remote_specs())
    }

    /// How the tensors of a file were found to be parameters, and which tensor became which parameter. `None` where
    /// values are drawn.
    pub fn assigned(&self) -> Option<(How, &[Assigned])> {
        self.start.as_ref().map(|start| (start.how, start.assigned.as_slice()))
    }

    /// Whether nothing is learned, and only the outputs for the samples of `test` are asked for.
    pub fn infers(&self) -> bool {
        self.infers
    }

    /// The shape of all outputs together: the number of samples of `test`, then the shape of one output.
    pub fn outputs(&self) -> Vec<usize> {
        let output = self.boundaries.last().map_or(&[][..], |boundary| boundary.shape.dims());
        std::iter::once(self.test.samples()).chain(output.iter().map(|dim| *dim as usize)).collect()
    }

    /// Keeps the first `train` and `test` samples, or all where there are fewer, and none to validate. For runs that
    /// are looked at rather than learned from.
    #[must_use]
    pub fn short(self, train: usize, test: usize) -> Self {
        Self {
            train: self.train.first(train),
            validation: self.validation.first(0),
            test: self.test.first(test),
            ..self
        }
    }

    /// Takes the same data for another job. That job must name the same source. A `train.micro_batch` that it leaves open is that of this one.
    ///
    /// # Errors
    /// [`RunError::Job`] where its stages do not fit the data, [`RunError::Weights`].
    pub fn with(&self, mut job: Job) -> Result<Self, RunError> {
        if std::mem::take(&mut job.train.micro_batch_open) {
            job.train.micro_batch = self.job.train.micro_batch;
        }
        let boundaries = job::chain(&job, &sample(&[&self.train, &self.validation, &self.test]))?;
        let [train, validation, test] = [&self.train, &self.validation, &self.test].map(Dataset::clone);
        let names = self.names.clone();
        Self::new(job, [train, validation, test], boundaries, names).started()
    }

    /// How many stages ranks host, and for how many they pass to an observer (`mix.depth`).
    pub fn depth(&self) -> Depth {
        let remote = self.job.remote();
        let depth = Depth::new(remote.len() as u16, self.job.mix.depth).preceded(remote.start > 0);
        depth.latency(self.latency()).turned(self.job.train.loss_at == LossAt::Last)
    }

    /// After how many slots a stage answers: 1, or 2 where ranks compute beside the exchange. Under a pace this
    /// is at least as many as a stage takes that is not late.
    pub fn latency(&self) -> u8 {
        1 + u8::from(self.job.compute.overlap && matches!(self.job.mix.pace, Pace::Lockstep | Pace::Hosts))
    }

    /// The learning rates of all steps of the run.
    pub fn rates(&self) -> Rates {
        Rates::new(self.job.train.rate.clone(), self.job.train.epochs, self.batches(0).batches())
    }

    /// The specs of all stages, in order: all that must be known to build each of them.
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
            loss: self.loss_of(index),
            values: self.start.as_ref().map(|start| start.values[index].clone()),
        };
        self.job.stages.iter().enumerate().map(spec).collect()
    }

    /// The loss that the stage `index` is told of, if it is the last and there is something to learn. The labels of a loss that ignores
    /// some say so themselves.
    fn loss_of(&self, index: usize) -> Option<LossSpec> {
        if self.job.train.loss_at == LossAt::Owner || index + 1 != self.job.stages.len() || self.infers {
            return None;
        }
        Some(match (self.job.train.loss, &self.train.targets) {
            (Loss::CrossEntropy { smoothing, .. }, Targets::Classes { classes, .. }) => {
                LossSpec { loss: Loss::CrossEntropy { smoothing, ignored: None }, classes: *classes as u32 }
            }
            (loss, _) => LossSpec { loss, classes: 0 },
        })
    }

    /// How many training samples an epoch takes: all of them, or with `train.drop_last` those of whole batches.
    pub fn epoch_samples(&self) -> usize {
        let (samples, batch) = (self.train.samples(), self.job.train.batch as usize);
        if self.job.train.drop_last { samples - samples % batch } else { samples }
    }

    /// The batches of `epoch`, counted from 0, with the training samples in this epoch's own order.
    pub fn batches(&self, epoch: u32) -> Batches {
        let mut shuffled = self.job.seed().derive("shuffle", epoch.into()).stream();
        let mut order = shuffled.permutation(self.train.samples() as u32);
        order.truncate(self.epoch_samples());
        Batches::new(order, self.job.train.batch, self.job.train.micro_batch)
    }

    /// The passes of the term that runs `part`, in order: training, then validation at an epoch's end and testing at
    /// the run's end. To infer there is one pass alone.
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

    /// The part of `epoch` that begins with the batch `from`, unless it is ended early. It is one term. In a run without epochs it is the
    /// test alone.
    pub fn part(&self, epoch: Epoch, from: u32) -> Part {
        if self.job.train.epochs == 0 {
            return Part { epoch, batches: 0..0, ends_epoch: false, ends_run: true };
        }
        let batches = self.epoch_samples().div_ceil(self.job.train.batch as usize) as u32;
        let term = self.term.min(self.job.checkpoint.every.batches().unwrap_or(u32::MAX));
        // Terms end at multiples of their length, wherever this one begins.
        let end = batches.min((from / term + 1).saturating_mul(term));
        let ends_epoch = end == batches;
        Part { epoch, batches: from..end, ends_epoch, ends_run: ends_epoch && epoch.0 + 1 == self.job.train.epochs }
    }

    /// How far training has come where the run starts.
    pub(super) fn start_at(&self) -> Reached {
        self.resumed.as_ref().map_or(Reached { epochs: 0, batches: 0 }, |resumed| resumed.header.reached)
    }

    /// What the training pass of the running epoch came to in earlier starts of the run. `None` where it begins with this one.
    pub(super) fn so_far(&self) -> Option<Tally> {
        self.resumed.as_ref().filter(|_| self.start_at().batches > 0).map(|resumed| resumed.rest.so_far)
    }

    /// The reports of the epochs that earlier starts of the run have brought to their ends.
    pub fn epochs_so_far(&self) -> &[EpochReport] {
        self.resumed.as_ref().map_or(&[], |resumed| &resumed.rest.epochs)
    }

    /// How often the run was started, this time included.
    pub(super) fn starts(&self) -> u32 {
        self.resumed.as_ref().map_or(0, |resumed| resumed.rest.starts) + 1
    }

    /// How many seconds the run took in its earlier starts.
    pub(super) fn seconds_before(&self) -> f64 {
        self.resumed.as_ref().map_or(0.0, |resumed| resumed.rest.seconds)
    }

    /// Says in words what the run goes on from. `None` where it begins.
    pub fn resumes(&self) -> Option<String> {
        let resumed = self.resumed.as_ref()?;
        let (path, reached, of) = (resumed.path().display(), resumed.header.reached, self.job.train.epochs);
        Some(format!("goes on from {path}, behind {reached}, to the end of epoch {of}; start {}", self.starts()))
    }

    /// SHA-256 of the resolved job.
    pub(super) fn job_digest(&self) -> [u8; 32] {
        Sha256::digest(self.job.to_toml()).into()
    }

    /// SHA-256 of the data: of the digests of the samples to learn from, of those to validate and of those to test on.
    pub(super) fn data_digest(&self) -> [u8; 32] {
        let sets = [&self.train, &self.validation, &self.test];
        Sha256::digest(sets.map(Dataset::digest).concat()).into()
    }

    /// SHA-256 of the file that `init.from` names, where the run or its first start has read it.
    pub(super) fn init_digest(&self) -> Option<[u8; 32]> {
        let of_checkpoint = self.resumed.as_ref().and_then(|resumed| resumed.rest.init);
        self.start.as_ref().map(|start| start.digest).or(of_checkpoint)
    }

    /// Cuts the epochs of this run into terms of `batches` batches each, or fewer at an epoch's end. The number of the
    /// first term is `first`. What is learned stays the same. Results are returned, and keys change, after each term.
    #[must_use]
    pub fn in_terms_of(self, batches: NonZeroU32, first: Term) -> Self {
        Self { term: batches.get(), first_term: first, ..self }
    }

    /// The number of the run's first term.
    pub(super) fn first_term(&self) -> Term {
        self.first_term
    }

    /// How the training images of `epoch` are moved and mirrored.
    pub fn augmented(&self, epoch: Epoch) -> Augmented {
        let job::Augment { crop, flip } = self.job.data.augment;
        Augmented::new(data::Augment { crop, flip }, self.job.seed().derive("augment", epoch.0.into()))
    }

    /// The specs of the stages that ranks host, in order.
    pub fn remote_specs(&self) -> Vec<StageSpec> {
        let remote = self.job.remote();
        self.specs().into_iter().skip(remote.start).take(remote.len()).collect()
    }

    /// How many bytes the longest message has that any boundary between ranks needs, header included.
    fn longest_message(&self) -> u64 {
        let remote = self.job.remote();
        let longest = self.boundaries[remote.start..=remote.end]
            .iter()
            .map(|boundary| boundary.bytes(self.job.train.micro_batch))
            .max();
        let targets = match (&self.train.targets, self.job.train.loss_at) {
            (_, LossAt::Owner) => 0,
            (Targets::Classes { places, .. }, LossAt::Last) => *places,
            (Targets::Values { width, .. }, LossAt::Last) => *width,
        };
        let targets = 4 * targets as u64 * u64::from(self.job.train.micro_batch);
        HEADER as u64 + longest.unwrap_or(0).max(targets)
    }

    /// What ranks are given that their stages start from.
    pub(super) fn given(&self) -> StageData {
        match (&self.resumed, &self.start) {
            (Some(_), _) => StageData::State,
            (None, Some(_)) => StageData::Values,
            (None, None) => StageData::Nothing,
        }
    }

    /// How many bytes the longest role has: the encoded spec of the stage that takes most.
    pub(super) fn role_length(&self) -> usize {
        self.needs.role
    }

    /// The lengths that the job's stages need among `ranks` ranks, whatever lengths the job names.
    pub fn needed_lengths(&self, ranks: u16) -> Lengths {
        self.needs.lengths(ranks, self.job.mix.hops)
    }

    /// The lengths of messages and letters among `ranks` ranks: what the stages need, or what the job names where that
    /// is more.
    ///
    /// # Errors
    /// [`RunError::TooLong`].
    pub fn lengths(&self, ranks: u16) -> Result<Lengths, RunError> {
        self.needed_lengths(ranks).at_least(&self.job.mix)
    }

    /// The lengths of a slot's cells and blocks among `ranks` ranks.
    ///
    /// # Errors
    /// [`RunError::TooLong`], [`MixError::CellTooSmall`](crate::mix::MixError::CellTooSmall).
    pub fn geometry(&self, ranks: u16) -> Result<Geometry, RunError> {
        let message = self.lengths(ranks)?.message as u32;
        // Two ranks exchange messages with the lengths of three: with two there would be no circuit at all.
        Ok(Geometry::new(ranks.max(3), self.job.mix.hops, message, self.job.mix.cell)?)
    }
}

/// What the stages' operations must know of the samples. All `parts` pass through the network; the first gives the
/// shape.
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
                Expected::Classes { places: places as u32, classes: classes as u32 }
            }
            Targets::Values { width, .. } => Expected::Values(width as u32),
        }),
    }
}

/// Draws the share `share` of the samples out of `data`, by the job's seed for `usage`. Returns the rest, then the
/// samples drawn.
fn split(data: Dataset, share: f64, job: &Job, usage: &str) -> Result<(Dataset, Dataset), RunError> {
    let samples = data.samples() as u32;
    let order = job.seed().derive(usage, 0).stream().permutation(samples);
    let count = (f64::from(samples) * share).round() as usize;
    Ok(data.split(&order, count)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    fn prepared(sets: &[&str]) -> Prepared {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let job = Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &sets).unwrap();
        Prepared::of(job).unwrap()
    }

    /// A fifth of the samples is to test on, and of the others the job's share is held out.
    #[test]
    fn samples_are_parted_as_the_job_says() {
        let of = |sets: &[&str]| {
            let prepared = prepared(sets);
            [&prepared.train, &prepared.validation, &prepared.test].map(Dataset::samples)
        };
        assert_eq!(of(&["data.validation=0"]), [1438, 0, 359]);
        assert_eq!(of(&["data.validation=0.25"]), [1078, 360, 359]);
        let short = prepared(&[]).short(64, 16);
        assert_eq!([&short.train, &short.validation, &short.test].map(Dataset::samples), [64, 0, 16]);
        let job =
            Job::parse("digits.toml", include_str!("../../jobs/digits.toml"), &["data.validation=0.9999".into()]);
        let none = Prepared::of(job.unwrap()).err().unwrap();
        assert!(matches!(none, RunError::NoSamples { held_out: 1438 }), "{none}");
    }

    /// What is no whole batch is the epoch's last one, or is left out. Each sample comes once.
    #[test]
    fn an_epoch_takes_all_samples_or_those_of_whole_batches() {
        for (samples, drop_last, epoch, batches) in
            [(64, false, 64, 2), (70, false, 70, 3), (64, true, 64, 2), (70, true, 64, 2), (95, true, 64, 2)]
        {
            let prepared = prepared(&[&format!("train.drop_last={drop_last}")]).short(samples, 1);
            assert_eq!((prepared.epoch_samples(), prepared.batches(0).batches()), (epoch, batches), "{samples}");
            let last = prepared.part(Epoch(0), batches - 1);
            assert_eq!((last.batches, last.ends_epoch), (batches - 1..batches, true));
        }
        let few = Prepared { train: prepared(&[]).train.first(31), ..prepared(&["train.drop_last=true"]) };
        let refused = few.trainable().err().unwrap();
        assert!(matches!(refused, RunError::NoBatch { samples: 31, batch: 32 }), "{refused}");
    }

    /// Terms end at multiples of their length, wherever they begin, and at the end of an epoch. The last one ends the run.
    #[test]
    fn terms_end_where_keys_change_and_where_a_checkpoint_is_due() {
        let part = |epoch, batches, ends_epoch, ends_run| Part { epoch: Epoch(epoch), batches, ends_epoch, ends_run };
        let ten = |sets: &[&str]| prepared(&[&["train.epochs=2"][..], sets].concat()).short(320, 1);
        let whole = ten(&[]);
        assert_eq!(whole.part(Epoch(0), 0), part(0, 0..10, true, false));
        assert_eq!(whole.part(Epoch(1), 3), part(1, 3..10, true, true));
        assert_eq!(whole.first_term(), Term(0));
        let parted = ten(&[]).in_terms_of(NonZeroU32::new(4).unwrap(), Term(9));
        assert_eq!(parted.first_term(), Term(9));
        for parted in [parted, ten(&["checkpoint.every={batches=4}"])] {
            for (from, due) in [
                (0, part(1, 0..4, false, false)),
                (3, part(1, 3..4, false, false)),
                (4, part(1, 4..8, false, false)),
                (8, part(1, 8..10, true, true)),
                (10, part(1, 10..10, true, true)),
            ] {
                assert_eq!(parted.part(Epoch(1), from), due);
            }
            assert_eq!(parted.part(Epoch(0), 9), part(0, 9..10, true, false));
        }
    }

    /// Validation follows at an epoch's end, where samples are held out, and the test at the run's end.
    #[test]
    fn passes_follow_one_another_as_the_part_says() {
        let passes = |prepared: &Prepared, ends_epoch, ends_run| {
            let part = Part { epoch: Epoch(0), batches: 0..1, ends_epoch, ends_run };
            let passes = prepared.passes(&part);
            assert!(passes[0].trains() && passes[1..].iter().all(|planned| !planned.trains()));
            passes.iter().map(|planned| planned.data.samples()).collect::<Vec<_>>()
        };
        let held_out = prepared(&["data.validation=0.25"]);
        assert_eq!(passes(&held_out, false, false), [1078]);
        assert_eq!(passes(&held_out, true, false), [1078, 360]);
        assert_eq!(passes(&held_out, true, true), [1078, 360, 359]);
        let none = prepared(&["data.validation=0"]);
        assert_eq!(passes(&none, true, false), [1438]);
        assert_eq!(passes(&none, true, true), [1438, 359]);
    }

    /// A stage that computes beside the exchange answers a slot later. Where slots have their own time, it has that.
    #[test]
    fn a_stage_answers_in_the_next_slot_or_in_the_one_behind_it() {
        for (overlap, pace, latency) in [
            (false, "lockstep", 1),
            (false, "hosts", 1),
            (true, "lockstep", 2),
            (true, "hosts", 2),
            (true, "auto", 1),
            (true, "2ms", 1),
        ] {
            let sets = [format!("compute.overlap={overlap}"), format!("mix.pace={pace}")];
            let found = prepared(&[&sets[0], &sets[1]]).latency();
            assert_eq!(found, latency, "{sets:?}");
        }
    }

    /// Stages on ranks pass for as many as the job says. It counts whether the owner has some of its own before them, and not how many.
    #[test]
    fn the_depth_is_that_of_the_stages_on_ranks() {
        let stage =
            |owner: bool| format!("{{{}ops=[{{op=\"linear\",out=10}}]}}", if owner { "at=\"owner\"," } else { "" });
        for (owners, depth) in [
            (&[false, false][..], Depth::new(2, 5)),
            (&[true, false, false], Depth::new(2, 5).preceded(true)),
            (&[true, true, false, false, true], Depth::new(2, 5).preceded(true)),
            (&[false, false, false, true], Depth::new(3, 5)),
        ] {
            let stages: Vec<String> = owners.iter().map(|owner| stage(*owner)).collect();
            let stages = format!("stage=[{}]", stages.join(","));
            assert_eq!(prepared(&[&stages, "mix.depth=5"]).depth(), depth, "{owners:?}");
        }
    }

    /// What takes tokens must know whether values are scaled or moved, in whichever part of a sample.
    #[test]
    fn it_is_known_whether_values_are_scaled_or_moved() {
        let train = prepared(&[]).train.first(4);
        for (scale, shift, due) in [
            (&[1.0][..], &[0.0][..], false),
            (&[1.0, 1.0], &[0.0, 0.0], false),
            (&[1.0, 0.5], &[0.0, 0.0], true),
            (&[1.0, 1.0], &[0.0, 0.5], true),
            (&[0.5, 0.5], &[0.5, 0.5], true),
        ] {
            let encoding = Encoding { element: Element::U8, scale: scale.to_vec(), shift: shift.to_vec() };
            let part = Dataset { encoding, ..train.clone() };
            assert_eq!(sample(&[&part]).is_scaled, due, "{scale:?} {shift:?}");
        }
    }

    /// The digests tell other samples, wherever they are, and another job.
    #[test]
    fn what_a_run_goes_on_from_is_told_by_digests() {
        let [one, other] = ["0.25", "0.2"].map(|share| prepared(&[&format!("data.validation={share}")]));
        assert_ne!(one.job_digest(), other.job_digest());
        let Prepared { train, validation, test, .. } = &one;
        let digest = |[train, validation, test]: [&Dataset; 3]| {
            let (train, validation, test) = (train.clone(), validation.clone(), test.clone());
            Prepared { train, validation, test, ..prepared(&[]) }.data_digest()
        };
        let digests = [
            digest([train, validation, test]),
            digest([&train.first(9), validation, test]),
            digest([train, &validation.first(9), test]),
            digest([train, validation, &test.first(9)]),
            digest([test, validation, train]),
        ];
        assert_eq!(digests[0], one.data_digest());
        (1..5).for_each(|at| assert!(!digests[..at].contains(&digests[at]), "{at}"));
    }

    /// The longest of all boundaries between ranks fits into a message. What stays on the owner needs no room in it.
    #[test]
    fn a_message_has_room_for_the_longest_boundary() {
        let stage = |owner: bool, out: u32| {
            let at = if owner { "at=\"owner\"," } else { "" };
            format!("{{{at}ops=[{{op=\"linear\",out={out}}}]}}")
        };
        let of = |stages: &[String]| {
            let stages = format!("stage=[{}]", stages.join(","));
            prepared(&[&stages, "train.micro_batch=16"]).longest_message()
        };
        // The data's bytes go in, 64 a sample, and numbers of four bytes come out.
        assert_eq!(of(&[stage(false, 8), stage(false, 10)]), 64 + 16 * 64);
        assert_eq!(of(&[stage(false, 100), stage(false, 10)]), 64 + 16 * 400);
        assert_eq!(of(&[stage(false, 8), stage(false, 100), stage(false, 10)]), 64 + 16 * 400);
        assert_eq!(of(&[stage(true, 300), stage(false, 100), stage(false, 10)]), 64 + 16 * 1200);
        let ends = [stage(false, 8), stage(false, 9), stage(true, 500), stage(true, 10)];
        assert_eq!(of(&ends), 64 + 16 * 64);
    }
}
