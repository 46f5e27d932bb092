//! The MPI library.

use super::Line;
use crate::transport::aware;
use crate::transport::mpi::library;

pub(super) fn examined() -> Vec<Line> {
    let takes = match aware::takes_device_memory() {
        Some(true) => "takes a GPU's memory",
        Some(false) => "takes no GPU's memory (it is not CUDA-aware): messages pass through the processor's",
        None => "does not say whether it takes a GPU's memory: messages pass through the processor's",
    };
    vec![Line::there("MPI", library()), Line::absent("MPI and GPU", takes)]
}
