//! What a bench has measured: its rows as bars with their spread, and as a table.

use serde_json::{Map, Value};

use super::given::{ReportedBench, words};
use super::html::{details, escaped, facts, table};
use super::scale::{short, tick_label, ticks};
use super::svg::{Anchor, Svg, WIDTH, figure};
use crate::bench;
use crate::bench::table::Column;

/// How high the part of the picture is that one row takes.
const HEIGHT: f64 = 34.0;
/// Where the bars end at most.
const RIGHT: f64 = WIDTH - 96.0;
/// Rows beyond so many are not drawn.
const MOST_BARS: usize = 40;
/// The keys of what a row has measured, in the order of preference, each with the keys of its least and largest value.
const MEASURED: [(&str, &str, &str, &str); 2] =
    [("median_s", "low_s", "high_s", "Seconds an epoch"), ("avg_us", "low_us", "high_us", "Microseconds")];

/// A bench: its bars, its table, and where it was measured.
pub(super) fn section(bench: &ReportedBench) -> String {
    let known = bench::columns(&bench.name);
    let about: Vec<(&str, String)> = bench.facts.iter().map(|(name, value)| (&**name, escaped(value))).collect();
    let mut section = bars(bench, known);
    section += &rows(bench, known);
    section += &details("Where it was measured, and what columns mean", &facts(&about));
    format!("<section><h2>mixnn bench {}</h2>\n{section}</section>\n", escaped(&bench.name))
}

/// The keys of all columns that rows have, in the order of the bench's table, then those that this version does not know.
fn keys<'a>(bench: &'a ReportedBench, known: &'a [Column]) -> Vec<&'a str> {
    let there = |key: &&str| bench.rows.iter().any(|row| row.contains_key(*key));
    let mut keys: Vec<&str> = known.iter().map(|column| column.key).filter(there).collect();
    for key in bench.rows.iter().flat_map(Map::keys) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    keys
}

/// All rows, as a table.
fn rows(bench: &ReportedBench, known: &[Column]) -> String {
    let keys = keys(bench, known);
    let column = |key: &str| known.iter().find(|column| column.key == key);
    let heads: Vec<String> = keys
        .iter()
        .map(|key| match column(key) {
            Some(Column { title, unit, .. }) if !unit.is_empty() => format!("{title}, {unit}"),
            Some(Column { title, .. }) => (*title).to_owned(),
            None => (*key).to_owned(),
        })
        .collect();
    let cell = |row: &Map<String, Value>, key: &str| match (row.get(key), column(key)) {
        (None, _) => "-".to_owned(),
        (Some(Value::Number(number)), Some(column)) if number.is_f64() => {
            let decimals = column.decimals;
            number.as_f64().map_or_else(String::new, |value| format!("{value:.decimals$}"))
        }
        (Some(value), _) => escaped(&words(value)),
    };
    let cells: Vec<Vec<String>> =
        bench.rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table(&heads, &cells)
}

/// The rows as bars, where they have something that bars can show.
fn bars(bench: &ReportedBench, known: &[Column]) -> String {
    let number =
        |row: &Map<String, Value>, key: &str| row.get(key).and_then(Value::as_f64).filter(|number| *number >= 0.0);
    let has = |key: &str| bench.rows.iter().any(|row| number(row, key).is_some());
    let Some((key, low, high, unit)) = MEASURED.into_iter().find(|(key, ..)| has(key)) else { return String::new() };
    let drawn: Vec<(&Map<String, Value>, f64)> =
        bench.rows.iter().filter_map(|row| Some((row, number(row, key)?))).take(MOST_BARS).collect();
    let spread = |row: &Map<String, Value>, middle: f64| {
        [number(row, low).unwrap_or(middle), number(row, high).unwrap_or(middle)]
    };
    let most = drawn.iter().map(|(row, middle)| spread(row, *middle)[1].max(*middle)).fold(0.0, f64::max).max(1e-9);
    let x = |value: f64| value / most * RIGHT;
    // A row's name is what was asked for: all columns before the measured one whose values are not the same in every row.
    let differs = |key: &&str| {
        let mut values = bench.rows.iter().map(|row| row.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let keys = keys(bench, known);
    let asked: Vec<&str> = keys.iter().copied().take_while(|at| *at != key && *at != low).filter(differs).collect();
    let title = |key: &str| {
        known.iter().find(|column| column.key == key).map_or(key.to_owned(), |column| column.title.to_owned())
    };
    let name = |row: &Map<String, Value>| {
        let word = |key: &&str| match row.get(*key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(value) => Some(format!("{} {}", title(key), words(value))),
        };
        asked.iter().filter_map(word).collect::<Vec<_>>().join(", ")
    };

    let bottom = drawn.len() as f64 * HEIGHT + 4.0;
    let mut svg = Svg::new(bottom + 30.0, &format!("mixnn bench {}: {unit}, row by row", bench.name));
    let marks = ticks(0.0, most, 4);
    for tick in &marks {
        svg.line([x(*tick), 0.0, x(*tick), bottom], "grid");
        let anchor = if *tick == 0.0 { Anchor::Start } else { Anchor::Middle };
        svg.text(x(*tick), bottom + 14.0, anchor, &tick_label(*tick, &marks));
    }
    svg.text(RIGHT, bottom + 27.0, Anchor::End, &unit.to_lowercase());
    for (place, (row, middle)) in drawn.iter().enumerate() {
        let top = place as f64 * HEIGHT;
        let [low, high] = spread(row, *middle);
        let shown = format!("{}: {}, from {} to {}", name(row), short(*middle), short(low), short(high));
        svg.text(0.0, top + 12.0, Anchor::Start, &name(row));
        svg.rect([0.0, top + 17.0, x(*middle).max(1.0), 12.0], "f0", Some(&shown));
        svg.line([x(low), top + 23.0, x(high), top + 23.0], "whisker");
        let ratio = number(row, "to_single").map_or_else(String::new, |ratio| format!("   × {ratio:.2}"));
        svg.text(x(middle.max(high)) + 6.0, top + 27.0, Anchor::Start, &format!("{}{ratio}", short(*middle)));
    }
    let below = match bench.rows.len() - drawn.len() {
        0 => String::new(),
        more => format!("<p>{more} more rows stand in the table.</p>\n"),
    };
    format!(
        "<div class=\"row\">{}</div>\n",
        figure(&format!("{unit}, with the least and the largest"), "", &svg.finish(), &below)
    )
}
