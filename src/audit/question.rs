//! What the adversary is asked, and the cases that are put to it.
//!
//! Cases come in pairs from the same run and the same view, one for each answer. So guessing is worth nothing, and
//! neither is knowing how many stages there are, whether one of them colludes, or when in an epoch messages are real.
//! What is left is what was seen. To tell two models apart the pair comes from two runs, one after the other.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::play::Played;
use super::view::View;
use super::{contents, time, volume};
use crate::ids::Rank;

/// How many coalitions of a run are asked at most. No two of them are the same.
const COALITIONS: usize = 6;
/// How many slots of a run the observer is asked about, and how many a coalition is.
const ASKED: [usize; 2] = [8, 2];
/// How often coalitions are drawn. This ends the draw where there are fewer than [`COALITIONS`].
const DRAWS: usize = 40;

/// What the adversary is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// Whether a rank hosts a stage.
    Role,
    /// Whether one of two stages follows the other.
    Order,
    /// Whether what a rank sends in a slot is real.
    Cover,
    /// Which of two models is trained.
    Model,
    /// Whether the stage of another rank stands next to one's own.
    Neighbours,
}

/// Who the adversary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// An observer who sees all messages between ranks.
    Observer,
    /// Ranks that collude, with all that they know together.
    Colluders,
    /// Someone who has the keys of one stage's rank and sees the blocks of all ranks.
    Insider,
}

/// What the adversary looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Lengths, ends and numbers of messages.
    Volume,
    /// The times at which messages leave and arrive.
    Time,
    /// The bits of the blocks themselves.
    Contents,
}

/// What a row of the table is about: the question, who asks it, and what they look at.
pub(super) type Ask = (Question, Who, Channel);

/// Two cases of one kind, one for each answer.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The number of the run from which both come. What is learned is tried on other runs.
    pub(super) run: usize,
    /// The features of a case in which the answer is yes.
    pub(super) yes: Vec<f64>,
    /// The features of a case in which the answer is no.
    pub(super) no: Vec<f64>,
}

/// The pairs of cases of one course.
#[derive(Default)]
pub(super) struct Cases {
    /// The pairs for each row of the table.
    pairs: std::collections::BTreeMap<Ask, Vec<Pair>>,
}

impl Cases {
    /// The pairs for the row `ask`. There may be none.
    pub(super) fn of(&self, ask: Ask) -> &[Pair] {
        self.pairs.get(&ask).map_or(&[], Vec::as_slice)
    }

    /// Adds the cases of the run `played`, which has the number `run`, for those of `asks` that are about one run. In
    /// it `colluders` ranks collude.
    pub(super) fn add(
        &mut self,
        asks: &[(Question, Channel)],
        run: usize,
        played: &Played,
        colluders: u16,
        rng: &mut impl Rng,
    ) {
        if asks.iter().all(|(question, _)| *question == Question::Model) {
            return;
        }
        self.add_view(asks, run, &View::of(played, &[]), Who::Observer, rng);
        if asks.contains(&(Question::Neighbours, Channel::Contents)) {
            self.add_neighbours(run, played, rng);
        }
        for coalition in coalitions(played.others().collect(), colluders, rng) {
            self.add_view(asks, run, &View::of(played, &coalition), Who::Colluders, rng);
        }
    }

    /// Adds the cases that `view` gives for the questions about ranks and slots.
    fn add_view(&mut self, asks: &[(Question, Channel)], run: usize, view: &View<'_>, who: Who, rng: &mut impl Rng) {
        for question in [Question::Role, Question::Order, Question::Cover] {
            let channels: Vec<Channel> = asks.iter().filter(|ask| ask.0 == question).map(|ask| ask.1).collect();
            if channels.is_empty() {
                continue;
            }
            for (yes, no) in draw(question, view, who, rng) {
                for channel in &channels {
                    let [yes, no] = [yes, no].map(|case| case.features(view, *channel));
                    self.push((question, who, *channel), Pair { run, yes, no });
                }
            }
        }
    }

