//! What operations are asked for: one file for each, or for a family that differs in a word.
//!
//! A file holds all that a job says of its operation: the keys, their defaults and ranges, how they are printed again, and
//! which shape comes out of which. What it computes stands in `nn`, in a file of the same name. A new operation is one file
//! here, `mod` and a line in `operations!`.

mod activation;
mod attention;
mod avg_pool;
mod batch_norm;
mod conv2d;
mod dropout;
mod embedding;
mod flatten;
mod group_norm;
mod layer_norm;
mod linear;
mod max_pool;
mod position;
mod reshape;
mod residual;
mod rms_norm;
mod softmax;
mod window;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use activation::Activation;
pub use attention::Attention;
pub use avg_pool::{AvgPool, GlobalAvgPool};
pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use max_pool::MaxPool;
pub use position::Position;
pub use reshape::Reshape;
pub use residual::Residual;
pub use rms_norm::RmsNorm;
pub use softmax::Softmax;
pub use window::WindowSpec;

use super::section::Section;
use super::shape::Shape;
use super::table::{exact, put, table};
use super::tree::Node;
use super::{JobError, MOST_FEATURES};

/// What an operation's spec says of itself: the other half of [`Read`].
trait Spec {
    /// The word for the operation in a job, one of [`Read::WORDS`].
    fn word(&self) -> &'static str;

    /// Puts all keys of the operation but `op` into `keys`. [`Read::read`] makes the same spec of them again.
    fn write(&self, keys: &mut Table);

    /// Whether all numbers are such as a job may name. A rank asks this of a spec out of a package. In a job that has been read, they
    /// are.
    fn fits(&self) -> bool;

    /// The shape of a sample that comes out where one of the shape `input` goes in.
    ///
    /// # Errors
    /// [`Misfit`] where the operation does not take that shape.
    fn output(&self, input: &Shape) -> Result<Shape, Misfit>;

    /// The fewest samples of a micro-batch that the operation learns from, where samples have the shape `input`.
    fn fewest(&self, _input: &Shape) -> u32 {
        1
    }
}

/// How an operation's spec is read from a job: the other half of [`Spec`].
trait Read: Sized {
    /// The words for the operation in a job: one, or all of a family.
    const WORDS: &'static [&'static str];

    /// Reads all keys but `op` of the operation `word`. Who calls it ends the reading ([`Section::finish`]).
    ///
    /// # Errors
    /// An absent key, a value out of its range, or values that do not go together.
    fn read(word: &str, section: &Section<'_>) -> Result<Self, JobError>;
}

/// Why an operation does not take a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What the operation takes and what it gets, in words that begin with its name.
    pub problem: String,
    /// What to do about it, in words.
    pub fix: String,
}

impl Misfit {
    /// The operation `word` takes what `takes` says, but gets `input`. `fix` says what to do.
    fn new(word: &str, takes: &str, input: &Shape, fix: impl Into<String>) -> Self {
        Self { problem: format!("`{word}` takes {takes}, but gets {input}"), fix: fix.into() }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One operation of a stage, as a job asks for it. What it computes stands in `nn`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        impl Op {
            /// The spec of the operation, whichever it is: what all operations can be asked.
            fn spec(&self) -> &dyn Spec {
                match self {
                    $(Op::$name(spec) => spec,)*
                }
            }
        }

        /// All words for operations in a job, each with itself and with what reads it.
        fn words() -> Vec<(&'static str, (&'static str, OpReader))> {
            let mut words: Vec<(&'static str, (&'static str, OpReader))> = Vec::new();
            $(words.extend($name::WORDS.iter().map(|word| {
                let reader: OpReader = |word, section| $name::read(word, section).map(Op::$name);
                (*word, (*word, reader))
            }));)*
            words
        }
    };
}

