//! Why the values in a file are not those of a network, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use thiserror::Error;

use super::assigned::{Assigned, columns};

/// Why a network cannot take its values from a file.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("cannot read the model {path}: {source}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system gave no memory for the values.
    #[error(transparent)]
    Memory(#[from] crate::memory::OutOfMemory),
    /// The file is not of the safetensors format, or is cut short.
    #[error("{path} is not a whole safetensors file ({why}); save it with safetensors.torch.save_file")]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        why: String,
    },
    /// The file's tensors are not the network's parameters.
    #[error("{path} does not fit the job's network:{}{hint}", lines(.mismatches))]
    Mismatch {
        /// The path of the file.
        path: PathBuf,
        /// All that does not fit.
        mismatches: Vec<Mismatch>,
        /// How the two were compared and what to do, in words for a person.
        hint: String,
    },
    /// The file's modules fit the network in more than one order.
    #[error("{}", undecided(.path, .orders, .assigned, *.natural))]
    Undecided {
        /// The path of the file.
        path: PathBuf,
        /// Two orders of the file's modules that both fit.
        orders: [Vec<String>; 2],
        /// For each of the two orders, which tensor would be which parameter.
        assigned: [Vec<Assigned>; 2],
        /// Whether the first of the two is the natural order of the names.
        natural: bool,
    },
    /// A value of the file is infinite, not a number, or too large for an f32.
    #[error("{path}: value {index} of {name} is {found}, expected a finite number that an f32 holds")]
    NotFinite {
        /// The path of the file.
        path: PathBuf,
        /// The name of the tensor with that value.
        name: String,
        /// Which of the tensor's values it is, row-major, from 0.
        index: usize,
        /// The value that the file has there.
        found: f64,
    },
    /// The model does not say what goes into it, so that it cannot be used to infer.
    #[error(
        "{path} does not say what goes into the model ({why}); expected the model.safetensors of a finished mixnn run"
    )]
    Input {
        /// The path of the file.
        path: PathBuf,
        /// What is missing or wrong in the metadata of the file.
        why: String,
    },
}

impl WeightsError {
    /// The process's exit code: 3 where the file cannot be read or there is no memory, 2 where the file is of no use.
    pub fn exit_code(&self) -> i32 {
        match self {
            WeightsError::Read { .. } | WeightsError::Memory(_) => 3,
            _ => 2,
        }
    }
}

/// A tensor or a parameter, by its name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedShape {
    /// The name of the tensor.
    pub name: String,
    /// The dimensions of the tensor.
    pub shape: Vec<usize>,
}

impl fmt::Display for NamedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{} ({})", self.name, dims.join(", "))
    }
}

/// Something that the file and the network do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A parameter of the network that has no tensor in the file.
    Missing {
        /// The parameter that is missing.
        ours: NamedShape,
        /// The module of the file where the tensor should be, if there is one.
        module: Option<String>,
    },
    /// A tensor of the file for which the network has no parameter.
    LeftOver(NamedShape),
    /// A tensor and a parameter belong together, but have different shapes.
    Shape {
        /// The tensor of the file.
        theirs: NamedShape,
        /// The parameter of the network.
        ours: NamedShape,
    },
    /// A tensor of the file holds other values than floats.
    Type {
        /// The tensor of the file.
        theirs: NamedShape,
        /// The type of the values that it holds.
        found: Dtype,
    },
    /// A module that the job's `init.order` names and the file does not have.
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

/// All mismatches, a line each.
fn lines(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect()
}

/// How many parameters are shown at most where two orders fit.
const SHOWN: usize = 24;

/// The message for a file whose modules fit in two orders: which parameters would differ, and how to name the right
/// order.
fn undecided(path: &Path, orders: &[Vec<String>; 2], assigned: &[Vec<Assigned>; 2], natural: bool) -> String {
    let first = if natural { "natural order of names" } else { "one order" };
    let head = ["parameter", "operation", first, "another order"].map(str::to_owned);
    let [one, other] = assigned;
    let differ = || one.iter().zip(other).filter(|(one, other)| one.tensor != other.tensor);
    let row = |(one, other): (&Assigned, &Assigned)| {
        let [parameter, place] = one.place();
        [parameter, place, one.tensor.clone(), other.tensor.clone()]
    };
    let more = match differ().count().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("  and {more} more\n"),
    };
    format!(
        "{}: its modules fit the job's network in more than one order, and neither shapes nor names tell the right one:\n{}{more}\
         write it into the job, below [init]: the modules as they run, such as\n  order = {:?}\n  order = {:?}",
        path.display(),
        columns(std::iter::once(head).chain(differ().take(SHOWN).map(row)).collect()),
        orders[0],
        orders[1],
    )
}
