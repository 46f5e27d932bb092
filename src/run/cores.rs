//! What a rank does with its part of its host's cores.

use crate::job::MOST_THREADS;
use crate::transport::Cores;

/// Whether each of a host's ranks has a core to mix on and another to compute on.
pub(super) fn suffice(cores: Cores) -> bool {
    cores.each_has(2)
}

/// Threads with which a rank computes: as many as `asked` for, or, where that is 0, its part of its host's cores, at least one.
/// `paced`: under a fixed pace the thread that mixes has a core of its own.
pub(super) fn threads(asked: u16, cores: Cores, paced: bool) -> usize {
    match asked {
        0 => cores.whole().saturating_sub(usize::from(paced)).clamp(1, MOST_THREADS.into()),
        asked => asked.into(),
    }
}
