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
pub use window::Window;

use super::keys::{exact, table};
use super::section::Section;
use super::shape::Shape;
use super::tree::Node;
use super::{JobError, MOST_FEATURES};

/// What a spec says of itself.
trait Spec {
    /// The word for it in a job.
    fn word(&self) -> &'static str;

    /// Its keys, resolved, but for `op`.
    fn write(&self, keys: &mut Table);

    /// Whether its numbers are such as a job may name. A job's are; those of a package are looked at.
    fn fits(&self) -> bool;

    /// The shape of a sample that comes out where `input` goes in.
    fn output(&self, input: &Shape) -> Result<Shape, Misfit>;

    /// The fewest samples of a micro-batch that it learns from, where samples have the shape `input`.
    fn fewest(&self, _input: &Shape) -> u32 {
        1
    }
}

/// How a spec is read.
trait Read: Sized {
    /// The words for it in a job.
    const WORDS: &'static [&'static str];

    /// Reads the keys of the operation `word`.
    fn read(word: &str, section: &Section<'_>) -> Result<Self, JobError>;
}

/// Why an operation does not take a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What it takes and what it gets, as a sentence that begins with the operation's name.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Misfit {
    /// An operation that takes `takes`, and gets `input`.
    fn new(word: &str, takes: &str, input: &Shape, fix: impl Into<String>) -> Self {
        Self { problem: format!("`{word}` takes {takes}, but gets {input}"), fix: fix.into() }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An operation's spec.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        impl Op {
            fn spec(&self) -> &dyn Spec {
                match self {
                    $(Op::$name(spec) => spec,)*
                }
            }
        }

        /// How each word of a job is read.
        fn words() -> Vec<(&'static str, (&'static str, Reader))> {
            let mut words: Vec<(&'static str, (&'static str, Reader))> = Vec::new();
            $(words.extend($name::WORDS.iter().map(|word| {
                let reader: Reader = |word, section| $name::read(word, section).map(Op::$name);
                (*word, (*word, reader))
            }));)*
            words
        }
    };
}

type Reader = fn(&str, &Section<'_>) -> Result<Op, JobError>;

// The place of an operation is its number in packages: new ones go to the end.
operations! {
    /// `y = x Wᵀ + b`.
    Linear,
    /// A function of each value.
    Activation,
    /// The softmax of the last dimension.
    Softmax,
    /// A sample as a vector.
    Flatten,
    /// A sample in another shape.
    Reshape,
    /// Convolution of images.
    Conv2d,
    /// The largest value of each window of an image.
    MaxPool,
    /// The mean of each window of an image.
    AvgPool,
    /// The mean of each channel of an image.
    GlobalAvgPool,
    /// Values set to 0 at random, in training.
    Dropout,
    /// Normalisation of each sample or token.
    LayerNorm,
    /// The same without a mean.
    RmsNorm,
    /// Normalisation of each channel over the micro-batch.
    BatchNorm,
    /// Normalisation of groups of a sample's channels.
    GroupNorm,
    /// `y = x + f(x)`.
    Residual,
    /// A learned value for each place of a sequence.
    Position,
    /// Each token gathers values of the others.
    Attention,
    /// A row of the weight for each token.
    Embedding,
}

impl Op {
    /// The word for it in a job.
    pub fn name(&self) -> &'static str {
        self.spec().word()
    }

    /// Whether its numbers are such as a job may name.
    pub fn fits(&self) -> bool {
        self.spec().fits()
    }

    /// The shape of a sample that comes out where `input` goes in.
    ///
    /// # Errors
    /// [`Misfit`], also where more values come out than [`MOST_FEATURES`].
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

    /// The fewest samples of a micro-batch that it learns from, where samples have the shape `input`.
    pub fn fewest(&self, input: &Shape) -> u32 {
        self.spec().fewest(input)
    }

    /// Residual operations within each other.
    fn depth(&self) -> usize {
        match self {
            Op::Residual(residual) => 1 + residual.ops.iter().map(Op::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Reads an operation.
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

/// Prints an operation.
pub(super) fn write(op: &Op) -> Value {
    let mut keys = table([("op", op.name().into())]);
    op.spec().write(&mut keys);
    keys.into()
}

/// `eps` of a normalisation.
fn eps(section: &Section<'_>, default: f32) -> Result<f32, JobError> {
    let eps = section.number("eps", "a small number above 0", |eps| eps_fits(eps as f32))?;
    Ok(eps.map_or(default, |eps| eps as f32))
}

fn eps_fits(eps: f32) -> bool {
    eps > 0.0 && eps.is_finite()
}

/// Writes `key`.
fn put(keys: &mut Table, key: &str, value: impl Into<Value>) {
    keys.insert(key.to_owned(), value.into());
}

/// Writes a number of `key` that is kept as f32.
fn put_f32(keys: &mut Table, key: &str, value: f32) {
    keys.insert(key.to_owned(), exact(value));
}
