//! Why a file's values are not those of a network.

use std::fmt;
use std::path::PathBuf;

use safetensors::Dtype;
use thiserror::Error;

/// Why a network does not start from a file.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file cannot be opened.
    #[error("cannot read the model {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Not of the format.
    #[error("{path} is not a whole safetensors file ({why}); save it with safetensors.torch.save_file")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The network has other parameters.
    #[error("{path} does not fit the job's network:{}{hint}", lines(.mismatches))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All that does not fit.
        mismatches: Vec<Mismatch>,
        /// How the two were compared, and what to do.
        hint: String,
    },
    /// A value that is no number.
    #[error("{path}: value {index} of {name} is {found}, expected a finite number that an f32 holds")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Which of its values, row-major, from 0.
        index: usize,
        /// What stands there.
        found: f64,
    },
    /// A model that does not say what goes into it.
    #[error(
        "{path} does not say what goes into the model ({why}); expected the model.safetensors of a finished mixnn run"
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
}

impl WeightsError {
    /// The process's exit code: 3 where the file is not there, 2 where it is of no use.
    pub fn exit_code(&self) -> i32 {
        match self {
            WeightsError::Read { .. } => 3,
            _ => 2,
        }
    }
}

/// A tensor by its name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{} ({})", self.name, dims.join(", "))
    }
}

/// Something of a file or of a network that the other has not, or has in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A parameter that the file lacks.
    Missing {
        /// The network's.
        ours: Tensor,
        /// The module of the file where it should be, where there is one.
        module: Option<String>,
    },
    /// A tensor for which there is no parameter.
    LeftOver(Tensor),
    /// Two that belong together, of other shapes.
    Shape {
        /// The file's.
        theirs: Tensor,
        /// The network's.
        ours: Tensor,
    },
    /// A tensor whose values are not floats.
    Type {
        /// The file's.
        theirs: Tensor,
        /// What they are.
        found: Dtype,
    },
    /// A module that the job names and the file lacks.
    NoModule(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Missing { ours, module: Some(module) } => write!(f, "missing: {ours}, looked for in {module}"),
            Mismatch::Missing { ours, module: None } => write!(f, "missing: {ours}"),
            Mismatch::LeftOver(theirs) => write!(f, "left over: {theirs}"),
            Mismatch::Shape { theirs, ours } => write!(f, "wrong shape: {theirs}, expected {ours}"),
            Mismatch::Type { theirs, found } => {
                write!(f, "wrong type: {theirs} is {found}, expected F32, F64, F16 or BF16")
            }
            Mismatch::NoModule(name) => write!(f, "init.order: no module {name} in the file"),
        }
    }
}

fn lines(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect()
}
