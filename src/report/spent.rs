//! Where the time of slots goes: of each rank on average, and of the owner over the run.

use super::given::ReportedRun;
use super::html::{details, escaped, table};
use super::scale::{count, middle, short, tick_label, ticks, time, unit_of};
use super::svg::{Anchor, Svg, WIDTH, figure, key};
use crate::run::kept::slots::{PARTS, SlotEntry, SlotLog};

/// The parts of a slot's time, in the order in which they are drawn: the class of the colour, the name, and which part it is.
const DRAWN: [(&str, &str, usize); PARTS] = [
    ("p0", "compute", 0),
    ("p1", "seal", 1),
    ("p2", "exchange", 2),
    ("p3", "peel", 3),
    ("p4", "open", 4),
    ("p5", "wait", 5),
];
/// How many columns the picture over the run has at most.
const COLUMNS: usize = 64;

/// The time of a rank's slots.
struct RankBar {
    name: String,
    /// Part by part: microseconds a slot.
    parts: [f64; PARTS],
}

/// The time of the slots of all ranks, and how many slots it is a mean over. `None` where nothing says it.
fn by_rank(run: &ReportedRun) -> Option<(Vec<RankBar>, u64)> {
    let bar = |rank: usize, micros: [f64; PARTS], slots: u64| RankBar {
        name: run.role(u16::try_from(rank).unwrap_or(u16::MAX)),
        parts: micros.map(|micros| micros / slots as f64),
    };
    if let Ok(log) = &run.slots
        && log.settled > 0
        && !log.ranks.is_empty()
    {
        let bars = log.ranks.iter().enumerate();
        let bars = bars.map(|(rank, nanos)| bar(rank, nanos.map(|nanos| nanos as f64 / 1e3), log.settled));
        return Some((bars.collect(), log.settled));
    }
    // Without the file, the result may say it. Its figures of slots are those of the last start, and its epochs those of all.
    let outcome = run.outcome.as_ref().filter(|outcome| outcome.starts == 1)?;
    let slots: u64 = outcome.epochs.iter().map(|epoch| epoch.slots).sum();
    let bars = outcome.timing.iter().map(|t| {
        let ms = [t.compute, t.seal, t.exchange, t.peel, t.open, t.wait];
        bar(t.rank.into(), ms.map(|ms| ms * 1e3), slots)
    });
    let bars: Vec<RankBar> = bars.collect();
    (slots > 0 && !bars.is_empty()).then_some((bars, slots))
}

/// The pictures of where the time of a run's slots went.
pub(super) fn pictures(run: &ReportedRun) -> String {
    let mut pictures = String::new();
    if let Some((bars, slots)) = by_rank(run) {
        pictures += &by_part("By rank", &bars, &DRAWN, &below(&bars, slots));
        // Where ranks wait for each other most of the time, what they do is not to be seen beside that.
        pictures += &by_part("By rank, without waiting", &bars, &DRAWN[..PARTS - 1], "");
    }
    if let Ok(log) = &run.slots {
        pictures += &over_run(log);
    }
    if pictures.is_empty() {
        let why = run.slots.as_ref().err().map_or("no term was over yet", String::as_str);
        return format!("<p class=\"missing\">Where the time of slots went is not known: {}.</p>\n", escaped(why));
    }
    let paced = run.slots.as_ref().is_ok_and(|log| log.setup.paced);
    let note = match paced {
        true => {
            "<p>Under a pace a rank computes on a thread of its own, beside its slots: with that, parts may come to more than a slot.</p>\n"
        }
        false => "",
    };
    format!("<div class=\"row\">{pictures}</div>\n{note}")
}

/// The picture of the parts `drawn` of all ranks' slots.
fn by_part(heading: &str, bars: &[RankBar], drawn: &[(&str, &str, usize)], below: &str) -> String {
    const ROW: f64 = 19.0;
    const LEFT: f64 = 92.0;
    const RIGHT: f64 = WIDTH - 58.0;
    let total = |bar: &RankBar| drawn.iter().map(|(.., part)| bar.parts[*part]).sum::<f64>();
    let most = bars.iter().map(total).fold(0.0, f64::max).max(1e-9);
    let (unit, of) = unit_of(most);
    let width = |micros: f64| micros / most * (RIGHT - LEFT);
    let bottom = bars.len() as f64 * ROW + 4.0;

    let mut svg = Svg::new(bottom + 30.0, "where the time of a slot goes, rank by rank");
    let marks = ticks(0.0, most / of, 4);
    for tick in &marks {
        let x = LEFT + width(tick * of);
        svg.line([x, 0.0, x, bottom], "grid");
        svg.text(x, bottom + 14.0, Anchor::Middle, &tick_label(*tick, &marks));
    }
    svg.text((LEFT + RIGHT) / 2.0, bottom + 27.0, Anchor::Middle, &format!("{unit} a slot"));
    for (place, bar) in bars.iter().enumerate() {
        let top = place as f64 * ROW + 3.0;
        svg.text(LEFT - 6.0, top + 11.0, Anchor::End, &bar.name);
        let mut x = LEFT;
        for (class, name, part) in drawn {
            let micros = bar.parts[*part];
            let title = format!("{}: {name} {}", bar.name, time(micros));
            svg.rect([x, top, width(micros), ROW - 5.0], class, Some(&title));
            x += width(micros);
        }
        svg.text(x + 5.0, top + 11.0, Anchor::Start, &time(total(bar)));
    }
    figure(heading, &legend(drawn), &svg.finish(), below)
}

