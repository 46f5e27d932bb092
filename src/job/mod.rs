//! Turns `jobs/*.toml` into a validated [`Job`]: plain numbers and operation specs.
//!
//! The journey of a job: [`tree`] parses TOML and remembers where every value stands, and [`overrides`] lays `--set` on top. Each
//! table of the job is a file here, named as its key: it has the table's structure, reads it from a [`section`] with its defaults and
//! ranges, and writes it again ([`table`]). So a new key is one line in three places of one file. [`together`] holds the tables
//! against each other. Once the data are there, [`mod@chain`] leads the shape of a sample through the stages, and [`answers`] holds what
//! comes out against the labels.
//!
//! Architecture invariant: this is the only place that knows defaults, and it knows nothing of ranks' roles, messages
//! or arithmetic. It imports no other module of the crate but the leaves.

mod answers;
mod at;
mod chain;
mod checkpoint;
mod compute;
mod data;
mod duration;
mod error;
mod init;
mod loss;
mod mix;
pub mod op;
mod optimizer;
mod output;
mod overrides;
mod sample;
mod schedule;
mod section;
mod shape;
mod source;
mod stage;
mod table;
mod together;
mod tokens;
mod train;
mod transport;
mod tree;
mod trust;

use std::path::Path;

use toml::Table;

pub use at::At;
pub use chain::{Boundary, MOST_ACTIVATIONS, chain};
pub use checkpoint::{Checkpoint, Every};
pub use compute::{AesGcm, Backend, Compute, MOST_THREADS};
pub use data::{Augment, Data, Normal};
pub use duration::duration;
pub use error::JobError;
pub use init::Init;
pub use loss::Loss;
pub use mix::{LONGEST_SLOT, LinkEncryption, Mix, Pace, Profile, SHORTEST_SLOT, SLOTS_OF_TIMEOUT};
pub use op::Op;
pub use optimizer::{Clip, Optimizer, Rule};
pub use output::Output;
pub use sample::{Expected, Sample};
pub use schedule::{Decay, LearningRate};
pub use shape::Shape;
pub use source::{Form, Source};
pub use stage::{MOST_OPS, Stage};
pub use train::{LossAt, Train};
pub use transport::{LONGEST_TIMEOUT, Transport};
pub use trust::Trust;

use crate::ids::RankSet;
use crate::random::Seed;
use section::Section;
use table::JobTable;
use tree::{Node, Value};

/// The fewest ranks of a job under the profile `mixed`: among fewer it hides nothing.
pub const FEWEST_MIXED_RANKS: u16 = 6;
/// The most ranks of a job, the owner among them.
pub const MOST_RANKS: u16 = 512;
const _: () = assert!(MOST_RANKS <= RankSet::MOST);
/// The most values of a sample that go out of an operation.
pub const MOST_FEATURES: u32 = 1_000_000;

/// Everything that a run does. Keys that the job's file leaves out have their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `name`: the name of the run's folder, of letters, digits, `-`, `_` and `.`. It has no default.
    pub name: String,
    /// `seed`: what all repeatable numbers are drawn from, as the job names it: a whole number, or a string. By default it is drawn.
    pub seed: String,
    /// Whether the job names no seed, and this one, of 256 bits, was drawn.
    pub seed_drawn: bool,
    /// `[data]`: what the network learns from.
    pub data: Data,
    /// `[train]`: how the network is trained.
    pub train: Train,
    /// `[init]`: what the network starts from.
    pub init: Init,
    /// `[[stage]]`: the stages of the network, in the order in which a sample passes them. From 1 to 63.
    pub stages: Vec<Stage>,
    /// `[mix]`: how messages travel between ranks.
    pub mix: Mix,
    /// `[transport]`: how blocks of bytes are exchanged.
    pub transport: Transport,
    /// `[trust]`: which ranks the owner accepts.
    pub trust: Trust,
    /// `[compute]`: who computes and seals.
    pub compute: Compute,
    /// `[checkpoint]`: when a run writes down all that it goes on from, and where.
    pub checkpoint: Checkpoint,
    /// `[output]`: what a run prints.
    pub output: Output,
}

