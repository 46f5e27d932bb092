//! The pipeline as a timeline: rank by slot, coloured by what it did. What the owner did it has noted; what stages did follows from that
//! in lockstep ([`followed`]).

use super::given::ReportedRun;
use super::html::escaped;
use super::scale::count;
use super::svg::{Anchor, Svg, WIDTH, figure, key};
use crate::job::LossAt;
use crate::pipeline::{OwnerSent, StageWork, followed};
use crate::run::kept::slots::{SlotEntry, SlotLog};

/// How many slots a picture shows.
const SLOTS: usize = 48;
/// How many pictures follow each other.
const PICTURES: usize = 3;
/// Stages beyond so many are not drawn.
const MOST_STAGES: usize = 24;
/// Where the slots begin, and how wide and high one of them is.
const LEFT: f64 = 84.0;
const STEP: f64 = (WIDTH - LEFT - 2.0) / SLOTS as f64;
const ROW: f64 = 17.0;
/// Where the first row begins.
const TOP: f64 = 16.0;

/// What a rank did in a slot: its forward half, its backward half, and whether an optimizer step ended it.
#[derive(Clone, Copy)]
struct Did {
    /// Whether a micro-batch of training went forward, or one of an evaluation. `None`: neither.
    forward: Option<bool>,
    backward: bool,
    steps: bool,
}

/// The timeline of the run's first slots.
pub(super) fn pictures(run: &ReportedRun) -> String {
    let log = match &run.slots {
        Ok(log) => log,
        Err(why) => {
            return format!(
                "<p class=\"missing\">What ranks did in which slot is not known: {}.</p>\n",
                escaped(why)
            );
        }
    };
    // A term begins with a random number of empty slots.
    let busy = log.first.iter().position(|entry| entry.forward || entry.backward);
    let Some(begin) = busy.map(|busy| busy.saturating_sub(1)) else {
        return "<p class=\"missing\">No micro-batch had left the owner yet.</p>\n".to_owned();
    };
    let rows = rows(run, log);
    let mut pictures = String::new();
    for from in (begin..log.first.len()).step_by(SLOTS).take(PICTURES) {
        let until = log.first.len().min(from + SLOTS);
        pictures += &picture(&log.first[from..until], &rows, from);
    }
    let legend = key(&[
        ("f0", "forward, training"),
        ("f4", "forward, evaluation"),
        ("f5", "backward (the owner: loss and gradient)"),
        ("step", "its optimizer step"),
        ("idle", "nothing of its own"),
    ]);
    format!("{legend}<div class=\"row\">{pictures}</div>\n{}", words(run, log))
}

/// What stands below the pictures.
fn words(run: &ReportedRun, log: &SlotLog) -> String {
    let mut words = String::new();
    let stages = log.setup.hosts.len();
    if log.setup.paced {
        words += "Under a pace stages take as many slots as they need, and no rank tells the owner in which slot it worked. So the \
                  owner's row alone is known. ";
    } else if stages > MOST_STAGES {
        words += &format!("The first {MOST_STAGES} of {stages} stages are drawn. ");
    }
    let relays = usize::from(log.setup.ranks).saturating_sub(stages + 1);
    words += match (run.profile(), relays) {
        ("mixed", 0) => "In every slot each rank also passes on cells of all others. ",
        ("mixed", _) => "In every slot each rank also passes on cells of all others; relays do nothing else. ",
        (_, 0) => "",
        (_, _) => "Relays have nothing to do here. ",
    };
    format!("<p>{words}The pictures begin with the first micro-batch of the last start of the run with ranks.</p>\n")
}

