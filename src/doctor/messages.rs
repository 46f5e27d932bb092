//! The MPI library, and whether it takes a GPU's memory.

use super::Finding;
use crate::transport::aware;
use crate::transport::mpi::library;

/// The lines on the MPI library.
pub(super) fn examined() -> Vec<Finding> {
    let through = "messages pass through the processor's";
    let takes = match aware::takes_device_memory() {
        Some(true) => Finding::there(
            "MPI and GPU",
            "built to take a GPU's memory: where it does, blocks travel from and to there",
        ),
        Some(false) => {
            Finding::absent("MPI and GPU", format!("takes no GPU's memory (it is not CUDA-aware): {through}"))
        }
        None => Finding::absent("MPI and GPU", format!("does not say whether it takes a GPU's memory: {through}")),
    };
    vec![Finding::there("MPI", library()), takes]
}
