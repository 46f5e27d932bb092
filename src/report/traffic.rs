//! The traffic matrix: what an observer of all messages sees flow between ranks, and what really flowed.

use super::given::ReportedRun;
use super::html::escaped;
use super::scale::count;
use super::svg::{Anchor, Svg, WIDTH, figure, key};
use crate::job::MOST_RANKS;
use crate::run::kept::size;
use crate::run::kept::slots::SlotLog;

/// Where the matrix begins.
const LEFT: f64 = 34.0;
const TOP: f64 = 34.0;

/// What flows from one rank to another, but for cover.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct RealFlow {
    forward: bool,
    backward: bool,
}

/// Who sends to whom along the stages hosted by `hosts`: by sender and receiver.
fn flows(hosts: &[u16], ranks: u16) -> Vec<Vec<RealFlow>> {
    let mut flows = vec![vec![RealFlow::default(); ranks.into()]; ranks.into()];
    let ring: Vec<usize> = [0].into_iter().chain(hosts.iter().map(|host| usize::from(*host))).chain([0]).collect();
    for pair in ring.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        if let Some(flow) = flows.get_mut(from).and_then(|row| row.get_mut(to)) {
            flow.forward = true;
        }
        if let Some(flow) = flows.get_mut(to).and_then(|row| row.get_mut(from)) {
            flow.backward = true;
        }
    }
    flows
}

/// The matrices of a run.
pub(super) fn pictures(run: &ReportedRun) -> String {
    let missing = |what: &str| format!("<p class=\"missing\">{what}</p>\n");
    let Some(ranks) = run.ranks() else {
        return missing("How many ranks there are is not known before the run is done or has told of its slots.");
    };
    if ranks > MOST_RANKS {
        return missing(&format!("The result tells of {ranks} ranks; a run has at most {MOST_RANKS}."));
    }
    let mixed = run.profile() == "mixed";
    let (log, hosts) = (run.slots.as_ref().ok(), run.hosts.as_ref());
    let mut pictures = String::new();
    if mixed {
        pictures += &seen(run, ranks, log);
    }
    match hosts {
        Ok(hosts) => pictures += &flowed(run, ranks, hosts, log),
        Err(why) => {
            let what = if mixed { "What really flowed" } else { "Who sent to whom" };
            pictures += &missing(&format!("{what} is not known: {}.", escaped(why)));
        }
    }
    let words = match run.profile() {
        "mixed" => {
            "<p>What really flowed the owner alone knows: this page has it from the owner's own files. All ranks but those of the pipeline \
             sent cover, as far as messages go, and so did those of the pipeline where they had nothing to send. An observer sees \
             lengths, numbers and ends of messages here, which are alike. Times are another matter: <code>mixnn audit</code> plays that \
             attack.</p>\n"
        }
        "sealed" => {
            "<p>In <code>sealed</code> an observer sees just this: messages go straight to the neighbours, and only their contents are \
             hidden.</p>\n"
        }
        _ => "<p>In <code>bare</code> an observer sees just this, and reads it.</p>\n",
    };
    let seen = [("seen", "what an observer sees")];
    let flowed =
        [("f0", "micro-batches, forward"), ("f5", "gradients, backward"), ("idle", "cover alone, or nothing")];
    let legend = if mixed { key(&[&seen[..], &flowed].concat()) } else { key(&flowed) };
    format!("{legend}<div class=\"row\">{pictures}</div>\n{words}")
}

/// What an observer sees of a run in `mixed`: from each rank to each other as much.
fn seen(run: &ReportedRun, ranks: u16, log: Option<&SlotLog>) -> String {
    let pairs = u64::from(ranks) * u64::from(ranks.saturating_sub(1));
    // What one rank sends goes to all others alike.
    let each = match (log, &run.outcome) {
        (Some(log), _) if log.bytes > 0 => Some((log.bytes / pairs.max(1), log.settled)),
        (_, Some(outcome)) if outcome.starts == 1 => {
            let slots = outcome.epochs.iter().map(|epoch| epoch.slots).sum();
            Some((outcome.wire_bytes_per_rank / u64::from(ranks.saturating_sub(1)).max(1), slots))
        }
        _ => None,
    };
    let amount = each.map(|(bytes, slots)| format!("{} in {} slots", size(bytes), count(slots)));
    let title = |from: u16, to: u16| {
        let amount = amount.as_ref().map_or_else(|| "as much as any other".to_owned(), String::clone);
        format!("rank {from} to rank {to}: {amount}")
    };
    let cell = |from: u16, to: u16| if from == to { Vec::new() } else { vec![("seen", title(from, to))] };
    let below = match &amount {
        Some(amount) => format!("<p>From each rank to each other, alike: {amount}.</p>\n"),
        None => "<p>From each rank to each other as much.</p>\n".to_owned(),
    };
    figure("As an observer sees it", "", &matrix(ranks, "what an observer sees flow between ranks", &cell), &below)
}