/// The name of each row, and what its rank did in each of the first slots.
fn rows(run: &ReportedRun, log: &SlotLog) -> Vec<(String, Vec<Did>)> {
    let sent = |entry: &SlotEntry| OwnerSent { forward: entry.forward, backward: entry.backward };
    let sent: Vec<OwnerSent> = log.first.iter().map(sent).collect();
    let trains = |slot: usize| log.first.get(slot).is_some_and(|entry| entry.trains);
    let own = |entry: &SlotEntry| Did {
        forward: entry.forward.then_some(entry.trains),
        backward: entry.backward,
        steps: false,
    };
    let mut rows = vec![("owner".to_owned(), log.first.iter().map(own).collect::<Vec<Did>>())];
    if log.setup.paced {
        return rows;
    }
    let stages = log.setup.hosts.len() as u16;
    let (latency, turned) = (log.setup.latency, run.job.train.loss_at == LossAt::Last);
    for (stage, work) in followed(&sent, stages, latency, turned).into_iter().enumerate().take(MOST_STAGES) {
        // A micro-batch is of the pass in which it left the owner.
        let behind = usize::from(latency.max(1)) * stage + 1;
        let did = |(slot, work): (usize, StageWork)| Did {
            forward: work.forward.then(|| slot.checked_sub(behind).is_some_and(trains)),
            backward: work.backward,
            steps: work.steps,
        };
        let host = log.setup.hosts[stage];
        let number = stage + run.job.remote().start + 1;
        rows.push((format!("stage {number} · {host}"), work.into_iter().enumerate().map(did).collect()));
    }
    let relays = usize::from(log.setup.ranks).saturating_sub(log.setup.hosts.len() + 1);
    if relays > 0 {
        let name = if relays == 1 { "1 relay".to_owned() } else { format!("{relays} relays") };
        rows.push((name, vec![Did { forward: None, backward: false, steps: false }; log.first.len()]));
    }
    rows
}

/// A picture of slots that follow each other. The first of them is slot `from` of the start.
fn picture(slots: &[SlotEntry], rows: &[(String, Vec<Did>)], from: usize) -> String {
    let bottom = TOP + rows.len() as f64 * ROW;
    let mut svg = Svg::new(bottom + 32.0, &format!("what ranks did in slots {from} to {}", from + slots.len() - 1));
    let x = |at: usize| LEFT + at as f64 * STEP;
    svg.text(0.0, 10.0, Anchor::Start, if rows.len() > 1 { "stage · rank" } else { "" });
    for (row, (name, all)) in rows.iter().enumerate() {
        let y = TOP + row as f64 * ROW;
        svg.text(LEFT - 6.0, y + 12.0, Anchor::End, name);
        // Nothing but mixing, unless something is drawn over it.
        svg.rect([LEFT, y + 2.0, slots.len() as f64 * STEP, ROW - 4.0], "idle", None);
        for (at, did) in all[from..from + slots.len()].iter().enumerate() {
            let half = (ROW - 4.0) / 2.0;
            let cell = |top: f64, high: f64| [x(at) + 0.3, top, STEP - 0.6, high];
            let title = |what: &str| format!("slot {}, {name}: {what}", from + at);
            if let Some(trains) = did.forward {
                let (class, what) = if trains { ("f0", "forward") } else { ("f4", "forward, evaluation") };
                svg.rect(cell(y + 2.0, half), class, Some(&title(what)));
            }
            if did.backward {
                svg.rect(cell(y + 2.0 + half, half), "f5", Some(&title("backward")));
            }
            if did.steps {
                svg.rect(cell(y + ROW - 4.5, 2.5), "step", Some(&title("backward, and its optimizer step")));
            }
        }
    }
    for (at, entry) in slots.iter().enumerate() {
        if (from + at).is_multiple_of(8) {
            svg.line([x(at), bottom, x(at), bottom + 3.0], "tick");
            svg.text(x(at), bottom + 14.0, Anchor::Middle, &count((from + at) as u64));
        }
        // Terms are apart: the pipeline is empty between them.
        if entry.slot == 0 && at > 0 {
            svg.line([x(at), TOP - 2.0, x(at), bottom], "tick");
            svg.text(x(at), TOP - 5.0, Anchor::Middle, "new keys");
        }
    }
    svg.text(LEFT + (WIDTH - LEFT) / 2.0, bottom + 29.0, Anchor::Middle, "slot");
    figure(
        &format!("Slots {} to {}", count(from as u64), count((from + slots.len() - 1) as u64)),
        "",
        &svg.finish(),
        "",
    )
}
