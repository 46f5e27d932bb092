//! What the rule promises, over many layouts of hosts.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

/// By rank: the label of its host, for hosts of these sizes. The owner is on the first.
fn layout(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().zip(0..).flat_map(|(size, host)| std::iter::repeat_n(host, *size)).collect()
}

/// By rank: the label of its host, for `ranks` ranks that are dealt over `hosts` hosts as evenly as can be.
fn even(ranks: usize, hosts: usize) -> Vec<u32> {
    (0..ranks).map(|rank| (rank * hosts / ranks) as u32).collect()
}

fn of(stages: u16, sizes: &[usize]) -> Placements {
    Placements::of(stages, &layout(sizes), &mut StdRng::seed_from_u64(1))
}

/// Layouts of many kinds with up to 64 ranks, each with a number of stages. They are the same in every run.
fn layouts() -> Vec<(u16, Vec<usize>)> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut layouts = vec![
        (3, vec![6, 1]),
        (3, vec![1, 6]),
        (2, vec![5, 1]),
        (3, vec![5, 1, 1]),
        (4, vec![1, 4, 1, 1]),
        (8, vec![30, 1, 1]),
        (5, vec![4, 4, 1]),
        (20, vec![1, 20, 20, 20, 3]),
        (40, vec![32, 31, 1]),
        (63, vec![63, 1]),
    ];
    for _ in 0..60 {
        let sizes: Vec<usize> = (0..rng.random_range(1..6)).map(|_| rng.random_range(1..10)).collect();
        let ranks = sizes.iter().sum::<usize>();
        if ranks > 2 {
            layouts.push((rng.random_range(2..ranks as u16), sizes));
        }
    }
    layouts
}

/// By stage, then by rank: how often the stage stands on the rank in `draws` draws, each from placements of its own.
fn counted(stages: u16, hosts: &[u32], draws: u32, rng: &mut StdRng) -> Vec<Vec<f64>> {
    let mut counts = vec![vec![0.0; hosts.len()]; usize::from(stages)];
    for _ in 0..draws {
        let roles = Placements::of(stages, hosts, rng).draw(rng);
        counts.iter_mut().zip(&roles.hosts).for_each(|(counts, host)| counts[host.index()] += 1.0 / f64::from(draws));
    }
    counts
}

#[test]
fn no_rank_hosts_a_stage_with_more_than_twice_the_blind_chance() {
    let mut rng = StdRng::seed_from_u64(3);
    for (stages, sizes) in layouts() {
        let hosts = layout(&sizes);
        let placements = Placements::of(stages, &hosts, &mut rng);
        let most = 2.0 / (hosts.len() - 1) as f64;
        for guess in placements.best_guesses() {
            assert!(guess <= most * 1.000_001, "S = {stages}, {sizes:?}: {guess} of at most {most}");
        }
        // And every stage stands somewhere.
        let roles = placements.draw(&mut rng);
        let mut ranks = roles.hosts.clone();
        ranks.sort_unstable();
        ranks.dedup();
        assert!(ranks.len() == usize::from(stages) && !ranks.contains(&Rank::OWNER), "{roles:?}");
    }
}

/// What is drawn keeps the rule, counted with a margin of six standard deviations.
#[test]
fn draws_keep_the_rule() {
    const DRAWS: u32 = 4000;
    let mut rng = StdRng::seed_from_u64(4);
    for (stages, sizes) in [(3, vec![6, 1]), (3, vec![5, 1, 1]), (4, vec![1, 6, 2]), (2, vec![9, 1])] {
        let hosts = layout(&sizes);
        let most = 2.0 / (hosts.len() - 1) as f64;
        let margin = 6.0 * (most * (1.0 - most) / f64::from(DRAWS)).sqrt();
        let placements = Placements::of(stages, &hosts, &mut rng);
        for (counts, guess) in counted(stages, &hosts, DRAWS, &mut rng).iter().zip(placements.best_guesses()) {
            let found = counts.iter().copied().fold(0.0, f64::max);
            assert!(found < most + margin, "S = {stages}, {sizes:?}: {found} of at most {most}");
            assert!((found - guess).abs() < margin, "S = {stages}, {sizes:?}: {found}, said to be {guess}");
        }
    }
}

