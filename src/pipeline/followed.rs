//! What the stages work on in lockstep, slot by slot, as it follows from what the owner has sent (docs/PROTOCOL.md, 11.3).
//!
//! Stages react to what reaches them, and each takes the same number of slots. So whoever knows when the owner's messages left knows
//! what every stage did, without asking one.

/// Which of the owner's messages in a slot were more than cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerSent {
    /// Whether a micro-batch left the owner for stage 1.
    pub forward: bool,
    /// Whether a gradient left the owner for the last stage, or the targets of a micro-batch where that has the loss.
    pub backward: bool,
}

/// What a stage works on in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageWork {
    /// Whether it takes a micro-batch forward.
    pub forward: bool,
    /// Whether it takes a gradient backward.
    pub backward: bool,
    /// Whether it makes its optimizer step behind that gradient.
    pub steps: bool,
}

/// What each of `stages` stages works on, by stage and slot, where the owner has `sent` this, by slot. A stage takes `latency` slots. What
/// the owner sent before the first of these slots is not known, and counts as nothing. `turned` says whether the last stage has the loss:
/// then it goes backward in the slot in which it goes forward, and targets leave the owner together with their micro-batch.
///
/// What the owner sends backward for a batch leaves it in slots that follow each other, and between those of two batches there is at least
/// one slot without. So the last of a batch, behind which a stage makes its step, shows by that.
pub fn followed(sent: &[OwnerSent], stages: u16, latency: u8, turned: bool) -> Vec<Vec<StageWork>> {
    let (stages, latency) = (usize::from(stages), usize::from(latency.max(1)));
    // How many slots a micro-batch takes to the last stage, if the way back begins there.
    let there = if turned { latency * stages.saturating_sub(1) } else { 0 };
    let work = |stage: usize, slot: usize| {
        // What left the owner so many slots ago is in the hands of this stage now.
        let ago = |slots: usize| Some((slot.checked_sub(slots)?, sent.get(slot.checked_sub(slots)?)?));
        let backward = ago(there + latency * (stages - 1 - stage) + 1).filter(|(_, sent)| sent.backward);
        StageWork {
            forward: ago(latency * stage + 1).is_some_and(|(_, sent)| sent.forward),
            backward: backward.is_some(),
            steps: backward.and_then(|(at, _)| sent.get(at + 1)).is_some_and(|next| !next.backward),
        }
    };
    (0..stages).map(|stage| (0..sent.len()).map(|slot| work(stage, slot)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DataPass, Depth};
    use super::*;

    /// What the owner sends in the slots of a pass.
    fn sent(pass: &DataPass, trains: bool, turned: bool) -> Vec<OwnerSent> {
        let hold = pass.hold();
        let gradient = |slot: u64| {
            let due = |at| if turned { pass.feed(at).is_some() } else { pass.returned(at).is_some() };
            trains && slot.checked_sub(hold).is_some_and(due)
        };
        (0..pass.slots())
            .map(|slot| OwnerSent { forward: pass.feed(slot).is_some(), backward: gradient(slot) })
            .collect()
    }

    /// The examples of docs/PROTOCOL.md, 11: three stages, four micro-batches.
    #[test]
    fn stages_do_what_the_examples_say() {
        let shown = |turned: bool| {
            let pass = DataPass::training(Depth::of(3).turned(turned), 4, 8);
            letters(&followed(&sent(&pass, true, turned), 3, 1, turned))
        };
        assert_eq!(shown(false), [".ffff..bbbSf", "..ffffbbbs.f", "...ffxxbs..."]);
        assert_eq!(shown(true), [".ffffbbbSfff", "..ffxxbs.ffx", "...xxxS...xx"]);
    }

    /// What stages do in their first twelve slots, a letter a slot.
    fn letters(work: &[Vec<StageWork>]) -> Vec<String> {
        let letter = |work: &StageWork| match (work.backward, work.steps, work.forward) {
            (false, false, false) => ".",
            (false, false, true) => "f",
            (true, false, false) => "b",
            (true, false, true) => "x",
            (true, true, false) => "s",
            (true, true, true) => "S",
            (false, true, _) => "?",
        };
        work.iter().map(|stage| stage[..12].iter().map(letter).collect()).collect()
    }

    /// Every stage takes every micro-batch forward and, in training, back; and it steps once a batch. So it is however many stages pass for
    /// more, and however many slots a stage takes.
    #[test]
    fn every_micro_batch_is_worked_on_once_each_way() {
        let cases = [(1, 1, 1, false), (3, 3, 1, false), (3, 5, 1, false), (2, 2, 2, false), (4, 6, 2, false)];
        let turned = [(1, 1, 1, true), (1, 1, 2, true), (2, 2, 1, true), (4, 4, 2, true)];
        for (stages, shown, latency, turned) in cases.into_iter().chain(turned) {
            for (full, total) in [(1, 3), (4, 4), (4, 11)] {
                let depth = Depth::new(stages, shown).latency(latency).turned(turned);
                let training = DataPass::training(depth, full, total);
                for stage in followed(&sent(&training, true, turned), stages, latency, turned) {
                    let count = |is: fn(&StageWork) -> bool| stage.iter().filter(|work| is(work)).count() as u32;
                    assert_eq!(
                        (count(|work| work.forward), count(|work| work.backward), count(|work| work.steps)),
                        (total, total, total.div_ceil(full)),
                        "{stages} stages that pass for {shown}, {latency} slots each, {total} in batches of {full}, turned: {turned}"
                    );
                }
                let looking = DataPass::evaluation(depth, total);
                for stage in followed(&sent(&looking, false, turned), stages, latency, turned) {
                    assert_eq!(stage.iter().filter(|work| work.forward).count() as u32, total);
                    assert!(stage.iter().all(|work| !work.backward && !work.steps));
                }
            }
        }
    }

    #[test]
    fn nothing_follows_from_nothing() {
        assert!(followed(&[], 3, 1, false).iter().all(Vec::is_empty));
        assert!(followed(&[OwnerSent::default(); 5], 0, 0, true).is_empty());
        let idle = followed(&[OwnerSent::default(); 5], 2, 1, true);
        assert!(idle.iter().flatten().all(|work| *work == StageWork::default()));
    }
}
