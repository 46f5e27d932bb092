//! How long a job takes on a machine, before anyone has run it there: a model with a few parameters, which
//! [`mixnn bench model`](crate::bench::model) fits to what it measures.
//!
//! [`Speeds`] are the parameters. [`Workload`] is what a job asks of its ranks, and [`Workload::predicted`] puts the two together, slot by
//! slot, by the schedule of [`pipeline`](crate::pipeline). [`mod@fit`] finds parameters by least squares, and [`ModelFile`] keeps them, with
//! the runs that the model was held against. [`choose()`] takes the micro-batch that the model says is fastest.
//!
//! All but [`ModelFile`] is arithmetic: the same parameters and the same job give the same prediction everywhere.

mod choose;
mod file;
pub mod fit;
mod predict;
mod speeds;
mod workload;

pub use choose::{MicroBatchChoice, choose};
pub use file::{HeldRun, MeasuredOn, ModelError, ModelFile};
pub use predict::{OnHosts, Parts};
pub use speeds::{Arithmetic, MatrixShape, PerCell, Speeds};
pub use workload::{SlotStart, StageLoad, Travel, Workload};