/// What stands below the picture of all ranks, of so many slots.
fn below(bars: &[RankBar], slots: u64) -> String {
    let cells = |bar: &RankBar| std::iter::once(escaped(&bar.name)).chain(bar.parts.map(short)).collect();
    let rows: Vec<Vec<String>> = bars.iter().map(cells).collect();
    let columns = ["rank", "compute", "seal", "exchange", "peel", "open", "wait"];
    let figures = details("The figures, in µs a slot", &table(&columns, &rows));
    format!("<p>Means of {} slots.</p>\n{figures}", count(slots))
}

/// What the colours of parts mean.
fn legend(drawn: &[(&str, &str, usize)]) -> String {
    key(&drawn.iter().map(|(class, name, _)| (*class, *name)).collect::<Vec<_>>())
}

/// The picture of the owner's slots over the run, in columns of slots that follow each other.
fn over_run(log: &SlotLog) -> String {
    const HEIGHT: f64 = 200.0;
    const LEFT: f64 = 44.0;
    const RIGHT: f64 = WIDTH - 8.0;
    const TOP: f64 = 22.0;
    const BOTTOM: f64 = HEIGHT - 34.0;
    let Some(last) = log.sampled.last() else { return String::new() };
    let per = log.sampled.len().div_ceil(COLUMNS);
    let mean = |slots: &[SlotEntry]| {
        let mut parts = [0.0; PARTS];
        for entry in slots {
            parts.iter_mut().zip(entry.micros()).for_each(|(sum, micros)| *sum += micros / slots.len() as f64);
        }
        parts
    };
    let columns: Vec<(u64, [f64; PARTS])> =
        log.sampled.chunks(per).map(|slots| (slots[0].number, mean(slots))).collect();
    let totals = || columns.iter().map(|(_, parts)| parts.iter().sum::<f64>());
    let Some([median, _, high]) = middle(totals()) else { return String::new() };
    // A single slot that took long, as the first one may, is not to flatten all others.
    let most = high.min(median * 3.0).max(1e-3);
    let (unit, of) = unit_of(most);
    let height = |micros: f64| micros / most * (BOTTOM - TOP);
    let end = (last.number + log.stride).max(1) as f64;
    let x = |number: u64| LEFT + number as f64 / end * (RIGHT - LEFT);

    let mut svg = Svg::new(HEIGHT, "where the time of the owner's slots went, over the run");
    let marks = ticks(0.0, most / of, 4);
    for tick in &marks {
        let y = BOTTOM - height(tick * of);
        svg.line([LEFT, y, RIGHT, y], "grid");
        svg.text(LEFT - 5.0, y + 4.0, Anchor::End, &tick_label(*tick, &marks));
    }
    svg.text(0.0, 11.0, Anchor::Start, &format!("{unit} a slot"));
    for (place, (number, parts)) in columns.iter().enumerate() {
        let left = x(*number);
        let right = columns.get(place + 1).map_or(RIGHT, |(next, _)| x(*next));
        let mut y = BOTTOM;
        for (class, name, part) in DRAWN {
            let tall = height(parts[part]).min(y - TOP);
            let title = format!("from slot {}: {name} {}", count(*number), time(parts[part]));
            svg.rect([left, y - tall, right - left + 0.05, tall], class, Some(&title));
            y -= tall;
        }
    }
    let marks: Vec<f64> = ticks(0.0, end, 4).into_iter().filter(|tick| tick.fract() == 0.0).collect();
    for tick in marks.iter().filter(|tick| **tick <= end) {
        svg.text(LEFT + tick / end * (RIGHT - LEFT), BOTTOM + 15.0, Anchor::Middle, &count(*tick as u64));
    }
    svg.text((LEFT + RIGHT) / 2.0, HEIGHT - 5.0, Anchor::Middle, "slot");
    let cut = totals().filter(|total| *total > most).count();
    let cut = match cut {
        0 => String::new(),
        1 => format!(" One column is cut off; its slots took up to {} on average.", time(high)),
        cut => format!(" {cut} columns are cut off; their slots took up to {} on average.", time(high)),
    };
    let sample = match log.stride {
        1 => String::new(),
        stride => format!(", of which one in {stride} was kept"),
    };
    let below = format!("<p>The owner's {} slots{sample}, {per} a column.{cut}</p>\n", count(log.slots));
    figure("The owner, over the run", &legend(&DRAWN), &svg.finish(), &below)
}
