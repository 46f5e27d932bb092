//! The attacks, tried on recordings into which secrets were planted, or not.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::attack::Advantages;
use super::play::Played;
use super::question::{Ask, Cases, Channel, Pair, Question, Who};
use super::record::{Begun, Letter, Recording};
use super::truth::Truth;
use super::verdict::{Row, Verdict};
use super::view::View;
use super::{time, volume};
use crate::ids::{Rank, StageId};
use crate::transport::Lane;

const RANKS: u16 = 6;
const SLOTS: usize = 12;
const PHASES: usize = 2;

/// What a made-up run gives away.
#[derive(Clone, Copy, Default)]
struct Leak {
    /// How many nanoseconds a real message holds up a slot's first phase.
    work: u64,
    /// How many bytes stages send beyond those of relays.
    bytes: usize,
}

/// A run as the recorder would have written it: rank 0, two stages on ranks drawn at random, three relays. A stage has
/// something to do in every third slot, the second stage a slot later than the first. Phases last 100 us, and who is
/// late is chance.
fn made_up(leak: Leak, rng: &mut impl Rng) -> Played {
    let first = rng.random_range(1..RANKS);
    let second = (first + rng.random_range(0..RANKS - 2)) % (RANKS - 1) + 1;
    let stage = |rank: u16| match rank {
        0 => None,
        rank if rank == first => Some(StageId(0)),
        rank if rank == second => Some(StageId(1)),
        _ => None,
    };
    let real = |rank: u16, slot: usize| stage(rank).is_some_and(|stage| slot % 3 == stage.index());
    let peers = |rank: u16| Rank::all(RANKS).filter(move |peer| peer.0 != rank);
    let mut at = vec![vec![0; RANKS.into()]; SLOTS * PHASES];
    for (phase, at) in at.iter_mut().enumerate() {
        for rank in 0..RANKS {
            let work = if phase % PHASES == 0 && real(rank, phase / PHASES) { leak.work } else { 0 };
            at[usize::from(rank)] = 1_000_000 + 100_000 * phase as u64 + rng.random_range(0..20_000) + work;
        }
    }
    let ranks = (0..RANKS).map(|rank| {
        let bytes = 1000 + if stage(rank).is_some() { leak.bytes } else { 0 };
        let lanes: Vec<Lane> = peers(rank).map(|peer| Lane { peer, tag: 0, length: 2000 }).collect();
        let mut recording = Recording {
            sent: vec![bytes as u32; lanes.len() * at.len()],
            lanes,
            letters: [(1000, 10), (2000, 20), (3000, 30), (9_000_000, 40)]
                .map(|(at, bytes)| Letter { at, bytes })
                .into(),
            truth: Truth {
                stage: stage(rank),
                real: (0..SLOTS).map(|slot| [real(rank, slot), false]).collect(),
                ..Truth::default()
            },
            ..Recording::default()
        };
        for at in &at {
            let arrived = |from: u16| if from == rank { 0 } else { at[usize::from(from)] + 1000 };
            recording.arrived.extend((0..RANKS).map(arrived));
            let done = (0..RANKS).map(arrived).max().unwrap();
            recording.begun.push(Begun { at: at[usize::from(rank)], done });
        }
        recording
    });
    Played { phases: PHASES, ranks: ranks.collect(), overran: None }
}

const ASKS: [(Question, Channel); 8] = [
    (Question::Role, Channel::Volume),
    (Question::Role, Channel::Time),
    (Question::Order, Channel::Volume),
    (Question::Order, Channel::Time),
    (Question::Cover, Channel::Volume),
    (Question::Cover, Channel::Time),
    (Question::Model, Channel::Volume),
    (Question::Model, Channel::Time),
];

/// The cases of `runs` made-up runs. What the first model's runs give away is `leak`, what the second's do is `other`.
fn cases(runs: usize, leak: Leak, other: Leak, rng: &mut impl Rng) -> Cases {
    let mut cases = Cases::default();
    for run in 0..runs {
        let (a, b) = (made_up(leak, rng), made_up(other, rng));
        cases.add(&ASKS, run, &a, 1, rng);
        cases.add_models(&ASKS, run, [&a, &b], 1, rng);
    }
    cases
}

fn asks() -> impl Iterator<Item = Ask> {
    ASKS.into_iter()
        .flat_map(|(question, channel)| [Who::Observer, Who::Colluders].map(|who| (question, who, channel)))
}