/// Reads all keys but `op` of the operation of this word.
type OpReader = fn(&str, &Section<'_>) -> Result<Op, JobError>;

// The place of an operation is its number in packages: new ones go to the end.
operations! {
    /// `linear`: `y = x Wᵀ + b`, with learned W and b.
    Linear,
    /// `relu`, `tanh` and others: a function of each value.
    Activation,
    /// `softmax`: the softmax over the last dimension.
    Softmax,
    /// `flatten`: a sample as a vector.
    Flatten,
    /// `reshape`: a sample in another shape of as many values.
    Reshape,
    /// `conv2d`: a convolution of images with learned weights.
    Conv2d,
    /// `max_pool`: the largest value of each window of an image.
    MaxPool,
    /// `avg_pool`: the mean of each window of an image.
    AvgPool,
    /// `global_avg_pool`: the mean of each channel of an image.
    GlobalAvgPool,
    /// `dropout`: in training, values are set to 0 at random.
    Dropout,
    /// `layer_norm`: each vector, token or image is normalised by its mean and variance.
    LayerNorm,
    /// `rms_norm`: each vector, token or image is normalised by its mean square.
    RmsNorm,
    /// `batch_norm`: each channel is normalised over the micro-batch.
    BatchNorm,
    /// `group_norm`: groups of a sample's channels are normalised.
    GroupNorm,
    /// `residual`: `y = x + f(x)`, where f are operations.
    Residual,
    /// `position`: a learned value is added for each place of a sequence.
    Position,
    /// `attention`: each token of a sequence gathers values of the others.
    Attention,
    /// `embedding`: a row of a learned table for each token.
    Embedding,
}

impl Op {
    /// The word for the operation in a job.
    pub fn name(&self) -> &'static str {
        self.spec().word()
    }

    /// Whether all numbers of the operation are such as a job may name. A rank asks this of an operation out of a package.
    pub fn fits(&self) -> bool {
        self.spec().fits()
    }

    /// The shape of a sample that comes out where one of the shape `input` goes in.
    ///
    /// # Errors
    /// [`Misfit`] where the operation does not take that shape, or where more than [`MOST_FEATURES`] values come out.
    pub fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        let output = self.spec().output(input)?;
        match output.values() {
            1..=MOST_FEATURES => Ok(output),
            values => Err(Misfit {
                problem: format!("`{}` gives {values} values a sample, {output}", self.name()),
                fix: format!("an operation gives at most {MOST_FEATURES}"),
            }),
        }
    }

    /// The fewest samples of a micro-batch that the operation learns from, where samples have the shape `input`.
    pub fn fewest(&self, input: &Shape) -> u32 {
        self.spec().fewest(input)
    }

    /// How many residual operations stand within each other, this one among them.
    fn depth(&self) -> usize {
        match self {
            Op::Residual(residual) => 1 + residual.ops.iter().map(Op::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Reads the operation in `node`.
///
/// # Errors
/// A word that is no operation, any error of the operation's keys, or too many residual operations within each other.
pub(super) fn read(node: &Node) -> Result<Op, JobError> {
    let section = Section::new("the operation", node)?;
    let reader = section.choice("op", &words())?;
    let (word, reader) = section.required("op", reader, "the operation's name")?;
    let op = reader(word, &section)?;
    section.finish()?;
    if op.depth() > residual::DEEPEST {
        return Err(JobError::Conflict {
            at: node.at.clone(),
            problem: format!("{} residual operations stand within each other", op.depth()),
            fix: format!("{} may", residual::DEEPEST),
        });
    }
    Ok(op)
}

/// The table of an operation, with all its keys.
pub(super) fn write(op: &Op) -> Value {
    let mut keys = table([("op", op.name().into())]);
    op.spec().write(&mut keys);
    keys.into()
}

/// Reads the key `eps` of a normalisation: what is added to a variance so that it is never 0.
///
/// # Errors
/// [`JobError::Value`] where it is not above 0, or not finite.
fn eps(section: &Section<'_>, default: f32) -> Result<f32, JobError> {
    let eps = section.number("eps", "a small number above 0", |eps| eps_fits(eps as f32))?;
    Ok(eps.map_or(default, |eps| eps as f32))
}

/// Whether a job may name this `eps`: above 0, and finite.
fn eps_fits(eps: f32) -> bool {
    eps > 0.0 && eps.is_finite()
}

/// Adds `key` to the table `keys`, with a number that is kept as f32.
fn put_f32(keys: &mut Table, key: &str, value: f32) {
    keys.insert(key.to_owned(), exact(value));
}

#[cfg(test)]
mod tests;
