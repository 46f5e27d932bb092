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

#[cfg(test)]
mod tests {
    use super::*;

    /// A core of its own is what keeps a rank's work from showing in when its cells move. So it must not be said where there is none.
    #[test]
    fn two_cores_a_rank_suffice_and_less_do_not() {
        for (own, least, enough) in [(2.0, 2.0, true), (4.0, 4.0, true), (4.0, 1.5, false), (1.0, 1.0, false)] {
            assert_eq!(suffice(Cores::of(own, least)), enough, "{own}, {least}");
        }
    }

    /// The job's number of threads is taken as it is. Else a rank computes on its part of the cores, but for the one that mixes.
    #[test]
    fn a_rank_computes_on_its_part_of_the_cores() {
        for (asked, own, paced, threads_due) in [
            (3, 8.0, false, 3),
            (3, 1.0, true, 3),
            (0, 8.0, false, 8),
            (0, 8.0, true, 7),
            (0, 0.5, false, 1),
            (0, 1.0, true, 1),
            (0, 1e6, false, usize::from(MOST_THREADS)),
        ] {
            assert_eq!(threads(asked, Cores::of(own, own), paced), threads_due, "{asked}, {own}, {paced}");
        }
    }
}
