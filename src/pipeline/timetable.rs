//! What the owner does in each slot, through several passes one after the other.

use super::{Answered, DataPass, Feed};

/// Tells the owner, slot by slot, which output comes back and which micro-batch leaves.
pub struct Timetable {
    /// All passes, in the order in which they run.
    passes: Vec<DataPass>,
    /// Index of the pass that runs.
    running: usize,
    /// Whether it goes by slots or by answers.
    by: By,
}

/// What the timetable goes by.
enum By {
    /// By the numbers of slots. The running pass began in slot `began`.
    Slots { began: u64 },
    /// By the answers that come back. `lead` more slots stay empty first; `answered` is how far the running pass has come,
    /// `None` when all are over.
    Answers { lead: u64, answered: Option<Answered> },
}

/// What the owner does in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The micro-batch whose output has come back, if one has.
    pub returned: Option<Feed>,
    /// The micro-batch that leaves, if one does.
    pub fed: Option<Feed>,
}

/// An answer has come although none was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoneDue;

impl Timetable {
    /// A timetable by the numbers of slots, for a pace at which slots wait for their ranks. The first `lead` slots are empty.
    pub fn by_slots(passes: Vec<DataPass>, lead: u64) -> Self {
        Self { passes, running: 0, by: By::Slots { began: lead } }
    }

    /// A timetable by the answers that come back, for a pace at which slots wait for no one. The first `lead` slots are empty.
    pub fn by_answers(passes: Vec<DataPass>, lead: u64) -> Self {
        let answered = passes.first().map(Answered::new);
        Self { passes, running: 0, by: By::Answers { lead, answered } }
    }

    /// Whether the timetable goes by the answers that come back.
    pub fn goes_by_answers(&self) -> bool {
        matches!(self.by, By::Answers { .. })
    }

    /// Index of the pass that runs, or the number of passes if all are over.
    pub fn running(&self) -> usize {
        self.running
    }

    /// The passes, as far as they go.
    pub fn passes(&self) -> &[DataPass] {
        &self.passes
    }

    /// The last slot of all passes. `None` as long as a micro-batch has yet to leave: until then it may [change](Self::cut). By
    /// answers it is known only when all passes are over, and is then 0: a slot that has passed. Ask behind the turns of `slot`.
    pub fn end(&self, slot: u64) -> Option<u64> {
        let left = &self.passes[self.running..];
        match self.by {
            By::Slots { began } => {
                let fed = |pass: &DataPass| slot >= began && pass.fed(slot + 1 - began) == pass.micro_batches();
                let all = match left {
                    [running, then @ ..] if running.micro_batches() > 0 => {
                        fed(running) && then.iter().all(|pass| pass.micro_batches() == 0)
                    }
                    left => left.iter().all(|pass| pass.micro_batches() == 0),
                };
                all.then(|| (began + left.iter().map(DataPass::slots).sum::<u64>()).saturating_sub(1))
            }
            By::Answers { .. } => left.is_empty().then_some(0),
        }
    }

    /// Lets no batch begin from `slot` on, and no pass: the pass that runs ends with the batch that has begun, an evaluation
    /// with the micro-batch that has left last. Call before the turns of `slot`. Returns whether anything is left out.
    pub fn cut(&mut self, slot: u64) -> bool {
        self.go_on_to(slot);
        let before: u64 = self.passes.iter().map(DataPass::micro_batches).sum();
        if let Some(running) = self.passes.get_mut(self.running) {
            *running = match &mut self.by {
                By::Slots { began } => running.cut(slot.checked_sub(*began).map_or(0, |within| running.fed(within))),
                By::Answers { answered, .. } => answered.as_mut().map_or(*running, |answered| {
                    answered.cut();
                    answered.pass()
                }),
            };
            for pass in &mut self.passes[self.running + 1..] {
                *pass = pass.cut(0);
            }
        }
        self.passes.iter().map(DataPass::micro_batches).sum::<u64>() < before
    }

    /// By slots: goes on to the pass that runs in `slot`.
    fn go_on_to(&mut self, slot: u64) {
        if let By::Slots { began } = &mut self.by {
            while let Some(over) =
                self.passes.get(self.running).map(DataPass::slots).filter(|slots| slot >= *began + slots)
            {
                *began += over;
                self.running += 1;
            }
        }
    }

    /// What the owner does in `slot`. `has_come` says whether an output has come back at its start. Ask for each slot once, in
    /// order.
    ///
    /// # Errors
    /// [`NoneDue`] if an output has come that was not due. A timetable by slots does not look at what comes.
    pub fn turns(&mut self, slot: u64, has_come: bool) -> Result<Turns, NoneDue> {
        self.go_on_to(slot);
        match &mut self.by {
            By::Slots { began } => Ok(match (slot.checked_sub(*began), self.passes.get(self.running)) {
                (Some(within), Some(pass)) => Turns { returned: pass.returned(within), fed: pass.feed(within) },
                _ => Turns::default(),
            }),
            By::Answers { lead, answered } => {
                let returned = match has_come {
                    true => Some(answered.as_mut().and_then(Answered::returned).ok_or(NoneDue)?),
                    false => None,
                };
                // An output that has come back belongs to the running pass, and so does what leaves in the same slot.
                if returned.is_none() {
                    while answered.as_ref().is_some_and(Answered::is_over) {
                        self.running += 1;
                        *answered = self.passes.get(self.running).map(Answered::new);
                    }
                }
                let fed = match lead.checked_sub(1) {
                    Some(left) => {
                        *lead = left;
                        None
                    }
                    None => answered.as_mut().and_then(Answered::feed),
                };
                Ok(Turns { returned, fed })
            }
        }
    }

