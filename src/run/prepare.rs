//! What the owner needs before a run: the job, the data, the stages' specs. No other rank opens any of it.

use std::path::Path;

use zeroize::Zeroizing;

use super::RunError;
use super::opening::{package_length, result_length};
use super::sources;
use crate::data::{self, Augmented, Batches, Dataset, Targets};
use crate::ids::Epoch;
use crate::job::{self, Boundary, Job, Sample, Shape, Wanted};
use crate::mix::geometry::Geometry;
use crate::nn::{Rates, StageSpec};
use crate::pipeline::Depth;
use crate::wire::HEADER;

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
}

/// Bytes of a message, and of a result, at most: MPI counts in a C int.
pub(super) const LONGEST: u64 = 1 << 30;

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
        let (train, test) = match loaded.test {
            Some(test) => (loaded.train, test),
            None => part(loaded.train, TEST_PART, &job, "test")?,
        };
        let (train, validation) = part(train, job.data.validation, &job, "validation")?;
        if train.samples() == 0 {
            return Err(RunError::NoSamples { held_out: validation.samples() });
        }
        let boundaries = job::chain(&job, &sample(&train))?;
        Ok(Self { job, train, validation, test, boundaries })
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
    /// [`RunError::Job`] where its stages do not fit the data.
    pub fn with(&self, job: Job) -> Result<Self, RunError> {
        let boundaries = job::chain(&job, &sample(&self.train))?;
        let [train, validation, test] = [&self.train, &self.validation, &self.test].map(Dataset::clone);
        Ok(Self { job, train, validation, test, boundaries })
    }

    /// How many stages ranks host, and for how many they pass.
    pub fn depth(&self) -> Depth {
        let remote = self.job.remote();
        Depth::new(remote.len() as u16, self.job.mix.depth).preceded(remote.start > 0)
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
        };
        self.job.stages.iter().enumerate().map(spec).collect()
    }

    /// The training samples of `epoch`, in its own order.
    pub fn batches(&self, epoch: u32) -> Batches {
        let order = self.job.seed().derive("shuffle", epoch.into()).stream().permutation(self.train.samples() as u32);
        Batches::new(order, self.job.train.batch, self.job.train.micro_batch)
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

    /// What the job needs among `ranks` ranks, whatever lengths it names: bytes of a message, a package, a result.
    pub fn needed_lengths(&self, ranks: u16) -> [u64; 3] {
        let specs = self.remote_specs();
        let role = |spec: &StageSpec| postcard::to_allocvec(spec).map_or(0, |role| Zeroizing::new(role).len());
        let role = specs.iter().map(role).max().unwrap_or(0);
        let values = specs.iter().map(StageSpec::parameter_count).max().unwrap_or(0);
        let package = package_length(ranks, self.job.mix.hops, role, 0);
        [self.longest_message(), package.into(), result_length(values, 0)]
    }

    /// Bytes of a message.
    ///
    /// # Errors
    /// [`RunError::TooLong`].
    fn message(&self) -> Result<u32, RunError> {
        let bytes = self.longest_message();
        match u32::try_from(bytes) {
            Ok(message) if bytes <= LONGEST => Ok(message.max(self.job.mix.message)),
            _ => {
                Err(RunError::TooLong { what: "a message", bytes, most: LONGEST, fix: "take a smaller micro_batch" })
            }
        }
    }

    /// All lengths among `ranks` ranks.
    ///
    /// # Errors
    /// [`RunError::TooLong`], [`MixError::CellTooSmall`](crate::mix::MixError::CellTooSmall).
    pub fn geometry(&self, ranks: u16) -> Result<Geometry, RunError> {
        // Two ranks or more exchange messages; fewer circuits than one there are not.
        Ok(Geometry::new(ranks.max(3), self.job.mix.hops, self.message()?, self.job.mix.cell)?)
    }
}

/// What a stage's operations must know of the samples.
fn sample(data: &Dataset) -> Sample {
    Sample {
        shape: Shape::new(data.sample_shape.iter().map(|dim| *dim as u32).collect::<Vec<u32>>()),
        element: data.encoding.element,
        largest_token: data.largest_token(),
        wanted: match data.targets {
            Targets::Classes { places, classes, .. } => {
                Wanted::Classes { places: places as u32, classes: classes as u32 }
            }
            Targets::Values { width, .. } => Wanted::Values(width as u32),
        },
    }
}

/// Draws `share` of the samples out of `data`: (rest, part).
fn part(data: Dataset, share: f64, job: &Job, usage: &str) -> Result<(Dataset, Dataset), RunError> {
    let samples = data.samples() as u32;
    let order = job.seed().derive(usage, 0).stream().permutation(samples);
    let count = (f64::from(samples) * share).round() as usize;
    Ok(data.split(&order, count)?)
}