    /// Adds the cases of neighbours. The host of each stage is asked about a rank next to it, and about one that is
    /// not.
    fn add_neighbours(&mut self, run: usize, played: &Played, rng: &mut impl Rng) {
        let (hosts, found) = (played.hosts(), contents::Destinations::of(played));
        for pair in hosts.windows(2) {
            for (stage, next) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                let place = hosts.iter().position(|host| *host == stage).unwrap_or_default();
                let close = &hosts[place.saturating_sub(1)..hosts.len().min(place + 2)];
                let others: Vec<Rank> = played.others().filter(|rank| !close.contains(rank)).collect();
                if let Some(other) = others.choose(rng) {
                    let [yes, no] = [next, *other].map(|rank| found.of_pair(stage, rank));
                    self.push((Question::Neighbours, Who::Insider, Channel::Contents), Pair { run, yes, no });
                }
            }
        }
    }

    /// Adds the cases of two runs, the first of model A and the second of model B. In each of them `colluders` ranks
    /// collude.
    pub(super) fn add_models(
        &mut self,
        asks: &[(Question, Channel)],
        run: usize,
        played: [&Played; 2],
        colluders: u16,
        rng: &mut impl Rng,
    ) {
        let channels = asks.iter().filter(|ask| ask.0 == Question::Model).map(|ask| ask.1);
        // A stage knows its own widths. So only relays collude here: they see what others show.
        let relays = played.map(|played| {
            let relays = played.others().filter(|rank| played.of(*rank).truth.stage.is_none()).collect();
            coalitions(relays, colluders, rng)
        });
        let [a, b] = &relays;
        let coalitions: Vec<_> = a.iter().zip(b).map(|(a, b)| (Who::Colluders, [a.as_slice(), b])).collect();
        for channel in channels {
            for (who, [a, b]) in [(Who::Observer, [[].as_slice(), &[]])].iter().chain(&coalitions) {
                let [yes, no] = [View::of(played[0], a), View::of(played[1], b)].map(|view| match channel {
                    Channel::Volume => volume::of_run(&view),
                    Channel::Time => time::of_run(&view),
                    Channel::Contents => Vec::new(),
                });
                self.push((Question::Model, *who, channel), Pair { run, yes, no });
            }
        }
    }

    /// Adds a pair to the row `ask`.
    fn push(&mut self, ask: Ask, pair: Pair) {
        self.pairs.entry(ask).or_default().push(pair);
    }
}

/// Draws coalitions of `size` of the `ranks`, no two the same and at most [`COALITIONS`].
fn coalitions(ranks: Vec<Rank>, size: u16, rng: &mut impl Rng) -> Vec<Vec<Rank>> {
    let mut drawn: Vec<Vec<Rank>> = Vec::new();
    for _ in 0..DRAWS {
        let mut coalition: Vec<Rank> = ranks.sample(rng, size.into()).copied().collect();
        coalition.sort_unstable();
        if coalition.len() == usize::from(size) && !drawn.contains(&coalition) && drawn.len() < COALITIONS {
            drawn.push(coalition);
        }
    }
    drawn
}

/// What a question is asked about.
#[derive(Clone, Copy)]
enum Case {
    /// Whether a rank hosts a stage.
    Rank(Rank),
    /// Whether the stage of the second rank follows that of the first.
    Pair(Rank, Rank),
    /// Whether what a rank sends in a slot is real.
    Slot(Rank, usize),
}

impl Case {
    /// The features of this case that `view` has in `channel`.
    fn features(self, view: &View<'_>, channel: Channel) -> Vec<f64> {
        match (self, channel) {
            (Case::Rank(rank), Channel::Volume) => volume::of_rank(view, rank),
            (Case::Rank(rank), Channel::Time) => time::of_rank(view, rank),
            (Case::Pair(a, b), Channel::Volume) => volume::of_pair(view, a, b),
            (Case::Pair(a, b), Channel::Time) => time::of_pair(view, a, b),
            (Case::Slot(rank, slot), Channel::Volume) => volume::of_slot(view, rank, slot),
            (Case::Slot(rank, slot), Channel::Time) => time::of_slot(view, rank, slot),
            (_, Channel::Contents) => Vec::new(),
        }
    }
}

/// Draws pairs of cases for `question`: one in which the answer is yes, and one in which it is no.
fn draw(question: Question, view: &View<'_>, who: Who, rng: &mut impl Rng) -> Vec<(Case, Case)> {
    let (played, suspects) = (view.played, view.suspects());
    match question {
        Question::Role => {
            let (mut stages, mut relays): (Vec<Rank>, Vec<Rank>) =
                suspects.into_iter().partition(|rank| played.of(*rank).truth.stage.is_some());
            stages.shuffle(rng);
            relays.shuffle(rng);
            stages.into_iter().zip(relays).map(|(yes, no)| (Case::Rank(yes), Case::Rank(no))).collect()
        }
        Question::Order => {
            let hosts = played.hosts();
            let free: Vec<Rank> = hosts.iter().copied().filter(|rank| suspects.contains(rank)).collect();
            let follows = |a: Rank, b: Rank| hosts.windows(2).any(|two| two == [a, b]);
            let pairs = free.iter().flat_map(|a| free.iter().map(|b| (*a, *b))).filter(|(a, b)| a != b);
            let (yes, no): (Vec<_>, Vec<_>) = pairs.partition(|(a, b)| follows(*a, *b));
            let case = |(a, b): (Rank, Rank)| Case::Pair(a, b);
            let chosen = no.sample(rng, yes.len());
            yes.into_iter().zip(chosen).map(|(yes, no)| (case(yes), case(*no))).collect()
        }
        Question::Cover => {
            let mut slots: Vec<usize> = (0..view.slots).collect();
            slots.shuffle(rng);
            let mut cases = Vec::new();
            for slot in slots {
                let (real, cover): (Vec<Rank>, Vec<Rank>) =
                    suspects.iter().partition(|rank| played.real(**rank, slot));
                if let (Some(yes), Some(no)) = (real.choose(rng), cover.choose(rng)) {
                    cases.push((Case::Slot(*yes, slot), Case::Slot(*no, slot)));
                }
                if cases.len() == ASKED[who as usize] {
                    break;
                }
            }
            cases
        }
        Question::Model | Question::Neighbours => Vec::new(),
    }
}
