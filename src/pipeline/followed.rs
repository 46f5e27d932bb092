//! What the stages work on in lockstep, slot by slot, as it follows from what the owner has sent (docs/PROTOCOL.md, 11.3).
//!
//! Stages react to what reaches them, and each takes the same number of slots. So whoever knows when the owner's messages left knows
//! what every stage did, without asking one.

/// Which of the owner's messages in a slot were more than cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerSent {
    /// Whether a micro-batch left the owner for stage 1.
    pub forward: bool,
    /// Whether a gradient left the owner for the last stage.
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
/// the owner sent before the first of these slots is not known, and counts as nothing.
///
/// The gradients of a batch leave the owner in slots that follow each other, and between those of two batches there is at least one
/// slot without. So the last of a batch, behind which a stage makes its step, shows by that.
pub fn followed(sent: &[OwnerSent], stages: u16, latency: u8) -> Vec<Vec<StageWork>> {
    let (stages, latency) = (usize::from(stages), usize::from(latency.max(1)));
    let work = |stage: usize, slot: usize| {
        // What left the owner so many slots ago is in the hands of this stage now.
        let ago = |slots: usize| Some((slot.checked_sub(slots)?, sent.get(slot.checked_sub(slots)?)?));
        let backward = ago(latency * (stages - 1 - stage) + 1).filter(|(_, sent)| sent.backward);
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
    fn sent(pass: &DataPass, trains: bool) -> Vec<OwnerSent> {
        let hold = pass.hold();
        let gradient = |slot: u64| trains && slot.checked_sub(hold).is_some_and(|at| pass.returned(at).is_some());
        (0..pass.slots())
            .map(|slot| OwnerSent { forward: pass.feed(slot).is_some(), backward: gradient(slot) })
            .collect()
    }

    /// The example of docs/PROTOCOL.md, 11: three stages, four micro-batches.
    #[test]
    fn stages_do_what_the_example_says() {
        let pass = DataPass::training(Depth::of(3), 4, 8);
        let work = followed(&sent(&pass, true), 3, 1);
        let shown = |stage: usize| {
            let letter = |work: &StageWork| match (work.backward, work.steps, work.forward) {
                (false, false, false) => ".",
                (false, false, true) => "f",
                (true, false, false) => "b",
                (true, false, true) => "x",
                (true, true, false) => "s",
                (true, true, true) => "S",
                (false, true, _) => "?",
            };
            work[stage][..12].iter().map(letter).collect::<String>()
        };
        assert_eq!([shown(0), shown(1), shown(2)], [".ffff..bbbSf", "..ffffbbbs.f", "...ffxxbs..."]);
    }

    /// Every stage takes every micro-batch forward and, in training, back; and it steps once a batch. So it is however many stages pass for
    /// more, and however many slots a stage takes.
    #[test]
    fn every_micro_batch_is_worked_on_once_each_way() {
        for (stages, shown, latency) in [(1, 1, 1), (3, 3, 1), (3, 5, 1), (2, 2, 2), (4, 6, 2)] {
            for (full, total) in [(1, 3), (4, 4), (4, 11)] {
                let depth = Depth::new(stages, shown).latency(latency);
                let training = DataPass::training(depth, full, total);
                for stage in followed(&sent(&training, true), stages, latency) {
                    let count = |is: fn(&StageWork) -> bool| stage.iter().filter(|work| is(work)).count() as u32;
                    assert_eq!(
                        (count(|work| work.forward), count(|work| work.backward), count(|work| work.steps)),
                        (total, total, total.div_ceil(full)),
                        "{stages} stages that pass for {shown}, {latency} slots each, {total} in batches of {full}"
                    );
                }
                let looking = DataPass::evaluation(depth, total);
                for stage in followed(&sent(&looking, false), stages, latency) {
                    assert_eq!(stage.iter().filter(|work| work.forward).count() as u32, total);
                    assert!(stage.iter().all(|work| !work.backward && !work.steps));
                }
            }
        }
    }

    #[test]
    fn nothing_follows_from_nothing() {
        assert!(followed(&[], 3, 1).iter().all(Vec::is_empty));
        assert!(followed(&[OwnerSent::default(); 5], 0, 0).is_empty());
        let idle = followed(&[OwnerSent::default(); 5], 2, 1);
        assert!(idle.iter().flatten().all(|work| *work == StageWork::default()));
    }
}
