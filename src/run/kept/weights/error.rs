//! Why a file's values are not those of a network.

use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use thiserror::Error;

use super::assigned::{Assigned, columns};

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
    /// There is no memory for its values.
    #[error(transparent)]
    Memory(#[from] crate::memory::OutOfMemory),
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
    /// Modules that fit the network in more orders than one.
    #[error("{}", undecided(.path, .orders, .assigned, *.natural))]
    Undecided {
        /// The file.
        path: PathBuf,
        /// Two orders of its modules.
        orders: [Vec<String>; 2],
        /// Which tensor would be which parameter in each.
        assigned: [Vec<Assigned>; 2],
        /// Whether the first is the natural order of the names.
        natural: bool,
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
            WeightsError::Read { .. } | WeightsError::Memory(_) => 3,
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

/// The most parameters that are shown in both orders.
const SHOWN: usize = 24;

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
