//! What the slots of a run have taken so far, as its ranks tell it.

use super::kept::results::RankTiming;
use super::letters::opening::Pacing;
use super::pace;

/// What the slots of the run have taken so far. It is known at the end of each term, when all ranks have returned their
/// results.
#[derive(Default)]
pub(super) struct Spent {
    /// Where the time of each rank went so far, by rank.
    pub(super) timing: Vec<RankTiming>,
    /// How many bytes all ranks together have sent in slots so far.
    pub(super) sent: u64,
    /// How many slots have overrun the pace so far, on the rank on which most have.
    pub(super) overran: u64,
    /// How many slots there were so far.
    pub(super) slots: u64,
    /// Whether the owner's user has heard that too many overran.
    pub(super) told: bool,
}

impl Spent {
    /// What the owner's user is to hear where too many slots overran, once.
    pub(super) fn remark(&mut self, pacing: Pacing) -> Option<String> {
        let remark = pace::too_many_overran(self.overran, self.slots, pacing).filter(|_| !self.told);
        self.told |= remark.is_some();
        remark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_that_too_many_overran() {
        let pacing = Pacing::Fixed { pace: None, rest: 0 };
        let mut spent = Spent { overran: 1, slots: 1000, ..Spent::default() };
        assert_eq!(spent.remark(pacing), None);
        spent.overran = 900;
        assert!(spent.remark(pacing).is_some_and(|line| line.starts_with("900 of 1000 slots overran")));
        spent.overran = 1000;
        assert_eq!(spent.remark(pacing), None);
    }
}
