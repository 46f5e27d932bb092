//! What someone sees of a run: an observer of all messages, or ranks that collude.
//!
//! The observer sees when every rank's blocks leave, when the last that a rank receives is there, and all lengths.
//! Colluders see when the blocks of others reach them, what goes between others and them, and what they do themselves.

use super::play::Played;
use super::record::Begun;
use crate::ids::Rank;

/// How many lanes there are at most between the same two ranks in one direction.
pub(super) const TAGS: usize = 3;

/// A run, and who looks at it.
pub(super) struct View<'a> {
    /// The run that is looked at.
    pub(super) played: &'a Played,
    /// The ranks that collude. Empty: the observer looks.
    pub(super) colluders: Vec<Rank>,
    /// How many ranks the run has.
    pub(super) ranks: usize,
    /// How many phases a slot has.
    pub(super) phases: usize,
    /// How many slots the run has.
    pub(super) slots: usize,
    /// When each rank's blocks left, in microseconds: by phase of the run, by rank. NaN where it is not seen.
    when: Vec<f64>,
    /// When each rank had, at the earliest, all that it needed to send its blocks, in microseconds: by phase of the
    /// run, by rank. NaN where it is not seen.
    ready: Vec<f64>,
    /// The median of `when` over the ranks that the view is about: by phase of the run.
    middle: Vec<f64>,
    /// How many bytes are seen to go: by phase of the run, by tag, by sender, by receiver.
    bytes: Vec<u32>,
}

/// A recorded time in microseconds. NaN for 0, which stands for what never came.
fn micros(time: u64) -> f64 {
    if time == 0 { f64::NAN } else { time as f64 / 1e3 }
}

impl<'a> View<'a> {
    /// The view of `colluders`, or where there are none the observer's.
    pub(super) fn of(played: &'a Played, colluders: &[Rank]) -> Self {
        let (ranks, phases, slots) = (played.ranks.len(), played.phases, played.slots());
        let all = slots * phases;
        let mut view = Self {
            played,
            colluders: colluders.to_vec(),
            ranks,
            phases,
            slots,
            when: vec![f64::NAN; all * ranks],
            ready: vec![f64::NAN; all * ranks],
            middle: Vec::with_capacity(all),
            bytes: vec![0; all * TAGS * ranks * ranks],
        };
        for phase in 0..all {
            view.times(phase);
            let mut seen: Vec<f64> = view.about().map(|rank| view.when(phase, rank)).collect();
            view.middle.push(median(&mut seen));
        }
        for (from, recording) in Rank::all(ranks as u16).zip(&played.ranks) {
            let lanes = &recording.lanes;
            for (number, bytes) in recording.sent.iter().take(all * lanes.len()).enumerate() {
                let (phase, lane) = (number / lanes.len(), lanes[number % lanes.len()]);
                if view.sees(from, lane.peer) {
                    let place = view.lane(phase, usize::from(lane.tag), from, lane.peer);
                    view.bytes[place] += bytes;
                }
            }
        }
        view
    }

    /// Fills in what is seen of the times of `phase` of the run.
    fn times(&mut self, phase: usize) {
        let own = |rank: usize| -> Begun { self.played.ranks[rank].begun[phase] };
        let before =
            |rank: usize| phase.checked_sub(1).map_or(f64::NAN, |p| micros(self.played.ranks[rank].begun[p].done));
        let earliest = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::NAN, f64::min);
        for rank in 0..self.ranks {
            let place = phase * self.ranks + rank;
            let inside = self.colluders.iter().any(|colluder| colluder.index() == rank);
            if self.colluders.is_empty() || inside {
                self.when[place] = micros(own(rank).at);
                self.ready[place] = before(rank);
            } else {
                let colluders = || self.colluders.iter().map(|colluder| colluder.index());
                let arrived = |at: usize| micros(self.played.ranks[at].arrived[place]);
                self.when[place] = earliest(&mut colluders().map(arrived));
                self.ready[place] = earliest(&mut colluders().map(before));
            }
        }
    }

    /// The place in `bytes` for what goes from one rank to another in `phase` of the run, over lanes of `tag`.
    fn lane(&self, phase: usize, tag: usize, from: Rank, to: Rank) -> usize {
        ((phase * TAGS + tag) * self.ranks + from.index()) * self.ranks + to.index()
    }

    /// Whether what goes from one rank to the other is seen.
    fn sees(&self, from: Rank, to: Rank) -> bool {
        self.colluders.is_empty() || self.colluders.contains(&from) || self.colluders.contains(&to)
    }

    /// The ranks that the view is about: all but the colluders.
    fn about(&self) -> impl Iterator<Item = Rank> + '_ {
        Rank::all(self.ranks as u16).filter(|rank| !self.colluders.contains(rank))
    }

    /// The ranks about which there is something to find out: neither colluders nor the owner.
    pub(super) fn suspects(&self) -> Vec<Rank> {
        self.about().filter(|rank| *rank != Rank::OWNER).collect()
    }

    /// At how many microseconds since the run began the blocks of `rank` left in `phase` of the run. NaN where it is
    /// not seen.
    pub(super) fn when(&self, phase: usize, rank: Rank) -> f64 {
        self.when[phase * self.ranks + rank.index()]
    }

    /// By how many microseconds `rank` begins `phase` of the run later than the median rank. NaN where it is not seen.
    pub(super) fn late(&self, phase: usize, rank: Rank) -> f64 {
        self.when(phase, rank) - self.middle[phase]
    }

    /// How many microseconds pass on `rank` between the end of the phase before and the beginning of `phase` of the
    /// run. NaN where it is not seen.
    pub(super) fn gap(&self, phase: usize, rank: Rank) -> f64 {
        self.when(phase, rank) - self.ready[phase * self.ranks + rank.index()]
    }

    /// At how many microseconds since the run began the median rank begins `phase` of the run.
    pub(super) fn middle(&self, phase: usize) -> f64 {
        self.middle[phase]
    }

    /// Whether `rank` is the last to begin `phase` of the run, of those that the view is about.
    pub(super) fn is_last(&self, phase: usize, rank: Rank) -> bool {
        self.about().all(|other| other == rank || self.when(phase, other) <= self.when(phase, rank))
    }

    /// How many bytes are seen to go from one rank to another in `phase` of the run, over lanes of `tag`.
    pub(super) fn bytes(&self, phase: usize, tag: usize, from: Rank, to: Rank) -> f64 {
        f64::from(self.bytes[self.lane(phase, tag, from, to)])
    }

    /// How many messages the colluders know to be real in `slot`: forward messages, then backward ones. 0 where there
    /// is no such slot.
    pub(super) fn own_real(&self, slot: Option<usize>) -> [f64; 2] {
        let mut real = [0.0; 2];
        for colluder in &self.colluders {
            let flags = slot.and_then(|slot| self.played.of(*colluder).truth.real.get(slot));
            for (sum, flag) in real.iter_mut().zip(flags.copied().unwrap_or_default()) {
                *sum += f64::from(u8::from(flag));
            }
        }
        real
    }
}

/// The median of those values that are numbers; NaN where there are none. It sorts them.
pub(super) fn median(values: &mut Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The `part`-quantile of those values that are numbers; NaN where there are none. It sorts them.
pub(super) fn quantile(values: &mut Vec<f64>, part: f64) -> f64 {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => values[((count - 1) as f64 * part).round() as usize],
    }
}