#[test]
fn a_planted_leak_is_found_in_its_channel_and_no_other() {
    let rng = &mut StdRng::seed_from_u64(1);
    let none = Leak::default();
    let (by_time, by_bytes) = (Leak { work: 60_000, bytes: 0 }, Leak { work: 0, bytes: 100 });
    for (leak, channel) in [(by_time, Channel::Time), (by_bytes, Channel::Volume)] {
        let cases = cases(60, leak, none, rng);
        for ask in asks() {
            let found = Advantages::of(cases.of(ask)).unwrap();
            // Bytes that a stage sends in all slots alike do not say in which slots they are real, nor who is next. But
            // a stage beside a relay is seen, and only stages send what is real.
            let wins = ask.2 == channel && (channel == Channel::Time || ask.0 != Question::Order);
            let better = found.better();
            match wins {
                true => assert!(better.surely > 0.0, "{ask:?}: {found:?}"),
                false => {
                    assert!(found.statistics.surely < 0.0 && found.classifier.surely < 0.0, "{ask:?}: {found:?}")
                }
            }
        }
    }
}

/// Cases that give nothing away, but resemble each other within a run. An interval must not take that for knowledge.
fn null(runs: usize, rng: &mut impl Rng) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for run in 0..runs {
        // In half of the runs the same case comes up four times.
        let copies = if rng.random() { 4 } else { 1 };
        let case = |rng: &mut _| (0..5).map(|_| StdRng::random::<f64>(rng)).collect::<Vec<f64>>();
        let mut own = StdRng::seed_from_u64(rng.random());
        let (yes, no) = (case(&mut own), case(&mut own));
        pairs.extend((0..copies).map(|_| Pair { run, yes: yes.clone(), no: no.clone() }));
    }
    pairs
}

#[test]
fn without_a_leak_the_interval_holds_zero_in_19_of_20() {
    let rng = &mut StdRng::seed_from_u64(2);
    let repeats = 300;
    let mut held = [0; 2];
    for _ in 0..repeats {
        let found = Advantages::of(&null(60, rng)).unwrap();
        for (held, found) in held.iter_mut().zip([found.statistics, found.classifier]) {
            *held += u32::from(found.low <= 0.0 && 0.0 <= found.high);
            assert!(found.surely <= 0.0);
        }
    }
    // 285 are due, and the standard error is 4.
    assert!(held.iter().all(|held| (272..=300).contains(held)), "{held:?} of {repeats}");
}

/// What is true of one run alone is learned, and is of no use: only cases that come again in the tried runs would be
/// known.
#[test]
fn what_is_tried_was_not_learned_from() {
    let rng = &mut StdRng::seed_from_u64(3);
    // Every run has cases of its own, which come up twenty times.
    let marked = |runs: usize, rng: &mut StdRng| -> Vec<Pair> {
        let mut case = || (0..5).map(|_| rng.random::<f64>()).collect::<Vec<f64>>();
        let pairs = (0..runs).map(|run| Pair { run, yes: case(), no: case() });
        pairs.flat_map(|pair| vec![pair; 20]).collect()
    };
    let found = Advantages::of(&marked(80, rng)).unwrap();
    assert!(found.statistics.surely < 0.0 && found.classifier.surely < 0.0, "{found:?}");
    // The control: where the same cases are split without regard to runs, the classifier knows them.
    let mut leaky = marked(40, rng);
    for (number, pair) in leaky.iter_mut().enumerate() {
        pair.run = number;
    }
    assert!(Advantages::of(&leaky).unwrap().classifier.surely > 0.5);
    // Nothing can be said of runs of one half alone.
    let half: Vec<Pair> = marked(10, rng).into_iter().filter(|pair| pair.run % 2 == 0).collect();
    assert!(Advantages::of(&half).is_none() && Advantages::of(&[]).is_none());
}

/// Where cases repeat within a run, the intervals are those of the runs, not of the cases.
#[test]
fn runs_count_not_cases() {
    let rng = &mut StdRng::seed_from_u64(4);
    let single: Vec<Pair> = (0..100)
        .map(|run| {
            let right = rng.random_range(0..4) > 0;
            let case = |yes: bool| vec![f64::from(u8::from(yes == right))];
            Pair { run, yes: case(true), no: case(false) }
        })
        .collect();
    let repeated: Vec<Pair> = single.iter().flat_map(|pair| vec![pair.clone(); 9]).collect();
    let [few, many] = [&single, &repeated].map(|pairs| Advantages::of(pairs).unwrap().statistics);
    assert!(few.low > 0.0 && (few.mean - many.mean).abs() < 1e-9);
    assert!(((many.high - many.low) / (few.high - few.low) - 1.0).abs() < 0.05, "{few:?} {many:?}");
}

