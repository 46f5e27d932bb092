//! Which cores the ranks of a host may run on, and which part of them is a rank's own (docs/PROTOCOL.md, 17.8).
//!
//! A launcher may bind each rank to cores of its own, or leave all cores to all ranks. A rank's own mask does not tell
//! which of the two it was. So the ranks of a host tell each other their masks. A core that k ranks may run on counts
//! 1/k for each of them. What the system calls a core counts as one, even a hyperthread. A limit on processor time,
//! such as a container's, is taken to be one that the ranks of the host share.

/// The numbers of cores are below this, the most that Linux is built for.
const MOST: usize = 8192;
/// How many bytes a rank tells others of what it may use: a u32 with the limit (0 if there is none), and a bit for each
/// core.
#[cfg(feature = "mpi")]
pub(super) const TOLD: usize = 4 + MOST / 8;

/// What one process may use of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// The numbers of the cores that it may run on.
    cores: Vec<usize>,
    /// The time of how many cores it may use, if that is less than all of them.
    limit: Option<u32>,
}

/// A rank's part of its host's cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    /// This rank's part, in cores.
    own: f64,
    /// The smallest part of any rank of the host, in cores.
    least: f64,
    /// How many cores no rank of the host may run on, though their launcher may.
    idle: usize,
}

/// Parts are sums of rounded fractions: seven sevenths are to be one core.
const ROUNDING: f64 = 1e-6;

impl Cores {
    /// The part of each of `ranks` ranks that are threads of this process, if it has the host for itself.
    pub fn of_threads(ranks: u16) -> Self {
        Self::among(&vec![Allowed::here(); usize::from(ranks.max(1))], 0)
    }

    /// The part `own` of a rank of a host on which the smallest part is `least`.
    #[cfg(test)]
    pub(crate) fn of(own: f64, least: f64) -> Self {
        Self { own, least, idle: 0 }
    }

    /// The part of the rank number `me` of a host, from what each of its ranks is `allowed`.
    pub(super) fn among(allowed: &[Allowed], me: usize) -> Self {
        let mut sharing = vec![0_u32; MOST];
        allowed.iter().flat_map(|allowed| &allowed.cores).for_each(|core| sharing[*core] += 1);
        let part = |Allowed { cores, limit }: &Allowed| {
            let cores = cores.iter().map(|core| 1.0 / f64::from(sharing[*core])).sum();
            limit.map_or(cores, |limit| f64::from(limit) / allowed.len() as f64).min(cores)
        };
        let least = allowed.iter().map(part).fold(f64::INFINITY, f64::min).max(1.0 / allowed.len() as f64);
        Self { own: part(&allowed[me]), least, idle: 0 }
    }

    /// A rank's part of the cores, on a host whose ranks are `allowed` to use some of the cores that their `launcher` may use.
    /// Counts the others as idle. If a batch system has `allocated` a number of cores to the job, no more than that are
    /// the job's.
    #[cfg(feature = "mpi")]
    pub(super) fn bound_within(self, allowed: &[Allowed], launcher: &Allowed, allocated: Option<usize>) -> Self {
        let mut used: Vec<usize> = allowed.iter().flat_map(|allowed| allowed.cores.iter().copied()).collect();
        used.sort_unstable();
        used.dedup();
        let idle = launcher.cores.iter().filter(|core| used.binary_search(core).is_err()).count();
        Self { idle: allocated.map_or(idle, |allocated| idle.min(allocated.saturating_sub(used.len()))), ..self }
    }

    /// How many whole cores are this rank's part, at least one.
    pub fn whole(&self) -> usize {
        ((self.own + ROUNDING) as usize).max(1)
    }

    /// Whether each rank of the host has at least `cores` cores for itself.
    pub fn each_has(&self, cores: u16) -> bool {
        self.least + ROUNDING >= f64::from(cores)
    }

    /// The smallest part of any rank of the host, in cores.
    pub fn least(&self) -> f64 {
        self.least
    }

    /// How many ranks share a core, for the rank of the host that has the smallest part.
    pub fn crowd(&self) -> u32 {
        (1.0 / self.least - ROUNDING).ceil().max(1.0) as u32
    }

