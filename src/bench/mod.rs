//! `mixnn bench`: what protection costs, measured on the machines at hand. Each bench prints a table: [`crypto`] of cells,
//! [`gemm`] of matrix products, [`slot`] of slots, [`scale`] of slots over more and more ranks, [`train`] of whole jobs.
//! [`mod@model`] fits a model to such figures, and [`predict`] says with it what protection costs on machines that are not here.
//!
//! Rank 0 chooses what is measured. The ranks of its [`crew`] do what it tells them, one duty after the other, until there is no
//! more: so one launch of processes measures everything.
//!
//! A machine is never idle and never the same. So what is to be compared is measured in [turns](rounds), several times, and a
//! row has a median with its spread, and beside it what the machine could do at best, from the same [turns](ceilings).

mod ceilings;
mod cells;
pub mod crew;
pub mod crypto;
pub mod gemm;
mod held;
mod machine;
pub mod model;
pub mod predict;
mod products;
mod reading;
pub mod rounds;
pub mod scale;
pub mod slot;
mod slots;
mod stages;
pub mod table;
pub mod train;

use thiserror::Error;

use crew::Crew;
use rounds::Rounds;
use table::{Column, Format};

use crate::job::MOST_RANKS;
use crate::mix::MixError;
use crate::run::RunError;

/// What all benches are asked alike, and who takes part.
pub struct BenchRun<'a> {
    /// The ranks that measure, this one among them.
    pub crew: Crew<'a>,
    /// How often things are measured, and when that ends early.
    pub rounds: Rounds<'a>,
    /// In which form rows are printed.
    pub format: Format,
}

impl BenchRun<'_> {
    /// The ranks that measure: as many as are `asked` for, or all that there are, as far as a job may have so many.
    ///
    /// # Errors
    /// [`BenchError::Ranks`] where that is more than there are, or fewer than `least`; [`RunError::TooManyRanks`].
    fn ranks(&self, asked: Option<u16>, least: u16) -> Result<u16, BenchError> {
        let there = self.crew.ranks();
        let ranks = asked.unwrap_or(there.min(MOST_RANKS));
        if ranks > MOST_RANKS {
            return Err(RunError::TooManyRanks { found: ranks, most: MOST_RANKS }.into());
        }
        match (least..=there).contains(&ranks) {
            true => Ok(ranks),
            false => Err(BenchError::Ranks { needed: ranks.max(least), found: there.min(ranks) }),
        }
    }
}

/// The columns of the table that `bench` prints, by its name on the command line. None of a bench that this version does not know.
pub fn columns(bench: &str) -> &'static [Column] {
    match bench {
        "crypto" => &crypto::COLUMNS,
        "gemm" => &gemm::COLUMNS,
        "slot" => &slot::COLUMNS,
        "scale" => &scale::COLUMNS,
        "train" => &train::COLUMNS,
        "model" => &model::COLUMNS,
        "predict" => &predict::COLUMNS,
        _ => &[],
    }
}

/// Why nothing is measured, or no more.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A run has failed, or what is measured.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no model to predict with.
    #[error("there is no model of this machine; mixnn bench model measures it, or name a file with --model")]
    NoModel,
    /// There is no folder for the model.
    #[error("no configuration folder for the model, neither XDG_CONFIG_HOME nor HOME is set; name a file with --out")]
    NoPlace,
    /// There are too few ranks.
    #[error("this takes {needed} ranks, there are {found}")]
    Ranks {
        /// How many ranks it takes.
        needed: u16,
        /// How many there are, or were asked for.
        found: u16,
    },
    /// There is too little memory.
    #[error("this takes about {} MB of memory on this host, which can give {} MB; take fewer ranks or shorter cells", needed / 1_000_000, found / 1_000_000)]
    Memory {
        /// How many bytes it takes.
        needed: u64,
        /// How many bytes there are.
        found: u64,
    },
    /// The job has no linear layers, whose products could be measured.
    #[error(
        "the job has no linear layers and no attention, whose matrix products could be measured; leave the job out for square ones"
    )]
    NoLayers,
}

impl From<MixError> for BenchError {
    fn from(error: MixError) -> Self {
        Self::Run(error.into())
    }
}

impl BenchError {
    /// The code with which the process exits because of this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            BenchError::Run(error) => error.exit_code(),
            BenchError::Ranks { .. } | BenchError::Memory { .. } => 3,
            BenchError::NoLayers | BenchError::NoPlace => 2,
            BenchError::NoModel => 3,
        }
    }
}