impl Job {
    /// Reads the job in the file `path`, and lays each of `sets` (`train.epochs=1`) on top.
    ///
    /// # Errors
    /// Any [`JobError`]: of the file, its syntax, a key, a value, or values that do not go together.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, JobError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| JobError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, sets)
    }

    /// Reads the job in `text`, and lays each of `sets` (`train.epochs=1`) on top. Errors call the text `file`.
    ///
    /// # Errors
    /// Any [`JobError`] but [`JobError::Read`].
    pub fn parse(file: &str, text: &str, sets: &[String]) -> Result<Self, JobError> {
        let mut tree = tree::parse(file, text)?;
        for set in sets {
            overrides::apply(&mut tree, set)?;
        }
        Self::read(&Section::new("the job", &tree)?)
    }

    /// The resolved job as TOML, with all keys. Reading it gives the same job.
    pub fn to_toml(&self) -> String {
        self.write().to_string()
    }

    /// The resolved job as JSON, with the tables and keys of [`to_toml`](Job::to_toml).
    pub fn to_json(&self) -> serde_json::Value {
        // A job's tables hold nothing that JSON has not: no dates, and finite numbers alone.
        serde_json::to_value(self.write()).unwrap_or_default()
    }

    /// What all repeatable numbers of the job are drawn from.
    pub fn seed(&self) -> Seed {
        Seed::from_text(&self.seed)
    }

    /// Reads the job's own keys and all its tables.
    ///
    /// # Errors
    /// Any [`JobError`] of a key, a value, or values that do not go together.
    fn read(root: &Section<'_>) -> Result<Self, JobError> {
        let name = read_name(root)?;
        let (seed, seed_drawn) = read_seed(root)?;
        let job = Self {
            name,
            seed,
            seed_drawn,
            data: Data::read_from(root)?,
            train: Train::read_from(root)?,
            init: Init::read_from(root)?,
            stages: Stage::read_all(root)?,
            mix: Mix::read_from(root)?,
            transport: Transport::read_from(root)?,
            trust: Trust::read_from(root)?,
            compute: Compute::read_from(root)?,
            checkpoint: Checkpoint::read_from(root)?,
            output: Output::read_from(root)?,
        };
        root.finish()?;
        together::fit(&job, root)?;
        Ok(job)
    }

    /// The job's own keys and all its tables.
    fn write(&self) -> Table {
        let mut root = table::table([("name", self.name.clone().into()), ("seed", self.seed.clone().into())]);
        self.data.write_into(&mut root);
        self.train.write_into(&mut root);
        self.init.write_into(&mut root);
        Stage::write_all(&self.stages, &mut root);
        self.mix.write_into(&mut root);
        self.transport.write_into(&mut root);
        self.trust.write_into(&mut root);
        self.compute.write_into(&mut root);
        self.checkpoint.write_into(&mut root);
        self.output.write_into(&mut root);
        root
    }
}

/// Reads `name`.
///
/// # Errors
/// [`JobError`] where it is absent, or not fit to name a folder.
fn read_name(root: &Section<'_>) -> Result<String, JobError> {
    const NAME: &str = "a name of letters, digits, `-`, `_` and `.`, for the run's folder";
    let name = root.text("name", NAME)?;
    let name = root.required("name", name, NAME)?;
    let is_strange = |c: char| !(c.is_alphanumeric() || "-_.".contains(c));
    if name.is_empty() || name.starts_with('.') || name.contains(is_strange) {
        return Err(root.unfit("name", format!("{name:?}"), NAME));
    }
    Ok(name.to_owned())
}

/// Reads `seed`, or draws one of 256 bits where it is absent. Returns it with whether it was drawn.
///
/// # Errors
/// [`JobError::Value`] where it is neither a whole number nor a string.
fn read_seed(root: &Section<'_>) -> Result<(String, bool), JobError> {
    match root.get("seed") {
        Some(Node { value: Value::Integer(number), .. }) => Ok((number.to_string(), false)),
        Some(Node { value: Value::Text(text), .. }) if !text.is_empty() => Ok((text.clone(), false)),
        Some(node) => Err(root.wrong("seed", node, "a whole number or a string")),
        None => {
            let drawn: [u64; 4] = std::array::from_fn(|_| rand::random());
            Ok((drawn.iter().map(|word| format!("{word:016x}")).collect(), true))
        }
    }
}

#[cfg(test)]
mod hints;
#[cfg(test)]
mod tests;