    /// How many cores no rank of the host may run on, though whoever has started this one may.
    pub fn idle(&self) -> usize {
        self.idle
    }
}

impl Allowed {
    /// What this process may use.
    pub(super) fn here() -> Self {
        // This knows the limits of cgroups. Of the mask it knows only how many cores are in it.
        let counted = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = mask(None).filter(|cores| !cores.is_empty()).unwrap_or_else(|| (0..counted.min(MOST)).collect());
        let limit = u32::try_from(counted).ok().filter(|_| counted < cores.len());
        Self { cores, limit }
    }

    /// What the process may use that has started this one. It has no cores if the system does not tell.
    #[cfg(feature = "mpi")]
    pub(super) fn of_launcher() -> Self {
        let parent = i32::try_from(std::os::unix::process::parent_id()).ok().filter(|parent| *parent > 0);
        Self { cores: parent.and_then(|parent| mask(Some(parent))).unwrap_or_default(), limit: None }
    }

    /// The form in which a process tells others what it may use (docs/PROTOCOL.md, 17.8).
    #[cfg(feature = "mpi")]
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; TOLD];
        bytes[..4].copy_from_slice(&self.limit.unwrap_or(0).to_le_bytes());
        self.cores.iter().for_each(|core| bytes[4 + core / 8] |= 1 << (core % 8));
        bytes
    }

    /// Reads what [`to_bytes`](Allowed::to_bytes) gave.
    #[cfg(feature = "mpi")]
    pub(super) fn from_bytes(bytes: &[u8; TOLD]) -> Self {
        let [a, b, c, d, mask @ ..] = bytes;
        let cores = (0..MOST).filter(|core| mask[core / 8] >> (core % 8) & 1 == 1).collect();
        Self { cores, limit: Some(u32::from_le_bytes([*a, *b, *c, *d])).filter(|limit| *limit > 0) }
    }
}

