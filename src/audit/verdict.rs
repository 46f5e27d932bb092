//! What a row of the table comes to, in words.

use super::attack::Advantages;
use super::question::{Ask, Channel, Question, Who};

/// A row of the table: a question, who asks it and what they look at, and what came of it.
pub(super) struct Row {
    /// The question, who asks it, and what they look at.
    pub(super) ask: Ask,
    /// What the attacks found in the job itself. `None` where there were no cases.
    pub(super) found: Option<Advantages>,
    /// The name of the control, whose defence is off, and what the attacks found there.
    pub(super) control: Option<(&'static str, Option<Advantages>)>,
    /// Why the attacks may win against the job. `None` where they were promised to fail.
    pub(super) expected: Option<&'static str>,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There were no cases, so nothing to tell apart.
    Nothing,
    /// The attack does no better than guessing, and wins where the defence is off.
    None,
    /// The attack wins, and was not promised to fail.
    Expected,
    /// The attack does no better than guessing, though nothing was promised.
    Harmless,
    /// The attack does better than guessing, but that may be chance.
    Unclear,
    /// The attack wins against a promise.
    Wins,
    /// The attack does no better than guessing, but neither does it where the defence is off. So nothing follows.
    Failed,
}

impl Verdict {
    /// The word for this verdict in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Nothing => "nothing to tell",
            Verdict::None => "none",
            Verdict::Expected => "expected",
            Verdict::Harmless => "none, without a defence",
            Verdict::Unclear => "unclear",
            Verdict::Wins => "wins",
            Verdict::Failed => "control failed",
        }
    }
}

impl Row {
    /// What this row comes to.
    pub(super) fn verdict(&self) -> Verdict {
        let Some(found) = &self.found else {
            return Verdict::Nothing;
        };
        let better = found.better();
        match (self.expected, better.low > 0.0) {
            (Some(_), true) => Verdict::Expected,
            (Some(_), false) => Verdict::Harmless,
            (None, _) if found.surely() => Verdict::Wins,
            (None, _) if !self.control_wins() => Verdict::Failed,
            (None, true) => Verdict::Unclear,
            (None, false) => Verdict::None,
        }
    }

    /// Whether the attack wins with the defence off, with all but certainty. A control that won by chance would vouch
    /// for nothing.
    pub(super) fn control_wins(&self) -> bool {
        self.control.and_then(|(_, found)| found).is_some_and(|found| found.surely())
    }

    /// The verdict in words for a reader, with its figures.
    pub(super) fn words(&self) -> String {
        let below = self.found.map_or(0.0, |found| found.below());
        let better = self.found.map_or(0.0, |found| found.better().mean);
        match self.verdict() {
            Verdict::Nothing => format!("nothing to tell: {}", self.absent()),
            Verdict::None => format!("no advantage found (below {below:.2})"),
            Verdict::Expected => format!("wins, as expected: {}", self.expected.unwrap_or_default()),
            Verdict::Harmless => {
                format!("no advantage found (below {below:.2}), though {}", self.expected.unwrap_or_default())
            }
            Verdict::Unclear => format!("unclear: {better:.2}, which may be chance; repeat with more --runs"),
            Verdict::Wins => format!("WINS: tells with an advantage of {better:.2}"),
            Verdict::Failed => {
                "control failed: the attack sees nothing even with the defence off; do not rely on this row"
                    .to_owned()
            }
        }
    }

    /// Why there were no cases.
    fn absent(&self) -> &'static str {
        match self.ask {
            (Question::Role, ..) => "no stage, or no relay, is left beside who looks",
            (Question::Order, ..) => "fewer than two stages that follow each other are left beside who looks",
            (Question::Cover, ..) => "no slot has both",
            (Question::Neighbours, ..) => "no two stages stand on ranks",
            (Question::Model, Who::Observer, _) => "the network has no hidden width to change",
            (Question::Model, ..) => {
                "no hidden width to change, or fewer relays than colluders (a stage knows its own widths)"
            }
        }
    }
}

impl Question {
    /// The words for what is told from what.
    pub(super) fn name(self) -> &'static str {
        match self {
            Question::Role => "stage or relay",
            Question::Order => "order of stages",
            Question::Cover => "real or cover",
            Question::Model => "model A or B",
            Question::Neighbours => "neighbours",
        }
    }
}

impl Who {
    /// The word for who asks.
    pub(super) fn name(self) -> &'static str {
        match self {
            Who::Observer => "observer",
            Who::Colluders => "colluders",
            Who::Insider => "insider",
        }
    }
}

impl Channel {
    /// The word for what is looked at.
    pub(super) fn name(self) -> &'static str {
        match self {
            Channel::Volume => "volume, order",
            Channel::Time => "time",
            Channel::Contents => "contents",
        }
    }
}
