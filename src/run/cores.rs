//! How a rank uses its part of its host's cores.

use crate::job::MOST_THREADS;
use crate::transport::Cores;

/// Whether each rank of the host has two cores for itself: one to mix on and one to compute on.
pub(super) fn suffice(cores: Cores) -> bool {
    cores.each_has(2)
}

/// With how many threads a rank computes: `asked`, or where that is 0 as many as its part of the host's cores, at least
/// one. Where slots are `paced`, the thread that mixes has a core of its own, which does not count.
pub(super) fn threads(asked: u16, cores: Cores, paced: bool) -> usize {
    match asked {
        0 => cores.whole().saturating_sub(usize::from(paced)).clamp(1, MOST_THREADS.into()),
        asked => asked.into(),
    }
}