/// Without the rule, anyone who knew that one host has six ranks and the other one would know who hosts stage 2.
#[test]
fn the_best_placements_alone_are_public() {
    let mut placements = of(3, &[6, 1]);
    assert!(placements.step > 0.0);
    assert!((placements.best_guesses()[1] - 1.0 / 3.0).abs() < 1e-6, "{:?}", placements.best_guesses());
    placements.step = 0.0;
    assert_eq!(placements.best_guesses()[1], 1.0);
    placements.step = 1.0;
    for guess in placements.best_guesses() {
        assert!((guess - 1.0 / 6.0).abs() < 1e-9, "a blind draw: {guess}");
    }
}

/// Where the rule costs nothing, stages stand as far apart as they can.
#[test]
fn hosts_of_one_size_give_nothing_up() {
    for (stages, sizes, neighbours, distant) in
        [(3, vec![3, 3, 3], 0, 0), (3, vec![4, 3], 0, 1), (4, vec![4, 4, 4, 4], 0, 0), (3, vec![7], 2, 1)]
    {
        let placements = of(stages, &sizes);
        assert_eq!(placements.step, 0.0, "{sizes:?}");
        assert!(placements.crowded().is_none());
        for seed in 0..20 {
            let hosts: Vec<u32> = placements
                .draw(&mut StdRng::seed_from_u64(seed))
                .hosts
                .iter()
                .map(|rank| layout(&sizes)[rank.index()])
                .collect();
            let at = |distance: usize| hosts.iter().zip(hosts.iter().skip(distance)).filter(|(a, b)| a == b).count();
            assert_eq!((at(1), at(2)), (neighbours, distant), "{hosts:?}");
        }
    }
}

/// What a user is told to do helps: if ranks are spread as evenly as can be, and there are twice as many as stages,
/// nothing is given up that is worth a word.
#[test]
fn what_is_said_to_help_helps() {
    let crowded = of(3, &[6, 1]).crowded().unwrap();
    assert!(crowded.least == 0 && crowded.pairs == 2 && crowded.together > 0.6 && crowded.uneven, "{crowded:?}");
    assert!(crowded.to_string().contains("ranks spread evenly over the hosts"), "{crowded}");
    let crowded = of(5, &[3, 3]).crowded().unwrap();
    assert!(!crowded.uneven && crowded.to_string().contains("more ranks or more hosts"), "{crowded}");
    let mut rng = StdRng::seed_from_u64(5);
    for ranks in 6..=16 {
        for hosts in 1..=ranks {
            for stages in 2..=ranks / 2 {
                let placements = Placements::of(stages as u16, &even(ranks, hosts), &mut rng);
                let crowded = placements.crowded();
                assert!(crowded.is_none(), "S = {stages}, N = {ranks}, {hosts} hosts: {crowded:?}");
            }
        }
    }
}

/// Ranks cannot be spread more evenly where no host has two more than another, with the owner counted.
#[test]
fn hosts_are_uneven_where_ranks_could_be_spread_better() {
    for (sizes, uneven) in [
        (&[3, 3][..], false),
        (&[4, 3], false),
        (&[3, 4, 4], false),
        (&[5, 3], true),
        (&[3, 4, 5], true),
        (&[1, 1, 1], false),
        (&[7], false),
    ] {
        assert_eq!(of(2, sizes).uneven, uneven, "{sizes:?}");
    }
}

/// Placements of large jobs are drawn in no time. Blind draws stand for all placements, and no host is preferred.
#[test]
fn many_ranks_and_hosts() {
    let mut rng = StdRng::seed_from_u64(6);
    let hosts = even(64, 32);
    let counts = counted(16, &hosts, 200, &mut rng);
    let lone = counts.iter().map(|counts| counts[1]).fold(0.0, f64::max);
    // The rank beside the owner is alone there: 200 draws of chance 2 / 63 are 6.3, with a deviation of 2.5.
    assert!(lone < 0.12, "{lone}");
}
