//! How much memory the ranks of a host share for their lanes. MPI takes it from /dev/shm.

use std::iter::repeat_n;

use crate::ids::Phase;
use crate::job::{Job, Profile};
use crate::mix::direct::longest_block;
use crate::mix::geometry::{BEAT, Geometry};
use crate::transport::shared_memory;

/// How many bytes `members` ranks of one host share under `job`. Where that depends on their roles, it is the most.
pub(super) fn of(job: &Job, geometry: &Geometry, members: usize) -> u64 {
    if members < 2 || !job.transport.windows {
        return 0;
    }
    match job.mix.profile {
        Profile::Mixed => shared_memory(members, repeat_n(geometry.block(Phase(1)), members * (members - 1))),
        // The owner and the stages form a ring, in which neighbours have a lane in each direction. The other ranks hear
        // the owner's word.
        profile => {
            let ring = job.remote().len() + 1;
            let neighbours = if members < ring { members - 1 } else { ring };
            let block = longest_block(geometry, profile == Profile::Sealed);
            shared_memory(
                members,
                repeat_n(block, 2 * neighbours).chain(repeat_n(BEAT, members.saturating_sub(ring))),
            )
        }
    }
}

/// Says in words how much ranks share: on the host with most ranks, and on one host if all ranks were there. Both are
/// in bytes.
pub(super) fn told(bytes: [u64; 2]) -> String {
    let [largest, one] = bytes.map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    match bytes {
        [_, 0] => "none".to_owned(),
        [0, _] => format!("none between hosts; {one} of /dev/shm with all ranks on one (docker run --shm-size)"),
        _ => format!(
            "{largest} of /dev/shm on the host with most ranks, {one} with all on one (docker run --shm-size)"
        ),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "mpi")]
    #[test]
    fn all_lanes_of_a_host_count_twice() {
        use super::*;
        let job = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            Job::load(std::path::Path::new("jobs/digits.toml"), &sets).unwrap()
        };
        let geometry = Geometry::new(7, 3, 30_000, 1 << 16).unwrap();
        let lines = |bytes: usize| bytes.next_multiple_of(64) as u64;
        // A segment has a line to spare, three counters, and a directory with three places for each rank of the host.
        let segment = |members: usize| 64 + lines(3 * 64 + 24 * members);
        let block = lines(geometry.block(Phase(1)));
        assert_eq!(of(&job(&[]), &geometry, 7), 7 * (segment(7) + 6 * 2 * block));
        assert_eq!(of(&job(&[]), &geometry, 2), 2 * (segment(2) + 2 * block));
        assert_eq!(of(&job(&[]), &geometry, 1), 0);
        assert_eq!(of(&job(&["transport.windows=false"]), &geometry, 7), 0);
        // Of seven ranks the owner and three stages form the ring, and three others hear beats. Of two ranks both are
        // in the ring.
        let bare = job(&["mix.profile=bare"]);
        let message = lines(longest_block(&geometry, false));
        assert_eq!(of(&bare, &geometry, 7), 7 * segment(7) + 2 * (8 * message + 3 * lines(BEAT)));
        assert_eq!(of(&bare, &geometry, 2), 2 * segment(2) + 2 * 2 * message);
    }
}