/// What really flowed along the stages hosted by `hosts`.
fn flowed(run: &ReportedRun, ranks: u16, hosts: &[u16], log: Option<&SlotLog>) -> String {
    let flows = flows(hosts, ranks);
    let number = |which: usize| log.map_or_else(String::new, |log| format!("{} ", count(log.real[which])));
    let cell = |from: u16, to: u16| {
        let RealFlow { forward, backward } = flows[usize::from(from)][usize::from(to)];
        let title = |what: &str, which: usize| {
            format!("{} to {}: {}messages {what}", run.role(from), run.role(to), number(which))
        };
        let forward = forward.then(|| ("f0", title("forward", 0)));
        forward.into_iter().chain(backward.then(|| ("f5", title("backward", 1)))).collect::<Vec<_>>()
    };
    let chain: Vec<String> = hosts.iter().map(u16::to_string).collect();
    let mut below = format!("<p>From the owner over ranks {} and back to the owner", chain.join(", "));
    if let Some(log) = log {
        let [forward, backward] = log.real.map(count);
        below += &format!(
            ": {forward} micro-batches forward, {backward} gradients backward, in {} slots",
            count(log.slots)
        );
    }
    below += ".</p>\n";
    let heading = if run.profile() == "mixed" { "What really flowed" } else { "Who sends to whom" };
    figure(heading, "", &matrix(ranks, "what really flowed between ranks", &cell), &below)
}

/// A matrix with a row for each sender and a column for each receiver. `cell` says which colours a cell has, one below the other, and what
/// each means.
fn matrix(ranks: u16, label: &str, cell: &dyn Fn(u16, u16) -> Vec<(&'static str, String)>) -> String {
    let step = ((WIDTH - LEFT - 4.0) / f64::from(ranks.max(1))).min(32.0);
    let mut svg = Svg::new(TOP + step * f64::from(ranks) + 6.0, label);
    let every = if ranks <= 24 { 1 } else { 8 };
    svg.text(LEFT, 11.0, Anchor::Start, "to rank");
    svg.text(0.0, TOP - 6.0, Anchor::Start, "from");
    for from in 0..ranks {
        let y = TOP + f64::from(from) * step;
        if from % every == 0 {
            svg.text(LEFT - 7.0, y + step / 2.0 + 4.0, Anchor::End, &from.to_string());
            svg.text(LEFT + (f64::from(from) + 0.5) * step, TOP - 6.0, Anchor::Middle, &from.to_string());
        }
        for to in 0..ranks {
            let x = LEFT + f64::from(to) * step;
            let gap = if step > 8.0 { 1.0 } else { 0.4 };
            let place = |top: f64, high: f64| [x + gap, y + gap + top, step - 2.0 * gap, high];
            let colours = cell(from, to);
            let high = (step - 2.0 * gap) / colours.len().max(1) as f64;
            match colours.is_empty() {
                true if from == to => {}
                true => svg.rect(place(0.0, high), "idle", None),
                false => {
                    for (at, (class, title)) in colours.iter().enumerate() {
                        svg.rect(place(at as f64 * high, high), class, Some(title));
                    }
                }
            }
        }
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_round_once_each_way() {
        let flows = flows(&[3, 1], 4);
        let of = |is: fn(&RealFlow) -> bool| {
            let mut found = Vec::new();
            for (from, row) in flows.iter().enumerate() {
                found.extend(row.iter().enumerate().filter(|(_, flow)| is(flow)).map(|(to, _)| (from, to)));
            }
            found
        };
        assert_eq!(of(|flow| flow.forward), [(0, 3), (1, 0), (3, 1)]);
        assert_eq!(of(|flow| flow.backward), [(0, 1), (1, 3), (3, 0)]);
        // With one stage both go between the same two ranks.
        let one = super::flows(&[1], 2);
        assert!(one[0][1].forward && one[0][1].backward && one[1][0].forward && one[1][0].backward);
        // What a damaged file says is no place beyond the matrix.
        assert_eq!(super::flows(&[9], 2).len(), 2);
    }
}