/// The numbers of the cores that `process` may run on, or this process for `None`. `None` if the system does not tell.
#[cfg(target_os = "linux")]
fn mask(process: Option<i32>) -> Option<Vec<usize>> {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity};
    if let Ok(set) = sched_getaffinity(process.and_then(Pid::from_raw)) {
        return Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect());
    }
    // The call above knows no more than 1024 cores, and fails where a kernel may have more.
    let process = process.map_or("self".to_owned(), |process| process.to_string());
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    numbers(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// Tells nothing: this system has no masks that are read here.
#[cfg(not(target_os = "linux"))]
fn mask(_: Option<i32>) -> Option<Vec<usize>> {
    None
}

/// Reads the numbers of a list such as `0-3,8`, the kernel's way of writing masks. `None` if it is no such list.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there are no such lists"))]
fn numbers(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        all.extend((first..=last).take_while(|core| *core < MOST));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(cores: impl IntoIterator<Item = usize>) -> Allowed {
        Allowed { cores: cores.into_iter().collect(), limit: None }
    }

    fn all(allowed: &[Allowed]) -> Vec<usize> {
        (0..allowed.len()).map(|me| Cores::among(allowed, me).whole()).collect()
    }

    #[test]
    fn ranks_bound_to_cores_of_their_own_have_them_all() {
        let bound: Vec<Allowed> = (0..4).map(|rank| on(4 * rank..4 * rank + 4)).collect();
        assert_eq!(all(&bound), [4; 4]);
        let cores = Cores::among(&bound, 0);
        assert!(cores.each_has(2) && cores.each_has(4) && !cores.each_has(5));
        assert_eq!(cores.crowd(), 1);
        // Each has one: nobody needs another's, and none is left to mix on beside the work.
        let one: Vec<Allowed> = (0..4).map(|rank| on([rank])).collect();
        assert_eq!(all(&one), [1; 4]);
        assert!(Cores::among(&one, 3).each_has(1) && !Cores::among(&one, 3).each_has(2));
    }

    #[test]
    fn unbound_ranks_share_what_there_is() {
        assert_eq!(all(&vec![on(0..16); 4]), [4; 4]);
        assert_eq!(all(&vec![on(0..16); 3]), [5; 3]);
        let crowded = vec![on(0..2); 7];
        assert_eq!(all(&crowded), [1; 7]);
        assert_eq!(Cores::among(&crowded, 0).crowd(), 4);
        assert!(!Cores::among(&crowded, 0).each_has(1));
        // Of as many cores each has one, whatever the rounding of a seventh.
        for ranks in 1..=64 {
            let cores = Cores::among(&vec![on(0..ranks); ranks], 0);
            assert!(cores.each_has(1) && cores.whole() == 1 && cores.crowd() == 1, "{ranks} ranks");
        }
    }

    #[test]
    fn masks_that_overlap_in_part_share_what_they_have_in_common() {
        // Cores 0 and 1 are the first's alone, 2 and 3 both's.
        let two = [on(0..4), on(2..4)];
        assert_eq!(all(&two), [3, 1]);
        assert!(Cores::among(&two, 0).each_has(1) && !Cores::among(&two, 0).each_has(2));
        let three = [on([0]), on([1]), on([0, 1])];
        assert_eq!(all(&three), [1; 3]);
        assert_eq!(Cores::among(&three, 0).crowd(), 2);
        assert!(!Cores::among(&three, 2).each_has(1), "the third has a whole core in all, the others half of one");
    }

    #[test]
    fn a_limit_on_time_is_shared_by_the_ranks_of_the_host() {
        let limited = |limit| Allowed { limit: Some(limit), ..on(0..16) };
        assert_eq!(all(&vec![limited(8); 4]), [2; 4]);
        assert_eq!(all(&vec![limited(2); 4]), [1; 4]);
        assert_eq!(Cores::among(&vec![limited(2); 4], 0).crowd(), 2);
        // It gives no one more than its mask does.
        assert_eq!(
            all(&[Allowed { cores: vec![0], ..limited(8) }, Allowed { cores: (1..16).collect(), ..limited(8) }]),
            [1, 4]
        );
    }

    #[test]
    fn a_process_knows_its_own() {
        let here = Allowed::here();
        let counted = std::thread::available_parallelism().unwrap().get();
        assert_eq!(here.limit.map_or(here.cores.len(), |limit| limit as usize), counted);
        assert_eq!(Cores::of_threads(1).whole(), counted);
        assert_eq!(Cores::of_threads(64).whole(), (counted / 64).max(1));
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(numbers("\t0-3,8,10-11\n").unwrap(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(numbers(" 2047 ").unwrap(), [2047]);
        assert_eq!(numbers("8190-9000").unwrap(), [8190, 8191]);
        assert!(numbers("").is_none() && numbers("a-b").is_none());
    }

    #[cfg(feature = "mpi")]
    #[test]
    fn what_is_told_is_understood_beyond_1024_cores_too() {
        for allowed in
            [on([0, 5, 1023, 1024, 2047, 8191]), Allowed { limit: Some(3), ..on(0..9) }, Allowed::default()]
        {
            assert_eq!(Allowed::from_bytes(&allowed.to_bytes().try_into().unwrap()), allowed);
        }
        assert_eq!(all(&[on(1000..1100), on(1050..1100)]), [75, 25]);
        // Whoever may use nothing, as far as is known, still computes.
        assert_eq!(all(&[Allowed::default()]), [1]);
    }

    #[cfg(feature = "mpi")]
    #[test]
    fn cores_that_a_launcher_keeps_back_are_counted() {
        let idle = |ranks: &[Allowed], launcher, allocated| {
            Cores::among(ranks, 0).bound_within(ranks, &launcher, allocated).idle()
        };
        let (two, four) = ([on([0]), on([1])], [on(0..4), on(4..8), on(8..12), on(12..16)]);
        assert_eq!(idle(&two, on(0..16), None), 14);
        assert_eq!(idle(&four, on(0..16), None), 0);
        assert_eq!(idle(&two, Allowed::default(), None), 0);
        // A batch system's daemon may run on cores of other jobs.
        assert_eq!((idle(&two, on(0..16), Some(2)), idle(&two, on(0..16), Some(6))), (0, 4));
    }
}