#[test]
fn the_features_of_a_run_made_by_hand() {
    let rng = &mut StdRng::seed_from_u64(5);
    let played = made_up(Leak { work: 50_000, bytes: 100 }, rng);
    let hosts = played.hosts();
    assert_eq!((hosts.len(), played.slots()), (2, SLOTS));
    let relays: Vec<Rank> = played.others().filter(|rank| !hosts.contains(rank)).collect();
    let observer = View::of(&played, &[]);
    // A stage sends to 5 ranks. What it receives is all that others send to it.
    let features = volume::of_rank(&observer, hosts[0]);
    assert_eq!(features[0], f64::from(hosts[0].0));
    assert_eq!(features[1..5], [5500.0, 1100.0, 1100.0, 5.0]);
    assert_eq!(features[5..9], [5100.0, 1100.0, 1000.0, 5.0]);
    // A relay sees its own lanes alone.
    let relay = View::of(&played, &relays[..1]);
    assert_eq!(volume::of_rank(&relay, hosts[0])[1..5], [1100.0, 1100.0, 1100.0, 1.0]);
    assert!(!relay.suspects().contains(&relays[0]) && relay.suspects().len() == 4);
    // Slot 0 is the first stage's, slot 1 the second's.
    for (slot, host) in hosts.iter().enumerate() {
        for view in [&observer, &relay] {
            assert!(view.is_last(slot * PHASES, *host));
            let late = view.late(slot * PHASES, *host);
            assert!((20.0..80.0).contains(&late), "{late}");
            assert!(view.late(slot * PHASES + 1, *host) < 20.0);
        }
        assert!(played.real(*host, slot) && !played.real(*host, slot + 2));
        // A stage's gap begins with the last arrival of the phase before.
        let before = played.of(*host).begun[(slot + 1) * PHASES - 1].done;
        let gap = (played.of(*host).begun[(slot + 1) * PHASES].at - before) as f64 / 1e3;
        assert!((observer.gap((slot + 1) * PHASES, *host) - gap).abs() < 1e-9);
        // The relay hears the stage a microsecond later, and of the phase before it knows its own end alone.
        let heard = relay.when(slot * PHASES, *host) - observer.when(slot * PHASES, *host);
        assert!((heard - 1.0).abs() < 1e-9);
    }
    // What is not seen is 0 among the features, and every case of a kind has as many features.
    let lengths: Vec<usize> = [&observer, &relay].map(|view| time::of_rank(view, hosts[0]).len()).into();
    assert_eq!(lengths[0], lengths[1]);
    assert!(time::of_pair(&relay, hosts[0], hosts[1]).iter().all(|value| value.is_finite()));
    assert_eq!(time::of_slot(&observer, relays[0], 0).len(), time::of_slot(&observer, relays[0], SLOTS - 1).len());
    assert_eq!(volume::of_run(&observer)[0], SLOTS as f64);
}

/// The second stage follows the first one slot later, so that the resemblance at that lag is the largest.
#[test]
fn what_delays_a_stage_delays_the_next_one_a_slot_later() {
    let played = made_up(Leak { work: 50_000, bytes: 0 }, &mut StdRng::seed_from_u64(6));
    let hosts = played.hosts();
    let features = time::of_pair(&View::of(&played, &[]), hosts[0], hosts[1]);
    // The features are by lag, from -2 to 2. The pattern repeats after three slots.
    assert!(features[3] > 0.5 && features[2] < 0.0 && features[1] < 0.3, "{:?}", &features[..5]);
}

#[test]
fn verdicts_say_what_was_expected_and_what_was_not() {
    let rng = &mut StdRng::seed_from_u64(7);
    let planted = |share: f64, rng: &mut StdRng| -> Vec<Pair> {
        (0..200)
            .map(|run| {
                let right = rng.random::<f64>() < share;
                let case = |yes: bool| vec![f64::from(u8::from(yes == right))];
                Pair { run, yes: case(true), no: case(false) }
            })
            .collect()
    };
    let (nothing, all) = (Advantages::of(&null(200, rng)), Advantages::of(&planted(0.95, rng)));
    let row = |found, control, expected| Row {
        ask: (Question::Role, Who::Observer, Channel::Volume),
        found,
        control: Some(("profile sealed", control)),
        expected,
    };
    let because = Some("lockstep does not hide times");
    for (row, verdict, words) in [
        (row(nothing, all, None), Verdict::None, "no advantage found (below 0."),
        (row(nothing, nothing, None), Verdict::Failed, "control failed"),
        (row(all, all, None), Verdict::Wins, "WINS: tells with an advantage of 0."),
        (row(all, nothing, None), Verdict::Wins, "WINS"),
        (row(all, None, because), Verdict::Expected, "wins, as expected: lockstep"),
        (row(nothing, None, because), Verdict::Harmless, "though lockstep"),
        (row(None, all, None), Verdict::Nothing, "nothing to tell: no stage"),
    ] {
        assert_eq!(row.verdict(), verdict, "{}", row.words());
        assert!(row.words().starts_with(words) || row.words().contains(words), "{}", row.words());
    }
    let slight = (0..50).find_map(|_| {
        let found = Advantages::of(&planted(0.62, rng))?;
        (found.better().low > 0.0 && !found.surely()).then_some(found)
    });
    assert_eq!(row(slight, all, None).verdict(), Verdict::Unclear);
}