    /// Counts a micro-batch that stage 1 is done with.
    ///
    /// # Errors
    /// [`NoneDue`] if none is under way. A timetable by slots does not look at what comes.
    pub fn done(&mut self) -> Result<(), NoneDue> {
        match &mut self.by {
            By::Slots { .. } => Ok(()),
            By::Answers { answered, .. } => answered.as_mut().and_then(Answered::done).map(|_| ()).ok_or(NoneDue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Depth;
    use super::*;

    fn passes() -> Vec<DataPass> {
        vec![
            DataPass::training(Depth::of(2), 2, 3),
            DataPass::evaluation(Depth::of(2), 0),
            DataPass::evaluation(Depth::of(2), 2),
        ]
    }

    #[test]
    fn passes_follow_one_another_behind_the_empty_slots() {
        let lead = 3;
        let mut table = Timetable::by_slots(passes(), lead);
        let all: u64 = passes().iter().map(DataPass::slots).sum();
        // The last micro-batch leaves in the second slot of the last pass.
        let settled = lead + passes()[0].slots() + 1;
        let first = passes()[0].slots();
        for slot in 0..lead + all {
            let turns = table.turns(slot, false).unwrap();
            let due = match slot.checked_sub(lead) {
                None => Turns::default(),
                Some(at) if at < first => Turns { returned: passes()[0].returned(at), fed: passes()[0].feed(at) },
                Some(at) => Turns { returned: passes()[2].returned(at - first), fed: passes()[2].feed(at - first) },
            };
            assert_eq!(turns, due, "slot {slot}");
            assert_eq!(table.running(), if slot >= lead + first { 2 } else { 0 });
            assert_eq!(table.end(slot), (slot >= settled).then_some(lead + all - 1), "slot {slot}");
        }
    }

    /// With stages that answer in the next slot, all micro-batches go and come in order, and then it is over.
    #[test]
    fn answers_carry_it_from_pass_to_pass() {
        let mut table = Timetable::by_answers(passes(), 2);
        let (mut under_way, mut behind) = (Vec::new(), 0);
        let (mut fed, mut returned) = (Vec::new(), Vec::new());
        for slot in 0.. {
            assert!(slot < 100, "it does not end");
            if std::mem::take(&mut behind) > 0 {
                table.done().unwrap();
            }
            let turns = table.turns(slot, !under_way.is_empty()).unwrap();
            under_way.clear();
            returned.extend(turns.returned);
            behind += u32::from(turns.returned.is_some() && table.running() == 0);
            fed.extend(turns.fed);
            under_way.extend(turns.fed);
            assert!(slot >= 2 || turns == Turns::default());
            if table.end(slot).is_some() {
                break;
            }
        }
        assert_eq!((fed.len(), returned), (5, fed));
    }

    /// Wherever a timetable is cut, what has left comes back, the batch that has begun is whole, and nothing else leaves.
    #[test]
    fn a_cut_leaves_nothing_under_way() {
        let lead = 3;
        let all = lead + passes().iter().map(DataPass::slots).sum::<u64>();
        for by in [Timetable::by_slots, Timetable::by_answers] {
            for cut_at in 0..all + 2 {
                let mut table = by(passes(), lead);
                let (mut fed, mut returned) = (Vec::new(), Vec::new());
                let (mut ahead, mut behind) = (Vec::new(), Vec::new());
                let mut left_out = false;
                let mut last = None;
                for slot in 0.. {
                    assert!(slot < 100, "cut at {cut_at}, it does not end");
                    if slot == cut_at {
                        left_out = table.cut(slot);
                    }
                    if behind.first() == Some(&slot) {
                        behind.remove(0);
                        table.done().unwrap();
                    }
                    // Two stages: what leaves is back three slots later.
                    let come = ahead.first() == Some(&slot);
                    let training = table.running() == 0;
                    let turns = table.turns(slot, come).unwrap();
                    if come {
                        ahead.remove(0);
                        assert!(turns.returned.is_some(), "cut at {cut_at}, slot {slot}");
                    }
                    if turns.returned.is_some() && training {
                        behind.push(slot + 3);
                    }
                    returned.extend(turns.returned);
                    if let Some(feed) = turns.fed {
                        assert!(last.is_none());
                        fed.push(feed);
                        ahead.push(slot + 3);
                    }
                    if let Some(end) = table.end(slot) {
                        assert!(last.is_none_or(|last| last == end), "an end that was said changes");
                        last = Some(end);
                        if slot >= end {
                            break;
                        }
                    }
                }
                assert!(ahead.is_empty(), "cut at {cut_at}");
                let key = |feed: &Feed| (feed.batch, feed.micro_batch);
                assert_eq!(fed.iter().map(key).collect::<Vec<_>>(), returned.iter().map(key).collect::<Vec<_>>());
                let trained = table.passes()[0];
                assert!(fed.len() == 5 && !left_out || fed.len() < 5 && left_out, "cut at {cut_at}: {}", fed.len());
                // Three micro-batches are two batches.
                assert_eq!(trained.until() as usize, fed.len().min(3).div_ceil(2), "cut at {cut_at}");
            }
        }
    }

    #[test]
    fn what_nothing_accounts_for_is_not_due() {
        let mut table = Timetable::by_answers(passes(), 0);
        assert_eq!(table.done(), Err(NoneDue));
        assert_eq!(table.turns(0, true), Err(NoneDue));
        // By slots, the header says what has come, not the timetable.
        let mut table = Timetable::by_slots(passes(), 0);
        assert!(table.done().is_ok() && table.turns(0, true).is_ok());
    }
}
